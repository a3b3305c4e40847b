"""Unknowns and nonlinear devices of a circuit as torch arrays: all that the iteration needs but the linear part."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from circuits.arrays import Floats, Indices
from circuits.circuit import diode_columns
from circuits.cubic_branches import cubic_branches
from circuits.diode import critical_voltage, junction_current
from circuits.junctions import piecewise_linear_columns
from circuits.piecewise_linear_diode import piecewise_linear_current
from circuits.topology import NONE, Topology

from ...errors import SimulationError
from .cubic import CubicDevices


def padded(u: Tensor) -> Tensor:
    """Return unknowns with a last column of zeros, which known nodes point to."""
    return torch.cat([u, torch.zeros(len(u), 1, dtype=torch.float64, device=u.device)], dim=1)


def padded_unknowns(topology: Topology) -> Indices:
    """Return each node's unknown, [n_nodes]; known nodes point to a last, zero column."""
    return np.where(topology.unknown_of_node == NONE, topology.n_unknowns, topology.unknown_of_node)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PiecewiseLinearArrays:
    """The piecewise-linear ones among the diodes, [n] each."""

    device: Tensor  # int64
    threshold_v: Tensor
    on_ohm: Tensor
    off_ohm: Tensor
    bend_v: Tensor

    def current(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return current and conductance at [batch, n] V."""
        found: tuple[Tensor, Tensor] = piecewise_linear_current(
            v, self.threshold_v, self.on_ohm, self.off_ohm, self.bend_v, torch
        )
        return found


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DiodeGains:
    """Both ends of each diode in a circuit with amplifiers, [n] each: entries of T, and of diag(weight) S."""

    anode: Tensor
    cathode: Tensor
    anode_energy: Tensor
    cathode_energy: Tensor
    weight: Tensor  # energy weight of the diode


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
    v_critical: Tensor  # [n] V; infinite where steps need no limit
    gains: "DiodeGains | None"  # None where there is no amplifier
    gmin_s: float
    level1: Tensor  # [n_level1] int64 the others
    piecewise: PiecewiseLinearArrays | None  # None where all are junctions

    def current(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Return current and conductance of every diode without its series resistance, at [batch, n] V."""
        found: tuple[Tensor, Tensor]
        if self.piecewise is None:
            found = junction_current(v, self.i_s, self.n_vt, self.gmin_s, torch)
            return found
        current, conductance = torch.empty_like(v), torch.empty_like(v)
        part = self.level1
        if len(part):
            found = junction_current(v[:, part], self.i_s[part], self.n_vt[part], self.gmin_s, torch)
            current[:, part], conductance[:, part] = found
        p = self.piecewise
        current[:, p.device], conductance[:, p.device] = p.current(v[:, p.device])
        return current, conductance


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class System:
    """What one topology contributes to the iteration itself."""

    topology: Topology
    unknown: Tensor  # [n_nodes] padded index
    gain: Tensor | None  # [n_nodes] volts per volt of the unknown; None where there is no amplifier
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
        ends = padded(u)[:, self.unknown]
        return (ends if self.gain is None else ends * self.gain) + known

    def across(self, u: Tensor, offset: Tensor) -> Tensor:
        """Return the terminal voltage of each diode, [batch, n_diodes]."""
        ends, d = padded(u), self.diodes
        if d.gains is None:
            return ends[:, d.anode] - ends[:, d.cathode] + offset
        return ends[:, d.anode] * d.gains.anode - ends[:, d.cathode] * d.gains.cathode + offset

    def scatter_currents(self, target: Tensor, current: Tensor) -> Tensor:
        """Add what each diode carries from anode to cathode to the equations of its two unknowns."""
        gains = self.diodes.gains
        if gains is None:
            return self._scatter(target, current, -current)
        return self._scatter(target, current * gains.anode_energy, -current * gains.cathode_energy)

    def scatter_conductances(self, target: Tensor, g_d: Tensor) -> Tensor:
        """Add each diode's conductance to the diagonal of the Hessian at its two unknowns."""
        gains = self.diodes.gains
        if gains is None:
            return self._scatter(target, g_d, g_d)
        anode, cathode = gains.anode * gains.anode_energy, gains.cathode * gains.cathode_energy
        return self._scatter(target, g_d * anode, g_d * cathode)

    def joined_conductances(self, g_d: Tensor, joined: Tensor) -> Tensor:
        """Return what diodes between two unknowns add to the Hessian off its diagonal, with the sign turned."""
        gains = self.diodes.gains
        if gains is None:
            return g_d[:, joined]
        return g_d[:, joined] * (gains.anode_energy * gains.cathode)[joined]

    def _scatter(self, target: Tensor, anode: Tensor, cathode: Tensor) -> Tensor:
        """Add one value a diode to its two unknowns; known nodes fall into a last column that is dropped."""
        total = padded(target)
        total.index_add_(1, self.diodes.anode, anode)
        total.index_add_(1, self.diodes.cathode, cathode)
        return total[:, :-1]


def _diode_gains(topology: Topology, floats: Callable[[Floats], Tensor]) -> DiodeGains | None:
    """Return the gains at both ends of each diode; None where there is no amplifier."""
    if not len(topology.gain):
        return None
    d, weights = topology.circuit.diodes, topology.node_weights
    energy = weights * topology.gain
    moves = topology.unknown_of_node[d.anode] != NONE
    return DiodeGains(
        anode=floats(topology.gain[d.anode]),
        cathode=floats(topology.gain[d.cathode]),
        anode_energy=floats(energy[d.anode]),
        cathode_energy=floats(energy[d.cathode]),
        weight=floats(np.where(moves, weights[d.anode], weights[d.cathode])),
    )


def build_system(topology: Topology, device: torch.device) -> System:
    """Turn an analysed circuit into tensors on a device."""
    n = topology.n_unknowns

    def floats(values: Floats) -> Tensor:
        return torch.tensor(np.ascontiguousarray(values), dtype=torch.float64, device=device)

    def indices(values: Indices) -> Tensor:
        return torch.tensor(np.ascontiguousarray(values), dtype=torch.int64, device=device)

    if topology.asymmetry is not None:
        raise SimulationError(
            f"block '{topology.circuit.name}': {topology.asymmetry} joins what is behind an amplifier with what is "
            "before it, so the circuit has no energy and its Hessian is not symmetric; newton needs both: remove it, "
            "or use ngspice"
        )
    unknown = padded_unknowns(topology)
    i_s, n_vt, r_s = diode_columns(topology.circuit)
    columns = piecewise_linear_columns(topology.circuit)
    is_level1 = np.ones(len(i_s), dtype=bool)
    is_level1[columns.device] = False
    v_critical = np.full(len(i_s), np.inf)
    v_critical[is_level1] = critical_voltage(i_s[is_level1], n_vt[is_level1])
    piecewise = PiecewiseLinearArrays(
        device=indices(columns.device),
        threshold_v=floats(columns.threshold_v),
        on_ohm=floats(columns.on_ohm),
        off_ohm=floats(columns.off_ohm),
        bend_v=floats(columns.bend_v),
    )
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
        gain=floats(topology.gain) if len(topology.gain) else None,
        diodes=DiodeArrays(
            anode=indices(anode),
            cathode=indices(cathode),
            anode_node=indices(d.anode),
            cathode_node=indices(d.cathode),
            i_s=floats(i_s),
            n_vt=floats(n_vt),
            r_s=floats(r_s),
            v_critical=floats(v_critical),
            gains=_diode_gains(topology, floats),
            gmin_s=topology.circuit.gmin_s,
            level1=indices(np.flatnonzero(is_level1)),
            piecewise=piecewise if len(columns.device) else None,
        ),
        cubic=cubic if cubic is not None and len(cubic) else None,
        device=device,
    )
