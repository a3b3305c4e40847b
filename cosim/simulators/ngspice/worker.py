"""What runs in a worker process: one chunk of samples, under a watchdog.

Takes: deck, drives and a time limit. Gives: the chunk's `SweepResult`, or ends the process. Must not know: which other
chunks there are. Must not import torch: a worker starts in a second and takes 100 MB without it.
"""

import os
import platform
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from ...errors import WorkerError
from .deck import StreamedDeck, SweepResult
from .library import ngspice_library
from .sweep import run_sweep

TIMEOUT_EXIT_CODE: Final = 86
"""Exit code of a worker whose chunk took longer than its time limit."""
DEAD_LIBRARY_EXIT_CODE: Final = 87
"""Exit code of a worker whose libngspice gave up for good."""
_PARENT_CHECK_S: Final = 1.0
_LAST_WORDS_S: Final = 1.0

# As in `library`: one ngspice a process, so one turn a process. Taken before a chunk's time begins to count.
_turn: Final = threading.Lock()


@final
class WorkerEnding(Exception):  # no TellegenError: the pool tries the chunk once more
    """Last words of a worker process whose main thread is not ours to end it from; its text has the exit code."""


def process_name() -> str:
    """Name this process among those of all machines: numbers alone repeat, in containers above all."""
    return f"{platform.node()}:{os.getpid()}"


def run_chunk(
    deck: StreamedDeck, drives: NDArray[np.float64], timeout_s: float, submitter: str | None = None
) -> SweepResult:
    """Solve one chunk and end this process if that takes too long: nothing else can stop native code.

    Args:
        deck: the deck to solve.
        drives: [batch, n_drives] V, then A.
        timeout_s: limit for this chunk; the start of ngspice, and other threads' chunks, do not count.
        submitter: name of the process that asked. A thread pool runs chunks in it, and then there is no watchdog: it
            is the user's own process.

    Raises:
        ResultError: see `run_sweep`.
        SimulatorNotFound: no libngspice.
        WorkerEnding: this process ends in a moment, and this thread is not its main one.
    """
    ngspice_library()
    if submitter == process_name():
        return run_sweep(deck, drives)
    if threading.current_thread() is not threading.main_thread():
        return _run_in_server(deck, drives, timeout_s)
    with _watchdog(timeout_s):
        try:
            return run_sweep(deck, drives)
        except WorkerError:
            os._exit(DEAD_LIBRARY_EXIT_CODE)


def _run_in_server(deck: StreamedDeck, drives: NDArray[np.float64], timeout_s: float) -> SweepResult:
    """Solve a chunk in a worker that has other threads, as Dask's: say why it ends before it does.

    Dask would send the chunk of a worker that just ends to three more, and end them too.
    """
    _turn.acquire()  # a process that ends keeps it: whoever waits for it is started again elsewhere
    sweeper = ThreadPoolExecutor(1)
    try:
        result = sweeper.submit(run_sweep, deck, drives).result(timeout_s)
    except TimeoutError:
        raise _end_soon(TIMEOUT_EXIT_CODE) from None
    except WorkerError as error:
        raise _end_soon(DEAD_LIBRARY_EXIT_CODE) from error
    except BaseException:  # an interrupt, too: whoever waits for the turn must get it
        _turn.release()
        raise
    finally:
        sweeper.shutdown(wait=False)
    _turn.release()
    return result


def _end_soon(code: int) -> WorkerEnding:
    """End this process when the exception that is returned has had time to leave it."""
    timer = threading.Timer(_LAST_WORDS_S, os._exit, args=(code,))
    timer.daemon = True
    timer.start()
    return WorkerEnding(f"EXIT({code})")


@contextmanager
def _watchdog(timeout_s: float) -> Iterator[None]:
    """End the process when the time is over; the thread can run because ngspice is called without Python's lock."""
    timer = threading.Timer(timeout_s, os._exit, args=(TIMEOUT_EXIT_CODE,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def start_worker() -> None:
    """Prepare a fresh worker: leave interrupts to the parent, and never outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()


def _end_with_parent(parent_pid: int) -> None:
    """Wait until the parent is gone, killed perhaps and so without a word, then end."""
    while os.getppid() == parent_pid:
        time.sleep(_PARENT_CHECK_S)
    os._exit(1)
