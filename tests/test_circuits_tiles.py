"""Tiles cover every device of the crossbars once, keep the four devices of a weight together, and name their nets."""

from __future__ import annotations

from dataclasses import replace

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuits import CircuitError, Clamp, Drive, EnergyBlock, NodeLayer, Polarity, build
from circuits.element_groups import BANK_UNITS, GroupKind, block_groups
from circuits.tiles import TileSize, TileUse, tile_crossbars, tile_graph, tile_table


def block(n_inputs: int = 3, sizes: tuple[int, ...] = (4,), **settings) -> EnergyBlock:
    clamp = Clamp(low_v=-0.3, high_v=0.3)
    layers = tuple(NodeLayer(size=size, clamp=clamp, leak_s=1e-6, bias=True) for size in sizes)
    return EnergyBlock(name="b", n_inputs=n_inputs, layers=layers, **settings)


def test_differential_tiles_by_hand() -> None:
    built = build(block())
    size = TileSize(rows=4, columns=6)
    tiles = tile_crossbars(built, size)
    # 3 x 4 weights are 6 x 8 wires; a tile takes 2 x 3 weights. The bias row is one unit.
    assert [tile.name for tile in tiles] == ["w1_t0_0", "w1_t0_1", "w1_t1_0", "w1_t1_1", "b1_t0_0", "b1_t0_1"]
    assert tiles[3].row_units == slice(2, 3)
    assert tiles[3].column_units == slice(3, 4)
    assert [built.circuit.resistors.names[k] for k in tiles[3].resistors] == [
        "w1_2_3_pp",
        "w1_2_3_nn",
        "w1_2_3_pn",
        "w1_2_3_np",
    ]
    assert tile_table(tiles, size)[:4] == (
        TileUse(tile="w1_t0_0", rows=4, columns=6, devices=24, utilisation=1.0),
        TileUse(tile="w1_t0_1", rows=4, columns=2, devices=8, utilisation=8 / 24),
        TileUse(tile="w1_t1_0", rows=2, columns=6, devices=12, utilisation=12 / 24),
        TileUse(tile="w1_t1_1", rows=2, columns=2, devices=4, utilisation=4 / 24),
    )


def test_single_tiles_by_hand() -> None:
    built = build(block(polarity=Polarity.SINGLE))
    tiles = tile_crossbars(built, TileSize(rows=2, columns=3))
    names = [[built.circuit.resistors.names[k] for k in tile.resistors] for tile in tiles[:2]]
    assert names == [["w1_0_0", "w1_0_1", "w1_0_2", "w1_1_0", "w1_1_1", "w1_1_2"], ["w1_0_3", "w1_1_3"]]


@given(
    n_inputs=st.integers(1, 7),
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    rows=st.integers(2, 9),
    columns=st.integers(2, 9),
    polarity=st.sampled_from(Polarity),
)
def test_every_device_once_and_no_tile_too_large(
    n_inputs: int, sizes: list[int], rows: int, columns: int, polarity: Polarity
) -> None:
    built = build(block(n_inputs, tuple(sizes), polarity=polarity))
    size = TileSize(rows=rows, columns=columns)
    tiles = tile_crossbars(built, size)
    parts = [part.ravel() for c in built.crossbars for part in (c.plus, c.minus) if part is not None]
    devices = np.concatenate([tile.resistors for tile in tiles])
    assert sorted(devices) == sorted(np.concatenate(parts))
    tile_of = {int(k): tile.name for tile in tiles for k in tile.resistors}
    for crossbar in built.crossbars:
        for i, j in np.ndindex(crossbar.shape):
            weight = [*crossbar.plus[:, i, j], *(() if crossbar.minus is None else crossbar.minus[:, i, j])]
            assert len({tile_of[int(k)] for k in weight}) == 1
    for tile, use in zip(tiles, tile_table(tiles, size), strict=True):
        assert use.rows <= rows
        assert use.columns <= columns
        assert use.devices == use.rows * use.columns  # a dense crossbar fills the wires it uses
        assert 0 < use.utilisation <= 1
        ends = built.circuit.resistors.a[tile.resistors], built.circuit.resistors.b[tile.resistors]
        assert len(np.unique(np.concatenate(ends))) == use.rows + use.columns


def test_index_arrays_of_another_shape_and_turned_devices() -> None:
    # A later kind of crossbar will not have one entry a row and column; which tile is read from the nodes.
    built = build(block())
    crossbar = built.crossbars[0]
    assert crossbar.minus is not None
    odd = replace(crossbar, plus=crossbar.plus.ravel()[::-1], minus=crossbar.minus.reshape(3, 8))
    resistors = built.circuit.resistors
    turned = replace(built.circuit, resistors=replace(resistors, a=resistors.b, b=resistors.a))
    size = TileSize(rows=4, columns=6)
    expected = [sorted(tile.resistors) for tile in tile_crossbars(built, size)]
    for other in (replace(built, crossbars=(odd, *built.crossbars[1:])), replace(built, circuit=turned)):
        assert [sorted(tile.resistors) for tile in tile_crossbars(other, size)] == expected


