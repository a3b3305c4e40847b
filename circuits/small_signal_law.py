"""Kirchhoff's current law for small signals, by our own element laws: what any simulator's linearisation must obey.

Takes a circuit, an operating point and a response from anywhere; knows nothing of who linearised it. The current laws
are differenced, not differentiated by hand, so that an element counts as soon as `leaving_currents` knows it, and so
that the check shares no derivative with a simulator.
"""

import numpy as np

from .arrays import Floats
from .circuit import Circuit, diode_columns
from .kirchhoff import KirchhoffProgram, KirchhoffResidual, diode_currents, known_voltages, leaving_currents, times_rows

STEP = 4e-5  # of the smallest n V_t: the difference's curvature is then 3e-10 of a diode's conductance
LARGEST_STEP_V = 1e-6  # kinks of piecewise-linear diodes are seldom nearer; rounding is 1e-16 V over it
LINEAR_STEP_V = 1e-3  # without diodes


def small_signal_residual(
    program: KirchhoffProgram,
    drives: Floats,
    voltage_v: Floats,
    drive_change: Floats,
    response_v: Floats,
    *,
    tolerance: float,
) -> KirchhoffResidual:
    """Return how far the response of node voltages to a change of drives is from Kirchhoff's law for small signals.

    Equation: d/dh [T^T i(v + h r, e + h de)] = 0, by the central difference over h with max |h r| a small part of a
    junction's n V_t; tolerance per node = tolerance * max |r| * (sum |g| + sum 3 g k3 V^2 + sum g_d).

    Args:
        program: Kirchhoff's law of the circuit with its conductances.
        drives: [batch, n_drives] V then A — at the operating point.
        voltage_v: [batch, n_nodes] V — the operating point.
        drive_change: [batch, n_drives] V then A — direction of the change.
        response_v: [batch, n_nodes] V per unit of the change, r.
        tolerance: error of a response that is allowed, relative to the largest of its sample.

    Returns:
        the worst node of each sample, in A per unit of the change.
    """
    topology, conductance_s = program.law.topology, program.conductance_s
    circuit, batch = topology.circuit, len(response_v)
    largest = np.abs(response_v).max(axis=1, initial=0.0)
    if not topology.n_unknowns:
        none = np.zeros(batch)
        return KirchhoffResidual(residual_a=none, tolerance_a=none + 1.0, node=np.zeros(batch, dtype=np.int64))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # nonsense is judged, not warned about
        h = (_step_v(circuit) / np.where(largest > 0, largest, 1.0))[:, np.newaxis]
        ahead, behind = (
            leaving_currents(
                circuit, conductance_s, drives + sign * h * drive_change, voltage_v + sign * h * response_v
            )
            for sign in (1.0, -1.0)
        )
        residual = np.abs(times_rows(program.law.spread, (ahead - behind) / (2.0 * h)))
        allowed = tolerance * largest[:, np.newaxis] * _conductance_at_unknowns(program, voltage_v)
        allowed = np.where(np.isfinite(allowed), allowed, 0.0) + np.finfo(float).tiny
        ratio = residual / allowed
    worst, sample = np.argmax(np.where(np.isnan(ratio), np.inf, ratio), axis=1), np.arange(batch)
    return KirchhoffResidual(
        residual_a=residual[sample, worst],
        tolerance_a=allowed[sample, worst],
        node=topology.node_of_unknown[worst],
    )


def source_response_error(program: KirchhoffProgram, drive_change: Floats, response_v: Floats) -> Floats:
    """Return how far a response is from what the voltage sources alone set, [batch] V per unit of the change.

    Equation: max |r - T r_u - P de|: nodes at sources move with them.

    Args:
        program: Kirchhoff's law of the circuit.
        drive_change: [batch, n_drives] V then A.
        response_v: [batch, n_nodes] V per unit of the change.
    """
    topology = program.law.topology
    moved = known_voltages(topology, drive_change) - known_voltages(topology, np.zeros_like(drive_change))
    at_unknowns = (topology.unknown_matrix() @ response_v[:, topology.node_of_unknown].T).T
    return np.asarray(np.abs(response_v - at_unknowns - moved).max(axis=1, initial=0.0))


def _step_v(circuit: Circuit) -> float:
    """Return the largest voltage step of the difference."""
    if not len(circuit.diodes):
        return LINEAR_STEP_V
    return min(LARGEST_STEP_V, STEP * float(diode_columns(circuit)[1].min()))


def _conductance_at_unknowns(program: KirchhoffProgram, voltage_v: Floats) -> Floats:
    """Return the sum of all small-signal conductances at each unknown, [batch, n_unknowns] S."""
    law, circuit = program.law, program.law.topology.circuit
    scale = np.repeat(program.magnitude_s[np.newaxis], len(voltage_v), axis=0)
    if law.cubic is not None:
        scale = scale + times_rows(law.spread, law.cubic.slope(program.conductance_s, voltage_v))
    if len(circuit.diodes):
        scale = scale + times_rows(abs(law.diode_branches), diode_currents(circuit, voltage_v)[1])
    return np.asarray(scale)
