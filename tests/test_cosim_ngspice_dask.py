"""ngspice on a Dask cluster: same bits; workers that are killed, hang or lack something; a scheduler that goes."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from analog_blocks import small_block
from distributed import Client, LocalCluster
from test_cosim_ngspice_pool import CHUNKS, DECK

from cosim.analog_block import AnalogBlock
from cosim.errors import SimulatorNotFound, WorkerError
from cosim.simulators.base import AbstractSimulator
from cosim.simulators.ngspice import NgspiceSimulator, dask_executor
from cosim.simulators.ngspice.dask_executor import DaskExecutor, dask_executor_factory
from cosim.simulators.ngspice.pool import NgspicePool
from cosim.training.config import SimulatorKind, SimulatorSection
from cosim.training.simulators import build_simulator

pytestmark = pytest.mark.ngspice

LONG = [np.tile(chunk, (2000, 1)) for chunk in CHUNKS]  # a second each


@contextmanager
def start_cluster(n_workers: int = 1, threads: int = 1, **options: Any) -> Iterator[LocalCluster]:
    """Real worker processes, each under a nanny that starts it again."""
    cluster = LocalCluster(
        n_workers=n_workers,
        threads_per_worker=threads,
        processes=True,
        dashboard_address=":0",
        silence_logs=logging.CRITICAL,
        **options,
    )
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with start_cluster(2) as running:
        yield running


@pytest.fixture(autouse=True)
def keep_saved_chunks_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def solve_here(chunks: list[Any]) -> list[bytes]:
    return [result.values.tobytes() for result in NgspicePool(workers=0, timeout_s=60).run(DECK, chunks)]


def solve(chunks: list[Any], factory: Callable[[], Executor], timeout_s: float = 60) -> list[bytes]:
    with NgspicePool(workers=0, timeout_s=timeout_s, executor_factory=factory) as pool:
        return [result.values.tobytes() for result in pool.run(DECK, chunks)]


def later(call: Callable[[], Any], delay_s: float = 0.5) -> None:
    threading.Timer(delay_s, call).start()


def test_bits_are_those_of_this_process(cluster: LocalCluster) -> None:
    expected = solve_here(CHUNKS)
    assert solve(CHUNKS, dask_executor_factory(cluster.scheduler_address)) == expected
    with Client(cluster, set_as_default=False) as client:
        assert solve(CHUNKS, lambda: client.get_executor(pure=False)) == expected
        assert solve(CHUNKS, lambda: DaskExecutor(client)) == expected
        assert client.status == "running"  # the user's own


def test_workers_with_several_threads_take_turns() -> None:
    with start_cluster(threads=4) as cluster:
        factory = dask_executor_factory(cluster.scheduler_address)
        assert solve(CHUNKS * 4, factory) == solve_here(CHUNKS * 4)


def count_lost_chunks(cluster: LocalCluster) -> int:
    """Count the chunks that workers had when they ended."""
    events = [event for _, event in cluster.scheduler.get_events("all")]
    lost = [key for event in events for key in event.get("processing-tasks", ()) if key.startswith("run_chunk")]
    return len(lost)


def kill_one_at_work(cluster: LocalCluster) -> None:
    """Kill a worker that has a chunk; another one if it had just finished."""
    n_lost, end = count_lost_chunks(cluster), time.monotonic() + 30
    nannies = cluster.workers.values()
    while time.monotonic() < end:
        for worker in list(cluster.scheduler.workers.values()):
            if any(task.key.startswith("run_chunk") for task in list(worker.processing)):
                os.kill(next(n.pid for n in nannies if n.worker_address == worker.address), signal.SIGKILL)
                time.sleep(0.3)  # until the scheduler has noticed
                if count_lost_chunks(cluster) > n_lost:
                    return


def test_worker_killed_in_an_epoch_changes_no_bit(cluster: LocalCluster) -> None:
    """Weights after an epoch during which a worker died with a chunk in its hands are those of an undisturbed one."""
    batches = torch.randn(5, 64, 24, generator=torch.Generator().manual_seed(0))

    def train_epoch(simulator: AbstractSimulator, after_two: Callable[[], None]) -> dict[str, bytes]:
        block = AnalogBlock(
            small_block("epoch", 24, 24, 8), simulator=simulator, generator=torch.Generator().manual_seed(0)
        )
        optimizer = torch.optim.SGD(block.parameters(), lr=1.0)
        for k, x in enumerate(batches):
            if k == 2:
                after_two()
            optimizer.zero_grad()
            (block(x) - 0.1).square().mean().backward()
            optimizer.step()
        simulator.close()
        return {name: tensor.detach().numpy().tobytes() for name, tensor in block.named_parameters()}

    expected = train_epoch(NgspiceSimulator(chunk=16), lambda: None)
    n_lost, factory = count_lost_chunks(cluster), dask_executor_factory(cluster.scheduler_address)
    killer = threading.Thread(target=kill_one_at_work, args=(cluster,), daemon=True)
    found = train_epoch(NgspiceSimulator(chunk=16, executor_factory=factory), killer.start)
    assert count_lost_chunks(cluster) > n_lost
    assert found == expected


class SabotagedExecutor(Executor):
    """Dask's workers; the third chunk is replaced by a read from address 0."""

    def __init__(self, inner: Executor, crashes: list[int]) -> None:
        self._inner, self._crashes = inner, crashes

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        if np.array_equal(args[1], CHUNKS[2]):
            self._crashes.append(1)
            return self._inner.submit(ctypes.string_at, 0)
        return self._inner.submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._inner.shutdown(wait, cancel_futures=cancel_futures)


