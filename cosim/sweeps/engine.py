"""Run calls on all cores, whatever dies: any executor of `concurrent.futures` will do.

Takes: a function, its arguments, and what makes an executor. Gives: pairs of argument and result, as they are done.
Must not know: what is run.

The death of one worker fails what all others were doing, so nothing tells whose fault it was. What was under way is
therefore sent once more, one at a time in a new executor: whatever ends its worker then, has ended two.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from contextlib import suppress
from importlib import import_module
from types import TracebackType
from typing import Any, Final, Self, TypeVar, final

from ..errors import WorkerError

MOST_DEAD: Final = 3  # calls that end their workers before it is the workers' fault, if none was done

_A = TypeVar("_A")
_R = TypeVar("_R")


@final
class Died(Exception):
    """What takes the place of the result of a call that ended two workers; its text says how."""


def run_all(
    pool: "Pool", call: Callable[[_A], _R], arguments: Sequence[_A], *, in_flight: int
) -> Iterator[tuple[_A, _R | Died]]:
    """Call a function with each argument; results come in the order in which they are done.

    Args:
        pool: where.
        call: what workers run; it can be pickled, and its result too, and what goes wrong is part of that result.
        arguments: in the order in which they are begun.
        in_flight: calls that an executor has at a time; more than it has workers, so that none waits.

    Raises:
        WorkerError: if even a new executor takes no call, or nothing at all gets done.
        KeyboardInterrupt: with what is under way ended.
    """
    waiting, suspects = deque(arguments), deque[_A]()
    running: dict[Future[_R], _A] = {}
    n_done = n_died = 0
    try:
        while waiting or running or suspects:
            if suspects and not running:
                pool.stop()  # what broke, or may be about to
                suspect = suspects.popleft()
                found = _alone(pool, call, suspect)
                n_died += isinstance(found, Died)
                n_done += not isinstance(found, Died)
                if n_done == 0 and n_died == MOST_DEAD:
                    raise WorkerError(
                        f"workers cannot do what they are sent: none was done, and each of {n_died} ended two workers, "
                        f"the last by {found}"
                    )
                yield suspect, found
                continue
            while waiting and not suspects and len(running) < in_flight:
                future = pool.submit(call, waiting[0], is_first=not running)
                if future is None:  # broken since the last look: what runs in it fails, too, in a moment
                    break
                running[future] = waiting.popleft()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                argument = running.pop(future)
                error = _death(future)
                if error is None:
                    n_done += 1
                    yield argument, future.result()
                else:
                    suspects.append(argument)
    finally:
        if running:  # an interrupt, or a caller that has seen enough
            pool.stop()


def _alone(pool: "Pool", call: Callable[[_A], _R], argument: _A) -> _R | Died:
    """Send one call for the second time, with nothing beside it."""
    future = pool.submit(call, argument, is_first=True)
    if future is None:
        raise WorkerError("a new executor takes no call")
    wait([future])
    error = _death(future)
    if error is None:
        return future.result()
    return Died(": ".join([type(error).__name__, *([" ".join(str(error).split())] if str(error) else [])]))


def _death(future: Future[Any]) -> BaseException | None:
    """Return how a call ended without an answer; None if it has one, or an exception of the function's own."""
    try:
        error = future.exception()
    except CancelledError as cancelled:  # Dask's way to say that its workers are gone
        return cancelled
    if isinstance(error, KeyboardInterrupt):
        raise error
    return error


@final
class Pool:
    """The executor while there is one, and a new one after a crash.

    Args:
        factory: makes an executor; all of them are shut down here.
    """

    def __init__(self, factory: Callable[[], Executor]) -> None:
        self._factory = factory
        self._executor: Executor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def submit(self, call: Callable[[_A], _R], argument: _A, *, is_first: bool) -> Future[_R] | None:
        """Send a call; None if the executor is broken and has others under way.

        Raises:
            WorkerError: if a new one takes none.
        """
        if self._executor is not None:
            try:
                return self._executor.submit(call, argument)
            except Exception:  # noqa: BLE001  executors differ in how they say that they are broken or shut down
                if not is_first:
                    return None
                self.stop()
        self._executor = self._factory()
        try:
            return self._executor.submit(call, argument)
        except Exception as error:
            self.stop()
            raise WorkerError(
                f"a new executor takes no call ({type(error).__name__}: {error}). If executor_factory returns the same "
                "one each time, let it make a new one"
            ) from error

    def stop(self) -> None:
        """End the executor and its processes, in the middle of their work if need be."""
        executor, self._executor = self._executor, None
        if executor is None:
            return
        loky: Any = import_module("loky")
        if isinstance(executor, loky.ProcessPoolExecutor):
            kill: Any = executor.shutdown  # Any: loky's shutdown can do more than the standard library's
            kill(wait=True, kill_workers=True)
            return
        with suppress(Exception):  # a client that is closed can cancel nothing: nothing is left to stop
            executor.shutdown(wait=False, cancel_futures=True)
