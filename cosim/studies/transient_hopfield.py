"""A hopfield block's gradients in its own discrete time: nudged steps, against unrolling.

EP(t) compares the states after t nudged steps from the free equilibrium. ID(t) is the loss gradient through t steps
that start there; since at an equilibrium all steps are alike, one pass backwards through T2 steps gives it for every t,
as the sum over the last t steps.
"""

from typing import Final, final

import numpy as np
import torch
from torch import Tensor

from circuits.arrays import Floats
from digital.hopfield import HopfieldBlock, NudgeScaling
from digital.hopfield.energy import compute_energy
from digital.hopfield.relaxation import relax

from ..errors import ConvergenceError, StudyError
from .transient_blocks import AbstractBlockInTime
from .transient_curves import BlockTimes, Curves

MOST_STEPS: Final = 5_000  # of the free phase: a block that needs more does not settle for all that anyone will wait
TOLERANCE: Final = 1e-12  # of a step at the free equilibrium; EP(t) = ID(t) holds of a true one only


@final
class HopfieldInTime(AbstractBlockInTime):
    """A deep Hopfield network.

    Args:
        block: in float64; its number of nudged steps is the window.
        beta: nudge.
    """

    def __init__(self, block: HopfieldBlock, beta: float) -> None:
        self._block, self._beta = block, beta
        self._x: Tensor | None = None
        self._states: tuple[Tensor, ...] = ()

    @property
    def name(self) -> str:
        """Name of the block."""
        return self._block.config.name

    @property
    def times(self) -> BlockTimes:
        """Its steps."""
        return BlockTimes(block=self.name, beta=self._beta, window=float(self._block.phases.nudged_steps))

    @property
    def clamped_share(self) -> float:
        """Share of the units that are at 0 or 1 in the free equilibrium."""
        at = [((s <= 0) | (s >= 1)) & box for s, box in zip(self._states, self._block.config.boxes, strict=True)]
        return sum(int(layer.sum()) for layer in at) / max(1, sum(layer.numel() for layer in at))

    def relax(self, x: Tensor) -> Tensor:
        """Find the free equilibrium, however many steps that takes; see `AbstractBlockInTime.relax`.

        Raises:
            ConvergenceError: if the block does not settle.
        """
        block = self._block
        with torch.no_grad():
            started = block.relax(x)
            settled = relax(
                block.config, block.parameter_tensors(), x, started.states, steps=MOST_STEPS, tolerance=TOLERANCE
            )
        if not settled.change < TOLERANCE:
            raise ConvergenceError(
                f"hopfield block '{self.name}': after {started.steps + settled.steps} steps a unit still changes by "
                f"{settled.change:.2g} a step, so there is no free equilibrium to nudge; lower its slope or weights"
            )
        self._x, self._states = x, settled.states
        return settled.states[-1].clone()

    def estimate(self, ds: Tensor) -> tuple[Curves, Tensor]:
        """Take nudged steps at -beta and +beta; see `AbstractBlockInTime.estimate`."""
        block, x, scale = self._block, self._input, self._scales(ds)
        force = self._beta * scale.reshape(-1, *(1 for _ in ds.shape[1:])) * ds
        per_sample = 1.0 / (2.0 * self._beta * scale)
        leaves = [tensor.detach().requires_grad_() for tensor in block.parameter_tensors().flatten()]
        parameters = block.parameter_tensors().replace(leaves)
        phases = [self._states, self._states]
        gradients: list[list[Tensor]] = []
        for t in range(block.phases.nudged_steps + 1):
            if t:
                with torch.no_grad():
                    phases = [
                        relax(block.config, parameters, x, states, steps=1, nudge=sign * force, odd_first=True).states
                        for sign, states in zip((-1, 1), phases, strict=True)
                    ]
            first, second = (compute_energy(block.config, parameters, x, states) for states in phases)
            found = list(torch.autograd.grad((per_sample * (second - first)).sum(), leaves))
            moved = -(phases[1][0] - phases[0][0]) * per_sample.reshape(-1, *(1 for _ in x.shape[1:]))
            gradients.append([*found, moved])
        return self._curves(gradients)

    def differentiate(self, ds: Tensor) -> tuple[Curves, Tensor]:
        """Unroll the same number of steps; see `AbstractBlockInTime.differentiate`."""
        block, x = self._block, self._input
        tensors = block.parameter_tensors().flatten()
        states, steps = self._states, []
        with torch.enable_grad():
            for _ in range(block.phases.nudged_steps):
                own = [tensor.detach().clone().requires_grad_() for tensor in (*tensors, x)]
                parameters = block.parameter_tensors().replace(own[:-1])
                states = relax(block.config, parameters, own[-1], states, steps=1).states
                steps.append(own)
            leaves = [leaf for own in steps for leaf in own]
            found = torch.autograd.grad(states[-1], leaves, ds, allow_unused=True, materialize_grads=True)
        n = len(tensors) + 1
        sums = [[torch.zeros_like(tensor) for tensor in (*tensors, x)]]
        for k in reversed(range(len(steps))):
            sums.append([total + g for total, g in zip(sums[-1], found[k * n : (k + 1) * n], strict=True)])
        return self._curves(sums)

    @property
    def _input(self) -> Tensor:
        if self._x is None:
            raise StudyError(f"hopfield block '{self.name}': not relaxed yet")
        return self._x

    def _scales(self, ds: Tensor) -> Tensor:
        """Return what each sample's ds is multiplied by, [batch], as the block's phases say."""
        if self._block.phases.scaling is NudgeScaling.PER_SAMPLE:
            largest = ds.flatten(1).abs().amax(1)
            return torch.where(largest > 0, 1.0 / largest, torch.ones_like(largest))
        factor = len(ds) if self._block.phases.scaling is NudgeScaling.BATCH else 1
        return torch.full((len(ds),), float(factor), dtype=ds.dtype)

    def _curves(self, gradients: list[list[Tensor]]) -> tuple[Curves, Tensor]:
        """Return curves from the gradients at each time, those of the input last."""
        names = self._names()
        values: dict[str, Floats] = {
            name: torch.stack([own[k].detach().flatten() for own in gradients]).double().numpy()
            for k, name in enumerate(names)
        }
        return Curves(time=np.arange(float(len(gradients))), values=values), gradients[-1][-1].detach()

    def _names(self) -> list[str]:
        """Return the names of the tensors in the order of `HopfieldParameters.flatten`, then "input"."""
        parameters = self._block.parameter_tensors()
        biases = [f"biases.{k}" for k, bias in enumerate(parameters.biases) if bias is not None]
        return [*(f"weights.{k}" for k in range(len(parameters.weights))), *biases, "input"]
