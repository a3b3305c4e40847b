"""Kirchhoff's law by brute force, device by device, against the array code; and source currents."""

from __future__ import annotations

import numpy as np
import pytest
from circuit_bank import BANK, RESISTIVE
from random_blocks import random_block, session

from circuits import Circuit, CircuitBuilder, DiodeModel, Drive, Polarity, validate
from circuits.arrays import Floats
from circuits.diode import junction_current, junction_voltage
from circuits.kirchhoff import (
    diode_currents,
    is_known,
    kirchhoff_residual,
    known_voltages,
    leaving_currents,
    source_currents,
)


def brute_force_leaving(circuit: Circuit, g: Floats, drives: Floats, v: Floats) -> Floats:
    """Sum for one sample, device by device, what leaves each node through all but the voltage sources."""
    leaving = np.zeros(circuit.n_nodes)

    def flow(start: int, end: int, current: float) -> None:
        leaving[start] += current
        leaving[end] -= current

    r, d, i = circuit.resistors, circuit.diodes, circuit.current_sources
    for k in range(len(r)):
        flow(r.a[k], r.b[k], g[k] * (v[r.a[k]] - v[r.b[k]]))
    for k in range(len(d)):
        model = d.models[d.model[k]]
        i_s, n_vt = model.saturation_current_at_a(circuit.temperature_k), model.thermal_voltage_v(circuit.temperature_k)
        terminal = np.array([v[d.anode[k]] - v[d.cathode[k]]])
        u = junction_voltage(terminal, i_s, n_vt, np.array([model.series_resistance_ohm]), circuit.gmin_s)
        flow(d.anode[k], d.cathode[k], junction_current(u, i_s, n_vt, circuit.gmin_s)[0][0])
    _, currents = circuit.source_values(drives[None])
    for k in range(len(i)):
        flow(i.start[k], i.end[k], currents[0, k])
    return leaving


@pytest.mark.parametrize("drive", Drive)
@pytest.mark.parametrize("polarity", Polarity)
def test_leaving_currents_device_by_device(polarity: Polarity, drive: Drive) -> None:
    b = random_block(1, sizes=(3, 2), n_inputs=3, polarity=polarity, drive=drive, diode=RESISTIVE)
    circuit = b.built.circuit
    v = np.random.default_rng(0).normal(size=(len(b.x), circuit.n_nodes)) * 0.3
    found = leaving_currents(circuit, b.conductance_s, b.drives, v)
    for k in range(len(v)):
        expected = brute_force_leaving(circuit, b.conductance_s, b.drives[k], v[k])
        np.testing.assert_allclose(found[k], expected, rtol=1e-9, atol=1e-18)
    # What leaves all nodes together is nothing.
    np.testing.assert_allclose(found.sum(axis=1), 0, atol=1e-12 * np.abs(found).max())


def test_residual_is_the_worst_unknown_with_everything_tied_to_it() -> None:
    circuit = BANK["floating source"].circuit
    topology = validate(circuit)
    g = circuit.resistors.conductance_s
    # The right answer with the unknown lifted by 0.1 V: 3 mS x 0.1 V flow off, at both ends of the source together.
    v = np.array([[0.0, 1.1, -1.9], [0.0, 1.0, -2.0]])
    v[:, circuit.nodes.index("b")] = v[:, circuit.nodes.index("a")] - 3.0
    residual = kirchhoff_residual(topology, g, np.zeros((2, 0)), v, voltage_tolerance_v=1e-3)
    np.testing.assert_allclose(residual.residual_a, [1.5e-3 * 0.1, 0], atol=1e-18)
    np.testing.assert_allclose(residual.tolerance_a, 1.5e-6)
    assert residual.node[0] == topology.node_of_unknown[0]


