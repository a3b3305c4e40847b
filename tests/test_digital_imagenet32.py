"""ImageNet32 from small files in its two official formats: labels from 1, bytes that stay bytes."""

from __future__ import annotations

import os
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cifar10_archive import draw_images, write_pickle
from numpy.typing import NDArray

from digital.errors import DataError
from digital.imagenet32 import IMAGENET32, load_imagenet32
from digital.images import ImageDataset

SIZES = {name: 3 + k for k, name in enumerate(IMAGENET32.train)} | {"val_data": 5}  # the official ones differ, too


def batches() -> dict[str, dict[str, Any]]:
    """What the official files hold: rows of planes, labels from 1 to 1,000, and the mean image of training batches."""
    found: dict[str, dict[str, Any]] = {}
    for k, (name, size) in enumerate(SIZES.items()):
        pixels = draw_images(size, seed=k)[0].reshape(size, -1)
        labels = [1 + (97 * k + 331 * row) % 1000 for row in range(size)]
        found[name] = {"data": pixels, "labels": labels}
        if name != "val_data":
            found[name]["mean"] = pixels.mean(axis=0)
    found["train_data_batch_1"]["labels"][:2] = [1, 1000]
    return found


def write_pickles(folder: Path, *, protocol: int | None = None) -> Path:
    """Write the files as Python 3 pickles them, or as Python 2 does."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, batch in batches().items():
        old = {key.encode(): value for key, value in batch.items()}
        content = write_pickle(old) if protocol is None else pickle.dumps(batch, protocol=protocol)
        (folder / name).write_bytes(content)
    return folder


def write_npz_files(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, batch in batches().items():
        np.savez_compressed(folder / f"{name}.npz", **{key: np.asarray(value) for key, value in batch.items()})
    return folder


def check(data: ImageDataset) -> None:
    pixels = np.concatenate([batches()[name]["data"] for name in IMAGENET32.train]).reshape(-1, 3, 32, 32)
    labels = [label - 1 for name in IMAGENET32.train for label in batches()[name]["labels"]]
    assert (data.name, data.n_classes, data.shape) == ("imagenet32", 1000, (3, 32, 32))
    assert np.array_equal(data.train.pixels.numpy(), pixels)
    assert data.train.labels.tolist() == labels
    assert (min(labels), max(labels)) == (0, 999)
    assert data.train.index is not None
    assert data.train.index.tolist() == list(range(len(labels)))
    assert data.test.labels.tolist() == [label - 1 for label in batches()["val_data"]["labels"]]
    assert data.test.index is None


@pytest.mark.parametrize("protocol", [None, 2, 3, 4])
def test_pickles_of_any_python_are_read(tmp_path: Path, protocol: int | None) -> None:
    check(load_imagenet32(write_pickles(tmp_path / "all", protocol=protocol)))


def test_npz_files_are_the_same_images(tmp_path: Path) -> None:
    check(load_imagenet32(write_npz_files(tmp_path / "all")))


def test_two_folders_of_one_folder_will_do(tmp_path: Path) -> None:
    write_npz_files(tmp_path / "train")
    (tmp_path / "val").mkdir()
    (tmp_path / "train" / "val_data.npz").rename(tmp_path / "val" / "val_data.npz")
    check(load_imagenet32(tmp_path))


@pytest.mark.parametrize("kind", ["<i4", ">i8", "<u2"])
def test_labels_may_be_an_array(tmp_path: Path, kind: str) -> None:
    folder = write_pickles(tmp_path / "all", protocol=2)
    batch = batches()["val_data"]
    batch["labels"] = np.array(batch["labels"], dtype=kind)
    (folder / "val_data").write_bytes(pickle.dumps(batch, protocol=2))
    check(load_imagenet32(folder))


def test_the_scale_is_imagenets(tmp_path: Path) -> None:
    data = load_imagenet32(write_npz_files(tmp_path / "all"))
    assert [mean / 255 for mean in data.mean] == pytest.approx([0.485, 0.456, 0.406])
    assert [std / 255 for std in data.std] == pytest.approx([0.229, 0.224, 0.225])


def test_memory_is_that_of_the_images_and_one_batch(tmp_path: Path) -> None:
    n_images, n_bytes = 400, 3072
    for name in SIZES:
        pixels = np.zeros((n_images, n_bytes), np.uint8)
        (tmp_path / name).write_bytes(pickle.dumps({"data": pixels, "labels": [1] * n_images}, protocol=4))
    tracemalloc.start()
    data = load_imagenet32(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    whole = (len(data.train) + len(data.test)) * n_bytes
    assert peak < whole + 2.5 * n_images * n_bytes  # a batch as it was read, and what the file's buffer holds of it


class Attack:
    def __reduce__(self) -> Any:
        return os.system, ("false",)


def replaced(folder: Path, name: str, content: bytes) -> Path:
    (write_pickles(folder, protocol=2) / name).write_bytes(content)
    return folder


def rows(kind: type[np.generic] = np.uint8, n: int = 2, bytes_: int = 3072) -> NDArray[Any]:
    return np.zeros((n, bytes_), kind)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            pickle.dumps({"data": Attack(), "labels": [1]}),
            r"wants to call posix\.system, which no ImageNet32 batch does",
        ),
        (pickle.dumps({"data": rows(), "labels": [0, 5]}), "label 0 at position 0, 1 of 2 .*; classes are 1 to 1000"),
        (pickle.dumps({"data": rows(), "labels": [5, 1001]}), "label 1001 at position 1"),
        (pickle.dumps({"data": rows(n=3), "labels": [5, 6]}), r"data of shape \(3, 3072\) with 2 labels"),
        (pickle.dumps({"data": rows(bytes_=12288), "labels": [5, 6]}), r"data of shape \(2, 12288\)"),
        (pickle.dumps({"data": rows(np.float32), "labels": [5, 6]}), "array of type .*f4', 'u1' wanted"),
        (pickle.dumps({"labels": [5, 6]}), "no ImageNet32 batch"),
        (pickle.dumps([1, 2]), "no ImageNet32 batch"),
        (b"", "damaged, no pickle"),
    ],
)
def test_a_batch_that_is_none_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=rf"train_data_batch_7.*{message}"):
        load_imagenet32(replaced(tmp_path / "all", "train_data_batch_7", content))


def test_an_npz_that_is_not_as_it_should_be(tmp_path: Path) -> None:
    folder = write_npz_files(tmp_path / "all")
    for arrays, message in (
        ({"data": rows(np.float64), "labels": [1, 2]}, "data: uint8, 0 to 255, wanted, got float64"),
        ({"data": rows(), "labels": [1.0, 2.0]}, "labels: float64 of shape"),
        ({"data": rows(), "labels": [1, 2000]}, "label 2000 at position 1"),
        ({"data": rows()}, "labels missing; the .npz has data"),
    ):
        np.savez(folder / "val_data.npz", **arrays)
        with pytest.raises(DataError, match=rf"val_data\.npz.*{message}"):
            load_imagenet32(folder)
    (folder / "val_data.npz").write_bytes(b"PK no zip")
    with pytest.raises(DataError, match=r"val_data\.npz: cannot be read"):
        load_imagenet32(folder)


def test_what_is_missing_is_named_with_where_to_get_it(tmp_path: Path) -> None:
    way_out = r"image-net\.org/download-images.*--data FOLDER.*\$TELLEGEN_IMAGENET32"
    with pytest.raises(DataError, match=rf"nowhere: no such folder\. .*no free download: .*{way_out}"):
        load_imagenet32(tmp_path / "nowhere")
    (tmp_path / "Imagenet32_train.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"Imagenet32_train\.zip: is a file; .* to be unpacked"):
        load_imagenet32(tmp_path / "Imagenet32_train.zip")
    with pytest.raises(DataError, match=rf"no ImageNet32 files; .*{way_out}"):
        load_imagenet32(tmp_path)
    folder = write_npz_files(tmp_path / "all")
    (folder / "val_data.npz").unlink()
    (folder / "train_data_batch_3.npz").unlink()
    with pytest.raises(DataError, match=rf"all: train_data_batch_3, val_data missing; .*{way_out}"):
        load_imagenet32(folder)
