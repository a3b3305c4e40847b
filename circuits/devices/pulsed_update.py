"""The pulsed update: training by many small, equal pulses, each of which moves a device by about one step."""

from dataclasses import dataclass
from typing import final

import numpy as np

from ..arrays import Flags, Floats
from ..errors import CircuitError
from .pulse_steps import LEAST_WINDOW, Bound, PulseStep
from .ranges import require_finite, require_not_negative, require_positive

STANDARD_DEVIATIONS = (
    "cycle_relative_std",
    "cycle_additive_std",
    "device_relative_std",
    "up_down_device_std",
    "bound_device_std",
    "low_bound_device_std",
)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PulsedUpdate:
    """How a device answers to pulses.

    Equation: x -> x + f_up [up(x) (1 + c xi) + a xi'] or x - f_down [down(x) (1 + c xi) + a xi'], then clipped to the
    device's own bounds; f_up = 1 + min(b, 0) + r eta + e eta', f_down = 1 - max(b, 0) + r eta - e eta', never below
    zero. x is the place in the nominal window; xi and xi' are standard normal, new for each pulse; eta and eta' too,
    but the device's own.

    Args:
        step: up and down, the step of a pulse.
        cycle_relative_std: c — cycle-to-cycle standard deviation of a step, as a fraction of it; None for none.
        cycle_additive_std: a — cycle-to-cycle standard deviation of a step wherever the device stands, as a fraction of
            the window; None for none.
        up_down: b — of all devices: above zero, down steps are smaller by this fraction; below, up steps; None: alike.
        device_relative_std: r — device-to-device standard deviation of both factors; None for none.
        up_down_device_std: e — device-to-device standard deviation of what one factor gains and the other lacks; None
            for none.
        bound_device_std: device-to-device standard deviation of either bound, as a fraction of the window; None for
            none.
        low_bound_device_std: that of the low bound where it is another; None: as `bound_device_std`.
        nominal_step: fraction of the window that a pulse is taken to move a device, where pulses are counted out; None:
            the mean of an up and a down step in the middle of the window.

    Raises:
        CircuitError: if a standard deviation is negative, b is not between -1 and 1, or the nominal step is not above
            zero.

    Source: the form is that of aihwkit 1.1.0 (rpu_pulsed_device.cpp and the device files beside it), with dw_min = one
    nominal step; checked against its devices.
    """

    step: PulseStep
    cycle_relative_std: float | None = None
    cycle_additive_std: float | None = None
    up_down: float | None = None
    device_relative_std: float | None = None
    up_down_device_std: float | None = None
    bound_device_std: float | None = None
    low_bound_device_std: float | None = None
    nominal_step: float | None = None

    def __post_init__(self) -> None:
        where = "pulsed update"
        if not isinstance(self.step, PulseStep):
            raise CircuitError(f"{where}: step = {self.step!r}; give LinearStep, SoftBoundsStep or ExponentialStep")
        for field in STANDARD_DEVIATIONS:
            value = getattr(self, field)
            if value is not None:
                require_not_negative(where, **{field: value})
        if self.up_down is not None:
            require_finite(where, up_down=self.up_down)
            if not -1 < self.up_down < 1:
                raise CircuitError(f"{where}: up_down = {self.up_down!r}; give a number between -1 and 1")
        if self.nominal_step is not None:
            require_positive(where, nominal_step=self.nominal_step)
        elif self.counted_step <= 0:
            raise CircuitError(f"{where}: a pulse in the middle of the window does nothing; give nominal_step")

    @property
    def factors(self) -> tuple[float, float]:
        """Mean of the factors on up and on down steps over the devices."""
        bias = self.up_down or 0.0
        return 1.0 + min(bias, 0.0), 1.0 - max(bias, 0.0)

    @property
    def counted_step(self) -> float:
        """Fraction of the window that a pulse is taken to move a device, where pulses are counted out."""
        if self.nominal_step is not None:
            return self.nominal_step
        middle, (up, down) = np.array(0.5), self.factors
        return float(up * self.step.up(middle) + down * self.step.down(middle)) / 2.0

    @property
    def devices_differ(self) -> bool:
        """Whether two devices may answer differently to the same pulses."""
        return any(getattr(self, field) is not None for field in STANDARD_DEVIATIONS)

    def draw_factors(self, shape: tuple[int, ...], generator: np.random.Generator) -> tuple[Floats, Floats] | None:
        """Draw the factors of each device on its up and its down steps, never negative; None if all are one."""
        if self.device_relative_std is None and self.up_down_device_std is None and self.up_down is None:
            return None
        both = (self.device_relative_std or 0.0) * generator.standard_normal(shape)
        either = (self.up_down_device_std or 0.0) * generator.standard_normal(shape)
        up, down = self.factors
        return np.maximum(up + both + either, 0.0), np.maximum(down + both - either, 0.0)

    def draw_bounds(
        self, shape: tuple[int, ...], g_min_s: float, g_max_s: float, generator: np.random.Generator
    ) -> tuple[Floats, Floats] | None:
        """Draw the bounds of each device, [...] S each, low below high and never negative; None if all have the window.

        Equation: low = max(0, g_min + b_low w xi), high = max(low + w / 100, g_max + b w xi'), w = g_max - g_min.
        """
        if self.bound_device_std is None and self.low_bound_device_std is None:
            return None
        width_s = g_max_s - g_min_s
        high_std = self.bound_device_std or 0.0
        low_std = high_std if self.low_bound_device_std is None else self.low_bound_device_std
        low, high = generator.standard_normal((2, *shape))
        low_s = np.maximum(g_min_s + low_std * width_s * low, 0.0)
        return low_s, np.maximum(g_max_s + high_std * width_s * high, low_s + LEAST_WINDOW * width_s)

    def change(
        self,
        x: Floats,
        up: Flags,
        bounds: tuple[Bound, Bound],
        factors: tuple[Bound, Bound],
        generator: np.random.Generator,
    ) -> Floats:
        """Draw what one pulse changes, before the bounds clip it.

        Args:
            x: [...] — where the devices stand, as a fraction of the nominal window.
            up: [...] — where the pulse is one up; down elsewhere.
            bounds: low and high bound of each device, in the same unit.
            factors: of each device, on up and on down steps.
            generator: of the cycle-to-cycle noise.

        Returns:
            [...] — with its sign, as a fraction of the nominal window.
        """
        size = np.where(up, self.step.up(x, *bounds), self.step.down(x, *bounds))
        if self.cycle_relative_std is not None:
            size = size * (1.0 + self.cycle_relative_std * generator.standard_normal(size.shape))
        if self.cycle_additive_std is not None:
            size = size + self.cycle_additive_std * generator.standard_normal(size.shape)
        return np.where(up, size * factors[0], -size * factors[1])
