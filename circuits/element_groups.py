"""The parts of a circuit as a designer draws them: which elements make a tile, a row of clamps or leaks, a driver.

A value of index arrays only, so that what spells a hierarchy need not know blocks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import final

import numpy as np

from .arrays import Indices, frozen_indices, no_indices
from .block_circuit import BlockCircuit
from .crossbar import UnitNodes
from .energy_block import Drive, Polarity
from .tiles import Tile, units_of_nodes

# ngspice takes 1004 nodes a subcircuit; 256 units have 512, and a row of clamps four rails more.
BANK_UNITS = 256


class GroupKind(Enum):
    """What a group of elements is on a chip."""

    TILE = "tile"
    CLAMP_ROW = "clamp row"
    LEAK_ROW = "leak row"
    AMPLIFIER_ROW = "amplifier row"
    DRIVER = "driver"


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ElementGroup:
    """Elements that belong together.

    Args:
        name: unique among the groups of a circuit.
        kind: what they are.
        resistors, diodes, voltage_sources, current_sources, capacitors, amplifiers: [n] index of each element.
    """

    name: str
    kind: GroupKind
    resistors: Indices = field(default_factory=no_indices)
    diodes: Indices = field(default_factory=no_indices)
    voltage_sources: Indices = field(default_factory=no_indices)
    current_sources: Indices = field(default_factory=no_indices)
    capacitors: Indices = field(default_factory=no_indices)
    amplifiers: Indices = field(default_factory=no_indices)

    @property
    def elements(self) -> tuple[Indices, ...]:
        """The six index arrays, in the order of `Circuit.groups`."""
        return (
            self.resistors,
            self.diodes,
            self.voltage_sources,
            self.current_sources,
            self.capacitors,
            self.amplifiers,
        )


def block_groups(block_circuit: BlockCircuit, tiles: Sequence[Tile]) -> tuple[ElementGroup, ...]:
    """Return the groups of an energy block, every element in one: drivers, tiles, rows of clamps, leaks, amplifiers.

    Args:
        block_circuit: the block.
        tiles: from `tile_crossbars`.

    Returns:
        "inputs_0", "bias", "rails", "nudge2_0"; "w1_t0_0"; "clamps1_0"; "leaks1_0"; "amplifiers1_0". A long row is cut
        into banks of BANK_UNITS units, counted from 0.
    """
    tile_groups = [ElementGroup(name=tile.name, kind=GroupKind.TILE, resistors=tile.resistors) for tile in tiles]
    rows = (*_clamp_rows(block_circuit), *_leak_rows(block_circuit), *_amplifier_rows(block_circuit))
    return (*_drivers(block_circuit), *tile_groups, *rows)


def _banks(units: Indices) -> Iterator[tuple[int, Indices]]:
    """Return number and members of each bank: places of the entries with a unit (not -1), sorted by it."""
    members = np.argsort(units, kind="stable")
    members = members[units[members] >= 0]
    bank = units[members] // BANK_UNITS
    starts = np.flatnonzero(np.diff(bank, prepend=-1))
    for start, part in zip(starts, np.split(members, starts[1:]), strict=bool(len(starts))):
        yield int(bank[start]), part


def _drivers(block_circuit: BlockCircuit) -> Iterator[ElementGroup]:
    """Return the sources of the inputs, of the bias row, of the rails and of the nudges."""
    circuit, block = block_circuit.circuit, block_circuit.block
    plus, end = circuit.voltage_sources.plus, circuit.current_sources.end
    inputs = (
        np.full(len(plus), -1) if block_circuit.inputs is None else _unit_at(block_circuit, block_circuit.inputs, plus)
    )
    for bank, part in _banks(inputs):
        yield ElementGroup(name=f"inputs_{bank}", kind=GroupKind.DRIVER, voltage_sources=frozen_indices(part))
    if block.drive is Drive.CURRENT:
        n_inputs = block.n_inputs * (2 if block.polarity is Polarity.DIFFERENTIAL else 1)
    else:
        n_inputs = 0
    # As in BlockCircuit.drives: currents of the inputs first, then the nudges.
    is_input = np.arange(len(end)) < n_inputs
    for bank, part in _banks(np.where(is_input, _unit_at(block_circuit, block_circuit.layers[0], end), -1)):
        yield ElementGroup(name=f"inputs_{bank}", kind=GroupKind.DRIVER, current_sources=frozen_indices(part))
    bias = np.full(len(plus), -1) if block_circuit.bias is None else _unit_at(block_circuit, block_circuit.bias, plus)
    rails = np.where((inputs < 0) & (bias < 0), 0, -1)
    for name, units in (("bias", bias), ("rails", rails)):
        for _, part in _banks(units):
            yield ElementGroup(name=name, kind=GroupKind.DRIVER, voltage_sources=frozen_indices(part))
    for number, layer in enumerate(block_circuit.layers, start=1):
        for bank, part in _banks(np.where(is_input, -1, _unit_at(block_circuit, layer, end))):
            name = f"nudge{number}_{bank}"
            yield ElementGroup(name=name, kind=GroupKind.DRIVER, current_sources=frozen_indices(part))


def _clamp_rows(block_circuit: BlockCircuit) -> Iterator[ElementGroup]:
    """Return the clamp diodes of each layer."""
    diodes = block_circuit.circuit.diodes
    for number, layer in enumerate(block_circuit.layers, start=1):
        anode, cathode = (_unit_at(block_circuit, layer, column) for column in (diodes.anode, diodes.cathode))
        for bank, part in _banks(np.maximum(anode, cathode)):
            name = f"clamps{number}_{bank}"
            yield ElementGroup(name=name, kind=GroupKind.CLAMP_ROW, diodes=frozen_indices(part))


def _leak_rows(block_circuit: BlockCircuit) -> Iterator[ElementGroup]:
    """Return the leaks of each layer."""
    leaks = block_circuit.leak_devices
    for number, layer in enumerate(block_circuit.layers, start=1):
        for bank, part in _banks(_unit_at(block_circuit, layer, block_circuit.circuit.resistors.a[leaks])):
            name = f"leaks{number}_{bank}"
            yield ElementGroup(name=name, kind=GroupKind.LEAK_ROW, resistors=frozen_indices(leaks[part]))


def _amplifier_rows(block_circuit: BlockCircuit) -> Iterator[ElementGroup]:
    """Return the amplifiers of each layer."""
    start = block_circuit.circuit.amplifiers.start
    for number, layer in enumerate(block_circuit.layers, start=1):
        for bank, part in _banks(_unit_at(block_circuit, layer, start)):
            name = f"amplifiers{number}_{bank}"
            yield ElementGroup(name=name, kind=GroupKind.AMPLIFIER_ROW, amplifiers=frozen_indices(part))


def _unit_at(block_circuit: BlockCircuit, units: UnitNodes, nodes: Indices) -> Indices:
    """Return the unit of a group at each of the given nodes, -1 where it is none of theirs."""
    return units_of_nodes(block_circuit.circuit, units)[nodes]
