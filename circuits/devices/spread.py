"""Device-to-device spread: a factor that each device has for life on what is written into it."""

from dataclasses import dataclass
from enum import Enum
from typing import final

import numpy as np

from ..arrays import Floats
from ..choices import chosen
from ..errors import CircuitError
from .ranges import require_not_negative, require_positive


class SpreadDistribution(Enum):
    """Shape of the spread; either has mean one."""

    NORMAL = "normal"
    LOG_NORMAL = "log_normal"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """A relative spread between devices.

    Equation: g = f g_written. Normal: f = max(f_lowest, 1 + r xi). Log-normal: f = exp(s xi - s^2 / 2), s^2 =
    ln(1 + r^2). Both have mean 1 and standard deviation r, before the clip.

    Args:
        relative_std: r.
        distribution: of f.
        lowest: f_lowest of the normal one, so that no device is open or active.

    Raises:
        CircuitError: if r is negative, or f_lowest not between 0 and 1.
    """

    relative_std: float
    distribution: SpreadDistribution = SpreadDistribution.NORMAL
    lowest: float = 0.01

    def __post_init__(self) -> None:
        require_not_negative("device spread", relative_std=self.relative_std)
        require_positive("device spread", lowest=self.lowest)
        if self.lowest >= 1:
            raise CircuitError(f"device spread: lowest = {self.lowest!r}; give a factor below 1")
        kind = chosen(SpreadDistribution, self.distribution, "device spread: distribution", CircuitError)
        object.__setattr__(self, "distribution", kind)

    def draw(self, shape: tuple[int, ...], generator: np.random.Generator) -> Floats:
        """Draw the factor of each device, of the shape."""
        xi = generator.standard_normal(shape)
        if self.distribution is SpreadDistribution.LOG_NORMAL:
            variance = np.log1p(self.relative_std**2)
            return np.asarray(np.exp(np.sqrt(variance) * xi - variance / 2))
        return np.maximum(1.0 + self.relative_std * xi, self.lowest)
