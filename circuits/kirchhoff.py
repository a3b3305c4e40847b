"""Kirchhoff's current law by our own element laws: residuals that any simulator's answer must pass.

Takes a circuit, its parameters, its drives and node voltages from anywhere; knows nothing of who solved them.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from scipy import sparse

from .arrays import Floats, Indices
from .circuit import Circuit
from .cubic_branches import CubicBranches, cubic_branches
from .junctions import Junctions, junctions
from .topology import NONE, Topology, incidence_matrix, laplacian

DENSE_SHARE = 0.05  # above this filling a dense product is faster than a sparse one


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class KirchhoffResidual:
    """The worst violation of Kirchhoff's current law in each sample.

    Args:
        residual_a: [batch] A — absolute net current at the worst node.
        tolerance_a: [batch] A — what a voltage error of the solver's tolerance explains at that node.
        node: [batch] index of the worst node, relative to its tolerance.
    """

    residual_a: Floats
    tolerance_a: Floats
    node: Indices


def diode_currents(circuit: Circuit, voltage_v: Floats) -> tuple[Floats, Floats]:
    """Return current and small-signal conductance of every diode, series resistance included.

    Args:
        circuit: the circuit.
        voltage_v: [batch, n_nodes] V.

    Returns:
        [batch, n_diodes] A from anode to cathode and [batch, n_diodes] S.
    """
    v = voltage_v[:, circuit.diodes.anode] - voltage_v[:, circuit.diodes.cathode]
    return junctions(circuit).current(v)


def dense_if_filled(matrix: sparse.csr_array) -> Floats | sparse.csr_array:
    """Return a matrix as it is faster to multiply with: dense where it is well filled."""
    n_entries = max(1, matrix.shape[0] * matrix.shape[1])
    return np.asarray(matrix.toarray()) if matrix.nnz > DENSE_SHARE * n_entries else matrix


def times_rows(matrix: Floats | sparse.csr_array, rows: Floats) -> Floats:
    """Return rows @ matrix^T for a batch of row vectors."""
    if isinstance(matrix, np.ndarray):
        return np.asarray(rows @ matrix.T)
    return np.ascontiguousarray((matrix @ rows.T).T)


def leaving_currents(circuit: Circuit, conductance_s: Floats, drives: Floats, voltage_v: Floats) -> Floats:
    """Return the current that leaves each node through everything but the voltage sources.

    Args:
        circuit: the circuit.
        conductance_s: [n_resistors] S.
        drives: [batch, n_drives] V then A.
        voltage_v: [batch, n_nodes] V.

    Returns:
        [batch, n_nodes] A.
    """
    leaving = times_rows(laplacian(circuit, conductance_s), voltage_v)
    cubic = cubic_branches(circuit)
    if cubic is not None:
        leaving = leaving + cubic.leaving(conductance_s, voltage_v)
    if len(circuit.diodes):
        current, _ = diode_currents(circuit, voltage_v)
        branches = incidence_matrix(circuit, circuit.diodes.anode, circuit.diodes.cathode)
        leaving = leaving + (branches.T @ current.T).T
    if len(circuit.current_sources):
        _, injected = circuit.source_values(drives)
        branches = incidence_matrix(circuit, circuit.current_sources.start, circuit.current_sources.end)
        leaving = leaving + (branches.T @ injected.T).T
    return np.asarray(leaving)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class KirchhoffLaw:
    """Kirchhoff's current law of one topology, ready for many parameter sets.

    Args:
        topology: the analysed circuit.
        spread: [n_unknowns, n_nodes] S; T^T without amplifiers.
        diode_branches: [n_unknowns, n_diodes] S A_d^T.
        source_branches: [n_unknowns, n_current_sources] S A_i^T.
        cubic: the resistors that are not linear; None where all are.
        junctions: the diodes.
    """

    topology: Topology
    spread: sparse.csr_array
    diode_branches: sparse.csr_array
    source_branches: sparse.csr_array
    cubic: CubicBranches | None
    junctions: Junctions

    def program(self, conductance_s: Floats) -> "KirchhoffProgram":
        """Put conductances in, [n_resistors] S."""
        circuit = self.topology.circuit
        r = circuit.resistors
        total = np.bincount(r.a, np.abs(conductance_s), circuit.n_nodes)
        total += np.bincount(r.b, np.abs(conductance_s), circuit.n_nodes)
        return KirchhoffProgram(
            law=self,
            conductance_s=conductance_s.copy(),
            rows=dense_if_filled(self.spread @ laplacian(circuit, conductance_s)),
            magnitude_s=self.spread @ total,
        )


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class KirchhoffProgram:
    """Kirchhoff's law of one parameter set.

    Args:
        law: of the topology.
        conductance_s: [n_resistors] S.
        rows: [n_unknowns, n_nodes] S — S A^T diag(g) A.
        magnitude_s: [n_unknowns] S — sum of |g| at each unknown.
    """

    law: KirchhoffLaw
    conductance_s: Floats
    rows: Floats | sparse.csr_array
    magnitude_s: Floats

    def residual(self, drives: Floats, voltage_v: Floats, *, voltage_tolerance_v: float | Floats) -> KirchhoffResidual:
        """Return how far node voltages are from obeying Kirchhoff's current law.

        Equation: r = S [A^T diag(g) A v + A_c^T g k3 V^3 + A_d^T I_d - i_sources]; tolerance per node =
        dv * (sum |g| + sum 3 g k3 V^2 + sum g_d), since a voltage tolerance dv does not by itself bound a current.

        Args:
            drives: [batch, n_drives] V then A.
            voltage_v: [batch, n_nodes] V.
            voltage_tolerance_v: V — the solver's tolerance on a node voltage, one or [batch].

        Returns:
            the worst node of each sample.
        """
        topology = self.law.topology
        circuit = topology.circuit
        batch = len(voltage_v)
        if not topology.n_unknowns:
            none = np.zeros(batch)
            return KirchhoffResidual(residual_a=none, tolerance_a=none + 1.0, node=np.zeros(batch, dtype=np.int64))
        with np.errstate(
            over="ignore", invalid="ignore", divide="ignore"
        ):  # nonsense voltages are judged, not warned about
            leaving = times_rows(self.rows, voltage_v)
            scale = np.repeat(self.magnitude_s[np.newaxis], batch, axis=0)
            if self.law.cubic is not None:
                leaving = leaving + times_rows(self.law.spread, self.law.cubic.leaving(self.conductance_s, voltage_v))
                scale = scale + times_rows(self.law.spread, self.law.cubic.slope(self.conductance_s, voltage_v))
            if len(circuit.diodes):
                across = voltage_v[:, circuit.diodes.anode] - voltage_v[:, circuit.diodes.cathode]
                current, g_d = self.law.junctions.current(across)
                g_d = self.law.junctions.steepest(across, g_d, voltage_tolerance_v)
                leaving = leaving + times_rows(self.law.diode_branches, current)
                # A diode across a voltage source counts at neither end: its current returns through the source.
                scale = scale + times_rows(abs(self.law.diode_branches), g_d)
            if len(circuit.current_sources):
                _, injected = circuit.source_values(drives)
                leaving = leaving + times_rows(self.law.source_branches, injected)
            residual = np.abs(leaving)
            tolerance = np.reshape(voltage_tolerance_v, (-1, 1)) * scale + np.finfo(float).tiny
            tolerance = np.where(np.isfinite(tolerance), tolerance, 0.0)
            ratio = residual / tolerance
        worst = np.argmax(np.where(np.isnan(ratio), np.inf, ratio), axis=1)
        sample = np.arange(batch)
        return KirchhoffResidual(
            residual_a=residual[sample, worst],
            tolerance_a=tolerance[sample, worst],
            node=topology.node_of_unknown[worst],
        )


def kirchhoff_law(topology: Topology) -> KirchhoffLaw:
    """Return Kirchhoff's law of a topology."""
    circuit = topology.circuit
    spread = topology.current_matrix()
    d, i = circuit.diodes, circuit.current_sources
    return KirchhoffLaw(
        topology=topology,
        spread=spread,
        diode_branches=(spread @ incidence_matrix(circuit, d.anode, d.cathode).T).tocsr(),
        source_branches=(spread @ incidence_matrix(circuit, i.start, i.end).T).tocsr(),
        cubic=cubic_branches(circuit),
        junctions=junctions(circuit),
    )


