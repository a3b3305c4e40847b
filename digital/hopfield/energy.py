"""The energy of a deep Hopfield network, and the update of one layer that minimises it.

Takes: states of a batch. Gives: the energy of each sample, or one layer's new state. Must not know: phases, steps.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from .config import HopfieldConfig, HopfieldParameters


def compute_energy(
    config: HopfieldConfig,
    parameters: HopfieldParameters,
    x: Tensor,
    states: Sequence[Tensor],
    *,
    nudge: Tensor | None = None,
) -> Tensor:
    """Return the energy of each sample.

    Equation: E = sum_l |s^l|^2 / (2 a_l) - x . s^1 - sum_l b^l . s^l - sum_l s^(l+1) . P(W^l * s^l) + nudge . s^L, for
    states inside their boxes. Outside, the energy is infinite: that is the caller's to see to.

    Args:
        config: layers and couplings.
        parameters: W and b.
        x: [batch, *input_shape].
        states: s^1 ... s^L, [batch, *shape] each.
        nudge: [batch, *output_shape] beta dL/ds; None for the free phase.

    Returns:
        [batch].

    Source: Nest & Ernoult 2024, their primitive function Phi being minus the terms that hold x, b and W.
    """
    terms = [(s.square() / (2 * a)).flatten(1).sum(1) for s, a in zip(states, config.slopes, strict=True)]
    terms.append(-(x * states[0]).flatten(1).sum(1))
    for s, bias in zip(states, parameters.biases, strict=True):
        if bias is not None:
            terms.append(-(spread(bias, s) * s).flatten(1).sum(1))
    for number, (coupling, weight) in enumerate(zip(config.couplings, parameters.weights, strict=True)):
        terms.append(-(states[number + 1] * coupling.forward(states[number], weight)).flatten(1).sum(1))
    if nudge is not None:
        terms.append((nudge * states[-1]).flatten(1).sum(1))
    return torch.stack(terms).sum(0)


def update_layer(
    config: HopfieldConfig,
    parameters: HopfieldParameters,
    x: Tensor,
    states: Sequence[Tensor],
    layer: int,
    *,
    nudge: Tensor | None = None,
) -> Tensor:
    """Return the state of one layer that minimises the energy, all others being fixed.

    Equation: s^l = clamp(a_l c^l, 0, 1), c^l = [x, l = 1] + b^l + P(W^(l-1) * s^(l-1)) + W^l^T * unpool(s^(l+1))
    - [nudge, l = L]; without the clamp for a linear last layer. Below a max-pool the energy is not quadratic: there the
    step is a (-dE/ds + s / a), with the pool's choices of the present state.

    Args:
        config: layers and couplings.
        parameters: W and b.
        x: [batch, *input_shape].
        states: s^1 ... s^L, [batch, *shape] each.
        layer: which one, from 0.
        nudge: [batch, *output_shape] beta dL/ds; None for the free phase.

    Returns:
        [batch, *shape of the layer].

    Source: Nest & Ernoult 2024; in their code no slope is applied to a layer that is not clamped.
    """
    current = x if layer == 0 else config.couplings[layer - 1].forward(states[layer - 1], parameters.weights[layer - 1])
    bias = parameters.biases[layer]
    if bias is not None:
        current = current + spread(bias, current)
    if layer < len(states) - 1:
        current = current + config.couplings[layer].backward(
            states[layer + 1], states[layer], parameters.weights[layer]
        )
    elif nudge is not None:
        current = current - nudge
    slope = config.slopes[layer]
    driven = current if slope == 1 else slope * current
    return driven.clamp(0, 1) if config.boxes[layer] else driven


def spread(bias: Tensor, like: Tensor) -> Tensor:
    """Return a bias in a shape that is added to a layer's states, [batch, units] or [batch, channels, ...]."""
    return bias.reshape(-1, *(1 for _ in like.shape[2:]))
