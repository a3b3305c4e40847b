from __future__ import annotations

import pytest
import torch

from digital.datasets import DATASETS, load_digits
from digital.errors import StageError


def test_split_is_balanced_disjoint_and_complete() -> None:
    data = load_digits(test_size=360, seed=0)
    assert data.shape == (1, 8, 8)
    assert (len(data.x_train), len(data.x_test)) == (1437, 360)
    assert torch.bincount(data.y_test).tolist() == [36] * 10
    assert torch.bincount(data.y_train).sum() == 1437
    together = torch.cat([data.x_train, data.x_test]).flatten(1)
    whole = load_digits(test_size=10, seed=3)
    other = torch.cat([whole.x_train, whole.x_test]).flatten(1)
    assert torch.equal(together.sum(dim=0), other.sum(dim=0))


def test_pixels_lie_between_minus_one_and_one() -> None:
    data = load_digits(test_size=360, seed=0)
    assert float(data.x_train.min()) == -1.0
    assert float(data.x_train.max()) == 1.0


def test_the_seed_decides_the_split() -> None:
    one, again, other = (load_digits(test_size=100, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.x_test, again.x_test)
    assert torch.equal(one.y_train, again.y_train)
    assert not torch.equal(one.x_test, other.x_test)


def test_this_split_stays_the_same_in_later_versions() -> None:
    data = load_digits(test_size=360, seed=0)
    weights = torch.arange(64, dtype=torch.float64)
    assert float((data.x_test.flatten(1).double() @ weights).sum()) == pytest.approx(-286907.625, abs=1e-9)


def test_an_odd_test_size_is_still_balanced() -> None:
    counts = torch.bincount(load_digits(test_size=33, seed=0).y_test)
    assert counts.sum() == 33
    assert counts.max() - counts.min() == 1


@pytest.mark.parametrize("test_size", [0, 9, 1796, 5000])
def test_impossible_test_sizes_are_refused(test_size: int) -> None:
    with pytest.raises(StageError, match=f"test_size = {test_size}"):
        load_digits(test_size=test_size, seed=0)


def test_a_class_is_never_used_up() -> None:
    with pytest.raises(StageError, match="all 174 images of class 8"):
        load_digits(test_size=1745, seed=0)


def test_the_table_names_the_data_sets() -> None:
    assert list(DATASETS) == ["digits"]
