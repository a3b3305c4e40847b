"""The same network run otherwise: another simulator, ideal converters, exact gradients."""

import copy
from collections.abc import Callable
from typing import Literal

from torch import nn

from circuits.nonidealities import NonIdealities

from .analog_block import AnalogBlock, Gradient
from .converters import Converters
from .phase_settings import PhaseSettings
from .relaxation import RelaxationOptions
from .simulators.base import AbstractSimulator


def twin(
    network: nn.Module,
    *,
    simulator: AbstractSimulator | None = None,
    settings: PhaseSettings | None = None,
    converters: Converters | None = None,
    gradient: Gradient | None = None,
    relaxation: RelaxationOptions | None = None,
    nonidealities: NonIdealities | Literal["same"] | None = "same",
) -> nn.Module:
    """Return a copy of a network, weights included, whose analog blocks run with other options.

    Args:
        network: any module that contains `AnalogBlock`s, or is one.
        simulator: where the blocks are relaxed; what is left out stays.
        settings: how the phases are run.
        converters: DACs and ADCs.
        gradient: where the gradients come from.
        relaxation: how far the circuits are reduced, and tolerances.
        nonidealities: of the blocks as made; None for the blocks as designed.

    Returns:
        an independent network.
    """
    return replace_blocks(
        network,
        lambda block: block.configured(
            simulator=simulator,
            settings=settings,
            converters=converters,
            gradient=gradient,
            relaxation=relaxation,
            nonidealities=nonidealities,
        ),
    )


def replace_blocks(network: nn.Module, change: Callable[[AnalogBlock], AnalogBlock]) -> nn.Module:
    """Return a copy of a network in which each analog block is replaced by what `change` makes of it."""
    copied = copy.deepcopy(network)
    for name, module in list(copied.named_modules()):
        if isinstance(module, AnalogBlock):
            if not name:
                return change(module)
            parent, _, last = name.rpartition(".")
            setattr(copied.get_submodule(parent), last, change(module))
    return copied
