"""Integral and differential nonlinearity: a given curve, or one drawn from the mismatch of unit elements.

A converter of two bits or more has N = 2^bits - 2 steps between its lowest and its highest level. INL is how far level
k (of a DAC) or the threshold below it (of an ADC) is from the straight line through both ends, in LSB; DNL is how far
a step is from one LSB. Offset and gain are errors of their own, so a drawn curve has neither.
"""

from dataclasses import dataclass
from enum import Enum
from typing import final

import numpy as np

from circuits.arrays import Floats
from circuits.choices import chosen

from ..errors import BlockError
from .staircase import count_steps, require_number


class Elements(Enum):
    """How unit elements make a level."""

    BINARY = "binary"  # groups of 1, 2, 4, ... units, as in a SAR's capacitors: worst in the middle, may lose codes
    THERMOMETER = "thermometer"  # one more unit a level, as in a flash's ladder or a segmented DAC: always monotone


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class InlCurve:
    """A given curve.

    Args:
        inl_lsb: LSB, at points evenly spaced from the lowest code to the highest; straight lines between them. It is
            taken as it is: what its ends have is part of it.

    Raises:
        BlockError: for fewer than two points, or one that is not finite.
    """

    inl_lsb: tuple[float, ...]

    def __post_init__(self) -> None:
        given: object = self.inl_lsb
        if not isinstance(given, tuple | list) or len(given) < 2:
            raise BlockError(f"inl_lsb = {given!r}; give two points or more, from the lowest code to the highest")
        for k, value in enumerate(given):
            require_number(f"inl_lsb, entry {k}", optional=False, lsb=value)
        object.__setattr__(self, "inl_lsb", tuple(float(value) for value in given))

    def tables(self, bits: int, n_converters: int, generator: np.random.Generator) -> Floats:
        """Return the curve, [1, 2^bits - 1] LSB: that of all converters."""
        del n_converters, generator
        return self.at_codes(bits)[None]

    def at_codes(self, bits: int) -> Floats:
        """Return the curve at every code, [2^bits - 1] LSB.

        Raises:
            BlockError: if it has more points than there are codes.
        """
        n_levels = count_steps(bits) + 1
        if len(self.inl_lsb) > n_levels:
            raise BlockError(f"inl_lsb: {len(self.inl_lsb)} points, but {bits} bits have {n_levels} codes; give fewer")
        at = np.linspace(0.0, len(self.inl_lsb) - 1.0, n_levels)
        return np.interp(at, np.arange(len(self.inl_lsb)), self.inl_lsb)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class UnitElementMismatch:
    """A curve drawn from the mismatch of unit elements, for each converter its own.

    Equation: every unit is 1 + r xi; level k is the sum of its units, less the straight line through both ends.
    Thermometer: INL of level k has standard deviation r sqrt(k (1 - k / N)), each step's DNL r sqrt(1 - 1 / N).
    Binary: a group of m units is m + r sqrt(m) xi, so the step where the highest group comes in is the worst.

    Args:
        relative_std: r.
        elements: how units make a level.

    Raises:
        BlockError: if r is negative.
    """

    relative_std: float
    elements: Elements = Elements.BINARY

    def __post_init__(self) -> None:
        require_number("unit elements", lowest=0.0, optional=False, relative_std=self.relative_std)
        kind = chosen(Elements, self.elements, "unit elements: elements", BlockError)
        object.__setattr__(self, "elements", kind)

    def tables(self, bits: int, n_converters: int, generator: np.random.Generator) -> Floats:
        """Draw the curves, [n_converters, 2^bits - 1] LSB."""
        n_steps = count_steps(bits)
        codes = np.arange(n_steps + 1)
        if self.elements is Elements.THERMOMETER:
            steps = self.relative_std * generator.standard_normal((n_converters, n_steps))
            error = np.concatenate([np.zeros((n_converters, 1)), np.cumsum(steps, axis=1)], axis=1)
        else:
            groups = (
                self.relative_std * np.sqrt(2.0 ** np.arange(bits)) * generator.standard_normal((n_converters, bits))
            )
            error = groups @ ((codes >> np.arange(bits)[:, None]) & 1).astype(float)
        return np.asarray(error - error[:, -1:] * (codes / n_steps))


Linearity = InlCurve | UnitElementMismatch


def inl_lsb(
    linearity: Linearity, bits: int, *, n_converters: int = 1, generator: np.random.Generator | None = None
) -> Floats:
    """Return integral nonlinearity, for plots and tests.

    Args:
        linearity: a curve, or what it is drawn from.
        bits: resolution, two or more.
        n_converters: how many to draw; a given curve is that of all.
        generator: draws them; one with seed 0 if left out.

    Returns:
        [n_converters, 2^bits - 1] LSB, from the lowest code to the highest.

    Raises:
        BlockError: for a curve of more points than codes.
    """
    tables = linearity.tables(bits, n_converters, generator or np.random.default_rng(0))
    return np.broadcast_to(tables, (n_converters, count_steps(bits) + 1))


def dnl_lsb(inl: Floats) -> Floats:
    """Return differential nonlinearity, [..., steps] LSB: the differences of INL; -1 or less is a missing code."""
    return np.diff(inl, axis=-1)
