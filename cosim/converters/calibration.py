"""How a full scale follows the data: a running maximum, a percentile, or a moving average.

Each is two numbers: what it takes of a batch, and how that moves the range of before.
"""

from dataclasses import dataclass
from typing import final

import numpy as np

from circuits.arrays import Floats

from ..errors import BlockError
from .staircase import require_number

RANGE_DECAY = 0.05  # share by which a data-driven range moves towards a batch


def _check_decay(decay: float) -> None:
    require_number("calibration", optional=False, decay=decay)
    if not 0 < decay <= 1:
        raise BlockError(f"calibration: decay = {decay!r}; give a share above 0, up to 1 of the last batch alone")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class MaximumRange:
    """The running maximum: grows at once to a larger batch, so that nothing seen clips, and decays to smaller ones.

    Args:
        decay: share by which it moves towards a smaller batch.

    Raises:
        BlockError: for a decay outside (0, 1].
    """

    decay: float = RANGE_DECAY

    def __post_init__(self) -> None:
        _check_decay(self.decay)

    def of(self, values: Floats) -> float:
        """Return the largest magnitude of a batch."""
        return float(np.max(np.abs(values), initial=0.0))

    def moved(self, seen: float, batch: float) -> float:
        """Return the range after a batch."""
        return max(batch, (1 - self.decay) * seen + self.decay * batch)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PercentileRange:
    """A percentile of a batch's magnitudes, averaged over batches: outliers clip, and the rest has finer steps.

    Args:
        percent: of magnitudes that do not clip.
        decay: share of a new batch in the average.

    Raises:
        BlockError: for a percentile outside (0, 100], or a decay outside (0, 1].
    """

    percent: float = 99.9
    decay: float = RANGE_DECAY

    def __post_init__(self) -> None:
        require_number("calibration", optional=False, percent=self.percent)
        if not 0 < self.percent <= 100:
            raise BlockError(f"calibration: percent = {self.percent!r}; give a percentile above 0, up to 100")
        _check_decay(self.decay)

    def of(self, values: Floats) -> float:
        """Return the percentile of a batch's magnitudes."""
        return float(np.percentile(np.abs(values), self.percent)) if values.size else 0.0

    def moved(self, seen: float, batch: float) -> float:
        """Return the range after a batch."""
        return _averaged(seen, batch, self.decay)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class MovingAverageRange:
    """A moving average of each batch's maximum, or of a multiple of its root mean square.

    Args:
        decay: share of a new batch in the average.
        std_multiple: of the standard deviation about zero, where a converter's centre is; None: the maximum.

    Raises:
        BlockError: for a decay outside (0, 1], or a multiple that is not above zero.
    """

    decay: float = RANGE_DECAY
    std_multiple: float | None = None

    def __post_init__(self) -> None:
        require_number("calibration", std_multiple=self.std_multiple)
        if self.std_multiple is not None and self.std_multiple <= 0:
            raise BlockError(
                f"calibration: std_multiple = {self.std_multiple!r}; give a number above zero, or None for the maximum"
            )
        _check_decay(self.decay)

    def of(self, values: Floats) -> float:
        """Return what the average is of, for a batch."""
        if self.std_multiple is None:
            return float(np.max(np.abs(values), initial=0.0))
        return self.std_multiple * float(np.sqrt(np.mean(np.square(values)))) if values.size else 0.0

    def moved(self, seen: float, batch: float) -> float:
        """Return the range after a batch."""
        return _averaged(seen, batch, self.decay)


def _averaged(seen: float, batch: float, decay: float) -> float:
    """Return the moving average; the first batch is where it begins."""
    return batch if seen == 0 else (1 - decay) * seen + decay * batch


Calibration = MaximumRange | PercentileRange | MovingAverageRange
