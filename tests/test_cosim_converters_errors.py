"""Each error of a converter changes what its formula says, and off it leaves the ideal converter to the bit."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosim.converters import (
    Adc,
    Bank,
    ConverterErrors,
    Converters,
    ConverterState,
    Dac,
    Elements,
    InlCurve,
    NoiseDraw,
    UnitElementMismatch,
    dnl_lsb,
    inl_lsb,
    lsb,
    quantise,
)
from cosim.errors import BlockError

N = 200_000
KINDS = pytest.mark.parametrize("kind", [Dac, Adc])
RNG = np.random.default_rng


def bank(converter: Dac | Adc, n_channels: int = 4, seed: int = 0) -> Bank:
    return Bank(converter, n_channels, (seed, 1, 2))


def convert(converter: Dac | Adc, values: np.ndarray, full_scale: float = 1.0, *, seed: int = 0) -> np.ndarray:
    """Convert with noise where there is some."""
    made = bank(converter, values.shape[-1], seed)
    return made.convert(values, full_scale, made.noise(values.shape, ConverterState(), learn=True))


def spread_values(full_scale: float, n: int = 20_000) -> np.ndarray:
    return np.linspace(-1.2, 1.2, n)[:, None] * full_scale * np.ones(4)


# ------------------------------------------------------------------------------------------------------------ off


@KINDS
@pytest.mark.parametrize("bits", [None, 1, 2, 8])
@pytest.mark.parametrize("errors", [None, ConverterErrors(), ConverterErrors(gain_error=0.0, offset_relative_std=0.0)])
def test_off_is_the_ideal_converter_to_the_bit(
    kind: type[Dac | Adc], bits: int | None, errors: ConverterErrors | None
) -> None:
    values = spread_values(0.7)
    np.testing.assert_array_equal(convert(kind(bits=bits, errors=errors), values, 0.7), quantise(values, bits, 0.7))


@KINDS
def test_a_curve_of_zeros_moves_no_level(kind: type[Dac | Adc]) -> None:
    flat = kind(bits=5, errors=ConverterErrors(linearity=InlCurve(inl_lsb=(0.0, 0.0))))
    values = RNG(0).uniform(-1.3, 1.3, (5000, 4))
    np.testing.assert_allclose(convert(flat, values), quantise(values, 5, 1.0), rtol=0, atol=1e-15)


# ----------------------------------------------------------------------------------------- gain, offset and noise


def test_gain_and_offset_of_a_dac_are_on_its_level() -> None:
    dac = Dac(bits=3, errors=ConverterErrors(gain_error=0.02, offset_error=-0.01))
    levels = convert(dac, np.array([[-9.0, -1.4, 0.0, 0.6, 3.0]]), 3.0)
    # Codes -3, -1, 0, 1, 3 of 1 each; a gain of 1.02, and -0.01 of the full scale of 3.
    np.testing.assert_allclose(levels, [[-3.09, -1.05, -0.03, 0.99, 3.03]], rtol=1e-14)


def test_gain_and_offset_of_an_adc_move_its_thresholds() -> None:
    adc = Adc(bits=3, errors=ConverterErrors(gain_error=0.25, offset_error=0.1))
    # Code k + 1 from 1.25 v + 0.3 = k + 0.5 on: the thresholds of codes -2 ... 3.
    thresholds = (np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5]) - 0.3) / 1.25
    around = np.stack([thresholds - 1e-9, thresholds + 1e-9], axis=1).reshape(1, -1)
    expected = [[-3, -2, -2, -1, -1, 0, 0, 1, 1, 2, 2, 3]]
    assert convert(adc, around, 3.0).tolist() == expected  # codes are those of an ideal one


def test_ideal_resolution_has_errors_too() -> None:
    errors = ConverterErrors(gain_error=0.1, offset_error=0.5)
    for kind in (Dac, Adc):
        assert convert(kind(errors=errors), np.array([[4.0]]), 2.0)[0, 0] == pytest.approx(1.1 * 4.0 + 0.5 * 2.0)


@KINDS
def test_spread_is_drawn_once_for_each_converter(kind: type[Dac | Adc]) -> None:
    errors = ConverterErrors(gain_error=0.1, gain_relative_std=0.03, offset_error=-0.2, offset_relative_std=0.05)
    made = bank(kind(errors=errors), 20_000)
    low, high = (made.convert(np.full((1, 20_000), v), 2.0)[0] for v in (0.0, 1.0))
    gain, offset = high - low, low / 2.0
    assert gain.mean() == pytest.approx(1.1, abs=0.03 * 4 / 20_000**0.5)
    assert gain.std() == pytest.approx(0.03, rel=0.02)
    assert offset.mean() == pytest.approx(-0.2, abs=0.05 * 4 / 20_000**0.5)
    assert offset.std() == pytest.approx(0.05, rel=0.02)
    assert abs(np.corrcoef(gain, offset)[0, 1]) < 0.03  # drawn independently
    again = bank(kind(errors=errors), 20_000).convert(np.ones((2, 20_000)), 2.0)
    np.testing.assert_array_equal(again, [high, high])  # for life, whatever the batch
    assert (bank(kind(errors=errors), 20_000, seed=1).convert(np.ones((1, 20_000)), 2.0) != high).all()


@KINDS
@pytest.mark.parametrize("full_scale", [0.01, 3.0])
def test_noise_is_a_share_of_the_full_scale(kind: type[Dac | Adc], full_scale: float) -> None:
    made = bank(kind(errors=ConverterErrors(noise_relative_std=0.004)))
    state, values = ConverterState(), np.full((N // 4, 4), 0.5 * full_scale)
    one, two = (made.convert(values, full_scale, made.noise(values.shape, state, learn=True)) for _ in range(2))
    for read in (one, two):
        assert (read - values).std() == pytest.approx(0.004 * full_scale, rel=0.01)
        assert (read - values).mean() == pytest.approx(0.0, abs=4 * 0.004 * full_scale / N**0.5)
    assert abs(np.corrcoef((one - values).ravel(), (two - values).ravel())[0, 1]) < 0.01
    assert (two - one).std() == pytest.approx(2**0.5 * 0.004 * full_scale, rel=0.01)


def test_noise_of_an_adc_is_before_its_codes_and_of_a_dac_behind() -> None:
    errors, values = ConverterErrors(noise_relative_std=0.2), np.zeros((N // 4, 4))
    read, level = convert(Adc(bits=3, errors=errors), values, 3.0), convert(Dac(bits=3, errors=errors), values, 3.0)
    assert set(np.unique(read)) <= set(range(-3, 4))
    assert (read == 0).mean() == pytest.approx(0.5953, rel=0.02)  # |xi| < 0.5 / 0.6: erf(0.8333 / sqrt 2)
    assert len(np.unique(level)) == level.size


def test_noise_dithers_an_adc() -> None:
    # With noise of half a step the mean of codes is the value between them: quantisation alone would say 0.
    adc = Adc(bits=3, errors=ConverterErrors(noise_relative_std=0.5 / 3))
    assert convert(adc, np.full((N // 4, 4), 0.3), 3.0).mean() == pytest.approx(0.3, abs=0.01)


# ------------------------------------------------------------------------------------------------------ clipping


@KINDS
def test_clipping_of_ideal_resolution(kind: type[Dac | Adc]) -> None:
    values = np.array([[-3.0, -0.9, 0.4, 1.7]])
    assert convert(kind(), values).tolist() == values.tolist()
    assert convert(kind(clip=True), values).tolist() == [[-1.0, -0.9, 0.4, 1.0]]
    errors = ConverterErrors(gain_error=0.5)
    clipped = convert(kind(clip=True, errors=errors), values)
    # A DAC clips what it is told, an ADC what it sees.
    expected = [[-1.5, -1.35, 0.6, 1.5]] if kind is Dac else [[-1.0, -1.0, 0.6, 1.0]]
    np.testing.assert_allclose(clipped, expected, rtol=1e-14)


# ----------------------------------------------------------------------------------------------------- linearity


def test_a_given_curve_by_hand() -> None:
    curve = InlCurve(inl_lsb=(0.0, 0.5, -0.25))
    expected = [0.0, 1 / 6, 1 / 3, 0.5, 0.25, 0.0, -0.25]  # seven codes of three bits
    np.testing.assert_allclose(inl_lsb(curve, 3), [expected], atol=1e-15)
    np.testing.assert_allclose(dnl_lsb(inl_lsb(curve, 3)), [np.diff(expected)], atol=1e-15)
    codes = np.arange(-3.0, 4.0)[:, None]
    errors = ConverterErrors(linearity=curve)
    np.testing.assert_allclose(convert(Dac(bits=3, errors=errors), codes, 3.0)[:, 0], codes[:, 0] + expected)
    # The threshold below code k, k - 1/2, moves by as much.
    thresholds = codes[1:] - 0.5 + np.array(expected[1:])[:, None]
    adc = Adc(bits=3, errors=errors)
    np.testing.assert_array_equal(convert(adc, thresholds + 1e-9, 3.0), codes[1:])
    np.testing.assert_array_equal(convert(adc, thresholds - 1e-9, 3.0), codes[:-1])


def test_curve_scales_with_the_full_scale() -> None:
    errors = ConverterErrors(linearity=InlCurve(inl_lsb=(0.0, 2.0, 0.0)))
    level = convert(Dac(bits=8, errors=errors), np.array([[0.0]]), 0.5)
    assert level[0, 0] == pytest.approx(2.0 * 0.5 / 127)  # two LSB in the middle


@pytest.mark.parametrize("bits", [4, 8])
def test_thermometer_mismatch_against_theory(bits: int) -> None:
    r, n_steps = 0.02, 2**bits - 2
    inl = inl_lsb(
        UnitElementMismatch(relative_std=r, elements=Elements.THERMOMETER), bits, n_converters=20_000, generator=RNG(1)
    )
    assert inl.shape == (20_000, 2**bits - 1)
    np.testing.assert_array_equal(inl[:, [0, -1]], 0.0)  # both ends are on the line
    k = np.arange(1, n_steps)
    np.testing.assert_allclose(inl.std(axis=0)[1:-1], r * np.sqrt(k * (1 - k / n_steps)), rtol=0.025)
    assert inl[:, n_steps // 2].std() == pytest.approx(r * n_steps**0.5 / 2, rel=0.02)  # the middle is the worst
    dnl = dnl_lsb(inl)
    assert dnl.std() == pytest.approx(r * (1 - 1 / n_steps) ** 0.5, rel=0.01)
    assert dnl.min() > -1  # monotone: no unit is negative


@pytest.mark.parametrize("bits", [4, 8])
def test_binary_mismatch_against_theory(bits: int) -> None:
    r, n_steps = 0.02, 2**bits - 2
    inl = inl_lsb(
        UnitElementMismatch(relative_std=r, elements=Elements.BINARY), bits, n_converters=40_000, generator=RNG(1)
    )
    np.testing.assert_allclose(inl[:, [0, -1]], 0.0, atol=1e-12)
    dnl = dnl_lsb(inl)
    # Where the highest group of 2^(bits-1) units takes over from all the others; the line through both ends is that of
    # the highest code used, 11...10, which has all groups but the lowest.
    top = 2 ** (bits - 1)
    variance = top * (1 - 1 / n_steps) ** 2 + (top - 2) * (1 + 1 / n_steps) ** 2 + 1
    assert dnl[:, top - 1].std() == pytest.approx(r * variance**0.5, rel=0.02)
    assert dnl[:, top - 1].std() == pytest.approx(r * (2**bits - 1) ** 0.5, rel=0.05)  # the textbook's, without line
    assert dnl.std(axis=0).argmax() == top - 1
    # Halfway up, before it: the sum of all lower groups, less half of the line.
    before = (top - 1 - 1) * (0.5) ** 2 + top * 0.5**2 + 1  # half of each group, with either sign, and the lowest
    assert inl[:, top - 1].std() == pytest.approx(r * before**0.5, rel=0.03)


def test_mismatch_is_that_of_the_bank_and_each_channel_has_its_own() -> None:
    errors = ConverterErrors(linearity=UnitElementMismatch(relative_std=0.05))
    made = bank(Dac(bits=6, errors=errors), 3)
    codes = np.arange(-31.0, 32.0)[:, None] * np.ones(3)
    levels = made.convert(codes, 31.0)
    assert made.drawn.inl_lsb is not None
    np.testing.assert_allclose(levels, codes + made.drawn.inl_lsb.T, atol=1e-12)
    assert np.abs(levels[:, 0] - levels[:, 1]).max() > 0.05
    np.testing.assert_array_equal(made.convert(codes[:, :2], 31.0), levels[:, :2])  # of its first channels


def test_channels_take_turns_at_a_converter() -> None:
    errors = ConverterErrors(
        gain_relative_std=0.1, offset_relative_std=0.1, linearity=UnitElementMismatch(relative_std=0.1)
    )
    for kind in (Dac, Adc):
        levels = convert(kind(bits=8, errors=errors, channels_per_converter=3), np.full((1, 7), 0.37))[0]
        assert levels[0] == levels[1] == levels[2]
        assert levels[3] == levels[4] == levels[5]
        assert len(set(levels)) == 3


@given(bits=st.integers(2, 9), elements=st.sampled_from(Elements), seed=st.integers(0, 99))
def test_an_adc_reads_a_dac_of_the_same_elements(bits: int, elements: Elements, seed: int) -> None:
    # |DNL| < 1/2: each level lies between the thresholds around it.
    errors = ConverterErrors(linearity=UnitElementMismatch(relative_std=0.1 / 2 ** (bits / 2), elements=elements))
    dac, adc = bank(Dac(bits=bits, errors=errors), 2, seed), bank(Adc(bits=bits, errors=errors), 2, seed)
    codes = np.arange(-(2 ** (bits - 1)) + 1.0, 2 ** (bits - 1))[:, None] * lsb(bits, 1.0) * np.ones(2)
    np.testing.assert_allclose(adc.convert(dac.convert(codes, 1.0), 1.0), codes, atol=1e-14)


@given(
    bits=st.integers(2, 9),
    std=st.floats(0, 0.15),
    seed=st.integers(0, 99),
    kind=st.sampled_from([Dac, Adc]),
)
def test_thermometer_converters_are_monotone(bits: int, std: float, seed: int, kind: type[Dac | Adc]) -> None:
    errors = ConverterErrors(
        gain_relative_std=0.05,
        offset_relative_std=0.2,
        linearity=UnitElementMismatch(relative_std=std, elements=Elements.THERMOMETER),
    )
    values = np.sort(RNG(seed).uniform(-1.5, 1.5, (400, 3)), axis=0)
    assert (np.diff(convert(kind(bits=bits, errors=errors), values, seed=seed), axis=0) >= 0).all()


def test_an_adc_counts_thresholds_where_they_rise() -> None:
    errors = ConverterErrors(linearity=UnitElementMismatch(relative_std=0.05, elements=Elements.THERMOMETER))
    made = bank(Adc(bits=6, errors=errors), 3)
    values = RNG(3).uniform(-40, 40, (4000, 3))
    assert made.drawn.inl_lsb is not None
    thresholds = np.arange(-30.5, 31.0) + made.drawn.inl_lsb[:, 1:]
    assert (np.diff(thresholds) > 0).all()
    expected = np.stack([np.searchsorted(thresholds[c], values[:, c]) - 31.0 for c in range(3)], axis=1)
    np.testing.assert_array_equal(made.convert(values, 31.0), expected)


def test_binary_mismatch_loses_codes() -> None:
    errors = ConverterErrors(linearity=UnitElementMismatch(relative_std=0.3))
    values = np.linspace(-1, 1, 20_000)[:, None] * np.ones(8)
    read = convert(Adc(bits=8, errors=errors), values)
    assert min(len(np.unique(read[:, c])) for c in range(8)) < 250  # of 255
    levels = convert(Dac(bits=8, errors=errors), values)
    assert (np.diff(levels, axis=0) < 0).any()  # and is not monotone as a DAC


# ------------------------------------------------------------------------------------------------------- bad input


@KINDS
@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("gain_error", np.nan, "gain_error = nan; give a finite number, or None for off"),
        ("gain_error", -1.0, "gain_error = -1.0 leaves no gain; give a number above -1"),
        ("offset_error", "1", "offset_error = '1'; give a finite number"),
        ("gain_relative_std", -0.1, "gain_relative_std = -0.1; give 0 or more"),
        ("offset_relative_std", np.inf, "offset_relative_std = inf; give a finite number"),
        ("noise_relative_std", -1e-9, "noise_relative_std = -1e-09; give 0 or more"),
        ("noise_relative_std", True, "noise_relative_std = True; give a finite number"),
        ("linearity", 0.3, "linearity = 0.3; give an InlCurve or a UnitElementMismatch"),
    ],
)
def test_wrong_errors(kind: type[Dac | Adc], field: str, value: object, message: str) -> None:
    with pytest.raises(BlockError, match=message):
        kind(bits=8, errors=ConverterErrors(**{field: value}))


@pytest.mark.parametrize("curve", [(), (0.1,), None, 0.5, (0.0, np.nan), (0.0, None), "ab"])
def test_wrong_curves(curve: object) -> None:
    with pytest.raises(BlockError, match=r"inl_lsb.*; give (two points or more|a finite number)"):
        InlCurve(inl_lsb=curve)


def test_wrong_mismatch() -> None:
    with pytest.raises(BlockError, match=r"relative_std = -0\.1; give 0 or more"):
        UnitElementMismatch(relative_std=-0.1)
    with pytest.raises(BlockError, match=r"elements = 'unary'; allowed are 'binary', 'thermometer'"):
        UnitElementMismatch(relative_std=0.1, elements="unary")


@KINDS
def test_a_curve_needs_codes(kind: type[Dac | Adc]) -> None:
    for bits, linearity in itertools.product(
        (None, 1, 17), (InlCurve(inl_lsb=(0, 1)), UnitElementMismatch(relative_std=0.1))
    ):
        with pytest.raises(BlockError, match=r"INL is given in codes, but .*; give 2 to 16 bits, or no INL"):
            kind(bits=bits, errors=ConverterErrors(linearity=linearity))
    with pytest.raises(BlockError, match="inl_lsb: 8 points, but 3 bits have 7 codes; give fewer"):
        kind(bits=3, errors=ConverterErrors(linearity=InlCurve(inl_lsb=(0.0,) * 8)))
    many = kind(bits=16, errors=ConverterErrors(linearity=UnitElementMismatch(relative_std=0.1)))
    with pytest.raises(BlockError, match=r"curves of 2000 converters of 16 bits .* raise channels_per_converter"):
        bank(many, 2000)


def test_other_wrong_settings() -> None:
    with pytest.raises(BlockError, match=r"ADC: errors = 0\.1; give ConverterErrors, or None for none"):
        Adc(errors=0.1)  # type: ignore[arg-type]  # wrong on purpose
    for wrong in (0, 1.5, True):
        with pytest.raises(BlockError, match=r"DAC: channels_per_converter = .*; give a whole number of 1 or more"):
            Dac(channels_per_converter=wrong)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(BlockError, match=r"converters: seed = -1; give a whole number of 0 or more"):
        Converters(seed=-1)
    with pytest.raises(BlockError, match=r"converters: noise_draw = 'often'; allowed are 'anew', 'same'"):
        Converters(noise_draw="often")  # type: ignore[arg-type]  # wrong on purpose
    assert Converters(noise_draw="same").noise_draw is NoiseDraw.SAME  # type: ignore[arg-type]  # a word is taken, too
