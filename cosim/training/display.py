"""Show a run as it goes: a progress bar on a terminal, and one line an epoch everywhere."""

from types import TracebackType
from typing import Self, final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from .trainer import Score


@final
class Display:
    """The progress of a run on a console.

    Args:
        console: where to.
        n_epochs: epochs in all.
        n_batches: batches of an epoch.
        first_epoch: epochs already done in an earlier sitting.
        first_batch: batches of the next epoch already done then.
    """

    def __init__(
        self, console: Console, *, n_epochs: int, n_batches: int, first_epoch: int, first_batch: int = 0
    ) -> None:
        self._console = console
        self._n_epochs, self._first_epoch = n_epochs, first_epoch
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[n_epochs]}"),
            BarColumn(bar_width=20),  # the whole fits 80 columns
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[score]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID = self._progress.add_task(
            "train",
            total=n_epochs * n_batches,
            completed=first_epoch * n_batches + first_batch,
            epoch=first_epoch + 1,
            n_epochs=n_epochs,
            score="",
        )

    def __enter__(self) -> Self:
        self._progress.start()
        if self._first_epoch < self._n_epochs:
            self._print(f"{'epoch':>{self._width}}  train loss  accuracy  test loss  accuracy      time")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def batch(self, epoch: int, score: Score) -> None:
        """Show that another batch is done, with the epoch's mean so far."""
        text = f"loss {score.loss:.3f}, accuracy {score.accuracy:.3f}"
        self._progress.update(self._task, advance=1, epoch=epoch, score=text)

    def epoch(self, epoch: int, train: Score, test: Score, wall_s: float) -> None:
        """Print a finished epoch's line, at most 79 characters."""
        self._print(
            f"{f'{epoch}/{self._n_epochs}':>{self._width}}  {train.loss:10.4f}  {train.accuracy:8.4f}  "
            f"{test.loss:9.4f}  {test.accuracy:8.4f}  {wall_s:6.1f} s"
        )

    @property
    def _width(self) -> int:
        """Of the first column."""
        return max(len("epoch"), len(f"{self._n_epochs}/{self._n_epochs}"))

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)
