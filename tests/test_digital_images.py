from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest
import torch

from digital.errors import DataError
from digital.images import ImageDataset, ImageSet


def make_set(n: int = 20, *, n_classes: int = 4, index: bool = True, seed: int = 0) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    return ImageSet(
        pixels=torch.randint(0, 256, (n, 3, 5, 4), generator=generator, dtype=torch.uint8),
        labels=torch.arange(n) % n_classes,
        index=torch.arange(n) * 10 if index else None,
    )


def make_dataset() -> ImageDataset:
    return ImageDataset(
        name="small",
        n_classes=4,
        train=make_set(),
        test=make_set(12, index=False, seed=1),
        mean=(100.0, 110.0, 120.0),
        std=(50.0, 60.0, 70.0),
    )


def test_take_keeps_pixels_labels_and_index_together() -> None:
    images = make_set()
    taken = images.take(torch.tensor([7, 2, 2]))
    assert len(taken) == 3
    assert torch.equal(taken.pixels, torch.stack([images.pixels[row] for row in (7, 2, 2)]))
    assert taken.labels.tolist() == [3, 2, 2]
    assert taken.index is not None
    assert taken.index.tolist() == [70, 20, 20]
    assert make_set(index=False).take(torch.tensor([0])).index is None


def test_a_set_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        make_set().labels = torch.zeros(20)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("pixels", "labels", "index", "message"),
    [
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, dtype=torch.int64), None, "pixels are torch.float32"),
        (torch.zeros(2, 3, 4, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), None, r"\(2, 3, 4\)"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), None, "labels.* for 2 images"),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2), None, "labels: torch.float32"),
        (
            torch.zeros(2, 3, 4, 4, dtype=torch.uint8),
            torch.zeros(2, dtype=torch.int64),
            torch.zeros(1, dtype=torch.int64),
            "index: torch.int64",
        ),
        (
            torch.zeros(2, 3, 4, 4, dtype=torch.uint8),
            torch.zeros(2, dtype=torch.int64),
            torch.tensor([3, -1]),
            "index -1",
        ),
    ],
)
def test_a_set_refuses_other_shapes_and_types(
    pixels: torch.Tensor, labels: torch.Tensor, index: torch.Tensor | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        ImageSet(pixels=pixels, labels=labels, index=index)


def test_a_data_set_refuses_what_does_not_fit() -> None:
    data = make_dataset()
    with pytest.raises(DataError, match="small: no held-out images"):
        replace(data, test=data.test.take(torch.tensor([], dtype=torch.int64)))
    with pytest.raises(DataError, match=r"training images go from 0 to 3; 3 classes are 0 to 2"):
        replace(data, n_classes=3)
    wide = ImageSet(pixels=torch.zeros(1, 3, 5, 6, dtype=torch.uint8), labels=torch.zeros(1, dtype=torch.int64))
    with pytest.raises(DataError, match=r"\(3, 5, 4\), but held-out images of shape \(3, 5, 6\)"):
        replace(data, test=wide)
    with pytest.raises(DataError, match="give 3 finite numbers"):
        replace(data, mean=(1.0,))
    with pytest.raises(DataError, match="std above zero"):
        replace(data, std=(1.0, 0.0, 1.0))


def test_scaled_is_channel_by_channel() -> None:
    data = make_dataset()
    x = data.scaled(data.train.pixels)
    assert x.dtype == torch.float32
    for channel, (mean, std) in enumerate(zip(data.mean, data.std, strict=True)):
        expected = (data.train.pixels[:, channel].double() - mean) / std
        torch.testing.assert_close(x[:, channel].double(), expected, rtol=1e-6, atol=1e-6)
    assert torch.equal(data.scaled(data.train.pixels[3]), x[3])
    assert data.shape == (3, 5, 4)


def test_the_fingerprint_tells_images_apart_and_nothing_else() -> None:
    data = make_dataset()
    assert len(data.fingerprint) == 64
    assert replace(data, name="other", train=replace(data.train, index=None)).fingerprint == data.fingerprint
    pixels, labels = data.test.pixels.clone(), data.test.labels.clone()
    pixels[-1, -1, -1, -1] ^= 1
    labels[0] += 1
    others = [
        replace(data, test=replace(data.test, pixels=pixels)),
        replace(data, test=replace(data.test, labels=labels)),
        replace(data, train=data.test, test=data.train),
        replace(data, train=data.train.take(torch.arange(19, -1, -1))),
        replace(
            data,
            train=replace(data.train, pixels=data.train.pixels.reshape(20, 3, 4, 5)),
            test=replace(data.test, pixels=data.test.pixels.reshape(12, 3, 4, 5)),
        ),
    ]
    assert len({data.fingerprint, *(other.fingerprint for other in others)}) == 6


def test_a_strided_set_has_the_fingerprint_of_its_copy() -> None:
    data = make_dataset()
    turned = data.train.pixels.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert not turned.is_contiguous()
    assert replace(data, train=replace(data.train, pixels=turned)).fingerprint == data.fingerprint


def test_resized_is_balanced_seeded_and_leaves_what_is_none() -> None:
    data = make_dataset()
    one, again, other = (data.resized(train_size=10, test_size=None, seed=seed) for seed in (1, 1, 2))
    assert torch.bincount(one.train.labels).tolist() == [3, 3, 2, 2]
    assert one.test is data.test
    assert one.fingerprint == again.fingerprint != other.fingerprint
    assert one.train.index is not None
    assert torch.equal(one.train.pixels, data.train.pixels[one.train.index // 10])
    assert len(data.resized(train_size=None, test_size=4, seed=0).test) == 4
    with pytest.raises(DataError, match="small: held-out images: 13 asked for, but there are 12 images"):
        data.resized(train_size=None, test_size=13, seed=0)
