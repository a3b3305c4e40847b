"""The phases: converters and ways to read in every combination, warnings with their numbers, exact counters."""

from __future__ import annotations

import itertools
import math
import re
import warnings

import numpy as np
import pytest
import torch
from analog_blocks import analog, cosine, draw_block, gradients, mild_block, relative_error
from random_blocks import RandomBlock

from circuits import Drive, EnergyBlock, NodeLayer, Polarity
from cosim.analog_block import AnalogBlock, Gradient
from cosim.converters import Adc, Converters, Dac
from cosim.errors import BlockError
from cosim.phase_settings import DifferenceRead, NudgeScaling, Nudging, ParameterRead, PhaseSettings
from cosim.reading import NudgeWarning
from cosim.simulators.newton import NewtonSimulator

SETTINGS = list(itertools.product(Nudging, NudgeScaling, DifferenceRead, ParameterRead))
drives = pytest.mark.parametrize("drive", Drive)


@pytest.fixture(scope="module", params=itertools.product(Polarity, Drive), ids=lambda p: f"{p[0].value}-{p[1].value}")
def drawn(request: pytest.FixtureRequest) -> RandomBlock:
    return mild_block(21, *request.param)


def with_settings(drawn: RandomBlock, converters: Converters | None = None, **settings) -> AnalogBlock:
    return analog(drawn, settings=PhaseSettings(**settings), converters=converters)


def test_scaling_does_not_matter_to_a_small_nudge(drawn: RandomBlock) -> None:
    found = {s: gradients(with_settings(drawn, beta=1e-4, scaling=s), drawn.x) for s in NudgeScaling}
    assert relative_error(found[NudgeScaling.PER_SAMPLE], found[NudgeScaling.NONE]) < 1e-6


def test_digital_reads_are_local_ones_with_ideal_converters(drawn: RandomBlock) -> None:
    local = gradients(with_settings(drawn, parameter_read=ParameterRead.LOCAL), drawn.x)
    digital = gradients(with_settings(drawn, parameter_read=ParameterRead.DIGITAL), drawn.x)
    assert relative_error(digital, local) < 1e-11


@pytest.mark.parametrize("nudging", Nudging)
@pytest.mark.parametrize("parameter_read", ParameterRead)
def test_both_ways_to_read_a_difference_agree_with_ideal_converters(
    drawn: RandomBlock, parameter_read: ParameterRead, nudging: Nudging
) -> None:
    each, held = (
        gradients(with_settings(drawn, difference_read=read, parameter_read=parameter_read, nudging=nudging), drawn.x)
        for read in (DifferenceRead.EACH_PHASE, DifferenceRead.SAMPLE_AND_HOLD)
    )
    assert relative_error(held, each) < 1e-11


@pytest.mark.parametrize("bits", [None, 8])
@pytest.mark.parametrize(("nudging", "scaling", "difference_read", "parameter_read"), SETTINGS)
def test_no_loss_gradient_gives_zeros(
    nudging: Nudging,
    scaling: NudgeScaling,
    difference_read: DifferenceRead,
    parameter_read: ParameterRead,
    bits: int | None,
) -> None:
    drawn = mild_block(2, Polarity.DIFFERENTIAL, Drive.VOLTAGE, batch=2)
    settings = PhaseSettings(
        nudging=nudging, scaling=scaling, difference_read=difference_read, parameter_read=parameter_read
    )
    block = analog(drawn, settings=settings, converters=Converters() if bits is None else Converters.uniform(bits))
    x = torch.from_numpy(drawn.x).requires_grad_()
    (block(x) * 0.0).sum().backward()
    for tensor in (x, *block.parameters()):
        assert tensor.grad is not None
        assert not tensor.grad.any()
    assert block.counters.relaxations == 2  # the free phase alone


def test_one_sample_without_loss_gradient_leaves_the_others(drawn: RandomBlock) -> None:
    block = with_settings(drawn)
    full = torch.from_numpy(drawn.x).requires_grad_()
    (block(full) ** 2).sum().backward()
    masked = torch.from_numpy(drawn.x).requires_grad_()
    weight = torch.ones(len(drawn.x), 1, dtype=torch.float64)
    weight[1] = 0.0
    (weight * block(masked) ** 2).sum().backward()
    assert full.grad is not None
    assert masked.grad is not None
    np.testing.assert_allclose(masked.grad[1].numpy(), 0.0, atol=1e-12)
    others = [0, 2, 3, 4]
    np.testing.assert_allclose(masked.grad[others].numpy(), full.grad[others].numpy(), rtol=1e-9, atol=1e-11)


