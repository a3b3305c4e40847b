"""What a simulator is: anything that prepares a netlist once and then solves batches of parameters and drives.

ngspice is the reference, newton the fast one; a bench instrument that programs conductances, applies sources and reads
node voltages fits the same two methods.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from typing import final

import numpy as np

from circuits.arrays import Flags, Floats, Indices
from circuits.circuit import Circuit
from netlists.netlist import Netlist, SolverOptions

from ..errors import ConvergenceError, SimulationError

RESIDUAL_SCALE_V = 10.0  # smallest voltage at which the relative tolerance is taken when a residual is judged


class OnFailure(Enum):
    """What `solve` does with a sample that has no acceptable equilibrium."""

    RAISE = "raise"
    RECORD = "record"  # voltages are NaN and `converged` is False for that sample only


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OperatingPoint:
    """Equilibria of a batch of samples.

    Args:
        voltage_v: [batch, n_nodes] V — in the circuit's order, ground first.
        source_current_a: [batch, n_voltage_sources] A delivered at the plus nodes; None unless it was asked for.
        residual_a: [batch] A — net current at the node that violates Kirchhoff's law most, by our element laws.
        tolerance_a: [batch] A — what the simulator's voltage tolerance explains at that node.
        worst_node: [batch] index of that node.
        iterations: [batch] Newton iterations (a mean over the chunk where the simulator reports only a sum).
        converged: [batch] False where there is no acceptable equilibrium.
        stepping: True where the simulator had to fall back on gmin or source stepping.
    """

    voltage_v: Floats
    source_current_a: Floats | None
    residual_a: Floats
    tolerance_a: Floats
    worst_node: Indices
    iterations: Floats
    converged: Flags
    stepping: bool = False

    def __len__(self) -> int:
        return len(self.voltage_v)


class AbstractSession(ABC):
    """A netlist prepared in one simulator; the only mutable thing on the way from circuit to gradient."""

    @property
    @abstractmethod
    def netlist(self) -> Netlist:
        """What was prepared."""

    @abstractmethod
    def solve(
        self,
        conductance_s: Floats,
        drives: Floats,
        *,
        start_v: Floats | None = None,
        read_sources: bool = False,
        on_failure: OnFailure = OnFailure.RAISE,
    ) -> OperatingPoint:
        """Relax a batch of samples.

        Args:
            conductance_s: [n_resistors] S — one parameter set.
            drives: [batch, n_drives] V then A.
            start_v: [batch, n_nodes] V — where to start; a simulator may ignore it, the equilibrium is the same.
            read_sources: whether to return the currents of the voltage sources.
            on_failure: raise, or record the failing samples.

        Returns:
            the equilibria.

        Raises:
            CircuitError: for parameters or drives that are not finite, not positive or of the wrong shape.
            ConvergenceError: for a sample without an acceptable equilibrium, naming node, sample and residual.
        """

    def small_signal(
        self, conductance_s: Floats, voltage_v: Floats, drive_change: Floats, *, drives: Floats | None = None
    ) -> Floats:
        """Return how node voltages change with the drives at an operating point; not every simulator can.

        Args:
            conductance_s: [n_resistors] S.
            voltage_v: [batch, n_nodes] V — the operating point.
            drive_change: [batch, n_drives] V then A — direction in the space of drives.
            drives: [batch, n_drives] V then A — at the operating point; a simulator that can linearise only what it
                has just solved needs them.

        Returns:
            [batch, n_nodes] V per unit of the direction.

        Raises:
            SimulationError: if the simulator has no small-signal analysis.
        """
        del conductance_s, voltage_v, drive_change, drives
        raise SimulationError(
            f"block '{self.netlist.circuit.name}': this simulator has no small-signal analysis; use newton's"
        )

    def close(self) -> None:
        """Release what the session holds; the default holds nothing."""
        return


class AbstractSimulator(ABC):
    """A way to find operating points."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name for results and tables."""

    @property
    def is_exact(self) -> bool:
        """Whether its answers obey Kirchhoff's law to the deck's tolerance; a bench with read noise says False."""
        return True

    @property
    def has_small_signal(self) -> bool:
        """Whether its sessions offer `small_signal`; where not, newton's is taken at the equilibrium that it found."""
        return False

    @abstractmethod
    def prepare(self, netlist: Netlist) -> AbstractSession:
        """Analyse a netlist once, for many parameter sets and batches."""

    def close(self) -> None:
        """Release worker processes and the like; the default holds none."""
        return


def residual_tolerance_v(options: SolverOptions, voltage_v: Floats) -> Floats:
    """Return the voltage error that each sample's residual may show, [batch] V.

    It is relative to the sample's largest voltage: residuals are sums of currents, and round with them.
    """
    largest = np.max(np.abs(np.nan_to_num(voltage_v, posinf=0.0, neginf=0.0)), axis=1, initial=RESIDUAL_SCALE_V)
    return np.asarray(options.reltol * largest + options.vntol_v)


def raise_first_failure(circuit: Circuit, point: OperatingPoint, simulator: str, log: tuple[str, ...] = ()) -> None:
    """Raise ConvergenceError for the first sample that did not converge, in the circuit's own words.

    Args:
        circuit: what was solved.
        point: the result.
        simulator: its name.
        log: the simulator's last words, shown with the error.
    """
    failed = np.flatnonzero(~point.converged)
    if not len(failed):
        return
    sample = int(failed[0])
    said = f"; it said: {' | '.join(log[-3:])}" if log else ""
    head = f"block '{circuit.name}': {simulator} found no equilibrium for {len(failed)} of {len(point)} samples"
    if not np.isfinite(point.residual_a[sample]):
        raise ConvergenceError(f"{head}; first is sample {sample}{said}. Check its drives, or loosen the clamps")
    raise ConvergenceError(
        f"{head}; first is sample {sample}, worst at {circuit.labels[int(point.worst_node[sample])]}: net current "
        f"{point.residual_a[sample]:.3g} A, allowed {point.tolerance_a[sample]:.3g} A{said}. Check the drive's size, "
        "or allow more iterations"
    )
