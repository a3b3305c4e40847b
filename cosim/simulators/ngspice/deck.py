"""The two values of the low-level simulator: a deck whose sources are driven from outside, and a batch of solutions."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Self, final

import numpy as np
from numpy.typing import NDArray

from ...errors import ResultError


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class StreamedDeck:
    """A complete SPICE deck with driven sources, ready for `run_sweep`.

    The deck has a dummy source `vsweep sweep 0 0` with `rsweep sweep 0 1`, its options, `.save all` and `.end`.
    Driven sources are declared `external`: `vdrive<row>` takes column `row` of the drives, `idrive<row>` takes column
    `n_voltage_drives + row`. The two kinds are counted apart, each from 0.
    """

    key: str
    """SHA-256 of the text: two decks with the same key are the same deck."""
    text: str
    n_voltage_drives: int
    n_current_drives: int
    vectors: tuple[str, ...]
    """ngspice's lower-case names of the wanted vectors: nodes, then `<voltage source>#branch`."""

    @classmethod
    def from_text(
        cls, text: str, *, vectors: tuple[str, ...], n_voltage_drives: int = 0, n_current_drives: int = 0
    ) -> Self:
        """Make a deck from its text, with the key that belongs to it."""
        return cls(
            key=sha256(text.encode("utf-8")).hexdigest(),
            text=text,
            n_voltage_drives=n_voltage_drives,
            n_current_drives=n_current_drives,
            vectors=vectors,
        )

    @property
    def n_drives(self) -> int:
        """Columns of the drives: voltages, then currents."""
        return self.n_voltage_drives + self.n_current_drives


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SweepResult:
    """Solutions of one chunk of samples."""

    values: NDArray[np.float64]
    """[batch, n_vectors] V, or A for `#branch`; NaN where not solved."""
    converged: NDArray[np.bool_]
    """[batch]"""
    iterations: int
    """Newton iterations of all attempts together."""
    stepping: bool
    """ngspice fell back to gmin stepping, source stepping or a transient somewhere."""
    log: tuple[str, ...]
    """Last lines of ngspice where a sample failed or stepping was used; empty otherwise."""

    def __post_init__(self) -> None:
        self.values.flags.writeable = False
        self.converged.flags.writeable = False


def check_drives(deck: StreamedDeck, drives: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the drives as a contiguous table of the right shape.

    Raises: ResultError if their shape does not fit the deck.
    """
    table = np.ascontiguousarray(drives, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != deck.n_drives:
        raise ResultError(
            f"drives of shape {table.shape} do not fit a deck with {deck.n_voltage_drives} driven voltages and "
            f"{deck.n_current_drives} driven currents; expected [batch, {deck.n_drives}]."
        )
    return table
