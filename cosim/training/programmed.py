"""A trained network whose energy blocks are programmed into circuits: as modules, and as the configuration of a run.

Takes: a configuration and its trained network. Gives: the configuration in which hopfield stages are the analog stages
that stand for them, numbers included, and its network with the same digital stages. What comes of it is an ordinary
analog network: it trains, resumes, is scored and compiled as any other.
"""

import copy
from dataclasses import dataclass
from typing import final

import torch
from torch import nn

from digital.errors import StageError
from digital.ff_ebm import FfEbm
from digital.stages import Shape

from ..analog_block import AnalogBlock
from ..programming.errors import ProgrammingError
from ..programming.program import program_block
from ..programming.programmed import ProgrammedBlock
from ..programming.report import ProgrammingReport
from ..programming.settings import ProgrammingSettings
from ..simulators.base import AbstractSimulator
from .circuit_section import CircuitSection
from .config import AnalogStage, Config, HopfieldStage
from .device_window import block_window_s
from .network import build_network
from .stage_of_block import analog_stage


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ProgrammedNetwork:
    """A network on circuits.

    Args:
        config: of it, without hopfield stages.
        network: with the weights that were programmed.
        reports: what was done to each block.
    """

    config: Config
    network: FfEbm
    reports: tuple[ProgrammingReport, ...]


def programming_settings(section: CircuitSection, *, k_over_q_v_per_k: float) -> ProgrammingSettings:
    """Return what a `[circuit]` table says.

    Args:
        section: the table.
        k_over_q_v_per_k: V/K — as the simulator has it.
    """
    return ProgrammingSettings(
        g_min_s=section.g_min_s,
        g_max_s=section.g_max_s,
        v_unit_v=section.v_unit_v,
        g_unit_s=section.g_unit_s,
        diode=section.diode.model(),
        reference_current_a=section.diode.reference_current_a,
        temperature_k=section.temperature_k,
        k_over_q_v_per_k=k_over_q_v_per_k,
        out_of_window=section.window,
        active_leaks=section.active_leaks,
        allow_several_equilibria=section.several_equilibria,
    )


def program_network(
    config: Config,
    network: FfEbm,
    settings: ProgrammingSettings,
    *,
    simulator: AbstractSimulator,
    shape: Shape,
    n_classes: int,
) -> ProgrammedNetwork:
    """Program every energy block of a trained network.

    Args:
        config: of the network.
        network: trained; it stays as it is.
        settings: window, scale and diodes, and what to do where blocks do not fit.
        simulator: relaxes the circuits.
        shape: of one image.
        n_classes: what the readout gives.

    Raises:
        ProgrammingError: for blocks that no circuit stands for, with the stage's place; and as `program_block`.
    """
    _refuse_idle_settings(config, settings)
    programmed = [_program(module, settings, k) for k, module in enumerate(network.energy, start=1)]
    stages = iter([analog_stage(block.block) for block in programmed])
    kept = [next(stages) if isinstance(s, AnalogStage | HopfieldStage) else s for s in config.network.stages]
    section = config.network.model_copy(update={"stages": tuple(kept)})
    changed = config.model_copy(update={"network": section})
    with torch.random.fork_rng(devices=[]):
        made = build_network(
            changed,
            shape=shape,
            n_classes=n_classes,
            simulator=simulator,
            generator=torch.Generator(),
            k_over_q_v_per_k=settings.k_over_q_v_per_k,
        )
    for k, (source, block) in enumerate(zip(network.links, programmed, strict=True)):
        made.feedforward[k] = copy.deepcopy(source.feedforward)
        target = made.energy[k]
        if isinstance(target, AnalogBlock):
            target.take_programmed(block, source.energy)
    made.readout = copy.deepcopy(network.readout)
    made.train(network.training)
    return ProgrammedNetwork(config=changed, network=made, reports=tuple(block.report for block in programmed))


def network_on_devices(
    config: Config,
    network: FfEbm,
    *,
    simulator: AbstractSimulator,
    shape: Shape,
    n_classes: int,
    k_over_q_v_per_k: float,
) -> FfEbm:
    """Program the circuits of a trained network into the window of other devices.

    Args:
        config: with `[devices]` that have a window.
        network: trained, as designed; it stays as it is.
        simulator: relaxes the circuits.
        shape: of one image.
        n_classes: what the readout gives.
        k_over_q_v_per_k: V/K — as the simulator has it.

    Raises:
        ProgrammingError: for blocks that do not fit.
    """
    if config.devices is None or config.devices.window_s is None:
        raise ProgrammingError("devices: have no window of their own to program into; give g_min_s and g_max_s")
    low_s, high_s = block_window_s(*config.devices.window_s)
    settings = ProgrammingSettings(g_min_s=low_s, g_max_s=high_s, k_over_q_v_per_k=k_over_q_v_per_k)
    return program_network(config, network, settings, simulator=simulator, shape=shape, n_classes=n_classes).network


def _program(module: nn.Module, settings: ProgrammingSettings, number: int) -> ProgrammedBlock:
    try:
        return program_block(module, settings)
    except (ProgrammingError, StageError) as error:
        raise ProgrammingError(f"energy block {number}: {error}") from error


def _refuse_idle_settings(config: Config, settings: ProgrammingSettings) -> None:
    """Refuse what is said of hopfield stages where there are none."""
    if any(isinstance(stage, HopfieldStage) for stage in config.network.stages):
        return
    default = ProgrammingSettings()
    idle = [
        name
        for name in ("v_unit_v", "g_unit_s", "temperature_k", "diode", "reference_current_a")
        if getattr(settings, name) != getattr(default, name)
    ]
    if idle:
        raise ProgrammingError(
            f"circuit: {idle[0]} is of hopfield stages, and there is none; stages that are circuits keep their scale "
            "and diodes, so leave it out"
        )
