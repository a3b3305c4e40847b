"""ngspice as a simulator: netlists and arrays in, operating points out, every one checked against Kirchhoff's law.

A batch is cut into chunks whose size does not depend on the number of workers and which all start cold, so the results
are the same, bit for bit, with any number of workers.
"""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from circuits.arrays import Floats
from circuits.kirchhoff import KirchhoffProgram, kirchhoff_law
from circuits.validation import check_drives
from netlists.netlist import Netlist, node_map
from netlists.spice_writer import format_standalone, streamed_template

from ...errors import ResultError, SimulationError, WorkerError
from ..base import (
    AbstractSession,
    AbstractSimulator,
    OnFailure,
    OperatingPoint,
    raise_first_failure,
    residual_tolerance_v,
)
from .deck import StreamedDeck, SweepResult
from .pool import NgspicePool


@final
class NgspiceSimulator(AbstractSimulator):
    """libngspice through PySpice, one `.dc` sweep a chunk.

    Args:
        workers: worker processes; 0 runs ngspice in this process, without a watchdog.
        timeout_s: s — a chunk that takes longer ends its worker.
        chunk: samples a sweep; part of the result's bits, unlike the number of workers.
        executor_factory: makes another `concurrent.futures.Executor` than loky's, and a new one after a crash;
            `dask_executor_factory` for Dask. With one, `workers` does not count.
    """

    def __init__(
        self,
        *,
        workers: int = 0,
        timeout_s: float = 300.0,
        chunk: int = 32,
        executor_factory: Callable[[], Executor] | None = None,
    ) -> None:
        if chunk < 1:
            raise SimulationError(f"ngspice: chunk = {chunk}; give one sample or more")
        self._chunk = chunk
        self._pool = NgspicePool(workers=workers, timeout_s=timeout_s, executor_factory=executor_factory)

    @property
    def name(self) -> str:
        """Short name for results and tables."""
        return "ngspice"

    def prepare(self, netlist: Netlist) -> "NgspiceSession":
        """Spell everything of the deck that does not change with its conductances."""
        return NgspiceSession(netlist, self._pool, self._chunk)

    def close(self) -> None:
        """End the worker processes; a later solve starts new ones."""
        self._pool.close()


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ParameterSet:
    """The last conductances, as ngspice and as Kirchhoff's law need them."""

    conductance_s: Floats
    deck: StreamedDeck
    kirchhoff: KirchhoffProgram


@final
class NgspiceSession(AbstractSession):
    """A netlist prepared for streamed sweeps; keeps the deck of the last parameter set."""

    def __init__(self, netlist: Netlist, pool: NgspicePool, chunk: int) -> None:
        self._netlist = netlist
        self._pool = pool
        self._chunk = chunk
        self._template = streamed_template(netlist)
        self._map = node_map(netlist)
        self._law = kirchhoff_law(netlist.topology)
        self._last: ParameterSet | None = None

    @property
    def netlist(self) -> Netlist:
        """What was prepared."""
        return self._netlist

    def _programmed(self, conductance_s: Floats) -> ParameterSet:
        if self._last is None or not np.array_equal(self._last.conductance_s, conductance_s):
            circuit = self._netlist.circuit
            deck = StreamedDeck.from_text(
                self._template.text(conductance_s),
                vectors=(*self._netlist.nodes[1:], *self._template.branches),
                n_voltage_drives=len(circuit.driven_voltage_sources),
                n_current_drives=len(circuit.driven_current_sources),
            )
            self._last = ParameterSet(
                conductance_s=conductance_s.copy(), deck=deck, kirchhoff=self._law.program(conductance_s)
            )
        return self._last

    def solve(
        self,
        conductance_s: Floats,
        drives: Floats,
        *,
        start_v: Floats | None = None,
        read_sources: bool = False,
        on_failure: OnFailure = OnFailure.RAISE,
    ) -> OperatingPoint:
        """Relax a batch; see `AbstractSession.solve`. Every chunk starts cold, so `start_v` is not used."""
        del start_v
        check_drives(self._netlist.circuit, drives)
        parameters = self._programmed(conductance_s)
        chunks = [drives[k : k + self._chunk] for k in range(0, len(drives), self._chunk)]
        try:
            results = self._pool.run(
                parameters.deck, chunks, spell_plain=lambda row: self._plain_deck(conductance_s, row)
            )
        except (ResultError, WorkerError) as error:  # the pool knows decks and samples, not whose they are
            raise type(error)(f"block '{self._netlist.circuit.name}': {error}") from error
        point = self._operating_point(parameters.kirchhoff, drives, results, read_sources=read_sources)
        if on_failure is OnFailure.RAISE:
            log = tuple(line for result in results for line in result.log)
            raise_first_failure(self._netlist.circuit, point, "ngspice", log)
        return point

    def _plain_deck(self, conductance_s: Floats, drives: Floats) -> str:
        """Return a deck of one sample, [n_drives] V then A, that plain ngspice can run."""
        circuit = self._netlist.circuit.with_conductances(conductance_s).with_drives(drives)
        return format_standalone(replace(self._netlist, circuit=circuit))

    def _operating_point(
        self, kirchhoff: KirchhoffProgram, drives: Floats, results: list[SweepResult], *, read_sources: bool
    ) -> OperatingPoint:
        """Join the chunks and judge every sample by Kirchhoff's law."""
        n_vectors = len(self._map.vectors)
        values = np.concatenate([result.values for result in results]) if results else np.zeros((0, n_vectors))
        solved = np.concatenate([result.converged for result in results]) if results else np.zeros(0, dtype=bool)
        iterations = [np.full(len(r.converged), r.iterations / max(1, len(r.converged))) for r in results]
        voltage_v = self._map.voltages(values)
        tolerance_v = residual_tolerance_v(self._netlist.options, voltage_v)
        residual = kirchhoff.residual(drives, voltage_v, voltage_tolerance_v=tolerance_v)
        converged = solved & (residual.residual_a <= residual.tolerance_a)
        voltage_v[~converged] = np.nan
        source_current_a = self._map.source_currents(values) if read_sources else None
        if source_current_a is not None:
            source_current_a[~converged] = np.nan
        return OperatingPoint(
            voltage_v=voltage_v,
            source_current_a=source_current_a,
            residual_a=residual.residual_a,
            tolerance_a=residual.tolerance_a,
            worst_node=residual.node,
            iterations=np.concatenate(iterations) if iterations else np.zeros(0),
            converged=converged,
            stepping=any(result.stepping for result in results),
        )
