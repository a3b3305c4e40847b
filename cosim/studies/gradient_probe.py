"""The gradients of every tensor of a network, by autograd and by finite differences of its loss."""

import copy
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from digital.hopfield import Gradient as HopfieldGradient
from digital.hopfield import HopfieldBlock, HopfieldPhases
from digital.hopfield import Nudging as HopfieldNudging

from ..analog_block import AnalogBlock
from ..conductance import Conductance
from ..phase_settings import Nudging
from ..training.trainer import Loss
from ..twin import replace_blocks

Directions = Mapping[tuple[str, str], NDArray[np.float64]]  # a part for each tensor, by name

STEP = 1e-5  # of a finite difference; its square is far below the limits, round-off of the loss far below STEP
EDGE = 1e-3  # share of the window by which devices are moved off its edges
N_LARGEST, N_RANDOM = 4, 4  # entries of each tensor that finite differences look at


def off_the_edges(network: nn.Module) -> nn.Module:
    """Return a float64 copy in eval mode whose devices lie inside their windows, so that differences have two sides."""
    copied = copy.deepcopy(network).double().eval()
    with torch.no_grad():
        for parameter in copied.parameters():
            if isinstance(parameter, Conductance):
                low, high = parameter.window
                margin = EDGE * (high - low)
                parameter.clamp_(low + margin, high - margin)
    return copied


def with_devices_as_asked(network: nn.Module) -> nn.Module:
    """Return a copy whose devices hold what weights ask for, so that differences by a weight are of the circuit.

    Levels make a loss a staircase in the weights, and each write may draw an error of its own; what is in the circuit
    itself stays: see `NonIdealities.as_asked`.
    """

    def change(block: AnalogBlock) -> AnalogBlock:
        made = block.nonidealities
        return block.configured(nonidealities=None if made is None else made.as_asked)

    return replace_blocks(network, change)


def with_beta(network: nn.Module, beta: float) -> nn.Module:
    """Return a copy whose blocks, hopfield ones too, are nudged by another beta, every other setting as it is."""
    copied = replace_blocks(network, lambda block: block.configured(settings=replace(block.settings, beta=beta)))
    return _with_phases(copied, lambda phases: replace(phases, beta=beta))


def with_nudging(network: nn.Module, nudging: Nudging) -> nn.Module:
    """Return a copy whose blocks, hopfield ones too, compare other phases, every other setting as it is."""
    copied = replace_blocks(network, lambda block: block.configured(settings=replace(block.settings, nudging=nudging)))
    return _with_phases(copied, lambda phases: replace(phases, nudging=HopfieldNudging(nudging.value)))


def with_hopfield_gradient(network: nn.Module, gradient: HopfieldGradient) -> nn.Module:
    """Return a copy whose hopfield blocks have their gradients from nudged phases, or from unrolling."""
    return _with_phases(copy.deepcopy(network), lambda phases: replace(phases, gradient=gradient))


def _with_phases(network: nn.Module, change: Callable[[HopfieldPhases], HopfieldPhases]) -> nn.Module:
    for module in network.modules():
        if isinstance(module, HopfieldBlock):
            module.phases = change(module.phases)
    return network


