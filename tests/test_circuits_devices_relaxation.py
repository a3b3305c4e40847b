"""Relaxation: shift and spread at the times of the table, between them, before and after."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from circuits import CircuitError
from circuits.devices import Device, DeviceArray, Relaxation, Stuck, drifted

N = 200_000
# In siemens: shift 0, -1, -3 uS; spread 1 uS + 0.02 G, then 3 uS, then 3 uS + 0.04 G.
TABLE = Relaxation(
    times_s=(10.0, 1000.0, 1e6),
    std_coefficients_s=((1e-6, 0.02), (3e-6,), (3e-6, 0.04)),
    reference_s=1.0,
    shift_s=(0.0, -1e-6, -3e-6),
)
DEVICE = Device(name="d", g_min_s=1e-6, g_max_s=1e-4, drift=TABLE)


def moved(relaxation: Relaxation, g: float, time_s: float) -> np.ndarray:
    devices = DeviceArray.draw(replace(DEVICE, drift=relaxation), (N,), np.random.default_rng(1))
    return drifted(devices, np.full(N, g), time_s) - g


@pytest.mark.parametrize("g", [2e-5, 5e-5, 9e-5])
def test_at_and_between_the_times_of_the_table(g: float) -> None:
    first, second, third = 1e-6 + 0.02 * g, 3e-6, 3e-6 + 0.04 * g
    for time_s, shift, std in (
        (10.0, 0.0, first),
        (1000.0, -1e-6, second),
        (1e6, -3e-6, third),
        (100.0, -0.5e-6, (first + second) / 2),  # half way over ln t
        (1e4, -1e-6 - 2e-6 / 3, second + (third - second) / 3),
        (1e9, -3e-6, third),  # and no further
    ):
        change = moved(TABLE, g, time_s)
        assert float(change.mean()) == pytest.approx(shift, rel=0.02, abs=4 * std / math.sqrt(N))
        assert float(change.std()) == pytest.approx(std, rel=0.02)


def test_what_the_write_has_already_is_taken_off_in_squares() -> None:
    partly = replace(TABLE, written_std_coefficients_s=(1e-6, 0.02), shift_s=None)
    g = 5e-5
    assert np.all(moved(partly, g, 10.0) == 0)
    change = moved(partly, g, 1000.0)
    assert float(change.std()) == pytest.approx(math.sqrt(9e-12 - (2e-6) ** 2), rel=0.02)
    assert float(change.mean()) == pytest.approx(0.0, abs=4 * 3e-6 / math.sqrt(N))
    # A spread that is less than what the write has is none, not an imaginary one.
    assert np.all(moved(replace(partly, written_std_coefficients_s=(1e-5,)), g, 1000.0) == 0)


def test_nothing_moves_before_the_first_time() -> None:
    devices = DeviceArray.draw(DEVICE, (N,), np.random.default_rng(1))
    g = np.random.default_rng(2).uniform(1e-6, 1e-4, N)
    for time_s in (0.0, 9.99):
        assert drifted(devices, g, time_s).tobytes() == g.tobytes()


def test_each_device_keeps_its_share_and_stuck_ones_stay() -> None:
    device = replace(DEVICE, stuck=Stuck(probability_at_g_max=0.1))
    devices = DeviceArray.draw(device, (N,), np.random.default_rng(1))
    g = devices.with_stuck(np.full(N, 5e-5))
    early, late = (drifted(devices, g, time_s) for time_s in (1000.0, 1e6))
    free = ~devices.stuck_at_g_max
    np.testing.assert_allclose((early[free] - 4.9e-5) / 3e-6, (late[free] - 4.7e-5) / 5e-6, rtol=1e-6, atol=1e-9)
    assert np.all(late[devices.stuck_at_g_max] == 1e-4)


def test_no_conductance_falls_below_zero() -> None:
    devices = DeviceArray.draw(DEVICE, (N,), np.random.default_rng(1))
    now = drifted(devices, np.full(N, 1e-6), 1e6)
    assert now.min() == 0.0
    share = 0.5 * (1 + math.erf((3e-6 - 1e-6) / (3.04e-6 * math.sqrt(2))))
    assert float(np.mean(now == 0)) == pytest.approx(share, rel=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times_s": (1.0,)}, r"relaxation: times_s = \(1.0,\); give two times or more, rising"),
        ({"times_s": (1.0, 1.0, 2.0)}, "give two times or more, rising"),
        ({"times_s": (0.0, 1.0, 2.0)}, r"times_s\[0\] = 0.0; give a number above zero"),
        ({"reference_s": 0.0}, "reference_s = 0.0; give a number above zero"),
        ({"std_coefficients_s": ((1e-6,),)}, "std_coefficients_s has 1 entries, times_s 3"),
        ({"shift_s": (0.0,)}, "shift_s has 1 entries, times_s 3"),
        ({"std_coefficients_s": ((1e-6,), (), (1e-6,))}, "std_coefficients_s has an empty entry"),
        ({"written_std_coefficients_s": (math.nan,)}, "coefficient = nan; give a finite number"),
    ],
)
def test_bad_tables_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(CircuitError, match=message):
        replace(TABLE, **change)
