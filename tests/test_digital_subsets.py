from __future__ import annotations

import json
import os
from dataclasses import replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from cifar10_archive import NAMES, format_batch, npz_arrays, small_sets, write_folder, write_npz

from digital.cifar10 import load_cifar10
from digital.errors import DataError
from digital.images import ImageDataset, ImageSet
from digital.subsets import balanced_indices, listed_subset

REAL = Path(
    os.environ.get("TELLEGEN_CIFAR10") or Path(__file__).resolve().parents[2] / "shared" / "data" / "cifar10_subset.npz"
)


def find_real_images() -> Path:
    """Return the .npz of real images, or skip the test that needs it."""
    if REAL.suffix != ".npz" or not REAL.is_file():
        pytest.skip(f"no .npz of CIFAR-10 images at {REAL}; $TELLEGEN_CIFAR10 says where it is")
    return REAL


def read_list() -> dict[str, list[int]]:
    listing: dict[str, list[int]] = json.loads(resources.files("digital").joinpath("cifar10_subset.json").read_text())
    return listing


@pytest.mark.parametrize("size", [10, 25, 40, 50])
def test_classes_are_balanced_and_rows_ascend(size: int) -> None:
    labels = torch.arange(50) * 3 % 10
    rows = balanced_indices(labels, size, seed=0, what="images")
    counts = torch.bincount(labels[rows], minlength=10)
    assert counts.sum() == size
    assert counts.max() - counts.min() <= 1
    assert (rows.diff() > 0).all()


def test_the_seed_decides_which() -> None:
    labels = torch.arange(50) % 10
    one, again, other = (balanced_indices(labels, 20, seed=seed, what="images") for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_impossible_sizes_are_refused_with_both_numbers() -> None:
    labels = torch.arange(50) % 10
    with pytest.raises(DataError, match="my images: 51 asked for, but there are 50 images of 10 classes"):
        balanced_indices(labels, 51, seed=0, what="my images")
    with pytest.raises(DataError, match="my images: 9 asked for"):
        balanced_indices(labels, 9, seed=0, what="my images")
    with pytest.raises(DataError, match="0 asked for, but there are 0 images"):
        balanced_indices(labels[:0], 0, seed=0, what="my images")
    few = torch.tensor([0] * 8 + [1] * 2)
    with pytest.raises(DataError, match="of class 1 there are 2 in place of 3; ask for 4 or fewer"):
        balanced_indices(few, 6, seed=0, what="my images")


def test_the_list_is_balanced_in_size_and_has_no_image_twice() -> None:
    listing = read_list()
    assert set(listing) == {"about", "train", "test"}
    assert (len(listing["train"]), len(listing["test"])) == (3000, 660)
    both = listing["train"] + listing["test"]
    assert len(set(both)) == 3660
    assert 0 <= min(both) < max(both) < 50_000


def test_listed_images_are_found_in_either_set_in_the_order_of_the_list() -> None:
    listing = read_list()
    both = torch.tensor(listing["train"] + listing["test"] + [49_999])
    order = torch.randperm(len(both), generator=torch.Generator().manual_seed(0))
    both = both[order]
    # Each image's pixels spell its position.
    pixels = torch.stack([both // 256, both % 256, both * 0], dim=1).to(torch.uint8)[:, :, None, None]
    images = ImageSet(pixels=pixels, labels=both % 10, index=both)
    first, second = images.take(torch.arange(1000)), images.take(torch.arange(1000, len(both)))
    data = ImageDataset(name="c", n_classes=10, train=first, test=second, mean=(0.0,) * 3, std=(1.0,) * 3)
    found = listed_subset(data)
    for images, wanted in ((found.train, listing["train"]), (found.test, listing["test"])):
        place = images.pixels[:, 0, 0, 0].long() * 256 + images.pixels[:, 1, 0, 0].long()
        assert place.tolist() == wanted
        assert images.labels.tolist() == [position % 10 for position in wanted]
        assert images.index is not None
        assert images.index.tolist() == wanted
    assert listed_subset(found).fingerprint == found.fingerprint


def test_missing_images_are_counted_with_the_ways_out() -> None:
    train, test = small_sets()
    data = ImageDataset(name="cifar10", n_classes=10, train=train, test=test, mean=(0.0,) * 3, std=(1.0,) * 3)
    listing = read_list()
    missing = sum(position >= 100 for position in listing["train"] + listing["test"])
    with pytest.raises(DataError, match=rf"{missing:,} of the 3,660 listed images are missing.*official archive.*all"):
        listed_subset(data)
    with pytest.raises(DataError, match=r"unknown here.*idx_train.*official archive"):
        listed_subset(replace(data, train=replace(train, index=None)))


def test_an_npz_without_positions_has_no_listed_subset(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cifar10: the listed images are found by their position"):
        listed_subset(load_cifar10(write_npz(tmp_path / "some.npz", npz_arrays())))


def test_the_official_order_gives_the_same_bits_as_the_npz(tmp_path: Path) -> None:
    real = np.load(find_real_images(), allow_pickle=False)
    if "idx_train" not in real.files:
        pytest.skip(f"{REAL} has no idx_train")
    pixels, labels = np.zeros((50_000, 3, 32, 32), dtype=np.uint8), np.zeros(50_000, dtype=np.int64)
    for part in ("train", "test"):
        pixels[real[f"idx_{part}"]] = real[f"x_{part}"].transpose(0, 3, 1, 2)
        labels[real[f"idx_{part}"]] = real[f"y_{part}"]
    batches = {
        name: format_batch(pixels[first : first + 10_000], labels[first : first + 10_000])
        for name, first in zip(NAMES, range(0, 50_000, 10_000), strict=False)
    }
    batches["test_batch"] = format_batch(pixels[:10], labels[:10])
    from_folder = listed_subset(load_cifar10(write_folder(tmp_path, batches)))
    from_npz = listed_subset(load_cifar10(REAL))
    for found in (from_folder, from_npz):
        for part, images in (("train", found.train), ("test", found.test)):
            assert np.array_equal(images.pixels.numpy(), real[f"x_{part}"].transpose(0, 3, 1, 2))
            assert np.array_equal(images.labels.numpy(), real[f"y_{part}"])
            assert images.index is not None
            assert np.array_equal(images.index.numpy(), real[f"idx_{part}"])
    assert from_folder.fingerprint == from_npz.fingerprint == load_cifar10(REAL).fingerprint
