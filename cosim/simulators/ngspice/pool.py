"""Send chunks of samples to worker processes and survive the death of any of them.

Takes: a deck and the drives of each chunk. Gives: one `SweepResult` per chunk, in order. Must not know: circuits, or
what a chunk's numbers mean.

One process has one libngspice, a fatal error in it can end the process, and nothing in Python can interrupt it; hence
processes, started afresh (never forked), each with a watchdog. The death of one worker fails the chunks of all others
as well, so everything unfinished is sent again, one chunk at a time: the one that fails then is the culprit.
"""

import os
import tempfile
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Executor, Future
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, final

import numpy as np
from numpy.typing import NDArray

from circuits.errors import TellegenError

from ...errors import SimulationError, WorkerError
from .deck import StreamedDeck, SweepResult, check_drives
from .sweep import run_sweep
from .worker import TIMEOUT_EXIT_CODE, process_name, run_chunk, start_worker

_THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def make_loky_executor(workers: int) -> Executor:
    """Start an executor whose workers are new processes: no fork, no re-import of the user's main script."""
    loky: Any = import_module("loky")  # Any: loky ships no types
    context: Any = import_module("loky.backend").get_context("loky")
    executor: Executor = loky.ProcessPoolExecutor(
        max_workers=workers, context=context, initializer=start_worker, env=dict.fromkeys(_THREAD_VARIABLES, "1")
    )
    return executor


@final
class NgspicePool:
    """Worker processes that each hold one ngspice. They start with the first chunk and end with `close()`.

    Results do not depend on the number of workers, to the last bit: a chunk is solved as if it were alone.
    """

    def __init__(
        self, *, workers: int, timeout_s: float, executor_factory: Callable[[], Executor] | None = None
    ) -> None:
        """Describe the pool; nothing is started yet.

        Args:
            workers: number of processes; 0 runs ngspice in this process, where no time limit can be kept.
            timeout_s: limit for one chunk.
            executor_factory: makes another `concurrent.futures.Executor` than loky's, and a new one after a crash; the
                pool shuts them down. For Dask `dask_executor_factory(address)`, or `lambda: DaskExecutor(client)` with
                a client of your own.

        Raises:
            SimulationError: a negative number of workers, a time limit that is not positive, or an executor in place
                of its factory.
        """
        if isinstance(executor_factory, Executor):
            raise SimulationError(
                f"executor_factory = {executor_factory!r} is an executor. A crash can break it for good, so give a "
                "function that makes a new one, such as lambda: ThreadPoolExecutor(2)."
            )
        if workers < 0 or not timeout_s > 0:
            raise SimulationError(
                f"workers = {workers}, timeout_s = {timeout_s}: workers must be 0 (this process) or more, timeout_s "
                "positive seconds."
            )
        self._workers = workers
        self._timeout_s = timeout_s
        self._factory = executor_factory
        self._lock = threading.Lock()
        self._running = _Running()
        self._finalizer = weakref.finalize(self, self._running.stop)

    def run(
        self,
        deck: StreamedDeck,
        chunks: Sequence[NDArray[np.float64]],
        *,
        spell_plain: Callable[[NDArray[np.float64]], str] | None = None,
    ) -> list[SweepResult]:
        """Solve the chunks and return their results in the order of the chunks.

        Args:
            deck: the deck to solve.
            chunks: drives of each chunk, [batch, n_drives] V, then A.
            spell_plain: returns a deck for `ngspice -b` from one sample's drives, [n_drives]; it is saved where a chunk
                fails twice.

        Raises:
            ResultError: see `run_sweep`.
            WorkerError: a chunk ended its worker process twice, or the executor takes no chunks.
        """
        tables = [check_drives(deck, chunk) for chunk in chunks]
        if self._workers == 0 and self._factory is None:
            return [run_sweep(deck, table) for table in tables]
        with self._lock:
            try:
                results = self._run_together(deck, tables)
                return [
                    self._run_alone(deck, tables, k, spell_plain) if result is None else result
                    for k, result in enumerate(results)
                ]
            except TellegenError:
                raise
            except BaseException:  # an interrupt: no old chunk must stay in the queue of the next run
                self._running.stop()
                raise

    def close(self) -> None:
        """End the worker processes; a later `run` starts new ones."""
        with self._lock:
            self._running.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run_together(self, deck: StreamedDeck, tables: Sequence[NDArray[np.float64]]) -> list[SweepResult | None]:
        """Send all chunks at once; None stands for a chunk whose worker, or whose neighbour's worker, died."""
        futures = self._submit(deck, tables)
        results: list[SweepResult | None] = [None] * len(tables)
        try:
            for k, future in enumerate(futures):
                try:
                    error = future.exception()
                except CancelledError:  # Dask's way to say that its scheduler is gone
                    continue
                if isinstance(error, TellegenError):
                    raise error
                if error is None:  # anything else: executors differ in how they say that a worker is gone
                    results[k] = future.result()
        finally:
            for future in futures:
                future.cancel()
        if None in results:
            self._running.stop()
        return results

    def _submit(self, deck: StreamedDeck, tables: Sequence[NDArray[np.float64]]) -> "list[Future[SweepResult]]":
        """Send chunks until the executor breaks; a pool that broke while it was idle is replaced at once."""
        futures: list[Future[SweepResult]] = []
        for table in tables:
            for is_last_try in (False, True):
                executor = self._running.start(self._make_executor)
                try:
                    futures.append(executor.submit(run_chunk, deck, table, self._timeout_s, process_name()))
                    break
                except Exception as error:  # executors differ in how they say that they are broken or shut down
                    if futures:
                        return futures
                    self._running.stop()
                    if is_last_try:
                        raise WorkerError(
                            f"a new executor takes no chunk ({_describe(error)}). If executor_factory returns the same "
                            "one each time, let it make a new one."
                        ) from error
        return futures

    def _run_alone(
        self,
        deck: StreamedDeck,
        tables: Sequence[NDArray[np.float64]],
        k: int,
        spell_plain: Callable[[NDArray[np.float64]], str] | None,
    ) -> SweepResult:
        """Send one chunk for the second time, with nothing beside it."""
        try:
            return self._submit(deck, [tables[k]])[0].result()
        except TellegenError:
            raise
        except Exception as error:
            self._running.stop()
            first = sum(len(table) for table in tables[:k])
            reason = (
                f"took longer than timeout_s = {self._timeout_s:g} s"
                if f"EXIT({TIMEOUT_EXIT_CODE})" in str(error)
                else f"ended its worker process ({_describe(error)})"
            )
            raise WorkerError(
                f"the chunk with samples {first} to {first + len(tables[k]) - 1} failed twice: the second time, alone, "
                f"it {reason}. {_save_chunk(deck, tables[k], spell_plain)}"
            ) from error

    def _make_executor(self) -> Executor:
        return make_loky_executor(self._workers) if self._factory is None else self._factory()


