"""Write and verify: the error that is left, and what it took, by the formulas of a cut-off normal distribution."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from circuits import CircuitError
from circuits.devices import (
    Device,
    DeviceArray,
    FlickerReadNoise,
    LinearStep,
    ProgrammingError,
    PulsedUpdate,
    RelativeReadNoise,
    Spread,
    Stuck,
    Verify,
    VerifyBy,
    preset,
    program_and_verify,
)

N = 200_000
CONSTANT = LinearStep(up_at_low=0.004, up_at_high=0.004, down_at_low=0.004, down_at_high=0.004)
PLAIN = Device(name="plain", g_min_s=1e-6, g_max_s=1e-4)
NOISY = replace(PLAIN, programming_error=ProgrammingError.independent(2e-6))
PULSED = replace(PLAIN, pulsed_update=PulsedUpdate(step=CONSTANT))


def draw(device: Device, n: int = N) -> DeviceArray:
    return DeviceArray.draw(device, (n,), np.random.default_rng(1))


def generator() -> np.random.Generator:
    return np.random.default_rng(2)


def success(alpha: float) -> float:
    """Probability that a standard normal number lies within +-alpha."""
    return math.erf(alpha / math.sqrt(2))


def cut_off_std(alpha: float) -> float:
    """Standard deviation of a standard normal number known to lie within +-alpha."""
    density = math.exp(-(alpha**2) / 2) / math.sqrt(2 * math.pi)
    return math.sqrt(1 - 2 * alpha * density / success(alpha))


# By writes.


@pytest.mark.parametrize("tolerance_relative", [0.01, 0.02, 0.03])
@pytest.mark.parametrize("relative", [0.1, 0.5, 0.9])
def test_what_is_left_is_a_normal_error_cut_off_at_the_tolerance(tolerance_relative: float, relative: float) -> None:
    verify = Verify(tolerance_relative=tolerance_relative, max_cycles=60)
    target = relative * 1e-4
    g, report = program_and_verify(draw(NOISY), np.full(N, target), generator(), verify=verify)
    alpha = tolerance_relative * 1e-4 / 2e-6
    assert np.max(np.abs(g - target)) <= tolerance_relative * 1e-4
    assert float(g.mean()) == pytest.approx(target, rel=0.02)
    assert float(g.std()) == pytest.approx(2e-6 * cut_off_std(alpha), rel=0.02)
    assert report.not_converged == 0
    assert report.pulses.sum() == 0


@pytest.mark.parametrize("tolerance_relative", [0.005, 0.01, 0.02])
def test_the_number_of_writes_is_geometric(tolerance_relative: float) -> None:
    verify = Verify(tolerance_relative=tolerance_relative, max_cycles=200)
    _, report = program_and_verify(draw(NOISY), np.full(N, 5e-5), generator(), verify=verify)
    p = success(tolerance_relative * 1e-4 / 2e-6)
    assert report.mean_cycles == pytest.approx(1 / p, rel=0.02)
    assert float(report.cycles.std()) == pytest.approx(math.sqrt(1 - p) / p, rel=0.02)
    assert float(np.mean(report.cycles == 1)) == pytest.approx(p, rel=0.02)
    assert float(np.mean(report.cycles == 2)) == pytest.approx(p * (1 - p), rel=0.02)


def test_cycles_run_out() -> None:
    verify = Verify(tolerance_relative=0.01, max_cycles=3)
    g, report = program_and_verify(draw(NOISY), np.full(N, 5e-5), generator(), verify=verify)
    p = success(0.5)
    assert report.cycles.max() == 3
    assert report.not_converged / N == pytest.approx((1 - p) ** 3, rel=0.02)
    np.testing.assert_array_equal(report.converged, np.abs(g - 5e-5) <= 1e-6)
    assert np.all(report.cycles[~report.converged] == 3)


def test_a_device_without_faults_takes_one_write() -> None:
    target = np.random.default_rng(3).uniform(1e-6, 1e-4, N)
    g, report = program_and_verify(draw(PLAIN), target, generator())
    assert g.tobytes() == target.tobytes()
    assert (report.mean_cycles, report.not_converged) == (1.0, 0)


def test_stuck_devices_never_converge() -> None:
    devices = draw(replace(NOISY, stuck=Stuck(probability_at_g_min=0.02, probability_at_g_max=0.03)))
    g, report = program_and_verify(devices, np.full(N, 5e-5), generator(), verify=Verify(max_cycles=40))
    stuck = devices.stuck_at_g_min | devices.stuck_at_g_max
    np.testing.assert_array_equal(~report.converged, stuck)
    assert np.all(report.cycles[stuck] == 40)
    assert np.all(g[devices.stuck_at_g_max] == 1e-4)
    at_top, report = program_and_verify(devices, np.full(N, 1e-4), generator(), verify=Verify(max_cycles=40))
    assert np.all(report.converged[devices.stuck_at_g_max])
    assert at_top.max() == 1e-4


def test_levels_are_what_is_aimed_at() -> None:
    # 12 levels 9 uS apart: a target between two of them would never be met to 1 %.
    devices = draw(replace(NOISY, levels=12))
    g, report = program_and_verify(devices, np.full(N, 2.2e-5), generator(), verify=Verify(max_cycles=60))
    assert report.not_converged == 0
    assert np.max(np.abs(g - 1.9e-5)) <= 1e-6


def test_read_noise_lets_bad_devices_pass() -> None:
    # What is read is g + read noise, so the true error passes with probability Phi((t - e) / r) - Phi((-t - e) / r).
    devices = draw(replace(NOISY, read_noise=RelativeReadNoise(relative_std=0.01)))
    verify = Verify(tolerance_relative=0.01, max_cycles=100)
    g, report = program_and_verify(devices, np.full(N, 5e-5), generator(), verify=verify)
    sigma, r, t = 2e-6, 5e-7, 1e-6
    e = np.linspace(-10e-6, 10e-6, 4001)
    phi = np.vectorize(lambda z: 0.5 * (1 + math.erf(z / math.sqrt(2))))
    passed = np.exp(-(e**2) / (2 * sigma**2)) * (phi((t - e) / r) - phi((-t - e) / r))
    assert report.not_converged == 0
    assert float(g.std()) == pytest.approx(math.sqrt(np.sum(passed * e**2) / np.sum(passed)), rel=0.02)
    assert report.mean_cycles == pytest.approx(1 / success(t / math.hypot(sigma, r)), rel=0.02)


def test_flicker_noise_is_read_when_nothing_has_drifted_yet() -> None:
    device = preset("pcm").device
    g, report = program_and_verify(draw(device), np.full(N, 12.5e-6), generator(), verify=Verify(max_cycles=30))
    # Read noise at t_0 = 20 s, at half of the window.
    noise = 12.5e-6 * 0.0088 / 0.5**0.65 * math.sqrt(math.log((20.0 + 250e-9) / 500e-9))
    sigma = (0.26348 + 1.965 * 0.5 - 1.1731 * 0.25) * 1e-6
    assert report.mean_cycles == pytest.approx(1 / success(0.25e-6 / math.hypot(sigma, noise)), rel=0.02)
    assert float(g.std()) < 0.7 * sigma
    without_drift = replace(
        PLAIN, read_noise=FlickerReadNoise(q_at_g_max=0.01, exponent=0.5, q_highest=0.2, t_read_s=1e-6)
    )
    with pytest.raises(CircuitError, match="flicker read noise grows with time: give time_s"):
        program_and_verify(draw(without_drift), np.full(N, 5e-5), generator())
    g, _ = program_and_verify(draw(without_drift), np.full(N, 5e-5), generator(), verify=Verify(time_s=1.0))
    assert np.all(g == 5e-5)


# By pulses.


def test_pulses_close_the_loop() -> None:
    target = np.random.default_rng(3).uniform(1e-6, 1e-4, N)
    verify = Verify(tolerance_relative=0.005, by="pulses")
    g, report = program_and_verify(draw(PULSED), target, generator(), verify=verify)
    assert verify.by is VerifyBy.PULSES
    assert report.not_converged == 0
    # The nearest number of steps of 0.396 uS, up from g_min, in one train.
    wanted = np.rint((target - 1e-6) / 0.396e-6)
    outside = target - 1e-6 > 0.5e-6
    np.testing.assert_array_equal(report.pulses, np.where(outside, wanted, 0))
    np.testing.assert_array_equal(report.cycles, outside)
    np.testing.assert_allclose(g, 1e-6 + 0.396e-6 * report.pulses, rtol=1e-9)


def test_pulses_correct_what_writes_cannot() -> None:
    # Devices all over the place in size, steps and noise.
    update = PulsedUpdate(step=CONSTANT, cycle_relative_std=0.5, device_relative_std=0.15, up_down=0.2)
    device = replace(PLAIN, spread=Spread(relative_std=0.1), pulsed_update=update)
    devices, target = draw(device, 4000), np.full(4000, 5e-5)
    _, written = program_and_verify(devices, target, generator())
    g, report = program_and_verify(devices, target, generator(), verify=Verify(by=VerifyBy.PULSES, max_cycles=50))
    assert written.not_converged > 3000
    assert report.not_converged == 0
    assert np.max(np.abs(g - target)) <= 1e-6
    assert report.mean_cycles > 1.5


def test_pulses_start_from_where_the_devices_are() -> None:
    start = np.full(10, 8e-5)
    g, report = program_and_verify(
        draw(PULSED, 10), np.full(10, 7.604e-5), generator(), verify=Verify(by="pulses"), start_s=start
    )
    np.testing.assert_array_equal(report.pulses, np.full(10, 10))  # downwards
    np.testing.assert_allclose(g, 7.604e-5, rtol=1e-9)


def test_stuck_devices_take_all_the_pulses_there_are() -> None:
    devices = draw(replace(PULSED, stuck=Stuck(probability_at_g_min=0.1)), 1000)
    _, report = program_and_verify(devices, np.full(1000, 5e-5), generator(), verify=Verify(by="pulses", max_cycles=7))
    np.testing.assert_array_equal(~report.converged, devices.stuck_at_g_min)
    assert np.all(report.cycles[devices.stuck_at_g_min] == 7)


# Bad input.


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Verify(tolerance_relative=0.0), "verify: tolerance_relative = 0.0; give a number above zero"),
        (lambda: Verify(max_cycles=0), "verify: max_cycles = 0; give a whole number, one or more"),
        (lambda: Verify(max_cycles=2.5), "verify: max_cycles = 2.5; give a whole number"),
        (lambda: Verify(by="magic"), "verify: by = 'magic'; allowed are 'writes', 'pulses'"),
        (lambda: Verify(time_s=-1.0), "verify: time_s = -1.0 is negative"),
        (
            lambda: program_and_verify(draw(PLAIN, 2), [5e-5, 5e-5], generator(), verify=Verify(by="pulses")),
            "device 'plain' has no pulsed_update: verify by 'writes', or give it one",
        ),
        (lambda: program_and_verify(draw(PLAIN, 2), [5e-5, 2e-4], generator()), "1 targets outside the window"),
        (
            lambda: program_and_verify(draw(PULSED, 2), [5e-5, 2e-4], generator(), verify=Verify(by="pulses")),
            "device 'plain': 1 targets outside the window",
        ),
        (lambda: program_and_verify(draw(PLAIN, 3), [5e-5, 5e-5], generator()), r"target_s has shape \(2,\)"),
    ],
)
def test_bad_input_is_refused(make: object, message: str) -> None:
    with pytest.raises(CircuitError, match=message):
        make()