# ---------------------------------------------------------------------------------------------------- converters


def test_sample_and_hold_reads_small_differences_better(drawn: RandomBlock) -> None:
    exact = gradients(analog(drawn, gradient=Gradient.IMPLICIT), drawn.x)["input"]
    found = {}
    for read in DifferenceRead:
        block = with_settings(drawn, Converters(phase=Adc(bits=8)), beta=0.02, difference_read=read)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NudgeWarning)
            found[read] = cosine(gradients(block, drawn.x)["input"], exact)
    assert found[DifferenceRead.SAMPLE_AND_HOLD] > 0.999
    assert found[DifferenceRead.EACH_PHASE] < 0.98


def test_per_sample_scaling_uses_the_nudge_dac_better() -> None:
    # Loss gradients of samples differ by orders of magnitude: without scaling the small ones vanish in the DAC's step.
    drawn = draw_block(5, Polarity.DIFFERENTIAL, Drive.VOLTAGE, 2, batch=5)
    weight = torch.logspace(0, -4, 5, dtype=torch.float64)[:, None]

    def last_sample(block: AnalogBlock) -> np.ndarray:
        x = torch.from_numpy(drawn.x).requires_grad_()
        (weight * torch.sin(3 * block(x))).sum().backward()
        assert x.grad is not None
        return x.grad[-1].numpy()

    exact = last_sample(analog(drawn, gradient=Gradient.IMPLICIT))
    nudge = Converters(nudge=Dac(bits=8))
    scaled = last_sample(with_settings(drawn, nudge, scaling=NudgeScaling.PER_SAMPLE))
    plain = last_sample(with_settings(drawn, nudge, scaling=NudgeScaling.NONE))
    assert cosine(scaled, exact) > 0.999
    np.testing.assert_allclose(plain, 0.0, atol=1e-9)


def test_input_dac_shows(drawn: RandomBlock) -> None:
    coarse = with_settings(drawn, Converters(input=Dac(bits=3, full_scale=0.9)))
    x = torch.from_numpy(drawn.x)
    steps = torch.from_numpy(np.round(np.clip(drawn.x, -0.9, 0.9) / 0.3) * 0.3)  # three bits over +-0.9: a step of 0.3
    assert not torch.equal(steps, x)
    ideal = with_settings(drawn)
    with torch.no_grad():
        torch.testing.assert_close(coarse(x), ideal(steps), rtol=0, atol=1e-12)
        assert float((coarse(x) - ideal(x)).abs().max()) > 1e-3
    # dL/dx is that at the quantised input: straight through the DAC.
    assert relative_error(gradients(coarse, drawn.x), gradients(ideal, steps.numpy())) < 1e-9


def test_output_adc_shows(drawn: RandomBlock) -> None:
    ideal, coarse = with_settings(drawn), with_settings(drawn, Converters(output=Adc(bits=4, full_scale=0.35)))
    x = torch.from_numpy(drawn.x)
    states, read = ideal(x).detach().numpy(), coarse(x).detach().numpy()
    np.testing.assert_allclose(read / 0.05, np.round(read / 0.05), atol=1e-12)  # 0.35 / 7
    assert np.abs(read - np.clip(states, -0.35, 0.35)).max() <= 0.025 + 1e-12


@pytest.mark.parametrize("difference_read", DifferenceRead)
def test_digital_reads_approach_local_ones_with_more_bits(drawn: RandomBlock, difference_read: DifferenceRead) -> None:
    exact = gradients(analog(drawn, gradient=Gradient.IMPLICIT), drawn.x)
    errors = []
    for bits in (8, 12, 20):
        block = with_settings(
            drawn,
            Converters(phase=Adc(bits=bits)),
            beta=0.01,
            parameter_read=ParameterRead.DIGITAL,
            difference_read=difference_read,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NudgeWarning)
            errors.append(relative_error(gradients(block, drawn.x), exact))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 5e-3


# ---------------------------------------------------------------------------------------------- warnings, settings


