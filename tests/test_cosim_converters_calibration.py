"""How ranges follow the data, and what a block's converters remember."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cosim.converters import (
    Adc,
    ConverterState,
    Crossing,
    Dac,
    MaximumRange,
    MovingAverageRange,
    PercentileRange,
    Ranges,
    complete_state,
)
from cosim.errors import BlockError

LARGE, SMALL = np.array([-4.0, 3.0, 0.0, 0.0]), np.array([1.0, -2.0, 2.0, 1.0])


def scales(calibration, *batches: np.ndarray) -> list[float]:
    ranges = Ranges()
    return [ranges.full_scale(Crossing.PHASE, None, b, learn=True, calibration=calibration) for b in batches]


def test_the_running_maximum_is_what_there_is_without_a_calibration() -> None:
    batches = [np.random.default_rng(k).normal(size=50) for k in range(20)]
    assert scales(MaximumRange(), *batches) == scales(None, *batches)
    assert scales(MaximumRange(decay=0.5), LARGE, SMALL, LARGE) == [4.0, 3.0, 4.0]  # (4 + 2) / 2, then at once


def test_percentiles_by_hand() -> None:
    values = np.concatenate([np.arange(1.0, 101.0), -np.arange(1.0, 101.0), [0.0]])  # magnitudes 0, 1, 1, ..., 100, 100
    assert scales(PercentileRange(percent=100.0), values) == [100.0]
    assert scales(PercentileRange(percent=50.0), values) == [50.0]
    half = PercentileRange(percent=50.0, decay=0.25)
    assert scales(half, values, 3 * values, values) == [50.0, 75.0, 68.75]  # 0.75 50 + 0.25 150, and so on


def test_a_percentile_clips_as_many_as_it_says() -> None:
    values = np.random.default_rng(0).normal(size=100_000)
    (scale,) = scales(PercentileRange(percent=99.0), values)
    assert scale == pytest.approx(2.5758, rel=0.01)  # of a normal distribution
    read = Adc(bits=12, calibration=PercentileRange(percent=99.0)).convert(values, scale)
    assert (np.abs(values) > np.abs(read).max()).mean() == pytest.approx(0.01, rel=0.02)


def test_moving_averages_by_hand() -> None:
    assert scales(MovingAverageRange(decay=0.5), LARGE, SMALL, LARGE) == [4.0, 3.0, 3.5]  # in both directions
    # Root mean squares 2.5 and sqrt(2.5), three times over.
    found = scales(MovingAverageRange(decay=0.1, std_multiple=3.0), LARGE, SMALL)
    assert found == pytest.approx([7.5, 0.9 * 7.5 + 0.1 * 3.0 * 2.5**0.5], rel=1e-14)


@pytest.mark.parametrize(
    "calibration", [MaximumRange(), PercentileRange(), MovingAverageRange(), MovingAverageRange(std_multiple=4.0)]
)
def test_ranges_move_in_training_only_and_nothing_leaves_no_trace(calibration) -> None:
    ranges = Ranges()
    at = {"fixed": None, "calibration": calibration}
    for nothing in (np.zeros((3, 2)), np.zeros((0, 2))):
        assert ranges.full_scale(Crossing.INPUT, values=nothing, learn=True, **at) == 1.0
    assert ranges.full_scale(Crossing.INPUT, values=LARGE, learn=False, **at) == calibration.of(LARGE)
    assert not ranges.values.any()
    first = ranges.full_scale(Crossing.INPUT, values=LARGE, learn=True, **at)
    assert first == ranges.values[Crossing.INPUT] == calibration.of(LARGE)
    assert ranges.full_scale(Crossing.INPUT, values=9 * LARGE, learn=False, **at) == first


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PercentileRange(percent=0.0), r"percent = 0\.0; give a percentile above 0, up to 100"),
        (lambda: PercentileRange(percent=100.1), r"percent = 100\.1; give a percentile above 0, up to 100"),
        (lambda: PercentileRange(percent=np.nan), r"percent = nan; give a finite number$"),
        (lambda: PercentileRange(decay=0.0), r"decay = 0\.0; give a share above 0"),
        (lambda: MaximumRange(decay=1.5), r"decay = 1\.5; give a share above 0"),
        (lambda: MovingAverageRange(decay=None), r"decay = None; give a finite number$"),
        (lambda: MovingAverageRange(std_multiple=0.0), r"std_multiple = 0\.0; give a number above zero, or None"),
        (lambda: Dac(calibration="max"), r"DAC: calibration = 'max'; give a MaximumRange, PercentileRange or"),
        (lambda: Adc(full_scale=1.0, calibration=MaximumRange()), r"ADC: full_scale = 1\.0 is fixed, so there is noth"),
    ],
)
def test_calibrations_that_cannot_be(make, message: str) -> None:
    with pytest.raises(BlockError, match=message):
        make()


def test_state_is_one_vector() -> None:
    state = ConverterState(np.arange(8.0))
    state.ranges.full_scale(Crossing.CURRENT_DIFFERENCE, None, np.array([50.0]), learn=True)
    assert state.begin_draw(learn=True) == (8, 0)
    assert state.values.tolist() == [0, 1, 2, 3, 4, 5, 50, 8]
    assert [state.begin_draw(learn=False) for _ in range(2)] == [(8, 1), (8, 2)]
    assert state.begin_draw(learn=True) == (9, 0)
    assert state.begin_draw(learn=False) == (9, 3)
    state.begin_evaluation()
    assert state.begin_draw(learn=False) == (9, 1)
    assert state.values[7] == 9


def test_the_counter_of_noise_is_exact_in_single_precision() -> None:
    state = ConverterState()
    state.values[7] = 2**24 - 2
    counts = []
    for _ in range(4):
        state.begin_draw(learn=True)
        state.values[7] = float(np.float32(state.values[7]))
        counts.append(state.values[7])
    assert counts == [2**24 - 1, 0, 1, 2]


def test_files_from_before_there_was_noise_are_completed() -> None:
    old = {"2.converter_ranges": torch.arange(7.0), "2.g_plus.input": torch.ones(7), "converter_ranges": torch.ones(8)}
    new = complete_state(old)
    assert new["2.converter_ranges"].tolist() == [0, 1, 2, 3, 4, 5, 6, 0]
    assert new["2.g_plus.input"] is old["2.g_plus.input"]
    assert new["converter_ranges"] is old["converter_ranges"]
    assert old["2.converter_ranges"].shape == (7,)
