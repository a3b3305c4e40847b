"""A deep Hopfield network as a torch module: forward relaxes the free phase, backward the nudged phases.

`loss.backward()` through a network with such blocks is the chaining of backprop and equilibrium propagation of
Nest & Ernoult 2024, as with `AnalogBlock`, but with the ideal network that the paper trains in a circuit's place.
"""

import copy
import dataclasses
import math
import warnings
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..errors import StageError
from .choices import Gradient
from .config import HopfieldConfig, HopfieldParameters
from .curvature import build_matrices, smallest_eigenvalue
from .energy import compute_energy, spread
from .equilibrium_propagation import estimate_gradients
from .initialisation import GOE_VARIANCE, draw_parameters
from .phases import HopfieldPhases
from .relaxation import Relaxed, relax, start_states


class UnsettledWarning(UserWarning):
    """A free phase did all its steps and still changed by more than the tolerance."""


@final
@dataclass(kw_only=True, slots=True)
class StepCounters:
    """What a block has done since it was made, summed over samples.

    Args:
        relaxations: free and nudged phases. Steps that go on from the free state to be differentiated find no other.
        iterations: steps of all of them, and those; in a step every layer is updated once.
    """

    relaxations: int = 0
    iterations: int = 0


class _Relax(torch.autograd.Function):
    """The block as a function of its input and parameters, with equilibrium propagation for its derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, block: "HopfieldBlock", free: Relaxed, *tensors: Tensor) -> Tensor:
        """Return the last layer of the free state; a copy, so that a stage may change it in place."""
        ctx.save_for_backward(x, *free.states, *tensors)  # torch then refuses a backward after a change in place
        ctx.block = block
        return free.states[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, ds: Tensor) -> tuple[Tensor | None, ...]:
        """Relax the nudged phases; return gradients for x and each parameter."""
        block: HopfieldBlock = ctx.block
        n_layers = len(block.config.shapes)
        x, states, tensors = (
            ctx.saved_tensors[0],
            ctx.saved_tensors[1 : n_layers + 1],
            ctx.saved_tensors[n_layers + 1 :],
        )
        x_gradient, gradients = block.nudge(x, states, ds, tensors, wanted=ctx.needs_input_grad[3:])
        return (x_gradient if ctx.needs_input_grad[0] else None, None, None, *gradients)


@final
class HopfieldBlock(nn.Module):
    """A deep Hopfield network that torch can train.

    Parameters are `weights.<n>`, of coupling n, and `biases.<n>`, of layer n, both counted from 0, so that `weights.0`
    and `biases.1` belong together as in a torch layer; `biases.0` is there with `input_bias` only.

    Args:
        config: layers and couplings.
        phases: how the block is relaxed and differentiated; the paper's numbers if left out.
        goe_variance: V of the initial convolutional weights; None for torch's default.
        generator: randomness of the initial weights; torch's default generator if left out.

    Source: Nest & Ernoult 2024, algorithms 1 and 2.
    """

    def __init__(
        self,
        config: HopfieldConfig,
        *,
        phases: HopfieldPhases | None = None,
        goe_variance: float | None = GOE_VARIANCE,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.phases = phases or HopfieldPhases()
        drawn = draw_parameters(config, goe_variance=goe_variance, generator=generator)
        self.weights = nn.ParameterDict({str(k): nn.Parameter(weight) for k, weight in enumerate(drawn.weights)})
        self.biases = nn.ParameterDict(
            {str(k): nn.Parameter(bias) for k, bias in enumerate(drawn.biases) if bias is not None}
        )
        # To be looked at: no state, so checkpoints have none.
        self._free_change: float | None = None
        self._free_steps: int | None = None
        self._nudged_change: float | None = None
        self._has_warned = False
        self._counters = StepCounters()

    def forward(self, x: Tensor) -> Tensor:
        """Return the last layer's state.

        With `Gradient.ID`, where gradients are enabled, it is the state T2 steps after the free one, as in the paper.

        Args:
            x: [batch, *input_shape].

        Returns:
            [batch, *output_shape].

        Raises:
            StageError: for a wrong shape or type, NaN or infinity in x or the weights.
        """
        free = self.relax(x)
        parameters = self.parameter_tensors()
        if self.phases.gradient is Gradient.ID:
            if not (torch.is_grad_enabled() and any(t.requires_grad for t in (x, *parameters.flatten()))):
                return free.states[-1]
            self._counters.iterations += len(x) * self.phases.nudged_steps
            return relax(self.config, parameters, x, free.states, steps=self.phases.nudged_steps).states[-1]
        result: Tensor = _Relax.apply(x, self, free, *parameters.flatten())  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return result

    def relax(self, x: Tensor) -> Relaxed:
        """Relax the free phase from zero states; `forward` with all layers in hand, without gradients.

        Args:
            x: [batch, *input_shape].

        Raises:
            StageError: for a wrong shape or type, NaN or infinity in x or the weights.
        """
        self._check_input(x)
        phases = self.phases
        with torch.no_grad():
            free = relax(
                self.config,
                self.parameter_tensors(),
                x,
                start_states(self.config, x),
                steps=phases.free_steps,
                tolerance=phases.tolerance,
            )
        self._free_change, self._free_steps = free.change, free.steps
        self._counters.relaxations += len(x)
        self._counters.iterations += len(x) * free.steps
        if not math.isfinite(free.change):
            raise StageError(
                f"hopfield block '{self.config.name}': a state is not finite after {free.steps} steps; look for "
                "weights or inputs that have exploded, and lower the learning rate"
            )
        if phases.tolerance is not None and free.change >= phases.tolerance and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"hopfield block '{self.config.name}': after {free.steps} steps a unit still changes by "
                f"{free.change:.2g} a step, tolerance {phases.tolerance:g}, and gradients assume an equilibrium; raise "
                "free_steps, or lower slope or weights (said once)",
                UnsettledWarning,
                stacklevel=2,
            )
        return free

    def nudge(
        self,
        x: Tensor,
        states: tuple[Tensor, ...],
        ds: Tensor,
        tensors: tuple[Tensor, ...],
        *,
        wanted: tuple[bool, ...],
    ) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        """Relax the nudged phases; return dL/dx and the wanted gradients: `backward` without autograd.

        Args:
            x: [batch, *input_shape].
            states: of the free equilibrium.
            ds: [batch, *output_shape] dL/ds of the last layer.
            tensors: weights and biases in the order of `HopfieldParameters.flatten`.
            wanted: which of them.

        Raises:
            StageError: if ds is not finite.
        """
        finite = torch.isfinite(ds).flatten(1).all(1)
        if not bool(finite.all()):
            raise StageError(
                f"hopfield block '{self.config.name}': the loss gradient of sample {int((~finite).nonzero()[0, 0])} is "
                "not finite; look at the loss, or lower the learning rate"
            )
        parameters = self.parameter_tensors().replace(tensors)
        found = estimate_gradients(self.config, parameters, x, states, ds, self.phases, wanted=wanted)
        self._nudged_change = found.change
        self._counters.relaxations += len(x) * self.phases.n_nudged
        self._counters.iterations += len(x) * self.phases.n_nudged * self.phases.nudged_steps
        return found.x, found.parameters

    def parameter_tensors(self) -> HopfieldParameters:
        """Return weights and biases as the functions of this package take them."""
        n_layers = len(self.config.shapes)
        biases = (self.biases.get(str(k), None) for k in range(n_layers))
        return HopfieldParameters(tuple(self.weights[str(k)] for k in range(n_layers - 1)), tuple(biases))

    def energy(self, x: Tensor, states: tuple[Tensor, ...]) -> Tensor:
        """Return the energy of each sample, [batch]; `compute_energy` with the block's own parameters."""
        return compute_energy(self.config, self.parameter_tensors(), x, states)

    def matrices(self) -> tuple[Tensor, ...]:
        """Return the couplings as matrices, [units above, units below]; see `build_matrices`."""
        return build_matrices(self.config, self.parameter_tensors())

    def unit_biases(self) -> tuple[Tensor, ...]:
        """Return the bias of each unit, [units] a layer, zeros where a layer has none."""
        units = []
        for shape, bias in zip(self.config.shapes, self.parameter_tensors().biases, strict=True):
            zeros = self.weights["0"].detach().new_zeros(shape)
            units.append((zeros if bias is None else zeros + spread(bias.detach(), zeros[None])).flatten())
        return tuple(units)

    def smallest_eigenvalue(self) -> float:
        """Return the smallest eigenvalue of the unclamped Hessian, above zero if there is one equilibrium only."""
        return smallest_eigenvalue(self.config, self.parameter_tensors())

    @property
    def counters(self) -> StepCounters:
        """Relaxations and steps since the block was made; a copy."""
        return dataclasses.replace(self._counters)

    @property
    def free_change(self) -> float | None:
        """Largest change of any unit in the last step of the last free phase; None before the first."""
        return self._free_change

    @property
    def free_steps(self) -> int | None:
        """Steps of the last free phase; None before the first."""
        return self._free_steps

    @property
    def nudged_change(self) -> float | None:
        """Largest change of any unit in the last step of the last nudged phases; None before the first."""
        return self._nudged_change

    def configured(self, phases: HopfieldPhases) -> "HopfieldBlock":
        """Return a copy with the same weights and other phases."""
        copied = copy.deepcopy(self)
        copied.phases = phases
        return copied

    def _check_input(self, x: Tensor) -> None:
        where = f"hopfield block '{self.config.name}'"
        if not isinstance(x, Tensor):
            raise StageError(f"{where}: input of type {type(x).__name__}; give a torch tensor")
        if tuple(x.shape[1:]) != self.config.input_shape or x.ndim == 0:
            wanted = ", ".join(str(size) for size in self.config.input_shape)
            raise StageError(f"{where}: input of shape {tuple(x.shape)}; it takes [batch, {wanted}]")
        if not len(x):
            raise StageError(f"{where}: no samples; give one or more")
        own = next(self.parameters(), x)
        if not x.is_floating_point() or x.dtype != own.dtype:
            raise StageError(f"{where}: input of type {x.dtype}, weights of {own.dtype}; convert one of them")
        finite = torch.isfinite(x).flatten(1).all(1)
        if not bool(finite.all()):
            raise StageError(
                f"{where}: the input of sample {int((~finite).nonzero()[0, 0])} is not finite; look for a division "
                "or an exploding stage before the block"
            )

    def extra_repr(self) -> str:
        """Name layers, slopes and phases."""
        layers = " - ".join("x".join(str(size) for size in shape) for shape in self.config.shapes)
        pool = ", max-pool inside" if self.config.has_max_pool else ""
        return (
            f"'{self.config.name}', {layers}, slopes={self.config.slopes}, {self.config.last_layer.value} last{pool}, "
            f"{self.phases.gradient.value}"
        )
