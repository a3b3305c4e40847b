"""Settling times: the exact one of a capacitor, all that is read within tolerance, and what does not settle."""

from __future__ import annotations

import numpy as np
import pytest
from random_blocks import random_block

from circuits import CircuitBuilder, DiodeModel, UnitNodes
from circuits.capacitance import Capacitance, node_capacitances
from cosim.errors import ConvergenceError, SimulationError
from cosim.reduce import Reduce
from cosim.simulators.newton.transient import NewtonIntegrator
from cosim.transients.integrator import Step
from cosim.transients.settling import settle, settling_times_s, times_after_step

pytestmark = pytest.mark.ngspice


def capacitor(drives_before, drives_after) -> Step:
    """Return 1 pF that 10 kohm charges to the drive."""
    circuit = (
        CircuitBuilder("capacitor")
        .voltage_source("in", "x", "0", 0.0, driven=True)
        .resistor("1", "x", "a", 1e-4)
        .build()
    )
    return Step(
        circuit=circuit,
        conductance_s=circuit.resistors.conductance_s,
        drives_before=np.array(drives_before),
        drives_after=np.array(drives_after),
        capacitance_f=np.array([0.0, 0.0, 1e-12]),
    )


A = UnitNodes(p=np.array([2]), n=None)


def test_a_capacitor_settles_when_its_exponential_does() -> None:
    step = capacitor([[0.0], [1.0], [0.5]], [[1.0], [0.5], [0.5]])
    found = settle(step, A, tolerance_v=1e-3)
    np.testing.assert_allclose(found.time_s, 1e-8 * np.log([1 / 1e-3, 0.5 / 1e-3, 1.0]), rtol=1e-4)
    np.testing.assert_allclose(found.slowest_s, 1e-8, rtol=1e-12)
    np.testing.assert_allclose(found.before_v[:, 2], [0.0, 1.0, 0.5])
    np.testing.assert_allclose(found.after_v[:, 2], [1.0, 0.5, 0.5])
    short = settling_times_s(
        step.circuit,
        step.conductance_s,
        step.drives_before,
        step.drives_after,
        step.capacitance_f,
        tolerance_v=1e-3,
        nodes=A,
    )
    np.testing.assert_array_equal(short, found.time_s)


def test_all_outputs_stay_within_the_tolerance_from_then_on() -> None:
    drawn = random_block(3, sizes=(6, 4), n_inputs=5, batch=2)
    step = Step(
        circuit=drawn.built.circuit,
        conductance_s=drawn.conductance_s,
        drives_before=np.zeros_like(drawn.drives),
        drives_after=drawn.drives,
        capacitance_f=node_capacitances(drawn.built.circuit, Capacitance()),
    )
    nodes, tolerance_v = drawn.built.layers[-1], 1e-3
    found = settle(step, nodes, tolerance_v=tolerance_v, reduce=Reduce.MIRROR, image=drawn.built.image)
    final = nodes.state(found.after_v, 1.0)
    for k, settled_s in enumerate(found.time_s):
        away = np.abs(nodes.state(found.waveforms.voltage_v[k], 1.0) - final[k]).max(axis=1)
        time_s = found.waveforms.time_s
        assert (away[time_s >= settled_s] <= tolerance_v).all()
        assert away[time_s < settled_s][-1] > tolerance_v
    other = settle(
        step,
        nodes,
        tolerance_v=tolerance_v,
        integrator=NewtonIntegrator(accuracy_v=1e-4),
        reduce=Reduce.MIRROR,
        image=drawn.built.image,
    )
    np.testing.assert_allclose(other.time_s, found.time_s, rtol=2e-2)
    np.testing.assert_allclose(found.waveforms.voltage_v[:, -1], found.after_v, atol=2 * tolerance_v)


def pulled_up(volts: float) -> Step:
    """Return a node that 1 nA lifts until a diode conducts it; there time constants are of that diode."""
    circuit = (
        CircuitBuilder("pulled")
        .current_source("in", "0", "a", 0.0, driven=True)
        .diode("1", "a", "0", DiodeModel())
        .resistor("1", "a", "0", 1e-14)
        .current_source("down", "a", "0", 0.0, driven=True)
        .resistor("2", "b", "a", 1e-12)
        .voltage_source("rail", "b", "0", -volts)
        .build()
    )
    return Step(
        circuit=circuit,
        conductance_s=circuit.resistors.conductance_s,
        drives_before=np.array([[0.0, 0.0]]),
        drives_after=np.array([[1e-9, 0.0]]),
        capacitance_f=np.array([0.0, 1e-12, 0.0]),
    )


def test_what_does_not_settle_is_named_with_what_to_do() -> None:
    with pytest.raises(ConvergenceError, match=r"block 'pulled': 1 of 1 samples have not settled .*time constant"):
        settle(pulled_up(60.0), UnitNodes(p=np.array([1]), n=None), tolerance_v=1e-3)


@pytest.mark.parametrize("tolerance_v", [0.0, -1.0, np.nan])
def test_a_tolerance_has_to_be_above_zero(tolerance_v: float) -> None:
    with pytest.raises(SimulationError, match="block 'capacitor': tolerance_v"):
        settle(capacitor([[0.0]], [[1.0]]), A, tolerance_v=tolerance_v)


def test_times_show_what_is_fast_and_what_is_slow() -> None:
    time_s = times_after_step(1e-12, 1e-9)
    assert time_s[0] == 0.0
    assert 1e-13 < time_s[1] < 1e-12
    assert time_s[-1] == 1e-9
    assert (np.diff(time_s) > 0).all()
    assert np.diff(time_s).max() < 1.1e-9 / 119
