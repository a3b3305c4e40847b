"""Co-content, the function that the operating point minimises, and its derivative by each kind of parameter.

F(v) = sum_R g [V^2/2 + k3 V^4/4] + sum_D int I_D dv - sum_I I (v_end - v_start). With everything else fixed dF/dv = 0
is Kirchhoff's current law (Millar 1951), and equilibrium propagation needs dF/dp of each parameter p only, which is
local.

With amplifiers each element counts by the energy weight c of its region (`circuits.regions`): E = sum c F. Gradients by
a nudge in a region of weight c_L are then D[dE/dp] / c_L; `response_gradient` leaves weights to its caller.
"""

import numpy as np

from .arrays import Floats, Indices
from .circuit import Circuit
from .junctions import junctions
from .topology import NONE, analyse


def branch_voltages(start: np.ndarray, end: np.ndarray, voltage_v: Floats) -> Floats:
    """Return [batch, n_branches] V across branches given by two node columns."""
    return np.asarray(voltage_v[:, start] - voltage_v[:, end])


def cocontent(circuit: Circuit, conductance_s: Floats, drives: Floats, voltage_v: Floats) -> Floats:
    """Return the co-content F of each sample, with amplifiers E = sum c F.

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
    weights = _node_weights(circuit)
    square = branch_voltages(r.a, r.b, voltage_v) ** 2
    weighted_s = conductance_s if weights is None else conductance_s * _element_weights(weights, r.a, r.b)
    total = square @ weighted_s / 2
    if circuit.has_cubic:
        total = total + square**2 @ (weighted_s * r.k3_per_v2) / 4
    if len(d):
        each = junctions(circuit).cocontent(branch_voltages(d.anode, d.cathode, voltage_v))
        total = total + (each if weights is None else each * _element_weights(weights, d.anode, d.cathode)).sum(axis=1)
    if len(i):
        _, current_a = circuit.source_values(drives)
        total = total + (current_a * current_source_derivative(circuit, voltage_v)).sum(axis=1)
    return np.asarray(total)


def _node_weights(circuit: Circuit) -> Floats | None:
    """Return the energy weight of each node, NaN where it is known; None where there are no amplifiers."""
    if not len(circuit.amplifiers):
        return None
    topology = analyse(circuit)
    return np.where(topology.unknown_of_node == NONE, np.nan, topology.node_weights)


def _element_weights(weights: Floats, start: Indices, end: Indices) -> Floats:
    """Return the weight of each element: that of an end which is not known; 1 where both are."""
    return np.nan_to_num(np.where(np.isnan(weights[start]), weights[end], weights[start]), nan=1.0)


def conductance_derivative(circuit: Circuit, voltage_v: Floats) -> Floats:
    """Return dF/dg of every resistor: V^2/2 + k3 V^4/4 with V = va - vb, [batch, n_resistors] V^2; dE/dg times c."""
    r, weights = circuit.resistors, _node_weights(circuit)
    square = branch_voltages(r.a, r.b, voltage_v) ** 2
    each = square / 2 + r.k3_per_v2 * square**2 / 4 if circuit.has_cubic else square / 2
    return each if weights is None else each * _element_weights(weights, r.a, r.b)


def current_source_derivative(circuit: Circuit, voltage_v: Floats) -> Floats:
    """Return dF/dI of every current source: -(v_end - v_start), [batch, n_current_sources] V; dE/dI with c at each end.

    The derivative by a voltage source's value is the current it delivers: `kirchhoff.source_currents`.
    """
    i, weights = circuit.current_sources, _node_weights(circuit)
    if weights is None:
        return -branch_voltages(i.end, i.start, voltage_v)
    at_end, at_start = _element_weights(weights, i.end, i.start), _element_weights(weights, i.start, i.end)
    return np.asarray(at_start * voltage_v[:, i.start] - at_end * voltage_v[:, i.end])


def response_gradient(
    circuit: Circuit,
    mean_v: Floats,
    response_v: Floats,
    change_v: Floats | None = None,
    *,
    devices: Indices | None = None,
) -> Floats:
    """Return the gradient of the loss by every conductance, summed over the batch.

    Equation: dL/dg = D[V^2/2 + k3 V^4/4] / (beta2 - beta1) = M R [1 + k3 (M^2 + D^2/4)], with M the mean of the two
    phases across the device, D their difference and R = D / (beta2 - beta1). With M = V*, D = 0 and R that of -lambda
    it is implicit differentiation. With amplifiers the result is still to be multiplied by c / c_L of each device.

    Args:
        circuit: the circuit.
        mean_v: [batch, n_nodes] V — mean of the two phases.
        response_v: [batch, n_nodes] V — difference of the phases per unit of beta.
        change_v: [batch, n_nodes] V — difference of the phases itself; None where it is infinitely small, or where
            every resistor is linear.
        devices: [n] index of the resistors that are asked for; None for all.

    Returns:
        [n_resistors] loss per S, or [n].

    Source: Scellier & Bengio 2017 eq. 13 with F in place of E; Kendall 2020. V2^4 - V1^4 = 4 M D (M^2 + D^2/4).
    """
    r = circuit.resistors
    chosen = slice(None) if devices is None else devices
    a, b = r.a[chosen], r.b[chosen]
    mean = branch_voltages(a, b, mean_v)
    product = mean * branch_voltages(a, b, response_v)
    if circuit.has_cubic:
        square = mean * mean
        if change_v is not None:
            square += branch_voltages(a, b, change_v) ** 2 / 4
        product *= 1.0 + r.k3_per_v2[chosen] * square
    return np.asarray(product.sum(axis=0))
