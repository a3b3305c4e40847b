"""Numbers that were measured to depend on the conductance: drift exponents, their spread, the size of 1/f noise."""

from dataclasses import dataclass
from typing import final

import numpy as np

from ..arrays import Floats
from ..errors import CircuitError
from .ranges import require_finite, require_not_negative, require_positive

WHERE = "law of the conductance"
LEAST_RELATIVE = 1e-12  # of g_max: the logarithm of no conductance at all has to be some number, which is then clipped


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ClippedLogarithm:
    """A straight line over the logarithm of the conductance, between two limits.

    Equation: clip(slope ln(g / g_max) + offset, lowest, highest).

    Args:
        slope, offset: of the straight line over ln(g / g_max).
        lowest, highest: limits, zero or more.

    Raises:
        CircuitError: if the limits are negative or upside down.
    """

    slope: float
    offset: float
    lowest: float
    highest: float

    def __post_init__(self) -> None:
        require_finite(WHERE, slope=self.slope, offset=self.offset)
        require_not_negative(WHERE, lowest=self.lowest, highest=self.highest)
        if self.lowest > self.highest:
            raise CircuitError(f"{WHERE}: limits upside down: lowest = {self.lowest!r}, highest = {self.highest!r}")

    def at(self, relative: Floats) -> Floats:
        """Return the value at g / g_max, [...]."""
        line = self.slope * np.log(np.maximum(relative, LEAST_RELATIVE)) + self.offset
        return np.clip(line, self.lowest, self.highest)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class LogarithmThenPolynomial:
    """One law for small conductances, another for the rest.

    Equation: below g_break the clipped logarithm, from there on max(0, sum_k c_k (g / g_max)^k).

    Args:
        below: law of small conductances.
        break_relative: g_break / g_max.
        coefficients: c_0, c_1, ..., lowest power first.

    Raises:
        CircuitError: if there is no coefficient, one is not finite, or the break is not above zero.
    """

    below: ClippedLogarithm
    break_relative: float
    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        require_positive(WHERE, break_relative=self.break_relative)
        if not self.coefficients:
            raise CircuitError(f"{WHERE}: coefficients = {self.coefficients!r}; give (c_0, c_1, ...)")
        for k, value in enumerate(self.coefficients):
            require_finite(WHERE, **{f"coefficients[{k}]": value})

    def at(self, relative: Floats) -> Floats:
        """Return the value at g / g_max, [...]."""
        polynomial = np.polynomial.polynomial.polyval(np.asarray(relative), self.coefficients)
        return np.where(relative < self.break_relative, self.below.at(relative), np.maximum(polynomial, 0.0))


ConductanceLaw = ClippedLogarithm | LogarithmThenPolynomial
