"""The audit of neurons, sources and temperature: each is off by the amount that its formula says."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from nonideal_blocks import CLAMP, check, log_normal, small_block

from circuits import Drive, EnergyBlock, NodeLayer
from circuits.arrays import Floats
from circuits.devices import Spread
from circuits.fabrication import fabricate
from circuits.kirchhoff import diode_currents
from circuits.neuron_spread import NeuronSpread
from circuits.nonidealities import NonIdealities
from circuits.source_errors import SourceErrors


def many_units(neurons: NeuronSpread | None = None, sources: SourceErrors | None = None):
    """Return a block of 5,000 current-driven units, so 10,000 leaks and sources and 20,000 diodes; and as designed."""
    layer = NodeLayer(size=5000, clamp=CLAMP, leak_s=3e-5, bias=True)
    block = EnergyBlock(name="units", n_inputs=5000, layers=(layer,), drive=Drive.CURRENT)
    return fabricate(block, NonIdealities(neurons=neurons, sources=sources)), fabricate(block, None)


def model_values(made, name: str) -> Floats:
    diodes = made.circuit.diodes
    return np.array([getattr(diodes.models[k], name) for k in diodes.model])


def test_saturation_currents() -> None:
    spread = log_normal(0.4)
    made, designed = many_units(NeuronSpread(saturation_current=spread))
    factor = model_values(made, "saturation_current_a") / model_values(designed, "saturation_current_a")
    check(factor, 1.0, 0.4)
    s = math.sqrt(math.log(1 + 0.4**2))
    check(np.log(factor), -(s**2) / 2, s)
    np.testing.assert_array_equal(model_values(made, "emission_coefficient"), 1.0)


def test_emission_coefficients() -> None:
    made, _ = many_units(NeuronSpread(emission_coefficient=Spread(relative_std=0.05)))
    check(model_values(made, "emission_coefficient"), 1.0, 0.05)
    np.testing.assert_array_equal(model_values(made, "saturation_current_a"), 1e-14)


def test_rails() -> None:
    """The rail of each diode is off by a draw of its own, and the diode sees it: at its other end is its rail."""
    made, designed = many_units(NeuronSpread(rail_std_v=0.01))
    circuit, plain = made.circuit, designed.circuit
    taps = circuit.voltage_sources.voltage_v[len(plain.voltage_sources) :]
    check(taps, 0.0, 0.01)
    # As a diode sees them: the voltage of every rail node, from its chain of sources to ground.
    voltage_v = np.zeros(circuit.n_nodes)
    for plus, minus, value in zip(
        circuit.voltage_sources.plus, circuit.voltage_sources.minus, circuit.voltage_sources.voltage_v, strict=True
    ):
        voltage_v[plus] = value + voltage_v[minus]
    of_rails = np.zeros(plain.n_nodes)
    of_rails[plain.voltage_sources.plus] = plain.voltage_sources.voltage_v
    for end in ("anode", "cathode"):
        seen, nominal = voltage_v[getattr(circuit.diodes, end)], of_rails[getattr(plain.diodes, end)]
        at_rail = nominal != 0.0
        assert at_rail.sum() == 10_000
        check((seen - nominal)[at_rail], 0.0, 0.01)
        np.testing.assert_array_equal(getattr(circuit.diodes, end)[~at_rail], getattr(plain.diodes, end)[~at_rail])


def test_leaks() -> None:
    made, designed = many_units(NeuronSpread(leak=Spread(relative_std=0.1)))
    leaks = designed.leak_devices
    factor = made.circuit.resistors.conductance_s / designed.circuit.resistors.conductance_s
    check(factor[leaks], 1.0, 0.1)
    np.testing.assert_array_equal(np.delete(factor, leaks), 1.0)


@pytest.mark.parametrize("name", ["saturation_current", "emission_coefficient", "rail_std_v", "leak"])
def test_each_spread_of_neurons_leaves_the_draws_of_the_others(name: str) -> None:
    everything = {
        "saturation_current": log_normal(0.4),
        "emission_coefficient": Spread(relative_std=0.05),
        "rail_std_v": 0.01,
        "leak": Spread(relative_std=0.1),
    }
    block = small_block()

    def draws(**chosen) -> dict[str, Floats]:
        made = fabricate(block, NonIdealities(neurons=NeuronSpread(**chosen)))
        return {
            "saturation_current": model_values(made, "saturation_current_a"),
            "emission_coefficient": model_values(made, "emission_coefficient"),
            "rail_std_v": made.circuit.voltage_sources.voltage_v,
            "leak": made.circuit.resistors.conductance_s[made.leak_devices],
        }

    np.testing.assert_array_equal(draws(**everything)[name], draws(**{name: everything[name]})[name])


def test_gain_and_offset_of_current_sources() -> None:
    """value = (1 + 0.1 + 0.02 xi) asked + (0.3 + 0.05 xi') g_unit v_unit; p and n, input and nudge each their own."""
    errors = SourceErrors(gain_error=0.1, gain_std=0.02, offset=0.3, offset_std=0.05)
    made, _ = many_units(sources=errors)
    x, nudge, nothing = np.full((1, 5000), 2.0), np.full((1, 5000), 0.5), np.zeros((1, 5000))
    offset_a, driven_a = made.drives(nothing, nothing)[0], made.drives(x, nudge)[0]
    check(offset_a, 0.3e-4, 0.05e-4)
    gain = (driven_a - offset_a) / np.repeat([2e-4, -2e-4, -0.5e-4, 0.5e-4], 5000)
    check(gain, 1.1, 0.02)
    for values in (gain, offset_a):
        correlation = np.corrcoef(values.reshape(4, 5000))
        assert np.abs(correlation - np.eye(4)).max() < 4 / math.sqrt(5000)
    assert abs(np.corrcoef(gain, offset_a)[0, 1]) < 4 / math.sqrt(20_000)


def test_gain_and_offset_of_voltage_sources() -> None:
    block = EnergyBlock(name="rows", n_inputs=5000, layers=(NodeLayer(size=1, leak_s=1e-4),), v_unit_v=0.5)
    made = fabricate(block, NonIdealities(sources=SourceErrors(gain_std=0.02, offset_std=0.05)))
    offset_v = made.drives(np.zeros((1, 5000)))[0, :10_000]
    check(offset_v, 0.0, 0.025)
    gain = (made.drives(np.full((1, 5000), 3.0))[0, :10_000] - offset_v) / np.repeat([1.5, -1.5], 5000)
    check(gain, 1.0, 0.02)


def bias_voltages(errors: SourceErrors, name: str = "small") -> Floats:
    """Return the voltages of the two bias rows, p and n."""
    block = replace(small_block(), name=name, v_unit_v=0.5)
    made = fabricate(block, NonIdealities(sources=errors))
    sources = made.circuit.voltage_sources
    return np.array([sources.voltage_v[sources.plus == node][0] for node in (*made.bias.p, *made.bias.n)])


def test_gain_and_offset_of_bias_rows_but_not_of_rails() -> None:
    np.testing.assert_allclose(bias_voltages(SourceErrors(gain_error=0.1)), [0.55, -0.55], rtol=1e-14)
    np.testing.assert_allclose(bias_voltages(SourceErrors(offset=0.2)), [0.6, -0.4], rtol=1e-14)
    drawn = np.array([bias_voltages(SourceErrors(gain_std=0.02), f"block{k}") for k in range(500)]) / [0.5, -0.5]
    assert drawn.std() == pytest.approx(0.02, rel=0.1)  # 1,000 draws
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 4 / math.sqrt(500)
    errors = SourceErrors(gain_error=0.1, gain_std=0.02, offset=0.2, offset_std=0.05)
    made, designed = (fabricate(small_block(), n) for n in (NonIdealities(sources=errors), None))
    rails = np.isin(designed.circuit.voltage_sources.plus, rail_nodes(designed))
    assert rails.sum() == 8  # two layers, high and low, of p and of n
    np.testing.assert_array_equal(
        made.circuit.voltage_sources.voltage_v[rails], designed.circuit.voltage_sources.voltage_v[rails]
    )


def rail_nodes(made) -> Floats:
    units = np.concatenate([layer.nodes for layer in made.layers])
    ends = np.concatenate([made.circuit.diodes.anode, made.circuit.diodes.cathode])
    return np.setdiff1d(ends, units)


def test_temperature_of_the_diodes() -> None:
    """Their currents are those at 340 K, while the rails stay where they were set for 300.15 K."""
    made, designed = fabricate(small_block(), NonIdealities(temperature_k=340.0)), fabricate(small_block(), None)
    np.testing.assert_array_equal(made.circuit.voltage_sources.voltage_v, designed.circuit.voltage_sources.voltage_v)
    voltage_v = np.zeros((1, made.circuit.n_nodes))
    voltage_v[:, made.circuit.voltage_sources.plus] = made.circuit.voltage_sources.voltage_v
    drop = voltage_v[0, made.circuit.diodes.anode] - voltage_v[0, made.circuit.diodes.cathode]
    v_t = 1.38064852e-23 / 1.6021766208e-19 * 340.0
    # I_s(T) = I_s exp[(r - 1) EG / V_t] r^XTI, r = 340 / 300.15, EG = 1.11 eV, XTI = 3; in reverse SPICE's cubic law.
    r = 340.0 / 300.15
    i_s = 1e-14 * math.exp((r - 1) * 1.11 / v_t) * r**3
    assert i_s / 1e-14 == pytest.approx(222.0, rel=0.05)  # some hundred times as much: two decades in 40 K
    gmin = small_block().gmin_s
    reverse = -i_s * (1 + (3 * v_t / (math.e * drop)) ** 3) + gmin * drop
    expected = np.where(drop < -3 * v_t, reverse, i_s * np.expm1(drop / v_t) + gmin * drop)
    np.testing.assert_allclose(diode_currents(made.circuit, voltage_v)[0][0], expected, rtol=1e-9)
