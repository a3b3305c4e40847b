"""Curves of what was measured against what was varied: mean, 95 % band, and each seed as a dot."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final, final

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..training.plots import new_figure, write_png
from .axes import Axis
from .axis_scale import Scale, is_number, spell
from .point import Point
from .results import Results, estimate
from .sweep_file import Mode

MOST_LINES, MOST_PANELS = 10, 9
Colour = Any  # matplotlib's

LABELS: Final = {
    "accuracy": "accuracy, images held out",
    "accuracy_before": "accuracy before training",
    "accuracy_as_trained": "accuracy as trained",
    "epochs_to_90": "epochs to 90 % of the\nfinal accuracy",
    "gradient_cosine": "cosine with the exact gradient\nof the ideal network",
    "estimate_cosine": "cosine with the exact gradient\nof the same circuit",
    "gradient_norm_ratio": "norm ratio to the exact gradient\nof the ideal network",
    "estimate_norm_ratio": "norm ratio to the exact gradient\nof the same circuit",
}
OTHERS: Final = {"accuracy": ("accuracy_before", "accuracy_as_trained")}  # drawn dashed in the same panel


BOUNDED: Final = {"accuracy": (0.0, 1.0), "gradient_cosine": (-1.0, 1.0), "estimate_cosine": (-1.0, 1.0)}
LEAST_SPAN: Final = 0.01  # of an axis of accuracies or cosines
MOST_BANDS: Final = 4  # over epochs: more than so many bands hide one another


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A curve: its points share everything but what the horizontal axis shows.

    Args:
        label: in the legend; empty where there is one curve only.
        values: on the horizontal axis.
        settings: the combination at each.
    """

    label: str
    values: tuple[Any, ...]
    settings: tuple[int, ...]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """Curves over the same horizontal axis.

    Args:
        title: what all of its points share; may be empty.
        axis: what is varied.
        lines: the curves.
    """

    title: str
    axis: str
    lines: tuple[Line, ...]


def list_panels(results: Results) -> list[Panel]:
    """Return how a sweep over axes is drawn: of a grid one panel for each combination of the third axis and later ones.

    Returns:
        nothing for points by hand, and where there would be too many panels.
    """
    plan = results.plan
    if plan.spec.points:
        return []
    points = results.settings()
    if plan.spec.mode is Mode.ONE_AT_A_TIME:
        return [_alone(axis, points, plan.nominal or {}) for axis in plan.axes]
    varied = [axis for axis in plan.axes if len(axis.values) > 1] or list(plan.axes[:1])
    across = next((axis for axis in varied if all(map(is_number, axis.values))), varied[0])
    rest = [axis for axis in varied if axis is not across]
    by_line, by_panel = rest[:1], rest[1:]
    panels = []
    for shared in product(*(axis.values for axis in by_panel)):
        lines = []
        for value in by_line[0].values if by_line else (None,):
            wanted = dict(zip((axis.name for axis in by_panel), shared, strict=True))
            wanted |= {by_line[0].name: value} if by_line else {}
            chosen = [p for p in points if all(_same(p.values[name], v) for name, v in wanted.items())]
            label = f"{by_line[0].name} = {spell(value)}" if by_line else ""
            lines.append(_line(label, across.name, chosen))
        title = ", ".join(f"{axis.name} = {spell(value)}" for axis, value in zip(by_panel, shared, strict=True))
        panels.append(Panel(title=title, axis=across.name, lines=tuple(lines)))
    return panels if len(panels) <= MOST_PANELS and len(panels[0].lines) <= MOST_LINES else []


