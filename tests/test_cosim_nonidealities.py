"""The audit of devices, one knob at a time: on, it changes a block's circuit by the amount that its formula says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from nonideal_blocks import WITHIN, ask, audited, check, devices, inputs, small_block

from circuits import Convolution, EnergyBlock, NodeLayer
from circuits.arrays import Floats
from circuits.crossbar_devices import ReadDraw, Write
from circuits.devices import (
    CubicCurrent,
    Drift,
    LinearStep,
    ProgrammingError,
    PulsedUpdate,
    RelativeReadNoise,
    SoftBoundsStep,
    Spread,
    SpreadDistribution,
    Stuck,
    TemperatureCoefficient,
    Verify,
)
from circuits.fabrication import crossbar_devices
from circuits.nonidealities import NonIdealities
from cosim.analog_block import AnalogBlock
from cosim.relaxation import Relaxation

TARGET = 1e-4  # S — what every device is asked for in the statistics
N_UNITS = 160  # of the large block: 102,400 devices


def large(effects: NonIdealities, target_s: float = TARGET) -> AnalogBlock:
    """Return a block of 102,400 devices, all asked for the same."""
    block = EnergyBlock(name="large", n_inputs=N_UNITS, layers=(NodeLayer(size=N_UNITS, leak_s=1e-4),))
    made = audited(block, effects)
    ask(made, target_s)
    return made.eval()


def held(block: AnalogBlock) -> Floats:
    """Return what the crossbars' devices hold, [n] S."""
    return block.conductances()[crossbar_devices(block.circuit)]


def now(block: AnalogBlock) -> Floats:
    """Return what the crossbars' devices are while the circuit relaxes, [n] S."""
    return block.free_phase(torch.zeros(1, block.block.n_inputs)).conductance_s[crossbar_devices(block.circuit)]


def test_normal_spread() -> None:
    check(held(large(devices(spread=Spread(relative_std=0.1)))) / TARGET, 1.0, 0.1)


def test_log_normal_spread() -> None:
    # f = exp(s xi - s^2 / 2) with s^2 = ln(1 + r^2): mean one, standard deviation r.
    spread = Spread(relative_std=0.3, distribution=SpreadDistribution.LOG_NORMAL)
    factor = held(large(devices(spread=spread))) / TARGET
    check(factor, 1.0, 0.3)
    s = math.sqrt(math.log(1 + 0.3**2))
    check(np.log(factor), -(s**2) / 2, s)


def test_spread_is_for_life_and_a_factor_on_what_is_written() -> None:
    block = large(devices(spread=Spread(relative_std=0.1)))
    first = held(block)
    ask(block, 0.4 * TARGET)
    np.testing.assert_allclose(held(block), 0.4 * first, rtol=1e-12)


def test_levels() -> None:
    block = large(devices(levels=5))
    with torch.no_grad():
        generator = torch.Generator().manual_seed(3)
        for parameter in block.parameters():
            parameter.uniform_(*block.block.window, generator=generator)
    asked = block.configured(nonidealities=None).conductances()[crossbar_devices(block.circuit)]
    distance = (2e-4 - 1e-7) / 4
    level = 1e-7 + distance * np.round((asked - 1e-7) / distance)
    np.testing.assert_allclose(held(block), level, rtol=1e-12)
    assert len(np.unique(held(block))) == 5
    assert np.abs(held(block) - asked).max() == pytest.approx(distance / 2, rel=WITHIN)


def test_programming_error() -> None:
    # sigma = c_0 + c_1 g / g_ref: 2 uS + 6 uS * 0.5 at half of g_ref.
    error = ProgrammingError(coefficients_s=(2e-6, 6e-6), reference_s=2e-4)
    check(held(large(devices(programming_error=error))), 1e-4, 5e-6)


def test_an_ideal_write_has_no_programming_error_but_keeps_what_the_device_is() -> None:
    error = ProgrammingError(coefficients_s=(5e-6,), reference_s=2e-4)
    made = devices(programming_error=error, spread=Spread(relative_std=0.1), use={"write": Write.IDEAL})
    alone = devices(spread=Spread(relative_std=0.1))
    np.testing.assert_array_equal(held(large(made)), held(large(alone)))


def test_read_noise() -> None:
    block = large(devices(read_noise=RelativeReadNoise(relative_std=0.05)))
    assert (held(block) == TARGET).all()
    check(now(block), 1e-4, 5e-6)
    check(now(block), 1e-4, 5e-6)


