"""The bar plot of a gradient check: errors of every tensor on a log scale, with the limits drawn in."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from ..files import write_atomically

if TYPE_CHECKING:
    from .gradcheck_report import TensorCheck

FLOOR = 1e-16  # exact agreement has no place on a log scale
CEILING = 2.0  # nor has a norm ratio without bound


def plot_gradcheck(checks: "Sequence[TensorCheck]", path: Path, *, cosine: float, norm: float, beta: float) -> Path:
    """Draw 1 - cosine and |norm ratio - 1| of every tensor.

    Args:
        checks: what was checked.
        path: PNG to write.
        cosine: limit of the cosine.
        norm: limit of |norm ratio - 1|.
        beta: nudge, for the title.

    Returns:
        the path.

    Raises:
        RunError: if the file cannot be written.
    """
    names = list(dict.fromkeys((c.block, c.tensor) for c in checks))
    series = {
        f"{simulator}, against {label}": {
            (c.block, c.tensor): (1 - getattr(c, f"cosine_{key}"), abs(getattr(c, f"norm_ratio_{key}") - 1))
            for c in checks
            if c.simulator == simulator
        }
        for simulator in dict.fromkeys(c.simulator for c in checks)
        for key, label in (("id", "implicit"), ("fd", "finite differences"))
    }
    figure = Figure(figsize=(max(7.0, 0.5 * len(names) + 2), 6.5), layout="constrained")
    axes = figure.subplots(2, 1, sharex=True)
    places, width = np.arange(len(names)), 0.8 / max(1, len(series))
    for panel, (axis, limit, title) in enumerate(
        zip(axes, (1 - cosine, norm), ("1 - cosine", "|norm ratio - 1|"), strict=True)
    ):
        for k, (label, values) in enumerate(series.items()):
            heights = np.clip(np.nan_to_num([values[name][panel] for name in names], nan=CEILING), FLOOR, CEILING)
            axis.bar(places + (k - (len(series) - 1) / 2) * width, heights, width, label=label)
        axis.axhline(limit, color="black", linestyle="--", linewidth=1, label="limit")
        axis.set_yscale("log")
        axis.set_ylim(FLOOR, CEILING)
        axis.set_ylabel(f"{title} (limit {limit:.0e})")
        axis.grid(visible=True, axis="y", alpha=0.3)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize="small", ncols=3, loc="outside upper center")
    verdict = "pass" if all(c.passed for c in checks) else "FAIL"
    axes[0].set_title(f"Gradients by equilibrium propagation at beta = {beta:g}: {verdict}")
    axes[1].set_xticks(
        places, [f"{block} {tensor}" for block, tensor in names], rotation=60, ha="right", fontsize="small"
    )
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomically(path, buffer.getvalue())
    return path
