"""Presets: every one has a source, and a wrong name is answered with the nearest ones."""

from __future__ import annotations

import pytest

from circuits import CircuitError, EnergyBlock, NodeLayer
from circuits.devices import preset, preset_names

NAMES = (
    "ideal",
    "pcm",
    "pcm-joshi",
    "hermes-pcm",
    "rram-wan",
    "rram-milo",
    "reram-es",
    "reram-sb",
    "ecram-li",
    "ecram-mo",
    "capacitor",
)


def test_names() -> None:
    assert preset_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_has_a_source_and_an_effect(name: str) -> None:
    entry = preset(name)
    assert (entry.name, entry.device.name) == (name, name)
    assert any(year in entry.source for year in ("2018", "2019", "2020", "2021", "2022", "2023")) or name == "ideal"
    assert any(table in entry.source for table in ("aihwkit 1.1.0", "CrossSim 3.2.0"))
    assert entry.note
    assert entry.device.effects


@pytest.mark.parametrize(
    ("name", "low_us", "high_us"),
    [("pcm", 0, 25), ("pcm-joshi", 0, 25), ("hermes-pcm", 0, 20.7), ("rram-wan", 0, 40), ("rram-milo", 50, 225)],
)
def test_published_windows(name: str, low_us: float, high_us: float) -> None:
    device = preset(name).device
    assert (device.g_min_s, device.g_max_s) == (pytest.approx(low_us * 1e-6), pytest.approx(high_us * 1e-6))


def test_a_device_without_a_window_has_that_of_a_block() -> None:
    block = EnergyBlock(name="b", n_inputs=1, layers=(NodeLayer(size=1),))
    for name in ("ideal", "reram-es", "reram-sb", "ecram-li", "ecram-mo", "capacitor"):
        device = preset(name).device
        assert (device.g_min_s, device.g_max_s) == (block.g_min_s, block.g_max_s)
        assert "an energy block's own" in preset(name).note


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("PCM", "did you mean pcm"),
        ("ecram_li", "did you mean ecram-li"),
        ("hermes", "did you mean hermes-pcm"),
        ("rram", "did you mean rram-wan or rram-milo"),
        ("milo", "did you mean rram-milo"),
        ("ecramli", "did you mean ecram-li"),
        ("", "there are ideal"),
        ("zzz", "there are ideal, pcm, "),
    ],
)
def test_an_unknown_name_gets_the_nearest(name: str, answer: str) -> None:
    with pytest.raises(CircuitError, match=f"no device preset '{name}': {answer}"):
        preset(name)
