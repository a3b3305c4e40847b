"""From a configuration to a torch network: the only place that knows both the file's words and the modules.

Takes: a `Config` and the shape of an image. Gives: an `FfEbm` whose energy blocks are `AnalogBlock`s. Must not know:
how it is trained.
"""

from collections import Counter as Count
from collections.abc import Sequence
from dataclasses import asdict
from typing import assert_never

import torch
from torch import nn

from circuits.clamp import Clamp
from circuits.diode import K_OVER_Q_V_PER_K, DiodeModel
from circuits.energy_block import Drive, EnergyBlock, NodeLayer
from digital import stages as digital
from digital.errors import StageError
from digital.ff_ebm import FfEbm
from digital.stages import Shape, Stage

from ..analog_block import AnalogBlock
from ..converters import Adc, Converters, Dac
from ..errors import ConfigError
from ..phase_settings import PhaseSettings
from ..simulators.base import AbstractSimulator
from .config import (
    AnalogStage,
    BatchNormStage,
    Config,
    ConverterSection,
    FlattenStage,
    GainStage,
    LinearStage,
    NodeLayerSection,
    ReluStage,
    SimulatorKind,
    SimulatorSection,
    StandardiseStage,
)

DigitalStage = FlattenStage | LinearStage | BatchNormStage | ReluStage | GainStage | StandardiseStage


def build_simulator(section: SimulatorSection) -> AbstractSimulator:
    """Return the simulator that a configuration names; ngspice is loaded only if it is the one.

    Raises:
        SimulatorNotFound: if it is not installed.
        ConfigError: if this machine has not the device that it is to run on.
    """
    match section.name:
        case SimulatorKind.NEWTON:
            from ..simulators.newton import NewtonSimulator  # noqa: PLC0415

            _check_device(section.device)
            return NewtonSimulator(device=section.device)
        case SimulatorKind.NGSPICE:
            from ..simulators.ngspice.library import find_ngspice_library  # noqa: PLC0415
            from ..simulators.ngspice.simulator import NgspiceSimulator  # noqa: PLC0415

            find_ngspice_library()  # before anything is written, not in the first worker
            return NgspiceSimulator(workers=section.workers, timeout_s=section.timeout_s, chunk=section.chunk)


def _check_device(device: str) -> None:
    """Refuse a CUDA device that torch does not see here."""
    kind, _, index = device.partition(":")
    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cpu" or int(index or 0) < n_devices:
        return
    if n_devices:
        reason, advice = f"torch sees {n_devices} CUDA device(s) here, counted from 0", 'choose "cuda:0"'
    elif torch.version.cuda is None:
        reason, advice = "this torch is built without CUDA", "install a CUDA build of torch (see pytorch.org)"
    else:
        reason, advice = "torch sees no CUDA device here", "check `nvidia-smi` and the driver"
    raise ConfigError(f'simulator.device = "{device}": {reason}; {advice}, or set simulator.device = "cpu"')


def measured_k_over_q(section: SimulatorSection) -> float:
    """Return k/q in V/K as the simulator has it: newton has ours, and versions of ngspice differ by 1e-6."""
    if section.name is SimulatorKind.NEWTON:
        return K_OVER_Q_V_PER_K
    from ..simulators.ngspice.thermal import measure_k_over_q  # noqa: PLC0415

    measured = measure_k_over_q()
    # The measurement is good to 1e-14; the constant itself keeps circuits the same to the last bit.
    return K_OVER_Q_V_PER_K if abs(measured / K_OVER_Q_V_PER_K - 1.0) < 1e-11 else measured


def build_network(
    config: Config,
    *,
    shape: Shape,
    n_classes: int,
    simulator: AbstractSimulator,
    generator: torch.Generator,
    k_over_q_v_per_k: float = K_OVER_Q_V_PER_K,
) -> FfEbm:
    """Build the network of a configuration.

    Args:
        config: what to build.
        shape: of one image.
        n_classes: what the readout must give.
        simulator: relaxes every block.
        generator: randomness of the blocks' initial weights; digital stages draw from torch's global one.
        k_over_q_v_per_k: V/K — as the simulator has it.

    Returns:
        the network, its weights drawn.

    Raises:
        ConfigError: if the stages do not fit one another or the data.
    """
    names = iter(config.network.block_names)
    links: list[tuple[nn.Module, nn.Module]] = []
    waiting: list[Stage] = []
    for index, section in enumerate(config.network.stages):
        where = f"network.stages[{index}] ({section.kind})"
        if isinstance(section, AnalogStage):
            block = energy_block(section, next(names), shape, where, k_over_q_v_per_k)
            analog = AnalogBlock(
                block,
                simulator=simulator,
                settings=PhaseSettings(**dict(config.phases)),
                converters=build_converters(config),
                gradient=config.gradient,
                generator=generator,
            )
            links.append((digital.chain(waiting), analog))
            waiting, shape = [], (block.n_outputs,)
            continue
        try:
            waiting.append(digital_stage(section, shape))
        except StageError as error:
            raise ConfigError(f"{where}: {error}") from error
        shape = waiting[-1].shape
    if shape != (n_classes,):
        raise ConfigError(
            f"network.stages: the last stage gives {'x'.join(map(str, shape))} values a sample, but data.name = "
            f"'{config.data.name}' has {n_classes} classes; end with kind = \"linear\", size = {n_classes}"
        )
    return FfEbm(links, digital.chain(waiting))


