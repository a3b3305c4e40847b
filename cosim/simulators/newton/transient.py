"""newton in time: a batch of circuits after a step of their drives, by implicit steps that newton itself solves.

A capacitor over a step of length h is a conductance beside a current source (its companion), so each stage of a step is
an equilibrium of the circuit with a companion at every node: the same solver, the same laws, every element, and every
stage held against Kirchhoff's law like any equilibrium. Steps are TR-BDF2: half a step by the trapezoidal rule, then
one by the backward difference of second order; with gamma = 2 - sqrt 2 both have the same conductance, 2 C / (gamma h),
and what is much faster than a step dies out instead of ringing.

One length of step for the whole batch, from the error of its worst node and sample.

Source: Bank et al. 1985; Hosea & Shampine 1996 for the error.
"""

import math
from dataclasses import dataclass, replace
from typing import Final, final

import numpy as np

from circuits.arrays import Floats, Indices
from circuits.circuit import GROUND, Circuit
from circuits.elements import CurrentSources, Resistors
from circuits.names import JoinedNames
from circuits.topology import analyse
from netlists.lowering import lower
from netlists.netlist import SolverOptions

from ...errors import ConvergenceError, SimulationError
from ...transients.integrator import (
    AbstractIntegrator,
    Step,
    Waveforms,
    charged_nodes,
    check_times,
    shortest_time_s,
)
from ..base import AbstractSession
from .simulator import NewtonSimulator

GAMMA: Final = 2.0 - math.sqrt(2.0)
_STAGE: Final = 1.0 / (GAMMA * (2.0 - GAMMA))  # weights of the stage and of the start in the backward difference
_START: Final = (1.0 - GAMMA) ** 2 / (GAMMA * (2.0 - GAMMA))
_ERROR: Final = 2.0 * (-3.0 * GAMMA**2 + 4.0 * GAMMA - 2.0) / (12.0 * (2.0 - GAMMA))

FIRST_STEP: Final = 1e-4  # of the shortest time constant: the first step is of first order, an error of half its square
_SAFETY, _LEAST_CHANGE, _MOST_CHANGE = 0.9, 0.2, 4.0  # of the length of a step, from one to the next
_KEPT_UP_TO: Final = 1.5  # a gain for which a step keeps its length
_ROUNDING: Final = 1e-9
_SMALLEST_STEP: Final = 1e-12  # of the whole time; where steps fall below, nothing will help


