from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cifar10_archive import (
    NAMES,
    draw_images,
    format_batch,
    npz_arrays,
    small_batches,
    small_sets,
    write_archive,
    write_folder,
    write_npz,
    write_pickle,
)

from digital.cifar10 import CIFAR10_SHA256, load_cifar10
from digital.errors import DataError
from digital.images import ImageDataset

NO_IMAGES = np.zeros((0, 32, 32, 3), dtype=np.uint8)
BATCH = np.zeros((4, 3072), dtype=np.uint8)


def check_small(data: ImageDataset) -> None:
    train, test = small_sets()
    assert (data.name, data.n_classes, data.shape) == ("cifar10", 10, (3, 32, 32))
    assert torch.equal(data.train.pixels, train.pixels)
    assert torch.equal(data.train.labels, train.labels)
    assert data.train.index is not None
    assert data.train.index.tolist() == list(range(100))
    assert torch.equal(data.test.pixels, test.pixels)
    assert torch.equal(data.test.labels, test.labels)
    assert data.test.index is None


def test_the_archive_is_read_in_the_order_of_the_batches(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "cifar-10-python.tar.gz", small_batches())
    check_small(load_cifar10(archive, sha256=hashlib.sha256(archive.read_bytes()).hexdigest().upper()))
    check_small(load_cifar10(archive, sha256=None))
    assert list(tmp_path.iterdir()) == [archive]


def test_a_folder_is_read_itself_or_by_its_parent(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, small_batches())
    check_small(load_cifar10(folder))
    check_small(load_cifar10(tmp_path))


def test_the_pickles_are_python_2s() -> None:
    batch = small_batches()["data_batch_2"]
    with pytest.raises(UnicodeDecodeError):  # pixels in a str, as only Python 2 has them
        pickle.loads(batch, encoding="ascii")  # noqa: S301


def test_a_pickle_written_by_python_3_is_read_too(tmp_path: Path) -> None:
    pixels, labels = draw_images(20, seed=0)
    batches = small_batches()
    batches["data_batch_1"] = pickle.dumps({b"data": pixels.reshape(20, -1), b"labels": labels.tolist()}, protocol=2)
    check_small(load_cifar10(write_folder(tmp_path, batches)))


def test_scaling_is_that_of_the_full_training_set(tmp_path: Path) -> None:
    data = load_cifar10(write_folder(tmp_path, small_batches()))
    grey = torch.full((3, 1, 1), 127.5)
    expected = (0.5 - torch.tensor([0.4914, 0.4822, 0.4465])) / torch.tensor([0.247, 0.243, 0.261])
    torch.testing.assert_close(data.scaled(grey).flatten(), expected, rtol=1e-5, atol=1e-6)


class Attack:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("wrap", [lambda attack: attack, lambda attack: {b"data": attack, b"labels": [1]}])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, wrap: Any) -> None:
    witness = tmp_path / "witness"
    batches = small_batches()
    for attack, wanted in (
        (Attack(os.system, f"touch {witness}"), r"posix\.system"),
        (Attack(eval, "1 + 1"), r"builtins\.eval|__builtin__\.eval"),
        (Attack(getattr, 1, "real"), r"getattr"),
        (Attack(np.load, "x"), r"numpy.*load"),
    ):
        for protocol in (0, 2, 4):
            batches["data_batch_3"] = pickle.dumps(wrap(attack), protocol=protocol)
            archive = write_archive(tmp_path / "bad.tar.gz", batches)
            with pytest.raises(DataError, match=rf"data_batch_3: wants to call .*({wanted}).*nothing was run"):
                load_cifar10(archive, sha256=None)
    assert not witness.exists()
    pickle.loads(pickle.dumps(Attack(os.system, f"touch {witness}")))  # noqa: S301
    assert witness.exists(), "the attack itself does not work"


def test_a_missing_file_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"none\.tar\.gz: no such file.*kriz/cifar\.html.*--data.*TELLEGEN_CIFAR10.*npz"
    ):
        load_cifar10(tmp_path / "none.tar.gz")


@pytest.mark.parametrize("content", [b"", b"<html>Not found</html>", b"\x89HDF\r\n\x1a\n"])
def test_neither_of_the_three_kinds(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "some.tar.gz").write_bytes(content)
    with pytest.raises(DataError, match=rf"neither an archive.* {len(content)} bytes begins with b"):
        load_cifar10(tmp_path / "some.tar.gz")


def test_a_wrong_checksum_shows_both(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "some.tar.gz", small_batches())
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    with pytest.raises(DataError, match=rf"SHA-256 is {found}, wanted {CIFAR10_SHA256}.*cifar\.html"):
        load_cifar10(archive)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_an_archive_cut_short(tmp_path: Path, share: float) -> None:
    archive = write_archive(tmp_path / "some.tar.gz", small_batches())
    content = archive.read_bytes()
    archive.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"some\.tar\.gz: cut short or damaged"):
        load_cifar10(archive, sha256=None)


