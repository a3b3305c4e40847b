"""Cut crossbars into tiles that a chip can hold, and say which nets join the tiles.

A tile of R x C has R row wires and C column wires and room for a device at every crossing. A unit of a differential
block is a pair of wires, so such a tile takes R // 2 row units and C // 2 column units, and the four devices of a
weight are never parted. A cut changes no node and no device: voltages stay what they were.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import networkx as nx
import numpy as np

from .arrays import Indices, frozen_indices
from .block_circuit import BlockCircuit
from .circuit import Circuit
from .crossbar import Crossbar, UnitNodes
from .errors import CircuitError

_SIZE = re.compile(r"(\d{1,9})\s*[x×]\s*(\d{1,9})", re.ASCII)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TileSize:
    """The largest tile: wires, and with them devices, each way.

    Args:
        rows: number of row wires.
        columns: number of column wires.

    Raises:
        CircuitError: for a number below one.
    """

    rows: int
    columns: int

    def __post_init__(self) -> None:
        for name in ("rows", "columns"):
            value: object = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise CircuitError(f"tile size: {name} = {value!r}; give a whole number, one or more")

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"

    @staticmethod
    def parse(text: str) -> "TileSize":
        """Return the size that a text like "64x32" (rows x columns) names.

        Raises:
            CircuitError: for another text, or a number below one.
        """
        found = _SIZE.fullmatch(text.strip().lower())
        if found is None:
            raise CircuitError(f"tile size '{text}'; give rows x columns, like 64x64")
        return TileSize(rows=int(found[1]), columns=int(found[2]))


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tile:
    """One tile of a crossbar.

    Args:
        crossbar: name of the crossbar.
        index: (i, j), the tile's place among the crossbar's tiles.
        row_units, column_units: the units of the crossbar's rows and columns that have their place in it.
        n_rows, n_columns: wires used, two a unit in a differential block; a unit without a device in it uses none.
        resistors: [n_devices] resistor index of its devices; those of a weight side by side.
    """

    crossbar: str
    index: tuple[int, int]
    row_units: slice
    column_units: slice
    n_rows: int
    n_columns: int
    resistors: Indices

    @property
    def name(self) -> str:
        """The tile's name, unique in its block: "w1_t0_2"."""
        return f"{self.crossbar}_t{self.index[0]}_{self.index[1]}"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TileUse:
    """How far a tile is filled.

    Args:
        tile: its name.
        rows, columns: wires used.
        devices: number of devices.
        utilisation: devices over the R x C places of the tile.
    """

    tile: str
    rows: int
    columns: int
    devices: int
    utilisation: float


def tile_crossbars(block_circuit: BlockCircuit, size: TileSize) -> tuple[Tile, ...]:
    """Cut every crossbar of a block into tiles.

    Args:
        block_circuit: the block.
        size: the largest tile.

    Returns:
        the tiles, crossbar by crossbar and row by row; every device of a crossbar is in exactly one of them. Where a
        convolution joins no units of a tile there is none.

    Raises:
        CircuitError: if a tile cannot hold a single weight of the block.
    """
    cut = (_cut(block_circuit, crossbar, size) for crossbar in block_circuit.crossbars)
    return tuple(tile for tiles in cut for tile in tiles)


