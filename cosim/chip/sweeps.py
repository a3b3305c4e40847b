"""The relaxation of a block done by a digital processor: layer after layer, until a converter could not tell.

Each half step sets every other layer to what minimises the energy with the rest held, s_i = clip((I_i + sum_j w_ij s_j)
/ d_i), a box in the place of the diodes. It is what a digital chip would run to get the block's own answer, not that
of a feedforward twin.
"""

from dataclasses import dataclass
from typing import Final, final

import numpy as np
from scipy import sparse

from circuits.arrays import Floats
from circuits.block_circuit import BlockCircuit
from circuits.topology import NONE, Topology, analyse, laplacian

from .errors import ChipError

MOST_SWEEPS: Final = 20_000
SETTLED: Final = 1e-12  # change of a sweep, relative to the largest state, at which it is the fixed point


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SweepCount:
    """How a block is relaxed digitally.

    Args:
        free, nudged: sweeps until every unit is within the tolerance of the fixed point, the sample that needs most.
        macs_per_sweep: multiply-adds of one sweep: each coupling between layers, both ways.
        macs_of_input: multiply-adds of what is computed once: the input crossbar and the bias rows.
    """

    free: int
    nudged: int
    macs_per_sweep: int
    macs_of_input: int


@final
class DigitalRelaxation:
    """The equations of a block's units, in volts.

    Args:
        built: the block as designed.
        conductance_s: [n_resistors] S of it.
    """

    def __init__(self, built: BlockCircuit, conductance_s: Floats) -> None:
        circuit, topology = built.circuit, analyse(built.circuit)
        p = np.concatenate([layer.p for layer in built.layers])
        unit = topology.unknown_of_node[p]
        self._law = (topology.current_matrix() @ laplacian(circuit, conductance_s)).tocsr()[unit]
        self._spread = topology.current_matrix()[unit]
        self._paths = topology.path_matrix()
        matrix = (self._law @ topology.unknown_matrix()).tocsr()
        own = matrix[:, unit]
        if built.layers[0].n is not None:  # v_n = -v_p
            n = np.concatenate([layer.n for layer in built.layers if layer.n is not None])
            own = own - matrix[:, topology.unknown_of_node[n]]
        self._built = built
        self._gain = topology.gain[p] if len(topology.gain) else np.ones(len(p))
        self._diagonal = own.diagonal()
        self._coupled = sparse.csr_array(sparse.diags_array(self._diagonal) - own)
        sizes = [len(layer) for layer in built.layers]
        number = np.repeat(np.arange(len(sizes)), sizes)
        self._halves = [np.flatnonzero(number % 2 == parity) for parity in (0, 1) if (number % 2 == parity).any()]
        self._low, self._high = np.full(len(p), -np.inf), np.full(len(p), np.inf)
        at_diode = _diode_gains(topology)[unit]
        for first, layer in zip(np.cumsum([0, *sizes]), built.block.layers, strict=False):
            for units, clamp in layer.clamp_runs:
                held = slice(first + units.start, first + units.stop)
                self._low[held] = -np.inf if clamp.low_v is None else clamp.low_v / at_diode[held]
                self._high[held] = np.inf if clamp.high_v is None else clamp.high_v / at_diode[held]

    def currents(self, drives: Floats) -> Floats:
        """Return the current into each unit from what does not change, [n, n_units] A.

        Args:
            drives: [n, n_drives] V then A.
        """
        circuit = self._built.circuit
        source_v, source_a = circuit.source_values(drives)
        known = (self._paths @ source_v.T).T
        injected = np.zeros((len(drives), circuit.n_nodes))
        np.add.at(injected.T, circuit.current_sources.end, source_a.T)
        np.subtract.at(injected.T, circuit.current_sources.start, source_a.T)
        return np.asarray((self._spread @ injected.T).T - (self._law @ known.T).T)

    def sweeps_until(self, current_a: Floats, start_v: Floats, tolerance_v: float) -> tuple[int, Floats]:
        """Return how many sweeps bring every unit within a tolerance of the fixed point, and the fixed point.

        Args:
            current_a: [n, n_units] A.
            start_v: [n, n_units] V — before an amplifier, where a unit has one; so is the fixed point.
            tolerance_v: V — at the unit's own node.

        Raises:
            ChipError: if there is no fixed point within `MOST_SWEEPS`.
        """
        v, path = start_v.copy(), [start_v]
        for _ in range(MOST_SWEEPS):
            before = v
            v = self._sweep(current_a, v)
            path.append(v)
            if np.abs(v - before).max() <= SETTLED * max(1e-9, float(np.abs(v).max())):
                outside = [bool((np.abs(state - v) * self._gain > tolerance_v).any()) for state in path]
                return max((k for k, is_out in enumerate(outside, start=1) if is_out), default=0), v
        raise ChipError(
            f"block '{self._built.block.name}': relaxed digitally it still moves after {MOST_SWEEPS} sweeps; it may "
            "have several equilibria: shrink its weights"
        )

    def _sweep(self, current_a: Floats, v: Floats) -> Floats:
        v = v.copy()
        for half in self._halves:
            asked = (current_a + (self._coupled @ v.T).T)[:, half] / self._diagonal[half]
            v[:, half] = np.clip(asked, self._low[half], self._high[half])
        return v

    @property
    def macs(self) -> tuple[int, int]:
        """Multiply-adds of a sweep, and of what is computed once."""
        layers = {id(layer) for layer in self._built.layers}
        inside = outside = 0
        for crossbar in self._built.crossbars:
            pairs = crossbar.plus[0].size
            if id(crossbar.rows) in layers:
                inside += 2 * pairs
            else:
                outside += pairs
        return inside, outside


def _diode_gains(topology: Topology) -> Floats:
    """Return by how much each unknown is amplified where its diodes are, [n_unknowns]; 1 without amplifiers."""
    gains = np.ones(topology.n_unknowns)
    if len(topology.gain):
        diodes = topology.circuit.diodes
        for nodes in (diodes.anode, diodes.cathode):
            moving = nodes[topology.unknown_of_node[nodes] != NONE]
            gains[topology.unknown_of_node[moving]] = topology.gain[moving]
    return gains


def count_sweeps(
    built: BlockCircuit,
    conductance_s: Floats,
    free: Floats,
    nudged: tuple[Floats, ...],
    *,
    free_tolerance_v: float,
    nudged_tolerance_v: float,
) -> SweepCount:
    """Count the sweeps of a block's free and nudged phases.

    Args:
        built: the block as designed.
        conductance_s: [n_resistors] S.
        free: [n, n_drives] drives of the free phase.
        nudged: of each nudged phase, which starts from the free one.
        free_tolerance_v: V — half a step of the converter by which a circuit's states are read.
        nudged_tolerance_v: V — likewise in nudged phases.

    Raises:
        ChipError: as `DigitalRelaxation.sweeps_until`.
    """
    relaxation = DigitalRelaxation(built, conductance_s)
    current_a = relaxation.currents(free)
    n_free, fixed_v = relaxation.sweeps_until(current_a, np.zeros_like(current_a), free_tolerance_v)
    counts = [relaxation.sweeps_until(relaxation.currents(d), fixed_v, nudged_tolerance_v)[0] for d in nudged]
    per_sweep, once = relaxation.macs
    return SweepCount(free=n_free, nudged=max(counts, default=0), macs_per_sweep=per_sweep, macs_of_input=once)
