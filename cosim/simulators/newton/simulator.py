"""Damped Newton on Kirchhoff's law, a batch at a time; each junction's step is limited as SPICE does.

The junction keeps its own linearisation point, so a series resistance needs no further unknown: it is eliminated from
the linearised branch i = (i_j + g_j (v - u_j)) / (1 + R_s g_j). Steps are solved from the residual, which keeps full
precision at the end. Converged samples leave the batch.
"""

from dataclasses import dataclass, replace
from typing import final

import numpy as np
import torch
from torch import Tensor

from circuits.arrays import Floats
from circuits.diode import junction_current, junction_voltage, limit_junction_step
from circuits.errors import CircuitError
from circuits.kirchhoff import source_currents
from circuits.validation import check_conductances, check_drives
from netlists.netlist import Netlist

from ...errors import ConvergenceError
from ...threads import one_torch_thread
from ..base import AbstractSession, AbstractSimulator, OnFailure, OperatingPoint, raise_first_failure
from .elimination import Blocks, cut, order, solve_batch
from .system import build_system

STEP_TOLERANCE_V = 1e-10  # the error after such a step is its square over n V_t, far below round-off
RESIDUAL_SCALE_V = 10.0  # voltage at which the relative tolerance is taken: the residual may be 1e-11 V of conductance
BATCH_BYTES = 1 << 26  # memory of one batch of Schur complements; sets the size of internal chunks


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Programmed:
    """The matrices of one parameter set."""

    conductance_s: Floats
    hessian: Tensor  # [n_unknowns, n_unknowns] S
    coupling: Tensor  # [n_unknowns, n_voltage_sources] S
    magnitude: Tensor  # [n_unknowns] S
    blocks: Blocks


@final
class NewtonSimulator(AbstractSimulator):
    """Batched Newton in torch float64.

    Args:
        device: "cpu" or a CUDA device.
        max_iterations: bound on Newton iterations; the hardest diodes seen took 63.
    """

    def __init__(self, *, device: str = "cpu", max_iterations: int = 300) -> None:
        self._device = torch.device(device)
        self._max_iterations = max_iterations

    @property
    def name(self) -> str:
        """Short name for results and tables."""
        return "newton"

    @property
    def has_small_signal(self) -> bool:
        """It has the Hessian at hand."""
        return True

    def prepare(self, netlist: Netlist) -> "NewtonSession":
        """Analyse a netlist: unknowns, elimination order, scatter lists."""
        return NewtonSession(netlist, self._device, self._max_iterations)


