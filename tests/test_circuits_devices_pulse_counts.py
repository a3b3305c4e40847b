"""Counting out pulses: the mean is the wanted change, with its sign, up to the most that an update may have."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from circuits import CircuitError
from circuits.devices import (
    Device,
    DeviceArray,
    ExponentialStep,
    LinearStep,
    PulsedUpdate,
    preset,
    pulsed,
    pulses_for,
)

N = 100_000
CONSTANT = LinearStep(up_at_low=0.01, up_at_high=0.01, down_at_low=0.01, down_at_high=0.01)
DEVICE = Device(name="d", g_min_s=1e-6, g_max_s=1e-4, pulsed_update=PulsedUpdate(step=CONSTANT))
STEP_S = 0.01 * 9.9e-5


def count(steps: float, device: Device = DEVICE, step_s: float = STEP_S, **options: int) -> np.ndarray:
    return pulses_for(np.full(N, steps * step_s), device, np.random.default_rng(0), **options)


@pytest.mark.parametrize("steps", [0.1, 0.3, 1.0, 2.4, 17.75, -0.1, -0.6, -3.0, -12.25])
def test_the_mean_is_the_wanted_change(steps: float) -> None:
    pulses = count(steps)
    assert pulses.dtype == np.int64
    assert float(pulses.mean()) == pytest.approx(steps, rel=0.02)
    # Rounding at random between two neighbours: variance p (1 - p).
    p = steps - math.floor(steps)
    assert set(np.unique(pulses)) <= {math.floor(steps), math.floor(steps) + 1}
    assert float(pulses.std()) == pytest.approx(math.sqrt(p * (1 - p)), rel=0.02, abs=1e-9)


def test_up_and_down_are_mirror_images_and_nothing_is_nothing() -> None:
    assert float(count(0.25).mean() + count(-0.25).mean()) == pytest.approx(0.0, abs=0.005)
    assert not np.any(count(0.0))


@pytest.mark.parametrize(("steps", "most"), [(100.0, 31), (-100.0, 31), (1e9, 31), (5.5, 4), (-5.5, 4)])
def test_an_update_has_so_many_pulses_at_most(steps: float, most: int) -> None:
    pulses = count(steps) if most == 31 else count(steps, most_pulses=most)
    assert np.all(pulses == math.copysign(most, steps))


def test_the_pulses_do_what_was_wanted() -> None:
    wanted = np.random.default_rng(3).uniform(-5 * STEP_S, 5 * STEP_S, N)
    devices = DeviceArray.draw(DEVICE, (N,), np.random.default_rng(1))
    start = np.full(N, 5e-5)
    moved = pulsed(devices, start, pulses_for(wanted, DEVICE, np.random.default_rng(0)), np.random.default_rng(2))
    error = moved - start - wanted
    assert float(np.mean(error)) == pytest.approx(0.0, abs=4 * float(error.std()) / math.sqrt(N))
    assert np.max(np.abs(error)) < STEP_S
    slope = float(np.dot(moved - start, wanted) / np.dot(wanted, wanted))
    assert slope == pytest.approx(1.0, rel=0.02)  # a sign or a factor would show here


def test_a_pulse_counts_as_the_mean_step_in_the_middle_unless_told() -> None:
    step = LinearStep(up_at_low=0.01, up_at_high=0.02, down_at_low=0.02, down_at_high=0.04)
    update = PulsedUpdate(step=step)
    assert update.counted_step == pytest.approx((0.015 + 0.03) / 2)
    assert replace(update, up_down=0.5).counted_step == pytest.approx((0.015 + 0.015) / 2)
    assert replace(update, up_down=-0.5).counted_step == pytest.approx((0.0075 + 0.03) / 2)
    assert replace(update, nominal_step=0.007).counted_step == 0.007
    exponential = ExponentialStep(
        up_step=0.02, down_step=0.03, a_up=0.3, a_down=0.2, gamma_up=1.5, gamma_down=2.0, scale=0.8, shift=0.1
    )
    up, down = 0.02 * (1 - 0.3 * math.exp(0.15)), 0.03 * (1 - 0.2 * math.exp(-0.2))
    assert PulsedUpdate(step=exponential).counted_step == pytest.approx((up + down) / 2)


@pytest.mark.parametrize(("name", "dw_min", "width"), [("reram-es", 0.00135, 2.0), ("ecram-mo", 2.8214e-4, 2.0)])
def test_presets_are_counted_by_their_published_step(name: str, dw_min: float, width: float) -> None:
    device = preset(name).device
    pulses = count(3.5, device=device, step_s=dw_min / width * device.window_s)
    assert float(pulses.mean()) == pytest.approx(3.5, rel=0.02)


def test_bad_input_is_refused() -> None:
    with pytest.raises(CircuitError, match="most_pulses = 0; give a whole number, one or more"):
        count(1.0, most_pulses=0)
    with pytest.raises(CircuitError, match="device 'still' has no pulsed_update: give it one, or program it"):
        count(1.0, device=Device(name="still", g_min_s=1e-6, g_max_s=1e-4))
    with pytest.raises(CircuitError, match="device 'd': update_s holds what is not finite"):
        pulses_for([math.nan], DEVICE, np.random.default_rng(0))
