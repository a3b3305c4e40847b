"""A device that is not quite a resistor: the cubic current law, its derivatives and its co-content."""

from dataclasses import dataclass
from typing import final

import numpy as np

from ..arrays import Floats
from .ranges import require_not_negative


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CubicCurrent:
    """An odd cubic current law.

    Equation: I = g (V + k3 V^3). As k3 is not negative the current always rises: the equilibrium stays the only one.

    Args:
        k3_per_v2: 1/V^2 — k3.

    Raises:
        CircuitError: if k3 is negative.
    """

    k3_per_v2: float

    def __post_init__(self) -> None:
        require_not_negative("cubic current", k3_per_v2=self.k3_per_v2)

    def current_a(self, g_s: Floats, v: Floats) -> Floats:
        """Return I = g (V + k3 V^3), [...] A."""
        return np.asarray(g_s * (v + self.k3_per_v2 * v**3))

    def conductance_s(self, g_s: Floats, v: Floats) -> Floats:
        """Return dI/dV = g (1 + 3 k3 V^2), [...] S."""
        return np.asarray(g_s * (1.0 + 3.0 * self.k3_per_v2 * v**2))

    def cocontent_w(self, g_s: Floats, v: Floats) -> Floats:
        """Return the integral of I from 0 to V, g (V^2 / 2 + k3 V^4 / 4), [...] W."""
        return np.asarray(g_s * self.cocontent_per_g_v2(v))

    def cocontent_per_g_v2(self, v: Floats) -> Floats:
        """Return the derivative of the co-content by g, V^2 / 2 + k3 V^4 / 4, [...] V^2: what EP reads off a device."""
        square = np.asarray(v) ** 2
        return np.asarray(square / 2.0 + self.k3_per_v2 * square**2 / 4.0)
