"""The energy weights of a circuit with amplifiers: what is behind one of gain A counts A^-2.

Currents that go back through an amplifier are divided by A where voltages were multiplied by it, so Kirchhoff's law is
the derivative of no sum of co-contents F, but of E = sum over regions of c F_region, with c = 1 at the start and A^-2
behind an amplifier. An element that joins two regions of different weights, other than through a known node, leaves no
such E: the circuit is not reciprocal.
"""

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import breadth_first_order, connected_components

from .arrays import Floats, Indices
from .circuit import Circuit
from .elements import Diodes, Elements, Resistors, terminals

SAME = 1e-9  # relative difference of weights that products of gains in another order may have


def unknown_weights(circuit: Circuit, unknown_of_node: Indices, gain: Floats) -> tuple[Floats, str | None]:
    """Return the weight by which each unknown's equation is scaled, and what spoils it, in words.

    Equation: c_node = c_unknown / gain_node^2; both ends of an element have the same c_node.

    Args:
        circuit: the wiring.
        unknown_of_node: [n_nodes] as in `Topology`, below zero for a known node.
        gain: [n_nodes] volts per volt of the unknown.

    Returns:
        [n_unknowns], 1 for the first unknown of each connected part, and what joins two regions of different weights;
        None where nothing does.
    """
    n = int(unknown_of_node.max(initial=-1)) + 1
    groups: tuple[Elements, ...] = (circuit.resistors, circuit.diodes)
    starts, ends = (np.concatenate(column) for column in zip(*map(terminals, groups), strict=True))
    moving = (unknown_of_node[starts] >= 0) & (unknown_of_node[ends] >= 0)
    starts, ends = starts[moving], ends[moving]
    a, b = unknown_of_node[starts], unknown_of_node[ends]
    # log c_b - log c_a that each element asks for
    step = 2.0 * (np.log(gain[ends]) - np.log(gain[starts]))
    weight = np.exp(_potentials(n, a, b, step))
    off = np.abs(weight[a] / gain[starts] ** 2 - weight[b] / gain[ends] ** 2)
    wrong = np.flatnonzero(off > SAME * weight[a] / gain[starts] ** 2)
    if not len(wrong):
        return weight, None
    k = int(np.flatnonzero(moving)[wrong[0]])
    group = circuit.resistors if k < len(circuit.resistors) else circuit.diodes
    place = k if isinstance(group, Resistors) else k - len(circuit.resistors)
    kind = "diode" if isinstance(group, Diodes) else "resistor"
    start, end = (circuit.labels[int(column[place])] for column in terminals(group))
    return weight, f"{kind} '{group.names[place]}' ({start} to {end})"


def _potentials(n: int, a: Indices, b: Indices, step: Floats) -> Floats:
    """Return values of which differences along the edges are the steps, [n]; zero at the first node of each part."""
    # Entry k + 1 names the edge; of several between two nodes one is kept, for the others are looked at afterwards.
    keys, kept = np.unique(np.minimum(a, b) * n + np.maximum(a, b), return_index=True)
    first, second = keys // max(n, 1), keys % max(n, 1)
    names = np.concatenate([kept, kept]) + 1.0
    graph = sparse.csr_array((names, (np.concatenate([first, second]), np.concatenate([second, first]))), shape=(n, n))
    _, part = connected_components(graph, directed=False)
    found, above = np.zeros(n), np.arange(n)  # the difference to the node above in the part's tree, and that node
    for seed in np.unique(part, return_index=True)[1].tolist():
        order, before = breadth_first_order(graph, seed, directed=False)
        nodes, parents = order[1:], before[order[1:]]
        if not len(nodes):
            continue
        edge = np.asarray(graph[parents, nodes]).ravel().astype(np.int64) - 1
        steps = np.where(b[edge] == nodes, step[edge], -step[edge])
        found[nodes], above[nodes] = steps, parents
    while not np.array_equal(above, above[above]):  # each pass reaches twice as far up
        found, above = found + found[above], above[above]
    return found
