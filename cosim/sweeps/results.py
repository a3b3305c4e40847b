"""What a sweep came to: rows, and means over seeds with their confidence.

Equation of the band: mean +- t(0.975, n - 1) s / sqrt(n), Student's t, s the standard deviation over n seeds (n - 1).
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from pydantic import JsonValue
from scipy.special import stdtrit

from .plan import Plan
from .point import Outcome, Point

CONFIDENCE: Final = 0.95
# In the order of columns; what no point measured has no column.
MEASURES: Final = (
    "accuracy",
    "loss",
    "accuracy_before",
    "loss_before",
    "accuracy_as_trained",
    "train_accuracy",
    "best_accuracy",
    "epochs_to_90",
    "accuracy_by_epoch",
    "gradient_cosine",
    "gradient_norm_ratio",
    "estimate_cosine",
    "estimate_norm_ratio",
    "ngspice_accuracy",
    "ngspice_accuracy_difference",
    "ngspice_voltage_difference_v",
)

Row = dict[str, Any]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A mean with its confidence.

    Args:
        mean: over the seeds.
        half_width: of the 95 % interval; 0 where nothing is random, NaN for one seed of what is.
        values: of each seed.
    """

    mean: float
    half_width: float
    values: tuple[float, ...]

    def spell(self, form: str = ".4f") -> str:
        """Return "0.9812 ± 0.0040"; the mean alone where there is no interval."""
        text = format(self.mean, form)
        return text if not self.half_width > 0 else f"{text} ± {format(self.half_width, form.lstrip('+'))}"


def estimate(values: Sequence[float], *, is_random: bool = True) -> Estimate:
    """Return mean and 95 % interval of values of different seeds."""
    n = len(values)
    half = math.nan if is_random else 0.0
    if n > 1:
        half = float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2)) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Estimate(mean=float(np.mean(values)) if n else math.nan, half_width=half, values=tuple(values))


@final
class Results:
    """A plan with what came of its points.

    Args:
        plan: the sweep.
        outcomes: by key of the point.
    """

    def __init__(self, plan: Plan, outcomes: Mapping[str, Outcome]) -> None:
        self.plan, self.outcomes = plan, outcomes
        self._settings: dict[int, list[Point]] = {}
        for point in plan.points:
            self._settings.setdefault(point.setting, []).append(point)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the rows, in order."""
        points = self.plan.points
        found = {name for outcome in self.outcomes.values() for name in outcome.measured}
        return (
            "position",
            "setting",
            *(["label"] if any(point.label for point in points) else []),
            *(axis.name for axis in self.plan.axes),
            "seed",
            "status",
            *(name for name in MEASURES if name in found),
            "error",
            "wall_s",
            "cpu_s",
            "key",
        )

    def rows(self) -> list[Row]:
        """Return one row a point, by column; None where there is nothing."""
        columns = self.columns
        rows = []
        for point in self.plan.points:
            outcome = self.outcomes.get(point.key)
            row: Row = {
                "position": point.position,
                "setting": point.setting,
                "label": point.label,
                **{name: _plain(value) for name, value in point.values.items()},
                "seed": point.seed,
                "status": "missing" if outcome is None else "ok" if outcome.error is None else "failed",
                "key": point.key,
            }
            if outcome is not None:
                row |= {**outcome.measured, "error": outcome.error, "wall_s": outcome.wall_s, "cpu_s": outcome.cpu_s}
            rows.append({name: row.get(name) for name in columns})
        return rows

    @property
    def failed(self) -> tuple[Point, ...]:
        """The points that failed."""
        return tuple(p for p in self.plan.points if p.key in self.outcomes and self.outcomes[p.key].error is not None)

    def settings(self) -> list[Point]:
        """Return the first point of each combination of values, in order."""
        return [points[0] for points in self._settings.values()]

    def points_of(self, setting: int) -> list[Point]:
        """Return the points of a combination, one a seed."""
        return self._settings[setting]

    def by_seed(self, setting: int, measure: str) -> dict[int, float]:
        """Return what each seed of a combination measured; seeds without an answer are left out."""
        found = {}
        for point in self._settings[setting]:
            outcome = self.outcomes.get(point.key)
            value = None if outcome is None else outcome.measured.get(measure)
            if isinstance(value, int | float):
                found[point.seed] = float(value)
        return found

    def is_random(self, setting: int) -> bool:
        """Whether the seeds of a combination differ; one alone says nothing if it is all that was asked for."""
        return len(self._settings[setting]) > 1 or self.plan.spec.seeds == 1

    def estimate(self, setting: int, measure: str) -> Estimate:
        """Return the mean of a combination over its seeds."""
        return estimate(list(self.by_seed(setting, measure).values()), is_random=self.is_random(setting))

    def measures(self, measure: str) -> bool:
        """Whether any point measured something."""
        return any(isinstance(outcome.measured.get(measure), int | float) for outcome in self.outcomes.values())


def _plain(value: JsonValue) -> JsonValue:
    """Return a number or a word as it is, lists and tables as JSON."""
    return json.dumps(value) if isinstance(value, list | dict) else value
