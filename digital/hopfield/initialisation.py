"""Where the weights of a deep Hopfield network start.

Takes: shapes and a generator. Gives: weights and biases. Must not know: training.
"""

import math

import torch
from torch import Tensor

from ..errors import StageError
from .config import HopfieldConfig, HopfieldParameters
from .couplings import ConvCoupling

# Of the paper's six-layer networks on CIFAR-10; its others have 1e-5 to 5.9e-5.
GOE_VARIANCE = 8.351e-5


def draw_goe(shape: tuple[int, ...], *, variance: float, generator: torch.Generator | None = None) -> Tensor:
    """Draw kernels whose slices are symmetric Gaussian matrices, each on its own.

    Equation: variance V / N off the diagonal, standard deviation sqrt(8 V / N) on it, for N x N slices.

    Args:
        shape: [channels, channels below, N, N].
        variance: V.
        generator: randomness; torch's default generator if left out.

    Raises:
        StageError: if the slices are not square, or V is not a positive number.

    Source: the paper's code, tril(A) + tril(A)^T with the diagonal times sqrt(2), A of variance V / N. In the Gaussian
    orthogonal ensemble proper the diagonal's variance is twice the others', here eight times.
    """
    if shape[-1] != shape[-2]:
        raise StageError(f"GOE initialisation: kernels of {shape[-2]}x{shape[-1]}; only square ones can be symmetric")
    if not (math.isfinite(variance) and variance > 0):
        raise StageError(f"GOE initialisation: variance = {variance!r}; give a finite number above zero")
    drawn = torch.randn(shape, generator=generator) * math.sqrt(variance / shape[-1])
    lower = drawn.tril()
    symmetric = lower + lower.mT
    return symmetric + (math.sqrt(2) - 1) * torch.diag_embed(symmetric.diagonal(dim1=-2, dim2=-1))


def draw_parameters(
    config: HopfieldConfig, *, goe_variance: float | None = GOE_VARIANCE, generator: torch.Generator | None = None
) -> HopfieldParameters:
    """Draw weights and biases as the paper does, or as torch does.

    Args:
        config: layers and couplings.
        goe_variance: V of convolutional weights, whose biases are then zero; None for torch's default, uniform in
            +-1/sqrt(inputs a unit), for these too. Dense couplings always have torch's default.
        generator: randomness; torch's default generator if left out.

    Returns:
        float32 tensors; an input bias is zero.
    """
    weights: list[Tensor] = []
    biases: list[Tensor | None] = [torch.zeros(config.input_shape[0]) if config.input_bias else None]
    for coupling, shape in zip(config.couplings, config.shapes, strict=False):
        weight_shape = coupling.weight_shape(shape)
        if isinstance(coupling, ConvCoupling) and goe_variance is not None:
            weights.append(draw_goe(weight_shape, variance=goe_variance, generator=generator))
            biases.append(torch.zeros(weight_shape[0]) if coupling.bias else None)
        else:
            bound = 1 / math.sqrt(math.prod(weight_shape[1:]))
            weights.append(torch.empty(weight_shape).uniform_(-bound, bound, generator=generator))
            drawn = torch.empty(weight_shape[0]).uniform_(-bound, bound, generator=generator) if coupling.bias else None
            biases.append(drawn)
    return HopfieldParameters(tuple(weights), tuple(biases))
