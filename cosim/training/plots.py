"""The training curve of a run: loss and accuracy, epoch by epoch."""

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..files import write_atomically
from .run_folder import Metrics


def plot_training(metrics: Sequence[Metrics], path: Path, title: str) -> None:
    """Draw loss and accuracy over the epochs into a PNG file.

    Args:
        metrics: one entry an epoch.
        path: the file.
        title: what the run is.

    Raises:
        RunError: if the file cannot be written.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")  # no pyplot: that would keep figures in a global list
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    epochs = [entry["epoch"] for entry in metrics]
    for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for split, style in (("train", "o-"), ("test", "s--")):
            axes.plot(epochs, [entry[f"{split}_{quantity}"] for entry in metrics], style, markersize=3, label=split)
        axes.set_xlabel("epoch")
        axes.set_ylabel("cross-entropy" if quantity == "loss" else "accuracy")
        if epochs:
            axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))  # whole epochs, even if there is one
        axes.grid(alpha=0.3)
        axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomically(path, buffer.getvalue())
