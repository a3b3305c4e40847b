"""What a circuit's wiring alone decides, analysed once: the unknowns, and where each conductance enters.

Ideal voltage sources tie nodes together. Each node's voltage is that of one unknown (or of ground) plus a sum of
source values along a path of sources, so Kirchhoff's law has to be solved at the unknowns only:

    v = T u + P e,   H(g) u = T^T (i_sources - A^T diag(g) A P e - i_diodes),   H = T^T A^T diag(g) A T.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from scipy import sparse

from .arrays import Floats, Indices, frozen_floats, frozen_indices
from .circuit import Circuit
from .errors import CircuitError

NONE = -1  # index of "no unknown": the node is at ground or at a known voltage


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Topology:
    """The unknowns of a circuit and the sparse maps of its conductances.

    Args:
        circuit: the circuit that was analysed.
        unknown_of_node: [n_nodes] index of the node's unknown, or NONE.
        node_of_unknown: [n_unknowns] the node that carries the unknown (the root of its sources).
        path_node, path_source, path_sign: [n_entries] entries of P: node, voltage source, +1 or -1.
    """

    circuit: Circuit
    unknown_of_node: Indices
    node_of_unknown: Indices
    path_node: Indices
    path_source: Indices
    path_sign: Floats

    @property
    def n_unknowns(self) -> int:
        """Number of unknown voltages."""
        return len(self.node_of_unknown)

    def path_matrix(self) -> sparse.csr_array:
        """Return P, [n_nodes, n_voltage_sources]: which sources set each node above its unknown or ground."""
        shape = (self.circuit.n_nodes, len(self.circuit.voltage_sources))
        return sparse.csr_array((self.path_sign, (self.path_node, self.path_source)), shape=shape)

    def unknown_matrix(self) -> sparse.csr_array:
        """Return T, [n_nodes, n_unknowns]: one entry 1 for each node that is not at a known voltage."""
        nodes = np.flatnonzero(self.unknown_of_node != NONE)
        shape = (self.circuit.n_nodes, self.n_unknowns)
        return sparse.csr_array((np.ones(len(nodes)), (nodes, self.unknown_of_node[nodes])), shape=shape)


def analyse(circuit: Circuit) -> Topology:
    """Find the unknown voltages of a circuit.

    Args:
        circuit: any circuit.

    Returns:
        its topology.

    Raises:
        CircuitError: if voltage sources form a loop.
    """
    sources = circuit.voltage_sources
    neighbours: dict[int, list[tuple[int, int, float]]] = {}
    for k, (plus, minus) in enumerate(zip(sources.plus.tolist(), sources.minus.tolist(), strict=True)):
        neighbours.setdefault(minus, []).append((plus, k, 1.0))
        neighbours.setdefault(plus, []).append((minus, k, -1.0))
    paths: dict[int, dict[int, float]] = {}
    root: dict[int, int] = {}
    used: set[int] = set()
    for start in sorted(neighbours):  # ground first: everything tied to it is known
        if start in root:
            continue
        root[start], paths[start] = start, {}
        queue = [start]
        while queue:
            node = queue.pop()
            for other, k, sign in neighbours[node]:
                if k in used:
                    continue
                used.add(k)
                if other in root:
                    raise CircuitError(
                        f"circuit '{circuit.name}': voltage source '{sources.names[k]}' closes a loop of voltage "
                        f"sources at node '{circuit.labels[other]}'; put a resistance in the loop or remove a source"
                    )
                root[other] = root[node]
                paths[other] = {**paths[node], k: sign}
                queue.append(other)
    is_unknown = np.ones(circuit.n_nodes, dtype=bool)
    is_unknown[0] = False
    tied = [node for node in root if root[node] != node]
    is_unknown[tied] = False
    unknown_of_node = np.full(circuit.n_nodes, NONE)
    unknown_of_node[is_unknown] = np.arange(is_unknown.sum())
    unknown_of_node[tied] = [unknown_of_node[root[node]] for node in tied]
    entries = [(node, k, sign) for node, path in paths.items() for k, sign in path.items()]
    columns = list(zip(*entries, strict=True)) if entries else [(), (), ()]
    return Topology(
        circuit=circuit,
        unknown_of_node=frozen_indices(unknown_of_node),
        node_of_unknown=frozen_indices(np.flatnonzero(is_unknown)),
        path_node=frozen_indices(columns[0]),
        path_source=frozen_indices(columns[1]),
        path_sign=frozen_floats(columns[2]),
    )


def incidence_matrix(circuit: Circuit, start: Indices, end: Indices) -> sparse.csr_array:
    """Return A, [n_branches, n_nodes], with +1 at the start and -1 at the end of each branch; A v = branch voltages."""
    n = len(start)
    rows = np.concatenate([np.arange(n), np.arange(n)])
    values = np.concatenate([np.ones(n), -np.ones(n)])
    return sparse.csr_array((values, (rows, np.concatenate([start, end]))), shape=(n, circuit.n_nodes))


def resistor_currents(circuit: Circuit, conductance_s: Floats, nodes: Indices, voltage_v: Floats) -> Floats:
    """Return the current that leaves some nodes through resistors, by the linear law: [batch, n] A.

    No array of one entry per resistor and sample is made.

    Args:
        circuit: the wiring.
        conductance_s: [n_resistors] S.
        nodes: [n] node index.
        voltage_v: [batch, n_nodes] V.
    """
    r = circuit.resistors
    is_asked = np.zeros(circuit.n_nodes, dtype=bool)
    is_asked[nodes] = True
    touching = np.flatnonzero(is_asked[r.a] | is_asked[r.b])
    branches = incidence_matrix(circuit, r.a[touching], r.b[touching])
    rows = branches[:, nodes].T @ sparse.diags_array(conductance_s[touching]) @ branches
    return np.ascontiguousarray((rows @ voltage_v.T).T)


def laplacian(circuit: Circuit, conductance_s: Floats) -> sparse.csr_array:
    """Return A^T diag(g) A, [n_nodes, n_nodes] S: currents leaving the nodes through the resistors per volt.

    Args:
        circuit: the wiring.
        conductance_s: [n_resistors] S.
    """
    a, b, n = circuit.resistors.a, circuit.resistors.b, circuit.n_nodes
    one_way = sparse.coo_array((conductance_s, (a, b)), shape=(n, n)).tocsr()
    own = np.bincount(a, conductance_s, n) + np.bincount(b, conductance_s, n)
    return (sparse.diags_array(own) - one_way - one_way.T).tocsr()
