"""From an energy block to the analog stage of a configuration that builds it: the inverse of `block_of_stage`."""

import math
from dataclasses import asdict, fields
from typing import Final

from pydantic import ValidationError

from circuits.clamp import Clamp
from circuits.diode import DiodeModel
from circuits.energy_block import EnergyBlock, NodeLayer
from circuits.piecewise_linear_diode import PiecewiseLinearDiode

from ..errors import ConfigError
from .analog_sections import AnalogStage, Clamps, ConvLayerSection, DiodeSection, Limits, NodeLayerSection

GMIN_S: Final = next(field.default for field in fields(EnergyBlock) if field.name == "gmin_s")


def analog_stage(block: EnergyBlock) -> AnalogStage:
    """Return the stage that builds a block, its own name included; k/q is the simulator's, not the stage's.

    The numbers are those of which the units make the block's again, to the last bit wherever there is such a number.

    Raises:
        ConfigError: for what a stage cannot say: clamps that differ in their diodes or reference current, another
            junction conductance than ngspice's, or a name that is none in a file.
    """
    where = f"block '{block.name}'"
    if block.gmin_s != GMIN_S:
        raise ConfigError(f"{where}: gmin_s = {block.gmin_s:g} has no key in a configuration; leave it at {GMIN_S:g}")
    try:
        return AnalogStage(
            kind="analog",
            layers=tuple(_layer(block, layer) for layer in block.layers),
            name=block.name,
            drive=block.drive,
            polarity=block.polarity,
            output_layers=tuple(int(k) for k in block.output_layers),
            g_min=_in_units(block.g_min_s, block.g_unit_s),
            g_max=_in_units(block.g_max_s, block.g_unit_s),
            v_unit_v=block.v_unit_v,
            g_unit_s=block.g_unit_s,
            temperature_k=block.temperature_k,
            diode=_diode(block, where),
        )
    except ValidationError as error:
        reasons = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise ConfigError(f"{where} is no stage of a configuration: {reasons}") from None


def _layer(block: EnergyBlock, layer: NodeLayer) -> NodeLayerSection:
    coupling, leak_s, unit_s = layer.coupling, layer.leak_s, block.g_unit_s
    conv = None
    if coupling is not None:
        conv = ConvLayerSection(
            channels=coupling.channels, kernel=coupling.kernel, stride=coupling.stride, padding=coupling.padding
        )
    return NodeLayerSection(
        size=None if coupling is not None else int(layer.size),
        conv=conv,
        clamp=_clamps(block, layer),
        leak=tuple(_in_units(g, unit_s) for g in leak_s) if isinstance(leak_s, tuple) else _in_units(leak_s, unit_s),
        bias=layer.bias,
        amplification=None if layer.amplification is None else float(layer.amplification),
    )


def _clamps(block: EnergyBlock, layer: NodeLayer) -> Limits | Clamps | None:
    """Return the limits of a layer's clamp, or those of each run of its units."""
    if not isinstance(layer.clamp, tuple):
        return None if layer.clamp is None else _limits(block, layer.clamp)
    return tuple("off" if clamp is None else _limits(block, clamp) for clamp in layer.clamp)


def _limits(block: EnergyBlock, clamp: Clamp) -> Limits:
    low_v, high_v = clamp.low_v, clamp.high_v
    return (
        "off" if low_v is None else _in_units(low_v, block.v_unit_v),
        "off" if high_v is None else _in_units(high_v, block.v_unit_v),
    )


def _diode(block: EnergyBlock, where: str) -> DiodeSection:
    """Return the diode of all clamps; without any the default."""
    clamps = [clamp for layer in block.layers for _, clamp in layer.clamp_runs]
    if not clamps:
        return DiodeSection()
    first = clamps[0]
    for clamp in clamps:
        if _made_of(clamp) != _made_of(first):
            raise ConfigError(
                f"{where}: its clamps differ in their diodes or reference currents; a stage has one diode table for "
                "all of its layers"
            )
    return DiodeSection(**asdict(first.diode), reference_current_a=first.reference_current_a)


def _made_of(clamp: Clamp) -> tuple[DiodeModel | PiecewiseLinearDiode, float]:
    return clamp.diode, clamp.reference_current_a


def _in_units(value: float, unit: float) -> float:
    """Return a number of units of which `number * unit` is the value to the last bit, where there is one.

    A product of a number and a unit is always found again: division is off by two places at most.
    """
    value, nearest = float(value), float(value) / unit
    below, above = math.nextafter(nearest, -math.inf), math.nextafter(nearest, math.inf)
    found = (nearest, below, above, math.nextafter(below, -math.inf), math.nextafter(above, math.inf))
    return next((number for number in found if number * unit == value), nearest)
