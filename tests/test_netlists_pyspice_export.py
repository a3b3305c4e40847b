"""`to_pyspice` gives a PySpice circuit whose text has the same operating point in plain ngspice."""

from __future__ import annotations

import numpy as np
import pytest
from circuit_bank import BANK, Case
from random_blocks import random_block, session

from circuits import Circuit, CircuitBuilder, DiodeModel
from cosim.simulators.ngspice.library import ngspice_library
from cosim.simulators.ngspice.program import run_program
from netlists import lower
from netlists.pyspice_export import to_pyspice


def run(circuit) -> np.ndarray:
    vectors = run_program(str(to_pyspice(circuit)) + "\n.op\n.end\n")
    _, node_map = lower(circuit)
    return node_map.voltages(np.array([[vectors[name][0] for name in node_map.vectors]]))[0]


@pytest.mark.ngspice
@pytest.mark.parametrize("case", BANK.values(), ids=BANK)
def test_bank_through_pyspice(case: Case) -> None:
    voltage_v = run(case.circuit)
    found = {name: voltage_v[case.circuit.nodes.index(name)] for name in case.voltages}
    assert found == pytest.approx(case.voltages, abs=1e-9, rel=0)


@pytest.mark.ngspice
def test_block_through_pyspice() -> None:
    diode = DiodeModel(saturation_current_a=1e-12, emission_coefficient=1.3, series_resistance_ohm=50.0)
    b = random_block(21, sizes=(3, 2), n_inputs=3, diode=diode, batch=1, temperature_k=340.0)
    expected = session(b.built.circuit).solve(b.conductance_s, b.drives).voltage_v[0]
    circuit = b.built.circuit.with_conductances(b.conductance_s).with_drives(b.drives[0])
    np.testing.assert_allclose(run(circuit), expected, atol=1e-8, rtol=0)


def diode_at(temperature_k: float) -> Circuit:
    model = DiodeModel(saturation_current_a=1e-12, emission_coefficient=1.3, series_resistance_ohm=50.0)
    b = CircuitBuilder("warm diode", temperature_k=temperature_k).voltage_source("s", "1", "0", 2.0)
    return b.resistor("r", "1", "node", 1e-4).diode("d", "node", "0", model).build()


@pytest.mark.ngspice
@pytest.mark.parametrize("temperature_k", [300.15, 350.15], ids=["27C", "77C"])
def test_simulator_of_pyspice_has_the_temperature_of_the_circuit(temperature_k: float) -> None:
    circuit = diode_at(temperature_k)
    expected = session(circuit).solve(circuit.resistors.conductance_s, np.zeros((1, 0))).voltage_v[0]
    ngspice_library()  # as the docstring says: PySpice uses it
    analysis = to_pyspice(circuit).simulator().operating_point()
    found = [float(np.asarray(analysis.nodes[name])[0]) for name in circuit.nodes[1:]]
    np.testing.assert_allclose(found, expected[1:], atol=1e-9, rtol=0)
    np.testing.assert_allclose(run(circuit), expected, atol=1e-9, rtol=0)


def test_devices_and_names_are_those_of_the_standalone_deck() -> None:
    b = CircuitBuilder("two\n.include x").voltage_source("s", "a", "0", 1 / 3).resistor("r", "a", "b", 3e-3)
    b.diode("d", "b", "0", DiodeModel(saturation_current_a=1.23456789012345e-14, emission_coefficient=4 / 3))
    b.resistor("q", "b", "0", 1e-3).current_source("i", "0", "b", -1e-7).capacitor("c", "b", "0", 1e-12)
    lines = str(to_pyspice(b.build())).splitlines()
    assert lines[0] == ".title two .include x"
    assert f"Vs a 0 {1 / 3!r}" in lines
    assert f"Rr a b {1 / 3e-3!r}" in lines
    assert "Ii 0 b -1e-07" in lines
    assert "Cc b 0 1e-12" in lines
    assert "Dd b 0 diode0 temp=27.0" in lines
    (model,) = (line for line in lines if line.startswith(".model"))
    assert "IS=1.23456789012345e-14" in model
    assert f"N={4 / 3!r}" in model
    assert "TNOM=27.0" in model
    assert not [line for line in lines if line.startswith(".include")]
