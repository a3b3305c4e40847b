"""Worker processes: same bits for any number of them, crashes, hangs, interrupts, nothing left behind."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_cosim_ngspice_sweep import draw_drives, make_block, make_deck

from cosim.errors import ResultError, SimulationError, WorkerError
from cosim.simulators.ngspice.pool import NgspicePool, make_loky_executor

pytestmark = pytest.mark.ngspice

DECK = make_block(12)
CHUNKS = [draw_drives(12, 8, seed=k) for k in range(5)]


@pytest.fixture(autouse=True)
def keep_saved_chunks_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


class SabotagedExecutor(Executor):
    """Real loky workers; the chunks for which `is_victim` says so are replaced by a read from address 0."""

    def __init__(self, is_victim: Callable[[Any], bool]) -> None:
        self._inner = make_loky_executor(2)
        self._is_victim = is_victim

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> "Future[Any]":
        if self._is_victim(args[1]):
            return self._inner.submit(ctypes.string_at, 0)
        return self._inner.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        del wait, cancel_futures
        self._inner.shutdown(wait=True, kill_workers=True)  # type: ignore[call-arg]  # loky's own argument


def list_children() -> list[int]:
    """Process ids of the workers of this process."""
    command = ["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())]
    found = subprocess.run(command, check=False, capture_output=True, text=True)  # 1 where there is none
    return [int(line.split()[0]) for line in found.stdout.splitlines() if "loky" in line and "resource" not in line]


def test_bits_are_the_same_for_any_number_of_workers() -> None:
    with NgspicePool(workers=0, timeout_s=60) as pool:
        expected = pool.run(DECK, CHUNKS)
    for workers in (1, 2):
        with NgspicePool(workers=workers, timeout_s=60) as pool:
            for _ in range(2):
                results = pool.run(DECK, CHUNKS)
                assert [r.values.tobytes() for r in results] == [r.values.tobytes() for r in expected]
                assert [r.iterations for r in results] == [r.iterations for r in expected]
    assert all(result.converged.all() for result in results)


def test_other_executors_serve_too() -> None:
    expected = NgspicePool(workers=0, timeout_s=60).run(DECK, CHUNKS)
    with NgspicePool(workers=2, timeout_s=60, executor_factory=lambda: ThreadPoolExecutor(4)) as pool:
        results = pool.run(DECK, CHUNKS * 4)
    assert [r.values.tobytes() for r in results] == [r.values.tobytes() for r in expected * 4]


def test_executor_that_cannot_be_made_again_is_said_to_be_one() -> None:
    with ThreadPoolExecutor(1) as executor:
        with pytest.raises(SimulationError, match=r"is an executor.*give a function that makes a new one"):
            NgspicePool(workers=0, timeout_s=60, executor_factory=executor)  # type: ignore[arg-type]  # what a user may do
        pool = NgspicePool(workers=0, timeout_s=60, executor_factory=lambda: executor)
        assert pool.run(DECK, CHUNKS[:1])[0].converged.all()
        pool.close()
        with pytest.raises(WorkerError, match=r"a new executor takes no chunk .*after shutdown.*make a new one"):
            pool.run(DECK, CHUNKS[:1])


def test_crash_is_survived() -> None:
    expected = NgspicePool(workers=0, timeout_s=60).run(DECK, CHUNKS)
    crashes_left = [1]

    def is_victim(drives: Any) -> bool:
        if crashes_left[0] and np.array_equal(drives, CHUNKS[2]):
            crashes_left[0] -= 1
            return True
        return False

    with NgspicePool(workers=2, timeout_s=60, executor_factory=lambda: SabotagedExecutor(is_victim)) as pool:
        results = pool.run(DECK, CHUNKS)
    assert crashes_left == [0]
    assert [r.values.tobytes() for r in results] == [r.values.tobytes() for r in expected]


def test_chunk_that_crashes_twice_is_named_and_saved(tmp_path: Path) -> None:
    victims: list[int] = []

    def is_victim(drives: Any) -> bool:
        is_culprit = np.array_equal(drives, CHUNKS[3])
        victims.extend([1] * is_culprit)
        return is_culprit

    with NgspicePool(workers=2, timeout_s=60, executor_factory=lambda: SabotagedExecutor(is_victim)) as pool:
        with pytest.raises(WorkerError, match=r"samples 24 to 31 failed twice.*ended its worker process") as caught:
            pool.run(DECK, CHUNKS)
        assert len(victims) == 2
        assert pool.run(DECK, CHUNKS[:2])[1].converged.all()
    folder = Path(str(caught.value).rsplit(": ", 1)[1])
    assert folder.parent == tmp_path
    assert (folder / "deck.cir").read_text(encoding="utf-8") == DECK.text
    assert np.array_equal(np.load(folder / "drives.npy", allow_pickle=False), CHUNKS[3])


def test_hang_is_ended_by_the_workers_watchdog() -> None:
    """A sweep of 200,000 points stands for one that never ends: native code in both cases."""
    with NgspicePool(workers=1, timeout_s=0.5) as pool:
        pool.run(DECK, CHUNKS[:1])
        children = list_children()
        start = time.monotonic()
        with pytest.raises(WorkerError, match=r"samples 8 to 200007 failed twice.*longer than timeout_s = 0\.5 s"):
            pool.run(DECK, [CHUNKS[0], np.tile(CHUNKS[1], (25_000, 1))])
        assert time.monotonic() - start < 20
        assert not set(children) & set(list_children())
        assert pool.run(DECK, CHUNKS[:2])[1].converged.all()


def test_worker_killed_while_idle_is_replaced() -> None:
    with NgspicePool(workers=1, timeout_s=60) as pool:
        expected = pool.run(DECK, CHUNKS[:2])
        for pid in list_children():
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)
        assert pool.run(DECK, CHUNKS[:2])[1].values.tobytes() == expected[1].values.tobytes()


def test_bad_deck_is_no_crash() -> None:
    with NgspicePool(workers=1, timeout_s=60) as pool:
        pool.run(DECK, CHUNKS[:1])
        children = list_children()
        with pytest.raises(ResultError, match="can't find model 'nomod'"):
            pool.run(make_deck("ra a 0 1\nd1 a 0 nomod\n"), [np.zeros((2, 0))])
        assert pool.run(DECK, CHUNKS[:1])[0].converged.all()
        assert list_children() == children


def test_poisoned_sample_in_a_worker() -> None:
    bad = CHUNKS[0].copy()
    bad[3, 2] = 1e300
    with NgspicePool(workers=1, timeout_s=60) as pool:
        results = pool.run(DECK, [bad, CHUNKS[1]])
    assert results[0].converged.tolist() == [True, True, True, False, True, True, True, True]
    assert results[1].converged.all()


def test_interrupt_leaves_a_pool_that_works() -> None:
    long_chunk = np.tile(CHUNKS[1], (25_000, 1))
    with NgspicePool(workers=1, timeout_s=60) as pool:
        expected = pool.run(DECK, CHUNKS[:1])
        timer = threading.Timer(0.5, os.kill, args=(os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            pool.run(DECK, [long_chunk])
        start = time.monotonic()
        assert pool.run(DECK, CHUNKS[:1])[0].values.tobytes() == expected[0].values.tobytes()
        assert time.monotonic() - start < 10


def test_nothing_is_left_behind_and_any_working_directory_serves(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys; sys.path[:0] = {[p for p in sys.path if p] + [str(Path(__file__).parent)]!r}\n"
        "from test_cosim_ngspice_pool import CHUNKS, DECK, NgspicePool, list_children\n"
        "pool = NgspicePool(workers=2, timeout_s=60)\n"
        "assert pool.run(DECK, CHUNKS)[4].converged.all()\n"
        "print(list_children(), flush=True)\n",
        encoding="utf-8",
    )
    run = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path
    )
    assert run.stderr == ""
    pids = [int(pid) for pid in re.findall(r"\d+", run.stdout)]
    assert len(pids) == 2
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_pool_starts_nothing_before_it_is_used_and_checks_its_arguments() -> None:
    children = list_children()
    with NgspicePool(workers=2, timeout_s=60) as pool:
        assert pool.run(DECK, []) == []
        assert list_children() == children
    with pytest.raises(SimulationError, match="workers = -1"):
        NgspicePool(workers=-1, timeout_s=60)
    with pytest.raises(SimulationError, match="timeout_s = 0"):
        NgspicePool(workers=1, timeout_s=0)
