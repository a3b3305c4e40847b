"""Follow the gradients of a network's blocks in time, block after block, last to first.

The loss reaches the last block through the readout; a block's own dL/dx, once converged, goes on through the digital
stage before it by backprop and becomes the nudge of the block upstream. Estimates and exact gradients are two chains of
their own, so errors of the one are not hidden in the other.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from rich.console import Console
from torch import Tensor, nn

from digital.hopfield import HopfieldBlock

from ..analog_block import AnalogBlock
from ..errors import StudyError
from ..progress import counting_bar
from ..training.trainer import Loss
from .transient_blocks import AbstractBlockInTime
from .transient_curves import Curves, LayerCurves

EnergyModule = AnalogBlock | HopfieldBlock


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Call:
    """A block that was relaxed: its input with the digital graph behind it, and its state, where a new graph begins."""

    block: AbstractBlockInTime
    x: Tensor
    state: Tensor


@final
class _Recorder(nn.Module):
    """Stands in a block's place; what it gives has no graph, so that each stretch between blocks is on its own."""

    def __init__(self, block: AbstractBlockInTime, calls: list[_Call]) -> None:
        super().__init__()
        self._block, self._calls = block, calls

    def forward(self, x: Tensor) -> Tensor:
        """Relax the block."""
        if any(call.block is self._block for call in self._calls):
            raise StudyError(
                f"block '{self._block.name}' is used twice in the network; its transients are those of one equilibrium"
            )
        state = self._block.relax(x.detach()).requires_grad_()
        self._calls.append(_Call(block=self._block, x=x, state=state))
        return state


def follow_network(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    loss_of: Loss,
    in_time: Callable[[EnergyModule], AbstractBlockInTime],
    console: Console | None = None,
) -> tuple[LayerCurves, ...]:
    """Follow the gradients of every block.

    Args:
        network: with `AnalogBlock`s, `HopfieldBlock`s or both; in float64 and eval mode.
        x: [batch, ...] samples.
        y: [batch] classes.
        loss_of: mean loss of logits and classes.
        in_time: makes what follows a block.
        console: shows progress.

    Returns:
        the curves of every tensor, blocks from last to first.

    Raises:
        StudyError: if there is no block, or one is used twice.
    """
    calls: list[_Call] = []
    loss = loss_of(_recording(network, in_time, calls)(x), y)
    found: list[LayerCurves] = []
    with counting_bar(console) as bar:
        task = bar.add_task("blocks", total=2 * len(calls))
        estimates = _chain(loss, calls, lambda block, ds: block.estimate(ds), lambda: bar.advance(task))
        exact_ones = _chain(loss, calls, lambda block, ds: block.differentiate(ds), lambda: bar.advance(task))
    for call, estimated, exact in zip(reversed(calls), estimates, exact_ones, strict=True):
        found += [
            LayerCurves(
                block=call.block.name,
                tensor=tensor,
                time=estimated.time,
                estimated=values,
                exact=exact.values[tensor],
                clamped_share=call.block.clamped_share,
                times=call.block.times,
            )
            for tensor, values in estimated.values.items()
        ]
    return tuple(found)


def _recording(
    network: nn.Module, in_time: Callable[[EnergyModule], AbstractBlockInTime], calls: list[_Call]
) -> nn.Module:
    """Return a copy of a network whose blocks are recorded."""
    if isinstance(network, AnalogBlock | HopfieldBlock):
        return _Recorder(in_time(network), calls)
    copied = copy.deepcopy(network)
    recorders: dict[nn.Module, _Recorder] = {}
    for name, module in list(copied.named_modules(remove_duplicate=False)):
        if isinstance(module, AnalogBlock | HopfieldBlock):
            if module not in recorders:
                recorders[module] = _Recorder(in_time(module), calls)
            parent, _, last = name.rpartition(".")
            setattr(copied.get_submodule(parent), last, recorders[module])
    if not recorders:
        raise StudyError("the network has no energy block, neither analog nor hopfield, so nothing settles")
    return copied


def _chain(
    loss: Tensor,
    calls: Sequence[_Call],
    follow: Callable[[AbstractBlockInTime, Tensor], tuple[Curves, Tensor]],
    done: Callable[[], None],
) -> list[Curves]:
    """Return the curves of each block, last to first, each nudged by what comes back through those behind it."""
    errors = [_gradient(loss, call.state, None) for call in calls]
    curves: list[Curves] = []
    for k in range(len(calls) - 1, -1, -1):
        own, dx = follow(calls[k].block, errors[k])
        curves.append(own)
        if calls[k].x.requires_grad:
            for j in range(k):
                errors[j] = errors[j] + _gradient(calls[k].x, calls[j].state, dx)
        done()
    return curves


def _gradient(of: Tensor, by: Tensor, along: Tensor | None) -> Tensor:
    """Return a vector-Jacobian product; zero where there is no way from one to the other."""
    if not of.requires_grad:
        return torch.zeros_like(by)
    (found,) = torch.autograd.grad(of, by, along, retain_graph=True, allow_unused=True, materialize_grads=True)
    return found