@final
class NewtonIntegrator(AbstractIntegrator):
    """Batched implicit steps.

    Args:
        simulator: solves each stage.
        accuracy_v: V — error that a step may make at a node.
        solver: tolerances of the Kirchhoff check.

    Raises:
        SimulationError: for an accuracy that is not above zero.
    """

    def __init__(
        self,
        simulator: NewtonSimulator | None = None,
        *,
        accuracy_v: float = 1e-7,
        solver: SolverOptions | None = None,
    ) -> None:
        if not 0 < accuracy_v < 1:
            raise SimulationError(f"newton: accuracy_v = {accuracy_v!r} of a step; give a value above zero, as 1e-7")
        self._simulator = simulator or NewtonSimulator()
        self._accuracy_v = accuracy_v
        self._solver = solver or SolverOptions()

    @property
    def name(self) -> str:
        """Short name for results and tables."""
        return "newton"

    def follow(self, step: Step, time_s: Floats) -> Waveforms:
        """Follow the whole batch after its step; see `AbstractIntegrator.follow`."""
        check_times(step.circuit.name, time_s)
        plain = self._simulator.prepare(lower(step.circuit, self._solver)[0])
        return self.follow_from(step, plain.solve(step.conductance_s, step.drives_before).voltage_v, time_s)

    def follow_from(self, step: Step, start_v: Floats, time_s: Floats) -> Waveforms:
        """Follow the whole batch from any state, an equilibrium or not, with the drives after the step.

        Args:
            step: circuit, parameters, capacitances and drives; those before the step do not count.
            start_v: [batch, n_nodes] V — at t = 0; nodes without capacitance jump from there.
            time_s: [n_t] s — when voltages are wanted, ascending.

        Returns:
            the waveforms at those times.

        Raises:
            ConvergenceError: if steps in time get too short, or newton finds no solution for one.
        """
        check_times(step.circuit.name, time_s)
        companion = _companion(self._simulator, self._solver, step)
        moment = companion.first(start_v, self._first_step_s(step, time_s))
        found = [start_v] if time_s[0] == 0 else []
        length_s = 2.0 * moment.time_s
        for wanted_s in time_s[len(found) :]:
            moment, length_s = self._reach(companion, moment, float(wanted_s), length_s, float(time_s[-1]))
            found.append(moment.voltage_v)
        return Waveforms(time_s=time_s, voltage_v=np.stack(found, axis=1))

    def _first_step_s(self, step: Step, time_s: Floats) -> float:
        """Return the length of the first step, within the first of the times."""
        shortest_s = shortest_time_s(step.conductance_s, step.capacitance_f, step.circuit)
        return min(FIRST_STEP * shortest_s, float(time_s[time_s > 0][0]) / 2.0)

    def _reach(
        self, companion: "_Companion", moment: "_Moment", wanted_s: float, length_s: float, stop_s: float
    ) -> tuple["_Moment", float]:
        """Step on to a time; return where that is, and the length that the next step may have."""
        while moment.time_s < wanted_s:
            left_s = wanted_s - moment.time_s
            n_steps = max(1, math.ceil(left_s / length_s - _ROUNDING))
            h = left_s / n_steps
            # To the bit the last one where it is the same but for rounding: newton then keeps its matrices.
            h = length_s if abs(h - length_s) < _ROUNDING * h else h
            after, error_v = companion.advanced(moment, h)
            change = _SAFETY * (self._accuracy_v / max(error_v, np.finfo(float).tiny)) ** (1.0 / 3.0)
            is_kept = 1.0 <= change < _KEPT_UP_TO
            length_s = h if is_kept else h * min(max(change, _LEAST_CHANGE), _MOST_CHANGE)
            if error_v <= self._accuracy_v:
                moment = replace(after, time_s=wanted_s) if n_steps == 1 else after
            elif length_s < _SMALLEST_STEP * stop_s:
                raise ConvergenceError(
                    f"block '{companion.name}': newton's steps in time fall below {length_s:.2g} s, "
                    f"{moment.time_s:.3g} s after the step, without an error below {self._accuracy_v:g} V; raise "
                    "accuracy_v"
                )
        return moment, length_s


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Moment:
    """A batch at one time: voltages [batch, n_nodes] and the currents into the charged nodes' capacitors, in A."""

    time_s: float
    voltage_v: Floats
    displacement_a: Floats


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Companion:
    """A circuit with a conductance and a driven current source at each charged node."""

    name: str
    session: AbstractSession
    conductance_s: Floats  # [n_resistors] S, without companions
    drives: Floats  # [batch, n_drives], without companions
    charged: Indices
    capacitance_f: Floats  # [n_charged] F

    def _solve(self, companion_s: Floats, current_a: Floats, start_v: Floats) -> Floats:
        """Return the equilibrium with companions of some conductances and currents into the nodes."""
        return self.session.solve(
            np.concatenate([self.conductance_s, companion_s]),
            np.concatenate([self.drives, current_a], axis=1),
            start_v=start_v,
        ).voltage_v

    def _moved(self, voltage_v: Floats, change_v: Floats) -> Floats:
        """Return voltages, those of the charged nodes moved: where newton starts."""
        moved_v = voltage_v.copy()
        moved_v[:, self.charged] += change_v
        return moved_v

    def first(self, before_v: Floats, h: float) -> _Moment:
        """Step from the equilibrium before by backward Euler: nodes without capacitance jump, others do not."""
        g = self.capacitance_f / h
        v = self._solve(g, g * before_v[:, self.charged], before_v)
        return _Moment(time_s=h, voltage_v=v, displacement_a=g * (v - before_v)[:, self.charged])

    def advanced(self, moment: _Moment, h: float) -> tuple[_Moment, float]:
        """Step by TR-BDF2; return where that leads and the largest error of the step in V."""
        g = 2.0 * self.capacitance_f / (GAMMA * h)
        v0, i0 = moment.voltage_v[:, self.charged], moment.displacement_a
        stage_v = self._solve(g, g * v0 + i0, self._moved(moment.voltage_v, GAMMA * h * i0 / self.capacitance_f))
        v1 = stage_v[:, self.charged]
        i1 = g * (v1 - v0) - i0
        history_v = _STAGE * v1 - _START * v0
        end_v = self._solve(g, g * history_v, self._moved(stage_v, (1.0 / GAMMA - 1.0) * (v1 - v0)))
        i2 = g * (end_v[:, self.charged] - history_v)
        error_c = _ERROR * h * (i0 / GAMMA - i1 / (GAMMA * (1.0 - GAMMA)) + i2 / (1.0 - GAMMA))
        error_v = float(np.abs(error_c / self.capacitance_f).max(initial=0.0))
        return _Moment(time_s=moment.time_s + h, voltage_v=end_v, displacement_a=i2), error_v


def _companion(simulator: NewtonSimulator, solver: SolverOptions, step: Step) -> _Companion:
    """Prepare a circuit with companions, its drives stepped."""
    circuit = step.circuit
    charged = charged_nodes(analyse(circuit), step.capacitance_f)
    return _Companion(
        name=circuit.name,
        session=simulator.prepare(lower(_with_companions(circuit, charged), solver)[0]),
        conductance_s=step.conductance_s,
        drives=step.drives_after,
        charged=charged,
        capacitance_f=step.capacitance_f[charged],
    )


def _with_companions(circuit: Circuit, nodes: Indices) -> Circuit:
    """Return a circuit with a resistor and a driven current source from ground at each of some nodes."""
    r, i = circuit.resistors, circuit.current_sources
    names, ground = tuple(f"companion_{circuit.nodes[k]}" for k in nodes), np.full(len(nodes), GROUND)
    return replace(
        circuit,
        resistors=Resistors(
            names=JoinedNames([r.names, names]),
            a=np.concatenate([r.a, nodes]),
            b=np.concatenate([r.b, ground]),
            conductance_s=np.concatenate([r.conductance_s, np.ones(len(nodes))]),
            k3_per_v2=np.concatenate([r.k3_per_v2, np.zeros(len(nodes))]) if circuit.has_cubic else r.k3_per_v2,
        ),
        current_sources=CurrentSources(
            names=(*i.names, *names),
            start=np.concatenate([i.start, ground]),
            end=np.concatenate([i.end, nodes]),
            current_a=np.concatenate([i.current_a, np.zeros(len(nodes))]),
            driven=np.concatenate([i.driven, np.ones(len(nodes), dtype=np.bool_)]),
        ),
    )
