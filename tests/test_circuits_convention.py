"""The one convention for numbers: F = 2 g_unit v_unit^2 E (differential) and g_unit v_unit^2 E (single).

E is written out here per unit, from the states, so that a lost factor of two or sign anywhere shows.
"""

from __future__ import annotations

import numpy as np
import pytest
from random_blocks import RandomBlock, random_block, session

from circuits import CircuitError, Drive, EnergyBlock, NodeLayer, Polarity, build
from circuits.arrays import Floats
from circuits.cocontent import cocontent

V_UNIT_V, G_UNIT_S = 0.4, 2.5e-5
KINDS = [
    pytest.param(polarity, drive, id=f"{polarity.value}-{drive.value}") for polarity in Polarity for drive in Drive
]
kinds = pytest.mark.parametrize(("polarity", "drive"), KINDS)


def linear_block(polarity: Polarity, drive: Drive) -> RandomBlock:
    return random_block(
        7,
        sizes=(4, 3),
        n_inputs=5,
        polarity=polarity,
        drive=drive,
        leak_s=3e-6,
        clamped=False,
        v_unit_v=V_UNIT_V,
        g_unit_s=G_UNIT_S,
        output_layers=(1, 0),
        batch=3,
    )


def pair_energy(plus: Floats, minus: Floats | None, s_row: Floats, s_column: Floats) -> Floats:
    """Sum over the weights of 1/2 G+ (s - s')^2 + 1/2 G- (s + s')^2."""
    energy = np.einsum("ij,bij->b", plus, (s_row[:, :, None] - s_column[:, None, :]) ** 2) / 2
    if minus is not None:
        energy += np.einsum("ij,bij->b", minus, (s_row[:, :, None] + s_column[:, None, :]) ** 2) / 2
    return energy


def energy(b: RandomBlock, s1: Floats, s2: Floats, nudge: Floats) -> Floats:
    """E of a linear block of two layers from its states, nudge term included."""
    one = np.ones((len(b.x), 1))
    parts = {"w2": (s1, s2), "b1": (one, s1), "b2": (one, s2)}
    if b.built.block.drive is Drive.VOLTAGE:
        parts["w1"] = (b.x, s1)
    total = sum(pair_energy(b.plus[name], b.minus.get(name), *states) for name, states in parts.items())
    leak = 3e-6 / G_UNIT_S / 2
    total = total + leak * (s1**2).sum(axis=1) + leak * (s2**2).sum(axis=1)
    if b.built.block.drive is Drive.CURRENT:
        total = total - (b.x * s1).sum(axis=1)
    return total + (nudge * np.concatenate([s2, s1], axis=1)).sum(axis=1)


@kinds
def test_cocontent_is_the_energy_of_the_states(polarity: Polarity, drive: Drive) -> None:
    b = linear_block(polarity, drive)
    circuit = b.built.circuit
    rng = np.random.default_rng(0)
    nudge = rng.normal(size=(3, 7))
    drives = b.built.drives(b.x, nudge)
    voltage_v = session(circuit).solve(b.conductance_s, drives).voltage_v
    # Away from equilibrium too, as long as p and n mirror each other.
    s1, s2 = rng.normal(size=(3, 4)), rng.normal(size=(3, 3))
    for units, s in zip(b.built.layers, (s1, s2), strict=True):
        voltage_v[:, units.p] = V_UNIT_V * s
        if units.n is not None:
            voltage_v[:, units.n] = -V_UNIT_V * s
    factor = (2 if polarity is Polarity.DIFFERENTIAL else 1) * G_UNIT_S * V_UNIT_V**2
    found = cocontent(circuit, b.conductance_s, drives, voltage_v)
    # Bias rows and inputs see each other through nothing, so F has no constant besides E.
    np.testing.assert_allclose(found, factor * energy(b, s1, s2, nudge), rtol=1e-12)


