"""Checks that a circuit has one physical equilibrium, in the user's words, before any simulator sees it."""

from collections import Counter

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from .arrays import Floats
from .circuit import GROUND, Circuit
from .elements import Diodes, Elements, terminals
from .errors import CircuitError
from .topology import Topology, analyse

SHOWN = 3  # how many offenders a message names


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(f"'{name}'" for name in names[:SHOWN]) + more


def _place(circuit: Circuit, group: Elements, k: int) -> str:
    start, end = terminals(group)
    return f"'{group.names[k]}' ({circuit.labels[start[k]]} to {circuit.labels[end[k]]})"


def check_names(circuit: Circuit) -> None:
    """Raise CircuitError where two nodes, or two devices of one kind, have the same name but for case."""
    for kind, names in (("nodes", circuit.nodes), *((type(g).__name__.lower(), g.names) for g in circuit.groups)):
        repeated = [name for name, count in Counter(name.lower() for name in names).items() if count > 1]
        if repeated:
            raise CircuitError(
                f"circuit '{circuit.name}': {kind} named twice: {_listed(repeated)} (SPICE does not tell capital from "
                "small letters); rename one"
            )


def check_conductances(circuit: Circuit, conductance_s: Floats) -> None:
    """Raise CircuitError for a conductance that is not finite or, in a passive circuit or cubic device, not positive.

    Args:
        circuit: the wiring.
        conductance_s: [n_resistors] S.

    Raises:
        CircuitError: naming the worst device, its terminals and its value.
    """
    if conductance_s.shape != (len(circuit.resistors),):
        raise CircuitError(
            f"circuit '{circuit.name}': conductances of shape {conductance_s.shape}; it has "
            f"{len(circuit.resistors)} resistors, so give [{len(circuit.resistors)}] in siemens"
        )
    wrong = ~np.isfinite(conductance_s)
    if not circuit.active:
        wrong |= ~(conductance_s > 0)
    if wrong.any():
        k = int(np.flatnonzero(wrong)[0])
        raise CircuitError(
            f"circuit '{circuit.name}': conductance of {_place(circuit, circuit.resistors, k)} is "
            f"{conductance_s[k]:g} S ({int(wrong.sum())} such); give a finite value above zero"
        )
    for k in np.flatnonzero(conductance_s[cubic := circuit.resistors.cubic] < 0)[:1]:
        raise CircuitError(
            f"circuit '{circuit.name}': {_place(circuit, circuit.resistors, int(cubic[k]))} has k3 = "
            f"{circuit.resistors.k3_per_v2[cubic[k]]:g} /V^2 and a conductance of {conductance_s[cubic[k]]:g} S; an "
            "active element with a cubic law has no unique equilibrium, so make it linear"
        )


def check_drives(circuit: Circuit, drives: Floats) -> None:
    """Raise CircuitError for drives of the wrong shape, or that are not finite."""
    if drives.ndim != 2 or drives.shape[1] != circuit.n_drives:
        circuit.source_values(drives)  # raises with the shapes
    if not np.isfinite(drives).all():
        sample, column = (int(k) for k in np.argwhere(~np.isfinite(drives))[0])
        voltage = circuit.driven_voltage_sources
        group: Elements = circuit.voltage_sources if column < len(voltage) else circuit.current_sources
        k = (
            int(voltage[column])
            if column < len(voltage)
            else int(circuit.driven_current_sources[column - len(voltage)])
        )
        raise CircuitError(
            f"circuit '{circuit.name}': drive of {_place(circuit, group, k)} is {drives[sample, column]} in sample "
            f"{sample}; check the block's input and nudge for NaN and infinity"
        )


def check_values(circuit: Circuit) -> None:
    """Raise CircuitError for a conductance, k3, source, gain, capacitance or temperature that is not physical."""
    check_conductances(circuit, circuit.resistors.conductance_s)
    k3 = circuit.resistors.k3_per_v2
    for k in np.flatnonzero(~(np.isfinite(k3) & (k3 >= 0)))[:1]:
        raise CircuitError(
            f"circuit '{circuit.name}': k3 of {_place(circuit, circuit.resistors, int(k))} is {k3[k]:g} /V^2; give a "
            "finite value, zero (linear) or more"
        )
    for group, values in (
        (circuit.voltage_sources, circuit.voltage_sources.voltage_v),
        (circuit.current_sources, circuit.current_sources.current_a),
    ):
        for k in np.flatnonzero(~np.isfinite(values))[:1]:
            raise CircuitError(f"circuit '{circuit.name}': source {_place(circuit, group, int(k))} is {values[k]}")
    gain = circuit.amplifiers.gain
    for k in np.flatnonzero(~(np.isfinite(gain) & (gain > 0)))[:1]:
        raise CircuitError(
            f"circuit '{circuit.name}': gain of amplifier {_place(circuit, circuit.amplifiers, int(k))} is {gain[k]:g}"
            "; give a finite value above zero"
        )
    c = circuit.capacitors.capacitance_f
    for k in np.flatnonzero(~(np.isfinite(c) & (c > 0)))[:1]:
        raise CircuitError(
            f"circuit '{circuit.name}': capacitor {_place(circuit, circuit.capacitors, int(k))} is {c[k]:g} F; give a "
            "finite value above zero"
        )
    if not (np.isfinite(circuit.temperature_k) and circuit.temperature_k > 0):
        raise CircuitError(f"circuit '{circuit.name}': temperature {circuit.temperature_k} K is not above zero")
    if not (np.isfinite(circuit.gmin_s) and circuit.gmin_s >= 0):
        raise CircuitError(f"circuit '{circuit.name}': gmin_s = {circuit.gmin_s!r}; give a finite value, zero or more")
    if not (np.isfinite(circuit.k_over_q_v_per_k) and circuit.k_over_q_v_per_k > 0):
        raise CircuitError(
            f"circuit '{circuit.name}': k_over_q_v_per_k = {circuit.k_over_q_v_per_k!r}; it is near 8.617e-5 V/K"
        )


def check_conducting_paths(circuit: Circuit) -> None:
    """Raise CircuitError for a node without a resistive path to ground or to a voltage source.

    A diode alone is no path: in its reverse region only gmin holds the node, and a simulator makes a number up. An
    amplifier is one: what holds either of its ends holds the other.
    """
    tied = [terminals(group) for group in (circuit.resistors, circuit.voltage_sources, circuit.amplifiers)]
    start = np.concatenate([column for column, _ in tied])
    end = np.concatenate([column for _, column in tied])
    n = circuit.n_nodes
    graph = sparse.coo_array((np.ones(len(start)), (start, end)), shape=(n, n))
    _, component = connected_components(graph, directed=False)
    floating = np.flatnonzero(component != component[GROUND])
    if not len(floating):
        return
    touching = [type(g).__name__ for g in circuit.groups if np.isin(floating, np.concatenate(terminals(g))).any()]
    only = " (only diodes reach it)" if Diodes.__name__ in touching else ""
    raise CircuitError(
        f"circuit '{circuit.name}': no conducting path to ground from {_listed([circuit.labels[k] for k in floating])}"
        f"{only}; add a leak or bias conductance"
    )


def validate(circuit: Circuit) -> Topology:
    """Check a circuit and return its topology.

    Args:
        circuit: the circuit.

    Returns:
        the analysed topology, so that it need not be analysed again.

    Raises:
        CircuitError: for duplicate names, values that are not finite or not positive, loops of voltage sources and
            nodes without a conducting path to ground.
    """
    check_names(circuit)
    check_values(circuit)
    topology = analyse(circuit)
    check_conducting_paths(circuit)
    return topology
