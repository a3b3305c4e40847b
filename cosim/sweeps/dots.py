"""Points by hand, one a line: a dot a seed, a bar at the mean with its 95 % interval."""

from collections.abc import Sequence
from pathlib import Path

from ..training.plots import new_figure, write_png
from .curves import LABELS, OTHERS, legend_of, name_of
from .results import Results


def plot_dots(results: Results, measures: Sequence[str], path: Path, title: str) -> None:
    """Draw measures side by side into a PNG file, points from top to bottom.

    Raises:
        RunError: if the file cannot be written.
    """
    points = results.settings()
    figure = new_figure(3.4 + 3.6 * len(measures), 1.5 + 0.45 * len(points), title)
    panels = figure.subplots(1, len(measures), squeeze=False, sharey=True)[0]
    for axes, measure in zip(panels, measures, strict=True):
        shown = [measure, *(other for other in OTHERS.get(measure, ()) if results.measures(other))]
        for k, name in enumerate(shown):
            for height, point in enumerate(points):
                found = results.estimate(point.setting, name)
                if not found.values:
                    continue
                place = height + 0.16 * (k - (len(shown) - 1) / 2)
                half = found.half_width if found.half_width > 0 else 0.0
                label = legend_of(results, name) if height == 0 else None
                axes.errorbar(
                    found.mean, place, xerr=half, fmt="|", color=f"C{k}", markersize=12, capsize=3, label=label
                )
                axes.plot(found.values, [place] * len(found.values), "o", color=f"C{k}", markersize=4, alpha=0.5)
        axes.set_xlabel(LABELS[measure])
        axes.grid(alpha=0.3)
        if len(shown) > 1:
            axes.legend(fontsize="small")
    panels[0].set_yticks(range(len(points)), [name_of(point) for point in points])
    panels[0].set_ylim(len(points) - 0.5, -0.5)
    write_png(figure, path)
