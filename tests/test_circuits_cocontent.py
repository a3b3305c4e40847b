"""Co-content: the operating point minimises it, and its local derivatives are those of its value at equilibrium."""

from __future__ import annotations

import numpy as np
import pytest
from circuit_bank import RESISTIVE
from random_blocks import RandomBlock, random_block, session

from circuits import Circuit, CircuitBuilder, DiodeModel, Drive, Polarity, validate
from circuits.arrays import Floats
from circuits.cocontent import (
    cocontent,
    conductance_derivative,
    current_source_derivative,
    response_gradient,
)
from circuits.kirchhoff import source_currents

KINDS = [
    pytest.param(polarity, drive, id=f"{polarity.value}-{drive.value}") for polarity in Polarity for drive in Drive
]
kinds = pytest.mark.parametrize(("polarity", "drive"), KINDS)


def block(polarity: Polarity, drive: Drive, seed: int = 3) -> RandomBlock:
    return random_block(seed, sizes=(4, 3), n_inputs=5, polarity=polarity, drive=drive, batch=2, diode=RESISTIVE)


def equilibrium_value(circuit: Circuit, g: Floats, drives: Floats) -> Floats:
    """F at its minimum, so that the derivative by a parameter includes that the voltages move."""
    return cocontent(circuit, g, drives, session(circuit).solve(g, drives).voltage_v)


def test_value_by_hand() -> None:
    b = CircuitBuilder("hand").resistor("r", "a", "b", 2e-3).current_source("i", "a", "b", 1e-3)
    b.diode("d", "b", "0", DiodeModel(saturation_current_a=1e-6)).resistor("leak", "a", "0", 1e-3)
    circuit = b.build()
    v = np.array([[0.0, 1.0, -0.4]])  # -0.4 V: the reverse region
    n_vt = circuit.k_over_q_v_per_k * 300.15
    edge = -3 * n_vt
    # Forward part down to the edge, then the integral of -I_s (1 + (3 n V_t / e)^3 / v^3).
    scale = (3 * n_vt / np.e) ** 3
    diode = 1e-6 * (n_vt * (np.exp(-3) - 1) - edge) - 1e-6 * ((-0.4 - edge) - scale / 2 * (0.4**-2 - edge**-2))
    expected = 2e-3 / 2 * 1.4**2 + 1e-3 / 2 + diode + 1e-15 / 2 * 0.16 - 1e-3 * (-0.4 - 1.0)
    assert cocontent(circuit, circuit.resistors.conductance_s, np.zeros((1, 0)), v)[0] == pytest.approx(
        expected, rel=1e-13, abs=0
    )


@kinds
def test_operating_point_is_stationary(polarity: Polarity, drive: Drive) -> None:
    b = block(polarity, drive)
    circuit, g = b.built.circuit, b.conductance_s
    topology = validate(circuit)
    voltage_v = session(circuit).solve(g, b.drives).voltage_v
    h = 1e-4
    for k in range(topology.n_unknowns):
        moved = h * (topology.unknown_of_node == k)
        up, down, here = (cocontent(circuit, g, b.drives, voltage_v + s * moved) for s in (1, -1, 0))
        # In watts per volt, that is amperes: the drives are 1e-4 A.
        assert np.abs((up - down) / (2 * h)).max() < 2e-8
        assert (up + down - 2 * here > 0).all()


@kinds
def test_derivative_by_a_conductance(polarity: Polarity, drive: Drive) -> None:
    b = block(polarity, drive)
    circuit, g = b.built.circuit, b.conductance_s
    point = session(circuit).solve(g, b.drives)
    derivative = conductance_derivative(circuit, point.voltage_v)
    rng = np.random.default_rng(0)
    for k in rng.choice(len(g), 12, replace=False):
        h = 1e-3 * g[k]
        up, down = g.copy(), g.copy()
        up[k] += h
        down[k] -= h
        slope = (equilibrium_value(circuit, up, b.drives) - equilibrium_value(circuit, down, b.drives)) / (2 * h)
        np.testing.assert_allclose(derivative[:, k], slope, rtol=2e-4, atol=1e-7)


@kinds
def test_derivative_by_a_source(polarity: Polarity, drive: Drive) -> None:
    # The signs matter: dF/dI = -(v_end - v_start), dF/dV = + the current delivered at the plus node.
    b = block(polarity, drive)
    circuit, g = b.built.circuit, b.conductance_s
    voltage_v = session(circuit).solve(g, b.drives).voltage_v
    delivered = source_currents(validate(circuit), g, b.drives, voltage_v)[:, circuit.driven_voltage_sources]
    by_current = current_source_derivative(circuit, voltage_v)[:, circuit.driven_current_sources]
    derivative = np.concatenate([delivered, by_current], axis=1)
    assert derivative.shape == b.drives.shape
    n_voltage = delivered.shape[1]
    for k in range(circuit.n_drives):
        h = 1e-4 if k < n_voltage else 1e-8
        change = h * (np.arange(circuit.n_drives) == k)
        slope = equilibrium_value(circuit, g, b.drives + change) - equilibrium_value(circuit, g, b.drives - change)
        scale = np.abs(derivative[:, :n_voltage] if k < n_voltage else derivative[:, n_voltage:]).max()
        np.testing.assert_allclose(derivative[:, k], slope / (2 * h), rtol=1e-4, atol=1e-5 * scale)


