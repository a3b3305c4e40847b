"""Fetch an official archive of CIFAR once, into the user's cache.

Takes: an address and a checksum. Gives: the path of the archive. Must not know: what is inside (`cifar.py`).
"""

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, final

import pooch
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from .cifar import CifarFormat
from .cifar10 import CIFAR10
from .cifar100 import CIFAR100
from .errors import DataError

CIFAR10_URL: Final = CIFAR10.url
CIFAR100_URL: Final = CIFAR100.url
_TIMEOUT_S: Final = (6.0, 30.0)  # to connect, and between two pieces
_PIECE: Final = 1 << 16  # bytes; pooch's own 1024 keep a core busy


def fetch_cifar10(
    *,
    url: str = CIFAR10_URL,
    sha256: str = CIFAR10.sha256,
    folder: Path | None = None,
    progress: Console | None = None,
) -> Path:
    """Return the official archive of CIFAR-10; see `fetch_cifar`."""
    return fetch_cifar(CIFAR10, url=url, sha256=sha256, folder=folder, progress=progress)


def fetch_cifar100(
    *,
    url: str = CIFAR100_URL,
    sha256: str = CIFAR100.sha256,
    folder: Path | None = None,
    progress: Console | None = None,
) -> Path:
    """Return the official archive of CIFAR-100; see `fetch_cifar`."""
    return fetch_cifar(CIFAR100, url=url, sha256=sha256, folder=folder, progress=progress)


def fetch_cifar(
    layout: CifarFormat, *, url: str, sha256: str, folder: Path | None = None, progress: Console | None = None
) -> Path:
    """Return an official archive, downloaded unless it is in the cache with the right checksum.

    Args:
        layout: which data set.
        url: where it is downloaded from.
        sha256: its checksum, in hexadecimal.
        folder: where it is kept; $TELLEGEN_CACHE, or else the user's cache folder, if left out.
        progress: where a progress bar is drawn; None for no bar.

    Raises:
        DataError: if it cannot be downloaded or kept, or has another checksum. Nothing half-written stays.
    """
    place = folder or Path(os.environ.get("TELLEGEN_CACHE") or pooch.os_cache("tellegen"))
    bar = _DownloadBar(progress, layout.batches.title) if progress else None
    try:
        with _silent(pooch.get_logger()), _open_downloader(bar) as downloader:
            path = pooch.retrieve(
                url, known_hash=f"sha256:{sha256}", fname=layout.archive, path=place, downloader=downloader
            )
    except (OSError, ValueError) as error:
        raise DataError(
            f"{layout.batches.title} cannot be downloaded from {url} into {place}: {_root_cause(error)}. "
            f"Two ways out: {layout.ways_out}"
        ) from error
    finally:
        if bar:
            bar.close()
    return Path(path)


@final
class _DownloadBar:
    """What pooch asks of a progress bar, drawn by rich; pooch sets `total`, in bytes, before the first piece."""

    total: int = 0

    def __init__(self, console: Console, title: str) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console)
        self._task = self._progress.add_task(f"downloading {title}", total=None)

    def update(self, size: int) -> None:
        """Count a piece; the first one makes the bar appear."""
        self._progress.start()
        self._progress.update(self._task, total=self.total or None, advance=size)

    def reset(self) -> None:
        """Count from zero."""
        self._progress.reset(self._task)

    def close(self) -> None:
        """Leave the bar as it is; one that was never shown leaves no empty line either."""
        if self._progress.live.is_started:
            self._progress.stop()


@contextmanager
def _open_downloader(bar: _DownloadBar | None) -> Iterator[pooch.HTTPDownloader]:
    """Give pooch a downloader whose connection is closed at the end; pooch leaves it open when it fails."""
    with ExitStack() as connections:

        def keep(response: Any, **_: object) -> None:
            connections.callback(response.close)

        yield pooch.HTTPDownloader(
            progressbar=bar or False,
            chunk_size=_PIECE,
            timeout=_TIMEOUT_S,
            headers={"Accept-Encoding": "identity"},  # a server that packs the archive once more would hide its length
            hooks={"response": keep},
        )


@contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    """Keep a logger quiet for a while."""
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _root_cause(error: BaseException) -> str:
    """Return the innermost error's message: the outer ones only wrap it."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error) or type(error).__name__
