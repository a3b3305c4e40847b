"""Free and nudged equilibria of every analog block for real images, and the power that each holds.

Takes: a network and images. Gives: of each analog block its inputs, loss gradients and node voltages. They are of the
unreduced circuit, every row's own current included. Must not know: time, constants.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from torch import Tensor, nn

from circuits.arrays import Floats
from circuits.power import PowerBalance, power_balance
from circuits.topology import analyse

from ..analog_block import AnalogBlock
from ..converters import Crossing
from ..phase_settings import NudgeScaling
from ..relaxation import Relaxation
from ..simulators.newton import NewtonSimulator
from ..training.trainer import Loss
from .errors import ChipError


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PhaseState:
    """Equilibria of one phase.

    Args:
        sign: of the nudge: 0 in the free phase.
        drives: [n, n_drives] V then A.
        voltage_v: [n, n_nodes] V.
        power: of each kind of element, [n] W.
    """

    sign: int
    drives: Floats
    voltage_v: Floats
    power: PowerBalance


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BlockStates:
    """Equilibria of a block.

    Args:
        conductance_s: [n_resistors] S.
        free: the free phase.
        nudged: each nudged phase; none where there is no loss gradient.
    """

    conductance_s: Floats
    free: PhaseState
    nudged: tuple[PhaseState, ...]

    @property
    def phases(self) -> tuple[PhaseState, ...]:
        """All phases, the free one first."""
        return (self.free, *self.nudged)

    @property
    def balance_error(self) -> float:
        """Largest relative difference of power delivered and dissipated, over phases and samples."""
        return max(float(phase.power.relative_error.max()) for phase in self.phases)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Crossings:
    """What enters and leaves the modules of a network for some images.

    Args:
        inputs: by module, [n, ...].
        gradients: dL/d(output) of each sample by module, [n, ...]; no entry where nothing before it is trained.
    """

    inputs: dict[nn.Module, Tensor]
    gradients: dict[nn.Module, Tensor]


def watch(network: nn.Module, modules: Sequence[nn.Module], x: Tensor, y: Tensor, loss: Loss) -> Crossings:
    """Run images through a network in evaluation mode, forward and backward, and note what crosses some modules.

    Args:
        network: any; it stays as it is, but for gradients, which are dropped.
        modules: of it.
        x: [n, ...] images.
        y: [n] classes.
        loss: mean loss of logits and classes.

    Returns:
        inputs, and loss gradients of each sample, not of their mean.
    """
    found = Crossings(inputs={}, gradients={})

    def note(module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        found.inputs[module] = given[0].detach().clone()
        if made.requires_grad:
            made.register_hook(lambda ds: found.gradients.__setitem__(module, ds.detach() * len(x)))

    hooks: list[Any] = [module.register_forward_hook(note) for module in modules]
    was_training = network.training
    try:
        network.eval()
        value = loss(network(x), y)
        if value.requires_grad:
            value.backward()
    finally:
        for hook in hooks:
            hook.remove()
        network.zero_grad(set_to_none=True)
        network.train(was_training)
    return found


def block_states(block: AnalogBlock, x: Tensor, ds: Tensor | None) -> BlockStates:
    """Relax a block's free phase for its inputs, and its nudged phases for loss gradients.

    Args:
        block: in newton, evaluation mode.
        x: [n, ...] inputs before the DAC.
        ds: [n, ...] dL/ds; None for no nudged phases.

    Raises:
        ConvergenceError: for a sample without an equilibrium.
    """
    built = block.circuit
    topology = analyse(built.circuit)
    free = block.free_phase(x.flatten(1))
    g = free.conductance_s
    relaxation = Relaxation.of_block(built, NewtonSimulator(), block.relaxation_options)

    def state(sign: int, drives: Floats, voltage_v: Floats) -> PhaseState:
        return PhaseState(
            sign=sign, drives=drives, voltage_v=voltage_v, power=power_balance(topology, g, drives, voltage_v)
        )

    drives = built.drives(free.x)
    start_v = relaxation.recovered(g, drives, relaxation.solve(g, drives)).voltage_v
    nudged = []
    nudges = [] if ds is None else _nudges(block, ds.detach().double().flatten(1).cpu().numpy())
    for sign, nudge in nudges:
        with_nudge = built.drives(free.x, nudge)
        nudged.append(state(sign, with_nudge, relaxation.solve(g, with_nudge, start_v=start_v).voltage_v))
    return BlockStates(conductance_s=g, free=state(0, drives, start_v), nudged=tuple(nudged))


def _nudges(block: AnalogBlock, ds: Floats) -> list[tuple[int, Floats]]:
    """Return each nudge's sign and beta ds, scaled as the phases say, within the full scale of the nudge DAC.

    Its steps and errors do not count here.
    """
    settings, dac = block.settings, block.converters.nudge
    largest = np.abs(ds).max(axis=1, keepdims=True)
    if not largest.any():
        raise ChipError(f"block '{block.block.name}': the loss gradient is zero for every sample; give other samples")
    if settings.scaling is NudgeScaling.PER_SAMPLE:
        nudge = settings.beta * (dac.full_scale or 1.0) * ds / np.where(largest > 0, largest, 1.0)
    else:
        found = float(block.get_buffer("converter_ranges")[Crossing.NUDGE])
        limit = (dac.full_scale or found or np.inf) if dac.bits is not None or dac.clip else np.inf
        nudge = np.clip(settings.beta * ds, -limit, limit)
    return [(sign, sign * nudge) for sign in settings.nudging.signs]


def analog_blocks(network: nn.Module) -> list[AnalogBlock]:
    """Return a network's analog blocks in order."""
    return [module for module in network.modules() if isinstance(module, AnalogBlock)]
