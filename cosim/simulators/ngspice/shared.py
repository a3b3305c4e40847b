"""The circuits in libngspice's list, and a sweep of the current one.

Takes: deck text, the drives of a sweep. Gives: which circuit is loaded and current, console lines, solved points.
Must not know: batches and their acceptance (`sweep`), processes (`worker`, `pool`), how ngspice is called (`binding`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from ...errors import ResultError
from .binding import AbstractNgspiceBinding
from .callbacks import ControlWord
from .console import ConsoleLine
from .deck import StreamedDeck


@final
@dataclass(kw_only=True, slots=True)
class LoadedCircuit:
    """What is known of one circuit in ngspice's list."""

    key: str
    is_current: bool = True
    last_used: int = 0
    iterations: int = 0
    """Newton iterations that ngspice has counted for it so far."""


@final
class NgspiceLibrary(AbstractNgspiceBinding):
    """The process's libngspice. Get it from `ngspice_library()`; hold `lock` while you use it.

    `circuit.simulator()` of PySpice finds this same instance, so both can be used in one process.
    """

    def __init__(self, path: str) -> None:
        self.loaded: list[LoadedCircuit] = []
        """The circuits in ngspice's list, newest first: the k-th is ngspice's circuit number k + 1."""
        super().__init__(path)

    def load_deck(self, text: str, key: str = "") -> list[ConsoleLine]:
        """Load a deck as the newest, current circuit and return what ngspice printed.

        A deck with errors may or may not get a number in ngspice's list: call `unload_all` after one.
        """
        self._require_life()
        for circuit in self.loaded:
            circuit.is_current = False
        self.loaded.insert(0, LoadedCircuit(key=key))  # before the call: it counts even if an interrupt ends the call
        return self._send_deck(text)

    def find_circuit(self, key: str) -> "LoadedCircuit | None":
        """Make a loaded circuit the current one; None if there is none with this key."""
        for position, circuit in enumerate(self.loaded):
            if circuit.key == key:
                if not circuit.is_current:
                    self._select(position)
                return circuit
        return None

    def unload(self, key: str) -> None:
        """Remove one circuit."""
        for position, circuit in enumerate(self.loaded):
            if circuit.key == key:
                self._select(position)
                self.command("remcirc")
                self.loaded.pop(position)
                for other in self.loaded:  # which one ngspice turns to differs between versions
                    other.is_current = False
                return

    def unload_all(self) -> None:
        """Remove every circuit and plot, so that memory is given back; of a dead ngspice nothing is asked any more."""
        if self.is_dead:
            return
        self.command("destroy all")
        for _ in self.loaded:  # once too often for a deck that did not parse and has no number: harmless
            self.command("setcirc 1")
            self.command("remcirc")
        self.loaded.clear()

    def load_circuit(self, circuit: object) -> None:
        """Load a circuit on behalf of PySpice's simulator, forgetting every earlier one."""
        with self.lock:
            self.unload_all()
            super().load_circuit(circuit)
            self.loaded.insert(0, LoadedCircuit(key=""))

    def _select(self, position: int) -> None:
        """Make a circuit current; ngspice counts from 1 and the newest comes first."""
        self.command(f"setcirc {position + 1}")
        for k, circuit in enumerate(self.loaded):
            circuit.is_current = k == position

    def sweep(
        self, deck: StreamedDeck, drives: NDArray[np.float64], values: NDArray[np.float64]
    ) -> tuple[int, list[ConsoleLine]]:
        """Sweep the current circuit, made from this deck, over the rows of the drives; see `analyse`."""
        return self.analyse(f"dc vsweep 0 {len(drives) - 1} 1", deck, drives, values)

    def analyse(
        self, command: str, deck: StreamedDeck, drives: NDArray[np.float64], values: NDArray[np.float64]
    ) -> tuple[int, list[ConsoleLine]]:
        """Run an analysis of the current circuit, made from this deck, with one row of the drives for each point.

        Args:
            command: the analysis, which reports as many points as there are rows.
            deck: says how many columns are voltages, and which vectors are wanted.
            drives: [batch, n_drives] V, then A; checked by `check_drives`.
            values: [batch, n_vectors], contiguous; solutions are written here as they come, of complex ones the real
                parts.

        Returns: the number of points reported, and what ngspice printed.
        Raises: ResultError if ngspice has no vector of a wanted name.
        """
        drives, batch = np.ascontiguousarray(drives), len(drives)
        control = self.control
        kept: list[Any] = []  # what the callbacks have the address of, and the names left over

        def receive_names(names: Sequence[str]) -> None:
            wanted = {name: column for column, name in enumerate(deck.vectors)}
            columns = np.array([wanted.pop(name, -1) for name in names], dtype=np.int64)
            kept[:] = [columns, list(wanted)]
            control[ControlWord.COLUMNS] = columns.ctypes.data
            control[ControlWord.N_REPORTED] = len(columns)

        control[:] = 0
        control[ControlWord.DRIVES] = drives.ctypes.data
        control[ControlWord.N_VOLTAGE_DRIVES] = deck.n_voltage_drives
        control[ControlWord.N_CURRENT_DRIVES] = deck.n_current_drives
        control[ControlWord.VALUES] = values.ctypes.data
        control[ControlWord.N_COLUMNS] = values.shape[1]
        control[ControlWord.BATCH] = batch
        self.on_vectors = receive_names
        try:
            lines = self.command(command)
            points, n_unknown = int(control[ControlWord.POINT]), int(control[ControlWord.N_UNKNOWN_ROWS])
        finally:
            self.on_vectors = None
            control[:] = 0
        if n_unknown:
            raise ResultError(
                f"the deck has an external source whose row is not among the {deck.n_voltage_drives} driven voltages "
                f"and {deck.n_current_drives} driven currents; each kind is numbered from 0."
            )
        if points and kept[1]:
            raise ResultError(
                f"ngspice has no vector named {kept[1][0]!r}; the deck and the wanted vectors do not agree."
            )
        return points, lines
