"""Nodes and devices of an energy block while it is laid out, collected group by group.

Only the names of nodes are made one by one; everything else is an array per group, for a block has up to 1e7 devices.
"""

from collections.abc import Sequence
from typing import final

import numpy as np

from .arrays import Floats, Indices, frozen_indices
from .crossbar import Crossbar, UnitNodes
from .energy_block import EnergyBlock, Polarity
from .names import PairNames
from .wiring import AbstractWiring


@final
class Layout:
    """Nodes and devices collected group by group while a block is laid out."""

    def __init__(self, block: EnergyBlock) -> None:
        self.block = block
        self.signs = "pn" if block.polarity is Polarity.DIFFERENTIAL else "p"
        self.nodes: list[str] = ["0"]
        self.labels: list[str] = ["ground"]
        self.image: list[int] = [0]
        self.resistor_names: list[Sequence[str]] = []
        self.n_resistors = 0
        self.resistor_ends: list[tuple[Indices, Indices]] = []
        self.resistor_values: list[Floats] = []

    def units(self, names: list[str], labels: list[str]) -> UnitNodes:
        """Add a node, or a mirrored pair of nodes, for each unit."""
        start, size = len(self.nodes), len(names)
        for k, sign in enumerate(self.signs):
            self.nodes += [f"{name}{sign if len(self.signs) > 1 else ''}" for name in names]
            self.labels += [f"{label}{f' ({sign})' if len(self.signs) > 1 else ''}" for label in labels]
            other = start + (len(self.signs) - 1 - k) * size
            self.image += range(other, other + size)
        p = frozen_indices(np.arange(start, start + size))
        return UnitNodes(p=p, n=frozen_indices(p + size) if len(self.signs) > 1 else None)

    def resistors(self, names: Sequence[str], a: Indices, b: Indices, value_s: float | Floats) -> Indices:
        """Add resistors and return their indices."""
        first = self.n_resistors
        self.n_resistors += len(names)
        self.resistor_names.append(names)
        self.resistor_ends.append((a, b))
        self.resistor_values.append(np.array(np.broadcast_to(value_s, len(names)), dtype=np.float64))
        return np.arange(first, self.n_resistors)

    def crossbar(self, name: str, rows: UnitNodes, columns: UnitNodes, wiring: AbstractWiring) -> Crossbar:
        """Add the devices of a crossbar: one a pair of units, or four where units are differential."""
        row, column = wiring.pairs()
        i, j = row.ravel(), column.ravel()

        def devices(suffix: str, row_nodes: Indices, column_nodes: Indices) -> Indices:
            names = PairNames(prefix=name, row=i, column=j, suffix=suffix)
            return self.resistors(names, row_nodes[i], column_nodes[j], self.block.g_min_s).reshape(row.shape)

        if rows.n is None or columns.n is None:
            plus, minus = np.stack([devices("", rows.p, columns.p)]), None
        else:
            plus = np.stack([devices("_pp", rows.p, columns.p), devices("_nn", rows.n, columns.n)])
            minus = frozen_indices(np.stack([devices("_pn", rows.p, columns.n), devices("_np", rows.n, columns.p)]))
        return Crossbar(name=name, rows=rows, columns=columns, wiring=wiring, plus=frozen_indices(plus), minus=minus)
