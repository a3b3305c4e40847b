"""What follows a circuit in time after a step of its drives, and the waveforms that it gives.

    C dv/dt = -dF/dv,   drives_before until t = 0 (at equilibrium), drives_after from then on

Capacitors go from nodes to ground. One at a node that ideal sources set moves no voltage, and is left out.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np

from circuits.arrays import Floats, Indices, frozen_floats
from circuits.capacitance import check_capacitances
from circuits.circuit import Circuit
from circuits.topology import NONE, Topology
from circuits.validation import check_conductances, check_drives

from ..errors import SimulationError


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Waveforms:
    """Node voltages in time.

    Args:
        time_s: [n_t] s — ascending; 0 is the moment of the step, at which voltages are those before it.
        voltage_v: [batch, n_t, n_nodes] V — in the circuit's order, ground first.
    """

    time_s: Floats
    voltage_v: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "time_s", frozen_floats(self.time_s))
        self.voltage_v.setflags(write=False)
        if self.voltage_v.ndim != 3 or self.voltage_v.shape[1] != len(self.time_s):
            raise SimulationError(
                f"waveforms: voltages of shape {self.voltage_v.shape} for {len(self.time_s)} times; they are [batch, "
                "times, nodes]"
            )

    def __len__(self) -> int:
        return len(self.voltage_v)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Step:
    """A circuit at equilibrium whose drives step.

    Args:
        circuit: without capacitors of its own.
        conductance_s: [n_resistors] S.
        drives_before: [batch, n_drives] V then A — up to t = 0.
        drives_after: [batch, n_drives] V then A — from t = 0 on.
        capacitance_f: [n_nodes] F — of each node to ground.

    Raises:
        CircuitError: for arrays of the wrong shape, or values that are not physical.
        SimulationError: for capacitors of the circuit's own.
    """

    circuit: Circuit
    conductance_s: Floats
    drives_before: Floats
    drives_after: Floats
    capacitance_f: Floats

    def __post_init__(self) -> None:
        check_capacitances(self.circuit, self.capacitance_f)
        check_conductances(self.circuit, self.conductance_s)
        check_drives(self.circuit, self.drives_before)
        check_drives(self.circuit, self.drives_after)
        if len(self.circuit.capacitors):
            raise SimulationError(
                f"block '{self.circuit.name}': has {len(self.circuit.capacitors)} capacitors of its own; give the "
                "circuit without them, and the capacitance of each node to ground"
            )
        if self.drives_before.shape != self.drives_after.shape:
            raise SimulationError(
                f"block '{self.circuit.name}': {len(self.drives_before)} samples before the step and "
                f"{len(self.drives_after)} after it; give as many"
            )

    def __len__(self) -> int:
        return len(self.drives_after)


def charged_nodes(topology: Topology, capacitance_f: Floats) -> Indices:
    """Return the nodes whose capacitance delays their voltage: those that no ideal source sets.

    Args:
        topology: the analysed circuit.
        capacitance_f: [n_nodes] F.

    Raises:
        SimulationError: for capacitance at a node that a driven source ties to another one of unknown voltage, whose
            charge a step would move in no time.
    """
    circuit = topology.circuit
    charged = (capacitance_f > 0) & (topology.unknown_of_node != NONE)
    jumping = np.zeros(circuit.n_nodes, dtype=bool)
    jumping[topology.path_node[circuit.voltage_sources.driven[topology.path_source]]] = True
    for k in np.flatnonzero(charged & jumping)[:1]:
        raise SimulationError(
            f"block '{circuit.name}': {circuit.labels[k]} has {capacitance_f[k]:g} F and hangs on a driven voltage "
            "source that is not to ground; give its capacitance to the node at the source's other end, and it none"
        )
    return np.flatnonzero(charged)


def check_times(name: str, time_s: Floats) -> None:
    """Raise SimulationError unless times are finite, ascending and not before the step.

    Args:
        name: of the circuit.
        time_s: [n_t] s.
    """
    good = time_s.ndim == 1 and len(time_s) and np.isfinite(time_s).all()
    if not good or time_s[0] < 0 or (np.diff(time_s) <= 0).any() or time_s[-1] == 0:
        raise SimulationError(
            f"block '{name}': asked for times {np.array2string(np.asarray(time_s), threshold=4)} s after the step; "
            "give finite ones, zero or more, each above the one before"
        )


def shortest_time_s(conductance_s: Floats, capacitance_f: Floats, circuit: Circuit) -> float:
    """Return a bound below every time constant of the resistors: C / (2 sum |g|), of the node where it is least.

    Equation: Gershgorin's circles of C^-1 H. What diodes conduct may shorten it; steps are controlled by their error.
    """
    r, n = circuit.resistors, circuit.n_nodes
    g = np.abs(conductance_s)
    total = np.bincount(r.a, g, n) + np.bincount(r.b, g, n)
    charged = np.flatnonzero((capacitance_f > 0) & (total > 0))
    return float((capacitance_f[charged] / (2.0 * total[charged])).min()) if len(charged) else np.inf


class AbstractIntegrator(ABC):
    """A way to follow a circuit in time."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name for results and tables."""

    @abstractmethod
    def follow(self, step: Step, time_s: Floats) -> Waveforms:
        """Follow every sample after its step.

        Args:
            step: circuit, parameters, capacitances, and the drives before and after.
            time_s: [n_t] s — when voltages are wanted, ascending.

        Returns:
            the waveforms at those times.

        Raises:
            SimulationError: if the simulator gives something else than asked, naming the circuit.
            ConvergenceError: if a sample cannot be followed.
        """
