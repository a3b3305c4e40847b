"""What may enter an energy block: samples that go forward, loss gradients that come back."""

import math

import numpy as np
import torch
from torch import Tensor

from circuits.arrays import Floats
from circuits.energy_block import EnergyBlock

from .errors import BlockError


def check_input(block: EnergyBlock, x: Tensor) -> None:
    """Check samples that enter a block.

    Args:
        block: the block.
        x: [batch, n_inputs] dimensionless, or [batch, channels, height, width] of an image of as many units.

    Raises:
        BlockError: for what is no tensor of floats, another shape, NaN or infinity.
    """
    if not isinstance(x, Tensor):
        raise BlockError(f"block '{block.name}': input of type {type(x).__name__}; give a torch tensor")
    shape = tuple(x.shape[1:])
    is_image = len(shape) == 3  # its units enter a dense layer as torch lays them out; a convolution knows its own
    if is_image and len(block.input_shape) == 1:
        shape = (math.prod(shape),)
    if x.ndim == 0 or shape not in {(block.n_inputs,), block.input_shape}:
        raise BlockError(f"block '{block.name}': input of shape {tuple(x.shape)}; it takes {_shapes_taken(block)}")
    if not x.is_floating_point():
        raise BlockError(f"block '{block.name}': input of type {x.dtype}; give float32 or float64")
    if not bool(torch.isfinite(x).all()):
        flat = x.flatten(1)
        sample, unit = (int(k) for k in (~torch.isfinite(flat)).nonzero()[0])
        raise BlockError(
            f"block '{block.name}': input {unit} of sample {sample} is {float(flat[sample, unit])}; look for "
            "a division or an exploding stage before the block"
        )


def checked_gradient(block: EnergyBlock, ds: Tensor) -> Floats:
    """Return the loss gradient of a block's outputs as an array, [batch, n_outputs].

    Raises:
        BlockError: for NaN or infinity, with the sample.
    """
    gradient: Floats = ds.detach().double().cpu().numpy()
    if not np.isfinite(gradient).all():
        sample = int(np.argwhere(~np.isfinite(gradient))[0][0])
        raise BlockError(
            f"block '{block.name}': the loss gradient of sample {sample} is not finite; look at the loss, or "
            "lower the learning rate"
        )
    return gradient


def _shapes_taken(block: EnergyBlock) -> str:
    """Return the shapes of input that a block takes."""
    flat = f"[batch, {block.n_inputs}]"
    return flat if len(block.input_shape) == 1 else f"{flat} or [batch, {', '.join(map(str, block.input_shape))}]"
