"""Co-content, the function that the operating point minimises, and its derivative by each kind of parameter.

F(v) = sum_R g/2 (va - vb)^2 + sum_D int I_D dv - sum_I I (v_end - v_start). With everything else fixed dF/dv = 0 is
Kirchhoff's current law (Millar 1951), and equilibrium propagation needs dF/dp of each parameter p only, which is local.
"""

import numpy as np

from .arrays import Floats
from .circuit import Circuit, diode_columns
from .diode import junction_cocontent, junction_current, junction_voltage


def branch_voltages(start: np.ndarray, end: np.ndarray, voltage_v: Floats) -> Floats:
    """Return [batch, n_branches] V across branches given by two node columns."""
    return np.asarray(voltage_v[:, start] - voltage_v[:, end])


def cocontent(circuit: Circuit, conductance_s: Floats, drives: Floats, voltage_v: Floats) -> Floats:
    """Return the co-content F of each sample.

    A diode with series resistance counts the co-content of its junction plus R_s I^2 / 2: the minimum over its
    internal node.

    Args:
        circuit: the circuit.
        conductance_s: [n_resistors] S.
        drives: [batch, n_drives] V then A.
        voltage_v: [batch, n_nodes] V.

    Returns:
        [batch] W.

    Source: Millar 1951, "Some general theorems for non-linear systems possessing resistance".
    """
    r, d, i = circuit.resistors, circuit.diodes, circuit.current_sources
    total = branch_voltages(r.a, r.b, voltage_v) ** 2 @ conductance_s / 2
    if len(d):
        i_s, n_vt, r_s = diode_columns(circuit)
        junction = junction_voltage(branch_voltages(d.anode, d.cathode, voltage_v), i_s, n_vt, r_s, circuit.gmin_s)
        current, _ = junction_current(junction, i_s, n_vt, circuit.gmin_s)
        total = total + (junction_cocontent(junction, i_s, n_vt, circuit.gmin_s) + r_s * current**2 / 2).sum(axis=1)
    if len(i):
        _, current_a = circuit.source_values(drives)
        total = total - (current_a * branch_voltages(i.end, i.start, voltage_v)).sum(axis=1)
    return np.asarray(total)


def conductance_derivative(circuit: Circuit, voltage_v: Floats) -> Floats:
    """Return dF/dg of every resistor: 1/2 (va - vb)^2, [batch, n_resistors] V^2."""
    return branch_voltages(circuit.resistors.a, circuit.resistors.b, voltage_v) ** 2 / 2


def current_source_derivative(circuit: Circuit, voltage_v: Floats) -> Floats:
    """Return dF/dI of every current source: -(v_end - v_start), [batch, n_current_sources] V.

    The derivative by a voltage source's value is the current it delivers: `kirchhoff.source_currents`.
    """
    return -branch_voltages(circuit.current_sources.end, circuit.current_sources.start, voltage_v)


def response_gradient(circuit: Circuit, mean_v: Floats, response_v: Floats) -> Floats:
    """Return the gradient of the loss by every conductance, summed over the batch.

    Equation: dL/dg = D[1/2 (va - vb)^2] / (beta2 - beta1) = (ma - mb)(ra - rb), with m the mean of the two phases and
    r their difference over beta2 - beta1. With m = v* and r = -lambda it is implicit differentiation.

    Args:
        circuit: the circuit.
        mean_v: [batch, n_nodes] V — mean of the two phases.
        response_v: [batch, n_nodes] V — difference of the phases per unit of beta.

    Returns:
        [n_resistors] loss per S.

    Source: Scellier & Bengio 2017 eq. 13 with F in place of E; Kendall 2020.
    """
    r = circuit.resistors
    return np.asarray(
        (branch_voltages(r.a, r.b, mean_v) * branch_voltages(r.a, r.b, response_v)).sum(axis=0),
    )
