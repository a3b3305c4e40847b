"""newton as a simulator: netlists and arrays in, operating points out, every one checked against Kirchhoff's law.

The check is that of circuits.kirchhoff, from the circuit's own arrays: it shares no matrix with the iteration.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from circuits.arrays import Floats
from circuits.choices import chosen
from circuits.errors import CircuitError
from circuits.kirchhoff import KirchhoffProgram, diode_currents, kirchhoff_law, source_currents
from circuits.validation import check_conductances, check_drives
from netlists.netlist import Netlist

from ...errors import ConvergenceError, SimulationError
from ...threads import one_torch_thread
from ..base import (
    AbstractSession,
    AbstractSimulator,
    OnFailure,
    OperatingPoint,
    raise_first_failure,
    residual_tolerance_v,
)
from .dense import DenseEquations
from .elimination import order
from .iteration import NewtonIteration
from .linear import AbstractEquations, AbstractMatrices, LinearSolver
from .sparse import SparseEquations
from .system import System, build_system

DENSE_UNKNOWNS = 4096  # above this a dense Hessian takes more than 128 MiB
CG_PRODUCTS = 10  # products with the Hessian that a step takes by conjugate gradients, in a crossbar
DENSE_COST = 50.0  # elimination may need so many times more flops: it is exact, and its products are the faster ones


@final
class NewtonSimulator(AbstractSimulator):
    """Batched Newton in torch float64.

    Args:
        device: "cpu" or a CUDA device.
        max_iterations: bound on Newton iterations; the hardest diodes seen took 63.
        linear: how each step is solved. AUTO is elimination with dense matrices, but conjugate gradients with sparse
            ones where a circuit has more than DENSE_UNKNOWNS unknown voltages, or where elimination takes more than
            DENSE_COST times the flops of CG_PRODUCTS products with the sparse Hessian.
    """

    def __init__(
        self, *, device: str = "cpu", max_iterations: int = 300, linear: LinearSolver = LinearSolver.AUTO
    ) -> None:
        self._device = torch.device(device)
        self._max_iterations = max_iterations
        self._linear = chosen(LinearSolver, linear, "newton: linear", SimulationError)

    @property
    def name(self) -> str:
        """Short name for results and tables."""
        return "newton"

    @property
    def has_small_signal(self) -> bool:
        """It has the Hessian at hand."""
        return True

    def prepare(self, netlist: Netlist) -> "NewtonSession":
        """Analyse a netlist: unknowns, and the elimination order or the sparse maps."""
        return NewtonSession(netlist, self._device, self._max_iterations, self._linear)


def choose_equations(system: System, linear: LinearSolver) -> AbstractEquations:
    """Return how a system's linear part is solved; AUTO is elimination where it is not too large."""
    if linear is LinearSolver.AUTO and system.n_unknowns > DENSE_UNKNOWNS:
        linear = LinearSolver.CONJUGATE_GRADIENTS
    if linear is not LinearSolver.CONJUGATE_GRADIENTS:
        ordering = order(system.topology, system.device)
        sparse_flops = 2.0 * CG_PRODUCTS * ordering.n_entries
        if linear is LinearSolver.ELIMINATION or ordering.flops <= DENSE_COST * sparse_flops:
            return DenseEquations(system, ordering)
    return SparseEquations(system)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ParameterSet:
    """The last conductances, as the iteration and as Kirchhoff's law need them."""

    conductance_s: Floats
    matrices: AbstractMatrices
    coefficient: Tensor | None  # [n_cubic, 1] A/V^3; None where every resistor is linear
    kirchhoff: KirchhoffProgram


