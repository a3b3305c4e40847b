"""Put the devices of a block on wires with resistance: a node a cell on each wire, and a segment between neighbours.

```
net --lead--o--segment--o--segment--o     row wire of a tile: nodes in the order of their distance from the net
            |           |           |     devices, as before
            o           o           o     each on a column wire, which is laid out likewise
```
Devices and nets keep their indices; wires come behind them. Where a convolution leaves a crossing empty there is no
node: the segment spans the distance to the next cell that has a device, which is exact.
"""

from dataclasses import dataclass, replace
from typing import final

import numpy as np

from .arrays import Floats, Indices, frozen_indices
from .block_circuit import BlockCircuit
from .crossbar import Crossbar, UnitNodes
from .elements import Resistors
from .errors import CircuitError
from .names import JoinedNames, PrefixedNames
from .tiles import tile_crossbars
from .wires import WireEnd, Wires


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Cells:
    """The cells of a tile that have a device, seen along its row wires or along its column wires.

    Args:
        wire: [n] which wire, counted from the tile's first.
        place: [n] where on the wire.
        length: number of places on a wire, empty ones included.
        net: [n] node of the unit that the wire belongs to.
    """

    wire: Indices
    place: Indices
    length: int
    net: Indices


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class _Wiring:
    """What the wires of one direction are made of."""

    letter: str  # in the names of nodes
    label: str
    across: str  # what crosses such a wire
    pitch_ohm: float
    lead_ohm: float
    end: WireEnd


@final
class _Layout:
    """Nodes and segments collected wire by wire."""

    def __init__(self, n_nodes: int) -> None:
        self.n_nodes = n_nodes
        self.nodes: list[str] = []
        self.labels: list[str] = []
        self.parents: list[Indices] = []
        self.ohms: list[Floats] = []

    def lay(self, tile: str, wiring: _Wiring, cells: _Cells) -> Indices:
        """Add the wires of one direction of a tile and return the node of each cell, [n]."""
        if wiring.pitch_ohm == 0:
            return self._merged(tile, wiring, cells) if wiring.lead_ohm > 0 else cells.net
        distance = cells.place if wiring.end is WireEnd.NEAR else cells.length - 1 - cells.place
        order = np.lexsort((distance, cells.wire))
        wire, distance = cells.wire[order], distance[order]
        nodes = self.n_nodes + np.arange(len(order))
        is_first = np.diff(wire, prepend=-1) != 0
        lead_ohm = wiring.lead_ohm + wiring.pitch_ohm * (distance + 1)
        segment_ohm = wiring.pitch_ohm * np.diff(distance, prepend=0)
        self._add(np.where(is_first, cells.net[order], nodes - 1), np.where(is_first, lead_ohm, segment_ohm))
        places = list(zip(wire.tolist(), cells.place[order].tolist(), strict=True))
        self.nodes += [f"{tile}_{wiring.letter}{k}_{place}" for k, place in places]
        self.labels += [f"{tile} {wiring.label} {k} at {wiring.across} {place}" for k, place in places]
        found = np.empty_like(nodes)
        found[order] = nodes
        return found

    def _merged(self, tile: str, wiring: _Wiring, cells: _Cells) -> Indices:
        """Add one node a wire, which all its cells share."""
        wires, first, wire = np.unique(cells.wire, return_index=True, return_inverse=True)
        nodes = self.n_nodes + np.arange(len(wires))
        self._add(cells.net[first], np.full(len(wires), wiring.lead_ohm))
        self.nodes += [f"{tile}_{wiring.letter}{k}" for k in wires.tolist()]
        self.labels += [f"{tile} {wiring.label} {k}" for k in wires.tolist()]
        return np.asarray(nodes[wire])

    def _add(self, parents: Indices, ohm: Floats) -> None:
        """Add a node with a resistance to its parent for each parent."""
        self.parents.append(parents)
        self.ohms.append(ohm)
        self.n_nodes += len(parents)


def _wires_of(units: UnitNodes) -> tuple[int, Indices]:
    """Return how many wires a unit has, and the net of every wire: p and n of a unit side by side."""
    if units.n is None:
        return 1, units.p
    return 2, np.stack([units.p, units.n], axis=1).ravel()


