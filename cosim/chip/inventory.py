"""What a chip is made of for a block: crossbar tiles, devices, units, clamps, active leaks, rails, converters."""

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from circuits.block_circuit import BlockCircuit
from circuits.errors import CircuitError
from circuits.tiles import TileSize, tile_crossbars, tile_table

from .conversion import BlockConverters
from .errors import ChipError


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class BlockInventory:
    """The analog parts of a block.

    Args:
        tiles: crossbar tiles, the paper's analog processors.
        utilisation: mean share of the tiles' places that hold a device.
        devices: trainable conductances, each a device.
        bias_devices: those of them on bias rows.
        units: of all layers.
        clamp_diodes: diodes to rails.
        rails: voltage sources that hold clamps.
        leaks: passive resistors of units.
        active_leaks: negative ones, each with a supply.
        amplifiers: between a unit's nodes, each with a supply.
        dacs, adcs: converters.
    """

    tiles: int
    utilisation: float
    devices: int
    bias_devices: int
    units: int
    clamp_diodes: int
    rails: int
    leaks: int
    active_leaks: int
    amplifiers: int
    dacs: int
    adcs: int

    def to_json(self) -> dict[str, Any]:
        """Return the counts."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def count_parts(
    built: BlockCircuit, conductance_s: np.ndarray, tile: TileSize, converters: BlockConverters
) -> BlockInventory:
    """Count the parts of a block.

    Args:
        built: the block.
        conductance_s: [n_resistors] S — of all devices, so that active leaks are known.
        tile: the largest crossbar tile.
        converters: DACs and ADCs.

    Raises:
        ChipError: if a tile cannot hold a single weight of the block.
    """
    at_units = built.at_units
    try:
        tiles = tile_crossbars(at_units, tile)
    except CircuitError as error:
        raise ChipError(f"{error}: --tile ROWSxCOLUMNS says how large they are") from error
    uses = tile_table(tiles, tile)
    devices = {c.name: c.plus.size + (0 if c.minus is None else c.minus.size) for c in at_units.crossbars}
    leaks_s = conductance_s[at_units.leak_devices]
    sources = at_units.circuit.voltage_sources
    clamp_nodes = np.concatenate([at_units.circuit.diodes.anode, at_units.circuit.diodes.cathode])
    return BlockInventory(
        tiles=len(tiles),
        utilisation=float(np.mean([use.utilisation for use in uses])) if uses else 0.0,
        devices=sum(devices.values()),
        bias_devices=sum(n for name, n in devices.items() if name.startswith("b")),
        units=sum(layer.size for layer in built.block.layers),
        clamp_diodes=len(at_units.circuit.diodes),
        rails=int(np.isin(sources.plus, clamp_nodes).sum()),
        leaks=int((leaks_s >= 0).sum()),
        active_leaks=int((leaks_s < 0).sum()),
        amplifiers=len(at_units.circuit.amplifiers),
        dacs=converters.count("DAC"),
        adcs=converters.count("ADC"),
    )
