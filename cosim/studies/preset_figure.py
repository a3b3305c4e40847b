"""The frame of a preset's picture: panels side by side, its name above, its source below."""

import io
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..files import write_atomically

PANEL_WIDTH, HEIGHT = 4.5, 4.4  # inches
LEGEND_SIZE = 8
CHARACTERS = 76  # of a line of the source, a panel wide


def draw_panels(panels: Sequence[Callable[[Any], None]], *, title: str, source: str, note: str, path: Path) -> None:
    """Draw a picture into a PNG file.

    Args:
        panels: each draws into the axes it is given.
        title: above.
        source: below, in small letters.
        note: below the source.
        path: the file.

    Raises:
        RunError: if the file cannot be written.
    """
    figure = Figure(figsize=(PANEL_WIDTH * len(panels), HEIGHT), layout="constrained")  # no pyplot: it keeps figures
    FigureCanvasAgg(figure)
    for panel, axes in zip(panels, figure.subplots(1, len(panels), squeeze=False)[0], strict=True):
        panel(axes)
    figure.suptitle(title, fontsize=12)
    width = CHARACTERS * len(panels)
    lines = textwrap.wrap(source, width) + textwrap.wrap(note, width)
    figure.supxlabel("\n".join(lines), fontsize=8, color="dimgray")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomically(path, buffer.getvalue())


def label_panel(axes: Any, *, title: str, x: str, y: str) -> None:
    """Put the words and the grid on a panel."""
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
