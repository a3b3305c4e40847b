"""From a configuration to a torch network: the only place that knows both the file's words and the modules.

Takes: a `Config` and the shape of an image. Gives: an `FfEbm` whose energy blocks are `AnalogBlock`s, or tanh layers in
their place, and `HopfieldBlock`s. Must not know: how it is trained.
"""

from collections import Counter as Count
from collections.abc import Sequence
from dataclasses import asdict
from typing import assert_never

import torch
from torch import nn

from circuits.diode import K_OVER_Q_V_PER_K
from circuits.energy_block import Drive, EnergyBlock
from circuits.errors import CircuitError
from digital import image_stages, module_stage
from digital import stages as digital
from digital.errors import StageError
from digital.ff_ebm import FfEbm
from digital.hopfield import (
    ConvCoupling,
    DenseCoupling,
    HopfieldBlock,
    HopfieldConfig,
    HopfieldPhases,
    LastLayer,
    NudgeScaling,
    Nudging,
)
from digital.hopfield import Gradient as HopfieldGradient
from digital.hopfield.couplings import Coupling
from digital.stages import Shape, Stage
from digital.tanh_layers import ConvolvedLayer, TanhLayers

from ..analog_block import AnalogBlock, Gradient
from ..errors import ConfigError
from ..phase_settings import PhaseSettings
from ..reading import Counters
from ..relaxation import RelaxationOptions
from ..simulators.base import AbstractSimulator
from .analog_sections import AnalogStage
from .block_of_stage import energy_block
from .config import Config, GradientKind
from .digital_sections import (
    AveragePoolStage,
    BatchNormStage,
    ConvStage,
    DigitalStage,
    FlattenStage,
    GainStage,
    LinearStage,
    MaxPoolStage,
    ModuleStage,
    ReluStage,
    StandardiseStage,
    TanhStage,
)
from .hopfield_sections import ConvCouplingSection, CouplingSection, HopfieldStage


def build_network(
    config: Config,
    *,
    shape: Shape,
    n_classes: int,
    simulator: AbstractSimulator | None,
    generator: torch.Generator,
    k_over_q_v_per_k: float = K_OVER_Q_V_PER_K,
) -> FfEbm:
    """Build the network of a configuration.

    Args:
        config: what to build.
        shape: of one image.
        n_classes: what the readout must give.
        simulator: relaxes every analog block; None where there is no circuit, see `Config.has_circuit`.
        generator: randomness of the blocks' initial weights; torch's own layers draw from its global one.
        k_over_q_v_per_k: V/K — as the simulator has it.

    Returns:
        the network, its weights drawn.

    Raises:
        ConfigError: if the stages do not fit one another or the data.
    """
    names = iter([name for _, name in config.network.energy_blocks])
    links: list[tuple[nn.Module, nn.Module]] = []
    waiting: list[Stage] = []
    for index, section in enumerate(config.network.stages):
        where = f"network.stages[{index}] ({section.kind})"
        if isinstance(section, AnalogStage):
            block = energy_block(section, next(names), shape, where, k_over_q_v_per_k)
            links.append((digital.chain(waiting), _energy_module(config, block, simulator, generator)))
            waiting, shape = [], block.output_shape
            continue
        if isinstance(section, HopfieldStage):
            network = hopfield_config(section, next(names), shape, where)
            links.append((digital.chain(waiting), _hopfield_module(config, section, network, generator)))
            waiting, shape = [], network.output_shape
            continue
        try:
            waiting.append(digital_stage(section, shape))
        except StageError as error:
            raise ConfigError(f"{where}: {error}") from error
        shape = waiting[-1].shape
    if shape != (n_classes,):
        raise ConfigError(
            f"network.stages: the last stage gives {'x'.join(map(str, shape))} values a sample, but data.name = "
            f"'{config.data.name.value}' has {n_classes} classes; end with kind = \"linear\", size = {n_classes}"
        )
    return FfEbm(links, digital.chain(waiting))


