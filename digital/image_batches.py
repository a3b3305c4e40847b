"""Batches of official image data sets, from an archive or a folder of pickles.

Takes: a `BatchFormat` and a place. Gives: two `ImageSet`. Must not know: checksums, .npz.
A batch is a pickle: `{"data": [n, 3072] uint8, "labels": [n] whole numbers}`, a row being red, green, blue planes.
"""

import io
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray

from .batch_pickle import DAMAGED, StoredArray, damaged, read_batch_pickle
from .errors import DataError
from .images import ImageSet

SIDE: Final = 32  # pixels
PIXEL_BYTES: Final = 3 * SIDE * SIDE  # of one image


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class BatchFormat:
    """How the official files of a data set are called, and what is in them.

    Args:
        title: of the data set, for people.
        folder: of an extracted archive.
        train: names of the training batches, in order.
        test: name of the batch of images held out.
        labels: what the labels are called in a batch.
        n_classes: number of classes.
        first_label: label of the first class.
        again: what to do about a damaged file.
    """

    title: str
    folder: str
    train: tuple[str, ...]
    test: str
    labels: str
    n_classes: int
    first_label: int = 0
    again: str

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all batches."""
        return (*self.train, self.test)


class Batch(NamedTuple):
    """One file: pixels [n, 3, 32, 32] uint8, and labels [n] int64, counted from 0."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]


def read_archive(source: Path, layout: BatchFormat) -> tuple[ImageSet, ImageSet]:
    """Read the training and test images of an official .tar.gz; nothing is extracted to disk.

    Raises:
        DataError: if the archive is cut short or damaged, or a batch is missing or not as it should be.
    """
    batches = {}
    try:
        with tarfile.open(source, "r:gz") as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                content = archive.extractfile(member) if name in layout.names else None
                if content is not None:
                    whole = io.BytesIO(content.read())  # a gzip cut short is no damaged pickle
                    batches[name] = parse_batch(whole, layout, where=f"{source}: {name}")
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise DataError(f"{source}: cut short or damaged ({error}); {layout.again}") from error
    return _join(batches, layout, source)


def read_folder(source: Path, layout: BatchFormat) -> tuple[ImageSet, ImageSet]:
    """Read the training and test images of an extracted archive.

    Args:
        source: its folder, or the one that it is in.
        layout: of the data set.

    Raises:
        DataError: if no batches are there, or one is missing or not as it should be.
    """
    batches = {}
    places = [place for place in (source, source / layout.folder) if any((place / n).is_file() for n in layout.names)]
    if not places:
        raise DataError(
            f"{source}: this folder holds no {layout.title} batches, neither itself nor in {layout.folder}; give the "
            "folder that was extracted from the archive (the Python version), or the archive"
        )
    for name in layout.names:
        path = places[0] / name
        if path.is_file():
            try:
                with path.open("rb") as file:
                    batches[name] = parse_batch(file, layout, where=str(path))
            except OSError as error:
                raise DataError(f"{path}: cannot be read ({error}); {layout.again}") from error
    return _join(batches, layout, places[0])


def parse_batch(file: IO[bytes], layout: BatchFormat, *, where: str) -> Batch:
    """Parse one batch.

    Args:
        file: opened.
        layout: of the data set.
        where: file and batch, for error messages.

    Returns:
        the batch; its pixels share the memory of what was read.

    Raises:
        DataError: if the pickle is damaged, wants to call anything but what rebuilds an array, or holds no batch.
    """
    entries = read_batch_pickle(file, where=where, title=layout.title, again=layout.again)
    try:
        data, labels = entries.get("data"), _whole_numbers(entries.get(layout.labels))
        pixels = data.read_bytes() if isinstance(data, StoredArray) else None
    except DAMAGED as error:
        raise damaged(error, where=where, again=layout.again) from error
    if pixels is None or labels is None:
        raise DataError(
            f"{where}: no {layout.title} batch, which has an array b'data' and a list b'{layout.labels}'; "
            f"{layout.again}"
        )
    return checked_batch(pixels, labels, layout, where=where)


def checked_batch(pixels: NDArray[np.uint8], labels: NDArray[np.int64], layout: BatchFormat, *, where: str) -> Batch:
    """Return a batch of rows of pixels and labels as the files have them.

    Raises:
        DataError: if their shapes do not fit, or a label is no class.
    """
    if pixels.shape != (len(labels), PIXEL_BYTES) or labels.ndim != 1 or not len(labels):
        raise DataError(
            f"{where}: data of shape {pixels.shape} with {len(labels)} labels; "
            f"a batch has shape (n, {PIXEL_BYTES}) and n labels; {layout.again}"
        )
    check_labels(labels, layout, where=f"{where}: labels")
    return Batch(pixels=pixels.reshape(-1, 3, SIDE, SIDE), labels=labels - layout.first_label)


def check_labels(labels: NDArray[np.integer[Any]], layout: BatchFormat, *, where: str) -> None:
    """Check that every label is a class.

    Raises:
        DataError: if one is not; says which and where.
    """
    last = layout.first_label + layout.n_classes - 1
    wrong = np.flatnonzero((labels < layout.first_label) | (labels > last))
    if len(wrong):
        raise DataError(
            f"{where}: label {labels[wrong[0]]} at position {wrong[0]}, {len(wrong)} of {len(labels)} such labels; "
            f"classes are {layout.first_label} to {last}"
        )


def _whole_numbers(labels: object) -> NDArray[np.int64] | None:
    """Return labels, a list or an array, or None if they are something else."""
    if isinstance(labels, StoredArray):
        return labels.read_whole()
    if not isinstance(labels, list) or any(type(label) is not int for label in labels):
        return None
    return np.array(labels, dtype=np.int64)


def _join(batches: Mapping[str, Batch], layout: BatchFormat, source: Path) -> tuple[ImageSet, ImageSet]:
    """Return the training batches as one set, at their official positions, and the test batch."""
    missing = [name for name in layout.names if name not in batches]
    if missing:
        raise DataError(f"{source}: {', '.join(missing)} missing; {layout.again}")
    sizes = {name: len(batches[name].labels) for name in layout.train}
    if len(set(sizes.values())) > 1:
        raise DataError(
            f"{source}: training batches of different sizes, {sizes}; the official ones are of one size; {layout.again}"
        )
    train = _image_set([batches[name] for name in layout.train])
    test = _image_set([batches[layout.test]])
    return ImageSet(pixels=train.pixels, labels=train.labels, index=torch.arange(len(train))), test


def _image_set(batches: list[Batch]) -> ImageSet:
    """Return batches one after the other, in memory of their own."""
    pixels = np.concatenate([batch.pixels for batch in batches])
    labels = np.concatenate([batch.labels for batch in batches])
    return ImageSet(pixels=torch.from_numpy(pixels), labels=torch.from_numpy(labels))