def test_tolerance_counts_the_diodes_conductance() -> None:
    case = BANK["upper clamp"]
    circuit, topology = case.circuit, validate(case.circuit)
    g = circuit.resistors.conductance_s
    v = session(circuit).solve(g, np.zeros((1, 0))).voltage_v
    residual = kirchhoff_residual(topology, g, np.zeros((1, 0)), v, voltage_tolerance_v=1e-9)
    n_vt = circuit.k_over_q_v_per_k * 300.15
    assert residual.tolerance_a[0] == pytest.approx(1e-9 * (1e-4 + 1e-4 / n_vt), rel=1e-6, abs=0)
    # A voltage error of the tolerance is accepted, ten times as much is not.
    for factor, accepted in ((0.5, True), (10, False)):
        moved = v + factor * 1e-9 * (topology.unknown_of_node == 0)
        check = kirchhoff_residual(topology, g, np.zeros((1, 0)), moved, voltage_tolerance_v=1e-9)
        assert (check.residual_a[0] <= check.tolerance_a[0]) == accepted


def test_nonsense_voltages_are_judged_without_a_warning() -> None:
    # A simulator may return anything: NaN and 1e3 V across a diode have to come out as "no".
    circuit = BANK["upper clamp"].circuit
    v = np.zeros((3, circuit.n_nodes))
    v[0] = np.nan
    v[1, circuit.nodes.index("node")] = 1e3
    v[2, circuit.nodes.index("node")] = np.inf
    residual = kirchhoff_residual(
        validate(circuit), circuit.resistors.conductance_s, np.zeros((3, 0)), v, voltage_tolerance_v=1e-9
    )
    assert not (residual.residual_a <= residual.tolerance_a).any()
    assert residual.tolerance_a[1] == 0.0  # where the current overflows, nothing is tolerated


def test_circuit_without_unknowns_has_no_residual() -> None:
    circuit = BANK["source and load"].circuit
    residual = kirchhoff_residual(
        validate(circuit), circuit.resistors.conductance_s, np.zeros((2, 0)), np.zeros((2, 2)), voltage_tolerance_v=1e-9
    )
    assert residual.residual_a.tolist() == [0, 0]
    assert (residual.residual_a <= residual.tolerance_a).all()


def test_diode_current_and_conductance_with_series_resistance() -> None:
    b = CircuitBuilder("d").diode("d", "a", "0", RESISTIVE).resistor("r", "a", "0", 1e-3)
    circuit = b.build()
    v = np.array([[0.0, 0.9], [0.0, -3.0]])
    current, conductance = diode_currents(circuit, v)
    # V = n V_t ln(1 + I / I_s) + R_s I, gmin left out.
    junction = RESISTIVE.forward_voltage_v(current[0, 0], 300.15)
    assert junction == pytest.approx(0.9, abs=1e-9)
    h = 1e-6
    up, _ = diode_currents(circuit, v + np.array([0, h]))
    down, _ = diode_currents(circuit, v - np.array([0, h]))
    np.testing.assert_allclose((up - down) / (2 * h), conductance, rtol=1e-6, atol=1e-20)


def test_source_currents_balance_in_a_random_tree_of_sources() -> None:
    b = CircuitBuilder("tree")
    for k, (plus, minus, value) in enumerate(
        [("a", "0", 1.0), ("b", "a", -0.5), ("d", "c", 2.0), ("e", "c", 0.3), ("f", "e", 0.2)]
    ):
        b.voltage_source(f"s{k}", plus, minus, value)
    rng = np.random.default_rng(0)
    names = ["0", *"abcdefg"]
    for k, one in enumerate(names):
        for other in names[k + 1 :]:
            b.resistor(f"r{one}{other}", one, other, float(rng.uniform(1e-4, 1e-3)))
    circuit = b.diode("x", "d", "g", DiodeModel()).build()
    g, drives = circuit.resistors.conductance_s, np.zeros((1, 0))
    topology = validate(circuit)
    v = session(circuit).solve(g, drives).voltage_v
    current = source_currents(topology, g, drives, v)[0]
    # At every node what leaves through all else is what the sources bring: plus gets it, minus gives it.
    brought = np.zeros(circuit.n_nodes)
    np.add.at(brought, circuit.voltage_sources.plus, current)
    np.add.at(brought, circuit.voltage_sources.minus, -current)
    np.testing.assert_allclose(leaving_currents(circuit, g, drives, v)[0], brought, atol=1e-14)
    # A wrong source set away from the path: nodes known by sources alone.
    assert [circuit.nodes[k] for k in np.flatnonzero(is_known(topology))] == ["0", "a", "b"]
    np.testing.assert_allclose(known_voltages(topology, drives)[0][:3], [0, 1.0, 0.5])
