"""By how much one pulse moves a conductance, depending on where in its window it stands.

Everything here is a fraction of the window: x = (g - g_low) / (g_high - g_low), steps likewise, both directions given
as positive numbers.
"""

from dataclasses import dataclass
from typing import final

import numpy as np

from ..arrays import Floats
from .ranges import require_finite, require_not_negative, require_positive


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class LinearStep:
    """A step that changes linearly over the window; constant where both ends are alike.

    Equation: up(x) = u_0 + (u_1 - u_0) x, down(x) = d_0 + (d_1 - d_0) x.

    Args:
        up_at_low, up_at_high: u_0, u_1 — fraction of the window a pulse adds at its low and its high end.
        down_at_low, down_at_high: d_0, d_1 — fraction that a pulse takes away there.

    Raises:
        CircuitError: if one is negative.
    """

    up_at_low: float
    up_at_high: float
    down_at_low: float
    down_at_high: float

    def __post_init__(self) -> None:
        require_not_negative(
            "linear step",
            up_at_low=self.up_at_low,
            up_at_high=self.up_at_high,
            down_at_low=self.down_at_low,
            down_at_high=self.down_at_high,
        )

    def up(self, x: Floats) -> Floats:
        """Return the step of an up pulse at x, [...]."""
        return np.asarray(self.up_at_low + (self.up_at_high - self.up_at_low) * x)

    def down(self, x: Floats) -> Floats:
        """Return the step of a down pulse at x, [...]."""
        return np.asarray(self.down_at_low + (self.down_at_high - self.down_at_low) * x)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SoftBoundsStep:
    """A step in proportion to the way that is left: the bounds are never reached.

    Equation: up(x) = u (1 - x), down(x) = d x.

    Args:
        up_rate: u — fraction of the window that an up pulse adds at its low end.
        down_rate: d — fraction that a down pulse takes away at its high end.

    Raises:
        CircuitError: unless both are above zero.

    Source: J. Frascaroli et al., Scientific Reports 8, 7178, 2018.
    """

    up_rate: float
    down_rate: float

    def __post_init__(self) -> None:
        require_positive("soft bounds", up_rate=self.up_rate, down_rate=self.down_rate)

    def up(self, x: Floats) -> Floats:
        """Return the step of an up pulse at x, [...]."""
        return np.asarray(self.up_rate * (1.0 - x))

    def down(self, x: Floats) -> Floats:
        """Return the step of a down pulse at x, [...]."""
        return np.asarray(self.down_rate * x)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ExponentialStep:
    """A step that dies away exponentially towards a bound, differently up and down.

    Equation: up(x) = u max(0, 1 - A_up exp(gamma_up z)), down(x) = d max(0, 1 - A_down exp(-gamma_down z)),
    z = a (2 x - 1) + b.

    Args:
        up_step, down_step: u, d — fraction of the window.
        a_up, a_down: A_up, A_down.
        gamma_up, gamma_down: rate of each exponential.
        scale: a.
        shift: b.

    Raises:
        CircuitError: unless the steps are above zero and the rest is finite.

    Source: T. Gong et al., Nature Communications 9, 2102, 2018; names as aihwkit's.
    """

    up_step: float
    down_step: float
    a_up: float
    a_down: float
    gamma_up: float
    gamma_down: float
    scale: float
    shift: float

    def __post_init__(self) -> None:
        where = "exponential step"
        require_positive(where, up_step=self.up_step, down_step=self.down_step)
        require_finite(where, a_up=self.a_up, a_down=self.a_down, scale=self.scale, shift=self.shift)
        require_finite(where, gamma_up=self.gamma_up, gamma_down=self.gamma_down)

    def up(self, x: Floats) -> Floats:
        """Return the step of an up pulse at x, [...]."""
        z = self.scale * (2.0 * np.asarray(x) - 1.0) + self.shift
        return np.asarray(self.up_step * np.maximum(0.0, 1.0 - self.a_up * np.exp(self.gamma_up * z)))

    def down(self, x: Floats) -> Floats:
        """Return the step of a down pulse at x, [...]."""
        z = self.scale * (2.0 * np.asarray(x) - 1.0) + self.shift
        return np.asarray(self.down_step * np.maximum(0.0, 1.0 - self.a_down * np.exp(-self.gamma_down * z)))


PulseStep = LinearStep | SoftBoundsStep | ExponentialStep