@pytest.mark.parametrize("beta", [1e-11, 1e-30])
def test_warning_of_a_nudge_within_the_solvers_tolerance(beta: float) -> None:
    drawn = draw_block(1, Polarity.DIFFERENTIAL, Drive.VOLTAGE, 2)
    block = with_settings(drawn, beta=beta)
    pattern = (
        rf"block 'random': the nudge beta = {re.escape(f'{beta:g}')} moves the outputs by at most (\S+) V, (\S+) times "
        r"the solver's tolerance of (\S+) V; raise beta"
    )
    with pytest.warns(NudgeWarning, match=pattern) as caught:
        gradients(block, drawn.x)
    found = re.search(pattern, str(caught[0].message))
    assert found is not None
    moved, ratio, tolerance = (float(text) for text in found.groups())
    assert ratio == pytest.approx(moved / tolerance, rel=0.1)
    assert ratio < 100
    assert 1e-13 < tolerance < 1e-11
    gradients(block, drawn.x)  # said once; a second warning would be an error here


@pytest.mark.parametrize("drive", Drive)
def test_warning_of_a_nudge_within_the_converters_step(drive: Drive) -> None:
    drawn = mild_block(1, Polarity.DIFFERENTIAL, drive)
    each = DifferenceRead.EACH_PHASE
    block = with_settings(drawn, Converters(phase=Adc(bits=6)), beta=1e-3, difference_read=each)
    adc = "phase ADC" if drive is Drive.CURRENT else "source-current ADC"
    pattern = (
        rf"block 'mild': the nudge beta = 0.001 changes what the {adc} reads by at most (\S+), less than its step "
        r"of (\S+) \(6 bits over \+-(\S+)\); raise beta or read the difference by sample and hold"
    )
    with pytest.warns(NudgeWarning, match=pattern) as caught:
        gradients(block, drawn.x)
    found = re.search(pattern, str(caught[0].message))
    assert found is not None
    change, step, full_scale = (float(text) for text in found.groups())
    assert change < step
    assert step == pytest.approx(full_scale / 31, rel=0.02)
    # As advised: no warning any more, which would be an error here.
    gradients(with_settings(drawn, Converters(phase=Adc(bits=6)), beta=0.5, difference_read=each), drawn.x)
    held = DifferenceRead.SAMPLE_AND_HOLD
    gradients(with_settings(drawn, Converters(phase=Adc(bits=6)), beta=1e-3, difference_read=held), drawn.x)


def test_warning_of_a_nudge_within_the_nudge_dacs_step() -> None:
    drawn = mild_block(1, Polarity.DIFFERENTIAL, Drive.VOLTAGE)
    block = with_settings(drawn, Converters(nudge=Dac(bits=8, full_scale=1e3)), scaling=NudgeScaling.NONE)
    with pytest.warns(NudgeWarning, match=r"moves the outputs by at most \S+ V, \S+ times .*; raise beta"):
        gradients(block, drawn.x)


@pytest.mark.parametrize("beta", [0.0, -0.1, math.nan, math.inf])
def test_beta_that_cannot_be(beta: float) -> None:
    with pytest.raises(BlockError, match=r"beta = \S+; equilibrium propagation divides by it, so give a finite value"):
        PhaseSettings(beta=beta)


# -------------------------------------------------------------------------------------------------------- counters


@pytest.mark.parametrize(("nudging", "scaling", "difference_read", "parameter_read"), SETTINGS)
@drives
def test_counters_are_exact(
    drive: Drive,
    nudging: Nudging,
    scaling: NudgeScaling,
    difference_read: DifferenceRead,
    parameter_read: ParameterRead,
) -> None:
    batch, n_inputs, units, n_outputs = 3, 5 if drive is Drive.CURRENT else 4, 5 + 4, 4
    drawn = draw_block(9, Polarity.DIFFERENTIAL, drive, 2, batch=batch)
    block = with_settings(
        drawn, nudging=nudging, scaling=scaling, difference_read=difference_read, parameter_read=parameter_read
    )
    x = torch.from_numpy(drawn.x).requires_grad_()
    loss = block(x).sum()
    c = block.counters
    assert (c.relaxations, c.dac_conversions, c.adc_conversions) == (batch, batch * n_inputs, batch * n_outputs)
    assert c.iterations >= batch
    before = c.iterations
    loss.backward()
    phases = 2 if nudging is Nudging.CENTERED else 1  # the free phase is the other one
    assert c.relaxations == batch * (1 + phases)
    assert c.dac_conversions == batch * (n_inputs + phases * n_outputs)
    assert c.iterations >= before + batch * phases
    # Both phases are read, or only their difference; a conductance needs the mean too.
    held, digital = difference_read is DifferenceRead.SAMPLE_AND_HOLD, parameter_read is ParameterRead.DIGITAL
    reads = n_inputs if held else 2 * n_inputs
    if digital:  # all states; with current drive the first layer is then read already
        reads = 2 * units + (0 if drive is Drive.CURRENT else reads)
    assert c.adc_conversions == batch * (n_outputs + reads)


