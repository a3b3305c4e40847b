"""How far a circuit may be reduced before a simulator gets it."""

from enum import Enum


class Reduce(Enum):
    """How far a circuit may be reduced; each reduction still switches itself off where it is not exact."""

    NONE = "none"  # every device in the deck
    FOLD = "fold"  # ideal voltage-driven rows become Norton currents
    PORTS = "ports"  # and wires become conductances between the nets that they join
    MIRROR = "mirror"  # and matched p/n halves are solved once