def test_chunk_that_always_kills_its_worker_is_named_and_the_cluster_lives_on(cluster: LocalCluster) -> None:
    crashes: list[int] = []
    factory = dask_executor_factory(cluster.scheduler_address)
    with pytest.raises(WorkerError, match=r"samples 16 to 23 failed twice.*ended its worker process \(KilledWorker"):
        solve(CHUNKS, lambda: SabotagedExecutor(factory(), crashes))
    assert len(crashes) == 2
    assert solve(CHUNKS, factory) == solve_here(CHUNKS)


def test_hang_ends_one_worker_a_try(cluster: LocalCluster) -> None:
    """Its own word for it, not Dask's KilledWorker after four workers."""
    factory = dask_executor_factory(cluster.scheduler_address)
    with pytest.raises(WorkerError, match=r"samples 8 to 16007 failed twice.*longer than timeout_s = 0\.2 s"):
        solve([CHUNKS[0], LONG[1]], factory, timeout_s=0.2)
    assert solve(CHUNKS, factory) == solve_here(CHUNKS)


def test_scheduler_that_goes_away_is_no_hang() -> None:
    with start_cluster() as cluster:
        factory = dask_executor_factory(cluster.scheduler_address, timeout_s=1)
        later(cluster.close)
        with pytest.raises(WorkerError, match=r"gone away: no Dask scheduler answers at tcp://.*goes on .*--resume"):
            solve(LONG * 2, factory)


def test_scheduler_that_goes_away_while_it_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    with start_cluster() as cluster:
        k_over_q = dask_executor.measure_k_over_q()

        def close_cluster() -> float:
            cluster.close()
            time.sleep(0.5)  # until the client has noticed
            return k_over_q

        monkeypatch.setattr(dask_executor, "measure_k_over_q", close_cluster)
        with pytest.raises(SimulatorNotFound, match="went away while its workers were tried"):
            dask_executor_factory(cluster.scheduler_address, timeout_s=1)


def test_workers_that_all_go_away_are_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_executor, "_WATCH_S", 0.2)
    with start_cluster() as cluster:
        factory = dask_executor_factory(cluster.scheduler_address, workers_timeout_s=1)
        later(partial(cluster.scale, 0))
        with pytest.raises(WorkerError, match=r"gone away: the Dask scheduler at .* has no worker, 1 s long"):
            solve(LONG * 2, factory)
        with pytest.raises(SimulatorNotFound, match=r"has no worker, 1 s long\. Start some with `dask worker tcp://"):
            dask_executor_factory(cluster.scheduler_address, workers_timeout_s=1)


def test_worker_without_ngspice_says_so() -> None:
    with start_cluster(env={"NGSPICE_LIBRARY_PATH": "/no/such"}) as cluster:
        with pytest.raises(SimulatorNotFound, match=r"worker at tcp.* cannot run ngspice .SimulatorNotFound.*/no/such"):
            dask_executor_factory(cluster.scheduler_address)
        with (
            Client(cluster, set_as_default=False) as client,
            pytest.raises(SimulatorNotFound, match="'/no/such', which is no file"),
        ):
            solve(CHUNKS, lambda: DaskExecutor(client))


def test_worker_with_another_constant_is_refused(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    here = dask_executor.measure_k_over_q()

    def measure_k_over_q() -> float:
        return here * (1 + 1e-6)

    measure_k_over_q.__module__, measure_k_over_q.__qualname__ = (
        dask_executor.measure_k_over_q.__module__,
        dask_executor.measure_k_over_q.__qualname__,
    )
    monkeypatch.setattr(dask_executor, "measure_k_over_q", measure_k_over_q)
    with pytest.raises(SimulatorNotFound, match=r"has an ngspice with k/q = 8.*Install the same version"):
        dask_executor_factory(cluster.scheduler_address)


def test_nobody_at_the_address() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        for _ in range(2):  # closed, then open and silent
            start = time.monotonic()
            with pytest.raises(SimulatorNotFound, match=f"no Dask scheduler answers at tcp://127.0.0.1:{port} within"):
                dask_executor_factory(f"tcp://127.0.0.1:{port}", timeout_s=0.5)
            assert time.monotonic() - start < 5
            silent.listen()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1", "foo://127.0.0.1:1", "tcp://127.0.0.1:x", "tls://127.0.0.1:1"])
def test_no_address(address: str) -> None:
    with pytest.raises(SimulatorNotFound, match=f"{address} cannot be the address of a Dask scheduler: "):
        dask_executor_factory(address, timeout_s=0.5)


def test_address_of_a_worker(cluster: LocalCluster) -> None:
    address = next(iter(cluster.scheduler.workers))
    with pytest.raises(SimulatorNotFound, match=f"at {address} a Dask worker answers, not a scheduler"):
        dask_executor_factory(address)


def test_missing_extra_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SimulatorNotFound, match=r"pip install 'tellegen\[dask\]'"):
        dask_executor_factory("tcp://127.0.0.1:1")


def test_configuration_names_the_cluster(cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    section = SimulatorSection(name=SimulatorKind.NGSPICE, dask=cluster.scheduler_address)
    n_clients = len(cluster.scheduler.clients)
    simulator = build_simulator(section)
    assert isinstance(simulator, NgspiceSimulator)
    simulator.close()
    assert len(cluster.scheduler.clients) == n_clients
    quick = partial(dask_executor_factory, timeout_s=0.5)
    monkeypatch.setattr(dask_executor, "dask_executor_factory", quick)
    with pytest.raises(SimulatorNotFound, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9 "):
        build_simulator(section.model_copy(update={"dask": "tcp://127.0.0.1:9"}))