@drives
def test_nothing_is_read_for_an_input_without_gradient(drive: Drive) -> None:
    drawn = draw_block(9, Polarity.DIFFERENTIAL, drive, 2)
    block = with_settings(drawn)
    block(torch.from_numpy(drawn.x)).sum().backward()
    assert block.counters.adc_conversions == drawn.x.shape[0] * 4


def test_implicit_gradients_convert_and_relax_nothing() -> None:
    drawn = draw_block(9, Polarity.DIFFERENTIAL, Drive.VOLTAGE, 2)
    block = analog(drawn, gradient=Gradient.IMPLICIT)
    gradients(block, drawn.x)
    c = block.counters
    assert (c.relaxations, c.dac_conversions, c.adc_conversions) == (3, 12, 12)


# ---------------------------------------------------------------------------------------------------------- ranges


def test_ranges_move_in_training_only() -> None:
    drawn = mild_block(4, Polarity.DIFFERENTIAL, Drive.VOLTAGE)
    block = with_settings(drawn, Converters.uniform(8), difference_read=DifferenceRead.SAMPLE_AND_HOLD)
    ranges = block.get_buffer("converter_ranges")
    block.eval()
    gradients(block, drawn.x)
    assert not ranges.any()
    block.train()
    gradients(block, drawn.x)
    learnt = ranges.clone()
    assert float(learnt[0]) == np.abs(drawn.x).max()
    # Input, output and the difference of source currents; nudges are scaled per sample, nothing else is read.
    assert np.flatnonzero(learnt).tolist() == [0, 1, 6]
    block.eval()
    gradients(block, 3.0 * drawn.x)
    assert torch.equal(ranges, learnt)


@pytest.mark.parametrize("full_scale", [0.05, 0.5, 4.0])
def test_a_fixed_full_scale_of_the_nudge_dac_changes_no_gradient(full_scale: float) -> None:
    drawn = mild_block(1, Polarity.DIFFERENTIAL, Drive.VOLTAGE)
    ideal = gradients(with_settings(drawn, Converters(), beta=1e-3), drawn.x)
    coarse = gradients(with_settings(drawn, Converters(nudge=Dac(bits=16, full_scale=full_scale)), beta=1e-3), drawn.x)
    assert relative_error(coarse, ideal) < 1e-3


@pytest.mark.parametrize("field", ["nudging", "scaling", "difference_read", "parameter_read"])
def test_settings_by_word(field: str) -> None:
    member = getattr(PhaseSettings(), field)
    assert PhaseSettings(**{field: member.value}) == PhaseSettings()
    with pytest.raises(BlockError, match=rf"phases: {field} = 'sideways'; allowed are "):
        PhaseSettings(**{field: "sideways"})


def test_frozen_weights_are_neither_read_nor_counted() -> None:
    drawn = mild_block(1, Polarity.DIFFERENTIAL, Drive.VOLTAGE)
    block = with_settings(drawn, Converters.uniform(8), parameter_read=ParameterRead.DIGITAL)
    block.requires_grad_(requires_grad=False)
    x = torch.from_numpy(drawn.x.copy()).requires_grad_()
    block(x).sum().backward()
    assert x.grad is not None
    assert all(parameter.grad is None for parameter in block.parameters())
    batch, n_inputs = drawn.x.shape
    assert block.counters.adc_conversions == batch * (block.block.n_outputs + n_inputs)


# -------------------------------------------------------------------------------------- what the nudge moved


def resistive_block(polarity: Polarity, **settings) -> AnalogBlock:
    """Two units of 2 g_unit to known nodes each, at v_unit = 0.5 V: v_unit s = 0.5 V (x - nudge) / 2 by hand."""
    layer = NodeLayer(size=2, leak_s=1e-4, bias=True)  # g_unit
    description = EnergyBlock(
        name="hand", n_inputs=2, layers=(layer,), drive=Drive.CURRENT, polarity=polarity, v_unit_v=0.5
    )
    options = {"converters": settings.pop("converters", None)}
    block = AnalogBlock(
        description, simulator=NewtonSimulator(), settings=PhaseSettings(**settings), **options
    ).double()
    share = 0.5 if polarity is Polarity.DIFFERENTIAL else 1.0
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.fill_(share)
    return block


X = torch.tensor([[0.2, -0.1], [0.4, 0.3], [0.0, 0.1]], dtype=torch.float64)
DS = torch.tensor([[1.0, -2.0], [0.5, 0.25], [0.0, 0.0]], dtype=torch.float64)


