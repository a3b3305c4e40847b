"""Images with their classes, as bytes: what a network is trained on and what is held out.

Takes: tensors that a loader has read. Gives: `ImageSet`, `ImageDataset`. Must not know: files, networks.
Pixels stay uint8, since a data set may have a million images; `ImageDataset.scaled` makes floats of one batch.
"""

import hashlib
import math
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from .errors import DataError
from .subsets import balanced_indices


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImageSet:
    """Images with their classes; the tensors are shared, so leave them as they are.

    Args:
        pixels: [n, channels, height, width] uint8.
        labels: [n] int64, class, counted from 0.
        index: [n] int64, position of each image in the official training set; None where that is unknown, or where the
            images are from the official test set.

    Raises:
        DataError: if a tensor has another shape or type, or an index is negative.
    """

    pixels: Tensor
    labels: Tensor
    index: Tensor | None = None

    def __post_init__(self) -> None:
        if self.pixels.dtype != torch.uint8 or self.pixels.ndim != 4:
            raise DataError(
                f"image set: pixels are {self.pixels.dtype} of shape {tuple(self.pixels.shape)}; "
                "give uint8 of shape [n, channels, height, width]"
            )
        for name, values in (("labels", self.labels), ("index", self.index)):
            if values is not None and (values.dtype != torch.int64 or values.shape != self.pixels.shape[:1]):
                raise DataError(
                    f"image set: {name}: {values.dtype}, shape {tuple(values.shape)} for {len(self.pixels)} images; "
                    "give one int64 number an image"
                )
        if self.index is not None and len(self.index) and int(self.index.min()) < 0:
            raise DataError(f"image set: index {int(self.index.min())}; positions are counted from 0")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> "ImageSet":
        """Return some of the images, in the order asked for.

        Args:
            indices: [m] int64, rows of this set.
        """
        index = None if self.index is None else self.index[indices]
        return ImageSet(pixels=self.pixels[indices], labels=self.labels[indices], index=index)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ImageDataset:
    """Images to train on and images held out, of one shape.

    Args:
        name: what results call it.
        n_classes: number of classes.
        train: images to train on.
        test: images held out.
        mean: [channels] pixel units (0 to 255, or 0 to 16), what `scaled` maps to zero.
        std: [channels] pixel units, what `scaled` maps to one above it.

    Raises:
        DataError: if a set is empty, the two differ in shape, a label is no class, or mean and std do not fit.
    """

    name: str
    n_classes: int
    train: ImageSet
    test: ImageSet
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        for which, images in (("training", self.train), ("held-out", self.test)):
            if not len(images):
                raise DataError(f"{self.name}: no {which} images; give one or more")
            low, high = int(images.labels.min()), int(images.labels.max())
            if low < 0 or high >= self.n_classes:
                raise DataError(
                    f"{self.name}: labels of the {which} images go from {low} to {high}; "
                    f"{self.n_classes} classes are 0 to {self.n_classes - 1}"
                )
        if self.test.pixels.shape[1:] != self.train.pixels.shape[1:]:
            raise DataError(
                f"{self.name}: training images of shape {self.shape}, but held-out images of shape "
                f"{tuple(self.test.pixels.shape[1:])}; make them equal"
            )
        fits = len(self.mean) == len(self.std) == self.shape[0] and all(map(math.isfinite, (*self.mean, *self.std)))
        if not fits or min(self.std) <= 0:
            raise DataError(
                f"{self.name}: mean = {self.mean}, std = {self.std}; "
                f"give {self.shape[0]} finite numbers each, one a channel, std above zero"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one image: channels, height, width."""
        _, channels, height, width = self.train.pixels.shape
        return channels, height, width

    @property
    def fingerprint(self) -> str:
        """SHA-256 of shapes, pixels and labels of both sets, computed anew each time (0.2 s for 60,000 images)."""
        digest = hashlib.sha256()
        for images in (self.train, self.test):
            for values, kind in ((images.pixels, "u1"), (images.labels, "<i8")):
                digest.update(f"{kind} {list(values.shape)}\n".encode())
                digest.update(values.cpu().contiguous().numpy().astype(kind, copy=False).data)
        return digest.hexdigest()

    def scaled(self, pixels: Tensor) -> Tensor:
        """Return pixels as numbers for a network.

        Equation: x = (pixel - mean) / std, channel by channel.

        Args:
            pixels: [..., channels, height, width] uint8, on any device.

        Returns:
            [..., channels, height, width] float32, on the same device.
        """
        mean, std = (torch.tensor(each, dtype=torch.float32, device=pixels.device) for each in (self.mean, self.std))
        return (pixels.to(torch.float32) - mean[:, None, None]) / std[:, None, None]

    def resized(self, *, train_size: int | None, test_size: int | None, seed: int) -> "ImageDataset":
        """Return a data set of fewer images, as many of each class, give or take one.

        Args:
            train_size: images to train on; None for all.
            test_size: images held out; None for all.
            seed: which images these are.

        Raises:
            DataError: if there are too few images, or fewer are asked for than there are classes.
        """
        sets = []
        for which, images, size in (("training", self.train, train_size), ("held-out", self.test, test_size)):
            what = f"{self.name}: {which} images"
            kept = images
            if size is not None:
                kept = images.take(balanced_indices(images.labels, size, seed=seed, what=what))
            sets.append(kept)
        return replace(self, train=sets[0], test=sets[1])
