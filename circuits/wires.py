"""The wires of a crossbar: resistance per cell, of what drives and what senses them, and at which end that is.

```
net of a row unit --[driver_ohm + row_ohm]--o--[row_ohm]--o--[row_ohm]--o     o: a cell, with a device
                                            |             |             |        to the column wire below it
```
One segment lies between the net and the first cell, as between source and word line, or bit line and ground, elsewhere.
"""

from dataclasses import dataclass
from enum import Enum
from typing import final

from .choices import chosen
from .devices.ranges import require_not_negative
from .errors import CircuitError
from .tiles import TileSize

USUAL_TILE = TileSize(rows=128, columns=128)
LEAST_OHM = 1e-3  # the conductance of less is so much larger than a device's that doubles no longer hold both


class WireEnd(Enum):
    """At which end of a wire the net of its unit is attached."""

    NEAR = "near"  # at column 0 of a row wire, at row 0 of a column wire
    FAR = "far"  # at the last column, at the last row


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Wires:
    """Resistance of the wires of every tile; a resistance of zero is no element, but merges the nodes at its ends.

    Args:
        row_ohm: ohm — of a row wire, from one cell to the next.
        column_ohm: ohm — of a column wire, likewise.
        driver_ohm: ohm — between the net of a unit and each of its row wires.
        sense_ohm: ohm — between the net of a unit and each of its column wires.
        row_end: at which end row wires are driven.
        column_end: at which end column wires are sensed.
        tile: size of the largest tile; every tile has wires of its own.

    Raises:
        CircuitError: for a resistance that is negative, not finite, or above zero but below LEAST_OHM.

    Source: one segment a cell pitch and one before the first cell, as in badcrossbar (Joksas & Mehonic 2020).
    """

    row_ohm: float
    column_ohm: float
    driver_ohm: float = 0.0
    sense_ohm: float = 0.0
    row_end: WireEnd = WireEnd.NEAR
    column_end: WireEnd = WireEnd.FAR
    tile: TileSize = USUAL_TILE

    def __post_init__(self) -> None:
        names = ("row_ohm", "column_ohm", "driver_ohm", "sense_ohm")
        require_not_negative("wires", **{name: getattr(self, name) for name in names})
        for name in names:
            if 0 < getattr(self, name) < LEAST_OHM:
                raise CircuitError(
                    f"wires: {name} = {getattr(self, name)!r} is below {LEAST_OHM:g} ohm, too little to be told from "
                    "none; give 0, which merges the nodes, or more"
                )
        for name in ("row_end", "column_end"):
            object.__setattr__(self, name, chosen(WireEnd, getattr(self, name), f"wires: {name}", CircuitError))
        given: object = self.tile
        if not isinstance(given, TileSize):
            raise CircuitError(f"wires: tile = {given!r}; give TileSize(rows=..., columns=...)")
