"""Damped Newton on Kirchhoff's law, a batch at a time; each junction's step is limited as SPICE does.

The junction keeps its own linearisation point, so a series resistance needs no further unknown: it is eliminated from
the linearised branch i = (i_j + g_j (v - u_j)) / (1 + R_s g_j). Steps are solved from the residual, which keeps full
precision at the end. Converged samples leave the batch. Whether the end is an equilibrium is for others to judge.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from circuits.arrays import Floats
from circuits.diode import junction_current, limit_junction_step
from circuits.topology import Topology

from .elimination import Blocks, cut, order, solve_batch
from .system import build_system

STEP_TOLERANCE_V = (
    1e-10  # per volt above one; the error after such a step is its square over n V_t, far below round-off
)
BATCH_BYTES = 1 << 26  # memory of one batch of Schur complements; sets the size of internal chunks
OVERFLOW_S = 1e30  # no junction conducts like that; where one seems to, numbers overflow and a Hessian says nothing


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Programmed:
    """The matrices of one parameter set."""

    hessian: Tensor  # [n_unknowns, n_unknowns] S
    coupling: Tensor  # [n_unknowns, n_voltage_sources] S
    blocks: Blocks


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class State:
    """Where a batch of iterations ended, and what became of each sample."""

    u: Tensor  # [batch, n_unknowns] V
    iterations: Tensor  # [batch]
    converged: Tensor  # [batch] bool
    indefinite: Tensor  # [batch] bool: given up because the Hessian is not positive definite


def padded(u: Tensor) -> Tensor:
    """Return unknowns with a last column of zeros, which known nodes point to."""
    return torch.cat([u, torch.zeros(len(u), 1, dtype=torch.float64, device=u.device)], dim=1)


@final
class NewtonIteration:
    """The iteration of one topology.

    Args:
        topology: the analysed circuit.
        device: where the tensors live.
        max_iterations: bound on Newton iterations.
    """

    def __init__(self, topology: Topology, device: torch.device, max_iterations: int) -> None:
        self.system = build_system(topology, device)
        self._gmin_s = topology.circuit.gmin_s
        self._max_iterations = max_iterations
        self._ordering = order(topology, device)
        d, n = self.system.diodes, self.system.n_unknowns
        joined = (d.anode < n) & (d.cathode < n)
        self._joined = torch.nonzero(joined)[:, 0]
        position = torch.full((n + 1,), -1, dtype=torch.int64, device=device)
        position[self._ordering.factored] = torch.arange(len(self._ordering.factored), device=device)
        self._joined_ends = position[d.anode[self._joined]], position[d.cathode[self._joined]]

    def program(self, conductance_s: Floats) -> Programmed:
        """Assemble the matrices of one parameter set, [n_resistors] S."""
        g = torch.tensor(conductance_s, dtype=torch.float64, device=self.system.device)
        hessian = self.system.hessian.assemble(g)
        has_diodes = len(self.system.diodes.i_s) > 0
        blocks = cut(self._ordering, hessian, has_diodes=has_diodes)
        return Programmed(hessian=hessian, coupling=self.system.coupling.assemble(g), blocks=blocks)

    def relax(self, programmed: Programmed, constant: Tensor, known: Tensor, start: Tensor) -> State:
        """Iterate a batch, an internal chunk at a time.

        Args:
            programmed: the matrices.
            constant: [batch, n_unknowns] A — N e - J i.
            known: [batch, n_nodes] V — P e.
            start: [batch, n_unknowns] V.
        """
        size = self._chunk_size()
        parts = [
            self._relax_chunk(programmed, constant[k : k + size], known[k : k + size], start[k : k + size])
            for k in range(0, max(1, len(constant)), size)  # an empty batch is one empty chunk
        ]
        if len(parts) == 1:
            return parts[0]
        columns = ("u", "iterations", "converged", "indefinite")
        return State(**{name: torch.cat([getattr(part, name) for part in parts]) for name in columns})

    def linear_solve(self, programmed: Programmed, g_d: Tensor, right: Tensor) -> Tensor:
        """Solve (H + diodes) x = right for diode conductances g_d, [batch, n_diodes] S; NaN where it is indefinite."""
        size = self._chunk_size()
        parts = [self._solve(programmed, g_d[k : k + size], right[k : k + size]) for k in range(0, len(right), size)]
        return torch.cat(parts) if parts else right

    def _chunk_size(self) -> int:
        return max(1, BATCH_BYTES // (8 * max(1, len(self._ordering.factored)) ** 2))

    def _scatter(self, target: Tensor, anode: Tensor, cathode: Tensor) -> Tensor:
        """Add one value a diode to its two unknowns; known nodes fall into a last column that is dropped."""
        total = padded(target)
        total.index_add_(1, self.system.diodes.anode, anode)
        total.index_add_(1, self.system.diodes.cathode, cathode)
        return total[:, :-1]

    def _solve(self, programmed: Programmed, g_d: Tensor, right: Tensor) -> Tensor:
        """Solve (H + diodes) x = right for diode conductances g_d, [batch, n_diodes] S."""
        if g_d.shape[1] == 0:
            return solve_batch(programmed.blocks, None, None, right)
        diagonal = self._scatter(torch.zeros_like(right), g_d, g_d)
        joined = None
        if len(self._joined):
            n_b = len(self._ordering.factored)
            row, column = self._joined_ends
            joined = torch.zeros(len(right), n_b * n_b, dtype=torch.float64, device=right.device)
            joined.index_add_(1, row * n_b + column, -g_d[:, self._joined])
            joined.index_add_(1, column * n_b + row, -g_d[:, self._joined])
            joined = joined.view(-1, n_b, n_b)
        return solve_batch(programmed.blocks, diagonal, joined, right)

    def _relax_chunk(self, programmed: Programmed, constant: Tensor, known: Tensor, start: Tensor) -> State:
        """Iterate one internal chunk; samples leave as they converge."""
        d, gmin = self.system.diodes, self._gmin_s
        offset = known[:, d.anode_node] - known[:, d.cathode_node]
        u, batch = start.clone(), len(start)
        junction = torch.minimum(self._across(u, offset), d.v_critical.expand(batch, -1))
        iterations = torch.full((batch,), float(self._max_iterations), dtype=torch.float64, device=u.device)
        converged = torch.zeros(batch, dtype=torch.bool, device=u.device)
        indefinite = torch.zeros_like(converged)
        active = torch.arange(batch, device=u.device)
        for iteration in range(1, self._max_iterations + 1):
            u_now, junction_now, offset_now = u[active], junction[active], offset[active]
            i_j, g_j = junction_current(junction_now, d.i_s, d.n_vt, gmin, torch)
            g_d = g_j / (1.0 + d.r_s * g_j)
            constant_d = (i_j - g_j * junction_now) / (1.0 + d.r_s * g_j)
            current = constant_d + g_d * self._across(u_now, offset_now)
            residual = self._scatter(u_now @ programmed.hessian + constant[active], current, -current)
            step = self._solve(programmed, g_d, -residual)
            lost = step.isnan().any(dim=1)
            u_now = u_now + step
            across = self._across(u_now, offset_now)
            asked = across - d.r_s * (constant_d + g_d * across)
            limited, is_limited = limit_junction_step(asked, junction_now, d.n_vt, d.v_critical, torch)
            largest = step.abs().amax(dim=1) if step.shape[1] else step.new_zeros(len(step))
            if limited.shape[1]:
                largest = torch.maximum(largest, (limited - junction_now).abs().amax(dim=1))
            u[active], junction[active] = u_now, limited
            size = u_now.abs().amax(dim=1).clamp(min=1.0) if u_now.shape[1] else torch.ones_like(largest)
            done = (largest <= STEP_TOLERANCE_V * size) & ~is_limited.any(dim=1)
            iterations[active[done]] = float(iteration)
            converged[active[done]] = True
            overflow = ~residual.isfinite().all(dim=1)
            if g_d.shape[1]:
                overflow |= g_d.amax(dim=1) > OVERFLOW_S
            indefinite[active[lost & ~overflow]] = True
            active = active[~(done | lost)]
            if not len(active):
                break
        return State(u=u, iterations=iterations, converged=converged, indefinite=indefinite)

    def _across(self, u: Tensor, offset: Tensor) -> Tensor:
        """Return the terminal voltage of each diode, [batch, n_diodes]."""
        ends, d = padded(u), self.system.diodes
        return ends[:, d.anode] - ends[:, d.cathode] + offset
