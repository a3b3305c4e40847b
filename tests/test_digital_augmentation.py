from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
import torch

from digital.augmentation import Augmentation, CropPadding
from digital.errors import DataError


def draw_pixels(n: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(1, 256, (n, *shape), generator=generator, dtype=torch.uint8)  # no zero: that is padding


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_all_off_touches_and_draws_nothing() -> None:
    pixels, generator = draw_pixels(4, 3, 8, 8), seeded()
    before = generator.get_state()
    assert Augmentation().apply(pixels, generator) is pixels
    assert torch.equal(generator.get_state(), before)


def test_the_generator_gives_up_only_what_is_switched_on() -> None:
    pixels = draw_pixels(6, 3, 8, 8)
    for augmentation, flips, crops in (
        (Augmentation(flip=True), True, False),
        (Augmentation(crop=2), False, True),
        (Augmentation(flip=True, crop=2), True, True),
    ):
        used, expected = seeded(), seeded()
        augmentation.apply(pixels, used)
        if flips:
            torch.rand(6, generator=expected)
        if crops:
            torch.randint(5, (2, 6, 1), generator=expected)
        assert torch.equal(used.get_state(), expected.get_state())


def test_half_of_the_images_are_mirrored_and_the_rest_stay() -> None:
    pixels = draw_pixels(4000, 3, 2, 5)
    changed = Augmentation(flip=True).apply(pixels, seeded())
    mirrored = torch.tensor([torch.equal(new, old.flip(2)) for new, old in zip(changed, pixels, strict=True)])
    stayed = torch.tensor([torch.equal(new, old) for new, old in zip(changed, pixels, strict=True)])
    assert torch.equal(mirrored, ~stayed)
    assert int(mirrored.sum()) == pytest.approx(2000, abs=4 * 32)  # four standard deviations


def test_a_cropped_image_is_a_slice_of_the_padded_one() -> None:
    pixels, crop = draw_pixels(50, 3, 6, 9), 2
    cropped = Augmentation(crop=crop).apply(pixels, seeded())
    rows, columns = torch.randint(5, (2, 50, 1), generator=seeded())[:, :, 0].tolist()
    assert set(rows) == set(columns) == {0, 1, 2, 3, 4}
    for image, new, i, j in zip(pixels, cropped, rows, columns, strict=True):
        padded = torch.zeros(3, 10, 13, dtype=torch.uint8)
        padded[:, 2:8, 2:11] = image
        assert torch.equal(new, padded[:, i : i + 6, j : j + 9])


def test_a_crop_by_hand() -> None:
    pixels = torch.tensor([[[[1, 2], [3, 4]]]], dtype=torch.uint8)
    expected = {
        (0, 0): [[0, 0], [0, 1]],
        (0, 1): [[0, 0], [1, 2]],
        (0, 2): [[0, 0], [2, 0]],
        (1, 0): [[0, 1], [0, 3]],
        (1, 1): [[1, 2], [3, 4]],
        (1, 2): [[2, 0], [4, 0]],
        (2, 0): [[0, 3], [0, 0]],
        (2, 1): [[3, 4], [0, 0]],
        (2, 2): [[4, 0], [0, 0]],
    }
    found = {}
    for seed in range(60):
        row, column = torch.randint(3, (2, 1, 1), generator=seeded(seed)).flatten().tolist()
        found[row, column] = Augmentation(crop=1).apply(pixels, seeded(seed))[0, 0].tolist()
    assert found == expected


def test_every_offset_is_as_likely() -> None:
    pixels = draw_pixels(1, 1, 8, 8).expand(9000, -1, -1, -1)
    cropped = Augmentation(crop=1).apply(pixels, seeded())
    _, counts = cropped.flatten(1).unique(dim=0, return_counts=True)
    assert len(counts) == 9
    assert all(count == pytest.approx(1000, abs=4 * 30) for count in counts.tolist())


def test_the_generator_decides() -> None:
    pixels, augmentation = draw_pixels(20, 3, 8, 8), Augmentation(flip=True, crop=3)
    generator = seeded()
    first = augmentation.apply(pixels, generator)
    state = generator.get_state()
    second = augmentation.apply(pixels, generator)
    generator.set_state(state)
    assert torch.equal(augmentation.apply(pixels, generator), second)
    assert not torch.equal(first, second)
    assert first.dtype == torch.uint8
    assert first.shape == pixels.shape
    assert torch.equal(pixels, draw_pixels(20, 3, 8, 8))


def test_flip_comes_before_crop() -> None:
    pixels = draw_pixels(30, 2, 5, 5)
    generator = seeded()
    flipped = Augmentation(flip=True).apply(pixels, generator)
    expected = Augmentation(crop=1).apply(flipped, generator)
    assert torch.equal(Augmentation(flip=True, crop=1).apply(pixels, seeded()), expected)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(DataError, match="crop = -1; give"):
        Augmentation(crop=-1)
    with pytest.raises(DataError, match="crop = 6 for images of 6x9 pixels; give less than 6"):
        Augmentation(crop=6).apply(draw_pixels(1, 3, 6, 9), seeded())
    with pytest.raises(DataError, match=r"torch.float32.*before they are scaled"):
        Augmentation(flip=True).apply(torch.zeros(1, 3, 4, 4), seeded())
    with pytest.raises(FrozenInstanceError):
        Augmentation().crop = 2  # type: ignore[misc]


def test_an_empty_batch_stays_empty() -> None:
    assert Augmentation(flip=True, crop=1).apply(draw_pixels(0, 3, 4, 4), seeded()).shape == (0, 3, 4, 4)


def test_an_edge_goes_on_as_its_nearest_pixel() -> None:
    pixels, crop = draw_pixels(30, 2, 5, 4), 3
    zeros = Augmentation(crop=crop).apply(pixels, seeded())
    edge = Augmentation(crop=crop, padding=CropPadding.EDGE).apply(pixels, seeded())
    inside = zeros != 0
    assert torch.equal(edge[inside], zeros[inside])  # the same windows
    assert not inside.all()
    assert edge.all()
    # torch pads floats by their edge: the window of an image is one of the padded image's.
    padded = torch.nn.functional.pad(pixels.double(), (crop,) * 4, mode="replicate").to(torch.uint8)
    for image, whole in zip(edge, padded, strict=True):
        windows = [whole[:, i : i + 5, j : j + 4] for i in range(2 * crop + 1) for j in range(2 * crop + 1)]
        assert any(torch.equal(image, window) for window in windows)
