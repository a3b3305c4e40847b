"""ngspice's own linearisation: operating points as ever, and the response to small signals by one `.ac` a sample.

Takes: conductances, drives and a direction of drives. Gives: the response of every node voltage, each accepted only
after checks. Must not know: layers, phases, gradients.

Each drive that changes has an AC source of its own (`ac_sources`). The deck is loaded once a parameter set; a sample's
drives arrive through the callbacks, as in a sweep, and its direction by an `alter` for each AC source.
With `keepopinfo` ngspice reports two points, the operating point that it linearises at and the response, so that both
can be judged. Every `.ac` sets the matrix up anew and starts cold: it costs what an `.op` does.
"""

from dataclasses import dataclass
from typing import Final, final

import numpy as np

from circuits.arrays import Floats, Indices
from circuits.errors import CircuitError
from circuits.kirchhoff import KirchhoffProgram, KirchhoffResidual, kirchhoff_law
from circuits.small_signal_law import small_signal_residual, source_response_error
from circuits.validation import check_drives
from netlists.netlist import Netlist, node_map
from netlists.spice_writer import format_number

from ...errors import ConvergenceError, ResultError, SimulationError
from ..base import AbstractSession, AbstractSimulator, OnFailure, OperatingPoint, residual_tolerance_v
from .ac_sources import AcSources
from .console import LineKind, classify
from .deck import StreamedDeck
from .library import ngspice_library
from .simulator import NgspiceSimulator
from .sweep import make_current, reject_deck

FREQUENCY_HZ: Final = 1e-6  # f -> 0: a capacitance counts by (2 pi f C / g)^2
RESPONSE_TOLERANCE: Final = 1e-7  # operating points differ by 1e-11 V, which changes a diode's conductance by 4e-10
AGREEMENT_V: Final = 1e-7  # of two solves of one equilibrium, both to 1e-11 V; far below a junction's n V_t
_N_POINTS: Final = 2  # the operating point and one frequency


@final
class NgspiceAcSimulator(AbstractSimulator):
    """ngspice that linearises by itself, where `NgspiceSimulator` leaves that to newton.

    Args:
        simulator: where operating points are solved; it is closed with this one. The small signals are always
            ngspice's in this process, without a watchdog.
    """

    def __init__(self, simulator: NgspiceSimulator | None = None) -> None:
        self._simulator = simulator or NgspiceSimulator()

    @property
    def name(self) -> str:
        """Short name for results and tables."""
        return "ngspice-ac"

    @property
    def has_small_signal(self) -> bool:
        """By `.ac`."""
        return True

    def prepare(self, netlist: Netlist) -> "NgspiceAcSession":
        """Spell everything of the deck that does not change with its conductances."""
        return NgspiceAcSession(netlist, self._simulator.prepare(netlist))

    def close(self) -> None:
        """End the worker processes; a later solve starts new ones."""
        self._simulator.close()


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ParameterSet:
    """The last conductances and directions, as ngspice and as Kirchhoff's law need them."""

    sources: AcSources
    deck: StreamedDeck
    kirchhoff: KirchhoffProgram


