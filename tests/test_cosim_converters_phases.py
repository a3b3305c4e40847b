"""Converter errors in the phases: which cancel in a difference of phases, which do not, and by how much.

Two linear blocks with answers by hand. Alone: one layer, current-driven, of 2 g_unit a unit, so s = (x - nudge) / 2 and
dL/dx = ds / 2. Coupled: two layers, so that a device sees two digitised nodes and none that is known.
"""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
import torch
from analog_blocks import analog, gradients, mild_block

from circuits import Drive, EnergyBlock, NodeLayer, Polarity
from cosim.analog_block import AnalogBlock
from cosim.converters import Adc, ConverterErrors, Converters, Dac, NoiseDraw, UnitElementMismatch
from cosim.phase_settings import DifferenceRead, NudgeScaling, Nudging, ParameterRead, PhaseSettings
from cosim.reading import NudgeWarning
from cosim.simulators.base import AbstractSimulator
from cosim.simulators.newton import NewtonSimulator

EACH, HELD = DifferenceRead.EACH_PHASE, DifferenceRead.SAMPLE_AND_HOLD
N = 10_000
BETA = 0.1
STD = 0.01


def alone(converters: Converters, simulator: AbstractSimulator | None = None, **settings) -> AnalogBlock:
    description = EnergyBlock(
        name="alone", n_inputs=2, layers=(NodeLayer(size=2, leak_s=2e-4),), drive=Drive.CURRENT, g_unit_s=1e-4
    )
    return AnalogBlock(
        description,
        simulator=simulator or NewtonSimulator(),
        settings=PhaseSettings(**{"beta": BETA, **settings}),
        converters=converters,
    ).double()


def input_gradient(block: AnalogBlock, n: int = 2, ds: tuple[float, float] = (1.0, -0.5)) -> np.ndarray:
    """Return dL/dx of n samples with x = (0.4, 0.2)."""
    x = torch.tensor([[0.4, 0.2]], dtype=torch.float64).repeat(n, 1)
    found = block.nudged_phases(block.free_phase(x), torch.tensor([ds], dtype=torch.float64).repeat(n, 1), want_x=True)
    assert found.x is not None
    return found.x


EXACT = np.array([0.5, -0.25])  # ds / 2
FLAWS = ConverterErrors(gain_error=0.02, offset_error=0.03)


# ------------------------------------------------------------------------------------------------------ free phase


def test_the_input_dacs_error_is_in_the_circuit() -> None:
    drawn = mild_block(21, Polarity.DIFFERENTIAL, Drive.VOLTAGE)
    block = analog(drawn, converters=Converters(input=Dac(full_scale=0.5, errors=FLAWS)))
    applied = 1.02 * drawn.x + 0.03 * 0.5
    ideal = analog(drawn)
    x = torch.from_numpy(drawn.x)
    with torch.no_grad():
        torch.testing.assert_close(block(x), ideal(torch.from_numpy(applied)), rtol=0, atol=1e-12)
        assert float((block(x) - ideal(x)).abs().max()) > 1e-4
    assert np.array_equal(block.free_phase(x).code, drawn.x)  # the digital side does not know


def test_the_output_adcs_error_is_behind_the_circuit() -> None:
    drawn = mild_block(21, Polarity.DIFFERENTIAL, Drive.VOLTAGE)
    x = torch.from_numpy(drawn.x)
    block = analog(drawn, converters=Converters(output=Adc(full_scale=0.5, errors=FLAWS)))
    with torch.no_grad():
        torch.testing.assert_close(block(x), 1.02 * analog(drawn)(x) + 0.03 * 0.5, rtol=0, atol=1e-14)


def test_without_errors_the_circuit_has_what_the_digital_side_knows() -> None:
    drawn = mild_block(21, Polarity.DIFFERENTIAL, Drive.VOLTAGE)
    free = analog(drawn, converters=Converters.uniform(4)).free_phase(torch.from_numpy(drawn.x))
    np.testing.assert_array_equal(free.code, free.x)
    assert np.abs(free.code - drawn.x).max() > 0.01


