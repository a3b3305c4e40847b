"""The linear equations with sparse matrices, solved by conjugate gradients: nothing larger than the circuit itself.

The Hessian of a crossbar is diagonally dominant, so few iterations do: some ten for the weights of a network. A
solution is as exact as it is asked for; newton asks for more as it gets closer.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from circuits.arrays import Floats
from circuits.topology import incidence_matrix, laplacian

from .conjugate_gradients import conjugate_gradients
from .linear import AbstractEquations, AbstractMatrices
from .sparse_matrix import SparseMatrix
from .system import System

VECTOR_BYTES = 1 << 25  # memory of one batch of vectors, of which ten are at work; sets the size of internal chunks


@final
class SparseEquations(AbstractEquations):
    """Sparse matrices of one topology.

    Args:
        system: unknowns and diodes.
    """

    def __init__(self, system: System) -> None:
        topology = system.topology
        i = topology.circuit.current_sources
        self.system = system
        self._spread = topology.energy_matrix()
        self._moving = topology.unknown_matrix()
        self._path = topology.path_matrix()
        self._path_product = SparseMatrix(self._path, system.device)
        entering = -(self._spread @ incidence_matrix(topology.circuit, i.start, i.end).T)
        self._injection = SparseMatrix(entering.tocsr(), system.device)
        d, n = system.diodes, system.n_unknowns
        self.joined = torch.nonzero((d.anode < n) & (d.cathode < n))[:, 0]  # diodes between two unknowns

    @property
    def is_exact(self) -> bool:
        """Solutions are as exact as they are asked for."""
        return False

    @property
    def chunk_size(self) -> int:
        """As many samples as a vector of each, or of each cubic device, fits in VECTOR_BYTES."""
        n_cubic = 0 if self.system.cubic is None else len(self.system.cubic)
        return max(1, VECTOR_BYTES // (8 * max(1, self.system.n_unknowns, n_cubic)))

    def known(self, source_v: Tensor) -> Tensor:
        """Return P e."""
        return self._path_product.times_rows(source_v)

    def injected(self, current_a: Tensor) -> Tensor:
        """Return J i."""
        return self._injection.times_rows(current_a)

    def program(self, conductance_s: Floats) -> "SparseMatrices":
        """Assemble the matrices of one parameter set."""
        rows = self._spread @ laplacian(self.system.topology.circuit, conductance_s)
        hessian = (rows @ self._moving).tocsr()
        device = self.system.device
        return SparseMatrices(
            equations=self,
            hessian=SparseMatrix(hessian, device),
            diagonal=torch.tensor(hessian.diagonal(), device=device),
            coupling=SparseMatrix((rows @ self._path).tocsr(), device),
        )


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SparseMatrices(AbstractMatrices):
    """The matrices of one parameter set."""

    equations: SparseEquations
    hessian: SparseMatrix  # [n_unknowns, n_unknowns] S
    diagonal: Tensor  # [n_unknowns] S
    coupling: SparseMatrix  # [n_unknowns, n_voltage_sources] S

    def multiply(self, u: Tensor) -> Tensor:
        """Return H u."""
        return self.hessian.times_rows(u)

    def coupled(self, source_v: Tensor) -> Tensor:
        """Return N e."""
        return self.coupling.times_rows(source_v)

    def solve(self, g_d: Tensor, slope: Tensor | None, right: Tensor, tolerance: Tensor) -> Tensor:
        """Iterate to the tolerance."""
        own, columns = self.equations, right.T.contiguous()
        d, cubic = own.system.diodes, own.system.cubic
        diodes = None
        if g_d.shape[1]:
            diodes = own.system.scatter_conductances(torch.zeros_like(right), g_d).T.contiguous()
        g_joined = own.system.joined_conductances(g_d, own.joined).T
        anode, cathode = d.anode[own.joined], d.cathode[own.joined]

        def multiply(p: Tensor) -> Tensor:
            product = self.hessian.times(p)
            if diodes is not None:
                product.addcmul_(diodes, p)
            if len(own.joined):
                product.index_add_(0, anode, -g_joined * p[cathode])
                product.index_add_(0, cathode, -g_joined * p[anode])
            if cubic is not None and slope is not None:
                product += cubic.multiply(slope, p)
            return product

        diagonal = self.diagonal[:, None].expand_as(columns) if diodes is None else self.diagonal[:, None] + diodes
        if cubic is not None and slope is not None:
            diagonal = diagonal + cubic.diagonal(slope)
        return conjugate_gradients(multiply, diagonal, columns, tolerance)[0].T
