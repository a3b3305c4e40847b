"""The digital stages of images: convolution and pooling, from [channels, height, width] to the same with other numbers.

Takes: a stage's numbers and the shape of one sample. Gives: `Stage`. Must not know: circuits, configurations.
Kernels are square; sizes follow torch: floor((size + 2 padding - kernel) / stride) + 1.
"""

import torch
from torch import nn

from .errors import StageError
from .hopfield.initialisation import draw_goe
from .stages import Shape, Stage


def conv(
    shape: Shape,
    *,
    channels: int,
    kernel: int,
    stride: int = 1,
    padding: int = 0,
    bias: bool = True,
    goe_variance: float | None = None,
) -> Stage:
    """Return a 2-D convolution; weights are drawn from torch's global generator, as in any torch module.

    Args:
        shape: of one image, [channels, height, width].
        channels: that it gives.
        kernel: its height and width.
        stride: from one place of the kernel to the next.
        padding: zeros around the image, on each side.
        bias: whether a number is added to each channel.
        goe_variance: V of the initial weights, see `hopfield.draw_goe`, whose bias is then zero; None for torch's.

    Raises:
        StageError: for a sample that is no image, or a kernel larger than the padded image.
    """
    n_channels, *_ = image(shape, "conv")
    _check_positive("conv", channels=channels, kernel=kernel, stride=stride)
    if padding < 0:
        raise StageError(f"conv stage: padding = {padding}; give zero or more")
    size = _count_places(shape, "conv", kernel=kernel, stride=stride, padding=padding)
    module = nn.Conv2d(n_channels, channels, kernel, stride=stride, padding=padding, bias=bias)
    if goe_variance is not None:
        with torch.no_grad():
            module.weight.copy_(draw_goe((channels, n_channels, kernel, kernel), variance=goe_variance))
            if module.bias is not None:
                module.bias.zero_()
    return Stage(module=module, shape=(channels, *size))


def max_pool(shape: Shape, *, kernel: int, stride: int | None = None) -> Stage:
    """Return the largest of each window; without a stride the windows do not overlap.

    Raises:
        StageError: for a sample that is no image, or a window larger than the image.
    """
    pooled = _pooled(shape, "max_pool", kernel, stride)
    return Stage(module=nn.MaxPool2d(kernel, stride), shape=pooled)


def average_pool(shape: Shape, *, kernel: int, stride: int | None = None) -> Stage:
    """Return the mean of each window; without a stride the windows do not overlap.

    Raises:
        StageError: likewise.
    """
    pooled = _pooled(shape, "average_pool", kernel, stride)
    return Stage(module=nn.AvgPool2d(kernel, stride), shape=pooled)


def image(shape: Shape, kind: str) -> Shape:
    """Return the shape of an image.

    Raises:
        StageError: if the sample is none.
    """
    if len(shape) != 3:
        advice = "put it before the 'flatten' stage" if len(shape) == 1 else "give it three axes"
        raise StageError(f"{kind} stage: needs an image [channels, height, width], gets shape {shape}; {advice}")
    return shape


def _pooled(shape: Shape, kind: str, kernel: int, stride: int | None) -> Shape:
    n_channels, *_ = image(shape, kind)
    stride = kernel if stride is None else stride
    _check_positive(kind, kernel=kernel, stride=stride)
    return (n_channels, *_count_places(shape, kind, kernel=kernel, stride=stride, padding=0))


def _check_positive(kind: str, **numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise StageError(f"{kind} stage: {name} = {value}; give one or more")


def _count_places(shape: Shape, kind: str, *, kernel: int, stride: int, padding: int) -> tuple[int, int]:
    """Return how many places the kernel has, down and across."""
    height, width = (size + 2 * padding for size in shape[1:])
    if kernel > min(height, width):
        with_padding = f", {height}x{width} with its padding" if padding else ""
        advice = ", or more padding" if kind == "conv" else ", or pool less before it"
        raise StageError(
            f"{kind} stage: kernel = {kernel} is larger than the image of {shape[1]}x{shape[2]}{with_padding}; choose "
            f"{min(height, width)} or less{advice}"
        )
    return (height - kernel) // stride + 1, (width - kernel) // stride + 1