@pytest.mark.ngspice
def test_both_simulators_see_the_same_converters() -> None:
    from cosim.simulators.ngspice.simulator import NgspiceSimulator

    errors = ConverterErrors(
        noise_relative_std=0.05,
        gain_relative_std=0.05,
        offset_relative_std=0.05,
        linearity=UnitElementMismatch(relative_std=0.1),
    )
    converters = Converters(input=Dac(bits=6, errors=errors), nudge=Dac(bits=6, errors=errors), seed=3)
    drawn = mild_block(21, Polarity.DIFFERENTIAL, Drive.VOLTAGE)
    found = []
    for simulator in (NewtonSimulator(), NgspiceSimulator()):
        block = analog(drawn, simulator, converters=converters, settings=PhaseSettings(beta=0.2))
        x = block.free_phase(torch.from_numpy(drawn.x)).x
        found.append((x, gradients(block, drawn.x)))
    (x, newton), (same, ngspice) = found
    np.testing.assert_array_equal(x, same)
    assert np.abs(x - drawn.x).max() > 0.05
    for name, value in newton.items():
        np.testing.assert_allclose(ngspice[name], value, rtol=0, atol=1e-6 * np.abs(value).max(), err_msg=name)


# ------------------------------------------------------------------------------------------- static errors, by hand


@pytest.mark.parametrize("scaling", NudgeScaling)
def test_an_offset_of_the_nudge_dac_cancels_between_two_nudges_only(scaling: NudgeScaling) -> None:
    full_scale = 2.0
    nudge = Converters(nudge=Dac(full_scale=full_scale, errors=ConverterErrors(offset_error=0.03)))
    centered = input_gradient(alone(nudge, scaling=scaling))
    np.testing.assert_allclose(centered, [EXACT, EXACT], rtol=1e-9)
    positive = input_gradient(alone(nudge, scaling=scaling, nudging=Nudging.POSITIVE))
    # Per sample the largest |ds|, 1, is the full scale, so the offset is 0.03 of it; without scaling the full scale is
    # one of beta ds. The offset acts as a loss gradient of its own, which here gives half.
    offset = 0.03 if scaling is NudgeScaling.PER_SAMPLE else 0.03 * full_scale / BETA
    np.testing.assert_allclose(positive, [EXACT + offset / 2] * 2, rtol=1e-9)
    negative = input_gradient(alone(nudge, scaling=scaling, nudging=Nudging.NEGATIVE))
    np.testing.assert_allclose(negative, [EXACT - offset / 2] * 2, rtol=1e-9)


def test_a_gain_of_the_nudge_dac_scales_gradients() -> None:
    nudge = Converters(nudge=Dac(errors=ConverterErrors(gain_error=-0.04)))
    np.testing.assert_allclose(input_gradient(alone(nudge)), [0.96 * EXACT] * 2, rtol=1e-9)


def test_a_gain_and_an_offset_of_the_phase_adc_in_an_input_gradient() -> None:
    adc = Converters(phase=Adc(full_scale=2.0, errors=FLAWS))
    np.testing.assert_allclose(input_gradient(alone(adc, difference_read=EACH)), [1.02 * EXACT] * 2, rtol=1e-9)
    # A held difference has a range of its own, here the largest difference: of s between -beta and beta, beta ds. The
    # offset is a share of that and stays; it lowers dL/dx, which is minus the response.
    held = input_gradient(alone(adc, difference_read=HELD))
    np.testing.assert_allclose(held, [1.02 * EXACT - 0.03 * (BETA * 1.0) / (2 * BETA)] * 2, rtol=1e-9)


def coupled(converters: Converters, **settings) -> AnalogBlock:
    layers = (NodeLayer(size=3, leak_s=1e-4), NodeLayer(size=2, leak_s=5e-5))
    description = EnergyBlock(name="coupled", n_inputs=3, layers=layers, drive=Drive.CURRENT, g_unit_s=1e-4)
    return AnalogBlock(
        description,
        simulator=NewtonSimulator(),
        settings=PhaseSettings(**{"beta": BETA, "parameter_read": ParameterRead.DIGITAL, **settings}),
        converters=converters,
        generator=torch.Generator().manual_seed(0),
    ).double()


def conductance_gradients(block: AnalogBlock) -> tuple[np.ndarray, np.ndarray]:
    x = torch.tensor([[0.5, 0.2, -0.3]], dtype=torch.float64)
    ds = torch.tensor([[1.0, 0.6]], dtype=torch.float64)
    plus, minus = block.nudged_phases(block.free_phase(x), ds, want_x=False).conductances["w2"]
    assert minus is not None
    return plus, minus


