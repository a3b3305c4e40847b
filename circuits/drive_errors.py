"""What the driven sources of a circuit give for what they are asked."""

from dataclasses import dataclass
from typing import final

from .arrays import Floats


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DriveErrors:
    """Gain and offset of each driven source of a circuit, voltage sources first.

    Args:
        gain: [n_drives].
        offset: [n_drives] V then A.
    """

    gain: Floats
    offset: Floats

    def __post_init__(self) -> None:
        for value in (self.gain, self.offset):
            value.setflags(write=False)

    def applied(self, drives: Floats) -> Floats:
        """Return what the sources give, [batch, n_drives], for what they are asked."""
        return drives * self.gain + self.offset