def _alone(axis: Axis, points: Sequence[Point], nominal: Any) -> Panel:
    """Return the panel of an axis that is varied alone; the nominal point is on it."""
    others = [name for name in nominal if name != axis.name]
    chosen = [p for p in points if all(_same(p.values[name], nominal[name]) for name in others)]
    by_value: dict[str, Point] = {}
    for point in chosen:
        by_value.setdefault(json.dumps(point.values[axis.name]), point)
    ordered = list(by_value.values())
    if all(is_number(p.values[axis.name]) for p in ordered):
        ordered.sort(key=lambda p: float(p.values[axis.name]))  # type: ignore[arg-type]  # numbers, as just checked
    else:  # as the sweep file has them, and the nominal value last if it is none of them
        order = [json.dumps(value) for value in axis.values]
        ordered.sort(key=lambda p: [*order, json.dumps(p.values[axis.name])].index(json.dumps(p.values[axis.name])))
    return Panel(title="", axis=axis.name, lines=(_line("", axis.name, ordered),))


def _line(label: str, axis: str, points: Sequence[Point]) -> Line:
    return Line(label=label, values=tuple(p.values[axis] for p in points), settings=tuple(p.setting for p in points))


def _same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def plot_curves(results: Results, measures: Sequence[str], path: Path, title: str) -> None:
    """Draw measures into a PNG file: one row of panels each; those of a single panel side by side.

    Raises:
        RunError: if the file cannot be written.
    """
    panels = list_panels(results)
    n_columns = len(panels) if len(panels) > 1 else min(2, len(measures))
    wraps = len(panels) > 1 and len(measures) == 1  # many panels of one measure: three in a row
    n_columns = min(3, n_columns) if wraps else n_columns
    cells = [(measure, panel) for measure in measures for panel in panels]
    n_rows = math.ceil(len(cells) / n_columns)
    figure = new_figure(0.8 + 4.2 * n_columns, 0.7 + 3.1 * n_rows, title)
    grid = figure.subplots(
        n_rows, n_columns, squeeze=False, sharey=True if wraps else "row" if len(panels) > 1 else False
    )
    for axes, (measure, panel) in zip(grid.ravel(), cells, strict=False):
        draw_panel(axes, results, panel, measure)
    for axes, (measure, _) in zip(grid.ravel(), cells, strict=False):  # only now: panels of a row share their limits
        if measure in BOUNDED:
            limit_to(axes, *BOUNDED[measure])
    for axes in grid.ravel()[len(cells) :]:
        axes.set_visible(False)
    if len(panels) > 1:
        for axes in grid[:, 1:].ravel():
            axes.set_ylabel("")
    _add_legend(figure, grid.ravel()[0], len(panels))
    write_png(figure, path)


def _add_legend(figure: Figure, first: Axes, n_panels: int) -> None:
    handles, labels = first.get_legend_handles_labels()
    if len(handles) > 1 and n_panels > 1:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(handles)), fontsize="small")
    elif len(handles) > 1:
        first.legend(fontsize="small")


def draw_panel(axes: Axes, results: Results, panel: Panel, measure: str) -> None:
    """Draw the curves of a measure, and dashed what belongs to it."""
    scale = Scale.of([value for line in panel.lines for value in line.values])
    colours = line_colours(len(panel.lines))
    shown = [measure, *(other for other in OTHERS.get(measure, ()) if results.measures(other))]
    for k, (line, colour) in enumerate(zip(panel.lines, colours, strict=True)):
        for name, dashes in zip(shown, ("-", "--", ":"), strict=False):
            style = f"{'os^Dv'[k % 5]}{dashes}"
            own = legend_of(results, name) if len(shown) > 1 else ""
            label = ", ".join(text for text in (line.label, own) if text)
            width = 1.3 + 1.4 * (1 - k / len(panel.lines)) * (len(panel.lines) > 2)  # one upon the other, both are seen
            _draw_line(axes, results, line, name, scale, colour, (style, width), label)
    scale.finish(axes, panel.axis)
    axes.set_ylabel(LABELS[measure])
    axes.ticklabel_format(axis="y", useOffset=False)
    if measure == "epochs_to_90":
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if measure.endswith("norm_ratio"):
        axes.axhline(1.0, color="black", linewidth=0.8, linestyle=":")
    axes.set_title(panel.title, fontsize="small")
    axes.grid(alpha=0.3)