def test_errors_of_the_phase_adc_in_conductance_gradients_from_digitised_nodes() -> None:
    exact = conductance_gradients(coupled(Converters()))
    # A gain enters squared: both the difference and the mean of a device's voltage have it.
    gain = Converters(phase=Adc(errors=ConverterErrors(gain_error=0.05)))
    for found, value in zip(conductance_gradients(coupled(gain, difference_read=EACH)), exact, strict=True):
        np.testing.assert_allclose(found, 1.05**2 * value, rtol=1e-9)
    # An offset d moves p by d and n by -d. Devices of G+ join p and p, or n and n: it cancels. Devices of G- join p and
    # n: their voltage is s_1 + s_2, its mean 2 d more, so that the gradient grows by 2 d / (s_1 + s_2).
    for offset_error in (0.001, 0.02):  # of a full scale of 1 V: 1 mV and 20 mV
        adc = Adc(full_scale=1.0, errors=ConverterErrors(offset_error=offset_error))
        block = coupled(Converters(phase=adc), difference_read=EACH)
        plus, minus = conductance_gradients(block)
        reference = coupled(Converters())
        conductance_gradients(reference)
        pair = mean_states(reference)
        np.testing.assert_allclose(plus, exact[0], rtol=1e-9)
        change = 2 * offset_error / (pair[0][:, None] + pair[1][None, :])
        np.testing.assert_allclose(minus / exact[1] - 1, change, rtol=1e-6)
        assert np.abs(change).max() > 5 * offset_error  # 1 mV is more than half a percent, 20 mV more than ten
    # Where devices see their own voltages there is no converter, and no error.
    local = [conductance_gradients(coupled(c, parameter_read=ParameterRead.LOCAL)) for c in (gain, Converters())]
    np.testing.assert_array_equal(*local)


