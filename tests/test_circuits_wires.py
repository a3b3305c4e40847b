"""Wires with resistance: where segments are, by hand, by a property, and against another solver."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from badcrossbar_solver import badcrossbar_solution
from cubic_blocks import cubic_block
from random_blocks import random_block, random_convolution
from wired_blocks import COARSE, on_wires, relax

from circuits import BlockCircuit, CircuitError, Convolution, Drive, EnergyBlock, NodeLayer, Polarity, build, validate
from circuits.arrays import Floats, Indices
from circuits.elements import VoltageSources
from circuits.tiles import TileSize
from circuits.topology import resistor_currents
from circuits.wired_layout import lay_wires
from circuits.wires import WireEnd, Wires

G_S = 1e-4


def row_of(n_columns: int, leak_s: float = 2e-4) -> BlockCircuit:
    """Return one row that drives units with a leak each, single polarity."""
    layers = (NodeLayer(size=n_columns, leak_s=leak_s),)
    return build(EnergyBlock(name="row", n_inputs=1, layers=layers, polarity=Polarity.SINGLE))


def test_one_device_by_hand() -> None:
    built = lay_wires(row_of(1), Wires(row_ohm=300.0, column_ohm=500.0, driver_ohm=1000.0, sense_ohm=2000.0))
    assert built.circuit.nodes[-2:] == ("w1_t0_0_r0_0", "w1_t0_0_c0_0")
    assert built.circuit.labels[-2:] == ("w1_t0_0 row wire 0 at column 0", "w1_t0_0 column wire 0 at row 0")
    assert built.circuit.resistors.names[-2:] == ("wire_w1_t0_0_r0_0", "wire_w1_t0_0_c0_0")
    voltage_v = relax(built, built.program({"w1": np.ones((1, 1))}, {}), built.drives(np.ones((1, 1))))[0]
    # In series: 1000 + 300, 1e4 the device, 500 + 2000, 5000 the leak; 18.8 kohm at 1 V.
    current_a = 1.0 / 18.8e3
    known = dict(zip(built.circuit.nodes, voltage_v, strict=True))
    np.testing.assert_allclose(known["w1_t0_0_r0_0"], 1.0 - 1300 * current_a, rtol=1e-12)
    np.testing.assert_allclose(known["w1_t0_0_c0_0"], 7500 * current_a, rtol=1e-12)
    np.testing.assert_allclose(known["l1_0"], 5000 * current_a, rtol=1e-12)
    np.testing.assert_allclose(
        built.input_currents(built.circuit.resistors.conductance_s, voltage_v[None]).shape, (1, 1)
    )


@pytest.mark.parametrize("end", WireEnd)
def test_two_devices_by_hand(end: WireEnd) -> None:
    built = lay_wires(row_of(2), Wires(row_ohm=300.0, column_ohm=500.0, driver_ohm=1000.0, row_end=end))
    conductance_s = built.program({"w1": np.array([[1.0, 0.5]])}, {})
    voltage_v = relax(built, conductance_s, built.drives(np.ones((1, 1))))
    # From its cell each column is the device, 500 of its wire and 5000 of the leak to ground.
    branch_ohm = {0: 1e4 + 5500.0, 1: 2e4 + 5500.0}
    first, last = (0, 1) if end is WireEnd.NEAR else (1, 0)
    behind_ohm = 300.0 + branch_ohm[last]
    at_first_ohm = 1.0 / (1.0 / branch_ohm[first] + 1.0 / behind_ohm)
    source_a = 1.0 / (1300.0 + at_first_ohm)
    at_first_v = at_first_ohm * source_a
    expected = {first: at_first_v / branch_ohm[first], last: at_first_v / behind_ohm}
    found_a = 2e-4 * voltage_v[0, built.layers[0].p]
    np.testing.assert_allclose(found_a, [expected[0], expected[1]], rtol=1e-12)
    unit_a = built.block.g_unit_s * built.block.v_unit_v
    np.testing.assert_allclose(built.input_currents(conductance_s, voltage_v), [[source_a / unit_a]], rtol=1e-12)


def path_ohm(built: BlockCircuit, nodes: Indices) -> tuple[Floats, Indices]:
    """Return the resistance of the wire from some cells to the nets that they belong to, and these nets."""
    start, r = built.at_units.circuit.n_nodes, built.circuit.resistors
    first = len(r) - (built.circuit.n_nodes - start)  # a segment for each node of a wire, in the same order
    total, at = np.zeros(len(nodes)), nodes.copy()
    while (on_wire := at >= start).any():
        segment = first + at[on_wire] - start
        np.testing.assert_array_equal(r.b[segment], at[on_wire])
        total[on_wire] += 1.0 / r.conductance_s[segment]
        at[on_wire] = r.a[segment]
    return total, at


CONVOLUTION = Convolution(input_shape=(2, 3, 3), channels=2, kernel=2)


@pytest.mark.parametrize(("row_end", "column_end"), [(WireEnd.NEAR, WireEnd.FAR), (WireEnd.FAR, WireEnd.NEAR)])
@pytest.mark.parametrize("polarity", Polarity)
@pytest.mark.parametrize("convolved", [False, True])
def test_every_cell_is_as_far_from_its_net_as_its_place_says(
    row_end: WireEnd, column_end: WireEnd, polarity: Polarity, convolved: bool
) -> None:
    drawn = random_convolution(0, CONVOLUTION, polarity=polarity) if convolved else random_block(0, polarity=polarity)
    tile = TileSize(rows=8, columns=6)
    ohms = {"row_ohm": 3.0, "column_ohm": 5.0, "driver_ohm": 7.0, "sense_ohm": 11.0}
    built = lay_wires(drawn.built, Wires(**ohms, row_end=row_end, column_end=column_end, tile=tile))
    before, r = drawn.built.circuit, built.circuit.resistors
    wires = 2 if polarity is Polarity.DIFFERENTIAL else 1
    seen = set()
    for crossbar in built.crossbars:
        row, column = crossbar.wiring.pairs()
        sides = [(crossbar.plus[0], 0, 0)]
        if crossbar.minus is not None:
            sides += [(crossbar.plus[1], 1, 1), (crossbar.minus[0], 0, 1), (crossbar.minus[1], 1, 0)]
        for devices, p_or_n, column_p_or_n in sides:
            i, j, k = wires * row + p_or_n, wires * column + column_p_or_n, devices
            n_rows, n_columns = wires * len(crossbar.rows), wires * len(crossbar.columns)
            # A tile ends at its size, or where the crossbar does.
            row_length = np.minimum(tile.columns, n_columns - j // tile.columns * tile.columns)
            column_length = np.minimum(tile.rows, n_rows - i // tile.rows * tile.rows)
            along_row, along_column = j % tile.columns, i % tile.rows
            if row_end is WireEnd.FAR:
                along_row = row_length - 1 - along_row
            if column_end is WireEnd.FAR:
                along_column = column_length - 1 - along_column
            row_ohm, row_net = path_ohm(built, r.a[k].ravel())
            column_ohm, column_net = path_ohm(built, r.b[k].ravel())
            np.testing.assert_allclose(row_ohm, 7.0 + 3.0 * (along_row.ravel() + 1), rtol=1e-12)
            np.testing.assert_allclose(column_ohm, 11.0 + 5.0 * (along_column.ravel() + 1), rtol=1e-12)
            np.testing.assert_array_equal(row_net, before.resistors.a[k].ravel())
            np.testing.assert_array_equal(column_net, before.resistors.b[k].ravel())
            seen |= set(k.ravel().tolist())
    # A node for each device on either wire, each used once.
    assert built.circuit.n_nodes == before.n_nodes + 2 * len(seen)
    cells = np.concatenate([r.a[sorted(seen)], r.b[sorted(seen)]])
    assert len(np.unique(cells)) == len(cells)
    validate(built.circuit)


def test_indices_of_devices_and_nets_stay() -> None:
    drawn = random_block(1)
    built = on_wires(drawn).built
    before, n = drawn.built.circuit, len(drawn.built.circuit.resistors)
    assert built.circuit.nodes[: before.n_nodes] == before.nodes
    assert built.circuit.resistors.names[:n] == before.resistors.names
    assert built.crossbars is drawn.built.crossbars
    assert built.unwired is drawn.built
    np.testing.assert_array_equal(built.wire_nodes, np.arange(before.n_nodes, built.circuit.n_nodes))
    np.testing.assert_array_equal(built.program(drawn.plus, drawn.minus)[:n], drawn.conductance_s)
    assert len(built.image) == 0
    assert not drawn.built.needs_each_device
    assert built.needs_each_device


def test_cubic_devices_stay_cubic_and_wires_are_linear() -> None:
    drawn = cubic_block(0)
    built = on_wires(drawn).built
    n = len(drawn.built.circuit.resistors)
    np.testing.assert_array_equal(built.circuit.resistors.k3_per_v2[:n], drawn.built.circuit.resistors.k3_per_v2)
    assert not built.circuit.resistors.k3_per_v2[n:].any()


def test_zero_ohm_merges_nodes() -> None:
    drawn = random_block(2)
    assert lay_wires(drawn.built, Wires(row_ohm=0.0, column_ohm=0.0)) is drawn.built
    rows_only = lay_wires(drawn.built, Wires(row_ohm=50.0, column_ohm=0.0))
    devices = np.concatenate([side.ravel() for c in drawn.built.crossbars for side in (c.plus, c.minus)])
    assert rows_only.circuit.n_nodes == drawn.built.circuit.n_nodes + len(devices)
    np.testing.assert_array_equal(rows_only.circuit.resistors.b[devices], drawn.built.circuit.resistors.b[devices])
    # Sense resistance alone: one node a column wire of each crossbar.
    sensed = lay_wires(drawn.built, Wires(row_ohm=0.0, column_ohm=0.0, sense_ohm=50.0))
    assert sensed.circuit.n_nodes == drawn.built.circuit.n_nodes + 2 * (5 + 4 + 5 + 4)


def test_voltages_tend_to_those_without_wires() -> None:
    drawn = random_block(3)
    n = drawn.built.circuit.n_nodes
    ideal = relax(drawn.built, drawn.conductance_s, drawn.drives)
    errors = []
    for ohm in (2.0, 0.2):
        wired = on_wires(drawn, Wires(row_ohm=ohm, column_ohm=ohm))
        voltage_v = relax(wired.built, wired.conductance_s, wired.drives)
        errors.append(np.abs(voltage_v[:, :n] - ideal).max())
    assert 1e-6 < errors[1] < 1e-2
    np.testing.assert_allclose(errors[0] / errors[1], 10.0, rtol=0.1)


def test_segments_of_zero_ohm_are_as_no_segments() -> None:
    # One node a wire, which a resistor joins to its net: the same as that resistor in the net, cell by cell.
    drawn = random_block(4, sizes=(3,), n_inputs=4)
    merged = on_wires(drawn, Wires(row_ohm=0.0, column_ohm=0.0, driver_ohm=40.0))
    full = on_wires(drawn, Wires(row_ohm=1e-3, column_ohm=0.0, driver_ohm=40.0))
    n = drawn.built.circuit.n_nodes
    a, b = (relax(w.built, w.conductance_s, w.drives)[:, :n] for w in (merged, full))
    assert np.abs(a - relax(drawn.built, drawn.conductance_s, drawn.drives)).max() > 1e-3
    np.testing.assert_allclose(a, b, atol=1e-5, rtol=0)


def test_a_cut_gives_every_tile_wires_of_its_own() -> None:
    drawn = random_block(5, sizes=(4,), n_inputs=3, bias=False)
    whole = on_wires(drawn, Wires(row_ohm=100.0, column_ohm=100.0))
    cut = on_wires(drawn, Wires(row_ohm=100.0, column_ohm=100.0, tile=TileSize(rows=6, columns=2)))
    assert cut.built.circuit.n_nodes == whole.built.circuit.n_nodes
    n = drawn.built.circuit.n_nodes
    a, b = (relax(w.built, w.conductance_s, w.drives)[:, :n] for w in (whole, cut))
    assert np.abs(a - b).max() > 1e-3
    # Row wires are then two cells long, so no cell is further than 200 ohm from its row's net.
    r, devices = cut.built.circuit.resistors, cut.built.crossbars[0].plus
    assert path_ohm(cut.built, r.a[devices].ravel())[0].max() < 200.1
    assert path_ohm(whole.built, whole.built.circuit.resistors.a[devices].ravel())[0].max() > 799.9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"row_ohm": -1.0}, r"wires: row_ohm = -1\.0 is negative"),
        ({"column_ohm": float("nan")}, "wires: column_ohm = nan; give a finite number"),
        ({"driver_ohm": float("inf")}, "wires: driver_ohm = inf; give a finite number"),
        ({"sense_ohm": 1e-6}, r"wires: sense_ohm = 1e-06 is below 0\.001 ohm.*give 0, which merges the nodes"),
        ({"row_end": "left"}, "wires: row_end = 'left'; allowed are 'near', 'far'"),
        ({"tile": "64x64"}, "wires: tile = '64x64'; give TileSize"),
    ],
)
def test_bad_wires_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(CircuitError, match=message):
        Wires(**{"row_ohm": 1.0, "column_ohm": 1.0, **settings})


def test_wires_are_laid_once_and_in_tiles_that_hold_a_weight() -> None:
    drawn = random_block(6)
    with pytest.raises(CircuitError, match="has wires already"):
        lay_wires(on_wires(drawn).built, COARSE)
    with pytest.raises(CircuitError, match="holds no weight of crossbar 'w1'"):
        lay_wires(drawn.built, Wires(row_ohm=1.0, column_ohm=1.0, tile=TileSize(rows=1, columns=4)))


def grounded_crossbar(n: int, wires: Wires) -> BlockCircuit:
    """Return voltage-driven rows whose columns end at ground, one device a weight."""
    block = EnergyBlock(name="b", n_inputs=n, layers=(NodeLayer(size=n, leak_s=1e-6),), polarity=Polarity.SINGLE)
    built = lay_wires(build(block), wires)
    v = built.circuit.voltage_sources
    sources = VoltageSources(
        names=(*v.names, *(f"ground{k}" for k in range(n))),
        plus=np.concatenate([v.plus, built.layers[0].p]),
        minus=np.zeros(len(v) + n),
        voltage_v=np.zeros(len(v) + n),
        driven=np.arange(len(v) + n) < len(v),
    )
    return replace(built, circuit=replace(built.circuit, voltage_sources=sources))


@pytest.mark.parametrize(("row_end", "column_end"), [(WireEnd.NEAR, WireEnd.FAR), (WireEnd.FAR, WireEnd.NEAR)])
def test_64x64_cells_against_badcrossbar(row_end: WireEnd, column_end: WireEnd) -> None:
    n, rng = 64, np.random.default_rng(7)
    g, x = rng.uniform(1e-3, 2.0, (n, n)), rng.uniform(0.2, 1.0, (2, n))
    wires = Wires(row_ohm=1.7, column_ohm=0.6, row_end=row_end, column_end=column_end)
    built = grounded_crossbar(n, wires)
    conductance_s = built.program({"w1": g}, {})
    voltage_v = relax(built, conductance_s, np.concatenate([built.block.v_unit_v * x, np.zeros((2, n))], axis=1))
    # badcrossbar drives at column 0 and grounds behind the last row; the other ends are the crossbar turned round.
    flip = (
        slice(None, None, 1 if column_end is WireEnd.FAR else -1),
        slice(None, None, 1 if row_end is WireEnd.NEAR else -1),
    )
    solution = badcrossbar_solution((x[:, flip[0]]).T, g[flip] * built.block.g_unit_s, 1.7, 0.6)
    r, devices = built.circuit.resistors, built.crossbars[0].plus[0]
    for found, expected in (
        (voltage_v[:, r.a[devices]], solution.voltages.word_line),
        (voltage_v[:, r.b[devices]], solution.voltages.bit_line),
    ):
        np.testing.assert_allclose(np.moveaxis(found, 0, -1)[flip], expected, rtol=1e-9, atol=0)
    output_a = -resistor_currents(built.circuit, conductance_s, built.layers[0].p, voltage_v)
    np.testing.assert_allclose(output_a[:, flip[1]], solution.currents.output, rtol=1e-9, atol=0)
    unit_a = built.block.g_unit_s * built.block.v_unit_v
    into_rows_a = solution.currents.word_line[:, 0].T
    np.testing.assert_allclose(
        unit_a * built.input_currents(conductance_s, voltage_v)[:, flip[0]], into_rows_a, rtol=1e-9
    )
    through_a = g * built.block.g_unit_s * (voltage_v[0, r.a[devices]] - voltage_v[0, r.b[devices]])
    np.testing.assert_allclose(through_a[flip], solution.currents.device[..., 0], rtol=1e-9, atol=0)
    assert solution.currents.output.max() < 0.9 * (x @ g).max() * built.block.g_unit_s  # wires matter


@pytest.mark.parametrize("drive", Drive)
def test_currents_of_some_nodes_are_those_of_the_whole_circuit(drive: Drive) -> None:
    wired = on_wires(random_block(8, drive=drive))
    circuit, rng = wired.built.circuit, np.random.default_rng(0)
    voltage_v = rng.normal(size=(3, circuit.n_nodes))
    nodes = rng.choice(circuit.n_nodes, 7, replace=False)
    r = circuit.resistors
    each = (voltage_v[:, r.a] - voltage_v[:, r.b]) * wired.conductance_s
    total = np.zeros_like(voltage_v)
    for k in range(len(r)):
        total[:, r.a[k]] += each[:, k]
        total[:, r.b[k]] -= each[:, k]
    found = resistor_currents(circuit, wired.conductance_s, nodes, voltage_v)
    np.testing.assert_allclose(found, total[:, nodes], rtol=1e-11, atol=1e-15)
