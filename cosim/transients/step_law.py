"""Whether a simulator's points in time obey Kirchhoff's law by our own element laws, displacement currents included.

With f the current that leaves a node through resistors, diodes and sources, an integrator's step from v1 to v2 in h is

    C (v2 - v1) / h = -f(v2)               by backward Euler
    C (v2 - v1) / h = -[f(v1) + f(v2)] / 2 by the trapezoidal rule

and either holds to the solver's tolerance whatever h is. So this judges every point, though not how accurate the
integrator's steps are; of what a simulator made of a step's first point it says all there is to say.
"""

from dataclasses import dataclass
from typing import final

import numpy as np

from circuits.arrays import Floats
from circuits.kirchhoff import KirchhoffProgram, diode_currents, leaving_currents, times_rows

PART = 256  # points at a time: arrays of one entry a diode and point


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class StepResidual:
    """The worst point of a waveform.

    Args:
        residual_a: A — net current there, by whichever of the two rules fits the step better.
        tolerance_a: A — what the solver's voltage tolerance explains.
        time_s: s — where.
        node: index of the node.
    """

    residual_a: float
    tolerance_a: float
    time_s: float
    node: int

    @property
    def is_explained(self) -> bool:
        """Whether the solver's tolerance explains it; NaN is never explained."""
        return self.residual_a <= self.tolerance_a


def step_residual(
    program: KirchhoffProgram,
    capacitance_f: Floats,
    drives: Floats,
    time_s: Floats,
    voltage_v: Floats,
    *,
    voltage_tolerance_v: float,
) -> StepResidual:
    """Return how far the points of one waveform are from Kirchhoff's law with displacement currents.

    Args:
        program: Kirchhoff's law of the circuit with its conductances.
        capacitance_f: [n_nodes] F — of each node to ground.
        drives: [n_drives] V then A — from the first point on.
        time_s: [n_t] s — every point that the integrator solved, from t = 0 on.
        voltage_v: [n_t, n_nodes] V — at t = 0 those before the step.
        voltage_tolerance_v: V — the solver's tolerance on a node voltage.

    Returns:
        the point with the largest residual in units of its tolerance.
    """
    topology, spread = program.law.topology, program.law.spread
    worst = StepResidual(residual_a=0.0, tolerance_a=np.inf, time_s=0.0, node=0)
    largest = 0.0
    for first in range(0, len(time_s) - 1, PART):
        part = slice(first, min(first + PART, len(time_s) - 1) + 1)
        v, h = voltage_v[part], np.diff(time_s[part])[:, np.newaxis]
        rows = np.repeat(drives[np.newaxis], len(v), axis=0)
        f = times_rows(spread, leaving_currents(topology.circuit, program.conductance_s, rows, v))
        displacement = times_rows(spread, capacitance_f * np.diff(v, axis=0)) / h
        euler, trapezoidal = displacement + f[1:], displacement + (f[1:] + f[:-1]) / 2
        scale = _conductance_at_unknowns(program, v[1:]) + times_rows(spread, capacitance_f[np.newaxis])[0] / h
        tolerance = 2.0 * voltage_tolerance_v * scale + np.finfo(float).tiny  # both ends of a step have an error
        ratios = np.abs(np.stack([euler, trapezoidal])) / tolerance
        ratios = np.where(np.isnan(ratios), np.inf, ratios)
        ratio = ratios[np.argmin(ratios.max(axis=2), axis=0), np.arange(len(h))]  # a step has one rule at all nodes
        point, unknown = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
        if ratio[point, unknown] > largest:
            largest = float(ratio[point, unknown])
            worst = StepResidual(
                residual_a=largest * float(tolerance[point, unknown]),
                tolerance_a=float(tolerance[point, unknown]),
                time_s=float(time_s[first + point + 1]),
                node=int(topology.node_of_unknown[unknown]),
            )
    return worst


def _conductance_at_unknowns(program: KirchhoffProgram, voltage_v: Floats) -> Floats:
    """Return the sum of all small-signal conductances at each unknown, [n_t, n_unknowns] S."""
    law, circuit = program.law, program.law.topology.circuit
    scale = np.repeat(program.magnitude_s[np.newaxis], len(voltage_v), axis=0)
    if law.cubic is not None:
        scale = scale + times_rows(law.spread, law.cubic.slope(program.conductance_s, voltage_v))
    if len(circuit.diodes):
        scale = scale + times_rows(abs(law.diode_branches), diode_currents(circuit, voltage_v)[1])
    return np.asarray(scale)
