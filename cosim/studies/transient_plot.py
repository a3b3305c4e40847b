"""The paper's two figures: gradients in backward time, block after block, and how well their ends agree."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..files import write_atomically
from .transient_curves import ERROR_LIMIT, LayerCurves

N_CURVES = 4  # of each layer, as in the paper
N_COLUMNS = 3  # of a legend above a panel
FLOOR = 1e-16  # exact agreement has no place on a log scale


def plot_curves(layers: Sequence[LayerCurves], path: Path, *, seed: int) -> Path:
    """Draw some gradients of each layer in time: a column a block, last to first, weights above and inputs below.

    Time goes on from column to column, in units of each circuit's slowest time constant, or in steps.

    Args:
        layers: blocks from last to first.
        path: PNG to write.
        seed: of the choice of the weights, from the larger half of each layer.

    Returns:
        the path.

    Raises:
        RunError: if the file cannot be written.

    Source: Nest & Ernoult 2024, figure 3.
    """
    blocks = list(dict.fromkeys(layer.block for layer in layers))
    generator = np.random.default_rng(seed)
    width = min(3.4 * len(blocks) + 1.2, 18.0)
    figure = Figure(figsize=(max(width, 6.5), 6.4), layout="constrained")
    panels = figure.subplots(2, len(blocks), squeeze=False, sharex="col")
    colours = colormaps["plasma"](np.linspace(0.2, 0.88, len(layers)))
    offset = 0.0
    for column, block in enumerate(blocks):
        for colour, layer in zip(colours, layers, strict=True):
            if layer.block == block:
                axes = panels[1 if layer.tensor == "input" else 0, column]
                _draw(axes, layer, offset, generator, colour)
        times = next(layer.times for layer in layers if layer.block == block)
        end = offset + times.window / times.unit
        n_rows = 1
        for axes in panels[:, column]:
            axes.set_xlim(offset, end)
            axes.axhline(0.0, color="0.8", linewidth=0.8, zorder=0)
            axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            n_labels = len(axes.get_legend_handles_labels()[1])
            n_rows = max(n_rows, -(-n_labels // N_COLUMNS))
            if n_labels:
                axes.legend(
                    fontsize="small",
                    loc="lower right",
                    bbox_to_anchor=(1.0, 1.0),
                    ncols=N_COLUMNS,
                    handlelength=0.8,
                    columnspacing=0.9,
                    frameon=False,
                    borderaxespad=0.1,
                )
        panels[0, column].set_title(block, fontsize=11, pad=8.0 + 14.0 * n_rows)  # above the legend
        unit = "steps" if times.slowest_s is None else f"time constants of {_seconds(times.slowest_s)}"
        panels[1, column].set_xlabel(unit, fontsize=9)
        offset = end
    panels[0, 0].set_ylabel("gradient by a device or weight")
    panels[1, 0].set_ylabel("gradient by an input")
    lines = [
        Line2D([], [], color="black", linestyle="--", label="EP(t), from the nudged circuit"),
        Line2D([], [], color=colours[len(colours) // 2], linewidth=2.5, label="ID(t), exact"),
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=2, fontsize="small", frameon=False)
    figure.suptitle(f"Gradients in backward time, blocks last to first, {format_beta(layers)}", fontsize=11)
    return _written(figure, path)


def plot_agreement(layers: Sequence[LayerCurves], path: Path) -> Path:
    """Draw each layer's cosine at the end, and its largest error over time.

    Args:
        layers: blocks from last to first.
        path: PNG to write.

    Returns:
        the path.

    Raises:
        RunError: if the file cannot be written.

    Source: Nest & Ernoult 2024, figure 5.
    """
    figure = Figure(figsize=(max(6.0, 0.55 * len(layers) + 2.0), 6.0), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    places, colours = np.arange(len(layers)), colormaps["plasma"](np.linspace(0.2, 0.88, len(layers)))
    above.bar(places, [layer.cosine for layer in layers], color=colours)
    above.set_ylabel("cosine of EP and ID at the end")
    above.set_ylim(min(0.0, *(layer.cosine for layer in layers)), 1.18)
    for place, layer in zip(places, layers, strict=True):
        above.text(place, max(layer.cosine, 0.0) + 0.02, f"{layer.cosine:.4f}", ha="center", fontsize="x-small")
    errors = np.clip(np.nan_to_num([layer.max_relative_error for layer in layers], posinf=10.0), FLOOR, 10.0)
    below.bar(places, errors, color=colours)
    below.axhline(ERROR_LIMIT, color="black", linestyle="--", linewidth=1, label=f"limit {ERROR_LIMIT:g}")
    below.set_yscale("log")
    below.set_ylim(min(1e-6, float(errors.min()) / 3.0), max(1e-2, 3.0 * float(errors.max())))
    below.set_ylabel("largest |EP(t) - ID(t)| / |ID(end)|")
    below.legend(fontsize="small", loc="upper right")
    below.grid(visible=True, axis="y", alpha=0.3)
    below.set_xticks(places, [f"{layer.block} {layer.tensor}" for layer in layers], rotation=60, ha="right", fontsize=8)
    verdict = "pass" if all(layer.passed for layer in layers) else "FAIL"
    figure.suptitle(f"Equilibrium propagation against exact gradients, {format_beta(layers)}: {verdict}", fontsize=11)
    return _written(figure, path)


def _draw(axes: Axes, layer: LayerCurves, offset: float, generator: np.random.Generator, colour: np.ndarray) -> None:
    """Draw some curves of one layer."""
    order = np.argsort(np.abs(layer.exact[-1]))
    larger = order[len(order) // 2 :]
    chosen = generator.choice(larger, min(N_CURVES, len(larger)), replace=False)
    time = offset + layer.time / layer.times.unit
    for k, entry in enumerate(chosen):
        label = layer.tensor if k == 0 else None
        axes.plot(time, layer.exact[:, entry], color=colour, linewidth=2.5, label=label)
        axes.plot(time, layer.estimated[:, entry], color="black", linewidth=0.9, linestyle=(0, (4, 3)))


def format_beta(layers: Sequence[LayerCurves]) -> str:
    """Return the nudge of all blocks, or that of each kind."""
    return "beta = " + " and ".join(f"{beta:g}" for beta in sorted({layer.times.beta for layer in layers}))


def _seconds(value_s: float) -> str:
    """Return a time with a prefix that people use."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"), (1e-12, "ps")):
        if value_s >= factor:
            return f"{value_s / factor:.3g} {unit}"
    return f"{value_s:.3g} s"


def _written(figure: Figure, path: Path) -> Path:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomically(path, buffer.getvalue())
    return path
