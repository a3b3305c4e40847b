"""Energy of a phase: the integral of what supplies deliver, held against heat, charge and the equilibrium."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from analog_blocks import analog
from random_blocks import random_block

from circuits import Drive
from circuits.capacitance import node_capacitances
from circuits.power import power_balance
from circuits.topology import analyse
from cosim.analog_block import AnalogBlock
from cosim.chip.activity import BlockActivity, training_activity
from cosim.chip.constants import Constants, load_constants
from cosim.chip.conversion import BlockConverters, Sharing, block_converters
from cosim.chip.equilibria import block_states
from cosim.chip.settled_energy import capacitance_of, integral_until, phase_costs
from cosim.chip.tolerances import PhaseReading, nudged_reading
from cosim.converters import Adc, Converters, Dac
from cosim.phase_settings import DifferenceRead, NudgeScaling, Nudging, ParameterRead, PhaseSettings
from cosim.simulators.ngspice.transient import NgspiceIntegrator
from cosim.transients.integrator import Step
from cosim.transients.linearised import linearise


def step_activity(block: AnalogBlock, banks: BlockConverters, *, want_x: bool) -> BlockActivity:
    return training_activity(
        block.circuit, banks, block.settings, want_x=want_x, want_conductances=True, n_devices=1, batch_size=1
    )


def with_value(constants: Constants, name: str, value: float) -> Constants:
    return Constants(entries={**constants.entries, name: replace(constants.entries[name], value=value)})


def test_integral_ends_between_two_points() -> None:
    time_s, values = np.array([0.0, 1.0, 3.0]), np.array([0.0, 2.0, 6.0])
    assert integral_until(time_s, values, 2.0) == pytest.approx(4.0)  # of 2 t
    assert integral_until(time_s, values, 3.0) == pytest.approx(9.0)


@pytest.mark.ngspice
def test_energy_drawn_is_heat_and_charge() -> None:
    drawn = random_block(3, drive=Drive.CURRENT, batch=1)
    circuit, topology = drawn.built.circuit, analyse(drawn.built.circuit)
    capacitance_f = node_capacitances(circuit, capacitance_of(load_constants()))
    rest = drawn.built.drives(np.zeros_like(drawn.x))
    step = Step(
        circuit=circuit,
        conductance_s=drawn.conductance_s,
        drives_before=rest,
        drives_after=drawn.drives,
        capacitance_f=capacitance_f,
    )
    tau_s = float(linearise(topology, drawn.conductance_s, np.zeros((1, circuit.n_nodes)), capacitance_f).slowest_s[0])
    time_s = np.linspace(0.0, tau_s, 400)
    voltage_v = NgspiceIntegrator().follow(step, time_s).voltage_v[0]
    power = power_balance(topology, drawn.conductance_s, np.repeat(drawn.drives, len(time_s), axis=0), voltage_v)
    free = topology.unknown_of_node >= 0
    stored = (voltage_v**2 @ (capacitance_f * free)) / 2.0
    delivered, heat = (np.trapezoid(p, time_s) for p in (power.delivered_w, power.dissipated_w))
    assert stored[-1] - stored[0] > 0.03 * delivered  # or the balance would say nothing of capacitors
    assert delivered - heat == pytest.approx(stored[-1] - stored[0], rel=1e-3)


@pytest.mark.ngspice
def test_phases_cost_what_their_powers_and_times_say() -> None:
    drawn = random_block(3, batch=2)
    block = analog(drawn, converters=Converters.uniform(8)).eval()
    states = block_states(block, torch.from_numpy(drawn.x), torch.linspace(-1, 1, 2 * 4).reshape(2, 4))
    banks = block_converters(
        block.circuit, block.converters, block.settings, want_x=True, sharing=Sharing.SEPARATE, channels_per_converter=2
    )
    constants, training = load_constants(), step_activity(block, banks, want_x=True)
    costs = phase_costs(block, states, banks, constants, training)
    assert costs.training[0] is costs.inference  # of two nudges, the free phase is read for its outputs alone
    free, first, second = costs.training
    assert [phase.sign for phase in (free, first, second)] == [0, -1, 1]
    largest = np.abs(block.circuit.outputs(states.free.voltage_v)).max()
    assert free.tolerance_v == pytest.approx(largest / 127 / 2)
    assert free.hold_s == pytest.approx(10e-9)  # the second of two channels waits one period
    assert free.held_j == pytest.approx(states.free.power.delivered_w.mean() * free.hold_s)
    # Rows are at their voltage at once: what is drawn is near the equilibrium's all the time.
    assert free.transient_j == pytest.approx(free.delivered_w * free.settling_s, rel=0.3)
    rows = block.circuit.inputs
    assert rows is not None
    capacitance_f = node_capacitances(block.circuit.circuit, capacitance_of(constants))
    squares = states.free.voltage_v[:, rows.nodes] ** 2
    assert free.charging_j == pytest.approx((squares @ capacitance_f[rows.nodes]).mean())
    assert first.charging_j == 0.0
    # A nudge hardly changes the power, and settles from the phase before it.
    assert first.delivered_w == pytest.approx(free.delivered_w, rel=1e-2)
    assert second.settling_s > 0
    doubled = capacitance_of(with_value(constants, "node_capacitance", 1e-13))
    assert doubled.node_f == 1e-13
    assert states.balance_error <= 1e-9


@pytest.mark.ngspice
def test_twice_the_capacitance_takes_twice_the_time() -> None:
    drawn = random_block(3, sizes=(4,), batch=1)
    block = analog(drawn).eval()
    states = block_states(block, torch.from_numpy(drawn.x), None)
    banks = block_converters(block.circuit, block.converters, block.settings, want_x=False, sharing=Sharing.SEPARATE)
    slow = fast = load_constants()
    for name in ("node_capacitance", "device_capacitance", "junction_capacitance"):
        slow = with_value(slow, name, 2.0 * fast[name])
    one, two = (phase_costs(block, states, banks, constants).inference for constants in (fast, slow))
    assert two.settling_s == pytest.approx(2.0 * one.settling_s, rel=1e-3)
    assert two.transient_j == pytest.approx(2.0 * one.transient_j, rel=1e-3)
    assert two.charging_j == pytest.approx(2.0 * one.charging_j)


@pytest.mark.ngspice
def test_free_phase_that_is_compared_settles_and_is_read_like_a_nudged_one() -> None:
    drawn = random_block(3, batch=1)
    settings = PhaseSettings(
        nudging=Nudging.POSITIVE,
        beta=0.1,
        parameter_read=ParameterRead.DIGITAL,
        difference_read=DifferenceRead.EACH_PHASE,
    )
    phase_adc = Adc(bits=12, channels_per_converter=9)
    block = analog(drawn, settings=settings, converters=Converters(output=Adc(bits=4), phase=phase_adc)).eval()
    states = block_states(block, torch.from_numpy(drawn.x), torch.ones(1, 4))
    banks = block_converters(block.circuit, block.converters, settings, want_x=False, sharing=Sharing.SEPARATE)
    training = step_activity(block, banks, want_x=False)
    costs = phase_costs(block, states, banks, load_constants(), training)
    free, nudged = costs.training
    assert (costs.inference.tolerance_of, free.tolerance_of, free.sign) == ("output", "phase", 0)
    assert free.tolerance_v == nudged.tolerance_v < costs.inference.tolerance_v / 20.0
    assert free.settling_s > 1.5 * costs.inference.settling_s  # decay is exponential
    assert (costs.inference.hold_s, free.hold_s, nudged.hold_s) == (0.0, pytest.approx(80e-9), pytest.approx(80e-9))


@pytest.mark.ngspice
def test_source_currents_settle_to_half_a_step_of_their_own_converter() -> None:
    drawn = random_block(3, batch=1)
    built, times = drawn.built, []
    for bits in (4, 12):
        converters = Converters(phase=Adc(bits=4), current=Adc(bits=bits))
        block = analog(drawn, converters=converters).eval()
        states = block_states(block, torch.from_numpy(drawn.x), torch.ones(1, 4))
        banks = block_converters(block.circuit, converters, block.settings, want_x=True, sharing=Sharing.SEPARATE)
        training = step_activity(block, banks, want_x=True)
        last = phase_costs(block, states, banks, load_constants(), training).training[-1]
        assert last.tolerance_of == "devices"  # the phase ADC reads nothing here
        first_a, last_a = (
            built.input_currents(states.conductance_s, phase.voltage_v) * built.block.g_unit_s * built.block.v_unit_v
            for phase in states.nudged
        )
        assert last.tolerance_a == pytest.approx(np.abs(last_a - first_a).max() / (2 ** (bits - 1) - 1) / 2.0)
        times.append(last.settling_s)
    assert times[1] > 1.5 * times[0]


def test_reading_scales_currents_to_the_tolerance_of_states() -> None:
    drawn = random_block(3, batch=1, v_unit_v=0.5)
    block = analog(drawn, converters=Converters(current=Adc(bits=6))).eval()
    states = block_states(block, torch.from_numpy(drawn.x), torch.ones(1, 4))
    banks = block_converters(block.circuit, block.converters, block.settings, want_x=True, sharing=Sharing.SEPARATE)
    reading: PhaseReading = nudged_reading(block, states, banks)
    assert reading.currents is not None
    voltage_v = states.free.voltage_v
    read = reading.state(voltage_v, 1.0) / reading.tolerance_v
    n_units = 5 + 4
    assert read.shape == (1, n_units + 6)
    currents = drawn.built.input_currents(states.conductance_s, voltage_v)
    np.testing.assert_allclose(read[:, n_units:], currents / reading.currents.tolerance)
    np.testing.assert_allclose(read[:, :n_units], reading.units.state(voltage_v, 1.0) / reading.tolerance_v)


def largest_nudge(nudge: Dac, scaling: NudgeScaling) -> float:
    """Return the largest nudge for loss gradients up to 2, in g_unit v_unit over beta."""
    drawn = random_block(3, batch=1)
    settings = PhaseSettings(beta=0.1, scaling=scaling)
    block = analog(drawn, settings=settings, converters=Converters(nudge=nudge)).eval()
    states = block_states(block, torch.from_numpy(drawn.x), torch.tensor([[2.0, -1.0, 0.5, 0.0]]))
    change = np.abs(states.nudged[-1].drives - states.free.drives).max()
    unit = np.abs(drawn.built.drives(drawn.x, np.ones((1, 4))) - drawn.built.drives(drawn.x)).max()
    return float(change / unit / settings.beta)


def test_nudge_is_within_the_full_scale_of_its_converter() -> None:
    assert largest_nudge(Dac(), NudgeScaling.PER_SAMPLE) == pytest.approx(1.0)
    assert largest_nudge(Dac(full_scale=0.5), NudgeScaling.PER_SAMPLE) == pytest.approx(0.5)
    assert largest_nudge(Dac(), NudgeScaling.NONE) == pytest.approx(2.0)
    assert largest_nudge(Dac(bits=8, full_scale=0.05), NudgeScaling.NONE) == pytest.approx(0.5)  # 0.05 of beta 0.1
