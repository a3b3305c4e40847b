"""The programming error: by how much the written conductance misses its target, anew at each write."""

from dataclasses import dataclass
from enum import Enum
from typing import Self, final

import numpy as np

from ..arrays import Floats
from ..choices import chosen
from ..errors import CircuitError
from .ranges import require_finite, require_not_negative, require_positive

WHERE = "programming error"


class ErrorDistribution(Enum):
    """Shape of the error; either has the standard deviation sigma(g)."""

    NORMAL = "normal"
    UNIFORM = "uniform"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ProgrammingError:
    """A cycle-to-cycle error whose standard deviation is a polynomial of the target.

    Equation: g = g_target + sigma(g_target) xi, sigma(g) = max(0, sum_k c_k (g / g_ref)^k); xi has zero mean and unit
    variance: normal, or uniform between -sqrt(3) and sqrt(3).

    Args:
        coefficients_s: S — c_0, c_1, ..., lowest power first.
        reference_s: S — g_ref, the unit in which the polynomial was published.
        distribution: of xi.

    Raises:
        CircuitError: if there is no coefficient, or one is not finite.

    Source: the polynomial form is that of V. Joshi et al., Nature Communications 11, 2473, 2020.
    """

    coefficients_s: tuple[float, ...]
    reference_s: float
    distribution: ErrorDistribution = ErrorDistribution.NORMAL

    def __post_init__(self) -> None:
        try:
            coefficients_s = tuple(self.coefficients_s)
        except TypeError:
            coefficients_s = ()
        if not coefficients_s:
            raise CircuitError(f"{WHERE}: coefficients_s = {self.coefficients_s!r}; give (c_0, c_1, ...) in siemens")
        for k, value in enumerate(coefficients_s):
            require_finite(WHERE, **{f"coefficients_s[{k}]": value})
        if len(coefficients_s) == 1 and coefficients_s[0] < 0:
            raise CircuitError(f"{WHERE}: coefficients_s = {coefficients_s!r} is a negative standard deviation")
        require_positive(WHERE, reference_s=self.reference_s)
        object.__setattr__(self, "coefficients_s", coefficients_s)
        kind = chosen(ErrorDistribution, self.distribution, f"{WHERE}: distribution", CircuitError)
        object.__setattr__(self, "distribution", kind)

    @classmethod
    def independent(cls, std_s: float, distribution: ErrorDistribution = ErrorDistribution.NORMAL) -> Self:
        """Return an error of one size, whatever the target: sigma = std_s, in siemens."""
        require_not_negative(WHERE, std_s=std_s)
        return cls(coefficients_s=(std_s,), reference_s=1.0, distribution=distribution)

    @classmethod
    def proportional(cls, relative_std: float, distribution: ErrorDistribution = ErrorDistribution.NORMAL) -> Self:
        """Return an error in proportion to the target: sigma = relative_std g."""
        require_not_negative(WHERE, relative_std=relative_std)
        return cls(coefficients_s=(0.0, relative_std), reference_s=1.0, distribution=distribution)

    def std_s(self, target_s: Floats) -> Floats:
        """Return sigma of each target, [...] S."""
        polynomial = np.polynomial.polynomial.polyval(np.asarray(target_s) / self.reference_s, self.coefficients_s)
        return np.maximum(polynomial, 0.0)

    def written_s(self, target_s: Floats, generator: np.random.Generator) -> Floats:
        """Draw what a write leaves behind, before anything clips it.

        Args:
            target_s: [...] S.
            generator: of the cycle-to-cycle noise.

        Returns:
            [...] S, which may lie outside the window.
        """
        shape = np.shape(target_s)
        if self.distribution is ErrorDistribution.NORMAL:
            xi = generator.standard_normal(shape)
        else:
            xi = generator.uniform(-np.sqrt(3.0), np.sqrt(3.0), shape)
        return np.asarray(target_s + self.std_s(target_s) * xi)