@final
class _Running:
    """The executor while there is one; apart from the pool, so that the pool's finalizer can reach it."""

    def __init__(self) -> None:
        self._executor: Executor | None = None
        self._pid = 0

    def start(self, make: Callable[[], Executor]) -> Executor:
        """Return the executor; make it if there is none, or if it belongs to the process this one was forked from."""
        if self._executor is None or self._pid != os.getpid():
            self._executor = make()
            self._pid = os.getpid()
        return self._executor

    def stop(self) -> None:
        """End the executor and its processes, in the middle of their work if need be."""
        executor, self._executor = self._executor, None
        if executor is None or self._pid != os.getpid():
            return
        loky: Any = import_module("loky")
        if isinstance(executor, loky.ProcessPoolExecutor):
            kill: Any = executor.shutdown  # Any: loky's shutdown can do more than the standard library's
            kill(wait=True, kill_workers=True)
            return
        with suppress(Exception):  # a client that is closed can cancel nothing: nothing is left to stop
            try:
                executor.shutdown(wait=False, cancel_futures=True)
            except TypeError:  # Dask's own takes no such argument, and cancels unless it waits
                executor.shutdown(wait=False)


def _describe(error: BaseException) -> str:
    """Name an error and what it says, in one line."""
    return ": ".join([type(error).__name__, *([" ".join(str(error).split())] if str(error) else [])])


def _save_chunk(
    deck: StreamedDeck, drives: NDArray[np.float64], spell_plain: Callable[[NDArray[np.float64]], str] | None
) -> str:
    """Write a chunk to a new temporary folder; say what is there and where, or why it is not."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="tellegen-"))
        (folder / "deck.cir").write_text(deck.text, encoding="utf-8")
        np.save(folder / "drives.npy", drives, allow_pickle=False)
        if spell_plain is None:
            return f"Deck and drives: {folder}"
        (folder / "plain.cir").write_text(spell_plain(drives[0]), encoding="utf-8")
    except OSError as error:
        return f"Deck and drives could not be saved: {error}"
    return f"Deck and drives, and plain.cir with the first sample for `ngspice -b`: {folder}"
