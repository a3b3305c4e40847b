"""Show a run as it goes: a progress bar on a terminal, one line an epoch anywhere else."""

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
    """

    def __init__(self, console: Console, *, n_epochs: int, n_batches: int, first_epoch: int) -> None:
        self._console = console
        self._n_epochs, self._n_batches = n_epochs, n_batches
        self._progress = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[n_epochs]}"),
            BarColumn(),
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
            completed=first_epoch * n_batches,
            epoch=first_epoch + 1,
            n_epochs=n_epochs,
            score="",
        )

    def __enter__(self) -> Self:
        self._progress.start()
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
        """Print a finished epoch's line."""
        done = f"epoch {epoch:>{len(str(self._n_epochs))}}/{self._n_epochs}"
        self._console.print(
            f"{done}  loss {train.loss:.4f}  accuracy {train.accuracy:.4f}  test loss {test.loss:.4f}  "
            f"test accuracy {test.accuracy:.4f}  {wall_s:.1f} s",
            highlight=False,
            soft_wrap=True,
        )