@kinds
def test_equilibrium_minimises_the_energy(polarity: Polarity, drive: Drive) -> None:
    b = linear_block(polarity, drive)
    nudge = np.random.default_rng(0).normal(size=(3, 7)) * 0.1
    point = session(b.built.circuit).solve(b.conductance_s, b.built.drives(b.x, nudge))
    s1, s2 = (units.state(point.voltage_v, V_UNIT_V) for units in b.built.layers)
    for k in range(7):
        step = 1e-3 * (np.arange(7) == k)
        up = energy(b, s1 + step[:4], s2 + step[4:], nudge)
        down = energy(b, s1 - step[:4], s2 - step[4:], nudge)
        np.testing.assert_allclose(up - down, 0, atol=1e-12)
        assert (up + down > 2 * energy(b, s1, s2, nudge)).all()


@kinds
def test_drives_by_hand(polarity: Polarity, drive: Drive) -> None:
    block = EnergyBlock(
        name="b",
        n_inputs=2,
        layers=(NodeLayer(size=2, leak_s=1e-5), NodeLayer(size=1, leak_s=1e-5)),
        drive=drive,
        polarity=polarity,
        v_unit_v=0.5,
        g_unit_s=1e-4,
    )
    drives = build(block).drives(np.array([[1.0, -2.0]]), np.array([[3.0]]))
    unit = 0.5 if drive is Drive.VOLTAGE else 0.5e-4
    # x into p; the nudge is drawn out of p and pushed into n.
    expected = {
        Polarity.DIFFERENTIAL: [unit, -2 * unit, -unit, 2 * unit, -1.5e-4, 1.5e-4],
        Polarity.SINGLE: [unit, -2 * unit, -1.5e-4],
    }[polarity]
    np.testing.assert_allclose(drives, [expected], rtol=1e-15)
    free = build(block).drives(np.array([[1.0, -2.0]]))
    assert free.shape == drives.shape
    assert (free[:, -1] == 0).all()


@kinds
def test_nudge_pulls_the_output_down(polarity: Polarity, drive: Drive) -> None:
    # beta ds . s is added to F, so a positive ds lowers s: the loss falls along the nudge.
    b = linear_block(polarity, drive)
    s = session(b.built.circuit)
    free = b.built.outputs(s.solve(b.conductance_s, b.built.drives(b.x)).voltage_v)
    for k in range(7):
        nudge = np.zeros((3, 7))
        nudge[:, k] = 0.1
        nudged = b.built.outputs(s.solve(b.conductance_s, b.built.drives(b.x, nudge)).voltage_v)
        assert (nudged[:, k] < free[:, k]).all()


@kinds
def test_outputs_are_the_states_in_the_order_asked_for(polarity: Polarity, drive: Drive) -> None:
    b = linear_block(polarity, drive)
    voltage_v = np.random.default_rng(0).normal(size=(3, b.built.circuit.n_nodes))
    first, second = b.built.layers

    def state(units) -> Floats:
        if units.n is None:
            return voltage_v[:, units.p] / V_UNIT_V
        return (voltage_v[:, units.p] - voltage_v[:, units.n]) / (2 * V_UNIT_V)

    np.testing.assert_array_equal(b.built.outputs(voltage_v), np.hstack([state(second), state(first)]))


def test_drives_refuse_wrong_shapes() -> None:
    built = build(EnergyBlock(name="b", n_inputs=2, layers=(NodeLayer(size=2, leak_s=1e-5),)))
    with pytest.raises(CircuitError, match=r"block 'b': input of shape \(3, 4\); give \[batch, 2\]"):
        built.drives(np.zeros((3, 4)))
    with pytest.raises(CircuitError, match=r"input of shape \(2,\)"):
        built.drives(np.zeros(2))
    with pytest.raises(CircuitError, match=r"nudge of shape \(1, 2\) for 3 samples; give \[3, 2\]"):
        built.drives(np.zeros((3, 2)), np.zeros((1, 2)))
