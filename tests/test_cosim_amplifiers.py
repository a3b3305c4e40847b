"""Bidirectional amplifiers: hand answers in every simulator, the weighted energy, decks, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from amplified_circuits import AMPLIFIED
from circuit_bank import BANK, Case
from test_cosim_bank import SOLVERS, Solver

from circuits import CircuitBuilder, CircuitError, PiecewiseLinearDiode, validate
from circuits.cocontent import cocontent, conductance_derivative, current_source_derivative
from circuits.graph import to_networkx
from circuits.kirchhoff import diode_currents, kirchhoff_residual, leaving_currents, source_currents
from circuits.topology import analyse
from cosim.errors import SimulationError
from cosim.simulators.newton import NewtonSimulator
from cosim.simulators.newton.linear import LinearSolver
from cosim.simulators.ngspice import NgspiceSimulator
from cosim.simulators.ngspice.program import solve_standalone
from netlists import NetlistError, lower
from netlists.pyspice_export import to_pyspice
from netlists.reordering import find_difference, reordered_like
from netlists.spice_reader import read_deck
from netlists.spice_writer import format_standalone

solvers = pytest.mark.parametrize("solve", SOLVERS)
cases = pytest.mark.parametrize("case", AMPLIFIED.values(), ids=AMPLIFIED)


@solvers
@cases
def test_amplified_circuits_have_the_answers_worked_out_by_hand(case: Case, solve: Solver) -> None:
    netlist, _ = lower(case.circuit)
    circuit, topology, none = case.circuit, netlist.topology, np.zeros((1, 0))
    voltage_v, current_a = solve(netlist)
    found = {name: voltage_v[circuit.nodes.index(name)] for name in case.voltages}
    assert found == pytest.approx(case.voltages, abs=1e-9, rel=0)
    found = {name: current_a[circuit.voltage_sources.names.index(name)] for name in case.currents}
    assert found == pytest.approx(case.currents, abs=1e-12, rel=1e-9)
    v, g = voltage_v[None], circuit.resistors.conductance_s
    residual = kirchhoff_residual(topology, g, none, v, voltage_tolerance_v=1e-9)
    assert residual.residual_a[0] <= residual.tolerance_a[0]
    np.testing.assert_allclose(current_a, source_currents(topology, g, none, v)[0], atol=1e-12)
    # The amplifier's supply makes up the difference: v_end i at the output, v_start i / A at the input.
    r, d, a, i = circuit.resistors, circuit.diodes, circuit.amplifiers, circuit.current_sources
    dissipated = g @ (voltage_v[r.a] - voltage_v[r.b]) ** 2
    dissipated += diode_currents(circuit, v)[0][0] @ (voltage_v[d.anode] - voltage_v[d.cathode])
    delivered = current_a @ circuit.voltage_sources.voltage_v + i.current_a @ (voltage_v[i.end] - voltage_v[i.start])
    at_output = leaving_currents(circuit, g, none, v)[0].copy()
    for end, start, gain in reversed(list(zip(a.end.tolist(), a.start.tolist(), a.gain.tolist(), strict=True))):
        behind = np.flatnonzero(circuit.voltage_sources.minus == end)
        current = at_output[end] + current_a[behind].sum()
        delivered += current * (voltage_v[end] - voltage_v[start] / gain)
    assert delivered == pytest.approx(dissipated, rel=1e-8)


@cases
def test_the_operating_point_minimises_the_weighted_energy(case: Case) -> None:
    circuit, none = case.circuit, np.zeros((1, 0))
    topology, g = validate(circuit), circuit.resistors.conductance_s
    point = NewtonSimulator().prepare(lower(circuit)[0]).solve(g, none)
    moves = topology.unknown_matrix().toarray().T
    lowest = cocontent(circuit, g, none, point.voltage_v)[0]
    for move in moves:
        for step in (1e-3, -1e-3):
            assert cocontent(circuit, g, none, point.voltage_v + step * move)[0] > lowest
    # Away from it the slope along an unknown is what its node does not balance, times its weight.
    away = point.voltage_v + 1e-2 * np.arange(1, len(moves) + 1) @ moves if len(moves) else point.voltage_v
    for k, move in enumerate(moves):
        up, down = (cocontent(circuit, g, none, away + h * move)[0] for h in (1e-6, -1e-6))
        left = (topology.energy_matrix() @ leaving_currents(circuit, g, none, away)[0])[k]
        assert (up - down) / 2e-6 == pytest.approx(left, rel=1e-5, abs=1e-11)


def test_voltages_go_forward_and_currents_back() -> None:
    topology = analyse(AMPLIFIED["amplifier pair"].circuit)
    nodes = topology.circuit.nodes
    assert [nodes[k] for k in topology.node_of_unknown] == ["a", "c"]
    at = {name: nodes.index(name) for name in "abcd"}
    np.testing.assert_array_equal(topology.unknown_matrix().toarray()[[at["b"], at["d"]]], [[2.0, 0.0], [0.0, 3.0]])
    np.testing.assert_allclose(topology.current_matrix().toarray()[:, at["b"]], [0.5, 0.0])
    # Behind a gain of 2 everything counts a quarter; behind 2 and 3 a 36th.
    assert topology.node_weights[[at[name] for name in "abcd"]] == pytest.approx([1.0, 0.25, 0.25, 0.25 / 9])
    assert topology.asymmetry is None


def test_without_amplifiers_nothing_is_multiplied() -> None:
    """No factor of one either: what is computed stays what it was, to the last bit."""
    netlist, _ = lower(BANK["two free diodes"].circuit)
    topology = netlist.topology
    assert (len(topology.gain), len(topology.weight), topology.asymmetry) == (0, 0, None)
    for matrix in (topology.current_matrix(), topology.energy_matrix()):
        assert (matrix != topology.unknown_matrix().T.tocsr()).nnz == 0
    assert (topology.current_path_matrix() != topology.path_matrix().T.tocsr()).nnz == 0
    session = NewtonSimulator().prepare(netlist)
    diodes = session._system.diodes
    assert (session._system.gain, diodes.gains, diodes.piecewise) == (None, None, None)


def test_derivatives_of_the_energy_count_by_region() -> None:
    circuit = AMPLIFIED["amplifier pair"].circuit
    v = np.zeros((1, circuit.n_nodes))
    v[0, 1:] = np.arange(1.0, circuit.n_nodes)
    r = circuit.resistors
    square = (v[0, r.a] - v[0, r.b]) ** 2 / 2
    np.testing.assert_allclose(conductance_derivative(circuit, v)[0], square * [1.0, 0.25, 0.25 / 9])
    # A current between two regions counts at each end by itself.
    b = (
        CircuitBuilder("c")
        .resistor("r", "a", "0", 1.0)
        .amplifier("amp", "a", "b", 2.0)
        .current_source("i", "a", "b", 1.0)
    )
    v = np.array([[0.0, 3.0, 5.0]])
    np.testing.assert_allclose(current_source_derivative(b.build(), v), [[3.0 - 5.0 / 4]])


def _random(seed: int) -> CircuitBuilder:
    """Three layers of four nodes with amplifiers of 3 and 0.7 between, clamps on all, driven at the first and last."""
    rng = np.random.default_rng(seed)
    b = CircuitBuilder("random")
    b.voltage_source("high", "high", "0", 0.1).voltage_source("low", "low", "0", -0.1)
    diode = PiecewiseLinearDiode(threshold_v=0.1, on_resistance_ohm=0.5)
    for layer, gain in ((1, 3.0), (2, 0.7), (3, None)):
        for j in range(4):
            node = f"l{layer}_{j}"
            b.diode(f"u{layer}{j}", node, "high", diode).diode(f"d{layer}{j}", "low", node, diode)
            b.resistor(f"leak{layer}{j}", node, "0", float(rng.uniform(1e-6, 1e-4)))
            for k in range(4):
                before = f"x{k}" if layer == 1 else f"a{layer - 1}_{k}"
                b.resistor(f"w{layer}{k}{j}", before, node, float(rng.uniform(1e-6, 1e-4)))
            if gain is not None:
                b.amplifier(f"amp{layer}_{j}", node, f"a{layer}_{j}", gain)
    for k in range(4):
        b.voltage_source(f"x{k}", f"x{k}", "0", float(rng.normal()), driven=True)
        b.current_source(f"n{k}", "0", f"l3_{k}", float(1e-5 * rng.normal()), driven=True)
    return b


@pytest.mark.ngspice
def test_dense_and_sparse_newton_and_ngspice_agree(tmp_path: Path) -> None:
    circuit = _random(0).build()
    netlist, _ = lower(circuit)
    g, rng = circuit.resistors.conductance_s, np.random.default_rng(1)
    drives = np.concatenate([rng.normal(size=(6, 4)), 1e-5 * rng.normal(size=(6, 4))], axis=1)
    dense = NewtonSimulator(linear=LinearSolver.ELIMINATION).prepare(netlist)
    point = dense.solve(g, drives, read_sources=True)
    sparse = NewtonSimulator(linear=LinearSolver.CONJUGATE_GRADIENTS).prepare(netlist)
    np.testing.assert_allclose(sparse.solve(g, drives).voltage_v, point.voltage_v, atol=1e-12)
    streamed = NgspiceSimulator().prepare(netlist).solve(g, drives, read_sources=True)
    np.testing.assert_allclose(streamed.voltage_v, point.voltage_v, atol=1e-9)
    assert streamed.source_current_a is not None
    assert point.source_current_a is not None
    np.testing.assert_allclose(streamed.source_current_a, point.source_current_a, atol=1e-12)
    # The linearised circuit is the derivative of the circuit.
    direction = rng.normal(size=(6, 8)) * [*[1.0] * 4, *[1e-5] * 4]
    h = 1e-7
    slope = (dense.solve(g, drives + h * direction).voltage_v - dense.solve(g, drives - h * direction).voltage_v) / (
        2 * h
    )
    for session in (dense, sparse):
        response = session.small_signal(g, point.voltage_v, direction)
        np.testing.assert_allclose(response, slope, atol=1e-6)
    # And the deck reads back.
    (tmp_path / "deck.cir").write_text(format_standalone(netlist))
    found = reordered_like(read_deck(tmp_path / "deck.cir").circuit, circuit)
    assert found.amplifiers.gain.tolist() == circuit.amplifiers.gain.tolist()
    assert "amplifier" not in (find_difference(found, circuit) or "")


GOLDEN = """\
* amplified divider
.options reltol=1e-12 abstol=1e-15 vntol=1e-13
.options gmin=1e-15 itl1=500 itl2=200
.options temp=27.0 tnom=27.0
vs in 0 3.0
rtop in a 1000.0
rload b 0 1000.0
eamp sense_amp 0 a 0 4.0
vsense_amp sense_amp b 0.0
famp a 0 vsense_amp 0.25
.op
.end
"""


def test_an_amplifier_is_three_cards(tmp_path: Path) -> None:
    circuit = AMPLIFIED["amplified divider"].circuit
    assert format_standalone(lower(circuit)[0]) == GOLDEN
    (tmp_path / "deck.cir").write_text(GOLDEN)
    assert find_difference(reordered_like(read_deck(tmp_path / "deck.cir").circuit, circuit), circuit) is None
    text = str(to_pyspice(circuit))
    assert {"Eamp sense_amp 0 a 0 4.0", "Famp a 0 Vsense_amp 0.25"} <= set(text.splitlines())
    edge = to_networkx(circuit).edges["a", "b", ("amplifier", "amp")]
    assert edge["value"] == 4.0


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("famp a 0 vsense_amp 0.25", "", r"deck\.cir, line 8: a VCVS is read where it is half of an amplifier"),
        ("0.25", "0.5", r"deck\.cir, line 10: this CCCS does not draw 1 / 4\.0 of the current"),
        ("famp a 0 vsense", "famp a 0 vother", r"deck\.cir, line 10: a CCCS is read behind the other cards"),
        ("vsense_amp sense_amp b 0.0", "vsense_amp sense_amp b 1.0", r"deck\.cir, line 9: .* one source of 0 V"),
        ("\n.op\n", "\nrmore sense_amp 0 1.0\n", r"line 8: node 'sense_amp' of an amplifier belongs to it alone"),
        ("rload b 0", "rload sense_amp 0", r"node 'sense_amp' of an amplifier belongs to it alone"),
        ("eamp sense_amp 0 a 0 4.0", "eamp sense_amp b a 0 4.0", r"deck\.cir, line 8: a VCVS is read where"),
    ],
)
def test_the_reader_refuses_what_is_no_amplifier(tmp_path: Path, before: str, after: str, message: str) -> None:
    (tmp_path / "deck.cir").write_text(GOLDEN.replace(before, after))
    with pytest.raises(NetlistError, match=message):
        read_deck(tmp_path / "deck.cir")


def test_a_resistor_over_an_amplifier_leaves_no_energy() -> None:
    b = CircuitBuilder("feedback").voltage_source("s", "in", "0", 1.0).resistor("r", "in", "a", 1e-3)
    b.amplifier("amp", "a", "b", 4.0).resistor("load", "b", "0", 1e-3).resistor("over", "b", "a", 1e-3)
    netlist, _ = lower(b.build())
    with pytest.raises(SimulationError, match=r"block 'feedback': resistor 'over' \(b to a\) joins what is behind an"):
        NewtonSimulator().prepare(netlist)


@pytest.mark.ngspice
def test_ngspice_solves_what_has_no_energy() -> None:
    b = CircuitBuilder("feedback").voltage_source("s", "in", "0", 1.0).resistor("r", "in", "a", 1e-3)
    b.amplifier("amp", "a", "b", 4.0).resistor("load", "b", "0", 2e-3).resistor("over", "b", "a", 1e-3)
    circuit = b.build()
    voltage_v, _ = solve_standalone(lower(circuit)[0])
    # (1 - a) + 3 a = (1 / 4) (8 a + 3 a) in mA
    a = 1.0 / (11 / 4 - 2.0)
    assert voltage_v[circuit.nodes.index("a")] == pytest.approx(a, abs=1e-9)
    residual = kirchhoff_residual(
        analyse(circuit), circuit.resistors.conductance_s, np.zeros((1, 0)), voltage_v[None], voltage_tolerance_v=1e-9
    )
    assert residual.residual_a[0] <= residual.tolerance_a[0]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda b: b.amplifier("amp", "a", "b", 0.0), r"gain of amplifier 'amp' \(a to b\) is 0; give a finite"),
        (lambda b: b.amplifier("amp", "a", "b", -2.0), r"gain of amplifier 'amp' \(a to b\) is -2; give a finite"),
        (
            lambda b: b.amplifier("amp", "a", "b", 2.0).amplifier("two", "a", "b", 3.0),
            r"amplifier 'two' sets node 'b', which another amplifier or a voltage source sets",
        ),
        (
            lambda b: b.amplifier("amp", "a", "b", 2.0).voltage_source("v", "b", "0", 1.0),
            r"amplifier 'amp' sets node 'b', which another amplifier or a voltage source sets",
        ),
        (
            lambda b: b.amplifier("amp", "a", "b", 2.0).amplifier("back", "b", "a", 2.0),
            r"amplifier 'amp' drives its own input, by amplifiers and voltage sources at node 'b'",
        ),
        (lambda b: b.amplifier("amp", "c", "d", 2.0), r"no conducting path to ground from 'c', 'd'"),
    ],
)
def test_what_no_amplifier_can_be(build: object, message: str) -> None:
    b = CircuitBuilder("c").resistor("r", "a", "0", 1e-3)
    assert callable(build)
    with pytest.raises(CircuitError, match=message):
        validate(build(b).build())


def test_names_that_the_deck_needs() -> None:
    b = CircuitBuilder("c").resistor("r", "a", "sense_amp", 1.0).resistor("q", "sense_amp", "0", 1.0)
    with pytest.raises(NetlistError, match=r"'sense_amp' names a node or voltage source, but an amplifier's deck"):
        lower(b.amplifier("amp", "a", "b", 2.0).build())
