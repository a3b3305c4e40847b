"""Trainings compared: mean and standard deviation over seeds, and how far each variant is from a reference."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from rich.table import Table

from ..training.result import Result

WITHIN: Final = 2.0  # standard errors by which a difference counts as none


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """A mean accuracy minus the reference's.

    Args:
        value: the difference.
        standard_error: of it, from the spread over the seeds of both; NaN with a single seed.
    """

    value: float
    standard_error: float

    @property
    def is_within(self) -> bool:
        """Whether it is no larger than two standard errors."""
        return abs(self.value) <= WITHIN * self.standard_error


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One variant over its seeds.

    Args:
        name, title: of the variant.
        accuracies: on the images held out, after the last epoch.
        wall_s: s each training took.
        relaxations: equilibria found in each.
        iterations: steps that these took.
        commits: of the source that trained it, as far as known.
    """

    name: str
    title: str
    accuracies: tuple[float, ...]
    wall_s: tuple[float, ...]
    relaxations: tuple[int, ...]
    iterations: tuple[int, ...]
    commits: tuple[str, ...]

    @staticmethod
    def from_results(name: str, title: str, results: Sequence[Result]) -> "Row":
        """Gather the results of a variant's trainings."""
        commits = {result.versions.get("commit") or "unknown" for result in results}
        return Row(
            name=name,
            title=title,
            accuracies=tuple(result.test_accuracy for result in results),
            wall_s=tuple(result.wall_s for result in results),
            relaxations=tuple(result.relaxations for result in results),
            iterations=tuple(result.iterations for result in results),
            commits=tuple(sorted(commits)),
        )

    @property
    def mean(self) -> float:
        """Mean accuracy."""
        return float(np.mean(self.accuracies))

    @property
    def std(self) -> float:
        """Standard deviation over the seeds (n - 1); NaN for one."""
        return float(np.std(self.accuracies, ddof=1)) if len(self.accuracies) > 1 else math.nan

    def minus(self, reference: "Row") -> Difference:
        """Return the difference of the means: standard error = sqrt(std^2 / n + std_ref^2 / n_ref)."""
        variances = [row.std**2 / len(row.accuracies) for row in (self, reference)]
        return Difference(value=self.mean - reference.mean, standard_error=math.sqrt(sum(variances)))


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Variants side by side.

    Args:
        rows: one a variant.
        reference: name of the row that the others are compared with, if it is there.
        command: how the comparison was made.
    """

    rows: tuple[Row, ...]
    reference: str
    command: str

    def difference(self, row: Row) -> Difference | None:
        """Return a row minus the reference; None for the reference itself, and without one."""
        found = [other for other in self.rows if other.name == self.reference]
        return row.minus(found[0]) if found and found[0] is not row else None

    def to_json(self) -> dict[str, Any]:
        """Return what study.json holds."""
        return {"command": self.command, "reference": self.reference, "rows": [self._row_json(r) for r in self.rows]}

    def _row_json(self, row: Row) -> dict[str, Any]:
        difference = self.difference(row)
        is_judged = difference is not None and math.isfinite(difference.standard_error)
        return {
            "name": row.name,
            "title": row.title,
            "test_accuracy": list(row.accuracies),
            "mean": row.mean,
            "std": row.std,
            "wall_s": list(row.wall_s),
            "relaxations": list(row.relaxations),
            "iterations": list(row.iterations),
            "commits": list(row.commits),
            "minus_reference": None if difference is None else difference.value,
            "standard_error": None if difference is None else difference.standard_error,
            "within_two_standard_errors": difference.is_within if difference is not None and is_judged else None,
        }

    def _cells(self) -> list[list[str]]:
        """Return the table: titles first."""
        lines = [["training", "test accuracy", "seeds", "minus exact", "time", "relaxations"]]
        for row in self.rows:
            difference = self.difference(row)
            minus = "" if difference is None else f"{difference.value:+.3f} ± {difference.standard_error:.3f}"
            spread = f" ± {row.std:.3f}" if len(row.accuracies) > 1 else ""
            lines.append(
                [
                    row.title,
                    f"{row.mean:.3f}{spread}",
                    ", ".join(f"{accuracy:.3f}" for accuracy in row.accuracies),
                    minus,
                    f"{np.mean(row.wall_s):.0f} s",
                    f"{np.mean(row.relaxations):,.0f}",
                ]
            )
        return lines

    def table(self) -> Table:
        """Return the table for a terminal."""
        table = Table()
        for k, cells in enumerate(self._cells()):
            shown = cells[:2] + cells[3:]  # without each seed's: the whole fits 80 columns
            if k == 0:
                for title in shown:
                    table.add_column(title)
            else:
                table.add_row(*shown)
        return table

    def verdicts(self) -> list[str]:
        """Say for each variant but the reference whether its difference is within two standard errors."""
        lines = []
        for row in self.rows:
            difference = self.difference(row)
            if difference is not None and math.isfinite(difference.standard_error):
                relation = "within" if difference.is_within else "NOT within"
                lines.append(
                    f"{row.title}: {difference.value:+.4f} from the exact gradient, {relation} two standard errors "
                    f"of {difference.standard_error:.4f}"
                )
        return lines

    def markdown(self) -> str:
        """Return the table as Markdown, with the command and the commits below it."""
        head, *body = self._cells()
        lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *body)]
        commits = sorted({commit for row in self.rows for commit in row.commits})
        note = "Mean and standard deviation over the seeds; the difference with its standard error."
        return "\n".join([*lines, "", note, f"Command: `{self.command}`; commit {', '.join(commits)}.", ""])
