"""What a circuit's wiring alone decides, analysed once: the unknowns, and where each conductance enters.

Ideal voltage sources and amplifiers tie nodes together. Each node's voltage is a multiple of one unknown (or of ground)
plus a sum of source values along the way to it, so Kirchhoff's law has to be solved at the unknowns only:

    v = T u + P e,   H(g) u = S (i_sources - A^T diag(g) A P e - i_diodes),   H = S A^T diag(g) A T.

T has a one for each node; behind amplifiers the product of their gains. Their currents go back divided by it, so S has
1 / T where T^T is: S = T^T without amplifiers. Then H is symmetric; with them it is once the row of each unknown is
scaled by its weight (`regions`).
"""

from dataclasses import dataclass, field
from typing import final

import numpy as np
from scipy import sparse

from .arrays import Floats, Indices, frozen_floats, frozen_indices, no_floats
from .circuit import GROUND, Circuit
from .regions import unknown_weights
from .ties import NONE, Ties

__all__ = ["NONE", "Topology", "analyse", "incidence_matrix", "laplacian", "resistor_currents"]


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Topology:
    """The unknowns of a circuit and the sparse maps of its conductances.

    Args:
        circuit: the circuit that was analysed.
        unknown_of_node: [n_nodes] index of the node's unknown, or NONE.
        node_of_unknown: [n_unknowns] the node that carries the unknown (the root of its sources and amplifiers).
        path_node, path_source, path_sign: [n_entries] entries of P: node, voltage source, +1 or -1 times gains.
        gain: [n_nodes] the entry of T, node voltage per volt of the unknown; empty where there is no amplifier.
        weight: [n_unknowns] by which the rows of H are scaled so that it is symmetric; empty where they need not be.
        asymmetry: what makes it unsymmetric all the same, in words; None where nothing does.
    """

    circuit: Circuit
    unknown_of_node: Indices
    node_of_unknown: Indices
    path_node: Indices
    path_source: Indices
    path_sign: Floats
    gain: Floats = field(default_factory=no_floats)
    weight: Floats = field(default_factory=no_floats)
    asymmetry: str | None = None

    @property
    def n_unknowns(self) -> int:
        """Number of unknown voltages."""
        return len(self.node_of_unknown)

    @property
    def node_weights(self) -> Floats:
        """[n_nodes] energy weight of what each node touches: A^-2 behind an amplifier; 1 for a known node."""
        weights = np.ones(self.circuit.n_nodes)
        if len(self.weight):
            moving = self.unknown_of_node != NONE
            weights[moving] = self.weight[self.unknown_of_node[moving]] / self.gain[moving] ** 2
        return weights

    def path_matrix(self) -> sparse.csr_array:
        """Return P, [n_nodes, n_voltage_sources]: which sources set each node above its unknown or ground."""
        shape = (self.circuit.n_nodes, len(self.circuit.voltage_sources))
        return sparse.csr_array((self.path_sign, (self.path_node, self.path_source)), shape=shape)

    def current_path_matrix(self) -> sparse.csr_array:
        """Return which share of a node's current each source delivers, [n_voltage_sources, n_nodes].

        P^T, with gains divided by where P has them multiplied: an amplifier takes 1/A of its load's current.
        """
        matrix = self.path_matrix().T.tocsr()
        if len(self.gain):
            matrix.data = 1.0 / matrix.data
        return matrix

    def unknown_matrix(self) -> sparse.csr_array:
        """Return T, [n_nodes, n_unknowns]: one entry for each node that is not at a known voltage."""
        nodes = np.flatnonzero(self.unknown_of_node != NONE)
        shape = (self.circuit.n_nodes, self.n_unknowns)
        entries = self.gain[nodes] if len(self.gain) else np.ones(len(nodes))
        return sparse.csr_array((entries, (nodes, self.unknown_of_node[nodes])), shape=shape)

    def current_matrix(self) -> sparse.csr_array:
        """Return S, [n_unknowns, n_nodes]: which share of each node's current the unknown's node has to balance."""
        matrix = self.unknown_matrix().T.tocsr()
        if len(self.gain):
            matrix.data = 1.0 / matrix.data
        return matrix

    def energy_matrix(self) -> sparse.csr_array:
        """Return diag(weight) S, [n_unknowns, n_nodes], of which the Hessian is symmetric; T^T without amplifiers.

        Its entries are weight / gain, the node's energy weight times its entry of T.
        """
        matrix = self.current_matrix()
        return sparse.csr_array(sparse.diags_array(self.weight) @ matrix) if len(self.weight) else matrix


def analyse(circuit: Circuit) -> Topology:
    """Find the unknown voltages of a circuit.

    Args:
        circuit: any circuit.

    Returns:
        its topology.

    Raises:
        CircuitError: if voltage sources and amplifiers set a node twice, or in a loop.
    """
    ties = Ties(circuit)
    is_unknown = np.ones(circuit.n_nodes, dtype=bool)
    is_unknown[GROUND] = False
    tied = [node for node in ties.root if ties.root[node] != node]
    is_unknown[tied] = False
    unknown_of_node = np.full(circuit.n_nodes, NONE)
    unknown_of_node[is_unknown] = np.arange(is_unknown.sum())
    unknown_of_node[tied] = [unknown_of_node[ties.root[node]] for node in tied]
    entries = [(node, k, sign) for node, path in ties.paths.items() for k, sign in path.items()]
    columns = list(zip(*entries, strict=True)) if entries else [(), (), ()]
    gain, weight, asymmetry = no_floats(), no_floats(), None
    if len(circuit.amplifiers):
        gain = np.ones(circuit.n_nodes)
        gain[list(ties.gain)] = list(ties.gain.values())
        weight, asymmetry = unknown_weights(circuit, unknown_of_node, gain)
    return Topology(
        circuit=circuit,
        unknown_of_node=frozen_indices(unknown_of_node),
        node_of_unknown=frozen_indices(np.flatnonzero(is_unknown)),
        path_node=frozen_indices(columns[0]),
        path_source=frozen_indices(columns[1]),
        path_sign=frozen_floats(columns[2]),
        gain=frozen_floats(gain),
        weight=frozen_floats(weight),
        asymmetry=asymmetry,
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
