from __future__ import annotations

import hashlib

import pytest
import torch

from digital.datasets import load_digits
from digital.errors import DataError


def test_split_is_balanced_disjoint_and_complete() -> None:
    data = load_digits(test_size=360, seed=0)
    assert (data.name, data.n_classes, data.shape) == ("digits", 10, (1, 8, 8))
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert torch.bincount(data.test.labels).tolist() == [36] * 10
    assert torch.bincount(data.train.labels).sum() == 1437
    together = torch.cat([data.train.pixels, data.test.pixels]).flatten(1)
    whole = load_digits(test_size=10, seed=3)
    other = torch.cat([whole.train.pixels, whole.test.pixels]).flatten(1)
    assert torch.equal(together.sum(dim=0), other.sum(dim=0))


def test_scaled_pixels_lie_between_minus_one_and_one() -> None:
    data = load_digits(test_size=360, seed=0)
    assert data.train.pixels.dtype == torch.uint8
    x = data.scaled(data.train.pixels)
    assert (float(x.min()), float(x.max())) == (-1.0, 1.0)
    assert torch.equal(x, data.train.pixels.float() / 8.0 - 1.0)


def test_the_seed_decides_the_split() -> None:
    one, again, other = (load_digits(test_size=100, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.test.pixels, again.test.pixels)
    assert torch.equal(one.train.labels, again.train.labels)
    assert not torch.equal(one.test.pixels, other.test.pixels)


def test_this_split_stays_the_same_in_later_versions() -> None:
    data = load_digits(test_size=360, seed=0)
    weights = torch.arange(64, dtype=torch.float64)
    x_test = data.scaled(data.test.pixels)
    assert float((x_test.flatten(1).double() @ weights).sum()) == pytest.approx(-286907.625, abs=1e-9)


def test_scaled_images_are_the_bits_of_version_0_1() -> None:
    data = load_digits(test_size=360, seed=0)
    digest = hashlib.sha256()
    for images in (data.train, data.test):
        digest.update(data.scaled(images.pixels).numpy().tobytes())
        digest.update(images.labels.numpy().tobytes())
    assert digest.hexdigest() == "ee8b6de3ef94dcb3445d89b5201867d94ec1418ab1daac032535305cfb9ac53c"


def test_an_odd_test_size_is_still_balanced() -> None:
    counts = torch.bincount(load_digits(test_size=33, seed=0).test.labels)
    assert counts.sum() == 33
    assert counts.max() - counts.min() == 1


@pytest.mark.parametrize("test_size", [0, 9, 1796, 5000])
def test_impossible_test_sizes_are_refused(test_size: int) -> None:
    with pytest.raises(DataError, match=f"test_size = {test_size}"):
        load_digits(test_size=test_size, seed=0)


def test_a_class_is_never_used_up() -> None:
    with pytest.raises(DataError, match="all 174 images of class 8"):
        load_digits(test_size=1745, seed=0)
