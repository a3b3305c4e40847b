"""The picture of a comparison: one dot a training, a bar at each mean."""

import io
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..files import write_atomically
from .comparison import Comparison


def plot_comparison(comparison: Comparison, path: Path, *, title: str) -> None:
    """Draw the accuracy of every training into a PNG file, variants from top to bottom.

    Args:
        comparison: what to draw.
        path: the file.
        title: above it.

    Raises:
        RunError: if the file cannot be written.
    """
    rows = comparison.rows
    figure = Figure(figsize=(8, 1.2 + 0.6 * len(rows)), layout="constrained")  # no pyplot: it keeps figures
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for height, row in enumerate(rows):
        is_reference = row.name == comparison.reference
        colour = "tab:gray" if is_reference else "tab:blue"
        if len(row.accuracies) > 1:
            axes.errorbar(row.mean, height, xerr=row.std, fmt="|", color=colour, markersize=18, capsize=4)
        axes.plot(row.accuracies, [height] * len(row.accuracies), "o", color=colour, markersize=4, alpha=0.7)
        if is_reference:
            axes.axvline(row.mean, color=colour, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(rows)), [row.title for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("test accuracy: each seed, mean and standard deviation")
    axes.grid(axis="x", alpha=0.3)
    axes.set_title(title, fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomically(path, buffer.getvalue())
