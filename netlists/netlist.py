"""A netlist: a circuit with the names and options a SPICE simulator will see, and the map back to the circuit.

One netlist has two spellings (spice_writer); both use the names decided here, so no node name is parsed elsewhere.
"""

import math
from dataclasses import dataclass, field
from typing import final

import numpy as np

from circuits.arrays import Floats, Indices
from circuits.circuit import Circuit
from circuits.topology import Topology

from .errors import NetlistError


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SolverOptions:
    """Tolerances and iteration limits written into a deck.

    The defaults are tight because equilibrium propagation subtracts two nearby solutions: with reltol 1e-6 clamped
    blocks are wrong by 3e-7 V.

    Args:
        reltol: relative tolerance between two Newton iterates.
        abstol_a: A — absolute tolerance of a current.
        vntol_v: V — absolute tolerance of a voltage.
        max_iterations: of a cold operating point (itl1).
        max_sweep_iterations: of a further point of a sweep (itl2).

    Raises:
        NetlistError: for a tolerance that is not finite and above zero, or a limit below one iteration.
    """

    reltol: float = 1e-12
    abstol_a: float = 1e-15
    vntol_v: float = 1e-13
    max_iterations: int = 500
    max_sweep_iterations: int = 200

    def __post_init__(self) -> None:
        for name in ("reltol", "abstol_a", "vntol_v"):
            value = getattr(self, name)
            if not 0 < value < math.inf:  # nan, too
                raise NetlistError(f"solver options: {name} = {value}; give a finite number above zero")
        for name in ("max_iterations", "max_sweep_iterations"):
            value = getattr(self, name)
            if not value >= 1 or value % 1:  # nan, too
                raise NetlistError(f"solver options: {name} = {value}; give a whole number, 1 or more")

    def voltage_tolerance_v(self, scale_v: float) -> float:
        """Return the voltage error that the options allow at a voltage scale: reltol * scale + vntol."""
        return self.reltol * scale_v + self.vntol_v


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Netlist:
    """A circuit spelt for SPICE.

    Args:
        circuit: what is spelt; all values are there.
        topology: its analysed wiring.
        nodes: [n_nodes] SPICE node names, lower case; nodes[0] is "0".
        resistors, diodes, voltage_sources, current_sources, capacitors: device names, first letter included; a
            cubic resistor has a b, and so has a piecewise-linear diode.
        models: [n_models] model names; that of a piecewise-linear diode stands in no deck.
        amplifiers: names without a letter: each is three cards, and a node of its own (`spice_amplifier`).
        options: tolerances.
    """

    circuit: Circuit
    topology: Topology
    nodes: tuple[str, ...]
    resistors: tuple[str, ...]
    diodes: tuple[str, ...]
    voltage_sources: tuple[str, ...]
    current_sources: tuple[str, ...]
    capacitors: tuple[str, ...]
    models: tuple[str, ...]
    amplifiers: tuple[str, ...] = ()
    options: SolverOptions = field(default_factory=SolverOptions)


def active_elements(circuit: Circuit, conductance_s: Floats) -> Indices:
    """Return which conductances are active elements: negative ones are no resistors, so decks have a VCCS there.

    Those of a mirrored circuit are equivalents, in decks that nobody builds.

    Args:
        circuit: the wiring.
        conductance_s: [n_resistors] S.
    """
    return np.zeros(0, dtype=np.int64) if circuit.equivalent else np.flatnonzero(conductance_s < 0.0)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NodeMap:
    """The way back from a simulator's vectors to the circuit's nodes and sources.

    Args:
        node_index: circuit node by SPICE name.
        vectors: the vectors wanted from a simulator: every node but ground, then the branch of each voltage source.
        n_nodes: number of circuit nodes, ground included.
    """

    node_index: dict[str, int]
    vectors: tuple[str, ...]
    n_nodes: int

    def voltages(self, values: Floats) -> Floats:
        """Return [batch, n_nodes] V, ground first, from [batch, n_vectors] values."""
        ground = np.zeros((len(values), 1))
        return np.concatenate([ground, values[:, : self.n_nodes - 1]], axis=1)

    def source_currents(self, values: Floats) -> Floats:
        """Return [batch, n_voltage_sources] A delivered at the plus nodes: minus ngspice's i(V)."""
        return -values[:, self.n_nodes - 1 :]

    def node(self, name: str) -> int:
        """Return the circuit's index of a node by its SPICE name.

        Raises:
            NetlistError: if the netlist has no such node.
        """
        if name.lower() not in self.node_index:
            raise NetlistError(f"no node '{name}' in this netlist; it has {', '.join(list(self.node_index)[:8])}, ...")
        return self.node_index[name.lower()]


def node_map(netlist: Netlist) -> NodeMap:
    """Return the way back from a simulator's vectors to a netlist's circuit."""
    return NodeMap(
        node_index={name: k for k, name in enumerate(netlist.nodes)},
        vectors=(*netlist.nodes[1:], *(f"{name}#branch" for name in netlist.voltage_sources)),
        n_nodes=len(netlist.nodes),
    )
