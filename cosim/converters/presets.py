"""Converters by name, as published: every number stands beside what it comes from.

What a source gives no number for is off, not guessed. The sources name one DAC and one ADC; here that DAC stands on
inputs and nudges, and that ADC on outputs, phases and source currents.
"""

from dataclasses import dataclass
from typing import final

from circuits.nearest_names import nearest_names_hint

from ..errors import BlockError
from .converter import Adc, Dac
from .converter_set import Converters
from .error_model import ConverterErrors

EVERYWHERE = "The DAC is on inputs and nudges, the ADC on all that is read; ranged from the data."


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ConverterPreset:
    """A set of converters with its source.

    Args:
        name: by which it is asked for.
        converters: of a block.
        source: where its numbers come from.
        note: what was inferred, or left out for want of a number.
    """

    name: str
    converters: Converters
    source: str
    note: str


def _everywhere(dac: Dac, adc: Adc) -> Converters:
    return Converters(input=dac, output=adc, nudge=dac, phase=adc)


def _noisy_adc(bits: int, *, noise: float, bound: float) -> Adc:
    """Return an ADC whose noise is published in the unit of its bound."""
    return Adc(bits=bits, errors=ConverterErrors(noise_relative_std=noise / bound))


def _presets() -> tuple[ConverterPreset, ...]:
    """Return every preset, in the order in which they are listed."""
    return (
        ConverterPreset(
            name="ideal-converters",
            converters=Converters.ideal(),
            source="No converter: none has this resolution",
            note="What a block has that is given none.",
        ),
        ConverterPreset(
            name="aihwkit-io",
            converters=_everywhere(Dac(bits=7), _noisy_adc(9, noise=0.06, bound=12.0)),
            source="aihwkit 1.1.0, IOParameters: inp_res 1/(2^7 - 2), out_res 1/(2^9 - 2), out_bound 12, "
            "out_noise 0.06",
            note="Noise is 0.06 / 12 of the full scale; PresetIOParameters, of its device presets, come to the same: "
            f"bound 20, noise 0.1. {EVERYWHERE}",
        ),
        ConverterPreset(
            name="aihwkit-hwa",
            converters=_everywhere(Dac(bits=8), _noisy_adc(8, noise=0.04, bound=10.0)),
            source="aihwkit, simulator/presets/inference.py, StandardHWATrainingPreset: inp_res and out_res 254 steps, "
            "that is 2^8 - 2, out_bound 10, out_noise 0.04",
            note="Noise is 0.04 / 10 of the full scale. Its read noise of the weights and its IR drop are no "
            f"converter's: left out. {EVERYWHERE}",
        ),
        ConverterPreset(
            name="neurosim",
            converters=_everywhere(Dac(), Adc(bits=5, channels_per_converter=8)),
            source="DNN+NeuroSim V2.1, Training_pytorch: train.py, --ADCprecision 5 by default; NeuroSIM/Param.cpp, "
            "numColMuxed 8",
            note="Eight columns take turns at one ADC. Its estimate of area and energy has 64 levels, 6 bits. Inputs "
            "there come bit by bit, without a DAC: ideal here. Mismatch and noise left out: it gives no numbers.",
        ),
    )


def converter_preset_names() -> tuple[str, ...]:
    """Return the names of all converter presets, in the order in which they are listed."""
    return tuple(entry.name for entry in _presets())


def converter_preset(name: str) -> ConverterPreset:
    """Return a converter preset.

    Args:
        name: one of `converter_preset_names()`.

    Raises:
        BlockError: for another name, with the nearest ones.
    """
    entries = {entry.name: entry for entry in _presets()}
    if name not in entries:
        raise BlockError(f"no converter preset '{name}': {nearest_names_hint(name, entries)}")
    return entries[name]
