"""Converters are staircases: what a data sheet promises of one, and how a range follows the data."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosim.converters import RANGE_DECAY, Adc, Converters, Crossing, Dac, Ranges, lsb, quantise
from cosim.errors import BlockError

KINDS = pytest.mark.parametrize("kind", [Dac, Adc])
staircases = given(bits=st.integers(1, 16), full_scale=st.floats(1e-3, 1e3), seed=st.integers(0, 99))


def draw(full_scale: float, seed: int) -> np.ndarray:
    """Values within and beyond the full scale, in ascending order."""
    values = np.random.default_rng(seed).uniform(-2, 2, 200) * full_scale
    return np.sort(np.concatenate([values, [0.0, full_scale, -full_scale]]))


def test_staircase_by_hand() -> None:
    values = np.array([-9.0, -3.0, -1.6, -1.4, -0.4, 0.0, 0.4, 0.6, 2.9, 3.0, 4.0])
    expected = [-3, -3, -2, -1, 0, 0, 0, 1, 3, 3, 3]  # three bits: -3 ... 3 with a step of 1
    assert lsb(3, 3.0) == 1.0
    assert Adc(bits=3).convert(values, 3.0).tolist() == expected
    assert Dac(bits=3).convert(values, 3.0).tolist() == expected


@staircases
def test_monotone(bits: int, full_scale: float, seed: int) -> None:
    assert (np.diff(quantise(draw(full_scale, seed), bits, full_scale)) >= 0).all()


@staircases
def test_idempotent(bits: int, full_scale: float, seed: int) -> None:
    once = quantise(draw(full_scale, seed), bits, full_scale)
    np.testing.assert_array_equal(quantise(once, bits, full_scale), once)


@staircases
def test_within_half_a_step_inside_and_clipped_outside(bits: int, full_scale: float, seed: int) -> None:
    values = draw(full_scale, seed)
    levels = quantise(values, bits, full_scale)
    inside = np.abs(values) <= full_scale
    half = lsb(bits, full_scale) / 2
    assert (np.abs(levels - values)[inside] <= half * (1 + 1e-9)).all()
    top = full_scale if bits > 1 else full_scale / 2
    np.testing.assert_allclose(np.abs(levels[~inside]), top, rtol=1e-12)
    assert (np.abs(levels) <= top * (1 + 1e-12)).all()


@staircases
def test_symmetric_with_a_code_for_zero(bits: int, full_scale: float, seed: int) -> None:
    values = draw(full_scale, seed)
    values = values[values != 0.0]
    np.testing.assert_array_equal(quantise(-values, bits, full_scale), -quantise(values, bits, full_scale))
    if bits > 1:
        assert quantise(np.zeros(1), bits, full_scale)[0] == 0.0


@staircases
def test_as_many_levels_as_codes(bits: int, full_scale: float, seed: int) -> None:
    levels = quantise(draw(full_scale, seed), bits, full_scale)
    codes = np.unique(np.round(levels / lsb(bits, full_scale) * 2))
    assert len(codes) <= max(2, 2**bits - 1)
    if bits <= 3:
        assert len(codes) == max(2, 2**bits - 1)


def test_one_bit_is_a_sign() -> None:
    assert Adc(bits=1).convert(np.array([-5.0, -0.1, 0.0, 0.1, 5.0]), 2.0).tolist() == [-1, -1, 1, 1, 1]
    assert lsb(1, 2.0) == 2.0


@KINDS
def test_ideal_changes_nothing(kind: type[Dac | Adc]) -> None:
    values = np.array([1e9, -3.3, 0.0])
    assert kind().convert(values, 1.0) is values


@KINDS
@pytest.mark.parametrize("bits", [0, -3, 2.5, 8.0, math.nan, math.inf, True, "8"])
def test_wrong_bits(kind: type[Dac | Adc], bits: object) -> None:
    with pytest.raises(BlockError, match=r"(DAC|ADC): bits = .*; give one bit or more, or None for an ideal"):
        kind(bits=bits)


@KINDS
@pytest.mark.parametrize("full_scale", [0.0, -1.0, math.nan, math.inf])
def test_wrong_full_scale(kind: type[Dac | Adc], full_scale: float) -> None:
    with pytest.raises(BlockError, match=r"full_scale = \S+; give a finite value above zero, or None to range"):
        kind(bits=8, full_scale=full_scale)


def test_uniform_and_ideal_sets() -> None:
    ideal, uniform = Converters.ideal(), Converters.uniform(6)
    assert ideal == Converters()
    assert {c.bits for c in (ideal.input, ideal.output, ideal.nudge, ideal.phase, ideal.source_current)} == {None}
    assert {c.bits for c in (uniform.input, uniform.output, uniform.nudge, uniform.phase, uniform.source_current)} == {
        6
    }
    assert Converters(phase=Adc(bits=6, full_scale=0.4)).source_current == Adc(bits=6)  # amperes have a range of theirs
    assert Converters(current=Adc(bits=3)).source_current == Adc(bits=3)


def test_range_grows_at_once_and_decays_slowly() -> None:
    ranges = Ranges()
    assert ranges.full_scale(Crossing.INPUT, None, np.array([0.5, -2.0]), learn=True) == 2.0
    assert ranges.full_scale(Crossing.INPUT, None, np.array([-5.0]), learn=True) == 5.0
    smaller = (1 - RANGE_DECAY) * 5.0 + RANGE_DECAY * 1.0
    assert ranges.full_scale(Crossing.INPUT, None, np.array([1.0]), learn=True) == pytest.approx(smaller)
    for _ in range(300):
        last = ranges.full_scale(Crossing.INPUT, None, np.array([1.0]), learn=True)
    assert last == pytest.approx(1.0, rel=1e-5)
    assert np.flatnonzero(ranges.values).tolist() == [Crossing.INPUT]  # each quantity has a range of its own


def test_range_does_not_move_unless_learning() -> None:
    ranges = Ranges()
    assert ranges.full_scale(Crossing.PHASE, None, np.array([3.0]), learn=False) == 3.0  # nothing seen yet: the data
    assert not ranges.values.any()
    ranges.full_scale(Crossing.PHASE, None, np.array([2.0]), learn=True)
    assert ranges.full_scale(Crossing.PHASE, None, np.array([9.0]), learn=False) == 2.0
    assert ranges.full_scale(Crossing.PHASE, None, np.array([0.1]), learn=False) == 2.0
    assert ranges.values[Crossing.PHASE] == 2.0


def test_fixed_full_scale_wins() -> None:
    ranges = Ranges()
    assert ranges.full_scale(Crossing.OUTPUT, 0.7, np.array([5.0]), learn=True) == 0.7
    assert not ranges.values.any()


@pytest.mark.parametrize("values", [np.zeros((3, 2)), np.zeros((0, 2))])
def test_range_of_nothing_is_one_and_leaves_no_trace(values: np.ndarray) -> None:
    ranges = Ranges()
    assert ranges.full_scale(Crossing.NUDGE, None, values, learn=True) == 1.0
    assert not ranges.values.any()
    ranges.full_scale(Crossing.NUDGE, None, np.array([4.0]), learn=True)
    assert ranges.full_scale(Crossing.NUDGE, None, values, learn=True) == 4.0


def test_ranges_are_a_copy_of_what_they_start_from() -> None:
    start = np.full(len(Crossing), 2.0)
    ranges = Ranges(start)
    ranges.full_scale(Crossing.INPUT, None, np.array([9.0]), learn=True)
    assert start.tolist() == [2.0] * len(Crossing)
