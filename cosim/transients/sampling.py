"""A simulator whose converters do not wait: voltages some time after the drives stepped, settled or not.

Where a block's phases ask for an equilibrium this gives the state at a given moment, so that whole networks, converters
and phases included, run with it as they are. A solve without a start begins at rest, the equilibrium without drives, as
a free phase does; one with a start goes on from there, as nudged phases do.
"""

from collections.abc import Mapping
from typing import final

import numpy as np

from circuits.arrays import Floats
from circuits.kirchhoff import kirchhoff_law, source_currents
from netlists.netlist import Netlist

from ..errors import SimulationError
from ..simulators.base import AbstractSession, AbstractSimulator, OnFailure, OperatingPoint, residual_tolerance_v
from ..simulators.newton import NewtonSession, NewtonSimulator
from ..simulators.newton.transient import NewtonIntegrator
from .integrator import Step


@final
class SampledSimulator(AbstractSimulator):
    """newton in time, sampled at a moment.

    Args:
        capacitance_f: F — of each node to ground, by its name; a mirrored or folded circuit's nodes keep their names.
        from_rest_s: s — after the drives stepped from zero, at which a phase that begins at rest is sampled; None to
            wait for the equilibrium.
        from_state_s: s — likewise for a phase that goes on from a given state.
        accuracy_v: V — error that a step in time may make.

    Raises:
        SimulationError: for a time that is not above zero.
    """

    def __init__(
        self,
        capacitance_f: Mapping[str, float],
        *,
        from_rest_s: float | None = None,
        from_state_s: float | None = None,
        accuracy_v: float = 1e-7,
    ) -> None:
        for name, value in (("from_rest_s", from_rest_s), ("from_state_s", from_state_s)):
            if value is not None and not (np.isfinite(value) and value > 0):
                raise SimulationError(f"sampling: {name} = {value!r}; give a time above zero, or None for equilibrium")
        self.capacitance_f = capacitance_f
        self.from_rest_s = from_rest_s
        self.from_state_s = from_state_s
        self.accuracy_v = accuracy_v

    @property
    def name(self) -> str:
        """Short name for results and tables."""
        return "newton, sampled"

    @property
    def is_exact(self) -> bool:
        """A state on its way to equilibrium violates Kirchhoff's law by its displacement currents."""
        return False

    def prepare(self, netlist: Netlist) -> "SampledSession":
        """Prepare newton, and look up the capacitances."""
        return SampledSession(netlist, self)


@final
class SampledSession(AbstractSession):
    """A netlist prepared for sampling."""

    def __init__(self, netlist: Netlist, simulator: SampledSimulator) -> None:
        circuit = netlist.circuit
        missing = [name for name in circuit.nodes[1:] if name not in simulator.capacitance_f]
        if missing:
            raise SimulationError(
                f"block '{circuit.name}': no capacitance given for node '{missing[0]}' ({len(missing)} such)"
            )
        self._netlist, self._simulator = netlist, simulator
        self._capacitance_f = np.array([0.0, *(simulator.capacitance_f[name] for name in circuit.nodes[1:])])
        self._law = kirchhoff_law(netlist.topology)
        self._newton: NewtonSession = NewtonSimulator().prepare(netlist)
        self._integrator = NewtonIntegrator(accuracy_v=simulator.accuracy_v, solver=netlist.options)

    @property
    def netlist(self) -> Netlist:
        """What was prepared."""
        return self._netlist

    def solve(
        self,
        conductance_s: Floats,
        drives: Floats,
        *,
        start_v: Floats | None = None,
        read_sources: bool = False,
        on_failure: OnFailure = OnFailure.RAISE,
    ) -> OperatingPoint:
        """Return the state at the sampling time; see `AbstractSession.solve`.

        Its residual is the largest displacement current of each sample.
        """
        moment_s = self._simulator.from_rest_s if start_v is None else self._simulator.from_state_s
        if moment_s is None:
            return self._newton.solve(
                conductance_s, drives, start_v=start_v, read_sources=read_sources, on_failure=on_failure
            )
        if start_v is None:
            rest = self._newton.solve(conductance_s, np.zeros_like(drives[:1]))
            start_v = np.repeat(rest.voltage_v, len(drives), axis=0)
        step = Step(
            circuit=self._netlist.circuit,
            conductance_s=conductance_s,
            drives_before=drives,
            drives_after=drives,
            capacitance_f=self._capacitance_f,
        )
        voltage_v = self._integrator.follow_from(step, start_v, np.array([moment_s])).voltage_v[:, 0].copy()
        judged = self._law.program(conductance_s).residual(
            drives, voltage_v, voltage_tolerance_v=residual_tolerance_v(self._netlist.options, voltage_v)
        )
        return OperatingPoint(
            voltage_v=voltage_v,
            source_current_a=source_currents(self._netlist.topology, conductance_s, drives, voltage_v)
            if read_sources
            else None,
            residual_a=judged.residual_a,
            tolerance_a=judged.tolerance_a,
            worst_node=judged.node,
            iterations=np.zeros(len(drives)),
            converged=np.ones(len(drives), dtype=np.bool_),
        )
