"""What stands in an energy block's place when a network is trained without circuits: tanh layers of the same sizes."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import final

import torch
from torch import Tensor, nn

from .errors import StageError
from .image_stages import conv
from .stages import Shape, Stage, linear


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ConvolvedLayer:
    """A layer that convolves the image before it, as in torch.

    Args:
        input_shape: [channels, height, width] of that image.
        channels: of the layer.
        kernel, stride, padding: of the convolution.
    """

    input_shape: Shape
    channels: int
    kernel: int = 3
    stride: int = 1
    padding: int = 0


@final
class TanhLayers(nn.Module):
    """Dense or convolved layers with a tanh behind each, from the input on, as ordinary backprop trains them.

    Equation: s_1 = tanh(W_1 x + b_1), or tanh(x) without a matrix; s_k = tanh(W_k s_(k-1) + b_k).

    Args:
        n_inputs: size of the input; None where it enters the first layer directly, one number a unit.
        sizes: units of each layer, or how it convolves the one before.
        output_layers: layers (from 0, negative from the end) that are read; their states are concatenated.
    """

    def __init__(
        self, n_inputs: int | None, sizes: Sequence[int | ConvolvedLayer], *, output_layers: Sequence[int] = (-1,)
    ) -> None:
        super().__init__()
        layers = [*sizes] if n_inputs is None else [n_inputs, *sizes]
        if not sizes or any(layer < 1 for layer in layers if isinstance(layer, int)):
            raise StageError(f"tanh layers: sizes = {layers}; give one layer or more, each of one unit or more")
        if not output_layers or any(not -len(sizes) <= k < len(sizes) for k in output_layers):
            raise StageError(
                f"tanh layers: output_layers = {list(output_layers)}, but there are layers 0 to {len(sizes) - 1}"
            )
        first = layers[0]
        if not isinstance(first, int):
            raise StageError("tanh layers: layer 0 convolves, but the input enters it directly; give its size")
        self.enters_directly = n_inputs is None
        made: list[nn.Module] = []
        self._taken: list[Shape] = []  # by each matrix or convolution, of one sample
        before: Shape = (first,)
        for k, layer in enumerate(layers[1:], start=int(self.enters_directly)):
            stage, taken = _make(layer, before, k)
            made.append(stage.module)
            self._taken.append(taken)
            before = stage.shape
        self._entered: Shape = self._taken[0] if made else (first,)
        self.linear = nn.ModuleList(made)
        self.output_layers = tuple(output_layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the states of the output layers.

        Args:
            x: [batch, n_inputs], or [batch, channels, height, width] of as many units.

        Returns:
            [batch, n_outputs], or [batch, channels, height, width] where the one layer read is an image.
        """
        s = x.reshape(len(x), *self._entered)
        states = [s := torch.tanh(s)] if self.enters_directly else []
        for matrix, taken in zip(self.linear, self._taken, strict=True):
            s = torch.tanh(matrix(s.reshape(len(x), *taken)))
            states.append(s)
        read = [states[k] for k in self.output_layers]
        return read[0] if len(read) == 1 else torch.cat([state.flatten(1) for state in read], dim=1)

    def extra_repr(self) -> str:
        """Say how the input enters and what is read."""
        return f"{'input into the first layer, ' if self.enters_directly else ''}output_layers={self.output_layers}"


def _make(layer: int | ConvolvedLayer, before: Shape, k: int) -> tuple[Stage, Shape]:
    """Return what computes layer k, and the shape in which it takes a sample of the layer before."""
    if isinstance(layer, int):
        taken: Shape = (prod(before),)
        return linear(taken, size=layer), taken
    taken = layer.input_shape
    if before not in {taken, (prod(taken),)}:
        raise StageError(f"tanh layers: layer {k} convolves {taken}, but the layer before it has shape {before}")
    stage = conv(taken, channels=layer.channels, kernel=layer.kernel, stride=layer.stride, padding=layer.padding)
    return stage, taken