def _energy_module(
    config: Config, block: EnergyBlock, simulator: AbstractSimulator | None, generator: torch.Generator
) -> nn.Module:
    """Return the circuit of a block, or the tanh layers in its place."""
    if config.gradient is GradientKind.BACKPROP:
        return tanh_layers(block)
    if simulator is None:
        raise ConfigError(
            f'gradient = "{config.gradient.value}" needs a simulator, got None; give one, or set gradient = "backprop"'
        )
    try:
        return AnalogBlock(
            block,
            simulator=simulator,
            settings=PhaseSettings(**dict(config.phases)),
            converters=config.converters.made(),
            gradient=Gradient(config.gradient.value),
            generator=generator,
            relaxation=RelaxationOptions(reduce=config.simulator.reduce),
            nonidealities=config.nonidealities(block),
        )
    except CircuitError as error:
        raise ConfigError(f"devices: {error}") from error


def hopfield_config(section: HopfieldStage, name: str, shape: Shape, where: str) -> HopfieldConfig:
    """Return layers and couplings of a hopfield stage.

    Args:
        section: the stage.
        name: of the block.
        shape: of one sample that enters, and so of the first layer.
        where: the stage's place, for errors.

    Raises:
        ConfigError: if couplings or slopes do not fit.
    """
    try:
        return HopfieldConfig(
            input_shape=shape,
            couplings=tuple(_coupling(coupling) for coupling in section.couplings),
            slope=section.slope,
            last_layer=LastLayer(section.last_layer.value),
            input_bias=section.input_bias,
            name=name,
        )
    except StageError as error:
        raise ConfigError(f"{where}: {error}") from error


def _coupling(section: CouplingSection) -> Coupling:
    if isinstance(section, ConvCouplingSection):
        return ConvCoupling(**section.model_dump(exclude={"kind"}))
    return DenseCoupling(size=section.size, bias=section.bias)


def _hopfield_module(
    config: Config, section: HopfieldStage, network: HopfieldConfig, generator: torch.Generator
) -> HopfieldBlock:
    s = config.hopfield
    phases = HopfieldPhases(
        free_steps=s.free_steps,
        nudged_steps=s.nudged_steps,
        tolerance=s.tolerance,
        gradient=HopfieldGradient.EP if config.gradient is GradientKind.EP else HopfieldGradient.ID,
        beta=s.beta,
        nudging=Nudging(s.nudging.value),
        scaling=NudgeScaling(s.scaling.value),
    )
    return HopfieldBlock(network, phases=phases, goe_variance=section.goe_variance, generator=generator)


def tanh_layers(block: EnergyBlock) -> TanhLayers:
    """Return tanh layers of a block's shapes: a current-driven input enters the first of them directly."""
    n_inputs = None if block.drive is Drive.CURRENT else block.n_inputs
    layers = [
        layer.size if layer.coupling is None else ConvolvedLayer(**asdict(layer.coupling)) for layer in block.layers
    ]
    return TanhLayers(n_inputs, layers, output_layers=block.output_layers)


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
        case ConvStage():
            return image_stages.conv(
                shape,
                channels=section.channels,
                kernel=section.kernel,
                stride=section.stride,
                padding=section.padding,
                bias=section.bias,
                goe_variance=section.goe_variance,
            )
        case MaxPoolStage():
            return image_stages.max_pool(shape, kernel=section.kernel, stride=section.stride)
        case AveragePoolStage():
            return image_stages.average_pool(shape, kernel=section.kernel, stride=section.stride)
        case BatchNormStage():
            return digital.batch_norm(shape, affine=section.affine, momentum=section.momentum)
        case ReluStage():
            return digital.relu(shape)
        case TanhStage():
            return digital.tanh(shape)
        case GainStage():
            return digital.gain(shape, value=section.value, trainable=section.trainable)
        case StandardiseStage():
            return digital.standardise(shape, mean=section.mean, std=section.std)
        case ModuleStage():
            return module_stage.module(shape, name=section.module, arguments=section.arguments)
        case _:
            assert_never(section)


def list_analog_blocks(network: nn.Module) -> list[AnalogBlock]:
    """Return a network's analog blocks in order."""
    return [module for module in network.modules() if isinstance(module, AnalogBlock)]


def list_energy_blocks(network: nn.Module) -> list[AnalogBlock | HopfieldBlock]:
    """Return a network's analog and Hopfield blocks in order."""
    return [module for module in network.modules() if isinstance(module, AnalogBlock | HopfieldBlock)]


def sum_counters(blocks: Sequence[AnalogBlock | HopfieldBlock]) -> dict[str, int]:
    """Return relaxations, iterations and conversions of all blocks since they were made."""
    total: Count[str] = Count(asdict(Counters()))
    for block in blocks:
        total.update(asdict(block.counters))
    return dict(total)
