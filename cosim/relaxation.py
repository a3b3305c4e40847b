"""Relax a block's circuit in a simulator, through the largest exact reduction that holds for these numbers.

Reductions and sessions belong to the topology, programs to the parameter set; a batch only passes through.
"""

from dataclasses import dataclass, field, replace
from typing import Self, final

import numpy as np

from circuits.arrays import Floats, Indices, no_indices
from circuits.block_circuit import BlockCircuit
from circuits.choices import chosen
from circuits.circuit import Circuit
from circuits.kirchhoff import KirchhoffLaw, KirchhoffProgram, kirchhoff_law
from circuits.reductions import AbstractProgram, AbstractReduction, Chain, fold, mirror, ports
from circuits.topology import analyse
from netlists.lowering import lower
from netlists.netlist import SolverOptions

from .errors import SimulationError
from .reduce import Reduce
from .simulators.base import (
    AbstractSession,
    AbstractSimulator,
    OnFailure,
    OperatingPoint,
    raise_first_failure,
    residual_tolerance_v,
)
from .simulators.newton import NewtonSimulator

__all__ = ["Reduce", "Relaxation", "RelaxationOptions"]


@final
class _Route:
    """One reduction with its sessions, made when they are needed, and its last program."""

    def __init__(self, circuit: Circuit, reduction: AbstractReduction | None) -> None:
        self.reduction = reduction
        self.circuit = circuit if reduction is None else reduction.reduced
        self.session: AbstractSession | None = None
        self.linear_session: AbstractSession | None = None  # newton's, for a simulator without small-signal analysis
        self.conductance_s: Floats | None = None
        self.program: AbstractProgram | None = None

    def programmed(self, conductance_s: Floats) -> bool:
        """Put conductances in; return whether the reduction holds for them."""
        if self.reduction is None:
            return True
        if self.conductance_s is None or not np.array_equal(self.conductance_s, conductance_s):
            self.conductance_s = conductance_s.copy()
            self.program = self.reduction.program(conductance_s)
        return self.program is not None

    def holds(self, conductance_s: Floats, drives: Floats) -> bool:
        """Return whether the reduction holds for these conductances and drives."""
        return self.programmed(conductance_s) and (self.program is None or self.program.applies_to(drives))

    def close(self) -> None:
        """Release the sessions."""
        for session in (self.session, self.linear_session):
            if session is not None:
                session.close()
        self.session = self.linear_session = None


def _and_folded(first: AbstractReduction | None) -> AbstractReduction | None:
    """Return a reduction followed by folding, where that is possible."""
    folded = None if first is None else fold(first.reduced)
    return first if first is None or folded is None else Chain(first=first, second=folded)


def _has_gaps(voltage_v: Floats, point: OperatingPoint) -> bool:
    """Return whether voltages of samples that were solved are left out: those inside of a port reduction."""
    return bool(np.isnan(voltage_v[point.converged]).any())


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class RelaxationOptions:
    """How a relaxation is set up: how far to reduce, and the deck's tolerances."""

    reduce: Reduce = Reduce.MIRROR
    solver: SolverOptions = field(default_factory=SolverOptions)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reduce", chosen(Reduce, self.reduce, "relaxation: reduce", SimulationError))


