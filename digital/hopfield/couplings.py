"""What couples one layer to the next: a matrix, or a convolution with max-pool behind it where the energy has one.

```
            forward, P(W * s)
s^l  ------------------------------>  s^(l+1)      energy: -s^(l+1) . P(W * s^l)
     <------------------------------
      backward, W^T * unpool(s^(l+1))
```

Takes: states and weights. Gives: the currents into the layer above and into the layer below. Must not know: slopes,
boxes, biases, phases. Both directions are derivatives of the one energy, so the coupling is symmetric by construction.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import StageError
from ..stages import Shape


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DenseCoupling:
    """A matrix from every unit of a layer to every unit of the next; an image is laid out as one row first.

    Args:
        size: units of the next layer.
        bias: whether the next layer has a bias, one a unit.

    Raises:
        StageError: for a size below one.
    """

    size: int
    bias: bool = True

    def __post_init__(self) -> None:
        _check_whole("dense coupling", 1, size=self.size)

    @property
    def pool(self) -> None:
        """A dense coupling has no max-pool."""
        return

    def next_shape(self, shape: Shape, where: str) -> Shape:  # noqa: ARG002  any shape will do
        """Return the next layer's shape."""
        return (self.size,)

    def weight_shape(self, shape: Shape) -> Shape:
        """Return the weight's shape, [size, units below], as in `nn.Linear`."""
        return (self.size, math.prod(shape))

    def forward(self, below: Tensor, weight: Tensor) -> Tensor:
        """Return the current into the layer above, [batch, size]."""
        return below.flatten(1) @ weight.T

    def backward(self, above: Tensor, below: Tensor, weight: Tensor) -> Tensor:
        """Return the current into the layer below, in its shape."""
        return (above @ weight).reshape(below.shape)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ConvCoupling:
    """A 2-D convolution from an image to the next, and max-pool inside the energy if asked for.

    Args:
        channels: of the next layer.
        kernel: its height and width.
        stride: from one place of the kernel to the next, as in `nn.Conv2d`.
        padding: zeros around the image, on each side, likewise.
        pool: size and stride of the max-pool's windows; None for no pool. A window that does not fit is left out.
        bias: whether the next layer has a bias, one a channel.

    Raises:
        StageError: for numbers that a convolution cannot have.
    """

    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    pool: int | None = None
    bias: bool = True

    def __post_init__(self) -> None:
        _check_whole("conv coupling", 1, channels=self.channels, kernel=self.kernel, stride=self.stride)
        _check_whole("conv coupling", 0, padding=self.padding)
        if self.pool is not None:
            _check_whole("conv coupling", 2, pool=self.pool)

    def next_shape(self, shape: Shape, where: str) -> Shape:
        """Return the next layer's shape.

        Raises:
            StageError: if the layer below is no image, or too small for the kernel or the pool.
        """
        if len(shape) != 3:
            raise StageError(f"{where}: couples images [channels, height, width], gets shape {shape}; use a dense one")
        if self.kernel > min(shape[1:]) + 2 * self.padding:
            raise StageError(
                f"{where}: kernel = {self.kernel} is larger than the layer below, {shape[1]}x{shape[2]} and padding "
                f"{self.padding}; choose {min(shape[1:]) + 2 * self.padding} or less, or more padding"
            )
        height, width = ((size + 2 * self.padding - self.kernel) // self.stride + 1 for size in shape[1:])
        if self.pool is not None:
            if self.pool > min(height, width):
                raise StageError(
                    f"{where}: pool = {self.pool} is larger than what the convolution gives, {height}x{width}; pool "
                    "less, or not at all"
                )
            height, width = height // self.pool, width // self.pool
        return (self.channels, height, width)

    def weight_shape(self, shape: Shape) -> Shape:
        """Return the weight's shape, [channels, channels below, kernel, kernel], as in `nn.Conv2d`."""
        return (self.channels, shape[0], self.kernel, self.kernel)

    def forward(self, below: Tensor, weight: Tensor) -> Tensor:
        """Return the current into the layer above, [batch, channels, height, width]."""
        convolved = functional.conv2d(below, weight, stride=self.stride, padding=self.padding)
        return convolved if self.pool is None else functional.max_pool2d(convolved, self.pool)

    def backward(self, above: Tensor, below: Tensor, weight: Tensor) -> Tensor:
        """Return the current into the layer below, in its shape.

        With max-pool it goes through the unit of each window that is largest now, so it depends on `below`.
        """
        if self.pool is not None:
            with torch.no_grad():  # which unit is largest has no derivative
                convolved = functional.conv2d(below, weight, stride=self.stride, padding=self.padding)
                _, indices = functional.max_pool2d(convolved, self.pool, return_indices=True)
            above = functional.max_unpool2d(above, indices, [self.pool, self.pool], output_size=convolved.shape[2:])
        # Rows and columns that the stride leaves over at the far edge: the adjoint returns them as zeros.
        left_over = [(size + 2 * self.padding - self.kernel) % self.stride for size in below.shape[2:]]
        return functional.conv_transpose2d(
            above, weight, stride=self.stride, padding=self.padding, output_padding=left_over
        )


Coupling = DenseCoupling | ConvCoupling


def _check_whole(where: str, least: int, **numbers: object) -> None:
    for name, value in numbers.items():
        if not isinstance(value, int) or value < least:
            raise StageError(f"{where}: {name} = {value!r}; give a whole number, {least} or more")