def test_device_that_is_not_in_the_crossbar() -> None:
    built = build(block())
    crossbar = replace(built.crossbars[0], plus=built.leak_devices, minus=None)
    with pytest.raises(CircuitError, match=r"crossbar 'w1': device 'leak_l1_0p' does not join one of its rows with"):
        tile_crossbars(replace(built, crossbars=(crossbar,)), TileSize(rows=4, columns=4))


def test_graph() -> None:
    built = build(block())
    tiles = tile_crossbars(built, TileSize(rows=4, columns=8))
    graph = tile_graph(tiles, built)
    assert nx.is_bipartite(graph)
    assert {name for name, kind in graph.nodes(data="bipartite") if kind == 0} == {"w1_t0_0", "w1_t1_0", "b1_t0_0"}
    assert graph.nodes["x0p"] == {"bipartite": 1, "label": "input 0 (p)"}
    assert graph.nodes["w1_t1_0"] == {"bipartite": 0, "crossbar": "w1", "index": (1, 0)}
    assert sorted(graph["l1_2n"]) == ["b1_t0_0", "w1_t0_0", "w1_t1_0"]
    assert sorted(graph["x2p"]) == ["w1_t1_0"]
    assert graph["w1_t0_0"]["l1_0p"]["devices"] == 4  # two units of two wires each
    assert graph["w1_t0_0"]["x0n"]["devices"] == 8
    assert sum(n for _, _, n in graph.edges(data="devices")) == 2 * sum(len(tile.resistors) for tile in tiles)


def test_size_as_text() -> None:
    assert TileSize.parse("64x32") == TileSize.parse(" 64 X 32") == TileSize(rows=64, columns=32)
    assert str(TileSize(rows=64, columns=32)) == "64x32"


@pytest.mark.parametrize("text", ["64", "x", "64x", "64x-1", "6.5x2", "64x64x64", "", "1e3x2", "٣x٣"])
def test_text_that_is_no_size(text: str) -> None:
    with pytest.raises(CircuitError, match=r"tile size '.*'; give rows x columns, like 64x64"):
        TileSize.parse(text)


@pytest.mark.parametrize("rows", [0, -2, 2.0, True, None])
def test_size_that_cannot_be(rows) -> None:
    with pytest.raises(CircuitError, match=r"tile size: rows = .*; give a whole number, one or more"):
        TileSize(rows=rows, columns=2)


def test_tile_too_small_for_a_weight() -> None:
    with pytest.raises(
        CircuitError, match=r"block 'b': a tile of 1x8 holds no weight of crossbar 'w1': one takes 2 row"
    ):
        tile_crossbars(build(block()), TileSize(rows=1, columns=8))
    assert len(tile_crossbars(build(block(polarity=Polarity.SINGLE)), TileSize(rows=1, columns=1))) == 12 + 4


@pytest.mark.parametrize("polarity", list(Polarity))
@pytest.mark.parametrize("drive", list(Drive))
def test_groups_hold_every_element_once(polarity: Polarity, drive: Drive) -> None:
    built = build(block(4, (4, 3), polarity=polarity, drive=drive, output_layers=(0, 1)))
    groups = block_groups(built, tile_crossbars(built, TileSize(rows=4, columns=4)))
    for kind, elements in enumerate(built.circuit.groups):
        members = np.concatenate([group.elements[kind] for group in groups])
        np.testing.assert_array_equal(np.sort(members), np.arange(len(elements)))
    assert len({group.name for group in groups}) == len(groups)
    names = [group.name for group in groups if group.kind is not GroupKind.TILE]
    drivers = ["inputs_0", "bias", "rails", "nudge1_0", "nudge2_0"]
    assert names == [*drivers, "clamps1_0", "clamps2_0", "leaks1_0", "leaks2_0"]
    by_name = {group.name: group for group in groups}
    inputs = by_name["inputs_0"]
    wires = 2 if polarity is Polarity.DIFFERENTIAL else 1
    assert len(inputs.voltage_sources if drive is Drive.VOLTAGE else inputs.current_sources) == 4 * wires
    nudges = [built.circuit.current_sources.names[k] for k in by_name["nudge2_0"].current_sources]
    assert all(name.startswith("nudge_l2_") for name in nudges)
    clamps = [built.circuit.diodes.names[k] for k in by_name["clamps2_0"].diodes]
    assert len(clamps) == 3 * 2 * wires
    assert all(name.startswith("clamp2_") for name in clamps)


def test_long_rows_are_cut_into_banks() -> None:
    n = BANK_UNITS + 3
    built = build(block(1, (n,)))
    groups = {group.name: group for group in block_groups(built, ())}
    assert [len(groups[f"clamps1_{k}"].diodes) for k in range(2)] == [4 * BANK_UNITS, 12]
    assert [len(groups[f"leaks1_{k}"].resistors) for k in range(2)] == [2 * BANK_UNITS, 6]
    assert [len(groups[f"nudge1_{k}"].current_sources) for k in range(2)] == [2 * BANK_UNITS, 6]
