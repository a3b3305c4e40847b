"""A networkx view of a circuit, for drawings, partitions and questions about paths."""

import networkx as nx

from .circuit import Circuit
from .elements import terminals


def to_networkx(circuit: Circuit) -> "nx.MultiGraph[str]":
    """Return the circuit as a multigraph: nodes by name with their label, one edge a device with its kind and value.

    Args:
        circuit: any circuit.

    Returns:
        a graph whose edge keys are (kind, name) and whose edge attribute `value` is in S, V, A or F, or a gain (None
        for diodes). A cubic resistor's edge has `k3_per_v2`, too.
    """
    graph: nx.MultiGraph[str] = nx.MultiGraph(name=circuit.name)
    graph.add_nodes_from((name, {"label": label}) for name, label in zip(circuit.nodes, circuit.labels, strict=True))
    values = (
        circuit.resistors.conductance_s.tolist(),
        [None] * len(circuit.diodes),
        circuit.voltage_sources.voltage_v.tolist(),
        circuit.current_sources.current_a.tolist(),
        circuit.capacitors.capacitance_f.tolist(),
        circuit.amplifiers.gain.tolist(),
    )
    kinds = ("resistor", "diode", "voltage_source", "current_source", "capacitor", "amplifier")
    for kind, group, column in zip(kinds, circuit.groups, values, strict=True):
        start, end = terminals(group)
        for name, a, b, value in zip(group.names, start.tolist(), end.tolist(), column, strict=True):
            graph.add_edge(circuit.nodes[a], circuit.nodes[b], (kind, name), kind=kind, name=name, value=value)
    r = circuit.resistors
    for k in r.cubic.tolist():
        edge = graph.edges[circuit.nodes[r.a[k]], circuit.nodes[r.b[k]], ("resistor", r.names[k])]
        edge["k3_per_v2"] = float(r.k3_per_v2[k])
    return graph
