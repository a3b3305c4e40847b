"""Stop a run where nothing is lost: Ctrl-C, or the SIGTERM of a batch system, is obeyed after the batch at hand."""

import signal
import threading
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Final, Self, final

from rich.console import Console

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@final
class StopRequest:
    """Whether somebody wants the run to end; the second time, it ends where it is.

    Args:
        console: where the first request is answered.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._before: dict[int, Any] = {}
        self.requested = False
        self.insisted = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if self.requested:
            self.insisted = True
            raise KeyboardInterrupt
        self.requested = True
        again = "Ctrl-C again stops at once" if number == signal.SIGINT else "a second signal stops at once"
        with suppress(RuntimeError):  # a signal may come in the middle of a print, which then takes no other
            self._console.print(f"stopping after this batch, with a checkpoint ({again})", highlight=False)