@pytest.mark.parametrize("learn", [True, False])
@pytest.mark.parametrize("draw", ReadDraw)
def test_read_noise_of_the_phases(draw: ReadDraw, learn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow noise is that of the batch in every phase; fast noise is drawn anew, independently, in each."""
    seen: list[Floats] = []
    original = Relaxation.solve

    def solve(self: Relaxation, conductance_s: Floats, drives: Floats, **options):
        seen.append(conductance_s.copy())
        return original(self, conductance_s, drives, **options)

    monkeypatch.setattr(Relaxation, "solve", solve)
    block = large(devices(read_noise=RelativeReadNoise(relative_std=0.05), use={"read_draw": draw})).train(learn)
    for _ in range(2):
        block(inputs(N_UNITS, 1)).square().sum().backward()
    places = crossbar_devices(block.circuit)
    noise = [g[places] / TARGET - 1.0 for g in seen]
    independent = 2 if draw is ReadDraw.EACH_BATCH else 6
    assert len(noise) == (4 if draw is ReadDraw.EACH_BATCH else 6)  # both nudges in one batch where devices stay
    if draw is ReadDraw.EACH_BATCH:
        np.testing.assert_array_equal(noise[0], noise[1])
        np.testing.assert_array_equal(noise[2], noise[3])
        noise = noise[::2]
    correlation = np.corrcoef(noise)
    assert np.abs(correlation - np.eye(independent)).max() < 4 / math.sqrt(len(places))
    for values in noise:
        check(values, 0.0, 0.05)


def test_drift_with_spread() -> None:
    # g(t) = g (t / t_0)^-nu: over a day from 20 s on, nu = -ln(g(t) / g) / ln(86400 / 20).
    drift = Drift.constant(0.06, nu_std=0.012, t_0_s=20.0)
    block = large(devices(drift=drift, use={"time_s": 86400.0}))
    assert (held(block) == TARGET).all()
    check(-np.log(now(block) / TARGET) / math.log(86400.0 / 20.0), 0.06, 0.012)


def test_nothing_has_drifted_without_a_time_or_at_t_0() -> None:
    drift = Drift.constant(0.06, nu_std=0.012, t_0_s=20.0)
    for time_s in (None, 20.0):
        assert (now(large(devices(drift=drift, use={"time_s": time_s}))) == TARGET).all()


def test_stuck_devices() -> None:
    values = held(large(devices(stuck=Stuck(probability_at_g_min=0.3, probability_at_g_max=0.2))))
    assert (values == 1e-7).mean() == pytest.approx(0.3, rel=WITHIN)
    assert (values == 2e-4).mean() == pytest.approx(0.2, rel=WITHIN)
    assert (values == TARGET).mean() == pytest.approx(0.5, rel=WITHIN)


@pytest.mark.parametrize("end", ["probability_at_g_min", "probability_at_g_max"])
def test_devices_stuck_at_one_end(end: str) -> None:
    values = held(large(devices(stuck=Stuck(**{end: 0.25}))))
    stuck_s = {"probability_at_g_min": 1e-7, "probability_at_g_max": 2e-4}[end]
    assert (values == stuck_s).mean() == pytest.approx(0.25, rel=WITHIN)
    assert set(np.unique(values)) == {stuck_s, TARGET}


def test_temperature_coefficient() -> None:
    # g [1 + a (T - T_ref)] = g (1 - 0.002 * 40).
    coefficient = TemperatureCoefficient(per_k=-0.002, reference_k=300.0)
    block = large(devices(temperature=coefficient, temperature_k=340.0))
    assert (held(block) == TARGET).all()
    np.testing.assert_allclose(now(block), TARGET * 0.92, rtol=1e-12)


def test_cubic_devices_are_those_of_crossbars() -> None:
    block = audited(small_block(), devices(cubic=CubicCurrent(k3_per_v2=0.5)))
    resistors = block.circuit.circuit.resistors
    crossbars = np.isin(np.arange(len(resistors)), crossbar_devices(block.circuit))
    assert 0 < crossbars.sum() == len(resistors) - len(block.circuit.leak_devices)
    np.testing.assert_array_equal(resistors.k3_per_v2, np.where(crossbars, 0.5, 0.0))


def pulses(**options) -> NonIdealities:
    update = PulsedUpdate(**options)
    return devices(pulsed_update=update, use={"write": Write.PULSES})


@pytest.mark.parametrize(
    ("step", "up", "down"),
    [
        # Mid-window: straight lines from 0.01 to 0.006 up and from 0.004 to 0.02 down; soft bounds.
        (LinearStep(up_at_low=0.01, up_at_high=0.006, down_at_low=0.004, down_at_high=0.02), 0.008, 0.012),
        (SoftBoundsStep(up_rate=0.02, down_rate=0.03), 0.01, 0.015),
    ],
    ids=["linear", "soft bounds"],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_a_pulse(step, up: float, down: float, sign: int) -> None:
    """A change of one nominal step sends one pulse, whose size has the spread of cycles; weights follow devices."""
    middle, width = (1e-7 + 2e-4) / 2, 2e-4 - 1e-7
    block = large(pulses(step=step, cycle_relative_std=0.3, nominal_step=0.01), middle)
    before = held(block)
    np.testing.assert_allclose(before, middle, rtol=1e-12)
    ask(block, middle + sign * 0.01 * width)
    change = (held(block) - before) / width
    expected = up if sign > 0 else -down
    check(change, expected, 0.3 * abs(expected))
    followed = block.configured(nonidealities=None).conductances()
    for crossbar in block.circuit.crossbars:
        for side in (crossbar.plus, crossbar.minus):
            pair = block.conductances()[side].mean(axis=0)
            np.testing.assert_allclose(followed[side], np.stack([pair, pair]), rtol=1e-12)


def test_pulses_of_an_update_are_rounded_at_random() -> None:
    """A change of 0.3 steps is one pulse in 0.3 of the devices; one of 5 steps is cut off at most_pulses = 3."""
    step = LinearStep(up_at_low=0.01, up_at_high=0.01, down_at_low=0.01, down_at_high=0.01)
    use = {"write": Write.PULSES, "most_pulses": 3}
    for steps, mean, std in ((0.3, 0.3, math.sqrt(0.3 * 0.7)), (5.0, 3.0, 0.0)):
        block = large(devices(pulsed_update=PulsedUpdate(step=step), use=use))
        before = held(block)
        ask(block, TARGET + steps * 0.01 * (2e-4 - 1e-7))
        change = (held(block) - before) / (0.01 * (2e-4 - 1e-7))
        assert change.mean() == pytest.approx(mean, rel=WITHIN)
        assert change.std() == pytest.approx(std, rel=WITHIN, abs=1e-9)


def test_program_and_verify() -> None:
    # A write succeeds with p = erf(t / (sqrt 2 sigma)) = erf(0.5 / sqrt 2) = 0.38292 for t = 2 uS, sigma = 4 uS.
    error = ProgrammingError(coefficients_s=(4e-6,), reference_s=2e-4)
    use = {"write": Write.PROGRAM_AND_VERIFY, "verify": Verify(tolerance_relative=0.01, max_cycles=100)}
    block = large(devices(programming_error=error, use=use))
    assert block.last_verified is None
    assert np.abs(held(block) - TARGET).max() <= 0.01 * 2e-4
    report = block.last_verified
    assert report is not None
    assert report.not_converged == 0
    assert report.mean_cycles == pytest.approx(1 / 0.38292, rel=WITHIN)


def test_the_four_devices_of_a_weight_are_independent() -> None:
    block = large(devices(spread=Spread(relative_std=0.1)))
    crossbar = block.circuit.crossbars[0]
    four = np.concatenate([crossbar.plus, crossbar.minus]).reshape(4, -1)
    values = block.conductances()[four]
    assert four.shape[1] == N_UNITS**2
    assert np.abs(np.corrcoef(values) - np.eye(4)).max() < 4 / N_UNITS  # four standard errors
    # Nor do devices of a row or of a column have anything in common.
    grid = values[0].reshape(N_UNITS, N_UNITS) - values[0].mean()
    assert abs((grid[:, 1:] * grid[:, :-1]).mean()) < 4 / N_UNITS * values[0].var()
    assert abs((grid[1:] * grid[:-1]).mean()) < 4 / N_UNITS * values[0].var()


def test_every_place_of_a_kernel_has_devices_of_its_own() -> None:
    coupling = Convolution(input_shape=(2, 6, 6), channels=3, kernel=3)
    block = EnergyBlock(name="conv", n_inputs=72, layers=(NodeLayer(coupling=coupling, leak_s=1e-4),))
    made = audited(block, devices(spread=Spread(relative_std=0.1)))
    ask(made, TARGET)
    crossbar, n_places = made.circuit.crossbars[0], 4 * 4  # of the kernel in the image, without padding
    places = np.concatenate([crossbar.plus.ravel(), crossbar.minus.ravel()])
    assert len(places) == 4 * n_places * made.g_plus["w1"].numel()
    assert len(np.unique(made.conductances()[places])) == len(places)
