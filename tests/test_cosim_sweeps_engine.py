"""Any executor runs a sweep; a worker that dies loses nothing; the culprit is found, and the others go on."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster
from sweep_calls import CULPRIT, die_once, square, square_or_die

from cosim.errors import WorkerError
from cosim.simulators.ngspice.dask_executor import DaskExecutor
from cosim.simulators.ngspice.pool import make_loky_executor
from cosim.sweeps.engine import Died, Pool, run_all


def one_thread_each() -> Executor:
    return ThreadPoolExecutor(2)


def collect(
    call: Callable[[int], int], n: int, factory: Callable[[], Executor], in_flight: int = 4
) -> list[tuple[int, int | Died]]:
    with Pool(factory) as pool:
        return sorted(run_all(pool, call, range(n), in_flight=in_flight), key=lambda pair: pair[0])


@pytest.mark.parametrize(
    "factory",
    [
        one_thread_each,
        functools.partial(make_loky_executor, 2),
        lambda: ProcessPoolExecutor(2, mp_context=get_context("spawn")),
    ],
)
def test_any_executor_gives_every_result_once(factory: Callable[[], Executor]) -> None:
    assert collect(square, 20, factory) == [(k, k * k) for k in range(20)]


def test_a_call_that_ends_its_worker_twice_is_named_and_all_others_are_done() -> None:
    found = collect(functools.partial(square_or_die, culprit=CULPRIT), 20, functools.partial(make_loky_executor, 2))
    assert [pair for pair in found if pair[0] != CULPRIT] == [(k, k * k) for k in range(20) if k != CULPRIT]
    assert isinstance(found[CULPRIT][1], Died)
    assert "Terminated" in str(found[CULPRIT][1])


def test_a_worker_that_dies_once_costs_nothing(tmp_path: Path) -> None:
    call = functools.partial(die_once, flag=tmp_path / "died")
    assert collect(call, 20, functools.partial(make_loky_executor, 2)) == [(k, k * k) for k in range(20)]
    assert (tmp_path / "died").exists()


def test_no_more_than_asked_are_in_flight() -> None:
    lock, now, most = threading.Lock(), [0], [0]

    class Counting(ThreadPoolExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            future = super().submit(fn, *args, **kwargs)
            future.add_done_callback(lambda _future: now.__setitem__(0, now[0] - 1))
            return future

    assert len(collect(square, 30, lambda: Counting(8), in_flight=3)) == 30
    assert 1 < most[0] <= 3


def test_an_executor_that_takes_nothing_is_an_error_not_a_loop() -> None:
    class Broken(ThreadPoolExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            raise BrokenExecutor("never worked")

    with pytest.raises(WorkerError, match="never worked"):
        collect(square, 2, lambda: Broken(1))


def test_an_executor_that_is_shut_down_is_replaced() -> None:
    made = []

    def make() -> Executor:
        made.append(ThreadPoolExecutor(1))
        if len(made) == 1:
            made[0].shutdown()
        return made[-1]

    with Pool(make) as pool, pytest.raises(WorkerError):
        list(run_all(pool, square, range(2), in_flight=1))
    made.clear()
    with Pool(one_thread_each) as pool:
        assert len(list(run_all(pool, square, range(3), in_flight=2))) == 3
        broken: Any = pool._executor
        broken.shutdown()
        assert sorted(run_all(pool, square, range(3), in_flight=2)) == [(0, 0), (1, 1), (2, 4)]


def test_workers_that_all_die_are_an_error_not_a_long_wait() -> None:
    with pytest.raises(WorkerError, match="none was done, and each of 3 ended two workers"):
        collect(functools.partial(square_or_die, culprit=None), 20, functools.partial(make_loky_executor, 2))


def test_workers_of_a_dask_cluster_do_it_too() -> None:
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        cluster.get_client() as client,
    ):
        assert collect(square, 6, lambda: DaskExecutor(client)) == [(k, k * k) for k in range(6)]