def test_a_damaged_archive_is_never_another_error(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "some.tar.gz", small_batches(4))
    content, draw = archive.read_bytes(), np.random.default_rng(0)
    for place in draw.integers(2, len(content), 40):
        archive.write_bytes(content[:place] + bytes(draw.integers(0, 256, 8, dtype=np.uint8)) + content[place + 8 :])
        with contextlib.suppress(DataError):  # a changed date in a header does no harm
            load_cifar10(archive, sha256=None)


def test_a_damaged_batch_is_never_another_error(tmp_path: Path) -> None:
    batches = small_batches(2)
    head, draw = batches["data_batch_1"][:400], np.random.default_rng(0)
    folder = write_folder(tmp_path, batches)
    refused = 0
    for place in draw.integers(0, len(head), 300):
        content = bytearray(batches["data_batch_1"])
        content[place] = draw.integers(0, 256)
        (folder / "data_batch_1").write_bytes(content)
        try:
            load_cifar10(folder)
        except DataError:
            refused += 1
    assert refused > 30
    (folder / "data_batch_1").write_bytes(batches["data_batch_1"][:-50])
    with pytest.raises(DataError, match="data_batch_1: damaged, no pickle"):
        load_cifar10(folder)


def test_a_tar_that_ends_early_inside_a_whole_gzip(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "some.tar.gz", small_batches())
    with gzip.open(archive) as file:
        content = file.read()
    archive.write_bytes(gzip.compress(content[:100_000]))
    with pytest.raises(DataError, match="cut short or damaged"):
        load_cifar10(archive, sha256=None)


def test_missing_batches_are_named(tmp_path: Path) -> None:
    batches = {name: content for name, content in small_batches().items() if name not in {"data_batch_4", "test_batch"}}
    for source in (write_archive(tmp_path / "some.tar.gz", batches), write_folder(tmp_path, batches)):
        with pytest.raises(DataError, match=rf"{source.name}: data_batch_4, test_batch missing"):
            load_cifar10(source, sha256=None)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "data_batch_1.bin").write_bytes(b"binary version")
    with pytest.raises(DataError, match="holds no CIFAR-10 batches"):
        load_cifar10(tmp_path)


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "some.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("cifar-100-python/train"))
    with pytest.raises(DataError, match=r"data_batch_1, .*, test_batch missing"):
        load_cifar10(tmp_path / "some.tar.gz", sha256=None)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (write_pickle([1, 2]), "no CIFAR-10 batch, which has an array"),
        (write_pickle({b"data": BATCH, b"fine_labels": [1] * 4}), "no CIFAR-10 batch"),
        (write_pickle({b"data": BATCH, b"labels": [1, 2, b"3", 4]}), "no CIFAR-10 batch"),
        (write_pickle({b"data": b"bytes", b"labels": [1] * 4}), "no CIFAR-10 batch"),
        (write_pickle({b"data": BATCH, b"labels": [1] * 3}), r"data of shape \(4, 3072\) with 3 labels"),
        (write_pickle({b"data": BATCH[:, :1024], b"labels": [1] * 4}), r"data of shape \(4, 1024\)"),
        (write_pickle({b"data": BATCH.astype(np.float32), b"labels": [1] * 4}), "array of type b'f4', 'u1' wanted"),
        (write_pickle({b"data": BATCH[:0], b"labels": []}), r"shape \(0, 3072\) with 0 labels"),
        (write_pickle({b"data": BATCH, b"labels": [1, 9, 10, 10]}), "label 10 at position 2, 2 of 4"),
        (write_pickle({b"data": BATCH, b"labels": [1, 9, 3, -1]}), "label -1 at position 3"),
        (write_pickle({b"data": BATCH, b"labels": [1, 9, 3, 2]}), "different sizes, {'data_batch_1': 20,.*: 4"),
        (b"", "damaged"),
        (b"no pickle at all", "damaged"),
    ],
)
def test_a_batch_that_is_none(tmp_path: Path, batch: bytes, message: str) -> None:
    batches = small_batches() | {"data_batch_5": batch}
    with pytest.raises(DataError, match=message) as caught:
        load_cifar10(write_folder(tmp_path, batches))
    assert "data_batch_5" in str(caught.value)


def test_an_npz_is_turned_to_channels_first(tmp_path: Path) -> None:
    arrays = npz_arrays()
    data = load_cifar10(write_npz(tmp_path / "some.npz", arrays))
    assert data.train.pixels.shape == (30, 3, 32, 32)
    assert data.train.pixels.is_contiguous()
    for row, channel, y, x in ((0, 0, 0, 0), (7, 2, 3, 31), (29, 1, 30, 5)):
        assert int(data.train.pixels[row, channel, y, x]) == arrays["x_train"][row, y, x, channel]
    assert np.array_equal(data.test.pixels.numpy(), arrays["x_test"].transpose(0, 3, 1, 2))
    assert data.train.labels.tolist() == arrays["y_train"].tolist()
    assert data.test.labels.tolist() == arrays["y_test"].tolist()
    assert data.train.index is None
    assert data.test.index is None


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.uint64])
def test_an_npz_gives_official_positions_and_any_whole_numbers(tmp_path: Path, kind: type[np.integer[Any]]) -> None:
    arrays = npz_arrays()
    arrays |= {key: arrays[key].astype(kind) for key in ("y_train", "y_test")}
    arrays |= {"idx_train": np.arange(30, dtype=kind)[::-1] + kind(100), "idx_test": np.arange(10, dtype=kind)}
    data = load_cifar10(write_npz(tmp_path / "some.npz", arrays))
    assert data.train.index is not None
    assert data.test.index is not None
    assert data.train.index.tolist() == list(range(129, 99, -1))
    assert data.test.index.tolist() == list(range(10))
    del arrays["idx_test"]
    assert load_cifar10(write_npz(tmp_path / "some.npz", arrays)).test.index is None


