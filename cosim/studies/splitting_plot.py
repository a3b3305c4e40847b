"""The picture of the splitting study: accuracy, time and iterations against the cut, a row of panels a network."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from matplotlib.axes import Axes

from ..training.plots import new_figure, write_png
from .splitting_networks import Method, SplitNetwork
from .splitting_results import SplitRow, Splitting, Variant

COLOURS: Final = {Method.ID: "tab:gray", Method.EP: "tab:blue", Method.NGSPICE: "tab:orange"}
MARKERS: Final = {Method.ID: "s", Method.EP: "o", Method.NGSPICE: "^"}
_APART: Final = 0.12  # between the methods of a cut, of the distance of two cuts

Quantity = Callable[[SplitRow], tuple[float, ...]]
PANELS: Final[tuple[tuple[str, Quantity], ...]] = (
    ("top-1 on the images held out", lambda split: split.row.accuracies),
    ("time of a training, s", lambda split: split.row.wall_s),
    ("iterations of a training, millions", lambda split: tuple(n / 1e6 for n in split.row.iterations)),
)


def plot_splitting(splitting: Splitting, path: Path, *, title: str) -> None:
    """Draw every cut into a PNG file: the mean over the seeds, its standard deviation, and each seed as a dot.

    Args:
        splitting: what to draw.
        path: the file.
        title: above it.

    Raises:
        RunError: if the file cannot be written.
    """
    networks = splitting.networks
    figure = new_figure(10.5, 0.9 + 2.9 * max(1, len(networks)), title)
    grid = figure.subplots(max(1, len(networks)), len(PANELS), squeeze=False)
    for axes_of_row, network in zip(grid, networks, strict=False):
        rows = [split for split in splitting.rows if split.variant.network is network]
        for axes, (label, quantity) in zip(axes_of_row, PANELS, strict=True):
            _draw(axes, network, rows, quantity)
            axes.set_ylabel(label)
            axes.grid(alpha=0.3)
        for axes in axes_of_row[1:]:
            axes.set_ylim(bottom=0.0)
        axes_of_row[0].set_title(network.title, fontsize=10, loc="left")
        axes_of_row[0].legend(fontsize="small")
    write_png(figure, path)


def _draw(axes: Axes, network: SplitNetwork, rows: list[SplitRow], quantity: Quantity) -> None:
    """Draw one quantity of one network, cuts from left to right."""
    for k, method in enumerate(network.methods):
        found = [split for split in rows if split.variant.method is method]
        offset = _APART * (k - (len(network.methods) - 1) / 2)
        places = [network.block_sizes.index(split.variant.block_size) + offset for split in found]
        values = [quantity(split) for split in found]
        spread = [float(np.std(v, ddof=1)) if len(v) > 1 else 0.0 for v in values]
        axes.errorbar(
            places,
            [float(np.mean(v)) for v in values],
            yerr=spread,
            fmt=f"{MARKERS[method]}-",
            color=COLOURS[method],
            markersize=5,
            capsize=4,
            label=method.title,
        )
        for place, dots in zip(places, values, strict=True):
            axes.plot([place] * len(dots), dots, ".", color=COLOURS[method], markersize=4, alpha=0.5)
    cuts = [Variant(network=network, block_size=size, method=Method.ID).cut for size in network.block_sizes]
    axes.set_xticks(range(len(cuts)), [cut.replace(" of", "\nof") for cut in cuts])
    axes.set_xlim(-0.5, len(network.block_sizes) - 0.5)
