"""Drawings of blocks: well-formed, the same bytes twice, with every tile or an abbreviation, inside their frame."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from random_blocks import random_block, random_convolution

from circuits import Convolution, Drive, Polarity
from circuits.tiles import TileSize, tile_crossbars
from netlists import lower
from netlists.drawing import MOST_SHOWN, draw_block, shown
from netlists.picture import Picture

NAMESPACE = "{http://www.w3.org/2000/svg}"


def draw(drawn, size: str) -> str:
    tile = TileSize.parse(size)
    netlist, _ = lower(drawn.built.circuit.with_conductances(drawn.conductance_s))
    return draw_block(drawn.built, netlist, tile_crossbars(drawn.built, tile), tile)


def texts(picture: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(picture).iter(f"{NAMESPACE}text")]  # noqa: S314  our own


def check_frame(picture: str) -> None:
    """Hold every corner and every text against the picture's size."""
    root = ET.fromstring(picture)  # noqa: S314  our own
    width, height = float(root.get("width", "")), float(root.get("height", ""))
    for box in root.iter(f"{NAMESPACE}rect"):
        assert float(box.get("x", "0")) + float(box.get("width", "")) <= width
        assert float(box.get("y", "0")) + float(box.get("height", "")) <= height
    for text in root.iter(f"{NAMESPACE}text"):
        share = {"start": 1.0, "middle": 0.5, "end": 0.0}[text.get("text-anchor", "")]
        length = 0.57 * float(text.get("font-size", "")) * len(text.text or "")
        assert float(text.get("x", "")) + share * length <= width
        assert float(text.get("x", "")) - (1 - share) * length >= 0
        assert float(text.get("y", "")) <= height


@pytest.mark.parametrize("sizes", [(3,), (5, 4), (5, 4, 3)], ids=len)
@pytest.mark.parametrize("drive", Drive)
@pytest.mark.parametrize("polarity", Polarity)
def test_every_kind_of_block(polarity: Polarity, drive: Drive, sizes: tuple[int, ...]) -> None:
    for bias in (True, False):
        if drive is Drive.CURRENT and len(sizes) == 1 and not bias:
            continue  # no crossbar at all: below
        drawn = random_block(2, sizes=sizes, polarity=polarity, drive=drive, bias=bias)
        picture = draw(drawn, "4x6")
        assert picture == draw(drawn, "4x6")
        check_frame(picture)
        written = texts(picture)
        tiles = [tile.name for tile in tile_crossbars(drawn.built, TileSize.parse("4x6"))]
        assert sorted(name for name in written if name in tiles) == sorted(tiles)
        assert f"leaks{len(sizes)}" in written
        assert ("bias" in written) == bias
        assert "inputs" in written


def test_block_without_a_crossbar() -> None:
    drawn = random_block(2, sizes=(3,), drive=Drive.CURRENT, bias=False)
    picture = draw(drawn, "4x4")
    check_frame(picture)
    assert {"inputs", "clamps1", "leaks1", "nudge1", "ADC", "... l1_2p l1_2n"} <= set(texts(picture))


def test_one_weight_has_its_devices_names_and_siemens() -> None:
    drawn = random_block(4, sizes=(3,))
    crossbar = drawn.built.crossbars[0]
    written = texts(draw(drawn, "64x64"))
    for name, device in (("pp", crossbar.plus[0]), ("nn", crossbar.plus[1]), ("pn", crossbar.minus[0])):
        assert f"rw1_0_0_{name} {drawn.conductance_s[device[0, 0]]:.3g} S" in written
    assert {"x0p x0n", "... x5p x5n", "l1_0p l1_0n"} <= set(written)


def test_many_tiles_are_abbreviated() -> None:
    assert shown(MOST_SHOWN) == list(range(MOST_SHOWN))
    assert shown(30) == [0, 1, 2, 3, 4, 5, 6, 7, None, 29]
    drawn = random_block(1, sizes=(24,), n_inputs=40, bias=False, clamped=False)
    picture = draw(drawn, "2x2")
    check_frame(picture)
    written = texts(picture)
    tiles = [name for name in written if name.startswith("w1_t")]
    assert len(tiles) == 81
    assert {"w1_t0_0", "w1_t39_23", "w1_t7_7"} <= set(tiles)
    assert "w1_t8_0" not in tiles
    assert len(picture) < 100_000


def test_convolution_says_where_there_is_no_device() -> None:
    drawn = random_convolution(5, Convolution(input_shape=(1, 4, 4), channels=2, kernel=1), bias=False)
    picture = draw(drawn, "16x16")
    check_frame(picture)
    assert "no device" in texts(picture)


def test_picture_escapes_and_grows() -> None:
    picture = Picture()
    picture.text(10.0, 20.0, "a < b & c", mono=True)
    picture.arrow((0.0, 30.0), (0.0, 30.0))  # no direction, no matter
    picture.resistor((0.0, 0.0), (200.0, 0.0))
    root = ET.fromstring(picture.svg())  # noqa: S314  our own
    assert float(root.get("width", "")) == 224.0
    assert texts(picture.svg()) == ["a < b & c"]
    assert np.isfinite([float(value) for value in root.get("viewBox", "").split()]).all()
