"""Whether the energy is convex: the smallest eigenvalue of its Hessian where no unit is clamped.

Takes: a network's weights. Gives: a number, or the couplings as matrices. Must not know: states, phases.
Above zero the energy has one minimum, whichever units are clamped, and relaxation finds it. For two layers that is
a_1 a_2 |W|^2 < 1.
"""

import math
from itertools import pairwise

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from ..errors import StageError
from .config import HopfieldConfig, HopfieldParameters

_MAX_ENTRIES = 20_000_000  # 160 MB in float64: beyond, a matrix is hardly what was wanted


def build_matrices(
    config: HopfieldConfig, parameters: HopfieldParameters, *, max_entries: int = _MAX_ENTRIES
) -> tuple[Tensor, ...]:
    """Return the couplings as matrices W, [units above, units below], images laid out row by row.

    Args:
        config: layers and couplings.
        parameters: weights and biases.
        max_entries: of one matrix, so that no image of ordinary size fills the memory.

    Raises:
        StageError: if the energy has a max-pool, which no matrix is, or a matrix would have more entries.
    """
    refuse_max_pool(config, "the couplings as matrices")
    for number, (below, above) in enumerate(pairwise(config.shapes), start=1):
        if math.prod(below) * math.prod(above) > max_entries:
            raise StageError(
                f"hopfield block '{config.name}': coupling {number} as a matrix would be {math.prod(above):,} x "
                f"{math.prod(below):,}, more than {max_entries:,} entries; use fewer channels or smaller images"
            )
    matrices = []
    for coupling, weight, shape in zip(config.couplings, parameters.weights, config.shapes, strict=False):
        n_units = math.prod(shape)
        units = torch.eye(n_units, dtype=weight.dtype, device=weight.device).reshape(n_units, *shape)
        matrices.append(coupling.forward(units, weight.detach()).flatten(1).T.contiguous())
    return tuple(matrices)


def smallest_eigenvalue(config: HopfieldConfig, parameters: HopfieldParameters, *, dense_up_to: int = 1500) -> float:
    """Return the smallest eigenvalue of the Hessian of the energy with no unit clamped.

    Equation: H has 1 / a_l on the diagonal of layer l, and -W^l between layers l + 1 and l.

    Args:
        config: layers and couplings.
        parameters: weights and biases.
        dense_up_to: units up to which H is built and diagonalised; for more, Lanczos iteration on the couplings as
            they are.

    Raises:
        StageError: if the energy has a max-pool, whose Hessian depends on the state, or a weight is not finite, or
            Lanczos iteration does not converge.
    """
    refuse_max_pool(config, "the smallest eigenvalue")
    if not all(bool(torch.isfinite(weight).all()) for weight in parameters.weights):
        raise StageError(f"hopfield block '{config.name}': a weight is not finite, so there are no eigenvalues")
    parameters = HopfieldParameters(tuple(w.detach().double().cpu() for w in parameters.weights), parameters.biases)
    sizes = [math.prod(shape) for shape in config.shapes]
    if sum(sizes) <= dense_up_to:
        return float(
            torch.linalg.eigvalsh(_multiply(config, parameters, torch.eye(sum(sizes), dtype=torch.float64)))[0]
        )
    operator = LinearOperator(
        (sum(sizes), sum(sizes)),
        matvec=lambda v: _multiply(config, parameters, torch.from_numpy(np.asarray(v).reshape(1, -1)))[0].numpy(),
        dtype=np.float64,
    )
    start = np.random.default_rng(0).standard_normal(sum(sizes))  # the same digits on every call
    try:
        found = eigsh(operator, k=1, which="SA", v0=start, tol=1e-8, return_eigenvectors=False)
    except ArpackNoConvergence as error:
        raise StageError(
            f"hopfield block '{config.name}': Lanczos iteration on {sum(sizes):,} units does not converge ({error}); "
            f"raise dense_up_to from {dense_up_to:,} if the memory allows"
        ) from error
    return float(found[0])


def refuse_max_pool(config: HopfieldConfig, what: str) -> None:
    """Refuse what cannot be had with a max-pool inside the energy.

    Raises:
        StageError: naming the coupling that has one.
    """
    for number, coupling in enumerate(config.couplings, start=1):
        if coupling.pool is not None:
            raise StageError(
                f"hopfield block '{config.name}': coupling {number} has a max-pool inside the energy (pool = "
                f"{coupling.pool}), so {what} cannot be given; move the pool to the stage before a block"
            )


def _multiply(config: HopfieldConfig, parameters: HopfieldParameters, v: Tensor) -> Tensor:
    """Return H v for each row of v, [rows, all units]."""
    sizes = [math.prod(shape) for shape in config.shapes]
    parts = [part.reshape(len(v), *shape) for part, shape in zip(v.split(sizes, 1), config.shapes, strict=True)]
    products = [part / slope for part, slope in zip(parts, config.slopes, strict=True)]
    for layer, (coupling, weight) in enumerate(zip(config.couplings, parameters.weights, strict=True)):
        products[layer + 1] = products[layer + 1] - coupling.forward(parts[layer], weight)
        products[layer] = products[layer] - coupling.backward(parts[layer + 1], parts[layer], weight)
    return torch.cat([product.flatten(1) for product in products], dim=1)
