"""The digital stages: a shape in, a torch module and the shape it gives out.

Takes: a stage's kind and numbers, and the shape of one sample. Gives: `Stage`. Must not know: circuits, configurations.
Most stages are torch's own modules; sizes follow from the stage before, so that no size is stated twice. Convolution
and pooling are in `image_stages`, any other torch module in `module_stage`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from .errors import StageError

Shape = tuple[int, ...]  # of one sample, without the batch


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Stage:
    """A module with the shape of one sample that it gives out."""

    module: nn.Module
    shape: Shape


@final
class Gain(nn.Module):
    """Multiply by one number: what sets how far the next energy block is driven.

    Equation: y = gain x.

    Args:
        gain: the number, or where it starts when it is trained.
        trainable: True for a parameter, False for a constant.
    """

    gain: Tensor

    def __init__(self, gain: float, *, trainable: bool = False) -> None:
        super().__init__()
        if not (math.isfinite(gain) and gain != 0):
            raise StageError(f"gain stage: gain = {gain!r}; give a finite number other than zero")
        if trainable:
            self.gain = nn.Parameter(torch.tensor(float(gain)))
        else:
            self.register_buffer("gain", torch.tensor(float(gain)))

    def forward(self, x: Tensor) -> Tensor:
        """Scale x, any shape."""
        return self.gain.to(x.dtype) * x


@final
class Standardise(nn.Module):
    """Shift and scale by two fixed numbers.

    Equation: y = (x - mean) / std.

    Args:
        mean: what becomes zero.
        std: what becomes one.
    """

    def __init__(self, *, mean: float, std: float) -> None:
        super().__init__()
        if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
            raise StageError(f"standardise stage: mean = {mean!r}, std = {std!r}; give finite numbers, std above zero")
        self.mean, self.std = float(mean), float(std)

    def forward(self, x: Tensor) -> Tensor:
        """Standardise x, any shape."""
        return (x - self.mean) / self.std


def linear(shape: Shape, *, size: int, bias: bool = True) -> Stage:
    """Return a dense layer; weights are drawn from torch's global generator, as in any torch module."""
    (n_inputs,) = flat(shape, "linear")
    if size < 1:
        raise StageError(f"linear stage: size = {size}; give one output or more")
    return Stage(module=nn.Linear(n_inputs, size, bias=bias), shape=(size,))


def batch_norm(shape: Shape, *, affine: bool = True, momentum: float = 0.1) -> Stage:
    """Return batch normalisation: of each unit of a flat sample, or of each channel of an image.

    Raises:
        StageError: for any other sample.
    """
    if len(shape) not in {1, 3}:
        raise StageError(
            f"batch_norm stage: needs a flat sample or an image [channels, height, width], gets shape {shape}; put a "
            "'flatten' stage before it"
        )
    kind = nn.BatchNorm1d if len(shape) == 1 else nn.BatchNorm2d
    return Stage(module=kind(shape[0], affine=affine, momentum=momentum), shape=shape)


def relu(shape: Shape) -> Stage:
    """Return a rectifier, any shape."""
    return Stage(module=nn.ReLU(), shape=shape)


def tanh(shape: Shape) -> Stage:
    """Return a hyperbolic tangent, any shape."""
    return Stage(module=nn.Tanh(), shape=shape)


def flatten(shape: Shape) -> Stage:
    """Return a stage that lays an image out as one row."""
    return Stage(module=nn.Flatten(), shape=(math.prod(shape),))


def gain(shape: Shape, *, value: float, trainable: bool = False) -> Stage:
    """Return a `Gain`, any shape."""
    return Stage(module=Gain(value, trainable=trainable), shape=shape)


def standardise(shape: Shape, *, mean: float, std: float) -> Stage:
    """Return a `Standardise`, any shape."""
    return Stage(module=Standardise(mean=mean, std=std), shape=shape)


def flat(shape: Shape, kind: str) -> Shape:
    """Return the shape of a flat sample.

    Raises:
        StageError: if the sample is no row of numbers.
    """
    if len(shape) != 1:
        raise StageError(f"{kind} stage: needs a flat sample, gets shape {shape}; put a 'flatten' stage before it")
    return shape


def chain(stages: Sequence[Stage]) -> nn.Module:
    """Return the modules one after the other; nothing at all for no stages."""
    if len(stages) == 1:
        return stages[0].module
    return nn.Sequential(*(stage.module for stage in stages)) if stages else nn.Identity()
