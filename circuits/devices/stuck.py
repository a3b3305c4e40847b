"""Stuck devices: those that hold one end of the window, whatever is written."""

from dataclasses import dataclass
from typing import final

import numpy as np

from ..arrays import Flags
from ..errors import CircuitError
from .ranges import require_probability


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Stuck:
    """Share of devices stuck at either end of the window.

    Args:
        probability_at_g_min: that a device is stuck at g_min.
        probability_at_g_max: that it is stuck at g_max.

    Raises:
        CircuitError: unless both are probabilities and so is their sum.
    """

    probability_at_g_min: float = 0.0
    probability_at_g_max: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.probability_at_g_min, self.probability_at_g_max
        require_probability("stuck devices", probability_at_g_min=low, probability_at_g_max=high)
        if low + high > 1:
            raise CircuitError(
                f"stuck devices: probability_at_g_min = {low!r} and probability_at_g_max = {high!r} add up to more "
                "than 1; lower one"
            )

    def draw(self, shape: tuple[int, ...], generator: np.random.Generator) -> tuple[Flags, Flags]:
        """Draw which devices are stuck at g_min, and which at g_max: two masks of the shape."""
        place = generator.random(shape)
        at_g_max = (place >= self.probability_at_g_min) & (
            place < self.probability_at_g_min + self.probability_at_g_max
        )
        return place < self.probability_at_g_min, at_g_max
