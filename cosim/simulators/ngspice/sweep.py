"""Solve a batch of samples with one `.dc` sweep over a dummy source, one point per sample.

Takes: a `StreamedDeck` and drives. Gives: a `SweepResult` in which every number has been accepted. Must not know:
circuits, layers, phases, processes.

What ngspice returns is not believed. A failed point ends the sweep with exit code 0 and poisons the loaded circuit; a
floating node is "solved" to a made-up voltage after singular-matrix warnings; a resistor without value becomes 1 mohm.
So: points reported = length of the vectors = batch, all numbers finite, and every line on stderr is one of a known few.
A sample that breaks one of these is solved again alone in a freshly loaded circuit, marked as failed if it fails there
too, and the sweep goes on after it.
"""

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import numpy as np
from numpy.typing import NDArray

from ...errors import ResultError
from .console import LineKind, classify, summarise
from .deck import StreamedDeck, SweepResult, check_drives
from .library import ngspice_library

if TYPE_CHECKING:
    from .shared import LoadedCircuit, NgspiceLibrary

_N_LOADED_DECKS: Final = 4  # free and nudged phases of two blocks at two parameter sets
_N_LOG_LINES: Final = 40
_N_QUOTED_LINES: Final = 8
_NO_VALUE: Final = re.compile(
    r"^(?:[rcliv]\S*[ \t]+\S+[ \t]+\S+|r\S*[ \t]+\S+[ \t]+\S+[ \t]+[+-]?(?:0+\.?0*|\.0+)(?:e[+-]?\d+)?)[ \t]*$(?!\n\+)",
    re.IGNORECASE | re.MULTILINE,
)
_ITERATIONS: Final = re.compile(r"Total iterations\s*=\s*(\d+)")


def run_sweep(deck: StreamedDeck, drives: NDArray[np.float64]) -> SweepResult:
    """Solve the deck once per row of the drives, in this process's ngspice.

    The first row starts cold, each later one from the solution before it. The result depends on the deck and the drives
    alone, to the last bit, and not on what this process solved before.

    Args:
        deck: loaded unless this process has it loaded already.
        drives: [batch, n_voltage_drives + n_current_drives] V, then A.

    Raises:
        ResultError: the deck does not load, cannot be solved for any drive, or ngspice gives something else than asked.
        SimulatorNotFound: no libngspice.
        WorkerError: libngspice died earlier in this process.
    """
    table = check_drives(deck, drives)
    library = ngspice_library()
    with library.lock:
        return _Chunk(library, deck, table).solve()


