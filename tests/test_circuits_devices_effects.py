"""The effect audit: each effect of a device, on, does what its formula says, and off, changes no bit.

Statistics are over 200,000 devices; constants are typed here from the source, not taken from the code.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from circuits import CircuitError
from circuits.devices import (
    ClippedLogarithm,
    CubicCurrent,
    Device,
    DeviceArray,
    Drift,
    ErrorDistribution,
    FittedFlickerReadNoise,
    FlickerReadNoise,
    LinearStep,
    LogarithmThenPolynomial,
    ProgrammingError,
    PulsedUpdate,
    RelativeReadNoise,
    Spread,
    SpreadDistribution,
    Stuck,
    TemperatureCoefficient,
    at_temperature,
    drifted,
    preset,
    program,
    pulsed,
    quantised,
    read,
)

N = 200_000
IDEAL = Device(name="ideal", g_min_s=1e-6, g_max_s=1e-4)
RELATIVE = pytest.mark.parametrize("relative", [0.1, 0.3, 0.5, 0.7, 0.9])
CONSTANT = LinearStep(up_at_low=0.01, up_at_high=0.01, down_at_low=0.01, down_at_high=0.01)
DRIFT = Drift.constant(0.05, nu_std=0.01, t_0_s=20.0)
FITTED = LogarithmThenPolynomial(
    below=ClippedLogarithm(slope=-0.01, offset=0.0, lowest=0.01, highest=0.05),
    break_relative=0.2,
    coefficients=(0.03, -0.1),
)
FLICKER = FlickerReadNoise(q_at_g_max=0.0088, exponent=0.65, q_highest=0.2, t_read_s=250e-9)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def targets(device: Device = IDEAL, n: int = N) -> np.ndarray:
    return generator(7).uniform(device.g_min_s, device.g_max_s, n)


def draw(device: Device, n: int = N, seed: int = 1) -> DeviceArray:
    return DeviceArray.draw(device, (n,), generator(seed))


def assert_statistics(values: np.ndarray, mean: float, std: float) -> None:
    assert values.size >= 100_000
    assert float(values.mean()) == pytest.approx(mean, rel=0.02)
    assert float(values.std()) == pytest.approx(std, rel=0.02)


# Off.


def test_with_every_effect_off_not_a_bit_changes() -> None:
    devices, g = draw(IDEAL), targets()
    assert IDEAL.effects == ()
    written = program(devices, g, generator())
    assert written.tobytes() == g.tobytes()
    assert drifted(devices, written, 1e9).tobytes() == g.tobytes()
    assert at_temperature(devices, written, 400.0).tobytes() == g.tobytes()
    assert read(devices, written, generator()).tobytes() == g.tobytes()


@pytest.mark.parametrize(
    "effect",
    [
        {"spread": Spread(relative_std=0.0)},
        {"spread": Spread(relative_std=0.0, distribution=SpreadDistribution.LOG_NORMAL)},
        {"programming_error": ProgrammingError.independent(0.0)},
        {"read_noise": RelativeReadNoise(relative_std=0.0)},
        {"drift": Drift.constant(0.0, nu_std=0.0, t_0_s=20.0)},
        {"stuck": Stuck()},
        {"temperature": TemperatureCoefficient(per_k=0.0)},
    ],
    ids=lambda effect: next(iter(effect)),
)
def test_an_effect_of_size_zero_changes_no_bit_either(effect: dict[str, object]) -> None:
    devices, g = draw(replace(IDEAL, **effect)), targets()
    written = program(devices, g, generator())
    now = at_temperature(devices, drifted(devices, written, 1e9), 350.0)
    assert read(devices, now, generator()).tobytes() == g.tobytes()


def test_the_ideal_preset_writes_without_error() -> None:
    device = preset("ideal").device
    devices, g = draw(device), targets(device)
    assert program(devices, g, generator()).tobytes() == g.tobytes()


# Programming error.


@RELATIVE
@pytest.mark.parametrize(
    ("name", "g_max_us", "std_us"),
    [
        ("pcm", 25.0, lambda g: 0.26348 + 1.965 * (g / 25) - 1.1731 * (g / 25) ** 2),
        ("pcm-joshi", 25.0, lambda g: -0.00178767 * g**2 + 0.07585724 * g + 0.28638599),
        (
            "hermes-pcm",
            20.7,
            lambda g: 0.166 + 4.718 * (g / 20.7) - 8.481 * (g / 20.7) ** 2 + 4.690 * (g / 20.7) ** 3,
        ),
        ("rram-wan", 40.0, lambda g: 1.536e-4 * g**3 - 1.167e-2 * g**2 + 0.2374 * g + 1.053),
        ("rram-milo", 225.0, lambda g: -0.009107 * g + 4.782321),
    ],
)
def test_published_programming_errors(name: str, g_max_us: float, std_us: object, relative: float) -> None:
    device, g_us = preset(name).device, relative * g_max_us
    assert device.g_max_s == pytest.approx(g_max_us * 1e-6)
    assert device.programming_error is not None
    written = device.programming_error.written_s(np.full(N, g_us * 1e-6), generator())
    assert_statistics(written, g_us * 1e-6, std_us(g_us) * 1e-6)


def test_programming_error_of_pcm_at_half_of_the_window() -> None:
    # aihwkit 1.1.0 itself, run on 12.5 uS, gives 0.9529 uS over its sample; the formula gives 0.9527.
    error = preset("pcm").device.programming_error
    assert error is not None
    assert error.std_s(np.array([12.5e-6]))[0] == pytest.approx(0.9527e-6, rel=1e-4)


@pytest.mark.parametrize("distribution", list(ErrorDistribution))
@RELATIVE
def test_independent_and_proportional_errors(distribution: ErrorDistribution, relative: float) -> None:
    g = relative * 1e-4
    independent = ProgrammingError.independent(2e-6, distribution).written_s(np.full(N, g), generator())
    assert_statistics(independent, g, 2e-6)
    proportional = ProgrammingError.proportional(0.05, distribution).written_s(np.full(N, g), generator())
    assert_statistics(proportional, g, 0.05 * g)
    if distribution is ErrorDistribution.UNIFORM:
        assert np.max(np.abs(independent - g)) <= 2e-6 * math.sqrt(3)


def test_errors_are_normal_unless_asked_otherwise() -> None:
    xi = ProgrammingError.independent(1.0).written_s(np.zeros(N), generator())
    assert float(np.mean(xi**4)) == pytest.approx(3.0, rel=0.03)
    flat = ProgrammingError.independent(1.0, ErrorDistribution.UNIFORM).written_s(np.zeros(N), generator())
    assert float(np.mean(flat**4)) == pytest.approx(9 / 5, rel=0.02)


def test_a_programming_error_is_clipped_into_the_window_and_new_at_each_write() -> None:
    devices = draw(replace(IDEAL, programming_error=ProgrammingError.independent(5e-6)))
    cycle = generator()
    first, second = (program(devices, np.full(N, 5e-5), cycle) for _ in range(2))
    assert_statistics(first - second + 5e-5, 5e-5, math.sqrt(2) * 5e-6)
    at_top = program(devices, np.full(N, 1e-4), cycle)
    assert at_top.max() == 1e-4
    assert float(np.mean(at_top == 1e-4)) == pytest.approx(0.5, abs=0.01)


def test_a_standard_deviation_is_never_negative() -> None:
    falling = ProgrammingError(coefficients_s=(1e-6, -1.0), reference_s=1.0)
    assert falling.std_s(np.array([5e-7, 2e-6])).tolist() == pytest.approx([5e-7, 0.0])


# Levels.


def test_levels_are_evenly_spaced_and_reach_both_ends() -> None:
    devices = draw(replace(IDEAL, levels=12))
    written = program(devices, targets(), generator())
    np.testing.assert_allclose(np.unique(written), 1e-6 + 9e-6 * np.arange(12), rtol=1e-12)
    assert written.max() == 1e-4
    error = written - targets()
    # Half a step at most, uniform but for the ends.
    assert np.max(np.abs(error)) <= 4.5e-6 * (1 + 1e-9)
    assert float(error.std()) == pytest.approx(9e-6 / math.sqrt(12), rel=0.02)
    assert program(devices, written, generator()).tobytes() == written.tobytes()


def test_two_levels_are_the_ends() -> None:
    assert quantised(np.array([1.0, 1.9, 2.1, 3.0]), 2, 1.0, 3.0).tolist() == [1.0, 1.0, 3.0, 3.0]


# Spread between devices.


@RELATIVE
@pytest.mark.parametrize(
    ("distribution", "relative_std"),
    [(SpreadDistribution.NORMAL, 0.2), (SpreadDistribution.LOG_NORMAL, 0.2), (SpreadDistribution.LOG_NORMAL, 0.5)],
)
def test_device_spread(distribution: SpreadDistribution, relative_std: float, relative: float) -> None:
    spread = Spread(relative_std=relative_std, distribution=distribution)
    devices = draw(replace(IDEAL, spread=spread))
    written = program(devices, np.full(N, relative * 1e-4), generator())
    assert_statistics(written, relative * 1e-4, relative_std * relative * 1e-4)
    assert written.min() > 0


def test_log_normal_spread_is_normal_in_the_logarithm() -> None:
    devices = draw(replace(IDEAL, spread=Spread(relative_std=0.5, distribution="log_normal")))
    logarithm = np.log(program(devices, np.full(N, 5e-5), generator()) / 5e-5)
    s = math.sqrt(math.log(1 + 0.25))
    assert float(logarithm.mean()) == pytest.approx(-(s**2) / 2, abs=4 * s / math.sqrt(N))
    assert float(logarithm.std()) == pytest.approx(s, rel=0.02)


def test_spread_is_the_devices_own_and_not_the_writes() -> None:
    devices = draw(replace(IDEAL, spread=Spread(relative_std=0.3)))
    first, second = (program(devices, np.full(N, 5e-5), generator(seed)) for seed in (3, 4))
    assert first.tobytes() == second.tobytes()
    other = draw(replace(IDEAL, spread=Spread(relative_std=0.3)), seed=2)
    assert abs(float(np.corrcoef(first, program(other, np.full(N, 5e-5), generator(3)))[0, 1])) < 0.01


def test_no_device_is_open_however_wide_the_spread() -> None:
    devices = draw(replace(IDEAL, spread=Spread(relative_std=0.5, lowest=0.02)))
    written = program(devices, np.full(N, 5e-5), generator())
    assert written.min() == pytest.approx(0.02 * 5e-5)
    assert float(np.mean(written < 0.021 * 5e-5)) == pytest.approx(0.025, abs=0.002)  # 1.96 sigma below


def test_the_four_devices_of_a_weight_are_independent() -> None:
    everything = replace(IDEAL, spread=Spread(relative_std=0.1), drift=DRIFT)
    devices = DeviceArray.draw(everything, (100_000, 4), generator())
    now = drifted(devices, program(devices, np.full((100_000, 4), 5e-5), generator()), 1e6)
    correlation = np.corrcoef(now.T)
    assert np.max(np.abs(correlation - np.eye(4))) < 0.015


# Stuck devices.


def test_stuck_devices() -> None:
    devices = draw(replace(IDEAL, stuck=Stuck(probability_at_g_min=0.1, probability_at_g_max=0.035)))
    written = program(devices, np.full(N, 5e-5), generator())
    # One standard deviation of the share is 0.0007.
    assert float(np.mean(written == 1e-6)) == pytest.approx(0.1, abs=0.003)
    assert float(np.mean(written == 1e-4)) == pytest.approx(0.035, abs=0.002)
    assert float(np.mean(written == 5e-5)) == pytest.approx(0.865, abs=0.004)
    again = program(devices, np.full(N, 2e-5), generator(5))
    assert np.array_equal(again == 1e-6, written == 1e-6)


def test_stuck_devices_stay_whatever_happens() -> None:
    device = replace(
        IDEAL,
        stuck=Stuck(probability_at_g_min=0.2, probability_at_g_max=0.3),
        spread=Spread(relative_std=0.3),
        programming_error=ProgrammingError.independent(5e-6),
        drift=DRIFT,
        pulsed_update=PulsedUpdate(step=CONSTANT, cycle_relative_std=0.3),
    )
    devices = draw(device)
    written = program(devices, np.full(N, 5e-5), generator())
    later = pulsed(devices, drifted(devices, written, 1e6), np.full(N, 5), generator())
    for g in (written, later):
        assert np.all(g[devices.stuck_at_g_min] == 1e-6)
        assert np.all(g[devices.stuck_at_g_max] == 1e-4)
    free = ~(devices.stuck_at_g_min | devices.stuck_at_g_max)
    assert np.all(written[free] != later[free])


# Drift.


@pytest.mark.parametrize("relative", [0.1, 0.15, 0.3, 0.5, 0.9])
def test_drift_exponent_of_pcm(relative: float) -> None:
    device = preset("pcm").device
    devices = draw(device)
    g, time_s = np.full(N, relative * 25e-6), 86400.0
    nu = -np.log(drifted(devices, g, time_s) / g) / math.log(time_s / 20.0)
    mean = min(max(-0.0155 * math.log(relative) + 0.0244, 0.049), 0.1)
    std = min(max(-0.0125 * math.log(relative) - 0.0059, 0.008), 0.045)
    assert_statistics(nu, mean, std)


@RELATIVE
def test_drifted_conductances_of_pcm(relative: float) -> None:
    # Of a normal nu, (t / t_0)^-nu is log-normal: L = ln(t / t_0).
    devices, time_s = draw(preset("pcm").device), 3600.0
    now = drifted(devices, np.full(N, relative * 25e-6), time_s)
    mean = min(max(-0.0155 * math.log(relative) + 0.0244, 0.049), 0.1)
    std = min(max(-0.0125 * math.log(relative) - 0.0059, 0.008), 0.045)
    length = math.log(time_s / 20.0)
    expected = relative * 25e-6 * math.exp(-mean * length + (std * length) ** 2 / 2)
    assert_statistics(now, expected, expected * math.sqrt(math.expm1((std * length) ** 2)))


def test_drift_starts_at_t_0_and_keeps_its_devices() -> None:
    devices, g = draw(replace(IDEAL, drift=DRIFT)), targets()
    for time_s in (0.0, 1.0, 20.0):
        assert drifted(devices, g, time_s).tobytes() == g.tobytes()
    hour, day = (-np.log(drifted(devices, g, t) / g) / math.log(t / 20.0) for t in (3600.0, 86400.0))
    np.testing.assert_allclose(hour, day, rtol=1e-9)
    assert_statistics(hour, 0.05, 0.01)


def test_drift_without_spread_is_the_same_for_all() -> None:
    devices = draw(replace(IDEAL, drift=Drift.constant(0.1, nu_std=None, t_0_s=1.0)))
    np.testing.assert_allclose(drifted(devices, np.full(N, 5e-5), 1e5), 5e-5 * 1e5**-0.1, rtol=1e-14)


def test_no_device_grows() -> None:
    devices = draw(replace(IDEAL, drift=Drift.constant(0.01, nu_std=0.1, t_0_s=1.0)))
    assert np.all(drifted(devices, np.full(N, 5e-5), 1e5) <= 5e-5)


def test_a_law_in_two_branches() -> None:
    values = FITTED.at(np.array([0.0, 1e-3, 0.1, 0.2, 0.25, 1.0]))
    expected = [0.05, 0.05, -0.01 * math.log(0.1), 0.03 - 0.1 * 0.2, 0.03 - 0.1 * 0.25, 0.0]  # never below zero
    assert values.tolist() == pytest.approx(expected)


def test_a_device_written_to_zero_drifts_without_a_word() -> None:
    devices = draw(preset("pcm").device, n=2)
    assert drifted(devices, [0.0, 1e-6], 1e5)[0] == 0.0


# Read noise.


@RELATIVE
def test_relative_read_noise(relative: float) -> None:
    devices = draw(replace(IDEAL, read_noise=RelativeReadNoise(relative_std=0.01)))
    g = relative * 1e-4
    assert_statistics(read(devices, np.full(N, g), generator()), g, 0.01 * g)


@RELATIVE
@pytest.mark.parametrize("time_s", [20.0, 3600.0, 86400.0])
def test_flicker_read_noise_of_pcm(relative: float, time_s: float) -> None:
    devices, g = draw(preset("pcm").device), relative * 25e-6
    q_s = min(0.0088 / relative**0.65, 0.2)
    std = g * q_s * math.sqrt(math.log((time_s + 250e-9) / (2 * 250e-9)))
    noise = read(devices, np.full(N, g), generator(), time_s=time_s)
    assert_statistics(noise, g, std)


def test_flicker_noise_belongs_to_what_was_written() -> None:
    g, written = np.full(N, 4e-5), np.full(N, 8e-5)
    devices = draw(replace(IDEAL, read_noise=FLICKER))
    growth = math.sqrt(math.log((1.0 + 250e-9) / 500e-9))
    values = read(devices, g, generator(), time_s=1.0, written_s=written)
    assert_statistics(values, 4e-5, 4e-5 * 0.0088 / 0.8**0.65 * growth)


def test_flicker_noise_has_a_cap_and_a_beginning() -> None:
    devices = draw(replace(IDEAL, read_noise=FLICKER))
    g = np.full(N, 1e-4 * 1e-3)  # 0.0088 / 0.001^0.65 is 0.78
    assert FLICKER.std_s(g, g, 1e-4, 1e-3)[0] == pytest.approx(1e-7 * 0.2 * math.sqrt(math.log(2000.5)))
    assert FLICKER.std_s(np.zeros(1), np.zeros(1), 1e-4, 1.0)[0] == 0.0
    assert read(devices, g, generator(), time_s=1e-7).tobytes() == g.tobytes()
    with pytest.raises(CircuitError, match="flicker read noise grows with time: give time_s"):
        read(devices, g, generator())


def test_a_read_is_never_negative_and_never_the_same() -> None:
    devices, cycle = draw(replace(IDEAL, read_noise=RelativeReadNoise(relative_std=1.0))), generator()
    first, second = (read(devices, np.full(N, 1e-5), cycle) for _ in range(2))
    assert first.min() == 0.0
    assert not np.array_equal(first, second)


# Current law and temperature.


def test_cubic_current_is_the_derivative_of_its_cocontent() -> None:
    cubic, g, h = CubicCurrent(k3_per_v2=0.7), np.array([1e-5]), 1e-5
    v = np.linspace(-1.5, 1.5, 31)
    assert cubic.current_a(g, np.array([0.5]))[0] == pytest.approx(1e-5 * (0.5 + 0.7 * 0.125), rel=1e-14, abs=0)
    assert cubic.cocontent_w(g, np.array([2.0]))[0] == pytest.approx(1e-5 * (2.0 + 0.7 * 4.0), rel=1e-14, abs=0)
    slope = (cubic.cocontent_w(g, v + h) - cubic.cocontent_w(g, v - h)) / (2 * h)
    np.testing.assert_allclose(slope, cubic.current_a(g, v), rtol=1e-8, atol=1e-14)
    slope = (cubic.current_a(g, v + h) - cubic.current_a(g, v - h)) / (2 * h)
    np.testing.assert_allclose(slope, cubic.conductance_s(g, v), rtol=1e-8)
    slope = (cubic.cocontent_w(g + 1e-6, v) - cubic.cocontent_w(g, v)) / 1e-6
    np.testing.assert_allclose(slope, cubic.cocontent_per_g_v2(v), rtol=1e-8, atol=1e-14)


def test_cubic_current_of_none_is_ohms_law_bit_for_bit() -> None:
    cubic, g, v = CubicCurrent(k3_per_v2=0.0), targets(), generator().standard_normal(N)
    assert cubic.current_a(g, v).tobytes() == (g * v).tobytes()
    assert np.array_equal(cubic.cocontent_per_g_v2(v), v**2 / 2)


def test_temperature_coefficient() -> None:
    devices = draw(replace(IDEAL, temperature=TemperatureCoefficient(per_k=-2e-3)))
    hot = at_temperature(devices, targets(), 350.15)
    np.testing.assert_allclose(hot / targets(), 1 - 2e-3 * 50, rtol=1e-13)
    assert at_temperature(devices, targets(), 300.15).tobytes() == targets().tobytes()
    with pytest.raises(CircuitError, match=r"at 900 K a conductance would be -0.2 of itself"):
        at_temperature(devices, targets(), 900.0)


# Streams.


def test_an_effect_leaves_the_draws_of_the_others_alone() -> None:
    some = {"spread": Spread(relative_std=0.1), "drift": DRIFT}
    alone = draw(replace(IDEAL, **some))
    together = draw(replace(IDEAL, stuck=Stuck(probability_at_g_min=0.1), **some))
    assert alone.factor.tobytes() == together.factor.tobytes()
    assert alone.nu_xi.tobytes() == together.nu_xi.tobytes()


def test_a_seed_is_a_chip_and_draws_cannot_be_changed() -> None:
    device = replace(IDEAL, spread=Spread(relative_std=0.1))
    assert draw(device).factor.tobytes() == draw(device).factor.tobytes()
    assert draw(device).factor.tobytes() != draw(device, seed=9).factor.tobytes()
    with pytest.raises(ValueError, match="read-only"):
        draw(device).factor[0] = 1.0


def test_what_is_given_is_not_changed() -> None:
    device = replace(
        preset("pcm").device, levels=16, spread=Spread(relative_std=0.1), pulsed_update=PulsedUpdate(step=CONSTANT)
    )
    devices, g = draw(device), targets(device)
    kept = g.copy()
    program(devices, g, generator())
    drifted(devices, g, 1e5)
    read(devices, g, generator(), time_s=1e5)
    pulsed(devices, g, np.ones(N, dtype=np.int64), generator())
    assert g.tobytes() == kept.tobytes()


# Bad input.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Device(name="d", g_min_s=2e-5, g_max_s=1e-5), "device 'd': window upside down: g_min_s = 2e-05"),
        (lambda: Device(name="d", g_min_s=1e-5, g_max_s=1e-5), "window upside down"),
        (lambda: Device(name="d", g_min_s=-1e-6, g_max_s=1e-5), "device 'd': g_min_s = -1e-06 is negative"),
        (lambda: Device(name="d", g_min_s=0.0, g_max_s=math.inf), "device 'd': g_max_s = inf; give a finite"),
        (lambda: Device(name="", g_min_s=0.0, g_max_s=1.0), "device: name = ''"),
        (lambda: replace(IDEAL, levels=1), "device 'ideal': levels = 1; give a whole number of 2 or more, or None"),
        (lambda: replace(IDEAL, levels=2.5), "levels = 2.5"),
        (lambda: replace(IDEAL, levels=True), "levels = True"),
        (lambda: replace(IDEAL, spread=0.3), "device 'ideal': spread = 0.3; give Spread, or None for off"),
        (
            lambda: replace(IDEAL, read_noise=0.3),
            "RelativeReadNoise or FlickerReadNoise or FittedFlickerReadNoise, or",
        ),
        (lambda: ProgrammingError(coefficients_s=(), reference_s=1.0), r"coefficients_s = \(\); give \(c_0, c_1"),
        (lambda: ProgrammingError(coefficients_s=3.0, reference_s=1.0), r"coefficients_s = 3.0; give \(c_0, c_1"),
        (lambda: ProgrammingError(coefficients_s=(1.0, math.nan), reference_s=1.0), r"coefficients_s\[1\] = nan"),
        (lambda: ProgrammingError(coefficients_s=(-1.0,), reference_s=1.0), "a negative standard deviation"),
        (lambda: ProgrammingError(coefficients_s=(1.0,), reference_s=0.0), "reference_s = 0.0; give a number above"),
        (lambda: ProgrammingError.independent(1.0, "cauchy"), "distribution = 'cauchy'; allowed are 'normal'"),
        (lambda: ProgrammingError.independent(-1e-6), "programming error: std_s = -1e-06 is negative"),
        (lambda: ProgrammingError.proportional(-0.1), "programming error: relative_std = -0.1 is negative"),
        (lambda: RelativeReadNoise(relative_std=-0.1), "relative read noise: relative_std = -0.1 is negative"),
        (lambda: RelativeReadNoise(relative_std="1"), "relative_std = '1'; give a finite number"),
        (lambda: replace(FLICKER, t_read_s=0.0), "flicker read noise: t_read_s = 0.0; give a number above zero"),
        (lambda: replace(FLICKER, q_at_g_max=-1.0), "flicker read noise: q_at_g_max = -1.0 is negative"),
        (lambda: replace(DRIFT, t_0_s=-1.0), "drift: t_0_s = -1.0"),
        (lambda: Drift.constant(-0.1, nu_std=None, t_0_s=1.0), "drift: nu = -0.1 is negative"),
        (
            lambda: ClippedLogarithm(slope=0.0, offset=0.0, lowest=0.2, highest=0.1),
            "law of the conductance: limits upside down: lowest = 0.2, highest = 0.1",
        ),
        (lambda: replace(FITTED, coefficients=()), r"law of the conductance: coefficients = \(\); give \(c_0, c_1"),
        (lambda: replace(FITTED, coefficients=(0.1, math.nan)), r"coefficients\[1\] = nan; give a finite number"),
        (lambda: replace(FITTED, break_relative=0.0), "break_relative = 0.0; give a number above zero"),
        (lambda: FittedFlickerReadNoise(q=FITTED, t_read_s=0.0), "t_read_s = 0.0; give a number above zero"),
        (lambda: Stuck(probability_at_g_min=1.5), "probability_at_g_min = 1.5; a probability lies between 0 and 1"),
        (lambda: Stuck(probability_at_g_max=-0.1), "probability_at_g_max = -0.1; a probability lies between"),
        (lambda: Stuck(probability_at_g_min=0.6, probability_at_g_max=0.6), "add up to more than 1"),
        (lambda: Spread(relative_std=-0.3), "device spread: relative_std = -0.3 is negative"),
        (lambda: Spread(relative_std=math.nan), "device spread: relative_std = nan; give a finite number"),
        (lambda: Spread(relative_std=0.1, lowest=1.0), "device spread: lowest = 1.0; give a factor below 1"),
        (lambda: Spread(relative_std=0.1, distribution="flat"), "'flat'; allowed are 'normal', 'log_normal'"),
        (lambda: CubicCurrent(k3_per_v2=-0.1), "cubic current: k3_per_v2 = -0.1 is negative"),
        (lambda: TemperatureCoefficient(per_k=math.inf), "temperature coefficient: per_k = inf"),
    ],
)
def test_bad_numbers_are_refused(make: object, message: str) -> None:
    with pytest.raises(CircuitError, match=message):
        make()


def test_bad_arrays_are_refused() -> None:
    devices = draw(IDEAL, n=3)
    with pytest.raises(CircuitError, match=r"target_s has shape \(2,\), the devices \(3,\)"):
        program(devices, [1e-5, 1e-5], generator())
    with pytest.raises(CircuitError, match="target_s holds what is negative or not finite"):
        program(devices, [1e-5, math.nan, 1e-5], generator())
    with pytest.raises(CircuitError, match=r"2 targets outside the window, as 0.0002 S; .* from 1e-06 to 0.0001 S"):
        program(devices, [1e-5, 2e-4, 1e-7], generator())
    with pytest.raises(CircuitError, match=r"device 'ideal': time_s = -1.0 is negative"):
        drifted(devices, [1e-5, 1e-5, 1e-5], -1.0)


def test_a_target_may_miss_the_window_by_a_rounding() -> None:
    devices = draw(IDEAL, n=2)
    g = np.array([np.nextafter(1e-6, 0), np.nextafter(1e-4, 1)])
    assert program(devices, g, generator()).tobytes() == g.tobytes()
