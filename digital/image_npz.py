"""Images in an .npz: x_train, y_train, x_test, y_test, channels last, as many people keep CIFAR.

Takes: a path and a `BatchFormat`. Gives: two `ImageSet`. Must not know: archives.
"""

import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from .errors import DataError
from .image_batches import BatchFormat, check_labels
from .images import ImageSet

_KEYS: Final = ("x_train", "y_train", "x_test", "y_test")
# What a damaged .npz makes zipfile, or numpy's reader of headers, raise.
DAMAGED_NPZ: Final = (
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_npz(source: Path, layout: BatchFormat, *, sizes: tuple[int, int]) -> tuple[ImageSet, ImageSet]:
    """Read the images of an .npz, with their official positions if it says them or holds all images.

    Args:
        source: the file.
        layout: of the data set.
        sizes: of the whole official sets.

    Raises:
        DataError: if it is damaged, or its arrays are not as they should be.
    """
    arrays = load_arrays(source, _KEYS, optional=("idx_train", "idx_test"))
    pixels, labels, index = {}, {}, {}
    for part in ("train", "test"):
        pixels[part] = _check_images(arrays[f"x_{part}"], where=f"{source}: x_{part}")
        size = len(pixels[part])
        labels[part] = check_whole(arrays[f"y_{part}"], size=size, where=f"{source}: y_{part}")
        check_labels(labels[part], layout, where=f"{source}: y_{part}")
        if f"idx_{part}" in arrays:
            index[part] = check_whole(arrays[f"idx_{part}"], size=size, where=f"{source}: idx_{part}")
    _check_positions(index, source, sizes[0])
    if not index and (len(pixels["train"]), len(pixels["test"])) == sizes:
        index["train"] = np.arange(sizes[0])
    train, test = (
        ImageSet(
            pixels=torch.from_numpy(pixels[part].transpose(0, 3, 1, 2).copy()),
            labels=torch.tensor(labels[part].astype(np.int64)),
            index=torch.tensor(index[part].astype(np.int64)) if part in index else None,
        )
        for part in ("train", "test")
    )
    return train, test


def load_arrays(source: Path, keys: tuple[str, ...], *, optional: tuple[str, ...] = ()) -> dict[str, NDArray[Any]]:
    """Return arrays of an .npz by name.

    Raises:
        DataError: if it cannot be read, or one of keys is missing.
    """
    try:
        with source.open("rb") as file, np.load(file, allow_pickle=False) as npz:
            there = list(npz.files)
            arrays = {key: npz[key] for key in (*keys, *optional) if key in there}
    except DAMAGED_NPZ as error:
        raise DataError(
            f"{source}: cannot be read as an .npz of plain arrays ({error}); write it again with numpy.savez"
        ) from error
    missing = [key for key in keys if key not in arrays]
    if missing:
        raise DataError(f"{source}: {', '.join(missing)} missing; the .npz has {', '.join(there) or 'nothing'}")
    return arrays


def _check_images(images: NDArray[Any], *, where: str) -> NDArray[np.uint8]:
    """Return the images if they are bytes, channels last."""
    if images.ndim == 4 and images.shape[1:] == (3, 32, 32):
        raise DataError(
            f"{where}: shape {images.shape} has the channels first; (n, 32, 32, 3) wanted: transpose(0, 2, 3, 1)"
        )
    if images.shape[1:] != (32, 32, 3):
        raise DataError(f"{where}: shape {images.shape}; (n, 32, 32, 3) wanted, channels last")
    if not len(images):
        raise DataError(f"{where}: no images; give one or more")
    return check_bytes(images, where=where)


def check_bytes(images: NDArray[Any], *, where: str) -> NDArray[np.uint8]:
    """Return pixels if they are bytes.

    Raises:
        DataError: if they are not; says what they are.
    """
    if images.dtype != np.uint8:
        numbers = f" with range {images.min()} to {images.max()}" if images.dtype.kind in "iuf" and images.size else ""
        raise DataError(f"{where}: uint8, 0 to 255, wanted, got {images.dtype}{numbers}; save the original bytes")
    return images


def check_whole(values: NDArray[Any], *, size: int, where: str) -> NDArray[np.integer[Any]]:
    """Return the values if they are one whole number an image.

    Raises:
        DataError: if they are not.
    """
    if values.dtype.kind not in "iu" or values.shape != (size,):
        raise DataError(
            f"{where}: {values.dtype} of shape {values.shape} for {size} images; one whole number an image wanted, "
            f"shape ({size},)"
        )
    return values


def _check_positions(index: dict[str, NDArray[np.integer[Any]]], source: Path, size: int) -> None:
    """Check that the positions are those of different images of the official training set."""
    for part, values in index.items():
        outside = np.flatnonzero((values < 0) | (values >= size))
        if len(outside):
            raise DataError(
                f"{source}: idx_{part} is {values[outside[0]]} at position {outside[0]}; positions in the official "
                f"training set are 0 to {size - 1:,}"
            )
        found, counts = np.unique(values, return_counts=True)
        if (counts > 1).any():
            raise DataError(
                f"{source}: idx_{part} has position {found[counts > 1][0]} {counts.max()} times, and "
                f"{int((counts > 1).sum())} positions more than once; keep each image once"
            )
    if len(index) == 2:
        shared = np.intersect1d(index["train"], index["test"])
        if len(shared):
            raise DataError(
                f"{source}: {len(shared)} images are in both idx_train and idx_test, the first at {shared[0]}; "
                "hold out other images than those to train on"
            )
