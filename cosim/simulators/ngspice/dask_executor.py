"""Workers of a Dask cluster as an executor: chunks may be solved on other machines.

Takes: the address of a Dask scheduler. Gives: a factory of executors for the pool. Must not know: decks and chunks.

Dask itself sends the chunks of a worker that died to others, and tells when the scheduler is gone; what it would do for
ever is wait for a first worker. `distributed` is the optional extra `dask` and imported when it is first used.
"""

import asyncio
import logging
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from functools import partial
from importlib import import_module
from operator import call
from pkgutil import resolve_name
from typing import Any, Final, ParamSpec, TypeVar, final

from circuits.errors import TellegenError

from ...errors import SimulatorNotFound, WorkerError
from .thermal import measure_k_over_q
from .worker import process_name

_P = ParamSpec("_P")
_T = TypeVar("_T")

_WATCH_S: Final = 1.0
_N_EMPTY_LOOKS: Final = 5  # a nanny starts its worker again within 3 s
_CLOSE_S: Final = 5.0
_K_OVER_Q_TOLERANCE: Final = 1e-9  # constants of two versions of ngspice differ by 1e-6, measurements by 1e-14


def dask_executor_factory(
    address: str, *, timeout_s: float = 10.0, workers_timeout_s: float = 30.0
) -> Callable[[], Executor]:
    """Return a factory for `NgspiceSimulator(executor_factory=...)`; the cluster is tried at once.

    Args:
        address: of the scheduler, such as "tcp://127.0.0.1:8786".
        timeout_s: s, within which the scheduler must answer.
        workers_timeout_s: s, within which it must have a worker.

    Raises:
        SimulatorNotFound: `distributed` is not installed, no scheduler answers, it has no worker, or a worker has no
            tellegen, no libngspice or another k/q than this machine's ngspice. What the factory itself raises is a
            `WorkerError`: the cluster has gone away in the meantime.
    """

    def reconnect() -> Executor:
        try:
            client = _connect(address, timeout_s, workers_timeout_s)
            return DaskExecutor(client, partial(_close, client))
        except SimulatorNotFound as error:
            raise WorkerError(
                f"the Dask cluster has gone away: {error} Nothing that was saved is lost: a training run keeps its "
                "last checkpoint and goes on from it with `--resume`."
            ) from error

    client = _connect(address, timeout_s, workers_timeout_s)
    try:
        _check_workers(client, timeout_s)
    except TellegenError:
        raise
    except (Exception, asyncio.CancelledError) as error:  # what Dask raises depends on what it was about to do
        raise SimulatorNotFound(f"the Dask scheduler at {address} went away while its workers were tried.") from error
    finally:
        _close(client)
    return reconnect


def _connect(address: str, timeout_s: float, workers_timeout_s: float) -> Any:
    """Return a client of a scheduler that has a worker."""
    try:
        distributed: Any = import_module("distributed")  # Any: an optional package
    except ImportError as error:
        raise SimulatorNotFound(
            f"Dask, whose scheduler at {address} is asked for, is not installed here ({error}). Install it with "
            "`pip install 'tellegen[dask]'`."
        ) from error
    start_workers = f"`dask worker {address} --nthreads 1 --nworkers N`"
    try:
        with ThreadPoolExecutor(1) as thread:  # this one may have an event loop that runs, as in a notebook
            kind = thread.submit(asyncio.run, _ask_kind(address, timeout_s)).result()
        if kind != "Scheduler":
            raise SimulatorNotFound(f"at {address} a Dask {kind.lower()} answers, not a scheduler. Give its address.")
        client: Any = distributed.Client(address, timeout=timeout_s, set_as_default=False)
    except OSError as error:
        raise SimulatorNotFound(
            f"no Dask scheduler answers at {address} within {timeout_s:g} s. Start one with `dask scheduler`, which "
            f"prints its address, and its workers with {start_workers}."
        ) from error
    except (TypeError, ValueError) as error:  # no port, an unknown scheme, or tls:// without certificates
        raise SimulatorNotFound(
            f"{address} cannot be the address of a Dask scheduler: {error}. It looks like tcp://127.0.0.1:8786, and "
            "`dask scheduler` prints it."
        ) from error
    try:
        client.wait_for_workers(1, timeout=workers_timeout_s)
    except OSError as error:
        _close(client)
        raise SimulatorNotFound(
            f"the Dask scheduler at {address} has no worker, {workers_timeout_s:g} s long. Start some with "
            f"{start_workers}."
        ) from error
    return client


