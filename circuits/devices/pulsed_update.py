"""The pulsed update: training by many small, equal pulses, each of which moves a device by about one step."""

from dataclasses import dataclass
from typing import final

import numpy as np

from ..arrays import Floats
from ..errors import CircuitError
from .pulse_steps import PulseStep
from .ranges import require_not_negative

LEAST_WINDOW = 0.01  # of the nominal window: a device whose bounds were drawn upside down keeps this much


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PulsedUpdate:
    """How a device answers to pulses.

    Equation: dg = +-f_device step(x) (1 + c xi) (g_max - g_min), xi standard normal for each pulse; then clipped to the
    device's own bounds.

    Args:
        step: step of a pulse over the window.
        cycle_relative_std: c — cycle-to-cycle standard deviation of a step, as a fraction of it; None for none.
        device_relative_std: device-to-device standard deviation of f, as a fraction; None for none.
        up_down_device_std: device-to-device standard deviation of the asymmetry e; a device's up steps are then (1 + e)
            times, its down steps (1 - e) times as large; None for none.
        bound_device_std: device-to-device standard deviation of either bound, as a fraction of the window; None for
            none.

    Raises:
        CircuitError: if a standard deviation is negative.
    """

    step: PulseStep
    cycle_relative_std: float | None = None
    device_relative_std: float | None = None
    up_down_device_std: float | None = None
    bound_device_std: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.step, PulseStep):
            raise CircuitError(
                f"pulsed update: step = {self.step!r}; give LinearStep, SoftBoundsStep or ExponentialStep"
            )
        for field in ("cycle_relative_std", "device_relative_std", "up_down_device_std", "bound_device_std"):
            value = getattr(self, field)
            if value is not None:
                require_not_negative("pulsed update", **{field: value})

    def draw_factors(self, shape: tuple[int, ...], generator: np.random.Generator) -> tuple[Floats, Floats] | None:
        """Draw the factors of each device on its up and its down steps, never negative; None if all are one."""
        if self.device_relative_std is None and self.up_down_device_std is None:
            return None
        size = 1.0 + (self.device_relative_std or 0.0) * generator.standard_normal(shape)
        asymmetry = (self.up_down_device_std or 0.0) * generator.standard_normal(shape)
        return np.maximum(size * (1.0 + asymmetry), 0.0), np.maximum(size * (1.0 - asymmetry), 0.0)

    def draw_bounds(
        self, shape: tuple[int, ...], g_min_s: float, g_max_s: float, generator: np.random.Generator
    ) -> tuple[Floats, Floats] | None:
        """Draw the bounds of each device, [...] S each, low below high and never negative; None if all have the window.

        Equation: low = max(0, g_min + b w xi), high = max(low + w / 100, g_max + b w xi'), w = g_max - g_min.
        """
        if self.bound_device_std is None:
            return None
        width_s = g_max_s - g_min_s
        low, high = self.bound_device_std * width_s * generator.standard_normal((2, *shape))
        low_s = np.maximum(g_min_s + low, 0.0)
        return low_s, np.maximum(g_max_s + high, low_s + LEAST_WINDOW * width_s)
