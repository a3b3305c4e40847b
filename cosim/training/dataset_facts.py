"""What is known of the data sets before they are read; neither torch nor a file is needed for it."""

from dataclasses import dataclass
from typing import Final, final

from .run_sections import DatasetKind


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetFacts:
    """What is known of a data set before it is read.

    Args:
        shape: of one image, channels, height and width.
        n_classes: number of classes.
        largest: largest value of a pixel.
        variable: environment variable that says where it is; None of one that comes with a package.
    """

    shape: tuple[int, int, int]
    n_classes: int
    largest: float = 255.0
    variable: str | None = None


DATASETS: Final = {
    DatasetKind.DIGITS: DatasetFacts(shape=(1, 8, 8), n_classes=10, largest=16.0),
    DatasetKind.CIFAR10: DatasetFacts(shape=(3, 32, 32), n_classes=10, variable="TELLEGEN_CIFAR10"),
    DatasetKind.CIFAR100: DatasetFacts(shape=(3, 32, 32), n_classes=100, variable="TELLEGEN_CIFAR100"),
    DatasetKind.IMAGENET32: DatasetFacts(shape=(3, 32, 32), n_classes=1000, variable="TELLEGEN_IMAGENET32"),
}
