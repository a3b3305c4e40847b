"""Cubic devices in newton: the excess over Ohm's law, its slope, and where the slope enters the Hessian.

Values of devices stand in columns, [n_cubic, batch], so that sparse matrices take them to nodes and back. A device
whose ends move together, or do not move at all, has no part in any equation and is left out.
"""

from typing import final

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from circuits.arrays import Floats, Indices
from circuits.cubic_branches import CubicBranches
from circuits.topology import Topology

from .sparse_matrix import SparseMatrix


@final
class CubicDevices:
    """The cubic devices of one topology.

    Args:
        topology: the analysed circuit.
        branches: its cubic resistors.
        device: where the matrices live.
    """

    def __init__(self, topology: Topology, branches: CubicBranches, device: torch.device) -> None:
        moving = (branches.incidence @ topology.unknown_matrix()).tocsr()
        moving.eliminate_zeros()  # ends that move together
        kept = np.flatnonzero(np.diff(moving.indptr))
        self.branches = CubicBranches(
            device=branches.device[kept], incidence=branches.incidence[kept], k3_per_v2=branches.k3_per_v2[kept]
        )
        moving = moving[kept]
        balanced, touching = moving.T.tocsr(), abs(moving).T.tocsr()
        if len(topology.gain):
            balanced = (topology.energy_matrix() @ self.branches.incidence.T).tocsr()
            touching = (moving.T.tocsr() * balanced).tocsr()
        starts, n_ends = moving.indptr[:-1], np.diff(moving.indptr)
        self._device = device
        self._across_nodes = SparseMatrix(self.branches.incidence, device)
        self._across = SparseMatrix(moving, device)
        self._leaving = SparseMatrix(balanced, device)
        self._touching = SparseMatrix(touching, device)
        self.joined = np.flatnonzero(n_ends == 2)  # devices between two unknowns
        first, second = starts[self.joined], starts[self.joined] + 1
        self.joined_ends = moving.indices[first], moving.indices[second]
        self._joined_values = np.asarray(balanced[self.joined_ends[0], self.joined]) * moving.data[second]

    def __len__(self) -> int:
        return len(self.branches.device)

    def coefficient(self, conductance_s: Floats) -> Tensor:
        """Return g k3, [n_cubic, 1] A/V^3."""
        return torch.tensor(self.branches.coefficient(conductance_s), device=self._device)

    def leaving(self, coefficient: Tensor, voltage_v: Tensor) -> tuple[Tensor, Tensor]:
        """Return the excess current that leaves each unknown, and the slope of every device.

        Args:
            coefficient: [n_cubic, 1] A/V^3.
            voltage_v: [batch, n_nodes] V.

        Returns:
            [batch, n_unknowns] A and [n_cubic, batch] S, 3 g k3 V^2.
        """
        v = self._across_nodes.times(voltage_v.T.contiguous())
        per_volt = coefficient * (v * v)
        return self._leaving.times(per_volt * v).T, 3.0 * per_volt

    def coupled(self, slope: Tensor, voltage_v: Tensor) -> Tensor:
        """Return what leaves the unknowns per change of node voltages that are given, [batch, n_unknowns] A."""
        return self._leaving.times(slope * self._across_nodes.times(voltage_v.T.contiguous())).T

    def diagonal(self, slope: Tensor) -> Tensor:
        """Return the slopes' share of the Hessian's diagonal, [n_unknowns, batch] S."""
        return self._touching.times(slope)

    def multiply(self, slope: Tensor, u: Tensor) -> Tensor:
        """Return the slopes' share of the Hessian times [n_unknowns, batch]."""
        return self._leaving.times(slope * self._across.times(u))

    def entries(self, rows: Indices, columns: Indices) -> SparseMatrix | None:
        """Return the map from slopes to a dense block of the Hessian, off its diagonal; None where none falls in.

        Args:
            rows: [n_rows] unknowns.
            columns: [n_columns] unknowns.

        Returns:
            a matrix [n_rows * n_columns, n_cubic].
        """
        n = self.branches.incidence.shape[0]
        n_unknowns = 1 + max((int(ends.max(initial=-1)) for ends in (*self.joined_ends, rows, columns)), default=0)
        row_at, column_at = np.full(n_unknowns, -1), np.full(n_unknowns, -1)
        row_at[rows], column_at[columns] = np.arange(len(rows)), np.arange(len(columns))
        places, devices, values = [], [], []
        for start, end in (self.joined_ends, self.joined_ends[::-1]):
            inside = (row_at[start] >= 0) & (column_at[end] >= 0)
            places.append(row_at[start[inside]] * len(columns) + column_at[end[inside]])
            devices.append(self.joined[inside])
            values.append(self._joined_values[inside])
        place, device = np.concatenate(places), np.concatenate(devices)
        if not len(place):
            return None
        shape = (len(rows) * len(columns), n)
        return SparseMatrix(sparse.csr_array((np.concatenate(values), (place, device)), shape=shape), self._device)
