"""Damped Newton on Kirchhoff's law, a batch at a time; each junction's step is limited as SPICE does.

The junction keeps its own linearisation point, so a series resistance needs no further unknown: it is eliminated from
the linearised branch i = (i_j + g_j (v - u_j)) / (1 + R_s g_j). Steps are solved from the residual, which keeps full
precision at the end; a solver that iterates is asked for little far from the end and for more as the residual falls.
Cubic devices need no limit: their current is convex on either side of zero, and plain steps contract by 2/3 at worst.
Piecewise-linear diodes need none either; where steps carry them over their bends again and again, a line search finds
how far to go.
Converged samples leave the batch. Whether the end is an equilibrium is for others to judge.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from circuits.diode import limit_junction_step

from .line_search import far_enough
from .linear import AbstractEquations, AbstractMatrices
from .system import System

STEP_TOLERANCE_V = (
    1e-10  # per volt above one; the error after such a step is its square over n V_t, far below round-off
)
ROUND_OFF = 1e-14  # a step this small, relative, is the last: a node that stands on a bend stays on either side
OVERFLOW_S = 1e30  # no device conducts like that; where one seems to, numbers overflow and a Hessian says nothing
LOOSEST = 0.1  # relative residual of a linear solution that newton starts with,
TIGHTEST = 1e-8  # the least it asks for as its own residual falls (Eisenstat & Walker 1996, choice 2),
LAST = 1e-4  # what its last step must have: 1e-4 of STEP_TOLERANCE_V is round-off,
LINEAR = 1e-12  # and what a linear circuit and a small signal get


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class State:
    """Where a batch of iterations ended, and what became of each sample."""

    u: Tensor  # [batch, n_unknowns] V
    iterations: Tensor  # [batch]
    converged: Tensor  # [batch] bool
    indefinite: Tensor  # [batch] bool: given up because the Hessian is not positive definite


@final
class NewtonIteration:
    """The iteration of one topology.

    Args:
        system: unknowns, diodes and cubic devices.
        equations: the linear part.
        max_iterations: bound on Newton iterations.
    """

    def __init__(self, system: System, equations: AbstractEquations, max_iterations: int) -> None:
        self.system = system
        self.equations = equations
        self._max_iterations = max_iterations

    def relax(
        self, matrices: AbstractMatrices, coefficient: Tensor | None, constant: Tensor, known: Tensor, start: Tensor
    ) -> State:
        """Iterate a batch, an internal chunk at a time.

        Args:
            matrices: of the parameter set.
            coefficient: [n_cubic, 1] A/V^3 — g k3; None where every resistor is linear.
            constant: [batch, n_unknowns] A — N e - J i.
            known: [batch, n_nodes] V — P e.
            start: [batch, n_unknowns] V.
        """
        size = self.equations.chunk_size
        parts = [
            self._relax_chunk(matrices, coefficient, constant[k : k + size], known[k : k + size], start[k : k + size])
            for k in range(0, max(1, len(constant)), size)  # an empty batch is one empty chunk
        ]
        if len(parts) == 1:
            return parts[0]
        columns = ("u", "iterations", "converged", "indefinite")
        return State(**{name: torch.cat([getattr(part, name) for part in parts]) for name in columns})

    def small_signal(
        self,
        matrices: AbstractMatrices,
        coefficient: Tensor | None,
        g_d: Tensor,
        voltage_v: Tensor,
        known: Tensor,
        right: Tensor,
    ) -> Tensor:
        """Solve (H + nonlinear devices) x = right - (what they carry by the change of known nodes), a chunk at a time.

        Args:
            matrices: of the parameter set.
            coefficient: [n_cubic, 1] A/V^3; None where every resistor is linear.
            g_d: [batch, n_diodes] S.
            voltage_v: [batch, n_nodes] V — the operating point.
            known: [batch, n_nodes] V — change of the known nodes.
            right: [batch, n_unknowns] A.

        Returns:
            [batch, n_unknowns] V; NaN where the Hessian is not positive definite.
        """
        size, d, cubic = self.equations.chunk_size, self.system.diodes, self.system.cubic
        tolerance = torch.full((len(right),), LINEAR, dtype=torch.float64, device=right.device)
        parts = []
        for k in range(0, len(right), size):
            part = slice(k, k + size)
            given, slope = known[part], None
            coupled = g_d[part] * (given[:, d.anode_node] - given[:, d.cathode_node])
            own_right = self.system.scatter_currents(right[part], -coupled)
            if cubic is not None and coefficient is not None:
                _, slope = cubic.leaving(coefficient, voltage_v[part])
                own_right = own_right - cubic.coupled(slope, given)
            parts.append(matrices.solve(g_d[part], slope, own_right, tolerance[part]))
        return torch.cat(parts) if parts else right

    def _relax_chunk(
        self, matrices: AbstractMatrices, coefficient: Tensor | None, constant: Tensor, known: Tensor, start: Tensor
    ) -> State:
        """Iterate one internal chunk; samples leave as they converge."""
        d = self.system.diodes
        offset = known[:, d.anode_node] - known[:, d.cathode_node]
        u, batch = start.clone(), len(start)
        junction = torch.minimum(self.system.across(u, offset), d.v_critical.expand(batch, -1))
        iterations = torch.full((batch,), float(self._max_iterations), dtype=torch.float64, device=u.device)
        converged = torch.zeros(batch, dtype=torch.bool, device=u.device)
        indefinite = torch.zeros_like(converged)
        near = torch.zeros_like(converged)
        tolerance = torch.full_like(iterations, LINEAR if self.system.is_linear else LOOSEST)
        last_r = torch.full_like(iterations, torch.nan)  # square of the last residual; none yet
        active = torch.arange(batch, device=u.device)
        for iteration in range(1, self._max_iterations + 1):
            u_now, junction_now, offset_now = u[active], junction[active], offset[active]
            i_j, g_j = d.current(junction_now)
            g_d = g_j / (1.0 + d.r_s * g_j)
            constant_d = (i_j - g_j * junction_now) / (1.0 + d.r_s * g_j)
            before = self.system.across(u_now, offset_now)
            current = constant_d + g_d * before
            residual = self.system.scatter_currents(matrices.multiply(u_now) + constant[active], current)
            slope = None
            if self.system.cubic is not None and coefficient is not None:
                voltage_v = self.system.node_voltages(u_now, known[active])
                excess, slope = self.system.cubic.leaving(coefficient, voltage_v)
                residual = residual + excess
            size_r = residual.square().sum(dim=1)
            tolerance[active] = self._tolerance(tolerance[active], size_r, last_r[active], near[active])
            last_r[active] = size_r
            step = matrices.solve(g_d, slope, -residual, tolerance[active])
            lost = step.isnan().any(dim=1)
            bent = None
            if d.piecewise is not None:
                after = self.system.across(u_now + step, offset_now)
                share, bent = far_enough(d, before, after, step, residual, iteration)
                u_now = u_now + share[:, None] * step
            else:
                u_now = u_now + step
            across = self.system.across(u_now, offset_now)
            asked = across - d.r_s * (constant_d + g_d * across)
            limited, is_limited = limit_junction_step(asked, junction_now, d.n_vt, d.v_critical, torch)
            largest = step.abs().amax(dim=1) if step.shape[1] else step.new_zeros(len(step))
            if limited.shape[1]:
                largest = torch.maximum(largest, (limited - junction_now).abs().amax(dim=1))
            u[active], junction[active] = u_now, limited
            size = u_now.abs().amax(dim=1).clamp(min=1.0) if u_now.shape[1] else torch.ones_like(largest)
            small = largest <= STEP_TOLERANCE_V * size
            if bent is not None:  # beyond a bend the current differs by more than the step tells
                small &= ~bent | (largest <= ROUND_OFF * size)
            near[active] = small & ~is_limited.any(dim=1)
            done = near[active] & (tolerance[active] <= LAST)
            iterations[active[done]] = float(iteration)
            converged[active[done]] = True
            overflow = ~size_r.isfinite()
            if g_d.shape[1]:
                overflow |= g_d.amax(dim=1) > OVERFLOW_S
            if slope is not None:
                overflow |= slope.amax(dim=0) > OVERFLOW_S
            indefinite[active[lost & ~overflow]] = True
            active = active[~(done | lost)]
            if not len(active):
                break
        return State(u=u, iterations=iterations, converged=converged, indefinite=indefinite)

    def _tolerance(self, last: Tensor, size_r: Tensor, last_r: Tensor, near: Tensor) -> Tensor:
        """Return how well to solve each sample's step, [batch], from the squares of its last two residuals."""
        if self.equations.is_exact:
            return torch.full_like(last, TIGHTEST)
        falling = (0.9 * size_r / last_r).clamp(TIGHTEST, LOOSEST)
        asked = torch.where(last_r.isnan(), last, falling)
        return torch.where(near, asked.clamp(max=LAST), asked)
