"""The linearised circuit in time: its time constants, and its response to currents that are drawn from t = 0 on.

Near an equilibrium C dv/dt = -H v - i, with C the capacitances, H the Hessian of the co-content and i what is drawn, so

    -v(t) = lambda(t) = [1 - exp(-C^-1 H t)] H^-1 i.

Nodes without capacitance follow at once and are eliminated first; then, with C^-1/2 H C^-1/2 = Q diag(r) Q^T symmetric,
lambda(t) = C^-1/2 Q diag[(1 - exp(-r t)) / r] Q^T C^-1/2 i, and the rates r are one over the time constants. With
amplifiers the equation of each unknown is scaled by its energy weight (`circuits.regions`), which makes H symmetric.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from scipy import linalg, sparse

from circuits.arrays import Floats, Indices
from circuits.circuit import Circuit
from circuits.crossbar import UnitNodes
from circuits.cubic_branches import cubic_branches
from circuits.kirchhoff import diode_currents
from circuits.topology import Topology, incidence_matrix, laplacian

from ..errors import ConvergenceError, SimulationError
from .integrator import charged_nodes

MOST_UNKNOWNS = 4000  # a dense matrix of 128 MB, whose eigenvectors take minutes


def hessian(topology: Topology, conductance_s: Floats, voltage_v: Floats) -> Floats:
    """Return the Hessian of the co-content at a state of each sample, dense; with amplifiers that of E = sum c F.

    Equation: H = T^T [A^T diag(g) A + A_c^T diag(3 g k3 V^2) A_c + A_d^T diag(g_d) A_d] T.

    Args:
        topology: the analysed circuit.
        conductance_s: [n_resistors] S.
        voltage_v: [batch, n_nodes] V.

    Returns:
        [batch, n_unknowns, n_unknowns] S.

    Raises:
        SimulationError: where amplifiers leave no energy, so that there is no symmetric Hessian.
    """
    circuit, spread, balance = topology.circuit, topology.unknown_matrix(), topology.energy_matrix()
    if topology.asymmetry is not None:
        raise SimulationError(
            f"block '{circuit.name}': {topology.asymmetry}, so it has no energy and may have complex time constants; "
            "waveforms can be had of it, a linearised response cannot"
        )
    linear = (balance @ laplacian(circuit, conductance_s) @ spread).toarray()
    total = np.repeat(linear[np.newaxis], len(voltage_v), axis=0)
    for branches, slopes in _nonlinear(circuit, conductance_s, voltage_v):
        moving, leaving = (branches @ spread).tocsr(), (balance @ branches.T).tocsr()
        for k, slope in enumerate(slopes):
            total[k] += (leaving @ sparse.diags_array(slope) @ moving).toarray()
    return total


def _nonlinear(circuit: Circuit, conductance_s: Floats, voltage_v: Floats) -> list[tuple[sparse.csr_array, Floats]]:
    """Return branches whose conductance depends on the state, with that conductance: [batch, n_branches] S."""
    found = []
    if len(circuit.diodes):
        branches = incidence_matrix(circuit, circuit.diodes.anode, circuit.diodes.cathode)
        found.append((branches, diode_currents(circuit, voltage_v)[1]))
    cubic = cubic_branches(circuit)
    if cubic is not None:
        across = (cubic.incidence @ voltage_v.T).T
        found.append((cubic.incidence, 3.0 * cubic.coefficient(conductance_s)[:, 0] * across**2))
    return found


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Linearised:
    """Circuits linearised at one state each.

    Args:
        topology: the analysed circuit.
        rate_per_s: [batch, n_charged] 1/s — ascending: one over the time constants.
        modes: [batch, n_charged, n_charged] C^-1/2 Q: columns are the voltages of each mode.
        charged, others: unknowns with and without capacitance.
        charged_f: [n_charged] F — of those with, times their energy weight where there are amplifiers.
        follow: [batch, n_others, n_charged] H_oo^-1 H_oc: minus how others follow the charged ones.
        others_hessian_s: [batch, n_others, n_others] S — H_oo.
    """

    topology: Topology
    rate_per_s: Floats
    modes: Floats
    charged: Indices
    others: Indices
    charged_f: Floats
    follow: Floats
    others_hessian_s: Floats

    @property
    def time_constants_s(self) -> Floats:
        """[batch, n_charged] s — 1 / eigenvalues of C^-1 H, the slowest first."""
        return 1.0 / self.rate_per_s

    @property
    def slowest_s(self) -> Floats:
        """[batch] s — the largest time constant: 1 / smallest eigenvalue of C^-1 H."""
        return 1.0 / self.rate_per_s[:, 0]

    def response(self, drawn_a: Floats, time_s: Floats) -> Floats:
        """Return lambda(t), minus the voltages in time after currents begin to be drawn at t = 0.

        Args:
            drawn_a: [batch, n_nodes] A — drawn from each node from t = 0 on (per unit of beta, say).
            time_s: [n_t] s; infinity for the end, H^-1 i. At 0 nodes with capacitance have not moved; others have.

        Returns:
            [batch, n_t, n_nodes] V (per unit of beta); zero at nodes that sources set.
        """
        drawn = (self.topology.energy_matrix() @ drawn_a.T).T
        own, rest = drawn[:, self.charged], drawn[:, self.others]
        into = own - np.einsum("boc,bo->bc", self.follow, rest)
        weight = np.einsum("bcm,bc->bm", self.modes, into)
        gain = -np.expm1(-self.rate_per_s[:, np.newaxis] * time_s[:, np.newaxis]) / self.rate_per_s[:, np.newaxis]
        at_once = np.zeros_like(rest)
        if len(self.others):
            at_once = np.linalg.solve(self.others_hessian_s, rest[:, :, np.newaxis])[:, :, 0]
        return self._at_nodes(np.einsum("bcm,btm->btc", self.modes, gain * weight[:, np.newaxis]), at_once)

    def decay(self, displaced_v: Floats, time_s: Floats) -> Floats:
        """Return how far the circuit still is from its equilibrium, after it was displaced at t = 0.

        Equation: exp(-C^-1 H t) d = C^-1/2 Q diag[exp(-r t)] Q^T C^1/2 d.

        Args:
            displaced_v: [batch, n_nodes] V — d; only that of nodes with capacitance counts.
            time_s: [n_t] s.

        Returns:
            [batch, n_t, n_nodes] V; zero at nodes that sources set.
        """
        own = displaced_v[:, self.topology.node_of_unknown[self.charged]]
        # Columns of the modes are C^-1/2 Q, so that their inverse is Q^T C^1/2 = (C^-1/2 Q)^T C.
        weight = np.einsum("bcm,bc->bm", self.modes, own * self.charged_f)
        left = np.exp(-self.rate_per_s[:, np.newaxis] * time_s[:, np.newaxis])
        moved = np.einsum("bcm,btm->btc", self.modes, left * weight[:, np.newaxis])
        return self._at_nodes(moved, np.zeros((len(own), len(self.others))))

    def _at_nodes(self, moved: Floats, at_once: Floats) -> Floats:
        """Return voltages of all nodes from those of the charged unknowns, [batch, n_t, n_nodes]."""
        unknowns = np.zeros((*moved.shape[:2], self.topology.n_unknowns))
        unknowns[:, :, self.charged] = moved
        unknowns[:, :, self.others] = at_once[:, np.newaxis] - np.einsum("boc,btc->bto", self.follow, moved)
        flat = unknowns.reshape(-1, self.topology.n_unknowns)
        nodes = (self.topology.unknown_matrix() @ flat.T).T
        return np.ascontiguousarray(nodes).reshape(*moved.shape[:2], self.topology.circuit.n_nodes)


def linearise(topology: Topology, conductance_s: Floats, voltage_v: Floats, capacitance_f: Floats) -> Linearised:
    """Linearise a circuit with capacitances at a state of each sample.

    Args:
        topology: the analysed circuit.
        conductance_s: [n_resistors] S.
        voltage_v: [batch, n_nodes] V — an equilibrium.
        capacitance_f: [n_nodes] F — of each node to ground.

    Raises:
        SimulationError: for a circuit that is too large, or without any capacitance where voltages are not set.
        ConvergenceError: if the Hessian is not positive definite, so that the state is not stable.
    """
    name = topology.circuit.name
    if topology.n_unknowns > MOST_UNKNOWNS:
        raise SimulationError(
            f"block '{name}': {topology.n_unknowns} unknown voltages; its time constants need the eigenvectors of a "
            f"dense matrix, which are had up to {MOST_UNKNOWNS}. Take a smaller block"
        )
    unknown_f = unknown_capacitances(topology, capacitance_f)
    if not unknown_f.any():
        raise SimulationError(
            f"block '{name}': no node whose voltage is not set by a source has any capacitance, so there are no time "
            "constants; give node_f or device_f of its capacitance a value"
        )
    charged, others = np.flatnonzero(unknown_f), np.flatnonzero(unknown_f == 0)
    h = hessian(topology, conductance_s, voltage_v)
    h_oo, h_oc = h[:, others[:, np.newaxis], others], h[:, others[:, np.newaxis], charged]
    follow = np.asarray(np.linalg.solve(h_oo, h_oc)) if len(others) else h_oc
    schur = h[:, charged[:, np.newaxis], charged] - np.einsum("boc,bod->bcd", h_oc, follow)
    scale = 1.0 / np.sqrt(unknown_f[charged])
    found = [linalg.eigh(scale[:, np.newaxis] * each * scale) for each in schur]
    rates = np.stack([rate for rate, _ in found]) if found else np.zeros((0, len(charged)))
    if (rates <= 0).any():
        sample = int(np.argmax((rates <= 0).any(axis=1)))
        raise ConvergenceError(
            f"block '{name}': its Hessian is not positive definite in sample {sample}, so the state is not stable and "
            "never settles; a negative leak or an active element is too strong"
        )
    modes = np.stack([scale[:, np.newaxis] * q for _, q in found]) if found else np.zeros((0, *2 * (len(charged),)))
    return Linearised(
        topology=topology,
        rate_per_s=rates,
        modes=modes,
        charged=charged,
        others=others,
        charged_f=unknown_f[charged],
        follow=follow,
        others_hessian_s=h_oo,
    )


def unknown_capacitances(topology: Topology, capacitance_f: Floats) -> Floats:
    """Return the capacitance of each unknown, with amplifiers times its energy weight: [n_unknowns] F.

    Equation: diag(T^T C T): the sum over the nodes that sources and amplifiers tie to it. An amplifier of gain A moves
    its output A times as far and hands back 1/A of the current, so what hangs on it counts once.
    """
    nodes = charged_nodes(topology, capacitance_f)
    own_f = np.bincount(topology.unknown_of_node[nodes], capacitance_f[nodes], topology.n_unknowns)
    return own_f * (topology.weight if len(topology.weight) else np.ones(topology.n_unknowns))


def slowest_of_pairs_s(
    topology: Topology, conductance_s: Floats, voltage_v: Floats, capacitance_f: Floats, layers: Sequence[UnitNodes]
) -> Floats:
    """Return the largest time constant of the movements in which p and n nodes move oppositely.

    These are what differential drives excite and differential converters read. That of p and n moving together is often
    many times larger, for only leaks to ground discharge it, and means nothing to either. Of single units it is that of
    all movements.

    Equation: 1 / smallest eigenvalue of (D^T C D)^-1 (D^T H D), a column of D with +1 at p and -1 at n for each pair.

    Args:
        topology: the analysed circuit.
        conductance_s: [n_resistors] S.
        voltage_v: [batch, n_nodes] V — an equilibrium.
        capacitance_f: [n_nodes] F.
        layers: the units; nodes of no unit, as those on wires, move by themselves.

    Returns:
        [batch] s.
    """
    other = np.arange(topology.n_unknowns)
    for layer in layers:
        if layer.n is not None:
            p, n = topology.unknown_of_node[layer.p], topology.unknown_of_node[layer.n]
            other[p], other[n] = n, p
    first = np.flatnonzero(np.arange(topology.n_unknowns) <= other)
    basis = np.zeros((topology.n_unknowns, len(first)))
    basis[other[first], np.arange(len(first))] = -1.0
    basis[first, np.arange(len(first))] = 1.0  # over the -1 of a node of no pair
    charge = basis.T @ (unknown_capacitances(topology, capacitance_f)[:, np.newaxis] * basis)
    # Of C relative to H, which is positive definite, whichever nodes have no capacitance.
    return np.array(
        [
            linalg.eigh(charge, basis.T @ h @ basis, eigvals_only=True)[-1]
            for h in hessian(topology, conductance_s, voltage_v)
        ]
    )