def _crossings(crossbar: Crossbar, n_resistors: int) -> tuple[Indices, Indices]:
    """Return the row wire and the column wire of every device of a crossbar, [n_resistors] each."""
    row, column = crossbar.wiring.pairs()
    row_wires, _ = _wires_of(crossbar.rows)
    column_wires, _ = _wires_of(crossbar.columns)
    sides = [(crossbar.plus[0], 0, 0)]
    if crossbar.minus is not None:
        sides += [(crossbar.plus[1], 1, 1), (crossbar.minus[0], 0, 1), (crossbar.minus[1], 1, 0)]
    on_row, on_column = np.full(n_resistors, -1), np.full(n_resistors, -1)
    for devices, row_side, column_side in sides:
        on_row[devices] = row_wires * row + row_side
        on_column[devices] = column_wires * column + column_side
    return on_row, on_column


def _directions(wires: Wires) -> tuple[_Wiring, _Wiring]:
    """Return what row wires and column wires are made of."""
    rows = _Wiring(
        letter="r",
        label="row wire",
        across="column",
        pitch_ohm=wires.row_ohm,
        lead_ohm=wires.driver_ohm,
        end=wires.row_end,
    )
    columns = _Wiring(
        letter="c",
        label="column wire",
        across="row",
        pitch_ohm=wires.column_ohm,
        lead_ohm=wires.sense_ohm,
        end=wires.column_end,
    )
    return rows, columns


def _lay_tiles(block_circuit: BlockCircuit, wires: Wires) -> tuple[_Layout, Indices, Indices]:
    """Lay the wires of every tile; return them with both ends of every resistor that was there, its row's end first."""
    r = block_circuit.circuit.resistors
    rows, columns = _directions(wires)
    layout, a, b = _Layout(block_circuit.circuit.n_nodes), r.a.copy(), r.b.copy()
    crossings = {c.name: (c, *_crossings(c, len(r))) for c in block_circuit.crossbars}
    for tile in tile_crossbars(block_circuit, wires.tile):
        crossbar, on_row, on_column = crossings[tile.crossbar]
        (per_row, row_nets), (per_column, column_nets) = _wires_of(crossbar.rows), _wires_of(crossbar.columns)
        row, column = on_row[tile.resistors], on_column[tile.resistors]
        i, j = row - per_row * tile.row_units.start, column - per_column * tile.column_units.start
        n_rows = per_row * (tile.row_units.stop - tile.row_units.start)
        n_columns = per_column * (tile.column_units.stop - tile.column_units.start)
        along_row = _Cells(wire=i, place=j, length=n_columns, net=row_nets[row])
        along_column = _Cells(wire=j, place=i, length=n_rows, net=column_nets[column])
        a[tile.resistors] = layout.lay(tile.name, rows, along_row)
        b[tile.resistors] = layout.lay(tile.name, columns, along_column)
    return layout, a, b


def lay_wires(block_circuit: BlockCircuit, wires: Wires) -> BlockCircuit:
    """Return a block whose devices lie on wires.

    It is the last thing to be done to a block: what it is made of stays as it is, but for the mirror symmetry, as p and
    n have places of their own.

    Args:
        block_circuit: the block; its devices join nets of units.
        wires: their resistance.

    Returns:
        the block with wires, `unwired` the one given; the block given, where every resistance is zero.

    Raises:
        CircuitError: for a block that has wires, or tiles that hold no weight.
    """
    if block_circuit.unwired is not None:
        raise CircuitError(f"block '{block_circuit.block.name}' has wires already; lay them once")
    circuit = block_circuit.circuit
    layout, a, b = _lay_tiles(block_circuit, wires)
    if not layout.nodes:
        return block_circuit
    r = circuit.resistors
    resistors = Resistors(
        names=JoinedNames([r.names, PrefixedNames(prefix="wire_", names=layout.nodes)]),
        a=np.concatenate([a, *layout.parents]),
        b=np.concatenate([b, np.arange(circuit.n_nodes, layout.n_nodes)]),
        conductance_s=np.concatenate([r.conductance_s, 1.0 / np.concatenate(layout.ohms)]),
        k3_per_v2=np.concatenate([r.k3_per_v2, np.zeros(len(layout.nodes))]) if circuit.has_cubic else r.k3_per_v2,
    )
    nodes, labels = (*circuit.nodes, *layout.nodes), (*circuit.labels, *layout.labels)
    wired = replace(circuit, nodes=nodes, labels=labels, resistors=resistors)
    return replace(block_circuit, circuit=wired, image=frozen_indices(()), unwired=block_circuit)
