"""CIFAR-100 from small files in its official format: fine labels, the same care as CIFAR-10's."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cifar10_archive import draw_images, write_npz, write_pickle

from digital.cifar100 import CIFAR100, CIFAR100_SHA256, load_cifar100
from digital.errors import DataError
from digital.images import ImageDataset

FINE = np.arange(40) * 7 % 100


def small_files(n_train: int = 40, n_test: int = 20) -> dict[str, bytes]:
    """The two batches of an official archive, with all of its keys."""
    files = {}
    for name, size, seed in (("train", n_train, 0), ("test", n_test, 1)):
        pixels = draw_images(size, seed=seed)[0].reshape(size, -1)
        labels = {b"fine_labels": FINE[:size].tolist(), b"coarse_labels": (FINE[:size] % 20).tolist()}
        names = [f"image_{k}.png".encode() for k in range(size)]
        files[name] = write_pickle({b"filenames": names, b"batch_label": b"1 of 1", **labels, b"data": pixels})
    return files


def write_folder(parent: Path, files: dict[str, bytes]) -> Path:
    folder = parent / "cifar-100-python"
    folder.mkdir()
    for name, content in {**files, "meta": b"no batch"}.items():
        (folder / name).write_bytes(content)
    return folder


def write_archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in {"file.txt~": b"", "meta": b"no batch", **files}.items():
            member = tarfile.TarInfo(f"cifar-100-python/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def check_small(data: ImageDataset) -> None:
    assert (data.name, data.n_classes, data.shape) == ("cifar100", 100, (3, 32, 32))
    assert np.array_equal(data.train.pixels.numpy(), draw_images(40, seed=0)[0])
    assert np.array_equal(data.test.pixels.numpy(), draw_images(20, seed=1)[0])
    assert data.train.labels.tolist() == FINE.tolist()
    assert data.test.labels.tolist() == FINE[:20].tolist()
    assert data.train.index is not None
    assert data.train.index.tolist() == list(range(40))


def test_archive_folder_and_parent_are_the_same_images(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "cifar-100-python.tar.gz", small_files())
    check_small(load_cifar100(archive, sha256=hashlib.sha256(archive.read_bytes()).hexdigest()))
    folder = write_folder(tmp_path, small_files())
    check_small(load_cifar100(folder))
    check_small(load_cifar100(tmp_path))


def test_an_npz_has_a_hundred_classes(tmp_path: Path) -> None:
    pixels = {f"x_{part}": draw_images(40, seed=k)[0].transpose(0, 2, 3, 1) for k, part in enumerate(("train", "test"))}
    arrays: dict[str, Any] = {**pixels, "y_train": FINE, "y_test": FINE}
    data = load_cifar100(write_npz(tmp_path / "some.npz", arrays))
    assert data.train.labels.max() == 98
    assert torch.equal(data.test.pixels, torch.from_numpy(draw_images(40, seed=1)[0]))
    with pytest.raises(DataError, match="y_test: label 100 at position 3, 1 of 40 such labels; classes are 0 to 99"):
        load_cifar100(write_npz(tmp_path / "bad.npz", {**arrays, "y_test": [1, 2, 3, 100, *range(36)]}))


def test_what_is_wrong_names_cifar_100_and_the_ways_out(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "some.tar.gz", small_files())
    with pytest.raises(DataError, match=rf"wanted {CIFAR100_SHA256}.*cifar-100-python\.tar\.gz.*TELLEGEN_CIFAR100"):
        load_cifar100(archive)
    with pytest.raises(DataError, match=r"nowhere: no such file.*TELLEGEN_CIFAR100"):
        load_cifar100(tmp_path / "nowhere")
    bad = small_files() | {"train": write_pickle({b"data": np.zeros((4, 3072), np.uint8), b"labels": [1] * 4})}
    with pytest.raises(DataError, match=r"train: no CIFAR-100 batch, which has .* b'fine_labels'; .*cifar-100-python"):
        load_cifar100(write_archive(tmp_path / "bad.tar.gz", bad), sha256=None)
    with pytest.raises(DataError, match=r"some\.tar\.gz: test missing"):
        load_cifar100(write_archive(archive, {"train": small_files()["train"]}), sha256=None)
    with pytest.raises(DataError, match=r"holds no CIFAR-100 batches, neither itself nor in cifar-100-python"):
        load_cifar100(tmp_path)


def test_checksum_and_address_are_the_official_ones() -> None:
    assert CIFAR100_SHA256 == "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"
    assert CIFAR100.url == "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
    assert CIFAR100.variable == "TELLEGEN_CIFAR100"