def _draw_line(
    axes: Axes,
    results: Results,
    line: Line,
    measure: str,
    scale: Scale,
    colour: Colour,
    style: tuple[str, float],
    label: str,
) -> None:
    found = [
        (scale.place(value), results.estimate(setting, measure))
        for value, setting in zip(line.values, line.settings, strict=True)
        if results.by_seed(setting, measure)
    ]
    if not found:
        return
    x = [place for place, _ in found]
    mean = [e.mean for _, e in found]
    half = [0.0 if math.isnan(e.half_width) else e.half_width for _, e in found]
    axes.plot(x, mean, style[0], color=colour, linewidth=style[1], markersize=3 + style[1], label=label or None)
    low, high = ([m + sign * h for m, h in zip(mean, half, strict=True)] for sign in (-1, 1))
    if len(x) > 1:
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    elif half[0]:
        axes.errorbar(x, mean, yerr=half, color=colour, capsize=4)
    dots = [(place, value) for place, e in found if len(e.values) > 1 for value in e.values]
    if dots:
        axes.plot(*zip(*dots, strict=True), ".", color=colour, markersize=4, alpha=0.45)


def legend_of(results: Results, measure: str) -> str:
    """Return what tells a measure from those drawn with it."""
    if measure == "accuracy":
        return "after training" if results.measures("accuracy_before") else "with evaluate_with"
    return LABELS[measure].removeprefix("accuracy ")


def limit_to(axes: Axes, low: float, high: float) -> None:
    """Keep an axis to values that are possible; bands of few seeds go beyond."""
    bottom, top = axes.get_ylim()
    margin = 0.02 * (high - low)
    if top - bottom < LEAST_SPAN:  # round-off, else drawn as large as anything
        bottom, top = (bottom + top - LEAST_SPAN) / 2, (bottom + top + LEAST_SPAN) / 2
    axes.set_ylim(max(bottom, low - margin), min(top, high + margin))


def line_colours(n: int) -> list[Colour]:
    """Return colours for curves in order, told apart in print as well."""
    return ["C0"] if n == 1 else [colormaps["viridis"](0.85 * k / (n - 1)) for k in range(n)]


def plot_training_curves(results: Results, path: Path, title: str) -> None:
    """Draw the accuracy of trainings over their epochs, one curve a combination; of many, some from first to last."""
    points = results.settings()
    chosen = points if len(points) <= MOST_LINES else [points[round(k * (len(points) - 1) / 7)] for k in range(8)]
    figure = new_figure(9.5, 4.2, title)
    axes = figure.subplots()
    for point, colour in zip(chosen, line_colours(len(chosen)), strict=True):
        curves = [
            curve
            for p in results.points_of(point.setting)
            if p.key in results.outcomes
            and isinstance(curve := results.outcomes[p.key].measured.get("accuracy_by_epoch"), tuple)
        ]
        if not curves:
            continue
        n = min(map(len, curves))
        found = [estimate([curve[k] for curve in curves]) for k in range(n)]
        half = [0.0 if math.isnan(e.half_width) else e.half_width for e in found]
        x, mean = range(1, n + 1), [e.mean for e in found]
        axes.plot(x, mean, "o-", color=colour, markersize=3, label=name_of(point))
        if len(chosen) <= MOST_BANDS:
            low, high = ([m + sign * h for m, h in zip(mean, half, strict=True)] for sign in (-1, 1))
            axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
    limit_to(axes, 0.0, 1.0)
    axes.set_xlabel("epoch")
    axes.set_ylabel("accuracy, images held out, as trained")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside right upper", fontsize="small")
    write_png(figure, path)


def name_of(point: Point) -> str:
    """Return a combination as a person would call it."""
    return point.label or ", ".join(f"{name} = {spell(value)}" for name, value in point.values.items())
