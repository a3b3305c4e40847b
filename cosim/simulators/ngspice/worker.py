"""What runs in a worker process: one chunk of samples, under a watchdog.

Takes: deck, drives and a time limit. Gives: the chunk's `SweepResult`, or ends the process. Must not know: which other
chunks there are. Must not import torch: a worker starts in a second and takes 100 MB without it.
"""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

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


def run_chunk(deck: StreamedDeck, drives: NDArray[np.float64], timeout_s: float, submitter_pid: int = 0) -> SweepResult:
    """Solve one chunk and end this process if that takes too long: nothing else can stop native code.

    Args:
        deck: the deck to solve.
        drives: [batch, n_drives] V, then A.
        timeout_s: limit for this chunk; the start of ngspice does not count.
        submitter_pid: process that asked. A thread pool runs chunks in it, and then there is no watchdog: it is the
            user's own process.

    Raises:
        ResultError: see `run_sweep`.
        SimulatorNotFound: no libngspice.
    """
    ngspice_library()
    if os.getpid() == submitter_pid:
        return run_sweep(deck, drives)
    with _watchdog(timeout_s):
        try:
            return run_sweep(deck, drives)
        except WorkerError:
            os._exit(DEAD_LIBRARY_EXIT_CODE)


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
