"""The linear equations as dense torch arrays, solved by elimination: assembled once per parameter set."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from circuits.arrays import Floats, Indices
from circuits.topology import NONE, Topology

from .elimination import Additions, Blocks, Ordering, cut, solve_batch
from .linear import AbstractEquations, AbstractMatrices
from .system import System, padded_unknowns

BATCH_BYTES = 1 << 26  # memory of one batch of Schur complements; sets the size of internal chunks


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scatter:
    """Sum of signed conductances into a flat matrix: matrix[index] += sign * g[resistor]."""

    index: Tensor
    sign: Tensor
    resistor: Tensor
    shape: tuple[int, int]

    def assemble(self, conductance_s: Tensor) -> Tensor:
        """Return the dense matrix for one parameter set."""
        flat = torch.zeros(self.shape[0] * self.shape[1], dtype=torch.float64, device=conductance_s.device)
        flat.index_add_(0, self.index, self.sign * conductance_s[self.resistor])
        return flat.view(self.shape)


def _hessian_entries(topology: Topology) -> tuple[Indices, Floats, Indices]:
    """Return flat index, factor and resistor of every entry of H = W L T, with W = T^T without amplifiers."""
    r, n = topology.circuit.resistors, topology.n_unknowns
    unknown, energy = topology.unknown_of_node, _energy(topology)
    index, factor, resistor = [], [], []
    for row, column, value in ((r.a, r.a, 1.0), (r.b, r.b, 1.0), (r.a, r.b, -1.0), (r.b, r.a, -1.0)):
        k = np.flatnonzero((unknown[row] != NONE) & (unknown[column] != NONE))
        index.append(unknown[row[k]] * n + unknown[column[k]])
        factor.append(np.full(len(k), value) if energy is None else value * energy[row[k]] * topology.gain[column[k]])
        resistor.append(k)
    return np.concatenate(index), np.concatenate(factor), np.concatenate(resistor)


def _energy(topology: Topology) -> Floats | None:
    """Return the entry of W of each node, [n_nodes]; None without amplifiers, where all are one."""
    return topology.node_weights * topology.gain if len(topology.gain) else None


def _coupling_entries(topology: Topology) -> tuple[Indices, Floats, Indices]:
    """Return flat index, factor and resistor of every entry of N = W L P, with W = T^T without amplifiers."""
    r, energy = topology.circuit.resistors, _energy(topology)
    path = topology.path_matrix()
    counts = np.diff(path.indptr)
    n_sources = path.shape[1]
    index, factor, resistor = [], [], []
    for end, end_sign in ((r.a, 1.0), (r.b, -1.0)):
        for other, other_sign in ((r.a, 1.0), (r.b, -1.0)):
            k = np.flatnonzero((topology.unknown_of_node[end] != NONE) & (counts[other] > 0))
            repeats = counts[other[k]]
            spread = np.repeat(k, repeats)
            within = np.arange(len(spread)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
            entry = path.indptr[other[spread]] + within
            index.append(topology.unknown_of_node[end[spread]] * n_sources + path.indices[entry])
            value = end_sign * other_sign * path.data[entry]
            factor.append(value if energy is None else value * energy[end[spread]])
            resistor.append(spread)
    return np.concatenate(index), np.concatenate(factor), np.concatenate(resistor)


@final
class DenseEquations(AbstractEquations):
    """Dense matrices of one topology.

    Args:
        system: unknowns, diodes and cubic devices.
        ordering: which unknowns are eliminated.
    """

    def __init__(self, system: System, ordering: Ordering) -> None:
        topology, device, n = system.topology, system.device, system.n_unknowns
        self.system = system
        self.ordering = ordering
        i = topology.circuit.current_sources
        unknown = padded_unknowns(topology)
        injection = np.zeros((len(i), n + 1))
        rows = np.arange(len(i))
        energy = _energy(topology)
        np.add.at(injection, (rows, unknown[i.end]), 1.0 if energy is None else energy[i.end])
        np.add.at(injection, (rows, unknown[i.start]), -1.0 if energy is None else -energy[i.start])

        def floats(values: Floats) -> Tensor:
            return torch.tensor(np.ascontiguousarray(values), dtype=torch.float64, device=device)

        def indices(values: Indices) -> Tensor:
            return torch.tensor(np.ascontiguousarray(values), dtype=torch.int64, device=device)

        def scatter(entries: tuple[Indices, Floats, Indices], shape: tuple[int, int]) -> Scatter:
            index, sign, resistor = entries
            return Scatter(index=indices(index), sign=floats(sign), resistor=indices(resistor), shape=shape)

        self._path = floats(topology.path_matrix().toarray())  # [n_nodes, n_voltage_sources] P
        self._injection = floats(injection[:, :n])  # [n_current_sources, n_unknowns] J^T
        self._hessian = scatter(_hessian_entries(topology), (n, n))
        self._coupling = scatter(_coupling_entries(topology), (n, len(topology.circuit.voltage_sources)))
        d = system.diodes
        self.joined = torch.nonzero((d.anode < n) & (d.cathode < n))[:, 0]  # diodes between two unknowns
        position = torch.full((n + 1,), -1, dtype=torch.int64, device=device)
        position[ordering.factored] = torch.arange(len(ordering.factored), device=device)
        self.joined_ends = position[d.anode[self.joined]], position[d.cathode[self.joined]]
        self._cubic_ab, self._cubic_bb = None, None  # slopes of cubic devices to blocks of the Hessian
        if system.cubic is not None:
            a, b = (part.cpu().numpy() for part in (ordering.eliminated, ordering.factored))
            self._cubic_ab, self._cubic_bb = system.cubic.entries(a, b), system.cubic.entries(b, b)

    @property
    def is_exact(self) -> bool:
        """Elimination is exact to rounding."""
        return True

    @property
    def chunk_size(self) -> int:
        """As many samples as their Schur complements, and values of their cubic devices, fit in BATCH_BYTES."""
        n_a, n_b = len(self.ordering.eliminated), len(self.ordering.factored)
        n_cubic = 0 if self.system.cubic is None else len(self.system.cubic)
        n_ab = 0 if self._cubic_ab is None else n_a * n_b
        return max(1, BATCH_BYTES // (8 * max(1, n_b * n_b, n_ab, n_cubic)))

    def known(self, source_v: Tensor) -> Tensor:
        """Return P e."""
        return source_v @ self._path.T

    def injected(self, current_a: Tensor) -> Tensor:
        """Return J i."""
        return current_a @ self._injection

    def program(self, conductance_s: Floats) -> "DenseMatrices":
        """Assemble the matrices of one parameter set."""
        g = torch.tensor(conductance_s, dtype=torch.float64, device=self.system.device)
        hessian = self._hessian.assemble(g)
        blocks = cut(self.ordering, hessian, is_linear=self.system.is_linear)
        return DenseMatrices(equations=self, hessian=hessian, coupling=self._coupling.assemble(g), blocks=blocks)

    def additions(self, g_d: Tensor, slope: Tensor | None, like: Tensor) -> Additions:
        """Return what diodes, [batch, n_diodes] S, and cubic devices, [n_cubic, batch] S, add to the Hessian.

        `like` is any [batch, n_unknowns].
        """
        system, n_a, n_b = self.system, len(self.ordering.eliminated), len(self.ordering.factored)
        diagonal = system.scatter_conductances(torch.zeros_like(like), g_d)
        ab, bb = None, None
        if len(self.joined):
            row, column = self.joined_ends
            bb = torch.zeros(len(like), n_b * n_b, dtype=torch.float64, device=like.device)
            g_joined = system.joined_conductances(g_d, self.joined)
            bb.index_add_(1, row * n_b + column, -g_joined)
            bb.index_add_(1, column * n_b + row, -g_joined)
            bb = bb.view(-1, n_b, n_b)
        if system.cubic is not None and slope is not None:
            diagonal = diagonal + system.cubic.diagonal(slope).T
            if self._cubic_ab is not None:
                ab = self._cubic_ab.times(slope).T.reshape(-1, n_a, n_b)
            if self._cubic_bb is not None:
                own = self._cubic_bb.times(slope).T.reshape(-1, n_b, n_b)
                bb = own if bb is None else bb + own
        return Additions(diagonal=diagonal, ab=ab, bb=bb)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DenseMatrices(AbstractMatrices):
    """The matrices of one parameter set."""

    equations: DenseEquations
    hessian: Tensor  # [n_unknowns, n_unknowns] S
    coupling: Tensor  # [n_unknowns, n_voltage_sources] S
    blocks: Blocks

    def multiply(self, u: Tensor) -> Tensor:
        """Return H u; H is symmetric."""
        return u @ self.hessian

    def coupled(self, source_v: Tensor) -> Tensor:
        """Return N e."""
        return source_v @ self.coupling.T

    def solve(self, g_d: Tensor, slope: Tensor | None, right: Tensor, tolerance: Tensor) -> Tensor:  # noqa: ARG002  it is exact
        """Eliminate, factor and substitute back."""
        if self.equations.system.is_linear:
            return solve_batch(self.blocks, None, right)
        return solve_batch(self.blocks, self.equations.additions(g_d, slope, right), right)
