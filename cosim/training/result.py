"""What a run or an evaluation came to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The outcome of a training run or of an evaluation.

    Args:
        run: the run folder.
        test_accuracy, train_accuracy: fractions of the held-out and of the training images.
        test_loss, train_loss: mean cross-entropies.
        epochs: epochs trained.
        n_train, n_test: images.
        wall_s: s — spent, over all sittings.
        counts: relaxations, iterations and conversions of all blocks; free and nudged phases count alike.
        simulator: its name.
        seed: of the training.
        versions: of Python, of the packages, and of ngspice where it was used.
    """

    run: Path
    test_accuracy: float
    train_accuracy: float
    test_loss: float
    train_loss: float
    epochs: int
    n_train: int
    n_test: int
    wall_s: float
    counts: dict[str, int]
    simulator: str
    seed: int
    versions: dict[str, str | None]

    @property
    def relaxations(self) -> int:
        """Equilibria found, free and nudged."""
        return self.counts.get("relaxations", 0)

    def to_json(self) -> dict[str, Any]:
        """Return what result.json holds."""
        return {
            "test_accuracy": self.test_accuracy,
            "train_accuracy": self.train_accuracy,
            "test_loss": self.test_loss,
            "train_loss": self.train_loss,
            "epochs": self.epochs,
            "n_train": self.n_train,
            "n_test": self.n_test,
            "wall_s": self.wall_s,
            **self.counts,
            "simulator": self.simulator,
            "seed": self.seed,
            "versions": self.versions,
        }

    def lines(self) -> tuple[str, str]:
        """Return the result for people: how good the network is, and what it took."""
        epochs = "1 epoch" if self.epochs == 1 else f"{self.epochs} epochs"
        return (
            f"test accuracy {self.test_accuracy:.4f} on {self.n_test} images (training {self.train_accuracy:.4f})",
            f"{epochs}, {self.simulator}, {self.relaxations:,} relaxations, {self.wall_s:.1f} s",
        )
