"""What a run or an evaluation came to."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, final

from ..errors import RunError


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The outcome of a training run or of an evaluation.

    Args:
        run: the run folder.
        test_accuracy, train_accuracy: fractions of the held-out and of the training images.
        test_top5, train_top5: fractions whose class is among the five likeliest; None of five classes or fewer, where
            it says nothing, and in results of earlier versions.
        test_loss, train_loss: mean cross-entropies.
        epochs: epochs trained.
        best_epoch, best_accuracy: the epoch with the highest accuracy on the held-out images; None before the first.
        n_train, n_test: images.
        wall_s: s — spent, over all sittings.
        counts: relaxations, iterations and conversions of all blocks; free and nudged phases count alike.
        simulator: its name; None where there is no circuit.
        gradient: where the blocks' gradients come from.
        seed: of the training.
        versions: of Python, of the packages, and of ngspice where it was used.
    """

    run: Path
    test_accuracy: float
    train_accuracy: float
    test_loss: float
    train_loss: float
    epochs: int
    best_epoch: int | None
    best_accuracy: float | None
    n_train: int
    n_test: int
    wall_s: float
    counts: dict[str, int]
    simulator: str | None
    gradient: str
    seed: int
    versions: dict[str, str | None]
    test_top5: float | None = None
    train_top5: float | None = None

    @property
    def relaxations(self) -> int:
        """Equilibria found, free and nudged."""
        return self.counts.get("relaxations", 0)

    @property
    def iterations(self) -> int:
        """Newton's, ngspice's or Hopfield blocks' steps of all of them."""
        return self.counts.get("iterations", 0)

    def to_json(self) -> dict[str, Any]:
        """Return what result.json holds."""
        return {
            "test_accuracy": self.test_accuracy,
            "train_accuracy": self.train_accuracy,
            "test_top5": self.test_top5,
            "train_top5": self.train_top5,
            "test_loss": self.test_loss,
            "train_loss": self.train_loss,
            "epochs": self.epochs,
            "best_epoch": self.best_epoch,
            "best_accuracy": self.best_accuracy,
            "n_train": self.n_train,
            "n_test": self.n_test,
            "wall_s": self.wall_s,
            **self.counts,
            "simulator": self.simulator,
            "gradient": self.gradient,
            "seed": self.seed,
            "versions": self.versions,
        }

    @staticmethod
    def from_json(run: Path, saved: Mapping[str, Any]) -> "Result":
        """Read what `to_json` returned.

        Args:
            run: the run folder.
            saved: the content of its result.json.

        Raises:
            RunError: if something is missing.
        """
        names = [field.name for field in fields(Result) if field.name not in {"run", "counts"}]
        saved = {**dict.fromkeys(("test_top5", "train_top5")), **saved}  # earlier versions have none
        missing = [name for name in names if name not in saved]
        if missing:
            raise RunError(f"{run / 'result.json'}: holds no '{missing[0]}'; remove it and go on with --resume")
        values: dict[str, Any] = {name: saved[name] for name in names}
        for name in ("test_loss", "train_loss"):
            values[name] = math.nan if values[name] is None else values[name]
        counts = {name: value for name, value in saved.items() if name not in names}
        return Result(run=run, counts=counts, **values)

    def lines(self) -> tuple[str, str]:
        """Return the result for people: how good the network is, and what it took."""
        epochs = "1 epoch" if self.epochs == 1 else f"{self.epochs} epochs"
        where = "no circuit" if self.simulator is None else f"{self.simulator}, {self.relaxations:,} relaxations"
        top5 = "" if self.test_top5 is None else f", top-5 {self.test_top5:.4f}"
        accuracy = f"test accuracy {self.test_accuracy:.4f} on {self.n_test} images"
        return (
            f"{accuracy} (training {self.train_accuracy:.4f}){top5}",
            f"{epochs}, {where}, {self.wall_s:.1f} s",
        )
