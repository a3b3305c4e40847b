"""Every simulator finds the hand-computed answers of the bank; what it returns is physics for any circuit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from circuit_bank import BANK, Case

from circuits.arrays import Floats
from circuits.cocontent import cocontent
from circuits.kirchhoff import diode_currents, kirchhoff_residual, source_currents
from cosim.simulators.base import AbstractSimulator
from cosim.simulators.newton import NewtonSimulator
from cosim.simulators.ngspice import NgspiceSimulator
from cosim.simulators.ngspice.program import solve_standalone
from netlists import Netlist, lower

# A solver takes a netlist and returns [n_nodes] V and [n_voltage_sources] A.
Solver = Callable[[Netlist], tuple[Floats, Floats]]


def solve_in(simulator: AbstractSimulator, netlist: Netlist) -> tuple[Floats, Floats]:
    session = simulator.prepare(netlist)
    g = netlist.circuit.resistors.conductance_s
    point = session.solve(g, np.zeros((1, netlist.circuit.n_drives)), read_sources=True)
    assert point.source_current_a is not None
    return point.voltage_v[0], point.source_current_a[0]


def solve_newton(netlist: Netlist) -> tuple[Floats, Floats]:
    return solve_in(NewtonSimulator(), netlist)


def solve_streamed(netlist: Netlist) -> tuple[Floats, Floats]:
    return solve_in(NgspiceSimulator(), netlist)


SOLVERS = [
    pytest.param(solve_newton, id="newton"),
    pytest.param(solve_streamed, id="ngspice-streamed", marks=pytest.mark.ngspice),
    pytest.param(solve_standalone, id="ngspice-program", marks=pytest.mark.ngspice),
]

solvers = pytest.mark.parametrize("solve", SOLVERS)
cases = pytest.mark.parametrize("case", BANK.values(), ids=BANK)


@solvers
@cases
def test_bank_has_the_answers_worked_out_by_hand(case: Case, solve: Solver) -> None:
    circuit = case.circuit
    voltage_v, current_a = solve(lower(circuit)[0])
    assert voltage_v[0] == 0.0
    found = {name: voltage_v[circuit.nodes.index(name)] for name in case.voltages}
    assert found == pytest.approx(case.voltages, abs=1e-9, rel=0)
    found = {name: current_a[circuit.voltage_sources.names.index(name)] for name in case.currents}
    assert found == pytest.approx(case.currents, abs=1e-12, rel=1e-9)


@solvers
@cases
def test_bank_obeys_kirchhoff_and_minimises_the_cocontent(case: Case, solve: Solver) -> None:
    netlist, _ = lower(case.circuit)
    circuit, topology = netlist.circuit, netlist.topology
    g, drives = circuit.resistors.conductance_s, np.zeros((1, 0))
    voltage_v, current_a = solve(netlist)
    residual = kirchhoff_residual(topology, g, drives, voltage_v[None], voltage_tolerance_v=1e-9)
    assert residual.residual_a[0] <= residual.tolerance_a[0]
    np.testing.assert_allclose(current_a, source_currents(topology, g, drives, voltage_v[None])[0], atol=1e-12)
    # A step of any unknown, with everything tied to it, can only raise F.
    lowest = cocontent(circuit, g, drives, voltage_v[None])[0]
    for k in range(topology.n_unknowns):
        for step in (1e-3, -1e-3):
            moved = voltage_v + step * (topology.unknown_of_node == k)
            assert cocontent(circuit, g, drives, moved[None])[0] > lowest


@solvers
@cases
def test_bank_power_delivered_is_power_dissipated(case: Case, solve: Solver) -> None:
    circuit = case.circuit
    voltage_v, source_a = solve(lower(circuit)[0])
    r, d, v, i = circuit.resistors, circuit.diodes, circuit.voltage_sources, circuit.current_sources
    diode_a = diode_currents(circuit, voltage_v[None])[0][0] if len(d) else np.zeros(0)
    dissipated = r.conductance_s @ (voltage_v[r.a] - voltage_v[r.b]) ** 2
    dissipated += diode_a @ (voltage_v[d.anode] - voltage_v[d.cathode])
    delivered = source_a @ v.voltage_v + i.current_a @ (voltage_v[i.end] - voltage_v[i.start])
    assert delivered == pytest.approx(dissipated, rel=1e-8, abs=0)
