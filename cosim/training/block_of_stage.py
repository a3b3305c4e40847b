"""From an analog stage of a configuration to its energy block, in SI units; `stage_of_block` goes the other way."""

from collections.abc import Sequence
from math import prod

from circuits.clamp import Clamp
from circuits.convolution import Convolution
from circuits.diode import K_OVER_Q_V_PER_K
from circuits.energy_block import Drive, EnergyBlock, NodeLayer
from circuits.errors import CircuitError
from digital.stages import Shape

from ..errors import ConfigError
from .analog_sections import AnalogStage, Clamps, ConvLayerSection, Limits, NodeLayerSection


def energy_block(
    section: AnalogStage, name: str, shape: Shape, where: str, k_over_q_v_per_k: float = K_OVER_Q_V_PER_K
) -> EnergyBlock:
    """Return the energy block of an analog stage, in SI units.

    Args:
        section: the stage.
        name: of the block.
        shape: of one sample that enters; an image where a layer convolves it, or where currents drive the first layer.
        where: the stage's place, for errors.
        k_over_q_v_per_k: V/K — as the simulator has it.

    Raises:
        ConfigError: if the input, a convolution or a list of leaks does not fit.
    """
    _check_input(section, shape, where)
    layers: list[NodeLayer] = []
    for k, layer in enumerate(section.layers):
        enters_directly = k == 0 and section.drive is Drive.CURRENT
        before = shape if not layers else layers[-1].shape
        if k == 1 and section.drive is Drive.CURRENT:
            before = shape  # the first layer is the image that entered
        layers.append(_node_layer(section, layer, None if enters_directly else before, f"{where}: layers[{k}]"))
    try:
        return EnergyBlock(
            name=name,
            n_inputs=prod(shape),
            layers=tuple(layers),
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
    except CircuitError as error:
        raise ConfigError(f"{where}: {error}") from error


def _check_input(section: AnalogStage, shape: Shape, where: str) -> None:
    """Raise ConfigError for a sample that the first layer does not take."""
    first = section.layers[0]
    if section.drive is Drive.VOLTAGE:
        if first.conv is None and len(shape) != 1:
            raise ConfigError(f'{where}: needs a flat sample, gets shape {shape}; put kind = "flatten" before it')
        return
    if len(shape) not in {1, 3}:
        raise ConfigError(
            f"{where}: needs a flat sample or an image [channels, height, width], gets shape {shape}; put kind = "
            '"flatten" before it'
        )
    n_inputs = prod(shape)
    if first.conv is not None:
        raise ConfigError(
            f'{where}: layers[0]: conv, but with drive = "current" the input enters this layer as it is; set size = '
            f'{n_inputs} and give layers[1] the conv, or use drive = "voltage"'
        )
    if n_inputs != first.size:
        raise ConfigError(
            f'{where}: drive = "current" puts each of {n_inputs} inputs into one unit, but layers[0].size = '
            f"{first.size}; set it to {n_inputs}, put a linear stage of size {first.size} before it, or use drive = "
            '"voltage"'
        )


def _node_layer(stage: AnalogStage, layer: NodeLayerSection, before: Shape | None, where: str) -> NodeLayer:
    """Return a layer behind one of a shape; None for the layer that the input enters."""
    coupling = None
    try:
        if layer.conv is not None and before is not None:
            coupling = _convolution(layer.conv, before, where)
        leak = layer.leak
        return NodeLayer(
            size=layer.size or 0,  # of a convolved layer it follows
            clamp=_clamps(stage, layer.clamp),
            leak_s=tuple(g * stage.g_unit_s for g in leak) if isinstance(leak, tuple) else leak * stage.g_unit_s,
            bias=layer.bias,
            coupling=coupling,
            amplification=layer.amplification,
        )
    except CircuitError as error:
        raise ConfigError(f"{where}: {error}") from error


def _clamps(stage: AnalogStage, clamp: Limits | Clamps | None) -> Clamp | tuple[Clamp | None, ...] | None:
    """Return the clamp of a layer, or that of each run of its units."""
    if clamp is None:
        return None
    if any(isinstance(entry, tuple) for entry in clamp):
        return tuple(_clamp(stage, entry) if isinstance(entry, tuple) else None for entry in clamp)
    return _clamp(stage, clamp)


def _clamp(stage: AnalogStage, limits: Sequence[object]) -> Clamp:
    low_v, high_v = (limit * stage.v_unit_v if isinstance(limit, float) else None for limit in limits)
    return Clamp(
        low_v=low_v, high_v=high_v, diode=stage.diode.model(), reference_current_a=stage.diode.reference_current_a
    )


def _convolution(section: ConvLayerSection, before: Shape, where: str) -> Convolution:
    """Return a convolution of an image."""
    if len(before) != 3:
        raise ConfigError(
            f"{where}: conv needs an image [channels, height, width], but what is before it has shape {before}; give "
            "the layer before it a conv, take out the flatten stage, or give this one a size"
        )
    channels, height, width = before
    return Convolution(input_shape=(channels, height, width), **section.model_dump())
