"""The official batches of CIFAR-10, from the archive or from a folder, without running what a pickle asks for.

Takes: `cifar-10-python.tar.gz`, or `cifar-10-batches-py`. Gives: two `ImageSet`. Must not know: checksums, .npz.
A batch is a pickle of Python 2: `{b"data": [n, 3072] uint8, b"labels": [n] ints}`, a row being red, green, blue planes.
A pickle names functions to call. This unpickler knows the names that an array needs, and answers even these with
stand-ins of its own: numpy's dtype takes any state from a pickle, and a damaged one ends the process (segfault).
"""

import io
import pickle
import tarfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray

from .errors import DataError
from .images import ImageSet

N_CLASSES: Final = 10
_FOLDER: Final = "cifar-10-batches-py"
_TRAIN: Final = tuple(f"data_batch_{number}" for number in range(1, 6))
_TEST: Final = "test_batch"
_NEXT: Final = "download or extract cifar-10-python.tar.gz again"


class _Batch(NamedTuple):
    """One file of the archive: pixels [n, 3, 32, 32] uint8, and labels [n]."""

    pixels: NDArray[np.uint8]
    labels: list[int]


def read_archive(source: Path) -> tuple[ImageSet, ImageSet]:
    """Read the training and test images of the official archive; nothing is extracted to disk.

    Raises:
        DataError: if the archive is cut short or damaged, or a batch is missing or not as it should be.
    """
    batches = {}
    try:
        with tarfile.open(source, "r:gz") as archive:
            for member in archive:
                name = PurePosixPath(member.name).name
                content = archive.extractfile(member) if name in {*_TRAIN, _TEST} else None
                if content is not None:
                    batches[name] = parse_batch(content.read(), where=f"{source}: {name}")
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise DataError(f"{source}: cut short or damaged ({error}); {_NEXT}") from error
    return _join(batches, source)


def read_folder(source: Path) -> tuple[ImageSet, ImageSet]:
    """Read the training and test images of an extracted archive.

    Args:
        source: the folder cifar-10-batches-py, or the one that it is in.

    Raises:
        DataError: if no batches are there, or one is missing or not as it should be.
    """
    batches = {}
    places = [path for path in (source, source / _FOLDER) if any((path / name).is_file() for name in (*_TRAIN, _TEST))]
    if not places:
        raise DataError(
            f"{source}: this folder holds no CIFAR-10 batches, neither itself nor in {_FOLDER}; give the folder that "
            "was extracted from cifar-10-python.tar.gz (the Python version), or the archive"
        )
    for name in (*_TRAIN, _TEST):
        path = places[0] / name
        if path.is_file():
            try:
                batches[name] = parse_batch(path.read_bytes(), where=str(path))
            except OSError as error:
                raise DataError(f"{path}: cannot be read ({error}); {_NEXT}") from error
    return _join(batches, places[0])


def parse_batch(content: bytes, *, where: str) -> _Batch:
    """Parse one batch file.

    Args:
        content: the file.
        where: file and batch, for error messages.

    Raises:
        DataError: if the pickle is damaged, wants to call anything but what rebuilds an array, or holds no batch.
    """
    try:
        batch = _BatchUnpickler(content, where=where).load()
        data, labels = (batch.get(key) if isinstance(batch, dict) else None for key in (b"data", b"labels"))
        pixels = data.read() if isinstance(data, _Array) else None
    except _DAMAGED as error:
        raise DataError(f"{where}: damaged, no pickle of Python 2 with images ({error}); {_NEXT}") from error
    if pixels is None or not isinstance(labels, list) or any(type(label) is not int for label in labels):
        raise DataError(f"{where}: no CIFAR-10 batch, which has an array b'data' and a list b'labels'; {_NEXT}")
    if pixels.shape != (len(labels), 3072) or not labels:
        raise DataError(
            f"{where}: data of shape {pixels.shape} with {len(labels)} labels; "
            f"a batch has shape (n, 3072) and n labels; {_NEXT}"
        )
    check_labels(labels, where=f"{where}: labels")
    return _Batch(pixels=pixels.reshape(-1, 3, 32, 32), labels=labels)


