"""DAC and ADC: the same staircase and the same errors, which act on the level of a code or on the code of a level."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Integral
from typing import ClassVar, final

import numpy as np

from circuits.arrays import Floats

from ..errors import BlockError
from .calibration import Calibration, MaximumRange, MovingAverageRange, PercentileRange
from .error_model import ConverterErrors
from .linearity import InlCurve
from .staircase import count_steps, lsb, quantise, require_whole

MOST_BITS_OF_A_CURVE = 16  # a table has 2^bits entries for each converter


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Drawn:
    """The errors of one conversion of one bank; None is none.

    Args:
        gain: [] or [n_channels] factor.
        offset: [] or [n_channels] of the full scale.
        noise: [..., n_channels] of the full scale.
        inl_lsb: [n_converters, 2^bits - 1] LSB.
        converter: [n_channels] row of `inl_lsb`.
    """

    gain: Floats | None = None
    offset: Floats | None = None
    noise: Floats | None = None
    inl_lsb: Floats | None = None
    converter: np.ndarray | None = None

    def distort(self, values: Floats, full_scale: float) -> Floats:
        """Return (1 + gain) v + full_scale (offset + noise)."""
        if self.gain is not None:
            values = values * self.gain
        if self.offset is not None:
            values = values + full_scale * self.offset
        if self.noise is not None:
            values = values + full_scale * self.noise
        return values


NOTHING_DRAWN = Drawn()


def _check(
    kind: str,
    bits: int | None,
    full_scale: float | None,
    calibration: Calibration | None,
    errors: ConverterErrors | None,
    channels: int,
) -> None:
    given: object = bits
    if given is not None and (isinstance(given, bool) or not isinstance(given, Integral) or int(given) < 1):
        raise BlockError(f"{kind}: bits = {bits!r}; give one bit or more, or None for an ideal converter")
    if full_scale is not None and not (np.isfinite(full_scale) and full_scale > 0):
        raise BlockError(
            f"{kind}: full_scale = {full_scale!r}; give a finite value above zero, or None to range from data"
        )
    if calibration is not None:
        if not isinstance(calibration, MaximumRange | PercentileRange | MovingAverageRange):
            raise BlockError(
                f"{kind}: calibration = {calibration!r}; give a MaximumRange, PercentileRange or MovingAverageRange"
            )
        if full_scale is not None:
            raise BlockError(
                f"{kind}: full_scale = {full_scale!r} is fixed, so there is nothing to calibrate; leave one of both out"
            )
    if errors is not None and not isinstance(errors, ConverterErrors):
        raise BlockError(f"{kind}: errors = {errors!r}; give ConverterErrors, or None for none")
    require_whole(kind, "channels_per_converter", channels, 1)
    _check_curve(kind, bits, errors)


def _check_curve(kind: str, bits: int | None, errors: ConverterErrors | None) -> None:
    """Refuse a curve of codes where there are too few codes, or too many to tabulate."""
    if errors is None or errors.linearity is None:
        return
    if bits is None or not 2 <= bits <= MOST_BITS_OF_A_CURVE:
        has = "an ideal converter has no codes" if bits is None else f"bits = {bits}"
        raise BlockError(f"{kind}: INL is given in codes, but {has}; give 2 to {MOST_BITS_OF_A_CURVE} bits, or no INL")
    if isinstance(errors.linearity, InlCurve):
        errors.linearity.at_codes(bits)


@dataclass(frozen=True, kw_only=True, slots=True)
class AbstractConverter(ABC):
    """A converter, or a bank of them, one a unit.

    Args:
        bits: resolution; None is ideal.
        full_scale: dimensionless; None ranges it from the data.
        clip: whether ideal resolution clips at the full scale too; one with bits always does.
        calibration: how a range from the data follows it; None: the running maximum.
        errors: what it does wrong; None for nothing.
        channels_per_converter: neighbouring units that take turns at one converter, and so share its errors.

    Raises:
        BlockError: for what cannot be.
    """

    kind: ClassVar[str]  # for messages

    bits: int | None = None
    full_scale: float | None = None
    clip: bool = False
    calibration: Calibration | None = None
    errors: ConverterErrors | None = None
    channels_per_converter: int = 1

    def __post_init__(self) -> None:
        _check(self.kind, self.bits, self.full_scale, self.calibration, self.errors, self.channels_per_converter)

    @abstractmethod
    def convert(self, values: Floats, full_scale: float, drawn: Drawn = NOTHING_DRAWN) -> Floats:
        """Return what comes out for each value; `full_scale` is the one in force."""


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Dac(AbstractConverter):
    """A digital-to-analog converter; its errors act on the level of a code."""

    kind: ClassVar[str] = "DAC"

    def convert(self, values: Floats, full_scale: float, drawn: Drawn = NOTHING_DRAWN) -> Floats:
        """Return the analog level for each value; `full_scale` is the one in force.

        Equation: level = (1 + gain) lsb (k + INL_k) + full_scale (offset + noise), k the code of the value.
        """
        if self.clip and self.bits is None:
            values = np.clip(values, -full_scale, full_scale)
        levels = quantise(values, self.bits, full_scale)
        if drawn.inl_lsb is not None and drawn.converter is not None and self.bits is not None:
            step = lsb(self.bits, full_scale)
            index = np.round(levels / step).astype(np.intp) + count_steps(self.bits) // 2
            levels = levels + step * drawn.inl_lsb[drawn.converter, index]
        return drawn.distort(levels, full_scale)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Adc(AbstractConverter):
    """An analog-to-digital converter; its errors act on the thresholds between codes."""

    kind: ClassVar[str] = "ADC"

    def convert(self, values: Floats, full_scale: float, drawn: Drawn = NOTHING_DRAWN) -> Floats:
        """Return the value of the code for each level; `full_scale` is the one in force.

        Equation: u = (1 + gain) v + full_scale (offset + noise); code k where u lies between lsb (k - 1/2 + INL_k) and
        lsb (k + 1/2 + INL_(k+1)).
        """
        seen = drawn.distort(values, full_scale)
        if drawn.inl_lsb is not None and drawn.converter is not None and self.bits is not None:
            return _approximate(seen, self.bits, full_scale, drawn.inl_lsb, drawn.converter)
        if self.clip and self.bits is None:
            return np.clip(seen, -full_scale, full_scale)
        return quantise(seen, self.bits, full_scale)


def _approximate(values: Floats, bits: int, full_scale: float, inl_lsb: Floats, converter: np.ndarray) -> Floats:
    """Return codes by successive approximation: each bit stays if the value is above the threshold of its code.

    Where thresholds rise this is the number of those below; where they do not, codes are missed as in a real SAR.
    """
    step, n_steps = lsb(bits, full_scale), count_steps(bits)
    level = values / step + n_steps / 2  # in LSB from the lowest code
    code = np.zeros(values.shape, dtype=np.intp)
    for bit in reversed(range(bits)):
        trial = code + (1 << bit)
        known = np.minimum(trial, n_steps)
        above = (trial <= n_steps) & (level >= known - 0.5 + inl_lsb[converter, known])
        code = np.where(above, trial, code)
    return np.asarray((code - n_steps // 2) * step, dtype=np.float64)
