"""The data sets of a configuration: where they are, and who reads them.

Takes: the `[data]` section. Gives: a whole `ImageDataset`. Must not know: subsets, networks. What a loader imports is
imported when it is used: digits need neither archives nor downloads.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from rich.console import Console

from digital.errors import DataError
from digital.images import ImageDataset

from .dataset_facts import DATASETS
from .run_sections import DataSection, DatasetKind

DIGITS_TEST_SIZE: Final = 360


def load_whole(section: DataSection, console: Console | None = None) -> ImageDataset:
    """Load a data set: from `data.path`, or from where its variable says, or else from its home page.

    Args:
        section: which one; the digits are split as it says.
        console: shows a download's progress.

    Raises:
        DataError: if it is not there, or damaged.
    """
    match section.name:
        case DatasetKind.DIGITS:
            from digital.datasets import load_digits  # noqa: PLC0415

            return load_digits(test_size=section.test_size or DIGITS_TEST_SIZE, seed=section.seed)
        case DatasetKind.CIFAR10:
            from digital.cifar10 import load_cifar10  # noqa: PLC0415

            return load_cifar10(_source(section, _fetch_cifar10, console))
        case DatasetKind.CIFAR100:
            from digital.cifar100 import load_cifar100  # noqa: PLC0415

            return load_cifar100(_source(section, _fetch_cifar100, console))
        case DatasetKind.IMAGENET32:
            from digital.imagenet32 import load_imagenet32  # noqa: PLC0415

            return load_imagenet32(_source(section, _ask_for_imagenet32, console))


Fetch = Callable[[str | None, Console | None], Path]


def _source(section: DataSection, fetch: Fetch, console: Console | None) -> Path:
    """Return where a data set is; fetch it if nobody says."""
    variable = DATASETS[section.name].variable
    named = section.path or (os.environ.get(variable) if variable else None)
    return Path(named).expanduser() if named else fetch(section.url, console)


def _fetch_cifar10(url: str | None, console: Console | None) -> Path:
    from digital.download import CIFAR10_URL, fetch_cifar10  # noqa: PLC0415

    return fetch_cifar10(url=url or CIFAR10_URL, progress=console)


def _fetch_cifar100(url: str | None, console: Console | None) -> Path:
    from digital.download import CIFAR100_URL, fetch_cifar100  # noqa: PLC0415

    return fetch_cifar100(url=url or CIFAR100_URL, progress=console)


def _ask_for_imagenet32(_url: str | None, _console: Console | None) -> Path:
    from digital.imagenet32 import IMAGENET32_WAY_OUT  # noqa: PLC0415

    raise DataError(f'data.name = "imagenet32": there is no free download; {IMAGENET32_WAY_OUT}')
