"""Heat maps: the mean of a measure over two axes; later axes get a panel for each combination of their values."""

import math
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..training.plots import new_figure, write_png
from .axes import Axis
from .axis_scale import spell
from .curves import LABELS, MOST_PANELS
from .results import Results
from .sweep_file import Mode

MOST_NUMBERS: Final = 12  # rows or columns up to which each cell has its number


def heat_map_axes(results: Results) -> tuple[Axis, Axis] | None:
    """Return the two axes that a heat map shows; None where there are no two, or too many panels."""
    plan = results.plan
    varied = [axis for axis in plan.axes if len(axis.values) > 1]
    n_panels = math.prod(len(axis.values) for axis in varied[2:])
    if plan.spec.points or plan.spec.mode is not Mode.GRID or len(varied) < 2 or n_panels > MOST_PANELS:
        return None
    return varied[0], varied[1]


def plot_heat_map(results: Results, measure: str, path: Path, title: str) -> None:
    """Draw a measure into a PNG file; the caller has made sure that there are two axes.

    Raises:
        RunError: if the file cannot be written.
    """
    chosen = heat_map_axes(results)
    if chosen is None:
        return
    down, across = chosen
    rest = [axis for axis in results.plan.axes if len(axis.values) > 1 and axis not in chosen]
    shared = list(product(*(axis.values for axis in rest)))
    maps = [_map(results, measure, down, across, dict(zip((a.name for a in rest), s, strict=True))) for s in shared]
    low, high = (float(f([f(m) for m in maps])) for f in (np.nanmin, np.nanmax))
    n_columns = min(3, len(maps))
    n_rows = math.ceil(len(maps) / n_columns)
    width = 1.0 + 0.62 * max(4, len(across.values))
    figure = new_figure(1.6 + width * n_columns, 1.3 + (0.9 + 0.42 * max(3, len(down.values))) * n_rows, title)
    grid = figure.subplots(n_rows, n_columns, squeeze=False)
    for axes, values, found in zip(grid.ravel(), shared, maps, strict=False):
        image = axes.imshow(found, vmin=low, vmax=max(high, low + 1e-12), cmap="viridis", aspect="auto")
        axes.set_xticks(range(len(across.values)), [spell(value) for value in across.values])
        axes.set_yticks(range(len(down.values)), [spell(value) for value in down.values])
        axes.set_xlabel(across.name)
        axes.set_ylabel(down.name)
        axes.set_title(
            ", ".join(f"{axis.name} = {spell(value)}" for axis, value in zip(rest, values, strict=True)),
            fontsize="small",
        )
        if max(found.shape) <= MOST_NUMBERS:
            for (row, column), value in np.ndenumerate(found):
                text = "failed" if math.isnan(value) else f"{value:.3f}"
                is_dark = not math.isnan(value) and value < low + 0.6 * (high - low)
                colour = "white" if is_dark else "black"
                axes.text(column, row, text, ha="center", va="center", fontsize="small", color=colour)
    for axes in grid.ravel()[len(maps) :]:
        axes.set_visible(False)
    figure.colorbar(image, ax=list(grid.ravel()), label=LABELS[measure].replace("\n", " "))
    write_png(figure, path)


def _map(results: Results, measure: str, down: Axis, across: Axis, shared: dict[str, object]) -> NDArray[np.float64]:
    """Return the means, [values down, values across]; NaN where every seed failed."""
    found = np.full((len(down.values), len(across.values)), np.nan)
    for point in results.settings():
        if all(point.values[name] == value for name, value in shared.items()):
            row, column = _index(down.values, point.values[down.name]), _index(across.values, point.values[across.name])
            found[row, column] = results.estimate(point.setting, measure).mean
    return found


def _index(values: Sequence[object], value: object) -> int:
    return next(
        k for k, other in enumerate(values) if other is value or (type(other) is type(value) and other == value)
    )
