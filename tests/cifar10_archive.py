"""Small CIFAR-10 files as the official ones are: pickles as Python 2 wrote them, in a gzipped tar archive.

Python 3 cannot write such pickles (its bytes are another type), so that the few opcodes needed are written by hand.
"""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from digital.images import ImageSet

FOLDER = "cifar-10-batches-py"
TRAIN = [f"data_batch_{number}" for number in range(1, 6)]
NAMES = [*TRAIN, "test_batch"]


def write_pickle(value: Any) -> bytes:
    """Return the pickle that Python 2 and its numpy made: protocol 2, every string a Python 2 string."""
    return pickle.PROTO + b"\x02" + _opcodes(value) + pickle.STOP


def _opcodes(value: Any) -> bytes:
    if isinstance(value, bytes):
        head = pickle.SHORT_BINSTRING + bytes([len(value)]) if len(value) < 256 else None
        return (head or pickle.BINSTRING + struct.pack("<i", len(value))) + value
    if isinstance(value, int):
        return pickle.BININT + struct.pack("<i", value)
    if isinstance(value, list):
        return pickle.EMPTY_LIST + pickle.MARK + b"".join(map(_opcodes, value)) + pickle.APPENDS
    if isinstance(value, dict):
        pairs = b"".join(_opcodes(key) + _opcodes(entry) for key, entry in value.items())
        return pickle.EMPTY_DICT + pickle.MARK + pairs + pickle.SETITEMS
    assert isinstance(value, np.ndarray), value
    empty = _opcodes(0) + pickle.TUPLE1 + _opcodes(b"b") + pickle.TUPLE3
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + empty + pickle.REDUCE
    code = _opcodes(value.dtype.str[1:].encode()) + _opcodes(0) + _opcodes(1) + pickle.TUPLE3
    order = _opcodes(b"|") if value.dtype.itemsize == 1 else _opcodes(b"<")
    detail = pickle.MARK + _opcodes(3) + order + pickle.NONE * 3 + _opcodes(-1) * 2 + _opcodes(0) + pickle.TUPLE
    dtype = b"cnumpy\ndtype\n" + code + pickle.REDUCE + detail + pickle.BUILD
    shape = pickle.MARK + b"".join(map(_opcodes, value.shape)) + pickle.TUPLE
    filling = pickle.MARK + _opcodes(1) + shape + dtype + pickle.NEWFALSE + _opcodes(value.tobytes()) + pickle.TUPLE
    return array + filling + pickle.BUILD


def draw_images(n: int, *, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return random pixels [n, 3, 32, 32], and labels [n] that go round the classes."""
    pixels = np.random.default_rng(seed).integers(0, 256, (n, 3, 32, 32), dtype=np.uint8)
    return pixels, np.arange(n) * 7 % 10


def format_batch(pixels: NDArray[Any], labels: NDArray[np.int64], *, name: str = "training batch") -> bytes:
    """Return a batch file with all the keys of an official one."""
    files = [f"image_{row}.png".encode() for row in range(len(labels))]
    data = pixels.reshape(len(pixels), -1)
    keys = {b"batch_label": name.encode(), b"labels": labels.tolist(), b"data": data, b"filenames": files}
    return write_pickle(keys)


def small_batches(n: int = 20) -> dict[str, bytes]:
    """Return five training batches and a test batch of n images each, as files."""
    return {name: format_batch(*draw_images(n, seed=seed), name=name) for seed, name in enumerate(NAMES)}


def small_sets(n: int = 20) -> tuple[ImageSet, ImageSet]:
    """Return what `small_batches` holds."""
    drawn = [draw_images(n, seed=seed) for seed in range(6)]
    pixels = torch.from_numpy(np.concatenate([pixels for pixels, _ in drawn]))
    labels = torch.from_numpy(np.concatenate([labels for _, labels in drawn]))
    cut = 5 * n
    train = ImageSet(pixels=pixels[:cut], labels=labels[:cut], index=torch.arange(cut))
    return train, ImageSet(pixels=pixels[cut:], labels=labels[cut:])


def write_folder(parent: Path, batches: dict[str, bytes]) -> Path:
    """Write an extracted archive, and return its folder."""
    folder = parent / FOLDER
    folder.mkdir(parents=True)
    for name, content in batches.items():
        (folder / name).write_bytes(content)
    (folder / "readme.html").write_bytes(b"<html></html>")
    return folder


def write_archive(path: Path, batches: dict[str, bytes]) -> Path:
    """Write an archive, its files in the odd order that the official one has."""
    order = ["data_batch_4", "test_batch", "data_batch_3", "data_batch_2", "data_batch_5", "data_batch_1"]
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        folder = tarfile.TarInfo(FOLDER)
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        files = {"batches.meta": b"no batch", "readme.html": b"<html></html>"}
        files |= {name: batches[name] for name in order if name in batches}
        for name, content in files.items():
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def npz_arrays(n_train: int = 30, n_test: int = 10) -> dict[str, Any]:
    """Return the arrays of an .npz of random images, channels last, without positions."""
    (x_train, y_train), (x_test, y_test) = draw_images(n_train, seed=1), draw_images(n_test, seed=2)
    last = (0, 2, 3, 1)
    return {
        "x_train": x_train.transpose(last),
        "y_train": y_train,
        "x_test": x_test.transpose(last),
        "y_test": y_test,
    }


def write_npz(path: Path, arrays: dict[str, Any]) -> Path:
    """Write an .npz."""
    np.savez(path, **arrays)
    return path
