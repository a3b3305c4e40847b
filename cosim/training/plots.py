"""The training curve of a run: loss, accuracy and learning rate, epoch by epoch."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..files import write_atomically
from .config import LossKind
from .run_folder import Metrics
from .summary import find_best

LOSS_LABELS: Final = {LossKind.CROSS_ENTROPY: "cross-entropy", LossKind.MSE: "mean squared error"}


def plot_training(
    metrics: Sequence[Metrics], path: Path, title: str, *, loss: LossKind = LossKind.CROSS_ENTROPY
) -> None:
    """Draw loss, accuracy and learning rate over the epochs into a PNG file.

    Args:
        metrics: one entry an epoch; none is fine.
        path: the file.
        title: what the run is.
        loss: what was minimised.

    Raises:
        RunError: if the file cannot be written.
    """
    write_png(draw_training(metrics, title, loss=loss), path)


def draw_training(metrics: Sequence[Metrics], title: str, *, loss: LossKind = LossKind.CROSS_ENTROPY) -> Figure:
    """Return the figure of `plot_training`: three panels, the best epoch marked in the second."""
    figure = new_figure(11.0, 3.6, title)
    panels = figure.subplots(1, 3, width_ratios=(3, 3, 2))
    for axes, quantity in zip(panels[:2], ("loss", "accuracy"), strict=True):
        for split, style in (("train", "o-"), ("test", "s--")):
            axes.plot(*series(metrics, f"{split}_{quantity}"), style, markersize=3, label=split)
        axes.set_ylabel(LOSS_LABELS[loss] if quantity == "loss" else "accuracy")
    best = find_best(metrics)
    if best is not None:
        text = f"best: {best['test_accuracy']:.4f}, epoch {best['epoch']:.0f}"
        panels[1].plot(best["epoch"], best["test_accuracy"], "k*", markersize=9, label=text)
    panels[2].plot(*series(metrics, "learning_rate"), "C2o-", markersize=3)
    panels[2].set_ylabel("learning rate, epoch's end")
    panels[2].set_ylim(bottom=0.0)
    for axes in panels:
        finish_epochs(axes, metrics)
    for axes in panels[:2]:
        axes.legend(fontsize="small")
    return figure


def series(metrics: Sequence[Metrics], name: str) -> tuple[list[float], list[float]]:
    """Return the epochs that measured a quantity, and their values."""
    found = [entry for entry in metrics if name in entry]
    return [entry["epoch"] for entry in found], [entry[name] for entry in found]


def finish_epochs(axes: Axes, metrics: Sequence[Metrics]) -> None:
    """Make the horizontal axis one of whole epochs, even if there is one or none."""
    axes.set_xlabel("epoch")
    if metrics:
        axes.set_xlim(metrics[0]["epoch"] - 0.5, metrics[-1]["epoch"] + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)


def new_figure(width: float, height: float, title: str) -> Figure:
    """Return an empty figure, sizes in inches; no pyplot, which would keep figures in a global list."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    return figure


def write_png(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file, whole or not at all.

    Raises:
        RunError: if the file cannot be written.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomically(path, buffer.getvalue())
