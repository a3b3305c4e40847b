"""The equations of a circuit as dense torch arrays: assembled once per parameter set, evaluated per batch.

With v = T u + P e (circuits.topology): r(u) = H u + N e - J i + D^T i_d(v_d), H = T^T L T and N = T^T L P.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from circuits.arrays import Floats, Indices
from circuits.circuit import diode_columns
from circuits.diode import critical_voltage
from circuits.topology import NONE, Topology


def _padded(unknown: Indices, n_unknowns: int) -> Indices:
    """Point known nodes to a last, zero column."""
    return np.where(unknown == NONE, n_unknowns, unknown)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DiodeArrays:
    """Diodes as tensors: padded unknown indices of both ends, offsets from sources, parameters at temperature."""

    anode: Tensor  # [n] int64, n_unknowns where the node is known, or both ends move together
    cathode: Tensor
    anode_node: Tensor  # [n] circuit node
    cathode_node: Tensor
    i_s: Tensor  # [n] A
    n_vt: Tensor  # [n] V
    r_s: Tensor  # [n] ohm
    v_critical: Tensor  # [n] V


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scatter:
    """Sum of signed conductances into a flat matrix: matrix[index] += sign * g[resistor]."""

    index: Tensor
    sign: Tensor
    resistor: Tensor
    shape: tuple[int, int]

    def assemble(self, conductance_s: Tensor) -> Tensor:
        """Return the dense matrix for one parameter set."""
        flat = torch.zeros(self.shape[0] * self.shape[1], dtype=torch.float64, device=conductance_s.device)
        flat.index_add_(0, self.index, self.sign * conductance_s[self.resistor])
        return flat.view(self.shape)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class System:
    """What one topology contributes: scatter lists, the diodes and the maps of sources."""

    topology: Topology
    unknown: Tensor  # [n_nodes] padded index
    path: Tensor  # [n_nodes, n_voltage_sources] P
    injection: Tensor  # [n_current_sources, n_unknowns] +1 where it enters, -1 where it leaves
    hessian: Scatter
    coupling: Scatter
    diodes: DiodeArrays
    device: torch.device

    @property
    def n_unknowns(self) -> int:
        """Number of unknown voltages."""
        return self.topology.n_unknowns


def _hessian_entries(topology: Topology) -> tuple[Indices, Floats, Indices]:
    """Return flat index, sign and resistor of every entry of H = T^T L T."""
    r, n = topology.circuit.resistors, topology.n_unknowns
    a, b = topology.unknown_of_node[r.a], topology.unknown_of_node[r.b]
    index, sign, resistor = [], [], []
    for row, column, value in ((a, a, 1.0), (b, b, 1.0), (a, b, -1.0), (b, a, -1.0)):
        k = np.flatnonzero((row != NONE) & (column != NONE))
        index.append(row[k] * n + column[k])
        sign.append(np.full(len(k), value))
        resistor.append(k)
    return np.concatenate(index), np.concatenate(sign), np.concatenate(resistor)


def _coupling_entries(topology: Topology) -> tuple[Indices, Floats, Indices]:
    """Return flat index, sign and resistor of every entry of N = T^T L P."""
    r = topology.circuit.resistors
    path = topology.path_matrix()
    counts = np.diff(path.indptr)
    n_sources = path.shape[1]
    index, sign, resistor = [], [], []
    for end, end_sign in ((r.a, 1.0), (r.b, -1.0)):
        for other, other_sign in ((r.a, 1.0), (r.b, -1.0)):
            k = np.flatnonzero((topology.unknown_of_node[end] != NONE) & (counts[other] > 0))
            repeats = counts[other[k]]
            spread = np.repeat(k, repeats)
            within = np.arange(len(spread)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
            entry = path.indptr[other[spread]] + within
            index.append(topology.unknown_of_node[end[spread]] * n_sources + path.indices[entry])
            sign.append(end_sign * other_sign * path.data[entry])
            resistor.append(spread)
    return np.concatenate(index), np.concatenate(sign), np.concatenate(resistor)


def build_system(topology: Topology, device: torch.device) -> System:
    """Turn an analysed circuit into tensors on a device."""
    circuit, n = topology.circuit, topology.n_unknowns
    n_sources = len(circuit.voltage_sources)

    def floats(values: Floats) -> Tensor:
        return torch.tensor(np.ascontiguousarray(values), dtype=torch.float64, device=device)

    def indices(values: Indices) -> Tensor:
        return torch.tensor(np.ascontiguousarray(values), dtype=torch.int64, device=device)

    def scatter(entries: tuple[Indices, Floats, Indices], shape: tuple[int, int]) -> Scatter:
        return Scatter(index=indices(entries[0]), sign=floats(entries[1]), resistor=indices(entries[2]), shape=shape)

    unknown = _padded(topology.unknown_of_node, n)
    i = circuit.current_sources
    injection = np.zeros((len(i), n + 1))
    rows = np.arange(len(i))
    np.add.at(injection, (rows, unknown[i.end]), 1.0)
    np.add.at(injection, (rows, unknown[i.start]), -1.0)
    i_s, n_vt, r_s = diode_columns(circuit)
    d = circuit.diodes
    anode, cathode = unknown[d.anode], unknown[d.cathode]
    # A diode across a voltage source moves no unknown; added and taken away again, its large current would not cancel.
    shorted = anode == cathode
    anode, cathode = np.where(shorted, n, anode), np.where(shorted, n, cathode)
    return System(
        topology=topology,
        unknown=indices(unknown),
        path=floats(topology.path_matrix().toarray()),
        injection=floats(injection[:, :n]),
        hessian=scatter(_hessian_entries(topology), (n, n)),
        coupling=scatter(_coupling_entries(topology), (n, n_sources)),
        diodes=DiodeArrays(
            anode=indices(anode),
            cathode=indices(cathode),
            anode_node=indices(d.anode),
            cathode_node=indices(d.cathode),
            i_s=floats(i_s),
            n_vt=floats(n_vt),
            r_s=floats(r_s),
            v_critical=floats(critical_voltage(i_s, n_vt)),
        ),
        device=device,
    )
