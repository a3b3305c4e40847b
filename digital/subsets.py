"""Which images of a data set: balanced ones drawn by a seed, or those of a list.

Takes: labels, or a data set that knows where its images stand in the official training set. Gives: rows, or the listed
data set. Must not know: files of images.
"""

import json
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from .errors import DataError

if TYPE_CHECKING:
    from .images import ImageDataset, ImageSet

_LIST: Final = "cifar10_subset.json"
_WAYS_OUT: Final = "use the official archive, cifar-10-python.tar.gz, or all images that there are in place of the list"


def balanced_indices(labels: Tensor, size: int, *, seed: int, what: str) -> Tensor:
    """Draw as many images of each class, give or take one.

    Args:
        labels: [n] int64, class of each image.
        size: images to draw; where it is no multiple of the number of classes, the first classes get one more.
        seed: which images these are.
        what: what the images are, for error messages ("cifar10: training images").

    Returns:
        [size] int64, rows in ascending order, so that the images keep the order they had.

    Raises:
        DataError: if there are too few images, in all or of one class, or size is below the number of classes.
    """
    classes = torch.unique(labels).tolist()
    if not max(1, len(classes)) <= size <= len(labels):
        raise DataError(
            f"{what}: {size} asked for, but there are {len(labels)} images of {len(classes)} classes; "
            f"ask for {len(classes)} to {len(labels)}, or for all"
        )
    generator = torch.Generator().manual_seed(seed)
    share, rest = divmod(size, len(classes))
    drawn = []
    for position, label in enumerate(classes):
        members = torch.nonzero(labels == label)[:, 0]
        count = share + (1 if position < rest else 0)
        if count > len(members):
            fewest = int(torch.bincount(labels)[classes].min())
            raise DataError(
                f"{what}: {size} asked for, as many of each of the {len(classes)} classes, but of class {label} there "
                f"are {len(members)} in place of {count}; ask for {fewest * len(classes)} or fewer, or for all"
            )
        drawn.append(members[torch.randperm(len(members), generator=generator)[:count]])
    return torch.cat(drawn).sort().values


def listed_subset(dataset: "ImageDataset") -> "ImageDataset":
    """Return the 3,000 training images and 660 held-out images of the README, in the order of the list.

    All are from CIFAR-10's official training set, the held-out ones too: accuracy on them is a validation figure.

    Args:
        dataset: CIFAR-10, or a part of it with the images' official positions; each image is taken from whichever of
            its two sets has it.

    Raises:
        DataError: if the positions are unknown, or images of the list are not there.
    """
    listing = json.loads(resources.files(__package__).joinpath(_LIST).read_text(encoding="utf-8"))
    wanted_train, wanted_test = (torch.tensor(listing[key], dtype=torch.int64) for key in ("train", "test"))
    indexed = [images for images in (dataset.train, dataset.test) if images.index is not None]
    if not indexed:
        raise DataError(
            f"{dataset.name}: the listed images are found by their position in the official training set, which is "
            f"unknown here (an .npz gives it in idx_train and idx_test); {_WAYS_OUT}"
        )
    wanted = torch.cat([wanted_train, wanted_test])
    missing = ~torch.isin(wanted, torch.cat([images.index for images in indexed if images.index is not None]))
    if missing.any():
        raise DataError(
            f"{dataset.name}: {int(missing.sum()):,} of the {len(wanted):,} listed images are missing here, the first "
            f"at official position {int(wanted[missing][0])}; {_WAYS_OUT}"
        )
    return replace(dataset, train=_look_up(indexed, wanted_train), test=_look_up(indexed, wanted_test))


def _look_up(indexed: "list[ImageSet]", wanted: Tensor) -> "ImageSet":
    """Return the images at these official positions, all of which are in one of the sets."""
    pixels = torch.empty((len(wanted), *indexed[0].pixels.shape[1:]), dtype=torch.uint8)
    labels = torch.empty_like(wanted)
    for images in indexed:
        if images.index is None:
            continue
        row_of = torch.full((1 + int(torch.maximum(images.index.max(), wanted.max())),), -1)
        row_of[images.index] = torch.arange(len(images))
        here = row_of[wanted] >= 0
        rows = row_of[wanted[here]]
        pixels[here], labels[here] = images.pixels[rows], images.labels[rows]
    return replace(indexed[0], pixels=pixels, labels=labels, index=wanted)
