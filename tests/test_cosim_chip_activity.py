"""Conversions and relaxations worked out from the settings are those that a real forward and backward count."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from analog_blocks import analog, draw_block, smooth_loss

from circuits import Drive, Polarity
from circuits.tiles import TileSize
from cosim.chip.activity import BlockActivity, inference_activity, training_activity
from cosim.chip.constants import load_constants
from cosim.chip.conversion import BlockConverters, Sharing, block_converters
from cosim.chip.equilibria import block_states
from cosim.chip.errors import ChipError
from cosim.chip.inventory import count_parts
from cosim.converters import Adc, Converters, Dac
from cosim.phase_settings import DifferenceRead, Nudging, ParameterRead, PhaseSettings

KINDS = list(itertools.product(Drive, ParameterRead, DifferenceRead, (Nudging.CENTERED, Nudging.POSITIVE)))
BATCH = 3


def predicted(
    block, settings: PhaseSettings, *, want_x: bool, batch_size: int = BATCH
) -> tuple[BlockConverters, BlockActivity]:
    banks = block_converters(
        block.circuit, block.converters, settings, want_x=want_x, sharing=Sharing.SEPARATE, channels_per_converter=None
    )
    activity = training_activity(
        block.circuit,
        banks,
        settings,
        want_x=want_x,
        want_conductances=True,
        n_devices=sum(c.plus.size + (0 if c.minus is None else c.minus.size) for c in block.circuit.crossbars),
        batch_size=batch_size,
    )
    return banks, activity


def turns(settings: PhaseSettings, *, channels: int | None = None, shared: bool = False) -> list[int]:
    """Return the turns of ADCs in each phase of a voltage-driven block of 4 inputs, 5 and 4 units."""
    block = analog(draw_block(1, Polarity.DIFFERENTIAL, Drive.VOLTAGE, 2), settings=settings)
    banks, activity = predicted(block, settings, want_x=True)
    banks = replace(banks, sharing=Sharing.SHARED if shared else Sharing.SEPARATE)
    fewer = {
        bank.name: replace(bank, channels_per_converter=channels or bank.channels_per_converter) for bank in banks.banks
    }
    banks = replace(banks, **fewer)
    reads = (tuple((fewer[bank.name], n) for bank, n in phase) for phase in activity.reads)
    return [banks.turns(phase) for phase in reads]


def test_turns_are_those_of_each_phase() -> None:
    digital = PhaseSettings(parameter_read=ParameterRead.DIGITAL)
    assert turns(PhaseSettings()) == [1, 0, 1]  # source currents, as a difference that is held in analog
    assert turns(PhaseSettings(), channels=64) == [4, 0, 4]  # as many as there are channels
    assert turns(digital) == [1, 0, 2]  # the difference of a state, then its mean
    assert turns(digital, channels=4) == [4, 0, 6]  # 18 codes by three converters
    assert turns(replace(digital, difference_read=DifferenceRead.EACH_PHASE)) == [1, 1, 1]
    one_sided = replace(digital, difference_read=DifferenceRead.EACH_PHASE, nudging=Nudging.NEGATIVE)
    assert turns(one_sided, channels=64) == [9, 9]  # the free phase is compared: 9 units, 4 outputs at the same time
    assert turns(replace(one_sided, difference_read=DifferenceRead.SAMPLE_AND_HOLD), channels=64) == [4, 18]


def test_turns_at_shared_converters_add() -> None:
    digital = PhaseSettings(parameter_read=ParameterRead.DIGITAL)
    assert turns(digital, shared=True) == [1, 0, 3]  # 18 codes of states by nine converters, then the currents
    one_sided = replace(digital, difference_read=DifferenceRead.EACH_PHASE, nudging=Nudging.POSITIVE)
    assert turns(one_sided, channels=64, shared=True) == [4 + 9 + 4, 9 + 4]


@pytest.mark.parametrize(("nudging", "signs"), list(zip(Nudging, [(-1, 1), (1,), (-1,)], strict=True)))
def test_nudges_have_their_signs(nudging: Nudging, signs: tuple[int, ...]) -> None:
    drawn = draw_block(1, Polarity.DIFFERENTIAL, Drive.VOLTAGE, 1)
    block = analog(drawn, settings=PhaseSettings(nudging=nudging)).eval()
    states = block_states(block, torch.from_numpy(drawn.x), torch.ones(len(drawn.x), 4))
    assert nudging.signs == signs == tuple(phase.sign for phase in states.nudged)


@pytest.mark.parametrize("want_x", [True, False])
@pytest.mark.parametrize(("drive", "parameters", "difference", "nudging"), KINDS)
def test_activity_is_what_a_block_counts(
    drive: Drive, parameters: ParameterRead, difference: DifferenceRead, nudging: Nudging, want_x: bool
) -> None:
    settings = PhaseSettings(parameter_read=parameters, difference_read=difference, nudging=nudging, beta=0.1)
    drawn = draw_block(1, Polarity.DIFFERENTIAL, drive, 2, batch=BATCH)
    block = analog(drawn, settings=settings, converters=Converters.uniform(20))
    banks, activity = predicted(block, settings, want_x=want_x)
    x = torch.from_numpy(drawn.x).requires_grad_(want_x)
    y = block(x)
    free = inference_activity(banks)
    assert block.counters.relaxations == BATCH * free.free_relaxations
    assert block.counters.dac_conversions == BATCH * free.count("DAC")
    assert block.counters.adc_conversions == BATCH * free.count("ADC")
    smooth_loss(y).backward()
    assert block.counters.relaxations == BATCH * (activity.free_relaxations + activity.nudged_relaxations)
    assert block.counters.dac_conversions == BATCH * activity.count("DAC")
    assert block.counters.adc_conversions == BATCH * activity.count("ADC")


def test_step_writes_every_device_once_for_its_batch() -> None:
    block = analog(draw_block(1, Polarity.DIFFERENTIAL, Drive.VOLTAGE, 2))
    _, activity = predicted(block, PhaseSettings(), want_x=True, batch_size=10)
    # 4 inputs, 5 and 4 units, both with a bias row: (4 5 + 5 4 + 5 + 4) weights of four devices.
    assert activity.device_writes == pytest.approx(4 * 49 / 10)


def test_conversion_costs_the_figure_of_merit_times_two_to_the_bits() -> None:
    block = analog(
        draw_block(1, Polarity.DIFFERENTIAL, Drive.VOLTAGE, 2),
        converters=Converters(input=Dac(bits=6), output=Adc(bits=10, channels_per_converter=2)),
    )
    banks, _ = predicted(block, PhaseSettings(), want_x=False)
    constants = load_constants()
    free = inference_activity(banks)
    assert free.energy_j("DAC", constants) == pytest.approx(4 * 10e-15 * 64)
    assert free.energy_j("ADC", constants) == pytest.approx(4 * 10e-15 * 1024)
    assert free.code_bytes == 4 * 1 + 4 * 2  # a code of 10 bits takes two bytes
    assert [bank.is_assumed for bank in banks.banks] == [False, True, False, True, True]
    assert banks.output.converters == 2
    separate = banks.count("DAC"), banks.count("ADC")
    shared = replace(banks, sharing=Sharing.SHARED)
    assert separate == (4 + 4, 2)  # inputs and nudges; nothing but outputs is read where devices see for themselves
    assert (shared.count("DAC"), shared.count("ADC")) == (4, 2)


def test_parts_are_counted() -> None:
    drawn = draw_block(1, Polarity.DIFFERENTIAL, Drive.VOLTAGE, 2)
    block = analog(drawn)
    banks, _ = predicted(block, PhaseSettings(), want_x=True)
    conductance_s = block.conductances().copy()
    conductance_s[block.circuit.leak_devices[0]] *= -1.0
    parts = count_parts(block.circuit, conductance_s, TileSize(rows=4, columns=4), banks)
    assert (parts.devices, parts.bias_devices, parts.units) == (196, 36, 9)
    assert (parts.clamp_diodes, parts.active_leaks, parts.leaks) == (36, 1, 17)
    # 4 inputs x 5 units and 5 x 4 in pieces of 2 x 2, and a bias row in pieces of 1 x 2: 2 3 + 3 2 + 3 + 2.
    assert parts.tiles == 17
    with pytest.raises(ChipError, match=r"'random': a tile of 1x4 holds no weight of crossbar 'w1'.*--tile"):
        count_parts(block.circuit, conductance_s, TileSize(rows=1, columns=4), banks)


def test_utilisation_is_devices_over_places() -> None:
    drawn = draw_block(1, Polarity.SINGLE, Drive.VOLTAGE, 1)
    block = analog(drawn)
    banks, _ = predicted(block, PhaseSettings(), want_x=True)
    parts = count_parts(block.circuit, block.conductances(), TileSize(rows=8, columns=8), banks)
    assert parts.utilisation == pytest.approx(np.mean([4 * 4 / 64, 4 / 64]))
