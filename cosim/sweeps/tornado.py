"""Which effect alone costs how much: the change from the nominal point at both ends of each axis.

Equation: change = accuracy(one axis at its end, seed) - accuracy(nominal, seed), paired by seed; then the mean over the
seeds and its 95 % interval.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from ..training.plots import new_figure, write_png
from .axis_scale import is_number, spell
from .results import Estimate, Results, estimate


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """An axis at one of its ends.

    Args:
        value: there.
        change: of the accuracy from the nominal point.
    """

    value: Any
    change: Estimate


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Effect:
    """What an axis does alone.

    Args:
        axis: its name.
        nominal: its value at the nominal point.
        ends: lowest and highest value; of words those with the lowest and the highest accuracy; one if there is one.
    """

    axis: str
    nominal: Any
    ends: tuple[End, ...]

    @property
    def size(self) -> float:
        """The larger change."""
        return max((abs(end.change.mean) for end in self.ends), default=0.0)


def list_effects(results: Results, measure: str = "accuracy") -> list[Effect]:
    """Return the effect of each axis, largest first; of a sweep with mode one_at_a_time."""
    nominal = results.plan.nominal or {}
    points = results.settings()
    start = next((p for p in points if p.label == "nominal"), None)
    if start is None:
        return []
    before = results.by_seed(start.setting, measure)
    effects = []
    for axis in results.plan.axes:
        ends = []
        for value in axis.values:
            found = next(p for p in points if p is not start and _is_at(p.values, {**nominal, axis.name: value}))
            if json.dumps(value) != json.dumps(nominal[axis.name]):
                ends.append(End(value=value, change=_change(results, before, found.setting, measure)))
        ends = [end for end in ends if end.change.values]
        chosen = sorted(ends, key=lambda end: float(end.value) if _is_scale(ends) else end.change.mean)
        effects.append(Effect(axis=axis.name, nominal=nominal[axis.name], ends=tuple(chosen[:1] + chosen[1:][-1:])))
    return sorted(effects, key=lambda effect: -effect.size)


def _is_scale(ends: Sequence[End]) -> bool:
    return all(is_number(end.value) for end in ends)


def _is_at(values: Any, wanted: Any) -> bool:
    return json.dumps(dict(values), sort_keys=True) == json.dumps(wanted, sort_keys=True)


def _change(results: Results, before: dict[int, float], setting: int, measure: str) -> Estimate:
    """Return the change, paired by seed; what has no seed is paired with each."""
    after = results.by_seed(setting, measure)
    seeds = sorted(before.keys() | after.keys())
    only = {name: next(iter(found.values())) for name, found in (("a", after), ("b", before)) if len(found) == 1}
    pairs = [(after.get(seed, only.get("a")), before.get(seed, only.get("b"))) for seed in seeds]
    changes = [a - b for a, b in pairs if a is not None and b is not None]
    return estimate(changes, is_random=len(seeds) > 1 or results.plan.spec.seeds == 1)


def plot_tornado(effects: Sequence[Effect], nominal: Estimate, path: Path, title: str) -> None:
    """Draw the changes as bars from the nominal accuracy, the largest effect on top.

    Raises:
        RunError: if the file cannot be written.
    """
    figure = new_figure(9.0, 1.6 + 0.55 * len(effects), title)
    axes = figure.subplots()
    lowest = highest = 0.0
    for height, effect in enumerate(effects):
        for k, end in enumerate(effect.ends):
            place = height if len(effect.ends) == 1 else height + (-0.19, 0.19)[k]
            thickness = 0.6 if len(effect.ends) == 1 else 0.36
            change, half = end.change.mean, max(0.0, end.change.half_width)  # NaN, without an interval, is below none
            axes.barh(place, change, thickness, color=("C0", "C1")[k if len(effect.ends) > 1 else 0], alpha=0.75)
            if half > 0:
                axes.errorbar(change, place, xerr=half, fmt="none", color="black", capsize=3, linewidth=1)
            side = 1 if change > 0 else -1
            edge = change + half * side
            lowest, highest = min(lowest, change - half), max(highest, change + half)
            axes.annotate(
                f"{spell(end.value)}: {change:+.4f}",
                (edge, place),
                xytext=(4 * side, 0),
                textcoords="offset points",
                ha="left" if side > 0 else "right",
                va="center",
                fontsize="small",
            )
    axes.axvline(0.0, color="black", linewidth=0.9)
    pad = 0.28 * (highest - lowest or 1e-3)  # for the text at the bars' ends
    axes.set_xlim(lowest - pad * (lowest < 0), highest + pad * (highest > 0 or lowest == 0))
    labels = [f"{effect.axis}\n(nominal {spell(effect.nominal)})" for effect in effects]
    axes.set_yticks(range(len(effects)), labels, fontsize="small")
    axes.set_ylim(len(effects) - 0.5, -0.5)
    axes.set_xlabel(f"change of accuracy from the nominal point, {nominal.spell()}")
    axes.grid(axis="x", alpha=0.3)
    write_png(figure, path)