def _cut(block_circuit: BlockCircuit, crossbar: Crossbar, size: TileSize) -> Iterator[Tile]:
    """Cut one crossbar; which device belongs where is read from its nodes, whatever the shape of the index arrays."""
    row_wires, column_wires = _wires(crossbar.rows), _wires(crossbar.columns)
    rows, columns = size.rows // row_wires, size.columns // column_wires
    if not rows or not columns:
        raise CircuitError(
            f"block '{block_circuit.block.name}': a tile of {size} holds no weight of crossbar '{crossbar.name}': "
            f"one takes {row_wires} row and {column_wires} column wires; give larger tiles"
        )
    circuit = block_circuit.circuit
    parts = (crossbar.plus,) if crossbar.minus is None else (crossbar.plus, crossbar.minus)
    devices = np.concatenate([part.ravel() for part in parts])
    row, column = _units_joined(circuit, crossbar, devices)
    width = -(-len(crossbar.columns) // columns)
    key = row // rows * width + column // columns
    order = np.lexsort((column, row, key))
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    for start, members in zip(starts, np.split(order, starts[1:]), strict=True):
        i, j = divmod(int(key[order[start]]), width)
        row_units = slice(i * rows, min((i + 1) * rows, len(crossbar.rows)))
        column_units = slice(j * columns, min((j + 1) * columns, len(crossbar.columns)))
        yield Tile(
            crossbar=crossbar.name,
            index=(i, j),
            row_units=row_units,
            column_units=column_units,
            n_rows=row_wires * len(np.unique(row[members])),
            n_columns=column_wires * len(np.unique(column[members])),
            resistors=frozen_indices(devices[members]),
        )


def _wires(units: UnitNodes) -> int:
    return 1 if units.n is None else 2


def units_of_nodes(circuit: Circuit, units: UnitNodes) -> Indices:
    """Return for every node the unit of a group that it belongs to, [n_nodes]; -1 where it belongs to none."""
    unit = np.full(circuit.n_nodes, -1)
    for nodes in (units.p, units.n):
        if nodes is not None:
            unit[nodes] = np.arange(len(nodes))
    return unit


def _units_joined(circuit: Circuit, crossbar: Crossbar, devices: Indices) -> tuple[Indices, Indices]:
    """Return the row unit and the column unit of each device, [n_devices] each."""
    of_row, of_column = units_of_nodes(circuit, crossbar.rows), units_of_nodes(circuit, crossbar.columns)
    a, b = circuit.resistors.a[devices], circuit.resistors.b[devices]
    turned = (of_row[a] < 0) | (of_column[b] < 0)
    row, column = of_row[np.where(turned, b, a)], of_column[np.where(turned, a, b)]
    outside = np.flatnonzero((row < 0) | (column < 0))
    if len(outside):
        name = circuit.resistors.names[devices[outside[0]]]
        raise CircuitError(f"crossbar '{crossbar.name}': device '{name}' does not join one of its rows with a column")
    return row, column


def tile_graph(tiles: Iterable[Tile], block_circuit: BlockCircuit) -> "nx.Graph[str]":
    """Return which nets each tile touches.

    Args:
        tiles: from `tile_crossbars`.
        block_circuit: the block they were cut from.

    Returns:
        a bipartite graph: tiles by name (bipartite=0, crossbar, index) and nets by node name (bipartite=1, label); an
        edge has the number of the tile's devices at the net. A net with several tiles is a wire between them.
    """
    circuit = block_circuit.circuit
    graph: nx.Graph[str] = nx.Graph(name=circuit.name)
    for tile in tiles:
        graph.add_node(tile.name, bipartite=0, crossbar=tile.crossbar, index=tile.index)
        ends = np.concatenate([circuit.resistors.a[tile.resistors], circuit.resistors.b[tile.resistors]])
        nets, devices = np.unique(ends, return_counts=True)
        for net, count in zip(nets.tolist(), devices.tolist(), strict=True):
            graph.add_node(circuit.nodes[net], bipartite=1, label=circuit.labels[net])
            graph.add_edge(tile.name, circuit.nodes[net], devices=count)
    return graph


def tile_table(tiles: Sequence[Tile], size: TileSize) -> tuple[TileUse, ...]:
    """Return how far each tile is filled, in the order of the tiles."""
    return tuple(
        TileUse(
            tile=tile.name,
            rows=tile.n_rows,
            columns=tile.n_columns,
            devices=len(tile.resistors),
            utilisation=len(tile.resistors) / (size.rows * size.columns),
        )
        for tile in tiles
    )
