"""By how much one pulse moves a conductance, depending on where in its window it stands.

Everything here is a fraction of the nominal window: x = (g - g_min) / (g_max - g_min), steps likewise, both directions
given as positive numbers. A device whose own bounds differ stands between `low` and `high` in the same unit; 0 and 1
are those of a nominal device.
"""

from dataclasses import dataclass
from typing import final

import numpy as np

from ..arrays import Floats
from ..errors import CircuitError
from .ranges import require_finite, require_not_negative, require_positive

LEAST_WINDOW = 0.01  # of the nominal window: what a device keeps whose bounds were drawn upside down

Bound = Floats | float


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class LinearStep:
    """A step that changes linearly over the window; constant where both ends are alike.

    Equation: up(x) = max(0, u_0 + (u_1 - u_0) x), down(x) = max(0, d_0 + (d_1 - d_0) x), whatever the device's bounds.

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

    def up(self, x: Floats, low: Bound = 0.0, high: Bound = 1.0) -> Floats:
        """Return the step of an up pulse at x, [...]."""
        del low, high
        return np.maximum(self.up_at_low + (self.up_at_high - self.up_at_low) * np.asarray(x), 0.0)

    def down(self, x: Floats, low: Bound = 0.0, high: Bound = 1.0) -> Floats:
        """Return the step of a down pulse at x, [...]."""
        del low, high
        return np.maximum(self.down_at_low + (self.down_at_high - self.down_at_low) * np.asarray(x), 0.0)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SoftBoundsStep:
    """A step in proportion to the way that is left: the bounds are never reached.

    Equation: up(x) = u (1 - x_0) (high - x) / (high - x_0), down(x) = d x_0 (x - low) / (x_0 - low): u (1 - x) and d x
    of a nominal device. At x_0 the step of each device is the same, wherever its bounds are.

    Args:
        up_rate: u — fraction of the window that an up pulse adds at its low end.
        down_rate: d — fraction that a down pulse takes away at its high end.
        pivot: x_0 — between 0 and 1.

    Raises:
        CircuitError: unless the rates are above zero and the pivot is between 0 and 1.

    Source: J. Frascaroli et al., Scientific Reports 8, 7178, 2018; the pivot is the weight of zero in aihwkit.
    """

    up_rate: float
    down_rate: float
    pivot: float = 0.5

    def __post_init__(self) -> None:
        require_positive("soft bounds", up_rate=self.up_rate, down_rate=self.down_rate, pivot=self.pivot)
        if self.pivot >= 1:
            raise CircuitError(f"soft bounds: pivot = {self.pivot!r}; give a place between 0 and 1")

    def up(self, x: Floats, low: Bound = 0.0, high: Bound = 1.0) -> Floats:
        """Return the step of an up pulse at x, [...]."""
        del low
        way = np.maximum(np.asarray(high) - self.pivot, LEAST_WINDOW)
        return np.asarray(self.up_rate * (1.0 - self.pivot) * (high - np.asarray(x)) / way)

    def down(self, x: Floats, low: Bound = 0.0, high: Bound = 1.0) -> Floats:
        """Return the step of a down pulse at x, [...]."""
        del high
        way = np.maximum(self.pivot - np.asarray(low), LEAST_WINDOW)
        return np.asarray(self.down_rate * self.pivot * (np.asarray(x) - low) / way)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ExponentialStep:
    """A step that dies away exponentially towards a bound, differently up and down.

    Equation: up(x) = u max(0, 1 - A_up exp(gamma_up z)), down(x) = d max(0, 1 - A_down exp(-gamma_down z)),
    z = a (2 x - 1) / (high - low) + b.

    Args:
        up_step, down_step: u, d — fraction of the window.
        a_up, a_down: A_up, A_down.
        gamma_up, gamma_down: rate of each exponential.
        scale: a.
        shift: b.

    Raises:
        CircuitError: unless the steps are above zero and the rest is finite.

    Source: N. Gong et al., Nature Communications 9, 2102, 2018; names and form as aihwkit's.
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

    def up(self, x: Floats, low: Bound = 0.0, high: Bound = 1.0) -> Floats:
        """Return the step of an up pulse at x, [...]."""
        z = self._z(x, low, high)
        return np.asarray(self.up_step * np.maximum(0.0, 1.0 - self.a_up * np.exp(self.gamma_up * z)))

    def down(self, x: Floats, low: Bound = 0.0, high: Bound = 1.0) -> Floats:
        """Return the step of a down pulse at x, [...]."""
        z = self._z(x, low, high)
        return np.asarray(self.down_step * np.maximum(0.0, 1.0 - self.a_down * np.exp(-self.gamma_down * z)))

    def _z(self, x: Floats, low: Bound, high: Bound) -> Floats:
        """Return the exponent of each device, before its rate."""
        return np.asarray(self.scale * (2.0 * np.asarray(x) - 1.0) / (np.asarray(high) - low) + self.shift)


PulseStep = LinearStep | SoftBoundsStep | ExponentialStep
