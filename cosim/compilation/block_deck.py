"""One analog block as a hierarchical deck: its netlist with the conductances of now, cut into tiles."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, final

import numpy as np

from circuits.arrays import Floats
from circuits.element_groups import ElementGroup, block_groups
from circuits.errors import CircuitError
from circuits.tiles import Tile, TileSize, tile_crossbars
from netlists.hierarchy import MOST_PORTS, format_hierarchy
from netlists.lowering import lower
from netlists.netlist import Netlist

from ..analog_block import AnalogBlock
from ..errors import BlockError
from .errors import CompileError

_FOLDER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", re.ASCII)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BlockDeck:
    """A block ready to be written.

    Args:
        module: path of the torch module.
        analog: the block.
        netlist: its circuit with its conductances, every input at one.
        tiles: of its crossbars.
        groups: subcircuits of the deck.
    """

    module: str
    analog: AnalogBlock
    netlist: Netlist
    tiles: tuple[Tile, ...]
    groups: tuple[ElementGroup, ...]

    @property
    def folder(self) -> str:
        """Where its files go."""
        return f"blocks/{self.analog.block.name}"

    def with_input(self, x: Floats) -> Netlist:
        """Return the netlist with an input, [n_inputs] dimensionless, on its sources."""
        drives = self.analog.circuit.drives(x[np.newaxis])[0]
        return replace(self.netlist, circuit=self.netlist.circuit.with_drives(drives))

    def texts(self, netlist: Netlist) -> dict[str, str]:
        """Return the files of the hierarchical deck by name; `netlist` may have another input."""
        return format_hierarchy(netlist, self.groups)


def build_deck(module: str, analog: AnalogBlock, size: TileSize) -> BlockDeck:
    """Spell a block.

    Raises:
        CompileError: with the module's path, for a block that is not as designed, weights that are not finite or
            outside the window, a name that no folder can have, and tiles too small for a weight or too large for
            ngspice.
    """
    block = analog.block
    where = f"module '{module}' (block '{block.name}')" if module else f"block '{block.name}'"
    if _FOLDER_NAME.fullmatch(block.name) is None:
        raise CompileError(
            f"{where}: cannot be the name of a folder; give EnergyBlock or HopfieldConfig a name of letters, digits, _ "
            "and -, 64 at most"
        )
    if analog.nonidealities is not None:
        effects = ", ".join(analog.nonidealities.effects)
        raise CompileError(
            f"{where}: is as made ({effects}), but decks are of blocks as designed; compile twin(network, "
            "nonidealities=None)"
        )
    try:
        conductance_s = analog.conductances()
        tiles = tile_crossbars(analog.circuit, size)
    except (BlockError, CircuitError) as error:
        raise CompileError(f"{where}: {error}") from error
    _check_ports(where, tiles, size)
    circuit = analog.circuit.circuit.with_conductances(conductance_s)
    circuit = circuit.with_drives(analog.circuit.drives(np.ones((1, block.n_inputs)))[0])
    netlist, _ = lower(circuit, analog.relaxation_options.solver)
    groups = block_groups(analog.circuit, tiles)
    return BlockDeck(module=module, analog=analog, netlist=netlist, tiles=tiles, groups=groups)


def check_names(decks: Sequence[BlockDeck]) -> None:
    """Refuse two blocks whose folders would be one, on a disk that does not tell capitals apart either.

    Raises:
        CompileError: with both module paths.
    """
    seen: dict[str, BlockDeck] = {}
    for deck in decks:
        other = seen.setdefault(deck.analog.block.name.casefold(), deck)
        if other is not deck:
            raise CompileError(
                f"modules '{other.module}' and '{deck.module}' are both block '{deck.analog.block.name}'; give each "
                "EnergyBlock or HopfieldConfig a name of its own"
            )


def _check_ports(where: str, tiles: Sequence[Tile], size: TileSize) -> None:
    """Refuse a tile with more wires than ngspice passes to a subcircuit."""
    most = max((tile.n_rows + tile.n_columns for tile in tiles), default=0)
    if most > MOST_PORTS:
        half = MOST_PORTS // 2
        raise CompileError(
            f"{where}: tiles of {size} have up to {most} wires, and ngspice takes {MOST_PORTS} for a subcircuit; rows "
            f"and columns together may be {MOST_PORTS}, as --tile {half}x{half}"
        )
