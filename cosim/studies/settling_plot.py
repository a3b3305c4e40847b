"""The picture of a settling study: accuracy, and how good gradients are, against the time of sampling."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..files import write_atomically

if TYPE_CHECKING:
    from .settling import FreeRow, NudgedRow

FLOOR = 1e-9  # of 1 - cosine and |norm - 1| on a log scale


def plot_settling(free: "Sequence[FreeRow]", nudged: "Sequence[NudgedRow]", path: Path) -> Path:
    """Draw accuracy, 1 - cosine and norm ratio against the sampling time in time constants.

    Args:
        free: accuracies; the one at infinity is drawn as a line.
        nudged: gradients, tensor by tensor.
        path: PNG to write.

    Returns:
        the path.

    Raises:
        RunError: if the file cannot be written.
    """
    figure = Figure(figsize=(12.5, 4.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    timed = [row for row in free if np.isfinite(row.time_constants)]
    left.plot([row.time_constants for row in timed], [row.accuracy for row in timed], "o-", color="tab:blue")
    for row in free:
        if not np.isfinite(row.time_constants):
            left.axhline(row.accuracy, color="0.4", linestyle="--", linewidth=1, label=f"settled: {row.accuracy:.4f}")
    left.set_ylabel("accuracy on the images held out")
    left.set_ylim(0.0, 1.02)
    left.set_title("free phase: inputs step in from rest", fontsize=10)
    left.legend(fontsize="small", loc="lower right")
    names = list(dict.fromkeys((row.block, row.tensor) for row in nudged))
    for name in names:
        rows = [row for row in nudged if (row.block, row.tensor) == name and np.isfinite(row.time_constants)]
        times = [row.time_constants for row in rows]
        style = {"marker": "s" if name[1] == "input" else "o", "linestyle": "--" if name[1] == "input" else "-"}
        middle.plot(times, [max(FLOOR, 1.0 - row.cosine) for row in rows], label=" ".join(name), **style)
        right.plot(times, [row.norm_ratio for row in rows], label=" ".join(name), **style)
    middle.set_yscale("log")
    middle.set_ylabel("1 - cosine with the exact gradient")
    middle.set_title("nudged phases: direction", fontsize=10)
    right.axhline(1.0, color="0.4", linestyle=":", linewidth=1)
    right.set_ylabel("norm over that of the exact gradient")
    right.set_ylim(bottom=0.0)
    right.set_title("nudged phases: size", fontsize=10)
    right.legend(fontsize="x-small", loc="lower right")
    for axes in (left, middle, right):
        _time_axis(axes, sorted({row.time_constants for row in timed}))
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomically(path, buffer.getvalue())
    return path


def _time_axis(axes: Axes, times: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(times, [f"{time:g}" for time in times])
    axes.minorticks_off()
    axes.set_xlabel("sampled after, in time constants of each block")
    axes.grid(visible=True, alpha=0.3)
