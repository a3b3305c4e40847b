"""What cutting a network comes to: one row a cut and method, and how far EP is from ID in each cut."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from rich.table import Table

from .comparison import Difference, Row
from .splitting_networks import Energy, Method, SplitNetwork

CSV_COLUMNS = (
    "name",
    "kind",
    "couplings",
    "cut",
    "blocks",
    "gradient",
    "simulator",
    "test_accuracy",
    "mean",
    "std",
    "wall_s",
    "relaxations",
    "iterations",
    "minus_id",
    "standard_error",
    "within_two_standard_errors",
)

_TITLES = ("network", "blocks", "trained by", "top-1", "seeds", "minus ID", "time", "relaxations", "iterations")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One network in one cut, trained in one way.

    Args:
        network: that is cut.
        block_size: couplings of a block.
        method: what trains it.
    """

    network: SplitNetwork
    block_size: int
    method: Method

    @property
    def name(self) -> str:
        """Of its folder: "hopfield-l6-bs2-ep"."""
        return f"{self.network.name}-bs{self.block_size}-{self.method.value}"

    @property
    def title(self) -> str:
        """How people read it."""
        return f"{self.network.title}, {self.cut}, {self.method.title}"

    @property
    def cut(self) -> str:
        """The cut in words: "3 blocks of 2"."""
        n = self.network.n_couplings // self.block_size
        return f"{n} block{'s' if n > 1 else ''} of {self.block_size}"

    @property
    def reference(self) -> "Variant":
        """The same network and cut, trained by ID."""
        return Variant(network=self.network, block_size=self.block_size, method=Method.ID)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SplitRow:
    """A variant and its trainings."""

    variant: Variant
    row: Row

    @property
    def mean_wall_s(self) -> float:
        """Time of a training, s: mean over the seeds, as for the other two."""
        return float(np.mean(self.row.wall_s))

    @property
    def mean_relaxations(self) -> float:
        """Equilibria of a training."""
        return float(np.mean(self.row.relaxations))

    @property
    def mean_iterations(self) -> float:
        """Steps of a training."""
        return float(np.mean(self.row.iterations))


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Splitting:
    """All rows of a study.

    Args:
        rows: those whose trainings are all there.
        command: how the study was made.
    """

    rows: tuple[SplitRow, ...]
    command: str

    @property
    def networks(self) -> tuple[SplitNetwork, ...]:
        """The networks that there are rows of, in order."""
        return tuple({r.variant.network.name: r.variant.network for r in self.rows}.values())

    def minus_id(self, split: SplitRow) -> Difference | None:
        """Return a row's accuracy minus ID's in the same cut; None for ID itself, and without it."""
        if split.variant.method is Method.ID:
            return None
        name = split.variant.reference.name
        found = [other.row for other in self.rows if other.variant.name == name]
        return split.row.minus(found[0]) if found else None

    @property
    def worst_accuracy(self) -> float:
        """The lowest accuracy of any training."""
        return min((accuracy for split in self.rows for accuracy in split.row.accuracies), default=math.nan)

    @property
    def trained_s(self) -> float:
        """Time of all trainings together, s, each on its core."""
        return sum(sum(split.row.wall_s) for split in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Return what study.json holds."""
        return {"command": self.command, "rows": [self.row_json(split) for split in self.rows]}

    def row_json(self, split: SplitRow) -> dict[str, Any]:
        """Return a row for programs; simulator is null where there is no circuit."""
        variant, row, difference = split.variant, split.row, self.minus_id(split)
        is_judged = difference is not None and math.isfinite(difference.standard_error)
        has_circuit = variant.network.energy is Energy.RESISTIVE
        return {
            "name": variant.name,
            "kind": variant.network.energy.value,
            "couplings": variant.network.n_couplings,
            "cut": variant.block_size,
            "blocks": variant.network.n_couplings // variant.block_size,
            "gradient": variant.method.gradient.value,
            "simulator": variant.method.simulator.value if has_circuit else None,
            "test_accuracy": list(row.accuracies),
            "mean": row.mean,
            "std": row.std,
            "wall_s": list(row.wall_s),
            "relaxations": list(row.relaxations),
            "iterations": list(row.iterations),
            "minus_id": None if difference is None else difference.value,
            "standard_error": None if difference is None else difference.standard_error,
            "within_two_standard_errors": difference.is_within if difference is not None and is_judged else None,
            "commits": list(row.commits),
        }

    def _cells(self, split: SplitRow) -> list[str]:
        """Return a line of the table."""
        variant, row, difference = split.variant, split.row, self.minus_id(split)
        spread = f" ± {row.std:.3f}" if len(row.accuracies) > 1 else ""
        minus = ""
        if difference is not None:
            error = f" ± {difference.standard_error:.3f}" if math.isfinite(difference.standard_error) else ""
            minus = f"{difference.value:+.3f}{error}"
        return [
            variant.network.title,
            f"{variant.network.n_couplings // variant.block_size} × {variant.block_size}",
            variant.method.title,
            f"{row.mean:.3f}{spread}",
            ", ".join(f"{accuracy:.3f}" for accuracy in row.accuracies),
            minus,
            f"{split.mean_wall_s:.0f} s",
            f"{split.mean_relaxations / 1e6:.2f} M",
            f"{split.mean_iterations / 1e6:.2f} M",
        ]

    def tables(self) -> list[Table]:
        """Return a table for each network, for a terminal: without each seed's accuracy and the relaxations."""
        kept = ("blocks", "trained by", "top-1", "minus ID", "time", "iterations")
        tables = []
        for network in self.networks:
            table = Table(title=network.title, title_justify="left")
            for title in kept:
                shown = "steps" if title == "iterations" else title  # the whole fits 80 columns
                table.add_column(shown, justify="right" if title in {"time", "iterations"} else "left", no_wrap=True)
            for split in self.rows:
                if split.variant.network is network:
                    cells = dict(zip(_TITLES, self._cells(split), strict=True))
                    table.add_row(*(cells[title] for title in kept))
            tables.append(table)
        return tables

    def verdicts(self) -> list[str]:
        """Say for each cut how far EP is from ID, and whether that is within two standard errors."""
        lines = []
        for split in self.rows:
            difference = self.minus_id(split)
            if difference is None:
                continue
            text = f"{split.variant.title} minus ID: {difference.value:+.4f}"
            if math.isfinite(difference.standard_error):
                relation = "within" if difference.is_within else "NOT within"
                text += f", {relation} two standard errors of {difference.standard_error:.4f}"
            lines.append(text)
        if self.rows:
            lines.append(f"lowest accuracy of any training: {self.worst_accuracy:.4f}")
        return lines

    def markdown(self) -> str:
        """Return the table as Markdown, with the command and the commits below it."""
        body = [self._cells(split) for split in self.rows]
        lines = [f"| {' | '.join(cells)} |" for cells in (_TITLES, ["---"] * len(_TITLES), *body)]
        commits = sorted({commit for split in self.rows for commit in split.row.commits})
        note = (
            "Top-1 on the images held out: mean and standard deviation over the seeds; the difference with its "
            "standard error. Time, relaxations and iterations of one training, of all blocks and samples together."
        )
        known = f"; commit {', '.join(commits)}" if commits else ""
        return "\n".join([*lines, "", note, f"Command: `{self.command}`{known}.", ""])

    def csv_rows(self) -> Sequence[dict[str, Any]]:
        """Return the rows for a CSV file of `CSV_COLUMNS`."""
        return [{name: self.row_json(split)[name] for name in CSV_COLUMNS} for split in self.rows]
