"""What a node's voltage has to charge: the capacitance of its line, and of every device that hangs on it.

An equilibrium does not depend on capacitance, how long it takes to reach one does. All of it is to ground here: a line
over a plate, a converter's sampling capacitor, the junction of a selector.
"""

from dataclasses import dataclass, replace
from typing import final

import numpy as np

from .arrays import Floats, Indices, frozen_floats, no_indices
from .circuit import GROUND, Circuit
from .elements import Capacitors
from .errors import CircuitError

WIRE_F_PER_M = 2e-10  # 0.2 fF/um of line: Chen, Peng & Yu 2018, NeuroSim, SubArray.cpp
DEVICE_PITCH_M = 1e-6  # of a cell with a selector


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Capacitance:
    """Capacitance of the nodes of a circuit.

    Equation: C = node + device x (ends of resistors at the node) + junction x (ends of diodes at the node).

    Args:
        node_f: F — each node's own, without devices: what samples or drives it.
        device_f: F — that each resistor adds at each of its two ends.
        junction_f: F — that each diode adds at each of its two ends.

    Raises:
        CircuitError: for a value that is not finite or below zero, or where all are zero.

    Source: node, 50 fF: a sampling capacitor whose noise sqrt(kT/C), 0.29 mV, is a thirteenth of the step of an 8-bit
    converter over 1 V. Device, 0.2 fF: 1 um of line at 0.2 fF/um (NeuroSim). Junction, 1 fF: of a small diode, the size
    that circuit designers reckon with; no publication stands behind it.
    """

    node_f: float = 50e-15
    device_f: float = WIRE_F_PER_M * DEVICE_PITCH_M
    junction_f: float = 1e-15

    def __post_init__(self) -> None:
        for name in ("node_f", "device_f", "junction_f"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise CircuitError(f"capacitance: {name} = {value!r}; give a finite value in farad, zero or more")
        if self.node_f == self.device_f == self.junction_f == 0:
            raise CircuitError("capacitance: everything is zero, so nothing takes time; give node_f a value, as 5e-14")


def node_capacitances(circuit: Circuit, capacitance: Capacitance, *, on_wires: Indices | None = None) -> Floats:
    """Return the capacitance of every node to ground, zero for ground itself.

    Args:
        circuit: any circuit.
        capacitance: of nodes and devices.
        on_wires: [n] nodes of `BlockCircuit.wire_nodes`: nothing samples or drives those, so they have that of their
            devices only; None for none.

    Returns:
        [n_nodes] F.
    """
    n, r, d = circuit.n_nodes, circuit.resistors, circuit.diodes
    ends = np.bincount(r.a, minlength=n) + np.bincount(r.b, minlength=n)
    junctions = np.bincount(d.anode, minlength=n) + np.bincount(d.cathode, minlength=n)
    own = np.full(n, capacitance.node_f)
    own[no_indices() if on_wires is None else on_wires] = 0.0
    total = own + capacitance.device_f * ends + capacitance.junction_f * junctions
    total[GROUND] = 0.0
    return frozen_floats(total)


def check_capacitances(circuit: Circuit, capacitance_f: Floats) -> None:
    """Raise CircuitError for capacitances of the wrong shape, not finite, below zero, or at ground.

    Args:
        circuit: the circuit.
        capacitance_f: [n_nodes] F.
    """
    if np.shape(capacitance_f) != (circuit.n_nodes,):
        raise CircuitError(
            f"circuit '{circuit.name}': capacitances of shape {np.shape(capacitance_f)}; it has {circuit.n_nodes} "
            f"nodes, so give [{circuit.n_nodes}] in farad, ground first"
        )
    wrong = ~(np.isfinite(capacitance_f) & (capacitance_f >= 0))
    for k in np.flatnonzero(wrong)[:1]:
        raise CircuitError(
            f"circuit '{circuit.name}': capacitance of {circuit.labels[k]} is {capacitance_f[k]:g} F "
            f"({int(wrong.sum())} such); give finite values, zero or more"
        )
    if capacitance_f[GROUND] != 0:
        raise CircuitError(f"circuit '{circuit.name}': ground has {capacitance_f[GROUND]:g} F to itself; give it zero")


def with_capacitors(circuit: Circuit, capacitance_f: Floats) -> Circuit:
    """Return a circuit with a capacitor from each node that has any capacitance to ground.

    Args:
        circuit: any circuit; what capacitors it has stay.
        capacitance_f: [n_nodes] F.

    Raises:
        CircuitError: as `check_capacitances`.
    """
    check_capacitances(circuit, capacitance_f)
    nodes, c = np.flatnonzero(capacitance_f), circuit.capacitors
    added = Capacitors(
        names=(*c.names, *(f"node_{circuit.nodes[k]}" for k in nodes)),
        a=np.concatenate([c.a, nodes]),
        b=np.concatenate([c.b, np.full(len(nodes), GROUND)]),
        capacitance_f=np.concatenate([c.capacitance_f, capacitance_f[nodes]]),
    )
    return replace(circuit, capacitors=added)
