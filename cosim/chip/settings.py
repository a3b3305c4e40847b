"""What is asked of a chip, as one frozen value."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

from circuits.tiles import TileSize

from ..compilation.bundle import is_bundle, read_manifest
from .constants import Constants, load_constants
from .conversion import DEFAULT_BITS, Sharing
from .digital_cost import Arithmetic
from .errors import ChipError

MOST_BITS: Final = 24
DEFAULT_TILE: Final = TileSize(rows=64, columns=64)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ChipSettings:
    """How a chip is built and run.

    Args:
        tile: the largest crossbar tile.
        bits: of converters that the network takes for ideal.
        sharing: whether every crossing has converters of its own.
        channels_per_converter: that take turns at a converter; None as the network has it.
        arithmetic: of digital processors in inference.
        training_arithmetic: likewise in training.
        samples: images whose relaxations are followed.
        constants: what the parts cost.

    Raises:
        ChipError: for a number out of range.
    """

    tile: TileSize = DEFAULT_TILE
    bits: int = DEFAULT_BITS
    sharing: Sharing = Sharing.SEPARATE
    channels_per_converter: int | None = None
    arithmetic: Arithmetic = Arithmetic.INT8
    training_arithmetic: Arithmetic = Arithmetic.FLOAT32
    samples: int = 2
    constants: Constants = field(default_factory=load_constants)

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= MOST_BITS:
            raise ChipError(f"bits = {self.bits}; give 1 to {MOST_BITS}")
        for name, value in (("channels_per_converter", self.channels_per_converter), ("samples", self.samples)):
            if value is not None and value < 1:
                raise ChipError(f"{name} = {value}; give one or more")


def choose_tile(text: str | None, target: Path) -> TileSize:
    """Return the tile that is asked for; the one that a bundle was compiled with, or 64x64, where nothing is.

    Raises:
        CircuitError: for a text that is no size.
        BundleError: for a bundle that cannot be read.
    """
    if text is not None:
        return TileSize.parse(text)
    if not is_bundle(target):
        return DEFAULT_TILE
    manifest = read_manifest(target)
    return TileSize(rows=manifest.tile_rows, columns=manifest.tile_columns)
