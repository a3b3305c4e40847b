"""What stands in an energy block's place when a network is trained without circuits: tanh layers of the same sizes."""

from collections.abc import Sequence
from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn

from .errors import StageError


@final
class TanhLayers(nn.Module):
    """Dense layers with a tanh behind each, from the input on, as ordinary backprop trains them.

    Equation: s_1 = tanh(W_1 x + b_1), or tanh(x) without a matrix; s_k = tanh(W_k s_(k-1) + b_k).

    Args:
        n_inputs: size of the input; None where it enters the first layer directly, one number a unit.
        sizes: units of each layer.
        output_layers: layers (from 0, negative from the end) that are read; their states are concatenated.
    """

    def __init__(self, n_inputs: int | None, sizes: Sequence[int], *, output_layers: Sequence[int] = (-1,)) -> None:
        super().__init__()
        widths = [*sizes] if n_inputs is None else [n_inputs, *sizes]
        if not sizes or min(widths) < 1:
            raise StageError(f"tanh layers: sizes = {widths}; give one layer or more, each of one unit or more")
        if not output_layers or any(not -len(sizes) <= k < len(sizes) for k in output_layers):
            raise StageError(
                f"tanh layers: output_layers = {list(output_layers)}, but there are layers 0 to {len(sizes) - 1}"
            )
        self.enters_directly = n_inputs is None
        self.linear = nn.ModuleList([nn.Linear(n, m) for n, m in pairwise(widths)])
        self.output_layers = tuple(output_layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return the states of the output layers, [batch, n_outputs], of an input, [batch, n_inputs]."""
        states = [torch.tanh(x)] if self.enters_directly else []
        for linear in self.linear:
            states.append(torch.tanh(linear(states[-1] if states else x)))
        return torch.cat([states[k] for k in self.output_layers], dim=1)

    def extra_repr(self) -> str:
        """Say how the input enters and what is read."""
        return f"{'input into the first layer, ' if self.enters_directly else ''}output_layers={self.output_layers}"