def digital_stage(section: DigitalStage, shape: Shape) -> Stage:
    """Return a digital stage for samples of a shape.

    Raises:
        StageError: if it cannot take that shape.
    """
    match section:
        case FlattenStage():
            return digital.flatten(shape)
        case LinearStage():
            return digital.linear(shape, size=section.size, bias=section.bias)
        case BatchNormStage():
            return digital.batch_norm(shape, affine=section.affine, momentum=section.momentum)
        case ReluStage():
            return digital.relu(shape)
        case GainStage():
            return digital.gain(shape, value=section.value, trainable=section.trainable)
        case StandardiseStage():
            return digital.standardise(shape, mean=section.mean, std=section.std)
        case _:
            assert_never(section)


def energy_block(
    section: AnalogStage, name: str, shape: Shape, where: str, k_over_q_v_per_k: float = K_OVER_Q_V_PER_K
) -> EnergyBlock:
    """Return the energy block of an analog stage, in SI units.

    Args:
        section: the stage.
        name: of the block.
        shape: of one sample that enters.
        where: the stage's place, for errors.
        k_over_q_v_per_k: V/K — as the simulator has it.

    Raises:
        ConfigError: if the input does not fit.
    """
    if len(shape) != 1:
        raise ConfigError(f'{where}: needs a flat sample, gets shape {shape}; put kind = "flatten" before it')
    first = section.layers[0].size
    if section.drive is Drive.CURRENT and shape[0] != first:
        raise ConfigError(
            f'{where}: drive = "current" puts each of {shape[0]} inputs into one unit, but layers[0].size = {first}; '
            f'set it to {shape[0]}, put a linear stage of size {first} before it, or use drive = "voltage"'
        )
    return EnergyBlock(
        name=name,
        n_inputs=shape[0],
        layers=tuple(_node_layer(section, layer) for layer in section.layers),
        drive=section.drive,
        polarity=section.polarity,
        output_layers=section.output_layers,
        v_unit_v=section.v_unit_v,
        g_unit_s=section.g_unit_s,
        g_min_s=section.g_min * section.g_unit_s,
        g_max_s=section.g_max * section.g_unit_s,
        temperature_k=section.temperature_k,
        k_over_q_v_per_k=k_over_q_v_per_k,
    )


def _node_layer(stage: AnalogStage, layer: NodeLayerSection) -> NodeLayer:
    clamp = None
    if layer.clamp is not None:
        diode = DiodeModel(**stage.diode.model_dump(exclude={"reference_current_a"}))
        low_v, high_v = (limit * stage.v_unit_v for limit in layer.clamp)
        clamp = Clamp(low_v=low_v, high_v=high_v, diode=diode, reference_current_a=stage.diode.reference_current_a)
    return NodeLayer(size=layer.size, clamp=clamp, leak_s=layer.leak * stage.g_unit_s, bias=layer.bias)


def build_converters(config: Config) -> Converters:
    """Return the converters of a configuration."""

    def dac(section: ConverterSection) -> Dac:
        return Dac(bits=section.bits, full_scale=section.full_scale)

    def adc(section: ConverterSection) -> Adc:
        return Adc(bits=section.bits, full_scale=section.full_scale)

    s = config.converters
    return Converters(
        input=dac(s.input),
        output=adc(s.output),
        nudge=dac(s.nudge),
        phase=adc(s.phase),
        current=None if s.current is None else adc(s.current),
    )


def list_analog_blocks(network: nn.Module) -> list[AnalogBlock]:
    """Return a network's analog blocks in order."""
    return [module for module in network.modules() if isinstance(module, AnalogBlock)]


def sum_counters(blocks: Sequence[AnalogBlock]) -> dict[str, int]:
    """Return relaxations, iterations and conversions of all blocks since they were made."""
    total: Count[str] = Count()
    for block in blocks:
        total.update(asdict(block.counters))
    return dict(total)
