"""The energy of one inference, or of one sample of a training step, part by part."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, final

PARTS: Final = ("relaxation", "adc", "dac", "digital", "buffers", "writes", "io")
TITLES: Final = {
    "relaxation": "relaxation",
    "adc": "ADC",
    "dac": "DAC",
    "digital": "digital arithmetic",
    "buffers": "buffers",
    "writes": "device writes",
    "io": "images from DRAM",
}


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class EnergyParts:
    """Energy by part, J.

    Args:
        relaxation: of circuits: settling, holding, charging of rows.
        adc, dac: conversions.
        digital: arithmetic.
        buffers: bytes read and written on the chip.
        writes: of devices.
        io: reading images from outside, through the global buffer; every network does, and it is not in `total_j`.
    """

    relaxation: float = 0.0
    adc: float = 0.0
    dac: float = 0.0
    digital: float = 0.0
    buffers: float = 0.0
    writes: float = 0.0
    io: float = 0.0

    def __add__(self, other: "EnergyParts") -> "EnergyParts":
        return EnergyParts(**{name: getattr(self, name) + getattr(other, name) for name in PARTS})

    def __sub__(self, other: "EnergyParts") -> "EnergyParts":
        return EnergyParts(**{name: getattr(self, name) - getattr(other, name) for name in PARTS})

    @property
    def total_j(self) -> float:
        """J — all that the chip itself uses."""
        return self.relaxation + self.adc + self.dac + self.digital + self.buffers + self.writes

    def to_json(self) -> dict[str, Any]:
        """Return every part in J, and the total without `io`."""
        return {**{f"{name}_j": getattr(self, name) for name in PARTS}, "total_j": self.total_j}


def sum_parts(parts: Iterable[EnergyParts]) -> EnergyParts:
    """Return the sum."""
    return sum(parts, start=EnergyParts())