@final
class Relaxation:
    """A circuit ready to be relaxed in one simulator.

    Args:
        circuit: the full circuit.
        image: [n_nodes] mirror images; empty where the circuit has no mirror symmetry.
        simulator: where it is solved.
        options: how far to reduce, and tolerances.
        inside: [n] nodes that a port reduction eliminates: those on wires.
    """

    def __init__(
        self,
        circuit: Circuit,
        image: Indices,
        simulator: AbstractSimulator,
        options: RelaxationOptions | None = None,
        *,
        inside: Indices | None = None,
    ) -> None:
        self.circuit = circuit
        self._simulator = simulator
        self._options = options or RelaxationOptions()
        self._law: KirchhoffLaw | None = None
        self._kirchhoff: KirchhoffProgram | None = None
        self._kirchhoff_s: Floats | None = None
        self._image = image
        self._inside = no_indices() if inside is None else inside
        self._routes: list[_Route] = []
        # Smallest circuit first; each is analysed when those before it did not do, as that takes time and memory.
        order = (Reduce.MIRROR, Reduce.PORTS, Reduce.FOLD, Reduce.NONE)
        self._untried = list(order[order.index(self._options.reduce) :])

    @classmethod
    def of_block(
        cls, block_circuit: BlockCircuit, simulator: AbstractSimulator, options: RelaxationOptions | None = None
    ) -> Self:
        """Return the relaxation of a block, with or without wires."""
        inside = block_circuit.wire_nodes
        return cls(block_circuit.circuit, block_circuit.image, simulator, options, inside=inside)

    def _next_route(self) -> _Route | None:
        """Analyse the next reduction; None where the wiring does not allow it."""
        reduction: AbstractReduction | None
        match self._untried.pop(0):
            case Reduce.MIRROR:
                reduction = _and_folded(mirror(self.circuit, self._image) if len(self._image) else None)
            case Reduce.PORTS:
                reduction = _and_folded(ports(self.circuit, self._inside) if len(self._inside) else None)
            case Reduce.FOLD:
                reduction = fold(self.circuit)
            case Reduce.NONE:
                return _Route(self.circuit, None)
        return None if reduction is None else _Route(self.circuit, reduction)

    def _route(self, conductance_s: Floats, drives: Floats) -> _Route:
        """Return the first route whose conditions hold."""
        for route in self._routes:
            if route.holds(conductance_s, drives):
                return route
        while self._untried:
            found = self._next_route()
            if found is not None:
                self._routes.append(found)
                if found.holds(conductance_s, drives):
                    return found
        raise SimulationError(f"block '{self.circuit.name}': no way to solve it")  # the last route always holds

    def _session(self, route: _Route) -> AbstractSession:
        """Return the session that solves a route's circuit."""
        if route.session is None:
            route.session = self._simulator.prepare(lower(route.circuit, self._options.solver)[0])
        return route.session

    def _linear_session(self, route: _Route) -> AbstractSession:
        """Return the session that linearises a route's circuit."""
        if self._simulator.has_small_signal:
            return self._session(route)
        if route.linear_session is None:
            route.linear_session = NewtonSimulator().prepare(lower(route.circuit, self._options.solver)[0])
        return route.linear_session

    def route_circuit(self, conductance_s: Floats, drives: Floats) -> Circuit:
        """Return the circuit that the simulator actually gets for these numbers."""
        return self._route(conductance_s, drives).circuit

    def solve(
        self,
        conductance_s: Floats,
        drives: Floats,
        *,
        start_v: Floats | None = None,
        on_failure: OnFailure = OnFailure.RAISE,
        recover: bool = True,
    ) -> OperatingPoint:
        """Relax a batch and return the voltages of the full circuit.

        Args:
            conductance_s: [n_resistors] S — of the full circuit.
            drives: [batch, n_drives] V then A — of the full circuit.
            start_v: [batch, n_nodes] V — where to start.
            on_failure: raise, or record the failing samples.
            recover: whether voltages inside of a port reduction are wanted; if not they are NaN, which `recovered`
                makes up for.

        Returns:
            equilibria with the full circuit's nodes, held against the full circuit's Kirchhoff law; against that of the
            reduced one where the inside is not recovered.

        Raises:
            CircuitError, ConvergenceError: as `AbstractSession.solve`.
        """
        route = self._route(conductance_s, drives)
        session, program = self._session(route), route.program
        if program is None:
            return session.solve(conductance_s, drives, start_v=start_v, on_failure=on_failure)
        point = session.solve(
            program.conductance_s,
            program.drives(drives),
            start_v=None if start_v is None else program.restrict(start_v),
            on_failure=on_failure,
        )
        expand = program.expand if recover else program.expand_ports
        voltage_v = expand(drives, point.voltage_v)
        if route.reduction is not None and _has_gaps(voltage_v, point):
            return replace(point, voltage_v=voltage_v, worst_node=route.reduction.kept_nodes[point.worst_node])
        return self._judged(conductance_s, drives, voltage_v, point, on_failure)

    def recovered(self, conductance_s: Floats, drives: Floats, point: OperatingPoint) -> OperatingPoint:
        """Return an operating point with the voltages inside of a port reduction, where `solve` left them out.

        Args:
            conductance_s: [n_resistors] S — of the full circuit, as they were solved.
            drives: [batch, n_drives] V then A — likewise.
            point: from `solve`.

        Raises:
            ConvergenceError: if what is recovered violates the full circuit's Kirchhoff law.
        """
        program = self._route(conductance_s, drives).program
        if program is None or not _has_gaps(point.voltage_v, point):
            return point
        voltage_v = program.expand(drives, program.restrict(point.voltage_v))
        return self._judged(conductance_s, drives, voltage_v, point, OnFailure.RAISE)

    def _judged(
        self,
        conductance_s: Floats,
        drives: Floats,
        voltage_v: Floats,
        point: OperatingPoint,
        on_failure: OnFailure,
    ) -> OperatingPoint:
        """Return a reduced circuit's result as the full circuit's, held against the full circuit's Kirchhoff law."""
        last_s = self._kirchhoff_s
        if self._kirchhoff is None or last_s is None or not np.array_equal(last_s, conductance_s):
            self._law = self._law or kirchhoff_law(analyse(self.circuit))
            self._kirchhoff, self._kirchhoff_s = self._law.program(conductance_s), conductance_s.copy()
        tolerance_v = residual_tolerance_v(self._options.solver, voltage_v)
        judged = self._kirchhoff.residual(drives, voltage_v, voltage_tolerance_v=tolerance_v)
        converged = point.converged
        if self._simulator.is_exact:
            with np.errstate(invalid="ignore"):  # samples that were not solved are NaN
                converged = converged & (judged.residual_a <= judged.tolerance_a)
        voltage_v[~converged] = np.nan
        full = replace(
            point,
            voltage_v=voltage_v,
            residual_a=judged.residual_a,
            tolerance_a=judged.tolerance_a,
            worst_node=judged.node,
            converged=converged,
        )
        if on_failure is OnFailure.RAISE:
            raise_first_failure(self.circuit, full, self._simulator.name)
        return full

    def small_signal(self, conductance_s: Floats, drives: Floats, voltage_v: Floats, drive_change: Floats) -> Floats:
        """Return how the node voltages change with the drives at an operating point, [batch, n_nodes] V per unit.

        The equilibrium is only linearised, not solved again. Where the simulator has no small-signal analysis newton's
        does it, with the Hessian of our own element laws at the voltages that the simulator found.

        Args:
            conductance_s: [n_resistors] S.
            drives: [batch, n_drives] V then A — at the operating point.
            voltage_v: [batch, n_nodes] V — the operating point.
            drive_change: [batch, n_drives] V then A — direction.

        Raises:
            CircuitError: for voltages or directions that are not finite or of the wrong shape.
            ConvergenceError: if the circuit is not stable there.
        """
        route = self._route(conductance_s, np.concatenate([drives, drive_change]))
        session, program = self._linear_session(route), route.program
        if program is None:
            return session.small_signal(conductance_s, voltage_v, drive_change, drives=drives)
        reduced_change = program.drives(drive_change) - program.drives(np.zeros_like(drive_change))
        response = session.small_signal(
            program.conductance_s, program.restrict(voltage_v), reduced_change, drives=program.drives(drives)
        )
        # What a reduction adds for no change at all is the same for every sample.
        constant_v = program.expand(np.zeros_like(drive_change[:1]), np.zeros_like(response[:1]))
        return program.expand(drive_change, response) - constant_v

    def close(self) -> None:
        """Release the sessions."""
        for route in self._routes:
            route.close()