@pytest.mark.parametrize("scaling", NudgeScaling)
@pytest.mark.parametrize("nudging", Nudging)
@pytest.mark.parametrize("polarity", Polarity)
def test_nudge_response_by_hand(polarity: Polarity, nudging: Nudging, scaling: NudgeScaling) -> None:
    block = resistive_block(polarity, beta=0.1, nudging=nudging, scaling=scaling)
    assert block.last_nudge is None
    block.nudged_phases(block.free_phase(X), DS, want_x=True)
    # Per sample the largest |ds| is 1; between -beta and +beta it is twice what one nudge does.
    ds = [[0.5, -1.0], [1.0, 0.5], [0.0, 0.0]] if scaling is NudgeScaling.PER_SAMPLE else DS.tolist()
    change_v = (2 if nudging is Nudging.CENTERED else 1) * 0.1 * 0.5 / 2 * np.array(ds)
    nudge = block.last_nudge
    assert nudge is not None
    assert nudge.largest_v == pytest.approx(np.abs(change_v).max(), rel=1e-9)
    assert nudge.rms_v == pytest.approx(np.sqrt((change_v**2).sum() / 6), rel=1e-9)
    assert nudge.tolerance_v == pytest.approx(1e-12 * 0.5 + 1e-13, rel=1e-9)  # the bias row is at 0.5 V
    assert nudge.adc_step_v is None
    assert not nudge.is_noise


def test_what_the_nudge_moved_is_gone_where_there_is_none() -> None:
    block = resistive_block(Polarity.DIFFERENTIAL)
    free = block.free_phase(X)
    block.nudged_phases(free, DS, want_x=True)
    assert block.last_nudge is not None
    block.nudged_phases(free, torch.zeros_like(DS), want_x=True)
    assert block.last_nudge is None
    exact = block.configured(gradient=Gradient.IMPLICIT)
    exact.nudged_phases(exact.free_phase(X), DS, want_x=True)
    assert exact.last_nudge is None


def test_a_nudge_within_a_hundred_tolerances_is_noise() -> None:
    block = resistive_block(Polarity.DIFFERENTIAL, beta=1e-11)
    with pytest.warns(NudgeWarning, match="raise beta"):
        block.nudged_phases(block.free_phase(X), DS, want_x=True)
    assert block.last_nudge is not None
    assert block.last_nudge.is_noise


@pytest.mark.parametrize(
    ("read", "parameter_read", "want_x", "expected"),
    [
        (DifferenceRead.EACH_PHASE, ParameterRead.DIGITAL, False, 0.8 / 127),  # the fixed full scale
        (DifferenceRead.EACH_PHASE, ParameterRead.LOCAL, True, 0.8 / 127),
        (DifferenceRead.SAMPLE_AND_HOLD, ParameterRead.DIGITAL, True, 0.1 / 127),  # the largest difference
        (DifferenceRead.SAMPLE_AND_HOLD, ParameterRead.LOCAL, False, None),  # nothing is read
    ],
)
def test_adc_step_by_hand(
    read: DifferenceRead, parameter_read: ParameterRead, want_x: bool, expected: float | None
) -> None:
    converters = Converters(phase=Adc(bits=8, full_scale=0.8))
    block = resistive_block(
        Polarity.DIFFERENTIAL, converters=converters, beta=0.1, difference_read=read, parameter_read=parameter_read
    )
    block.nudged_phases(block.free_phase(X), DS, want_x=want_x)
    assert block.last_nudge is not None
    # s moves by 2 * 0.1 / 2 = 0.1; a step of s is 0.5 V.
    assert block.last_nudge.adc_step_v == (None if expected is None else pytest.approx(0.5 * expected, rel=1e-9))
    block.eval()
    block.get_buffer("converter_ranges").zero_()
    block.nudged_phases(block.free_phase(X), DS, want_x=want_x)
    fixed = read is DifferenceRead.EACH_PHASE
    assert (block.last_nudge.adc_step_v is not None) == fixed  # no range yet, so no step


def test_source_currents_have_no_step_in_volts() -> None:
    drawn = mild_block(1, Polarity.DIFFERENTIAL, Drive.VOLTAGE)
    block = with_settings(drawn, Converters.uniform(8), parameter_read=ParameterRead.LOCAL)
    gradients(block, drawn.x)
    assert block.last_nudge is not None
    assert block.last_nudge.adc_step_v is None
