"""CIFAR-10: 50,000 training and 10,000 test images of 32x32 pixels, ten classes, from a file on this machine.

```
cifar-10-python.tar.gz --> checksum --+
cifar-10-batches-py/ -----------------+--> ImageDataset
x_train, y_train, ... in an .npz -----+
```

Takes: a path. Gives: `ImageDataset`. Must not know: where the file comes from (`download.py`).
"""

import hashlib
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from .cifar10_batches import N_CLASSES, check_labels, read_archive, read_folder
from .errors import DataError
from .images import ImageDataset, ImageSet

CIFAR10_SHA256: Final = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
CIFAR10_PAGE: Final = "https://www.cs.toronto.edu/~kriz/cifar.html"
CIFAR10_MEAN: Final = (0.4914 * 255, 0.4822 * 255, 0.4465 * 255)
CIFAR10_STD: Final = (0.247 * 255, 0.243 * 255, 0.261 * 255)
# What every message about a file that is not there, or not the right one, ends with.
CIFAR10_WAYS_OUT: Final = (
    f"(1) download cifar-10-python.tar.gz by hand from {CIFAR10_PAGE} and give it with --data FILE or in "
    "$TELLEGEN_CIFAR10; (2) give a folder extracted from it, or an .npz with x_train, y_train, x_test and y_test, "
    "in the same way"
)
_SIZES: Final = (50_000, 10_000)  # of the whole official sets
_KEYS: Final = ("x_train", "y_train", "x_test", "y_test")
# What a damaged .npz makes zipfile, or numpy's reader of headers, raise.
_DAMAGED: Final = (
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


def load_cifar10(source: Path, *, sha256: str | None = CIFAR10_SHA256) -> ImageDataset:
    """Load CIFAR-10 from the official archive, a folder extracted from it, or an .npz.

    Args:
        source: cifar-10-python.tar.gz; or the folder cifar-10-batches-py, or the one it is in; or an .npz with x_train
            and x_test [n, 32, 32, 3] uint8, y_train and y_test [n] whole numbers, and, if known, idx_train and idx_test
            [n], positions in the official training set.
        sha256: checksum of the archive, in hexadecimal; None to do without. A folder and an .npz have none.

    Returns:
        the images with their official positions, as far as these are known.

    Raises:
        DataError: if there is no such file, it is damaged or another one, or its arrays are not as they should be.

    Source: A. Krizhevsky, Learning multiple layers of features from tiny images, 2009.
    """
    if source.is_dir():
        train, test = read_folder(source)
    else:
        start = _read_start(source)
        if start.startswith(b"\x1f\x8b"):
            _check_sha256(source, sha256)
            train, test = read_archive(source)
        elif start.startswith(b"PK"):
            train, test = _read_npz(source)
        else:
            raise DataError(
                f"{source}: neither an archive (.tar.gz), nor a folder extracted from it, nor an .npz: the file of "
                f"{source.stat().st_size:,} bytes begins with {start!r}. Two ways out: {CIFAR10_WAYS_OUT}"
            )
    return ImageDataset(name="cifar10", n_classes=N_CLASSES, train=train, test=test, mean=CIFAR10_MEAN, std=CIFAR10_STD)


def _read_start(source: Path) -> bytes:
    """Return the first bytes of a file, which tell its kind."""
    try:
        with source.open("rb") as file:
            return file.read(16)
    except FileNotFoundError as error:
        raise DataError(f"{source}: no such file or folder. Two ways out: {CIFAR10_WAYS_OUT}") from error
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error}); check the path and its permissions") from error


def _check_sha256(source: Path, wanted: str | None) -> None:
    """Compare an archive with its checksum."""
    if wanted is None:
        return
    with source.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wanted.lower():
        raise DataError(
            f"{source}: SHA-256 is {found}, wanted {wanted}; the file of {source.stat().st_size:,} bytes is cut short, "
            "damaged or another one (the binary and MATLAB versions have other names inside). Two ways out: "
            f"{CIFAR10_WAYS_OUT}"
        )


def _read_npz(source: Path) -> tuple[ImageSet, ImageSet]:
    """Read the images of an .npz, with their official positions if it says them or holds all 60,000."""
    arrays = _load_arrays(source)
    pixels, labels, index = {}, {}, {}
    for part in ("train", "test"):
        pixels[part] = _check_images(arrays[f"x_{part}"], where=f"{source}: x_{part}")
        size = len(pixels[part])
        labels[part] = _check_whole(arrays[f"y_{part}"], size=size, where=f"{source}: y_{part}")
        check_labels(labels[part].tolist(), where=f"{source}: y_{part}")
        if f"idx_{part}" in arrays:
            index[part] = _check_whole(arrays[f"idx_{part}"], size=size, where=f"{source}: idx_{part}")
    _check_positions(index, source)
    if not index and (len(pixels["train"]), len(pixels["test"])) == _SIZES:
        index["train"] = np.arange(_SIZES[0])
    train, test = (
        ImageSet(
            pixels=torch.from_numpy(pixels[part].transpose(0, 3, 1, 2).copy()),
            labels=torch.tensor(labels[part].astype(np.int64)),
            index=torch.tensor(index[part].astype(np.int64)) if part in index else None,
        )
        for part in ("train", "test")
    )
    return train, test


def _load_arrays(source: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an .npz that have to do with images."""
    try:
        with source.open("rb") as file, np.load(file, allow_pickle=False) as npz:
            there = list(npz.files)
            arrays = {key: npz[key] for key in (*_KEYS, "idx_train", "idx_test") if key in there}
    except _DAMAGED as error:
        raise DataError(
            f"{source}: cannot be read as an .npz of plain arrays ({error}); write it again with numpy.savez"
        ) from error
    missing = [key for key in _KEYS if key not in arrays]
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
    if images.dtype != np.uint8:
        numbers = f" with range {images.min()} to {images.max()}" if images.dtype.kind in "iuf" else ""
        raise DataError(f"{where}: uint8, 0 to 255, wanted, got {images.dtype}{numbers}; save the original bytes")
    return images


def _check_whole(values: NDArray[Any], *, size: int, where: str) -> NDArray[np.integer[Any]]:
    """Return the values if they are one whole number an image."""
    if values.dtype.kind not in "iu" or values.shape != (size,):
        raise DataError(
            f"{where}: {values.dtype} of shape {values.shape} for {size} images; one whole number an image wanted, "
            f"shape ({size},)"
        )
    return values


def _check_positions(index: dict[str, NDArray[np.integer[Any]]], source: Path) -> None:
    """Check that the positions are those of different images of the official training set."""
    for part, values in index.items():
        outside = np.flatnonzero((values < 0) | (values >= _SIZES[0]))
        if len(outside):
            raise DataError(
                f"{source}: idx_{part} is {values[outside[0]]} at position {outside[0]}; positions in the official "
                f"training set are 0 to {_SIZES[0] - 1:,}"
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
