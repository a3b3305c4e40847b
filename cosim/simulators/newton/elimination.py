"""Batched linear solves of H plus what nonlinear devices add: eliminate independent unknowns, factor only the rest.

Layers of an energy block couple only to their neighbours, so the Hessian block of every other layer is diagonal. The
unknowns are split into such a set A and the rest B; S = H_BB - H_BA H_AA^-1 H_AB is factored by Cholesky. Batched LU
is avoided: it fails on some processors with MKL. H is positive definite if and only if H_AA and S both are.
"""

from dataclasses import dataclass
from typing import final

import networkx as nx
import numpy as np
import torch
from torch import Tensor

from circuits.arrays import Flags, Indices
from circuits.topology import NONE, Topology

CHOLESKY_COST = 2.0  # time of a flop in batched Cholesky relative to one in a matrix product, measured


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ordering:
    """Which unknowns are eliminated, A, and which are factored, B.

    Args:
        eliminated, factored: indices of the unknowns.
        eliminated_varies: whether a diode or cubic device touches A, so that H_AA changes from sample to sample.
        flops: of one solution for one sample.
        n_entries: number of entries of H that are not zero.
    """

    eliminated: Tensor
    factored: Tensor
    eliminated_varies: bool
    flops: float
    n_entries: int


def _colour_classes(n: int, edges: Indices, pinned: Flags) -> tuple[Indices, Indices]:
    """Return two independent sets to choose from: the two sides where the graph is bipartite, else a greedy set."""
    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from(edges.tolist())
    sides: tuple[list[int], list[int]] = ([], [])
    for component in nx.connected_components(graph):
        part = graph.subgraph(component)
        try:
            colour = nx.bipartite.color(part)
        except nx.NetworkXError:  # not bipartite
            greedy = nx.maximal_independent_set(part, seed=0)
            sides[0].extend(greedy)
            sides[1].extend(greedy)
            continue
        for node, side in colour.items():
            sides[side].append(node)
    free = [np.array(sorted(k for k in side if not pinned[k]), dtype=np.int64) for side in sides]
    return free[0], free[1]


def order(topology: Topology, device: torch.device) -> Ordering:
    """Choose the unknowns to eliminate so that the remaining work is least.

    Args:
        topology: the analysed circuit.
        device: where the indices go.

    Returns:
        the ordering; unknowns joined by a diode are never eliminated.
    """
    circuit, n, unknown = topology.circuit, topology.n_unknowns, topology.unknown_of_node
    resistor_ends = np.stack([unknown[circuit.resistors.a], unknown[circuit.resistors.b]], axis=1)
    diode_ends = np.stack([unknown[circuit.diodes.anode], unknown[circuit.diodes.cathode]], axis=1)
    joins = (diode_ends != NONE).all(axis=1)
    pinned, varies = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    pinned[diode_ends[joins].ravel()] = True
    touched = np.concatenate([diode_ends.ravel(), resistor_ends[circuit.resistors.cubic].ravel()])
    varies[touched[touched != NONE]] = True
    edges = resistor_ends[(resistor_ends != NONE).all(axis=1) & (resistor_ends[:, 0] != resistor_ends[:, 1])]
    edges = np.unique(np.sort(edges, axis=1), axis=0)

    def cost(eliminated: Indices) -> float:
        rest = n - len(eliminated)
        schur = 2.0 * rest**2 * len(eliminated) if varies[eliminated].any() else 0.0
        return schur + CHOLESKY_COST * rest**3 / 3

    eliminated = min(_colour_classes(n, edges, pinned), key=cost)
    factored = np.setdiff1d(np.arange(n), eliminated)
    return Ordering(
        eliminated=torch.tensor(eliminated, device=device),
        factored=torch.tensor(factored, device=device),
        eliminated_varies=bool(varies[eliminated].any()),
        flops=cost(eliminated),
        n_entries=n + 2 * len(edges),
    )


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Blocks:
    """The Hessian of one parameter set cut into blocks, without nonlinear devices.

    Args:
        diagonal_a: [n_a]; h_ab: [n_a, n_b]; h_bb: [n_b, n_b].
        schur: [n_b, n_b] S without nonlinear devices, where A carries none; else None.
        factor: Cholesky factor of S where the circuit is linear; else None.
    """

    ordering: Ordering
    diagonal_a: Tensor
    h_ab: Tensor
    h_bb: Tensor
    schur: Tensor | None
    factor: Tensor | None


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Additions:
    """What nonlinear devices add to the Hessian of each sample.

    Args:
        diagonal: [batch, n_unknowns] S — sum of their conductances at each unknown.
        ab: [batch, n_a, n_b] S — between A and B; None where there are none.
        bb: [batch, n_b, n_b] S — within B, off the diagonal; None where there are none.
    """

    diagonal: Tensor
    ab: Tensor | None = None
    bb: Tensor | None = None


