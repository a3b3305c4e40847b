"""Equilibrium propagation in a deep Hopfield network: two relaxations, one difference.

Takes: a free state and dL/ds at the last layer. Gives: dL/dx and the gradients of weights and biases. Must not know:
modules, autograd graphs of others.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .choices import NudgeScaling, Nudging
from .config import HopfieldConfig, HopfieldParameters
from .energy import compute_energy
from .phases import HopfieldPhases
from .relaxation import relax


class HopfieldGradients(NamedTuple):
    """What the nudged phases give.

    Args:
        x: [batch, *input_shape] dL/dx.
        parameters: one a tensor of `HopfieldParameters.flatten`, summed over the batch; None where not wanted.
        change: the largest |change| of any unit in the last step of a nudged phase.
    """

    x: Tensor
    parameters: tuple[Tensor | None, ...]
    change: float


def estimate_gradients(
    config: HopfieldConfig,
    parameters: HopfieldParameters,
    x: Tensor,
    free: Sequence[Tensor],
    ds: Tensor,
    phases: HopfieldPhases,
    *,
    wanted: Sequence[bool] | None = None,
) -> HopfieldGradients:
    """Relax the nudged phases, from the free state on, and compare them.

    Equation: dL/dp = [dE/dp(s_2) - dE/dp(s_1)] / (beta_2 - beta_1) for each parameter p, summed over the samples;
    dL/dx = -(s^1_2 - s^1_1) / (beta_2 - beta_1), since the energy holds -x . s^1. A sample's nudge is beta k ds
    with k as `scaling` says, so that its part of the estimate is divided by k.

    The states are piecewise linear in beta, so the centered estimate is exact, not just to order beta^2, as long as no
    unit enters or leaves its box between -beta and beta, nor a max-pool chooses another; one-sided ones are off by
    a term proportional to beta.

    Args:
        config: layers and couplings.
        parameters: weights and biases.
        x: [batch, *input_shape].
        free: s^1 ... s^L at the free equilibrium.
        ds: [batch, *output_shape] dL/ds^L.
        phases: beta, T2 and which states are compared.
        wanted: which parameters' gradients, in the order of `flatten`; None for all.

    Source: Nest & Ernoult 2024, algorithm 2. There the last block of a chain is nudged by the loss gradient at each
    step's state; here every block by that at the free state, which is all that a module is told.
    """
    with torch.no_grad():
        scale = _scales(ds, phases.scaling)
        shape = (-1, *(1 for _ in ds.shape[1:]))
        force = phases.beta * scale.reshape(shape) * ds
        signs = {Nudging.CENTERED: (-1, 1), Nudging.POSITIVE: (0, 1), Nudging.NEGATIVE: (-1, 0)}[phases.nudging]
        states, change = [], 0.0
        for sign in signs:
            if sign == 0:
                states.append(tuple(free))
                continue
            nudged = relax(config, parameters, x, free, steps=phases.nudged_steps, nudge=sign * force, odd_first=True)
            states.append(nudged.states)
            change = max(change, nudged.change)
        per_sample = 1 / (phases.beta * (signs[1] - signs[0]) * scale)
        x_gradient = -(states[1][0] - states[0][0]) * per_sample.reshape(-1, *(1 for _ in x.shape[1:]))
    leaves = [tensor.detach() for tensor in parameters.flatten()]
    wanted = [True] * len(leaves) if wanted is None else wanted
    chosen = [leaf.requires_grad_() for leaf, is_wanted in zip(leaves, wanted, strict=True) if is_wanted]
    found: list[Tensor] = []
    if chosen:
        with torch.enable_grad():
            first, second = (compute_energy(config, parameters.replace(leaves), x.detach(), s) for s in states)
            found = list(torch.autograd.grad((per_sample * (second - first)).sum(), chosen))
    rest = iter(found)
    return HopfieldGradients(x_gradient, tuple(next(rest) if is_wanted else None for is_wanted in wanted), change)


def _scales(ds: Tensor, scaling: NudgeScaling) -> Tensor:
    """Return what each sample's ds is multiplied by, [batch]."""
    if scaling is NudgeScaling.PER_SAMPLE:
        largest = ds.flatten(1).abs().amax(1)
        usable = largest > torch.finfo(ds.dtype).tiny  # below, and at zero, 1 / largest would overflow
        return torch.where(usable, 1 / largest, torch.ones_like(largest))
    return torch.full(
        (len(ds),), float(len(ds)) if scaling is NudgeScaling.BATCH else 1.0, dtype=ds.dtype, device=ds.device
    )
