"""DACs and ADCs on the crossings between digital and analog: bits, full scale, clipping, ranging from data.

All values here are dimensionless: in units of v_unit for voltages and of g_unit v_unit for currents.

    code  ^            _|        levels k * lsb, k = -(2^(bits-1) - 1) ... 2^(bits-1) - 1,
          |          _|          lsb = full_scale / (2^(bits-1) - 1): symmetric; with two bits or more there is a zero,
          |        _|            so that a differential pair stays mirrored and no nudge is no current
          +------_|-------> value
"""

from dataclasses import dataclass, field
from enum import IntEnum
from numbers import Integral
from typing import final

import numpy as np

from circuits.arrays import Floats

from .errors import BlockError

RANGE_DECAY = 0.05  # share by which a data-driven range moves towards a smaller batch maximum


def _check(kind: str, bits: int | None, full_scale: float | None) -> None:
    if bits is not None and (isinstance(bits, bool) or not isinstance(bits, Integral) or bits < 1):
        raise BlockError(f"{kind}: bits = {bits!r}; give one bit or more, or None for an ideal converter")
    if full_scale is not None and not (np.isfinite(full_scale) and full_scale > 0):
        raise BlockError(
            f"{kind}: full_scale = {full_scale!r}; give a finite value above zero, or None to range from data"
        )


def lsb(bits: int, full_scale: float) -> float:
    """Return the step of a converter: full_scale / (2^(bits-1) - 1), or full_scale for a single bit."""
    return full_scale / max(1, (1 << (bits - 1)) - 1)


def quantise(values: Floats, bits: int | None, full_scale: float) -> Floats:
    """Clip to the full scale and round to the nearest level.

    Args:
        values: [...] dimensionless.
        bits: resolution; None returns the values unchanged, unclipped.
        full_scale: largest magnitude that has a code. A single bit has the two levels +-full_scale / 2.

    Returns:
        [...] the converter's level for each value.
    """
    if bits is None:
        return values
    if bits == 1:
        return np.where(values >= 0, full_scale / 2, -full_scale / 2)
    step = lsb(bits, full_scale)
    return np.round(np.clip(values, -full_scale, full_scale) / step) * step


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Dac:
    """A digital-to-analog converter.

    Args:
        bits: resolution; None is ideal.
        full_scale: dimensionless; None ranges it from the data.
    """

    bits: int | None = None
    full_scale: float | None = None

    def __post_init__(self) -> None:
        _check("DAC", self.bits, self.full_scale)

    def convert(self, values: Floats, full_scale: float) -> Floats:
        """Return the analog level for each value; `full_scale` is the one in force."""
        return quantise(values, self.bits, full_scale)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Adc:
    """An analog-to-digital converter.

    Args:
        bits: resolution; None is ideal.
        full_scale: dimensionless; None ranges it from the data.
    """

    bits: int | None = None
    full_scale: float | None = None

    def __post_init__(self) -> None:
        _check("ADC", self.bits, self.full_scale)

    def convert(self, values: Floats, full_scale: float) -> Floats:
        """Return the value of the code for each level; `full_scale` is the one in force."""
        return quantise(values, self.bits, full_scale)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Converters:
    """The converters of one block.

    Args:
        input: DAC of x.
        output: ADC of the free phase's outputs.
        nudge: DAC of the nudge currents; with per-sample scaling its full scale is 1, the largest |ds| of a sample.
        phase: ADC of node voltages in the nudged phases.
        current: ADC of source currents in the nudged phases; None is one like `phase`, ranged from the data.
    """

    input: Dac = field(default_factory=Dac)
    output: Adc = field(default_factory=Adc)
    nudge: Dac = field(default_factory=Dac)
    phase: Adc = field(default_factory=Adc)
    current: Adc | None = None

    @staticmethod
    def ideal() -> "Converters":
        """Return converters without resolution limits."""
        return Converters()

    @staticmethod
    def uniform(bits: int) -> "Converters":
        """Return converters of one resolution everywhere, ranged from the data."""
        return Converters(input=Dac(bits=bits), output=Adc(bits=bits), nudge=Dac(bits=bits), phase=Adc(bits=bits))

    @property
    def source_current(self) -> Adc:
        """The ADC of source currents."""
        return self.current or Adc(bits=self.phase.bits)


class Crossing(IntEnum):
    """The quantities that have a range of their own."""

    INPUT = 0
    OUTPUT = 1
    NUDGE = 2
    PHASE = 3
    DIFFERENCE = 4
    CURRENT = 5
    CURRENT_DIFFERENCE = 6


@final
class Ranges:
    """Full scales found from the data: the running maximum of each crossing.

    A range grows at once to a larger batch, so training never clips what it sees, and decays slowly to smaller ones.
    It moves only while training; before the first batch the maximum of the values at hand serves.

    Args:
        values: [7] one range a crossing; zero where nothing was seen yet.
    """

    def __init__(self, values: Floats | None = None) -> None:
        self.values = np.zeros(len(Crossing)) if values is None else np.array(values, dtype=np.float64)

    def full_scale(self, crossing: Crossing, fixed: float | None, values: Floats, *, learn: bool) -> float:
        """Return the full scale in force for a batch.

        Args:
            crossing: which quantity.
            fixed: the converter's own full scale; None to range from the data.
            values: the batch's values.
            learn: whether the batch may move the range.

        Returns:
            a full scale above zero.
        """
        if fixed is not None:
            return fixed
        largest = float(np.max(np.abs(values), initial=0.0))
        seen = float(self.values[crossing])
        if learn and largest > 0:
            seen = max(largest, (1 - RANGE_DECAY) * seen + RANGE_DECAY * largest)
            self.values[crossing] = seen
        return seen or largest or 1.0
