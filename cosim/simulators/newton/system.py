"""Unknowns and nonlinear devices of a circuit as torch arrays: all that the iteration needs but the linear part."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from circuits.arrays import Floats, Indices
from circuits.circuit import diode_columns
from circuits.cubic_branches import cubic_branches
from circuits.diode import critical_voltage
from circuits.topology import NONE, Topology

from .cubic import CubicDevices


def padded(u: Tensor) -> Tensor:
    """Return unknowns with a last column of zeros, which known nodes point to."""
    return torch.cat([u, torch.zeros(len(u), 1, dtype=torch.float64, device=u.device)], dim=1)


def padded_unknowns(topology: Topology) -> Indices:
    """Return each node's unknown, [n_nodes]; known nodes point to a last, zero column."""
    return np.where(topology.unknown_of_node == NONE, topology.n_unknowns, topology.unknown_of_node)


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
class System:
    """What one topology contributes to the iteration itself."""

    topology: Topology
    unknown: Tensor  # [n_nodes] padded index
    diodes: DiodeArrays
    cubic: CubicDevices | None  # None where every resistor is linear
    device: torch.device

    @property
    def n_unknowns(self) -> int:
        """Number of unknown voltages."""
        return self.topology.n_unknowns

    @property
    def is_linear(self) -> bool:
        """Whether one solution of the linear equations is the equilibrium."""
        return len(self.diodes.i_s) == 0 and self.cubic is None

    def node_voltages(self, u: Tensor, known: Tensor) -> Tensor:
        """Return T u + P e, [batch, n_nodes] V."""
        return padded(u)[:, self.unknown] + known

    def across(self, u: Tensor, offset: Tensor) -> Tensor:
        """Return the terminal voltage of each diode, [batch, n_diodes]."""
        ends, d = padded(u), self.diodes
        return ends[:, d.anode] - ends[:, d.cathode] + offset

    def scatter(self, target: Tensor, anode: Tensor, cathode: Tensor) -> Tensor:
        """Add one value a diode to its two unknowns; known nodes fall into a last column that is dropped."""
        total = padded(target)
        total.index_add_(1, self.diodes.anode, anode)
        total.index_add_(1, self.diodes.cathode, cathode)
        return total[:, :-1]


def build_system(topology: Topology, device: torch.device) -> System:
    """Turn an analysed circuit into tensors on a device."""
    n = topology.n_unknowns

    def floats(values: Floats) -> Tensor:
        return torch.tensor(np.ascontiguousarray(values), dtype=torch.float64, device=device)

    def indices(values: Indices) -> Tensor:
        return torch.tensor(np.ascontiguousarray(values), dtype=torch.int64, device=device)

    unknown = padded_unknowns(topology)
    i_s, n_vt, r_s = diode_columns(topology.circuit)
    branches = cubic_branches(topology.circuit)
    cubic = None if branches is None else CubicDevices(topology, branches, device)
    d = topology.circuit.diodes
    anode, cathode = unknown[d.anode], unknown[d.cathode]
    # A diode across a voltage source moves no unknown; added and taken away again, its large current would not cancel.
    shorted = anode == cathode
    anode, cathode = np.where(shorted, n, anode), np.where(shorted, n, cathode)
    return System(
        topology=topology,
        unknown=indices(unknown),
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
        cubic=cubic if cubic is not None and len(cubic) else None,
        device=device,
    )