def test_conductance_gradients_from_codes_take_the_input_for_what_it_was_told() -> None:
    description = EnergyBlock(name="driven", n_inputs=3, layers=(NodeLayer(size=2, leak_s=1e-4),), g_unit_s=1e-4)
    offset, x, ds = 0.05, torch.tensor([[0.5, 0.2, -0.3]]).double(), torch.tensor([[1.0, 0.6]]).double()

    def relaxed(converters: Converters, x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        block = AnalogBlock(
            description,
            simulator=NewtonSimulator(),
            settings=PhaseSettings(beta=BETA, parameter_read=ParameterRead.DIGITAL),
            converters=converters,
            generator=torch.Generator().manual_seed(0),
        ).double()
        plus, _ = block.nudged_phases(block.free_phase(x), ds, want_x=False).conductances[next(iter(block.g_plus))]
        layers = block.last_voltages()
        assert layers is not None
        return plus, layers[0][0]

    dac = Dac(full_scale=1.0, errors=ConverterErrors(offset_error=offset))
    found, s = relaxed(Converters(input=dac), x)
    exact, same = relaxed(Converters(), x + offset)
    np.testing.assert_allclose(s, same, rtol=1e-12)
    # A device of G+ sees s - x, of which the digital side has the code of x in place of x + offset.
    code, applied = x[0].numpy()[:, None], x[0].numpy()[:, None] + offset
    np.testing.assert_allclose(found / exact, (s - code) / (s - applied), rtol=1e-8)


def mean_states(block: AnalogBlock) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of both phases of each layer: in a linear circuit the free phase's."""
    layers = block.last_voltages()
    assert layers is not None
    return layers[0][0], layers[1][0]


def test_the_source_current_adc_has_the_errors_of_the_phase_adc() -> None:
    errors = ConverterErrors(gain_error=0.02, offset_error=0.03)
    drawn = mild_block(4, Polarity.DIFFERENTIAL, Drive.VOLTAGE)
    settings = PhaseSettings(beta=BETA, difference_read=EACH)
    ideal = gradients(analog(drawn, settings=settings), drawn.x)["input"]
    for converters in (
        Converters(phase=Adc(full_scale=0.7, errors=errors)),
        Converters(current=Adc(errors=errors)),
    ):
        found = gradients(analog(drawn, settings=settings, converters=converters), drawn.x)["input"]
        np.testing.assert_allclose(found, 1.02 * ideal, rtol=1e-8, atol=1e-9 * np.abs(ideal).max())  # offset cancels


# ----------------------------------------------------------------------------------------------------------- noise


def noisy(**where: object) -> Converters:
    errors = ConverterErrors(noise_relative_std=STD)
    kinds = {"nudge": Dac(errors=errors), "phase": Adc(full_scale=1.0, errors=errors)}
    return Converters(**{name: kinds[name] for name in kinds if where.pop(name, False)}, **where)


def test_noise_of_each_phase_anew_or_the_same() -> None:
    anew = input_gradient(alone(noisy(phase=True), difference_read=EACH), N)
    # Two draws of 0.01 v_unit, over 2 beta.
    assert (anew - EXACT).std() == pytest.approx(2**0.5 * STD / (2 * BETA), rel=0.02)
    np.testing.assert_allclose(anew.mean(axis=0), EXACT, atol=4 * 2**0.5 * STD / (2 * BETA) / N**0.5)
    same = input_gradient(alone(noisy(phase=True, noise_draw=NoiseDraw.SAME), difference_read=EACH), N)
    np.testing.assert_allclose(same, np.tile(EXACT, (N, 1)), rtol=1e-8)


def test_noise_of_both_nudges_anew_or_the_same() -> None:
    anew = input_gradient(alone(noisy(nudge=True)), N)
    # The DAC's full scale is the largest |ds|, 1: each nudge errs by 0.01; their difference over 2, and half of it.
    assert (anew - EXACT).std() == pytest.approx(2**0.5 * STD / 2 / 2, rel=0.02)
    np.testing.assert_allclose(anew.mean(axis=0), EXACT, atol=4 * 2**0.5 * STD / 4 / N**0.5)
    same = input_gradient(alone(noisy(nudge=True, noise_draw=NoiseDraw.SAME)), N)
    np.testing.assert_allclose(same, np.tile(EXACT, (N, 1)), rtol=1e-8)


@pytest.mark.parametrize("noise_draw", NoiseDraw)
def test_a_held_difference_is_converted_once(noise_draw: NoiseDraw) -> None:
    found = input_gradient(alone(noisy(phase=True, noise_draw=noise_draw), difference_read=HELD), N)
    # One draw of 0.01 of the range of the difference, beta.
    assert (found - EXACT).std() == pytest.approx(STD * BETA / (2 * BETA), rel=0.02)


def test_conductance_gradients_are_right_in_expectation() -> None:
    converters = noisy(phase=True, nudge=True)
    exact = conductance_gradients(coupled(Converters()))
    block, n = coupled(converters, difference_read=EACH), 8000
    x = torch.tensor([[0.5, 0.2, -0.3]], dtype=torch.float64).repeat(n, 1)
    ds = torch.tensor([[1.0, 0.6]], dtype=torch.float64).repeat(n, 1)
    totals = []
    for _ in range(8):
        found = block.nudged_phases(block.free_phase(x), ds, want_x=False).conductances["w2"]
        totals.append(np.stack([np.asarray(g) / n for g in found]))
    mean, error = np.mean(totals, axis=0), np.std(totals, axis=0, ddof=1) / len(totals) ** 0.5
    # Noise of both nodes enters mean and difference of a device's voltage with no correlation, so nothing is left.
    assert (np.abs(mean - exact) < 6 * error).all()
    assert np.linalg.norm(mean) / np.linalg.norm(exact) == pytest.approx(1.0, abs=0.02)


def test_noise_moves_no_range_and_no_counter() -> None:
    drawn = mild_block(4, Polarity.DIFFERENTIAL, Drive.VOLTAGE)
    errors = ConverterErrors(noise_relative_std=STD)
    clean = Converters(input=Dac(bits=8), output=Adc(bits=8), nudge=Dac(), phase=Adc(bits=8))
    rough = dataclasses.replace(
        clean, output=Adc(bits=8, errors=errors), nudge=Dac(errors=errors), phase=Adc(bits=8, errors=errors)
    )
    found = []
    for converters in (clean, rough):
        block = analog(drawn, converters=converters, settings=PhaseSettings(beta=BETA))
        gradients(block, drawn.x)
        found.append((block.get_buffer("converter_ranges").clone(), dataclasses.asdict(block.counters)))
    (before, counted), (after, counted_too) = found
    assert torch.equal(before[[0, 1]], after[[0, 1]])  # found before any noise
    assert before[7] == 0
    assert after[7] == 4  # outputs, two nudges, the held difference of source currents
    assert {k: v for k, v in counted.items() if k != "iterations"} == {
        k: v for k, v in counted_too.items() if k != "iterations"
    }


def test_the_step_of_the_adc_is_that_without_errors() -> None:
    errors = ConverterErrors(noise_relative_std=STD, gain_error=0.1)
    for adc in (Adc(bits=8, full_scale=0.8), Adc(bits=8, full_scale=0.8, errors=errors)):
        block = alone(Converters(phase=adc), difference_read=EACH)
        input_gradient(block)
        assert block.last_nudge is not None
        assert block.last_nudge.adc_step_v == pytest.approx(0.8 / 127)
    coarse = alone(Converters(phase=Adc(bits=4, full_scale=0.8, errors=errors)), difference_read=EACH, beta=1e-3)
    with pytest.warns(NudgeWarning, match=r"less than its step of 0\.11 \(4 bits over \+-0\.8\)"):
        input_gradient(coarse)


# --------------------------------------------------------------------------------------------- what is drawn when


def outputs(block: AnalogBlock, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return block(x)


def test_an_evaluation_leaves_no_trace_and_gives_the_same_again() -> None:
    converters = Converters(output=Adc(errors=ConverterErrors(noise_relative_std=STD)))
    drawn = mild_block(4, Polarity.DIFFERENTIAL, Drive.VOLTAGE)
    x = torch.from_numpy(drawn.x)
    block = analog(drawn, converters=converters)
    outputs(block, x)
    before = {name: value.clone() for name, value in block.state_dict().items()}
    block.eval()
    first, second = outputs(block, x), outputs(block, x)
    assert not torch.equal(first, second)  # batches of one evaluation differ in their noise
    block.eval()
    assert torch.equal(outputs(block, x), first)
    assert all(torch.equal(value, before[name]) for name, value in block.state_dict().items())
    loaded = analog(drawn, converters=converters).eval()
    loaded.load_state_dict(before)
    assert torch.equal(outputs(loaded, x), first)
    # Training goes on as if there had been no evaluation.
    block.train()
    loaded.train()
    loaded.load_state_dict(before)
    assert torch.equal(outputs(block, x), outputs(loaded, x))
    assert block.get_buffer("converter_ranges")[7] == 2


def test_seed_name_and_crossing_tell_draws_apart() -> None:
    errors = ConverterErrors(offset_relative_std=0.1, noise_relative_std=STD)
    drawn = mild_block(4, Polarity.DIFFERENTIAL, Drive.VOLTAGE)
    x = torch.from_numpy(drawn.x)

    def read(seed: int, name: str = "mild") -> torch.Tensor:
        built = dataclasses.replace(drawn.built.block, name=name)
        block = AnalogBlock(
            built,
            simulator=NewtonSimulator(),
            converters=Converters(output=Adc(full_scale=1.0, errors=errors), seed=seed),
            generator=torch.Generator().manual_seed(0),
        ).double()
        return outputs(block, x)

    assert torch.equal(read(1), read(1))
    assert not torch.isclose(read(1), read(2), rtol=0, atol=1e-4).any()
    assert not torch.isclose(read(1), read(1, "other"), rtol=0, atol=1e-4).any()
    same = Converters(input=Dac(errors=errors), output=Adc(errors=errors), nudge=Dac(errors=errors))
    banks = analog(drawn, converters=same)._phases.banks
    offsets = [bank.drawn.offset for bank in (banks.input, banks.output, banks.nudge)]
    drawn_offsets = [value for offset in offsets if offset is not None for value in offset]
    assert len(set(drawn_offsets)) == len(drawn_offsets) == 6 + 4 + 4


def test_first_layer_states_are_read_by_the_same_converters_alone_or_with_all() -> None:
    adc = Adc(full_scale=1.0, errors=ConverterErrors(gain_relative_std=0.1))
    found = []
    for parameter_read in ParameterRead:
        block = coupled(Converters(phase=adc), difference_read=EACH, parameter_read=parameter_read)
        x = torch.tensor([[0.5, 0.2, -0.3]], dtype=torch.float64)
        ds = torch.tensor([[1.0, 0.6]], dtype=torch.float64)
        found.append(block.nudged_phases(block.free_phase(x), ds, want_x=True).x)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9)


def test_devices_learn_what_converters_do() -> None:
    # Through a nonlinear DAC and noisy ADCs a block still comes to its target: errors are in both phases.
    errors = ConverterErrors(noise_relative_std=0.002, offset_relative_std=0.02, gain_relative_std=0.05)
    drawn = mild_block(8, Polarity.DIFFERENTIAL, Drive.VOLTAGE)
    converters = Converters(
        input=Dac(bits=6, errors=dataclasses.replace(errors, linearity=UnitElementMismatch(relative_std=0.05))),
        output=Adc(bits=8, errors=errors),
        nudge=Dac(bits=8, errors=errors),
        phase=Adc(bits=8, errors=errors),
    )
    block = analog(drawn, converters=converters, settings=PhaseSettings(beta=BETA))
    x, target = torch.from_numpy(drawn.x), torch.zeros(5, 4, dtype=torch.float64)
    optimizer = torch.optim.Adam(block.parameters(), lr=0.03)
    losses = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NudgeWarning)
        for _ in range(40):
            optimizer.zero_grad()
            loss = ((block(x) - target) ** 2).sum()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]