def kirchhoff_residual(
    topology: Topology, conductance_s: Floats, drives: Floats, voltage_v: Floats, *, voltage_tolerance_v: float | Floats
) -> KirchhoffResidual:
    """Return the residual of one batch: `KirchhoffProgram.residual` for those who need it once.

    Args:
        topology: the analysed circuit.
        conductance_s: [n_resistors] S.
        drives: [batch, n_drives] V then A.
        voltage_v: [batch, n_nodes] V.
        voltage_tolerance_v: V — the solver's tolerance on a node voltage.

    Returns:
        the worst node of each sample.
    """
    program = kirchhoff_law(topology).program(conductance_s)
    return program.residual(drives, voltage_v, voltage_tolerance_v=voltage_tolerance_v)


def source_currents(topology: Topology, conductance_s: Floats, drives: Floats, voltage_v: Floats) -> Floats:
    """Return the current that each voltage source delivers into the circuit at its plus node.

    Equation: i_k = sum_n P_nk i_n, with i_n the current leaving node n through everything else (Tellegen). Behind an
    amplifier the source delivers i_n / A, where it adds A volts a volt.

    Args:
        topology: the analysed circuit.
        conductance_s: [n_resistors] S.
        drives: [batch, n_drives] V then A.
        voltage_v: [batch, n_nodes] V.

    Returns:
        [batch, n_voltage_sources] A; ngspice's i(V) with the opposite sign.
    """
    leaving = leaving_currents(topology.circuit, conductance_s, drives, voltage_v)
    return np.asarray((topology.current_path_matrix() @ leaving.T).T)


def known_voltages(topology: Topology, drives: Floats) -> Floats:
    """Return [batch, n_nodes] V with the nodes set by sources at their voltage and every unknown at zero."""
    voltage_v, _ = topology.circuit.source_values(drives)
    return np.asarray((topology.path_matrix() @ voltage_v.T).T)


def is_known(topology: Topology) -> np.ndarray:
    """Return [n_nodes] True where the sources alone decide the voltage."""
    return np.asarray(topology.unknown_of_node == NONE)
