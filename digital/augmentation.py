"""Random changes of training images: mirrored, or shifted by a few pixels.

Takes: a batch of bytes and a generator. Gives: another batch of bytes. Must not know: data sets, networks.
"""

from dataclasses import dataclass
from enum import Enum
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from .errors import DataError


class CropPadding(Enum):
    """What is put around an image before a window is drawn from it."""

    ZEROS = "zeros"  # black, or whatever the byte zero is
    EDGE = "edge"  # the nearest pixel of the image, as torchvision's padding_mode = "edge"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """What is done to each training image, anew in each epoch.

    Args:
        flip: whether half of the images, drawn at random, are mirrored left to right.
        crop: pixels put around an image before a window of the old size is drawn from it; 0 for none.
        padding: which pixels these are.

    Raises:
        DataError: if crop is negative.
    """

    flip: bool = False
    crop: int = 0
    padding: CropPadding = CropPadding.ZEROS

    def __post_init__(self) -> None:
        if self.crop < 0:
            raise DataError(f"augmentation: crop = {self.crop}; give the pixels to pad by, or 0 for no crop")

    def apply(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Return the images, each changed on its own: mirrored first, cropped then.

        Equation: y[i, j] = x[i + di - crop, j + dj - crop], outside x zero or the nearest pixel; di and dj uniform in
        0 ... 2 crop.

        Args:
            pixels: [n, channels, height, width] uint8, on any device.
            generator: draws n numbers for the flip, then 2 n for the crop; nothing for what is switched off.

        Returns:
            [n, channels, height, width] uint8; the same tensor if all is switched off.

        Raises:
            DataError: if pixels are no batch of bytes, or crop is as large as the images, which could leave no pixel.
        """
        if pixels.dtype != torch.uint8 or pixels.ndim != 4:
            raise DataError(
                f"augmentation: pixels are {pixels.dtype} of shape {tuple(pixels.shape)}; "
                "give uint8 of shape [n, channels, height, width], before they are scaled"
            )
        if self.flip:
            mirrored = torch.rand(len(pixels), generator=generator, device=generator.device) < 0.5
            pixels = torch.where(mirrored.to(pixels.device)[:, None, None, None], pixels.flip(3), pixels)
        return _crop(pixels, self.crop, self.padding, generator) if self.crop else pixels


def _crop(pixels: Tensor, crop: int, padding: CropPadding, generator: torch.Generator) -> Tensor:
    """Draw a window from each padded image; one gather for the whole batch."""
    n, channels, height, width = pixels.shape
    if crop >= min(height, width):
        raise DataError(
            f"augmentation: crop = {crop} for images of {height}x{width} pixels; give less than {min(height, width)}"
        )
    offsets = torch.randint(2 * crop + 1, (2, n, 1), generator=generator, device=generator.device).to(pixels.device)
    rows = offsets[0] + torch.arange(height, device=pixels.device)
    columns = offsets[1] + torch.arange(width, device=pixels.device)
    if padding is CropPadding.EDGE:
        rows, columns = (rows - crop).clamp(0, height - 1), (columns - crop).clamp(0, width - 1)
    else:
        pixels = functional.pad(pixels, (crop, crop, crop, crop))
    image = torch.arange(n, device=pixels.device)[:, None, None, None]
    channel = torch.arange(channels, device=pixels.device)[None, :, None, None]
    return pixels[image, channel, rows[:, None, :, None], columns[:, None, None, :]]
