"""The images of a configuration: found, loaded, cut to size, and handed out batch by batch as floats.

Takes: the `[data]` section. Gives: an `ImageDataset` and its batches. Must not know: networks, circuits.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch
from rich.console import Console
from torch import Tensor

from digital.augmentation import Augmentation, CropPadding
from digital.errors import DataError
from digital.images import ImageDataset, ImageSet

from ..errors import ConfigError, RunError
from .config import Config, DataSection, DatasetKind, ImageChoice
from .dataset_facts import DATASETS
from .datasets import load_whole
from .placement import CPU
from .trainer import Batch

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

    They are looked for at `data.path`, then where the data set's variable says; where neither is set CIFAR is
    downloaded once.

    Args:
        section: what to load.
        console: shows a download's progress.

    Raises:
        DataError: if it is not there, damaged, or smaller than asked, or is to be scaled with other numbers than one a
            channel.
    """
    dataset = _rescaled(load_whole(section, console), section)
    if section.images is ImageChoice.LISTED:
        from digital.subsets import listed_subset  # noqa: PLC0415

        dataset = listed_subset(dataset)
    # The digits were split where they were loaded.
    test_size = None if section.name is DatasetKind.DIGITS else section.test_size
    return dataset.resized(train_size=section.train_size, test_size=test_size, seed=section.seed)


def _rescaled(dataset: ImageDataset, section: DataSection) -> ImageDataset:
    """Return a data set whose pixels are scaled as a configuration says."""
    largest, n_channels = DATASETS[section.name].largest, dataset.shape[0]
    scaled = {"mean": dataset.mean, "std": dataset.std}
    for key, numbers in (("mean", section.mean), ("std", section.std)):
        if numbers is None:
            continue
        if len(numbers) != n_channels:
            raise DataError(
                f"data.{key} = {list(numbers)}: {len(numbers)} numbers, but the images of data.name = "
                f'"{section.name.value}" have {n_channels} channel(s); give one a channel, or leave it out'
            )
        scaled[key] = tuple(number * largest for number in numbers)
    return replace(dataset, mean=scaled["mean"], std=scaled["std"])


def augmentation_of(section: DataSection) -> Augmentation:
    """Return how training images are varied."""
    return Augmentation(flip=section.flip, crop=section.crop, padding=CropPadding(section.crop_padding.value))


def training_batch(
    data: ImageDataset,
    indices: Tensor,
    augmentation: Augmentation,
    generator: torch.Generator,
    device: torch.device = CPU,
) -> Batch:
    """Return the training images of some indices, varied at random, with their classes, on a device."""
    images = data.train.take(indices)
    pixels = augmentation.apply(images.pixels.to(device), generator)
    return data.scaled(pixels), images.labels.to(device)


def evaluation_batches(data: ImageDataset, images: ImageSet, device: torch.device = CPU) -> Iterator[Batch]:
    """Yield images in order as they are, on a device."""
    for k in range(0, len(images), EVALUATION_BATCH):
        part = images.take(torch.arange(k, min(k + EVALUATION_BATCH, len(images))))
        yield data.scaled(part.pixels.to(device)), part.labels.to(device)


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
