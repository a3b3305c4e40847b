"""The quantities that cross between digital and analog, and the full scales that were found for them from the data."""

from enum import IntEnum
from typing import final

import numpy as np

from circuits.arrays import Floats

from .calibration import Calibration, MaximumRange


class Crossing(IntEnum):
    """The quantities that have a range of their own."""

    INPUT = 0
    OUTPUT = 1
    NUDGE = 2
    PHASE = 3
    DIFFERENCE = 4
    CURRENT = 5
    CURRENT_DIFFERENCE = 6


@final
class Ranges:
    """Full scales found from the data, one of each crossing.

    A range moves only while training; before the first batch the values at hand serve.

    Args:
        values: [7] one range a crossing; zero where nothing was seen yet. Copied.
    """

    def __init__(self, values: Floats | None = None) -> None:
        self.values = np.zeros(len(Crossing)) if values is None else np.array(values, dtype=np.float64)

    @classmethod
    def viewing(cls, values: Floats) -> "Ranges":
        """Return ranges that live in a given array, without a copy."""
        made = cls()
        made.values = values
        return made

    def full_scale(
        self,
        crossing: Crossing,
        fixed: float | None,
        values: Floats,
        *,
        learn: bool,
        calibration: Calibration | None = None,
    ) -> float:
        """Return the full scale in force for a batch.

        Args:
            crossing: which quantity.
            fixed: the converter's own full scale; None to range from the data.
            values: the batch's values.
            learn: whether the batch may move the range.
            calibration: how the range follows the data; None: the running maximum.

        Returns:
            a full scale above zero.
        """
        if fixed is not None:
            return fixed
        calibration = calibration or MaximumRange()
        batch = calibration.of(values)
        seen = float(self.values[crossing])
        if learn and batch > 0:
            seen = calibration.moved(seen, batch)
            self.values[crossing] = seen
        return seen or batch or 1.0
