"""Alternating updates: every other layer at once, since these are coupled only through the layers between them.

Takes: states to start from. Gives: states after some steps, and how much the last one changed. Must not know: losses.
Without max-pool each half step minimises the energy exactly, so the energy never rises, and with a convex energy
(`smallest_eigenvalue` above zero) the states converge. Otherwise they may end in one of several equilibria.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .config import HopfieldConfig, HopfieldParameters
from .energy import update_layer


class Relaxed(NamedTuple):
    """Where a relaxation ended.

    Args:
        states: s^1 ... s^L, [batch, *shape] each.
        steps: that were done; in each, every layer is updated once.
        change: the largest |change| of any unit of any sample in the last step; 0 without steps.
    """

    states: tuple[Tensor, ...]
    steps: int
    change: float


def start_states(config: HopfieldConfig, x: Tensor) -> tuple[Tensor, ...]:
    """Return zeros, where every free phase starts."""
    return tuple(x.new_zeros(len(x), *shape) for shape in config.shapes)


def relax(
    config: HopfieldConfig,
    parameters: HopfieldParameters,
    x: Tensor,
    states: Sequence[Tensor],
    *,
    steps: int,
    tolerance: float | None = None,
    nudge: Tensor | None = None,
    odd_first: bool = False,
) -> Relaxed:
    """Update all layers, step by step; gradients flow through if they are enabled.

    Args:
        config: layers and couplings.
        parameters: weights and biases.
        x: [batch, *input_shape].
        states: s^1 ... s^L to start from, [batch, *shape] each.
        steps: at most.
        tolerance: a change below which to stop; None to do all steps.
        nudge: [batch, *output_shape] beta dL/ds; None for the free phase.
        odd_first: whether s^2, s^4, ... are updated before s^1, s^3, ...: the paper's order in nudged phases.

    Source: Nest & Ernoult 2024. Their code stops at a mean over the layers of |change| / |s|, norms over the batch;
    here no unit of any sample may change by more than the tolerance.
    """
    now, change, done = list(states), 0.0, 0
    halves = [range(0, len(now), 2), range(1, len(now), 2)]  # layers of one half do not see each other
    order = [layer for half in (reversed(halves) if odd_first else halves) for layer in half]
    for done in range(1, steps + 1):
        before = list(now)
        for layer in order:
            now[layer] = update_layer(config, parameters, x, now, layer, nudge=nudge)
        if tolerance is not None or done == steps:
            change = _largest_change(before, now)
        if tolerance is not None and change < tolerance:
            break
    return Relaxed(tuple(now), done, change)


def _largest_change(before: Sequence[Tensor], now: Sequence[Tensor]) -> float:
    """Return the largest change; NaN if there is one, infinity minus infinity included."""
    with torch.no_grad():
        return float(torch.stack([(new - old).abs().amax() for old, new in zip(before, now, strict=True)]).amax())