def test_derivative_by_a_floating_source() -> None:
    # A source between two free nodes: only Tellegen's sum over everything tied to its plus side is right.
    def make(voltage_v: float) -> Circuit:
        b = CircuitBuilder("floating").voltage_source("s", "a", "b", voltage_v).resistor("ra", "a", "0", 1e-3)
        b.voltage_source("t", "a", "c", 0.5).resistor("rc", "c", "0", 3e-3)
        b.resistor("rb", "b", "0", 2e-3).current_source("i", "0", "b", 1e-3)
        return b.diode("d", "c", "b", DiodeModel()).build()

    def value(voltage_v: float) -> float:
        circuit = make(voltage_v)
        return float(equilibrium_value(circuit, circuit.resistors.conductance_s, np.zeros((1, 0)))[0])

    circuit = make(0.9)
    point = session(circuit).solve(circuit.resistors.conductance_s, np.zeros((1, 0)), read_sources=True)
    assert point.source_current_a is not None
    slope = (value(0.9 + 1e-4) - value(0.9 - 1e-4)) / 2e-4
    assert point.source_current_a[0, 0] == pytest.approx(slope, rel=1e-6, abs=0)


@kinds
def test_response_gradient_is_the_difference_of_the_local_derivatives(polarity: Polarity, drive: Drive) -> None:
    # D[1/2 dv^2] / (2 beta) = mean dv times D[dv] / (2 beta), exactly; summed over the batch.
    b = block(polarity, drive)
    circuit, s = b.built.circuit, session(b.built.circuit)
    beta = 0.05
    ds = np.random.default_rng(1).normal(size=(len(b.x), b.built.block.n_outputs))
    up = s.solve(b.conductance_s, b.built.drives(b.x, beta * ds)).voltage_v
    down = s.solve(b.conductance_s, b.built.drives(b.x, -beta * ds)).voltage_v
    mean_v, response_v = (up + down) / 2, (up - down) / (2 * beta)
    local = (conductance_derivative(circuit, up) - conductance_derivative(circuit, down)).sum(axis=0) / (2 * beta)
    np.testing.assert_allclose(response_gradient(circuit, mean_v, response_v), local, rtol=1e-9, atol=1e-15)
    # A crossbar's weight takes the mean of its two devices, in units of g_unit and v_unit.
    v_unit_v = b.built.block.v_unit_v
    for crossbar in b.built.crossbars:
        plus, minus = crossbar.response_gradient(mean_v, response_v, v_unit_v)
        np.testing.assert_allclose(plus, local[crossbar.plus].mean(axis=0) / v_unit_v**2, rtol=1e-9, atol=1e-15)
        assert (minus is None) == (polarity is Polarity.SINGLE)
        if minus is not None:
            np.testing.assert_allclose(minus, local[crossbar.minus].mean(axis=0) / v_unit_v**2, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("v_unit_v", [1.0, 0.5])
@kinds
def test_nudged_response_is_the_gradient_of_a_loss(polarity: Polarity, drive: Drive, v_unit_v: float) -> None:
    # L = sum c . s at free equilibrium, so ds = c; by finite differences of relaxations. Norm and sign count too.
    b = random_block(5, sizes=(4, 3), n_inputs=4, polarity=polarity, drive=drive, batch=2, v_unit_v=v_unit_v)
    built, s = b.built, session(b.built.circuit)
    c = np.random.default_rng(2).normal(size=(len(b.x), built.block.n_outputs))

    def loss(plus: dict[str, Floats], x: Floats) -> float:
        return float((c * built.outputs(s.solve(built.program(plus, b.minus), built.drives(x)).voltage_v)).sum())

    beta = 1e-3
    up = s.solve(b.conductance_s, built.drives(b.x, beta * c)).voltage_v
    down = s.solve(b.conductance_s, built.drives(b.x, -beta * c)).voltage_v
    mean_v, response_v = (up + down) / 2, (up - down) / (2 * beta)
    for crossbar in built.crossbars:
        gradient, _ = crossbar.response_gradient(mean_v, response_v, v_unit_v)
        h = 1e-4 * np.random.default_rng(3).normal(size=crossbar.shape)
        slope = loss({**b.plus, crossbar.name: b.plus[crossbar.name] + h}, b.x)
        slope -= loss({**b.plus, crossbar.name: b.plus[crossbar.name] - h}, b.x)
        assert (gradient * h).sum() == pytest.approx(slope / 2, rel=2e-3, abs=1e-9)
    # Input: -D[s] / (2 beta) with current drive.
    if drive is Drive.CURRENT:
        h = 1e-4 * np.random.default_rng(4).normal(size=b.x.shape)
        gradient = -built.layers[0].state(response_v, v_unit_v)
        assert (gradient * h).sum() == pytest.approx((loss(b.plus, b.x + h) - loss(b.plus, b.x - h)) / 2, rel=2e-3)