@final
class _Chunk:
    """One chunk being solved: the accepted values so far, and what ngspice said on the way."""

    def __init__(self, library: "NgspiceLibrary", deck: StreamedDeck, drives: NDArray[np.float64]) -> None:
        self._library = library
        self._deck = deck
        self._drives = drives
        self._values = np.full((len(drives), len(deck.vectors)), np.nan)
        self._iterations = 0
        self._stepping = False
        self._is_probed = False
        self._log: list[str] = []

    def solve(self) -> SweepResult:
        """Sweep over the samples; where one stops the sweep, go on from it, and behind it if it is the first again."""
        batch, start = len(self._drives), 0
        converged = np.zeros(batch, dtype=np.bool_)
        for stop in [*np.flatnonzero(~np.isfinite(self._drives).all(axis=1)), batch]:
            while start < stop:
                n_good = self._sweep(self._drives[start:stop], self._values[start:stop])
                converged[start : start + n_good] = True
                start += n_good
                if start < stop and n_good == 0:
                    # Not even cold and in a circuit as good as new. Is it the sample or the deck?
                    if not converged.any():
                        self._require_solvable()
                    self._values[start] = np.nan
                    start += 1
            start = stop + 1  # a drive that is no number has no solution, and ngspice takes seconds to say so
        return SweepResult(
            values=self._values,
            converged=converged,
            iterations=self._iterations,
            stepping=self._stepping,
            log=tuple(self._log),
        )

    def _sweep(self, drives: NDArray[np.float64], values: NDArray[np.float64]) -> int:
        """Run one sweep from the first of these samples on; return how many from the first on can be accepted."""
        library, batch = self._library, len(drives)
        circuit = make_current(library, self._deck)
        try:
            point, lines = library.sweep(self._deck, drives, values)
        except BaseException:  # an interrupt, too: half a sweep must not stay loaded
            library.unload_all()
            raise
        self._read_iterations(circuit)
        kinds = [(line, classify(line)) for line in lines if line.is_stderr]
        n_good = min([point, *(line.points for line, kind in kinds if kind is LineKind.SAMPLE_FAILED)])
        finite = np.isfinite(values[:n_good]).all(axis=1)
        if not finite.all():  # a linear circuit "solves" a NaN drive, and the samples behind it inherit the NaN
            n_good = int(np.argmin(finite))
        is_odd = any(kind is not LineKind.NOTE for _, kind in kinds)
        if is_odd:
            self._stepping |= any(kind is LineKind.STEPPING for _, kind in kinds)
            self._log = summarise([*self._log, *(line.text for line, _ in kinds)])[:_N_LOG_LINES]
        if any(kind is LineKind.DECK_REJECTED for _, kind in kinds):
            library.unload_all()
            raise reject_deck(self._deck, "ngspice does not read this deck as it is meant", self._log)
        if n_good == batch:
            length = library.vector_length(self._deck.vectors[0]) if self._deck.vectors else batch
            if not point == length == batch:
                library.unload_all()
                what = f"{batch} samples asked for, {point} reported, vectors of length {length}"
                raise reject_deck(self._deck, what, [line.text for line in lines])
        else:
            library.unload(self._deck.key)  # a failed point poisons the circuit for all later sweeps
        library.command("destroy all")
        return n_good

    def _require_solvable(self) -> None:
        """Raise if the deck has no solution with all drives at zero either: then it is not the sample's fault."""
        if self._is_probed:
            return
        self._is_probed = True
        n_columns = len(self._deck.vectors)
        if self._sweep(np.zeros((1, self._deck.n_drives)), np.empty((1, n_columns))) == 0:
            raise reject_deck(self._deck, "ngspice cannot solve this deck, not even with all drives at zero", self._log)

    def _read_iterations(self, circuit: "LoadedCircuit") -> None:
        """Add the Newton iterations of the last sweep; ngspice counts on for as long as a circuit is loaded."""
        for line in self._library.command("rusage totiter"):
            found = _ITERATIONS.search(line.text)
            if found is not None:
                total = int(found.group(1))
                self._iterations += total - circuit.iterations
                circuit.iterations = total


def make_current(library: "NgspiceLibrary", deck: StreamedDeck) -> "LoadedCircuit":
    """Make the deck ngspice's current circuit, loading it unless it is loaded; forget the one unused for longest."""
    circuit = library.find_circuit(deck.key)
    if circuit is None:
        if len(library.loaded) >= _N_LOADED_DECKS:
            library.unload(min(library.loaded, key=lambda loaded: loaded.last_used).key)
        require_values(deck)
        lines = library.load_deck(deck.text, deck.key)
        if any(classify(line) is not LineKind.NOTE for line in lines):
            library.unload_all()
            raise reject_deck(deck, "ngspice does not read this deck", [line.text for line in lines])
        circuit = library.loaded[0]
    circuit.last_used = 1 + max(loaded.last_used for loaded in library.loaded)
    return circuit


def require_values(deck: StreamedDeck) -> None:
    """Raise for an element without value, or of 0 ohm: ngspice takes a source for 0 and a resistor for 1 mohm."""
    found = _NO_VALUE.search(deck.text, deck.text.find("\n"))
    if found is not None:
        raise reject_deck(deck, "an element of the deck has no value, or zero ohm", [found.group().strip()])


def reject_deck(deck: StreamedDeck, what: str, lines: Sequence[str]) -> ResultError:
    """Make the error for a deck, with ngspice's own words and the deck kept in a file."""
    said = summarise(lines)[:_N_QUOTED_LINES]
    return ResultError(f"{what}: {' | '.join(said) or 'it says nothing'}. Deck: {save_deck(deck)}")


def save_deck(deck: StreamedDeck) -> str:
    """Write the deck to a new temporary file and return its path, or why there is none."""
    try:
        descriptor, path = tempfile.mkstemp(prefix="tellegen-", suffix=".cir")
        os.close(descriptor)
        Path(path).write_text(deck.text, encoding="utf-8")
    except OSError as error:
        return f"(could not be saved: {error})"
    return path