@final
class NgspiceAcSession(AbstractSession):
    """A netlist prepared for sweeps and small signals; keeps the decks of the last parameter set."""

    def __init__(self, netlist: Netlist, session: AbstractSession) -> None:
        self._netlist = netlist
        self._session = session
        self._law = kirchhoff_law(netlist.topology)
        self._last: ParameterSet | None = None

    @property
    def netlist(self) -> Netlist:
        """What was prepared."""
        return self._netlist

    def solve(
        self,
        conductance_s: Floats,
        drives: Floats,
        *,
        start_v: Floats | None = None,
        read_sources: bool = False,
        on_failure: OnFailure = OnFailure.RAISE,
    ) -> OperatingPoint:
        """Relax a batch by a sweep; see `NgspiceSession.solve`."""
        return self._session.solve(
            conductance_s, drives, start_v=start_v, read_sources=read_sources, on_failure=on_failure
        )

    def close(self) -> None:
        """Release what the session of the sweeps holds."""
        self._session.close()

    def small_signal(
        self, conductance_s: Floats, voltage_v: Floats, drive_change: Floats, *, drives: Floats | None = None
    ) -> Floats:
        """Return how node voltages change with the drives at an operating point, as ngspice's `.ac` has it.

        ngspice solves the operating point anew; it has to be the one that is given. For the nudge of the loss gradient
        ds the response is -lambda = -H^-1 ds, so it is implicit differentiation.

        Args:
            conductance_s: [n_resistors] S.
            voltage_v: [batch, n_nodes] V — the operating point.
            drive_change: [batch, n_drives] V then A — direction in the space of drives.
            drives: [batch, n_drives] V then A — at the operating point.

        Returns:
            [batch, n_nodes] V per unit of the direction.

        Raises:
            CircuitError: for parameters, drives, voltages or directions that are not finite or of the wrong shape.
            SimulationError: without the drives.
            ConvergenceError: if ngspice finds no operating point for a sample, or one that violates Kirchhoff's law.
            ResultError: if ngspice gives something else than was asked for, has linearised at another equilibrium than
                the given one, or its response violates Kirchhoff's law for small signals.
            SimulatorNotFound: if libngspice is not installed.
        """
        drives = self._checked(voltage_v, drive_change, drives)
        changed = np.flatnonzero(drive_change.any(axis=0))
        if not len(changed):  # nothing moves
            return np.zeros_like(voltage_v)
        parameters = self._programmed(conductance_s, changed)
        point_v, response_v = self._analyse(parameters, drives, drive_change[:, changed])
        self._accept(parameters.kirchhoff, drives, voltage_v, drive_change, point_v, response_v)
        return response_v

    def _checked(self, voltage_v: Floats, drive_change: Floats, drives: Floats | None) -> Floats:
        """Refuse what cannot be analysed; return the drives."""
        circuit = self._netlist.circuit
        if drives is None:
            raise SimulationError(
                f"block '{circuit.name}': ngspice linearises what it has just solved; give small_signal the drives of "
                "the operating point"
            )
        check_drives(circuit, drives)
        check_drives(circuit, drive_change)
        expected = (len(drives), circuit.n_nodes)
        if voltage_v.shape != expected or drive_change.shape != drives.shape or not np.isfinite(voltage_v).all():
            raise CircuitError(
                f"block '{circuit.name}': operating point of shape {voltage_v.shape} for drives of shape "
                f"{drives.shape} and a direction of shape {drive_change.shape}; give finite voltages {list(expected)} "
                "from a relaxation that converged, and one drive and direction for each"
            )
        return drives

    def _programmed(self, conductance_s: Floats, changed: Indices) -> ParameterSet:
        """Return what belongs to a parameter set with AC sources for some drives."""
        last = self._last
        same_drives = last is not None and np.array_equal(last.sources.changed, changed)
        if last is not None and same_drives and np.array_equal(last.kirchhoff.conductance_s, conductance_s):
            return last
        sources = last.sources if last is not None and same_drives else AcSources.of(self._netlist, changed)
        circuit = self._netlist.circuit
        deck = StreamedDeck.from_text(
            sources.template.text(conductance_s),
            vectors=self._netlist.nodes[1:],
            n_voltage_drives=len(circuit.driven_voltage_sources),
            n_current_drives=len(circuit.driven_current_sources),
        )
        self._last = ParameterSet(sources=sources, deck=deck, kirchhoff=self._law.program(conductance_s))
        return self._last

    def _analyse(self, parameters: ParameterSet, drives: Floats, change: Floats) -> tuple[Floats, Floats]:
        """Return the operating points and the responses to values of the AC sources, [batch, n_nodes] V each."""
        sources, deck = parameters.sources, parameters.deck
        names, batch = node_map(self._netlist), len(drives)
        points, responses = (np.empty((batch, len(deck.vectors))) for _ in range(2))
        library = ngspice_library()
        with library.lock:
            try:
                make_current(library, deck)
                for k in range(batch):
                    for name, value in zip(sources.names, change[k], strict=True):
                        library.command(f"alter {name} acmag = {format_number(value)}")
                    points[k], responses[k] = self._run(deck, drives[k], k)
            except BaseException:  # an interrupt, too: an analysis that failed poisons the circuit
                library.unload_all()
                raise
        return names.voltages(points), names.voltages(responses)

    def _run(self, deck: StreamedDeck, drives: Floats, sample: int) -> Floats:
        """Run one `.ac` of the current circuit; return operating point and response, [2, n_vectors] V."""
        library, where = ngspice_library(), f"block '{self._netlist.circuit.name}', sample {sample}"
        values = np.full((_N_POINTS, len(deck.vectors)), np.nan)
        rows = np.repeat(drives[np.newaxis], _N_POINTS, axis=0)
        f = format_number(FREQUENCY_HZ)
        points, lines = library.analyse(f"ac lin 1 {f} {f}", deck, rows, values)
        kinds, said = {classify(line) for line in lines}, [line.text for line in lines if line.is_stderr]
        if LineKind.DECK_REJECTED in kinds:
            raise reject_deck(deck, f"{where}: ngspice does not read this deck as it is meant", said)
        if LineKind.SAMPLE_FAILED in kinds or points == 0:
            error = reject_deck(deck, f"{where}: ngspice's .ac found no operating point", said)
            raise ConvergenceError(f"{error}. Check the sample's drives, or loosen the clamps")
        length = library.vector_length("frequency")
        if points != _N_POINTS or length != 1:
            what = f"{where}: asked for an operating point and one frequency, got {points} points, {length} frequencies"
            raise reject_deck(deck, what, said)
        if not np.isfinite(values).all():
            vector = deck.vectors[int(np.argmax(~np.isfinite(values).all(axis=0)))]
            raise reject_deck(deck, f"{where}: ngspice's .ac gave no number for '{vector}'", said)
        library.command("destroy all")
        return values

    def _accept(
        self,
        kirchhoff: KirchhoffProgram,
        drives: Floats,
        voltage_v: Floats,
        drive_change: Floats,
        point_v: Floats,
        response_v: Floats,
    ) -> None:
        """Hold operating points and responses against our own element laws, and against the equilibrium given."""
        name = self._netlist.circuit.name
        tolerance_v = residual_tolerance_v(self._netlist.options, point_v)
        residual = kirchhoff.residual(drives, point_v, voltage_tolerance_v=tolerance_v)
        what = "ngspice's .ac linearised at a point that violates Kirchhoff's law"
        self._require(residual, what, ConvergenceError)
        apart_v = np.abs(point_v - voltage_v).max(axis=1)
        if (apart_v > AGREEMENT_V).any():
            k = int(np.argmax(apart_v))
            raise ResultError(
                f"block '{name}', sample {k}: ngspice's .ac linearised at another equilibrium, {apart_v[k]:.3g} V from "
                f"the given one (allowed {AGREEMENT_V:g} V); give the drives that belong to the voltages"
            )
        moved_v, largest_v = source_response_error(kirchhoff, drive_change, response_v), np.abs(response_v).max(axis=1)
        if (moved_v > RESPONSE_TOLERANCE * largest_v).any():
            k = int(np.argmax(moved_v))
            raise ResultError(
                f"block '{name}', sample {k}: in ngspice's .ac a node at a source is {moved_v[k]:.3g} V per unit off "
                "what the source asks for"
            )
        judged = small_signal_residual(
            kirchhoff, drives, voltage_v, drive_change, response_v, tolerance=RESPONSE_TOLERANCE
        )
        self._require(judged, "ngspice's .ac violates Kirchhoff's law for small signals", ResultError)

    def _require(self, residual: KirchhoffResidual, what: str, kind: type[SimulationError]) -> None:
        """Raise for the worst sample whose residual is above its tolerance, or is no number."""
        wrong = ~(residual.residual_a <= residual.tolerance_a)
        if not wrong.any():
            return
        k = int(np.flatnonzero(wrong)[np.argmax((residual.residual_a / residual.tolerance_a)[wrong])])
        circuit = self._netlist.circuit
        raise kind(
            f"block '{circuit.name}', sample {k}: {what} at {circuit.labels[int(residual.node[k])]}: net current "
            f"{residual.residual_a[k]:.3g} A, allowed {residual.tolerance_a[k]:.3g} A. Lower reltol and vntol_v of "
            "SolverOptions, or k_over_q_v_per_k of the circuit is not this ngspice's"
        )
