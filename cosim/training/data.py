"""The images of a configuration: found, loaded, cut to size, and handed out batch by batch as floats.

Takes: the `[data]` section. Gives: an `ImageDataset` and its batches. Must not know: networks, circuits.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch
from rich.console import Console
from torch import Tensor

from digital.augmentation import Augmentation
from digital.datasets import load_digits
from digital.images import ImageDataset, ImageSet

from ..errors import ConfigError, RunError
from .config import Config, DataSection, DatasetKind, ImageChoice
from .trainer import Batch

CIFAR10_VARIABLE: Final = "TELLEGEN_CIFAR10"
DIGITS_TEST_SIZE: Final = 360
EVALUATION_BATCH: Final = 256  # samples relaxed at a time without gradients


def with_data(config: Config, path: Path | None) -> Config:
    """Return a configuration whose images are at a path, as given by --data; None changes nothing.

    Raises:
        ConfigError: if its data set needs no path.
    """
    if path is None:
        return config
    if config.data.name is DatasetKind.DIGITS:
        raise ConfigError(
            f'--data {path}: data.name = "digits" comes with scikit-learn and needs no path; leave it out'
        )
    return _with_path(config, path)


def with_absolute_data(config: Config) -> Config:
    """Return a configuration that finds its images from any working directory, for a run folder."""
    return config if config.data.path is None else _with_path(config, Path(config.data.path))


def _with_path(config: Config, path: Path) -> Config:
    data = config.data.model_copy(update={"path": str(path.expanduser().absolute())})
    return config.model_copy(update={"data": data})


def load_data(section: DataSection, console: Console | None = None) -> ImageDataset:
    """Load the images of a configuration.

    CIFAR-10 is looked for at `data.path`, then at $TELLEGEN_CIFAR10; where neither is set it is downloaded once.

    Args:
        section: what to load.
        console: shows a download's progress.

    Raises:
        DataError: if it is not there, damaged, or smaller than asked.
    """
    if section.name is DatasetKind.DIGITS:
        digits = load_digits(test_size=section.test_size or DIGITS_TEST_SIZE, seed=section.seed)
        return digits.resized(train_size=section.train_size, test_size=None, seed=section.seed)
    # Reading archives and downloading take imports that the digits do without.
    from digital.cifar10 import load_cifar10  # noqa: PLC0415
    from digital.subsets import listed_subset  # noqa: PLC0415

    whole = load_cifar10(_cifar10_source(section, console))
    chosen = listed_subset(whole) if section.images is ImageChoice.LISTED else whole
    return chosen.resized(train_size=section.train_size, test_size=section.test_size, seed=section.seed)


def _cifar10_source(section: DataSection, console: Console | None) -> Path:
    """Return where CIFAR-10 is; download it if nobody says."""
    named = section.path or os.environ.get(CIFAR10_VARIABLE)
    if named:
        return Path(named).expanduser()
    from digital.download import CIFAR10_URL, fetch_cifar10  # noqa: PLC0415

    return fetch_cifar10(url=section.url or CIFAR10_URL, progress=console)


def training_batch(
    data: ImageDataset, indices: Tensor, augmentation: Augmentation, generator: torch.Generator
) -> Batch:
    """Return the training images of some indices, varied at random, with their classes."""
    images = data.train.take(indices)
    return data.scaled(augmentation.apply(images.pixels, generator)), images.labels


def evaluation_batches(data: ImageDataset, images: ImageSet) -> Iterator[Batch]:
    """Yield images in order as they are."""
    for k in range(0, len(images), EVALUATION_BATCH):
        part = images.take(torch.arange(k, min(k + EVALUATION_BATCH, len(images))))
        yield data.scaled(part.pixels), part.labels


def check_images(place: Path, fingerprint: str, found: ImageDataset) -> None:
    """Refuse other images than those that a network was trained on.

    Raises:
        RunError: if they are others.
    """
    if fingerprint != found.fingerprint:
        raise RunError(
            f"{place}: was trained on other images than those found now ({len(found.train)} and {len(found.test)} held "
            "out); give the same ones, with --data PATH if they moved"
        )