@final
class NewtonSession(AbstractSession):
    """A netlist prepared for newton; keeps the matrices of the last parameter set."""

    def __init__(self, netlist: Netlist, device: torch.device, max_iterations: int, linear: LinearSolver) -> None:
        self._netlist = netlist
        self._system = build_system(netlist.topology, device)
        self._equations = choose_equations(self._system, linear)
        self._iteration = NewtonIteration(self._system, self._equations, max_iterations)
        self._law = kirchhoff_law(netlist.topology)
        self._last: ParameterSet | None = None

    @property
    def netlist(self) -> Netlist:
        """What was prepared."""
        return self._netlist

    def _program(self, conductance_s: Floats) -> ParameterSet:
        if self._last is None or not np.array_equal(self._last.conductance_s, conductance_s):
            check_conductances(self._netlist.circuit, conductance_s)
            self._last = ParameterSet(
                conductance_s=conductance_s.copy(),
                matrices=self._equations.program(conductance_s),
                coefficient=None if self._system.cubic is None else self._system.cubic.coefficient(conductance_s),
                kirchhoff=self._law.program(conductance_s),
            )
        return self._last

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
        parameters = self._program(conductance_s)
        voltages, currents = circuit.source_values(drives)
        source_v = torch.tensor(voltages, device=system.device)
        injected = self._equations.injected(torch.tensor(currents, device=system.device))
        constant = parameters.matrices.coupled(source_v) - injected
        known = self._equations.known(source_v)
        start = torch.zeros_like(constant)
        if start_v is not None:
            start = torch.tensor(self._start_at_unknowns(start_v, len(drives)), device=system.device)
        with one_torch_thread():
            state = self._iteration.relax(parameters.matrices, parameters.coefficient, constant, known, start)
        if on_failure is OnFailure.RAISE:
            self._refuse_indefinite(state.indefinite)
        voltage_v = system.node_voltages(state.u, known).cpu().numpy()
        tolerance_v = residual_tolerance_v(self._netlist.options, voltage_v)
        judged = parameters.kirchhoff.residual(drives, voltage_v, voltage_tolerance_v=tolerance_v)
        converged = state.converged.cpu().numpy() & (judged.residual_a <= judged.tolerance_a)
        voltage_v[~converged] = np.nan
        point = OperatingPoint(
            voltage_v=voltage_v,
            source_current_a=source_currents(self._netlist.topology, conductance_s, drives, voltage_v)
            if read_sources
            else None,
            residual_a=judged.residual_a,
            tolerance_a=judged.tolerance_a,
            worst_node=judged.node,
            iterations=state.iterations.cpu().numpy(),
            converged=converged,
        )
        if on_failure is OnFailure.RAISE:
            raise_first_failure(circuit, point, "newton")
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
                f"leak or an active element is too strong (first is sample {int(indefinite.nonzero()[0])})"
            )

    def small_signal(
        self, conductance_s: Floats, voltage_v: Floats, drive_change: Floats, *, drives: Floats | None = None
    ) -> Floats:
        """Return how node voltages change with the drives at an operating point.

        Equation: dv/de = T du/de + P de, H(u) du = J di - N de, H and N with the conductances of diodes and cubic
        devices. For the nudge of the loss gradient ds this is -lambda = -H^-1 ds, so it is implicit differentiation.

        Args:
            conductance_s: [n_resistors] S.
            voltage_v: [batch, n_nodes] V — the operating point.
            drive_change: [batch, n_drives] V then A — direction in the space of drives.
            drives: not needed: the voltages say it all.

        Returns:
            [batch, n_nodes] V per unit of the direction.

        Raises:
            CircuitError: for parameters, voltages or directions that are not finite or of the wrong shape.
            ConvergenceError: if the circuit is not stable there.
        """
        del drives
        system, circuit = self._system, self._netlist.circuit
        check_drives(circuit, drive_change)
        if voltage_v.shape != (len(drive_change), circuit.n_nodes) or not np.isfinite(voltage_v).all():
            raise CircuitError(
                f"block '{circuit.name}': operating point of shape {voltage_v.shape}; give finite voltages "
                f"[{len(drive_change)}, {circuit.n_nodes}] from a relaxation that converged"
            )
        parameters = self._program(conductance_s)
        base_v, base_a = circuit.source_values(np.zeros((1, circuit.n_drives)))
        change_v, change_a = circuit.source_values(drive_change)
        source_v = torch.tensor(change_v - base_v, device=system.device)
        injected = self._equations.injected(torch.tensor(change_a - base_a, device=system.device))
        known = self._equations.known(source_v)
        right = injected - parameters.matrices.coupled(source_v)
        g_d = torch.tensor(diode_currents(circuit, voltage_v)[1], device=system.device)
        point = torch.tensor(voltage_v, device=system.device)
        with one_torch_thread():
            u = self._iteration.small_signal(parameters.matrices, parameters.coefficient, g_d, point, known, right)
        self._refuse_indefinite(u.isnan().any(dim=1))
        return np.asarray(system.node_voltages(u, known).cpu().numpy())