def test_all_60000_images_stand_in_the_official_order(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"y_train": np.arange(50_000) % 10, "y_test": np.arange(10_000) % 10}
    arrays |= {"x_train": np.zeros((50_000, 32, 32, 3), np.uint8), "x_test": np.zeros((10_000, 32, 32, 3), np.uint8)}
    np.savez_compressed(tmp_path / "whole.npz", **arrays)
    data = load_cifar10(tmp_path / "whole.npz")
    assert data.train.index is not None
    assert torch.equal(data.train.index, torch.arange(50_000))
    assert data.test.index is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": np.zeros((30, 32, 32, 3))}, "x_train: uint8, 0 to 255, wanted, got float64 with range 0.0 to 0.0"),
        ({"x_test": np.full((10, 32, 32, 3), 7)}, "x_test: uint8, 0 to 255, wanted, got int64 with range 7 to 7"),
        ({"x_train": np.zeros((30, 32, 32, 3), dtype=bool)}, "wanted, got bool;"),
        ({"x_train": np.zeros((30, 3, 32, 32), dtype=np.uint8)}, r"channels first.*transpose\(0, 2, 3, 1\)"),
        ({"x_train": np.zeros((30, 3072), dtype=np.uint8)}, r"shape \(30, 3072\); \(n, 32, 32, 3\) wanted"),
        ({"x_train": NO_IMAGES, "y_train": np.arange(0)}, "x_train: no images"),
        ({"x_test": NO_IMAGES, "y_test": np.arange(0)}, "x_test: no images"),
        ({"y_train": np.arange(29) % 10}, r"y_train: int64 of shape \(29,\) for 30 images"),
        ({"y_train": np.zeros((30, 1), dtype=np.int64)}, r"shape \(30, 1\) for 30 images.*shape \(30,\)"),
        ({"y_train": np.zeros(30)}, "y_train: float64"),
        ({"y_train": np.array([0] * 28 + [10, 3])}, "y_train: label 10 at position 28, 1 of 30"),
        ({"y_test": np.array([0] * 8 + [-1, -2])}, "y_test: label -1 at position 8, 2 of 10"),
        ({"idx_train": np.arange(29)}, r"idx_train: int64 of shape \(29,\) for 30 images"),
        ({"idx_train": np.array([*range(28), 5, 5])}, "idx_train has position 5 3 times, and 1 positions"),
        ({"idx_test": np.arange(-1, 9)}, "idx_test is -1 at position 0"),
        ({"idx_train": np.arange(49_971, 50_001)}, "idx_train is 50000 at position 29; .* 0 to 49,999"),
        ({"idx_train": np.arange(30), "idx_test": np.arange(28, 38)}, "2 images are in both.*the first at 28"),
        ({"y_train": np.array([None] * 30)}, "cannot be read as an .npz of plain arrays .*numpy.savez"),
    ],
)
def test_an_npz_that_is_not_as_it_should_be(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write_npz(tmp_path / "some.npz", npz_arrays() | changes)
    with pytest.raises(DataError, match=message) as caught:
        load_cifar10(path)
    assert str(path) in str(caught.value)


def test_an_npz_without_a_key_names_it_and_those_there(tmp_path: Path) -> None:
    arrays = npz_arrays()
    arrays["images"] = arrays.pop("x_test")
    with pytest.raises(DataError, match=r"x_test missing; the \.npz has x_train, y_train, y_test, images"):
        load_cifar10(write_npz(tmp_path / "some.npz", arrays))


def test_a_damaged_npz_is_never_another_error(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "some.npz", npz_arrays())
    content, draw = path.read_bytes(), np.random.default_rng(0)
    for size in (4, 100, len(content) // 2, len(content) - 10):
        path.write_bytes(content[:size])
        with pytest.raises(DataError, match=r"some\.npz: cannot be read"):
            load_cifar10(path)
    heads = [content.index(name.encode()) for name in npz_arrays()]
    for place in (heads[draw.integers(4)] + int(draw.integers(-30, 150)) for _ in range(300)):
        path.write_bytes(content[:place] + bytes(draw.integers(0, 256, 2, dtype=np.uint8)) + content[place + 2 :])
        with contextlib.suppress(DataError):
            load_cifar10(path)


def test_names_are_all_there() -> None:
    assert list(small_batches()) == NAMES
    assert len(format_batch(*draw_images(3, seed=0))) > 3 * 3072
