"""Conjugate gradients with a diagonal preconditioner, a batch of systems at a time, side by side in columns.

Takes: a product with the common matrix, and one diagonal a system. Must not know: circuits. A direction of negative
curvature proves that a matrix is not positive definite; such a system's solution is NaN.
"""

from collections.abc import Callable

import torch
from torch import Tensor

MOST_ITERATIONS = (
    20_000  # far beyond what a circuit of passive devices needs; a batch that stalls then goes on as it is
)


def conjugate_gradients(
    multiply: Callable[[Tensor], Tensor], diagonal: Tensor, right: Tensor, tolerance: Tensor
) -> tuple[Tensor, Tensor]:
    """Solve A_k x_k = b_k for symmetric positive definite matrices.

    Stops where sqrt(r . r / diagonal) has fallen to `tolerance` times its first value, each system by itself.

    Args:
        multiply: returns A_k p_k for every column of [n, batch].
        diagonal: [n, batch] of the matrices: the preconditioner.
        right: [n, batch].
        tolerance: [batch] relative.

    Returns:
        [n, batch], NaN where a matrix is not positive definite or numbers overflow, and [batch] iterations.

    Source: Hestenes & Stiefel 1952, with Jacobi's preconditioner.
    """
    x = torch.zeros_like(right)
    r = right.clone()
    inverse = 1.0 / diagonal
    z = r * inverse
    p = z.clone()
    rho = (r * z).sum(dim=0)
    target = tolerance.square() * rho
    indefinite = (diagonal <= 0).any(dim=0) | ~rho.isfinite()
    active = ~indefinite & (rho > target)
    iterations = torch.zeros_like(rho)
    for _ in range(MOST_ITERATIONS):
        if not bool(active.any()):
            break
        q = multiply(p)
        curvature = (p * q).sum(dim=0)
        indefinite |= active & ~(curvature > 0)
        active &= ~indefinite
        alpha = torch.where(active, rho / curvature, 0.0)
        x.addcmul_(p, alpha.expand_as(p))
        r.addcmul_(q, alpha.expand_as(q), value=-1.0)
        torch.mul(r, inverse, out=z)
        rho_next = (r * z).sum(dim=0)
        beta = torch.where(active, rho_next / rho, 0.0)
        p.mul_(beta).add_(z)
        rho = rho_next
        iterations += active
        active &= rho > target
    x[:, indefinite] = torch.nan
    return x, iterations