@final
class GradientProbe:
    """A network with its loss: gradients of every tensor, and finite differences of the loss.

    A tensor is named (module, parameter); the input of a block is (block, "input"), reached by an added shift.
    """

    def __init__(self, network: nn.Module, x: Tensor, y: Tensor, loss_of: Loss) -> None:
        self._network, self._x, self._y, self._loss_of = network, x.double(), y, loss_of
        self._tensors: dict[tuple[str, str], Tensor] = {}
        blocks = Counter(m.block.name for m in network.modules() if isinstance(m, AnalogBlock))
        names = {
            name: m.block.name if isinstance(m, AnalogBlock) and blocks[m.block.name] == 1 else name
            for name, m in network.named_modules()
        }
        for name, parameter in network.named_parameters():
            if not parameter.requires_grad:
                continue
            owner = max(
                (o for o in names if name.startswith(f"{o}.") or not o),
                key=lambda o: (bool(names[o]) and self._is_block(o), len(o)),
            )
            self._tensors[names[owner] or "network", name[len(owner) :].lstrip(".")] = parameter
        for name, module in network.named_modules():
            if isinstance(module, AnalogBlock):
                shift = torch.zeros(len(x), module.block.n_inputs, dtype=torch.float64, requires_grad=True)
                self._tensors[names[name], "input"] = shift
                module.register_forward_pre_hook(lambda _module, args, shift=shift: (args[0] + shift.view_as(args[0]),))

    def _is_block(self, name: str) -> bool:
        return isinstance(self._network.get_submodule(name), AnalogBlock)

    @property
    def blocks(self) -> tuple[AnalogBlock, ...]:
        """The analog blocks of the network."""
        return tuple(m for m in self._network.modules() if isinstance(m, AnalogBlock))

    @property
    def of_blocks(self) -> tuple[tuple[str, str], ...]:
        """Names of the parameters of energy blocks, hopfield ones too; all parameters where those are frozen."""
        parameters = {name: p for name, p in self._tensors.items() if isinstance(p, nn.Parameter)}
        blocks = [m for m in self._network.modules() if isinstance(m, AnalogBlock | HopfieldBlock)]
        owned = {id(p) for block in blocks for p in block.parameters()}
        return tuple(name for name, p in parameters.items() if id(p) in owned) or tuple(parameters)

    def largest_step(self, directions: Directions) -> float:
        """Return how far the parameters can go along a direction, both ways, before a device is at an edge."""
        steps = [math.inf]
        for name, direction in directions.items():
            tensor = self._tensors[name]
            if isinstance(tensor, Conductance):
                low, high = tensor.window
                room = torch.minimum(tensor.detach() - low, high - tensor.detach()).numpy()
                steps.append(float((room / np.maximum(np.abs(direction), np.finfo(float).tiny)).min()))
        return min(steps)

    def slope(self, directions: Directions, step: float) -> float:
        """Return the central difference of the loss along a direction in the space of several tensors."""
        losses = []
        with torch.no_grad():
            before = {name: self._tensors[name].clone() for name in directions}
            for sign in (1.0, -1.0):
                for name, direction in directions.items():
                    self._tensors[name].copy_(before[name] + sign * step * torch.from_numpy(direction))
                losses.append(float(self.loss()))
            for name, tensor in before.items():
                self._tensors[name].copy_(tensor)
        return (losses[0] - losses[1]) / (2 * step)

    def loss(self) -> Tensor:
        """Return the mean loss."""
        return self._loss_of(self._network(self._x), self._y)

    def gradients(self) -> dict[tuple[str, str], NDArray[np.float64]]:
        """Return the gradient of every tensor."""
        for tensor in self._tensors.values():
            tensor.grad = None
        self.loss().backward()
        return {
            name: np.zeros(tuple(t.shape)) if t.grad is None else t.grad.numpy() for name, t in self._tensors.items()
        }

    def differences(
        self, name: tuple[str, str], gradient: NDArray[np.float64], generator: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Return which entries were looked at, the random direction, and the differences for both.

        Half of the entries are the largest of the reference, where agreement means most; half are drawn.
        """
        largest = np.argsort(-np.abs(gradient.ravel()))[:N_LARGEST]
        drawn = generator.integers(0, gradient.size, N_RANDOM)
        chosen = np.unique(np.concatenate([largest, drawn]))
        direction = generator.standard_normal(gradient.shape)
        direction /= np.linalg.norm(direction)
        units = np.zeros((len(chosen), gradient.size))
        units[np.arange(len(chosen)), chosen] = 1.0
        directions = [unit.reshape(gradient.shape) for unit in units]
        measured = np.array([self.slope({name: step}, STEP) for step in (*directions, direction)])
        return chosen, direction, measured
