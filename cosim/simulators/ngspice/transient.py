"""ngspice in time: one `.tran` a sample, whose driven sources step at t = 0, every point held against our own laws.

Takes: a circuit with capacitances, drives before and after. Gives: waveforms at the asked times. Must not know: layers,
phases, gradients.

The deck is that of the sweeps with capacitors. ngspice solves the operating point at t = 0 by itself, asking the
`external` sources for their values; the callback answers with row 0 of the drives until that point is reported and with
row 1 from then on, so the first step of the integrator already has the new drives: a step without any rise. Measured
against the exact response of a linear block, in shares of the largest change: 3e-5 in 235 points and 8e-6 in 466, the
same as with piecewise-linear sources that rise within 1e-6 of the shortest time constant; a rise of 1e-3 costs 2e-4.

ngspice's own control of the step looks at charges, which a nudge changes by a thousandth, and at reltol, which is tight
for the sake of equilibria. `trtol` undoes the latter and `chgtol` the former, so that a step is allowed an error in V.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Final, final

import numpy as np
from scipy.interpolate import CubicSpline

from circuits.arrays import Floats, Indices
from circuits.capacitance import with_capacitors
from circuits.kirchhoff import KirchhoffProgram, kirchhoff_law, known_voltages
from circuits.topology import NONE, Topology
from netlists.lowering import lower
from netlists.netlist import Netlist, SolverOptions
from netlists.spice_writer import format_number, streamed_template

from ...errors import ConvergenceError, ResultError, SimulationError
from ...transients.integrator import (
    AbstractIntegrator,
    Step,
    Waveforms,
    charged_nodes,
    check_times,
    shortest_time_s,
)
from ...transients.step_law import step_residual
from ..base import residual_tolerance_v
from .console import LineKind, classify
from .deck import StreamedDeck
from .library import ngspice_library
from .sweep import make_current, reject_deck

if TYPE_CHECKING:
    from .shared import NgspiceLibrary

FIRST_STEP: Final = 1e-4  # of the shortest time constant: the first step is of first order, an error of half its square
MOST_POINTS: Final = 50_000  # of a run, where hundreds do: ngspice may shorten its steps for ever, and never returns
N_STEPS: Final = 50  # at least, however slowly everything moves, so that a spline through the points is as good as they


@final
class NgspiceIntegrator(AbstractIntegrator):
    """`.tran` in this process's libngspice.

    Args:
        accuracy_v: V — error that a step may make at a node; at one above 1 V, in proportion to its voltage.
        solver: the deck's tolerances.

    Raises:
        SimulationError: for an accuracy that is not above zero.
    """

    def __init__(self, *, accuracy_v: float = 1e-9, solver: SolverOptions | None = None) -> None:
        if not 0 < accuracy_v < 1:
            raise SimulationError(f"ngspice: accuracy_v = {accuracy_v!r} of a step; give a value above zero, as 1e-9")
        self._accuracy_v = accuracy_v
        self._solver = solver or SolverOptions()

    @property
    def name(self) -> str:
        """Short name for results and tables."""
        return "ngspice"

    def follow(self, step: Step, time_s: Floats) -> Waveforms:
        """Follow every sample after its step; see `AbstractIntegrator.follow`.

        Raises:
            ConvergenceError: if ngspice cannot follow a sample.
            ResultError: if it gives something else than asked for, or a point violates Kirchhoff's law.
            SimulatorNotFound: if libngspice is not installed.
        """
        check_times(step.circuit.name, time_s)
        runs = _Runs(step, self._solver, self._accuracy_v, float(time_s[-1]))
        voltage_v = np.stack([runs.sampled(k, time_s) for k in range(len(step))])
        return Waveforms(time_s=time_s, voltage_v=voltage_v)


@final
class _Runs:
    """The deck of a circuit, and its runs."""

    def __init__(self, step: Step, solver: SolverOptions, accuracy_v: float, stop_s: float) -> None:
        plain, _ = lower(step.circuit, solver)
        self._step, self._solver, self._stop_s = step, solver, stop_s
        self._topology = plain.topology
        self._charged = charged_nodes(plain.topology, step.capacitance_f)
        self._capacitance_f = _at_roots(plain.topology, self._charged, step.capacitance_f)
        self._kirchhoff: KirchhoffProgram = kirchhoff_law(plain.topology).program(step.conductance_s)
        netlist, _ = lower(with_capacitors(step.circuit, self._capacitance_f), solver)
        self._deck = self._spelt(netlist, accuracy_v)
        shortest_s = shortest_time_s(step.conductance_s, _only(self._charged, step.capacitance_f), step.circuit)
        self._first_step_s = min(FIRST_STEP * shortest_s, stop_s / 1000.0)

    def _spelt(self, netlist: Netlist, accuracy_v: float) -> StreamedDeck:
        """Return the deck, with the integrator's options."""
        circuit = netlist.circuit
        least_f = float(self._capacitance_f[self._capacitance_f > 0].min(initial=1.0))
        options = (
            f".options method=trap trtol={format_number(accuracy_v / self._solver.reltol)} "
            f"chgtol={format_number(least_f)}\n"  # the charge of 1 V
        )
        template = streamed_template(netlist)
        template = replace(template, head=template.head + options)
        return StreamedDeck.from_text(
            template.text(self._step.conductance_s),
            vectors=netlist.nodes[1:],
            n_voltage_drives=len(circuit.driven_voltage_sources),
            n_current_drives=len(circuit.driven_current_sources),
        )

    def sampled(self, sample: int, time_s: Floats) -> Floats:
        """Run one sample and return its voltages at the asked times, [n_t, n_nodes] V."""
        library = ngspice_library()
        with library.lock:
            try:
                points_s, voltage_v = self._run(library, sample)
            except BaseException:  # an interrupt, too: an analysis that failed poisons the circuit
                library.unload_all()
                raise
        self._accept(sample, points_s, voltage_v)
        return self._at(sample, points_s, voltage_v, time_s)

    def _run(self, library: "NgspiceLibrary", sample: int) -> tuple[Floats, Floats]:
        """Run one `.tran`; return all its points."""
        where = f"block '{self._step.circuit.name}', sample {sample}"
        rows = np.stack([self._step.drives_before[sample], self._step.drives_after[sample]])
        make_current(library, self._deck)
        # ngspice begins with a tenth of the print step, and has no step above the last number.
        first, stop, largest = (
            format_number(s) for s in (10.0 * self._first_step_s, self._stop_s, self._stop_s / N_STEPS)
        )
        library.command(f"stop after {MOST_POINTS}")
        try:
            points, lines = library.analyse(
                f"tran {first} {stop} 0 {largest}", self._deck, rows, np.empty((2, len(self._deck.vectors)))
            )
        finally:
            library.command("delete all")
        if points >= MOST_POINTS:
            time = library.read_vector("time")
            came_s = 0.0 if time is None or not len(time) else float(time[-1])
            raise ConvergenceError(
                f"{where}: ngspice's .tran has come to {came_s:.3g} s of {self._stop_s:.3g} s in {points} points, with "
                "steps so short that it would not end; ask for a coarser accuracy_v, which a larger nudge allows, or "
                "give its nodes more capacitance"
            )
        kinds, said = {classify(line) for line in lines}, [line.text for line in lines if line.is_stderr]
        if LineKind.DECK_REJECTED in kinds:
            raise reject_deck(self._deck, f"{where}: ngspice does not read this deck as it is meant", said)
        time = library.read_vector("time")
        if LineKind.SAMPLE_FAILED in kinds or points == 0 or time is None:
            error = reject_deck(self._deck, f"{where}: ngspice's .tran gave up", said)
            raise ConvergenceError(f"{error}. Check the sample's drives, or loosen the clamps")
        columns = [library.read_vector(name) for name in self._deck.vectors]
        lengths = {len(column) for column in columns if column is not None}
        if lengths != {points} or len(time) != points or any(column is None for column in columns):
            what = f"{where}: .tran reported {points} points, and has vectors of lengths {sorted(lengths)}"
            raise reject_deck(self._deck, what, said)
        if not abs(time[-1] - self._stop_s) <= 1e-9 * self._stop_s or time[0] != 0 or (np.diff(time) <= 0).any():
            what = f"{where}: .tran was to end at {self._stop_s:g} s, its times go from {time[0]:g} to {time[-1]:g} s"
            raise reject_deck(self._deck, what, said)
        library.command("destroy all")
        return time, _with_ground([column for column in columns if column is not None])

    def _accept(self, sample: int, points_s: Floats, voltage_v: Floats) -> None:
        """Hold the operating point and every later point against Kirchhoff's law by our own element laws."""
        step, circuit = self._step, self._step.circuit
        where = f"block '{circuit.name}', sample {sample}"
        if not np.isfinite(voltage_v).all():
            point, node = np.argwhere(~np.isfinite(voltage_v))[0]
            raise ResultError(f"{where}: .tran gave no number for {circuit.labels[node]} at {points_s[point]:g} s")
        before, after = step.drives_before[sample], step.drives_after[sample]
        tolerance_v = float(residual_tolerance_v(self._solver, voltage_v).max())
        start = self._kirchhoff.residual(before[np.newaxis], voltage_v[:1], voltage_tolerance_v=tolerance_v)
        if not start.residual_a[0] <= start.tolerance_a[0]:
            raise ConvergenceError(
                f"{where}: .tran begins where no equilibrium is, worst at {circuit.labels[int(start.node[0])]}: net "
                f"current {start.residual_a[0]:.3g} A, allowed {start.tolerance_a[0]:.3g} A"
            )
        worst = step_residual(
            self._kirchhoff, self._capacitance_f, after, points_s, voltage_v, voltage_tolerance_v=tolerance_v
        )
        if not worst.is_explained:
            raise ResultError(
                f"{where}: .tran violates Kirchhoff's law at {circuit.labels[worst.node]}, {worst.time_s:g} s after "
                f"the step: net current {worst.residual_a:.3g} A with the displacement current, allowed "
                f"{worst.tolerance_a:.3g} A. Lower reltol and vntol_v of SolverOptions"
            )

    def _at(self, sample: int, points_s: Floats, voltage_v: Floats, time_s: Floats) -> Floats:
        """Return voltages at the asked times from those at the integrator's own.

        Nodes with capacitance move smoothly from t = 0 on, others jump there and move smoothly behind it.
        """
        sampled = np.empty((len(time_s), voltage_v.shape[1]))
        jumping = np.setdiff1d(np.arange(voltage_v.shape[1]), self._charged)
        sampled[:, self._charged] = CubicSpline(points_s, voltage_v[:, self._charged])(time_s)
        later = np.maximum(time_s, points_s[1])
        sampled[:, jumping] = CubicSpline(points_s[1:], voltage_v[1:, jumping])(later)
        sampled[time_s == 0] = voltage_v[0]
        known = np.flatnonzero(self._topology.unknown_of_node == NONE)
        after = known_voltages(self._topology, self._step.drives_after[sample : sample + 1])
        sampled[np.ix_(time_s > 0, known)] = after[0, known]
        return sampled


def _only(nodes: Indices, capacitance_f: Floats) -> Floats:
    """Return the capacitances of some nodes, zero elsewhere."""
    kept_f = np.zeros_like(capacitance_f)
    kept_f[nodes] = capacitance_f[nodes]
    return kept_f


def _at_roots(topology: Topology, nodes: Indices, capacitance_f: Floats) -> Floats:
    """Return capacitances moved to the node that carries each unknown, [n_nodes] F: as exact, and ngspice keeps going.

    An amplifier of gain A moves its output A times as far and hands back 1/A of the current, so what hangs on the
    output is as much at the input. Left at the output its charging current would go through an ideal source, and after
    a step it is C / h times the rounding of v: above abstol for short steps h, which ngspice then shortens for ever.
    """
    moved_f = np.zeros_like(capacitance_f)
    np.add.at(moved_f, topology.node_of_unknown[topology.unknown_of_node[nodes]], capacitance_f[nodes])
    return moved_f


def _with_ground(columns: list[Floats]) -> Floats:
    """Return [n_t, n_nodes] V, ground first."""
    return np.stack([np.zeros_like(columns[0]), *columns], axis=1) if columns else np.zeros((0, 1))