def cut(ordering: Ordering, hessian: Tensor, *, is_linear: bool) -> Blocks:
    """Cut a Hessian into blocks and prepare what does not depend on the sample."""
    a, b = ordering.eliminated, ordering.factored
    diagonal_a, h_ab, h_bb = hessian.diagonal()[a], hessian[a][:, b], hessian[b][:, b]
    schur, factor = None, None
    if not ordering.eliminated_varies:
        schur = h_bb - h_ab.T @ (h_ab / diagonal_a[:, None])
        if is_linear:
            factor = _cholesky(schur)
    return Blocks(ordering=ordering, diagonal_a=diagonal_a, h_ab=h_ab, h_bb=h_bb, schur=schur, factor=factor)


def _cholesky(matrix: Tensor) -> Tensor:
    """Return Cholesky factors, NaN for a matrix that is not positive definite."""
    factor: Tensor
    factor, info = torch.linalg.cholesky_ex(matrix)
    return torch.where((info == 0)[..., None, None], factor, torch.nan)


def solve_batch(blocks: Blocks, added: Additions | None, right: Tensor) -> Tensor:
    """Solve (H + added) x = right for each sample.

    Args:
        blocks: the Hessian without nonlinear devices.
        added: what these add; None in a linear circuit.
        right: [batch, n_unknowns] A.

    Returns:
        [batch, n_unknowns] V; NaN for a sample whose matrix is not positive definite.
    """
    a, b = blocks.ordering.eliminated, blocks.ordering.factored
    right_a, right_b = right[:, a], right[:, b]
    d_a = blocks.diagonal_a if added is None else blocks.diagonal_a + added.diagonal[:, a]
    d_a = torch.where((d_a > 0).all(dim=-1, keepdim=True), d_a, torch.nan)
    result = torch.empty_like(right)
    if len(b):
        h_ab = blocks.h_ab if added is None or added.ab is None else blocks.h_ab + added.ab
        reduced = right_b - _row_times(right_a / d_a, h_ab)
        if blocks.factor is not None:
            x_b = torch.cholesky_solve(reduced.T, blocks.factor).T
        else:
            x_b = torch.cholesky_solve(reduced[:, :, None], _schur(blocks, added, h_ab, d_a))[:, :, 0]
        result[:, b] = x_b
        right_a = right_a - _row_times(x_b, h_ab.mT)
    result[:, a] = right_a / d_a
    return result


def _row_times(rows: Tensor, matrix: Tensor) -> Tensor:
    """Return each sample's row times the matrix, which all samples share or which each has of its own."""
    return rows @ matrix if matrix.ndim == 2 else (rows[:, None, :] @ matrix)[:, 0]


def _schur(blocks: Blocks, added: Additions | None, h_ab: Tensor, d_a: Tensor) -> Tensor:
    """Return the Cholesky factors of S for each sample."""
    b = blocks.ordering.factored
    if blocks.schur is not None:
        matrix = blocks.schur.expand(len(d_a) if added is None else len(added.diagonal), -1, -1).clone()
    elif h_ab.ndim == 2:
        matrix = blocks.h_bb - torch.matmul(h_ab.T / d_a[:, None, :], h_ab)
    else:
        matrix = blocks.h_bb - torch.matmul((h_ab / d_a[:, :, None]).mT, h_ab)
    if added is not None:
        matrix.diagonal(dim1=1, dim2=2).add_(added.diagonal[:, b])
        if added.bb is not None:
            matrix += added.bb
    return _cholesky(matrix)
