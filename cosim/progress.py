"""The progress bar of work of known length, shown where people read and gone when it is done."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def counting_bar(console: Console | None) -> Progress:
    """Return a bar that counts, "what [===   ] 3/10 0:00:12", each task's description its what.

    Args:
        console: where; nothing is shown without one, or where it is no terminal.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=console is None or not console.is_terminal,
    )
