"""Where the values of an axis stand in a plot: numbers to scale, linear or logarithmic, words side by side."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, final

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator
from pydantic import JsonValue

DECADES: Final = 30.0  # largest over smallest value from which numbers are drawn on a logarithmic axis
MOST_TICKS: Final = 9


def is_number(value: JsonValue) -> bool:
    """Whether a value can be drawn to scale."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def spell(value: JsonValue) -> str:
    """Return a value as a person writes it, short."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value if isinstance(value, str) else json.dumps(value)
    return f"{value:.4g}"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """The horizontal axis of a plot.

    Args:
        values: that it shows.
        is_numeric: whether all of them are numbers.
    """

    values: tuple[JsonValue, ...]
    is_numeric: bool

    @staticmethod
    def of(values: Sequence[JsonValue]) -> "Scale":
        """Return the scale for some values; words and lists make it one of categories, in the order given."""
        unique = tuple({json.dumps(value, sort_keys=True): value for value in values}.values())
        return Scale(values=unique, is_numeric=all(map(is_number, unique)))

    def place(self, value: JsonValue) -> float:
        """Return where a value stands."""
        return float(value) if self.is_numeric and isinstance(value, int | float) else float(self.values.index(value))

    def finish(self, axes: Axes, label: str) -> None:
        """Set scale, ticks and label."""
        axes.set_xlabel(label)
        if not self.is_numeric:
            is_long = sum(len(spell(value)) for value in self.values) > 40
            ticks = [spell(value) for value in self.values]
            axes.set_xticks(
                range(len(ticks)), ticks, rotation=30 if is_long else 0, ha="right" if is_long else "center"
            )
            axes.set_xlim(-0.4, len(ticks) - 0.6)
            return
        numbers = sorted(self.place(value) for value in self.values)
        positive = [number for number in numbers if number > 0]
        if numbers[0] < 0 or len(positive) < 3 or positive[-1] < DECADES * positive[0]:
            if len(numbers) <= MOST_TICKS and _are_apart(numbers):
                axes.set_xticks(numbers, [spell(number) for number in numbers])
            return
        if numbers[0] == 0:
            axes.set_xscale("symlog", linthresh=positive[0], linscale=0.4)
        else:
            axes.set_xscale("log")
        if len(numbers) <= MOST_TICKS:
            axes.xaxis.set_major_locator(FixedLocator(numbers))
            axes.set_xticks(numbers, [spell(number) for number in numbers])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_minor_formatter(NullFormatter())


def _are_apart(numbers: Sequence[float]) -> bool:
    """Whether ticks at all numbers could be read."""
    gaps = [b - a for a, b in pairwise(numbers)]
    return not gaps or min(gaps) >= 0.06 * (numbers[-1] - numbers[0])