@final
class NewtonSession(AbstractSession):
    """A netlist prepared for newton; keeps the matrices of the last parameter set."""

    def __init__(self, netlist: Netlist, device: torch.device, max_iterations: int) -> None:
        self._netlist = netlist
        self._max_iterations = max_iterations
        self._system = build_system(netlist.topology, device)
        self._ordering = order(netlist.topology, device)
        self._programmed: Programmed | None = None
        d, n = self._system.diodes, self._system.n_unknowns
        joined = (d.anode < n) & (d.cathode < n)
        self._joined = torch.nonzero(joined)[:, 0]
        position = torch.full((n + 1,), -1, dtype=torch.int64, device=device)
        position[self._ordering.factored] = torch.arange(len(self._ordering.factored), device=device)
        self._joined_ends = position[d.anode[self._joined]], position[d.cathode[self._joined]]

    @property
    def netlist(self) -> Netlist:
        """What was prepared."""
        return self._netlist

    def _program(self, conductance_s: Floats) -> Programmed:
        last = self._programmed
        if last is not None and np.array_equal(last.conductance_s, conductance_s):
            return last
        check_conductances(self._netlist.circuit, conductance_s)
        system = self._system
        g = torch.tensor(conductance_s, dtype=torch.float64, device=system.device)
        hessian = system.hessian.assemble(g)
        self._programmed = Programmed(
            conductance_s=conductance_s.copy(),
            hessian=hessian,
            coupling=system.coupling.assemble(g),
            magnitude=system.magnitude.assemble(g.abs())[0],
            blocks=cut(
                self._ordering,
                hessian,
                has_diodes=len(self._netlist.circuit.diodes) > 0,
            ),
        )
        return self._programmed

    def solve(
        self,
        conductance_s: Floats,
        drives: Floats,
        *,
        start_v: Floats | None = None,
        read_sources: bool = False,
        on_failure: OnFailure = OnFailure.RAISE,
    ) -> OperatingPoint:
        """Relax a batch; see `AbstractSession.solve`. A start near the solution saves iterations."""
        circuit, system = self._netlist.circuit, self._system
        check_drives(circuit, drives)
        programmed = self._program(conductance_s)
        voltages, currents = circuit.source_values(drives)
        source_v = torch.tensor(voltages, device=system.device)
        injected = torch.tensor(currents, device=system.device) @ system.injection
        constant = source_v @ programmed.coupling.T - injected
        known = source_v @ system.path.T
        start = torch.zeros_like(constant)
        if start_v is not None:
            start = torch.tensor(self._start_at_unknowns(start_v, len(drives)), device=system.device)
        with one_torch_thread():
            state = self._relax(programmed, constant, known, start)
        if on_failure is OnFailure.RAISE:
            self._refuse_indefinite(state.indefinite)
        voltage_v = (self._padded(state.u)[:, system.unknown] + known).cpu().numpy()
        converged = state.converged.cpu().numpy()
        voltage_v[~converged] = np.nan
        point = OperatingPoint(
            voltage_v=voltage_v,
            source_current_a=source_currents(self._netlist.topology, conductance_s, drives, voltage_v)
            if read_sources
            else None,
            residual_a=state.residual_a.cpu().numpy(),
            tolerance_a=state.tolerance_a.cpu().numpy(),
            worst_node=self._netlist.topology.node_of_unknown[state.worst.cpu().numpy()]
            if system.n_unknowns
            else np.zeros(len(drives), dtype=np.int64),
            iterations=state.iterations.cpu().numpy(),
            converged=converged,
        )
        if on_failure is OnFailure.RAISE:
            raise_first_failure(self._netlist, point, "newton")
        return point

    def _start_at_unknowns(self, start_v: Floats, batch: int) -> Floats:
        """Return where to start, [batch, n_unknowns] V; zero where an earlier failure left NaN."""
        circuit = self._netlist.circuit
        if start_v.shape != (batch, circuit.n_nodes):
            raise CircuitError(
                f"block '{circuit.name}': start_v of shape {start_v.shape}; give one voltage for each sample and node, "
                f"[{batch}, {circuit.n_nodes}]"
            )
        return np.nan_to_num(start_v[:, self._netlist.topology.node_of_unknown], posinf=0.0, neginf=0.0)

    def _refuse_indefinite(self, indefinite: Tensor) -> None:
        if bool(indefinite.any()):
            raise ConvergenceError(
                f"block '{self._netlist.circuit.name}': its Hessian is not positive definite in "
                f"{int(indefinite.sum())} of {len(indefinite)} samples, so it has no unique equilibrium; a negative "
                "leak or an active element is too strong"
            )

    def small_signal(self, conductance_s: Floats, voltage_v: Floats, drive_change: Floats) -> Floats:
        """Return how node voltages change with the drives at an operating point.

        Equation: dv/de = T du/de + P de, H(u) du = J di - N de, H with the diodes' conductances. For the nudge of the
        loss gradient ds this is -lambda = -H^-1 ds, so it is implicit differentiation.

        Args:
            conductance_s: [n_resistors] S.
            voltage_v: [batch, n_nodes] V — the operating point.
            drive_change: [batch, n_drives] V then A — direction in the space of drives.

        Returns:
            [batch, n_nodes] V per unit of the direction.

        Raises:
            CircuitError: for parameters, voltages or directions that are not finite or of the wrong shape.
            ConvergenceError: if the circuit is not stable there.
        """
        system, circuit = self._system, self._netlist.circuit
        check_drives(circuit, drive_change)
        if voltage_v.shape != (len(drive_change), circuit.n_nodes) or not np.isfinite(voltage_v).all():
            raise CircuitError(
                f"block '{circuit.name}': operating point of shape {voltage_v.shape}; give finite voltages "
                f"[{len(drive_change)}, {circuit.n_nodes}] from a relaxation that converged"
            )
        programmed = self._program(conductance_s)
        zero = np.zeros((1, circuit.n_drives))
        base_v, base_a = circuit.source_values(zero)
        change_v, change_a = circuit.source_values(drive_change)
        source_v = torch.tensor(change_v - base_v, device=system.device)
        injected = torch.tensor(change_a - base_a, device=system.device) @ system.injection
        right = injected - source_v @ programmed.coupling.T
        nodes = torch.tensor(voltage_v, device=system.device)
        d = system.diodes
        across = nodes[:, d.anode_node] - nodes[:, d.cathode_node]
        across_v, i_s, n_vt, r_s = (t.cpu().numpy() for t in (across, d.i_s, d.n_vt, d.r_s))
        junction = torch.tensor(junction_voltage(across_v, i_s, n_vt, r_s, circuit.gmin_s), device=system.device)
        _, g = junction_current(junction, d.i_s, d.n_vt, circuit.gmin_s, torch)
        size = self._chunk_size()
        with one_torch_thread():
            parts = [
                self._linear_solve(programmed, (g / (1.0 + d.r_s * g))[k : k + size], right[k : k + size])
                for k in range(0, len(right), size)
            ]
        u = torch.cat(parts) if parts else right
        self._refuse_indefinite(u.isnan().any(dim=1))
        return np.asarray((self._padded(u)[:, system.unknown] + source_v @ system.path.T).cpu().numpy())

    def _padded(self, u: Tensor) -> Tensor:
        return torch.cat([u, torch.zeros(len(u), 1, dtype=torch.float64, device=u.device)], dim=1)

    def _chunk_size(self) -> int:
        return max(1, BATCH_BYTES // (8 * max(1, len(self._ordering.factored)) ** 2))

    def _relax(self, programmed: Programmed, constant: Tensor, known: Tensor, start: Tensor) -> "State":
        size = self._chunk_size()
        parts = [
            self._relax_chunk(programmed, constant[k : k + size], known[k : k + size], start[k : k + size])
            for k in range(0, max(1, len(constant)), size)  # an empty batch is one empty chunk
        ]
        if len(parts) == 1:
            return parts[0]
        columns = ("u", "residual_a", "tolerance_a", "worst", "iterations", "converged", "indefinite")
        return State(**{name: torch.cat([getattr(part, name) for part in parts]) for name in columns})

    def _scatter(self, target: Tensor, anode: Tensor, cathode: Tensor) -> Tensor:
        """Add one value a diode to its two unknowns; known nodes fall into a last column that is dropped."""
        padded = self._padded(target)
        padded.index_add_(1, self._system.diodes.anode, anode)
        padded.index_add_(1, self._system.diodes.cathode, cathode)
        return padded[:, :-1]

    def _linear_solve(self, programmed: Programmed, g_d: Tensor, right: Tensor) -> Tensor:
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

    def _relax_chunk(self, programmed: Programmed, constant: Tensor, known: Tensor, start: Tensor) -> "State":
        """Iterate one internal chunk; samples leave as they converge."""
        d, gmin = self._system.diodes, self._netlist.circuit.gmin_s
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
            step = self._linear_solve(programmed, g_d, -residual)
            lost = step.isnan().any(dim=1)
            u_now = u_now + step
            across = self._across(u_now, offset_now)
            asked = across - d.r_s * (constant_d + g_d * across)
            limited, is_limited = limit_junction_step(asked, junction_now, d.n_vt, d.v_critical, torch)
            largest = step.abs().amax(dim=1) if step.shape[1] else step.new_zeros(len(step))
            if limited.shape[1]:
                largest = torch.maximum(largest, (limited - junction_now).abs().amax(dim=1))
            u[active], junction[active] = u_now, limited
            done = (largest <= STEP_TOLERANCE_V) & ~is_limited.any(dim=1)
            iterations[active[done]] = float(iteration)
            converged[active[done]] = True
            indefinite[active[lost]] = True
            active = active[~(done | lost)]
            if not len(active):
                break
        state = self._judged(programmed, u, junction, constant, offset, iterations, converged)
        return replace(state, indefinite=indefinite)

    def _across(self, u: Tensor, offset: Tensor) -> Tensor:
        """Return the terminal voltage of each diode, [batch, n_diodes]."""
        padded, d = self._padded(u), self._system.diodes
        return padded[:, d.anode] - padded[:, d.cathode] + offset

    def _judged(
        self,
        programmed: Programmed,
        u: Tensor,
        junction: Tensor,
        constant: Tensor,
        offset: Tensor,
        iterations: Tensor,
        converged: Tensor,
    ) -> "State":
        """Check Kirchhoff's law with the exact junction law, not the linearised one."""
        d, gmin = self._system.diodes, self._netlist.circuit.gmin_s
        current, g_j = junction_current(junction, d.i_s, d.n_vt, gmin, torch)
        # A diode's current is that of its junction and of its R_s; the one that rounding disturbs less is taken.
        over_resistance = (self._across(u, offset) - junction) / d.r_s.clamp(min=torch.finfo(torch.float64).tiny)
        current = torch.where(d.r_s * g_j > 1.0, over_resistance, current)
        residual = self._scatter(u @ programmed.hessian + constant, current, -current).abs()
        g_d = g_j / (1.0 + d.r_s * g_j)
        scale = self._scatter(programmed.magnitude.expand_as(u), g_d, g_d)
        tolerance = self._netlist.options.voltage_tolerance_v(RESIDUAL_SCALE_V) * scale
        if not u.shape[1]:
            none = u.new_zeros(len(u))
            return State(u, none, none + 1.0, none.long(), iterations, converged, ~converged)
        worst = (residual / tolerance).nan_to_num(nan=torch.inf).argmax(dim=1)
        sample = torch.arange(len(u), device=u.device)
        residual_a, tolerance_a = residual[sample, worst], tolerance[sample, worst]
        return State(u, residual_a, tolerance_a, worst, iterations, converged & (residual_a <= tolerance_a), ~converged)


@final
@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Where a batch of iterations ended: unknowns, worst residual, its tolerance, and what became of each sample."""

    u: Tensor  # [batch, n_unknowns] V
    residual_a: Tensor  # [batch] A
    tolerance_a: Tensor  # [batch] A
    worst: Tensor  # [batch] unknown
    iterations: Tensor  # [batch]
    converged: Tensor  # [batch] bool
    indefinite: Tensor  # [batch] bool: given up because the Hessian is not positive definite