def check_labels(labels: Sequence[int], *, where: str) -> None:
    """Check that every label is a class.

    Raises:
        DataError: if one is not within 0 to 9; says which and where.
    """
    wrong = [position for position, label in enumerate(labels) if not 0 <= label < N_CLASSES]
    if wrong:
        raise DataError(
            f"{where}: label {labels[wrong[0]]} at position {wrong[0]}, {len(wrong)} of {len(labels)} such labels; "
            f"classes are 0 to {N_CLASSES - 1}"
        )


def _join(batches: dict[str, _Batch], source: Path) -> tuple[ImageSet, ImageSet]:
    """Return batches 1 to 5 as one set, at their official positions, and the test batch."""
    missing = [name for name in (*_TRAIN, _TEST) if name not in batches]
    if missing:
        raise DataError(f"{source}: {', '.join(missing)} missing; {_NEXT}")
    sizes = {name: len(batches[name].labels) for name in _TRAIN}
    if len(set(sizes.values())) > 1:
        raise DataError(
            f"{source}: training batches of different sizes, {sizes}; each official one has 10,000; {_NEXT}"
        )
    train = _image_set([batches[name] for name in _TRAIN])
    test = _image_set([batches[_TEST]])
    return ImageSet(pixels=train.pixels, labels=train.labels, index=torch.arange(len(train))), test


def _image_set(batches: list[_Batch]) -> ImageSet:
    """Return batches one after the other, in memory of their own."""
    pixels = np.concatenate([batch.pixels for batch in batches])
    labels = [label for batch in batches for label in batch.labels]
    return ImageSet(pixels=torch.from_numpy(pixels), labels=torch.tensor(labels, dtype=torch.int64))


@final
class _Dtype:
    """Stands in for numpy's dtype: the type's code, and nothing of its state."""

    def __init__(self, code: bytes | str, *_: object) -> None:
        self.code = code

    def __setstate__(self, state: object) -> None:
        """Forget byte order and the like, which single bytes do not have."""


@final
class _Array:
    """Stands in for numpy's array, and for the function that makes one: version, shape, dtype, order and bytes."""

    def __init__(self, *_: object) -> None:
        self._state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._state = state

    def read(self) -> NDArray[np.uint8]:
        """Return the array, or raise one of `_DAMAGED` if it is not one of bytes."""
        _, shape, kind, is_fortran, content = self._state
        if kind.code not in {b"u1", "u1"}:
            raise ValueError(f"array of type {kind.code!r}, 'u1' wanted")
        return np.frombuffer(content, dtype=np.uint8).reshape(shape, order="F" if is_fortran else "C")


def _encode(text: str, _: object) -> bytes:
    """Return bytes that Python 3 wrote as text; it does so in Latin 1."""
    return text.encode("latin-1")


_ALLOWED: Final[dict[tuple[str, str], Callable[..., Any]]] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}
# What a damaged pickle makes the unpickler, or the stand-ins, raise.
_DAMAGED: Final = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    SystemError,
    TypeError,
    ValueError,
)


@final
class _BatchUnpickler(pickle.Unpickler):
    """An unpickler that finds nothing but what rebuilds an array."""

    def __init__(self, content: bytes, *, where: str) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        self._where = where

    def find_class(self, module: str, name: str) -> Any:
        """Return a function of the short list; every other name ends the reading."""
        if (module, name) not in _ALLOWED:
            raise DataError(
                f"{self._where}: wants to call {module}.{name}, which no CIFAR-10 batch does; nothing was run; "
                "do not trust this file, download cifar-10-python.tar.gz again"
            )
        return _ALLOWED[module, name]