async def _ask_kind(address: str, timeout_s: float) -> str:
    """Ask a Dask server what it is; a client would wait for ever where something listens that is no such server."""
    rpc: Any = import_module("distributed.core").rpc

    async def ask() -> str:
        async with rpc(address) as server:
            return str((await server.identity())["type"])

    return await asyncio.wait_for(ask(), timeout_s)


def _check_workers(client: Any, timeout_s: float) -> None:
    """Measure k/q on every worker, then try the scheduler; one that is busy for longer than `timeout_s` is believed.

    The function goes by name: a worker that cannot import what it gets ends without a word.

    Raises:
        SimulatorNotFound: a worker cannot run ngspice or runs one with other constants, or the scheduler cannot
            import what is sent.
    """
    expected, end = measure_k_over_q(), time.monotonic() + timeout_s
    name = f"{measure_k_over_q.__module__}:{measure_k_over_q.__qualname__}"
    found = {}
    for address in client.nthreads():
        function = client.submit(resolve_name, name, workers=[address], pure=False)
        found[address] = client.submit(call, function, workers=[address], pure=False)
    for address, future in found.items():
        try:
            measured = future.result(max(0.0, end - time.monotonic()))
        except TimeoutError:
            continue
        except Exception as error:
            raise SimulatorNotFound(
                f"the Dask worker at {address} cannot run ngspice ({type(error).__name__}: {error}). Every worker "
                "needs the tellegen and the ngspice of this machine."
            ) from error
        if abs(measured / expected - 1.0) > _K_OVER_Q_TOLERANCE:
            raise SimulatorNotFound(
                f"the Dask worker at {address} has an ngspice with k/q = {measured!r} V/K, this machine's has "
                f"{expected!r}. Install the same version of ngspice on both."
            )
    try:
        client.submit(process_name, pure=False).result(max(0.0, end - time.monotonic()))
    except TimeoutError:
        return
    except Exception as error:  # the scheduler, too, unpickles what is sent
        raise SimulatorNotFound(
            f"the Dask scheduler takes no call from here ({type(error).__name__}: {error}). It needs the tellegen of "
            "this machine; start `dask scheduler` in the same Python environment."
        ) from error


def _close(client: Any) -> None:
    """Close a client, without the long traceback of an attempt to reconnect that ends here."""
    log = logging.getLogger("distributed.client")
    was_disabled, log.disabled = log.disabled, True
    try:
        client.close(timeout=_CLOSE_S)
    finally:
        log.disabled = was_disabled


@final
class DaskExecutor(Executor):
    """What a client's workers solve; everything is cancelled when all of them stay away or the scheduler goes.

    `client.get_executor(pure=False)` serves too, but then both are waited for, and its futures are never done if the
    last worker goes while its result is fetched (`distributed` 2026.8).

    Args:
        client: a `distributed.Client` of the caller's.
        close_client: called after shutdown, if the client is this executor's own.
    """

    def __init__(self, client: Any, close_client: Callable[[], None] | None = None) -> None:
        self._client = client
        self._close_client = close_client
        self._sent: weakref.WeakSet[Future[Any]] = weakref.WeakSet()
        self._closed, self._is_deserted = threading.Event(), False
        self._watch = threading.Thread(target=self._watch_workers, daemon=True)
        self._watch.start()

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Send one call to some worker."""
        if self._closed.is_set() or self._is_deserted or self._client.status != "running":
            raise BrokenExecutor("it is shut down, or the Dask scheduler or all its workers are gone")
        sent = self._client.submit(fn, *args, pure=False, **kwargs)  # pure: results would be kept by their arguments
        future: Future[_T] = asyncio.run_coroutine_threadsafe(_fetch(sent), self._client.loop.asyncio_loop)
        self._sent.add(future)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let go of everything that was sent, done or not; the cluster goes on."""
        del wait, cancel_futures
        if self._closed.is_set():
            return
        self._closed.set()
        self._cancel()
        self._watch.join(_CLOSE_S)
        if self._close_client is not None:
            self._close_client()

    def _cancel(self) -> None:
        for future in list(self._sent):
            future.cancel()

    def _watch_workers(self) -> None:
        """Cancel everything when there has been no worker for a while."""
        n_empty = 0
        while not self._closed.wait(_WATCH_S):
            try:
                n_empty = 0 if self._client.nthreads() else n_empty + 1
            except Exception:  # noqa: BLE001, S112  # the scheduler is gone: the client cancels everything by itself
                continue
            if n_empty == _N_EMPTY_LOOKS:
                self._is_deserted = True
                self._cancel()
                return


async def _fetch(sent: Any) -> Any:
    """Wait for a Dask future; when this task is cancelled Dask forgets what nobody holds any more."""
    return await sent
