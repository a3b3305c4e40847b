"""Image data sets as tensors: what a network is trained on and what is held out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor

from .errors import StageError


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImageDataset:
    """Images with their classes.

    Args:
        name: what results call it.
        n_classes: number of classes.
        x_train, x_test: [n, channels, height, width] pixels.
        y_train, y_test: [n] class, 0 to n_classes - 1.
    """

    name: str
    n_classes: int
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image."""
        return tuple(self.x_train.shape[1:])


def load_digits(*, test_size: int, seed: int) -> ImageDataset:
    """Load the 1,797 handwritten digits of 8x8 pixels that come with scikit-learn; nothing is downloaded.

    Equation: pixel = value / 8 - 1, so that 0 ... 16 becomes -1 ... 1.

    Args:
        test_size: images held out, equally many of each class (360 leaves 1,437).
        seed: which images these are.

    Returns:
        the same split on every machine and with every version of scikit-learn.

    Raises:
        StageError: if the test set would have less than one image a class or leave nothing to train on.
    """
    from sklearn.datasets import load_digits as load_bundled  # noqa: PLC0415  half a second that only digits need

    bundled = load_bundled()
    x = torch.tensor(bundled.data, dtype=torch.float32).reshape(-1, 1, 8, 8) / 8.0 - 1.0
    y = torch.tensor(bundled.target, dtype=torch.int64)
    test = _balanced_test_indices(y, test_size=test_size, seed=seed)
    held_out = torch.zeros(len(y), dtype=torch.bool)
    held_out[test] = True
    return ImageDataset(
        name="digits", n_classes=10, x_train=x[~held_out], y_train=y[~held_out], x_test=x[held_out], y_test=y[held_out]
    )


DATASETS: Final[dict[str, Callable[..., ImageDataset]]] = {"digits": load_digits}


def _balanced_test_indices(y: Tensor, *, test_size: int, seed: int) -> Tensor:
    """Draw as many samples of each class, give or take one, as test_size asks for."""
    classes = torch.unique(y).tolist()
    if not len(classes) <= test_size <= len(y) - len(classes):
        raise StageError(
            f"data: test_size = {test_size}, but there are {len(y)} images of {len(classes)} classes; "
            f"hold out between {len(classes)} and {len(y) - len(classes)}"
        )
    generator = torch.Generator().manual_seed(seed)
    share, rest = divmod(test_size, len(classes))
    drawn = []
    for position, label in enumerate(classes):
        members = torch.nonzero(y == label)[:, 0]
        count = share + (1 if position < rest else 0)
        if count >= len(members):
            raise StageError(
                f"data: test_size = {test_size} would take all {len(members)} images of class {label}; hold out fewer"
            )
        drawn.append(members[torch.randperm(len(members), generator=generator)[:count]])
    return torch.cat(drawn)
