"""The data set that needs no file: 8x8 digits. Others are in `cifar10.py`, `cifar100.py` and `imagenet32.py`."""

from typing import Final

import torch

from .errors import DataError
from .images import ImageDataset, ImageSet
from .subsets import balanced_indices

_N_CLASSES: Final = 10


def load_digits(*, test_size: int, seed: int) -> ImageDataset:
    """Load the 1,797 handwritten digits of 8x8 pixels that come with scikit-learn; nothing is downloaded.

    Equation: scaled pixel = value / 8 - 1, so that 0 ... 16 becomes -1 ... 1.

    Args:
        test_size: images held out, equally many of each class (360 leaves 1,437).
        seed: which images these are.

    Returns:
        the same split on every machine and with every version of scikit-learn.

    Raises:
        DataError: if the test set would have less than one image a class or leave nothing to train on.
    """
    from sklearn.datasets import load_digits as load_bundled  # noqa: PLC0415  half a second that only digits need

    bundled = load_bundled()
    pixels = torch.tensor(bundled.data, dtype=torch.uint8).reshape(-1, 1, 8, 8)
    labels = torch.tensor(bundled.target, dtype=torch.int64)
    if not _N_CLASSES <= test_size <= len(labels) - _N_CLASSES:
        raise DataError(
            f"data: test_size = {test_size}, but there are {len(labels)} images of {_N_CLASSES} classes; "
            f"hold out between {_N_CLASSES} and {len(labels) - _N_CLASSES}"
        )
    test = balanced_indices(labels, test_size, seed=seed, what="data: held-out digits")
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    held_out[test] = True
    left = torch.bincount(labels[~held_out], minlength=_N_CLASSES)
    if not left.all():
        used_up = int((left == 0).nonzero()[0, 0])
        raise DataError(
            f"data: test_size = {test_size} would take all {int((labels == used_up).sum())} images of class {used_up}; "
            "hold out fewer"
        )
    return ImageDataset(
        name="digits",
        n_classes=_N_CLASSES,
        train=ImageSet(pixels=pixels[~held_out], labels=labels[~held_out]),
        test=ImageSet(pixels=pixels[held_out], labels=labels[held_out]),
        mean=(8.0,),
        std=(8.0,),
    )
