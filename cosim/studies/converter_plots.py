"""The picture of a converter preset: the staircase of its ADC, how far it is off, and its nonlinearity if it has any.

In units of the full scale. Where converters of a bank differ, several are drawn, as seed 0 makes them.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from circuits.arrays import Floats

from ..converters import Adc, Bank, ConverterPreset, Dac, dnl_lsb, inl_lsb, lsb
from .preset_figure import LEGEND_SIZE, draw_panels, label_panel

TRACES = 6  # converters drawn, where they differ
POINTS = 4001
BEYOND = 1.15  # of the full scale: to show where it clips
NEAR_LSB = 3.25  # of the panel near zero
NEAR = 0.1  # of the full scale, where there are no steps


def plot_converter_preset(entry: ConverterPreset, path: Path) -> None:
    """Draw a converter preset into a PNG file: its ADC in three panels, or four, its source below.

    Args:
        entry: the preset.
        path: the file.

    Raises:
        RunError: if the file cannot be written.
    """
    adc = entry.converters.output
    panels = [partial(_draw_transfer, adc=adc), partial(_draw_near_zero, adc=adc), partial(_draw_error, adc=adc)]
    if adc.errors is not None and adc.errors.linearity is not None and adc.bits is not None:
        panels.append(partial(_draw_nonlinearity, inl=inl_lsb(adc.errors.linearity, adc.bits, n_converters=TRACES)))
    draw_panels(
        panels,
        title=f"{entry.name}, DAC {format_bits(entry.converters.input)}, ADC {format_bits(adc)}",
        source=entry.source,
        note=entry.note,
        path=path,
    )


def format_bits(converter: Dac | Adc) -> str:
    """Return a converter's resolution in words."""
    return "ideal" if converter.bits is None else f"{converter.bits} bits"


def transfer(adc: Adc, level: Floats, *, noise: float = 0.0) -> Floats:
    """Return what ADCs make of a level.

    Args:
        adc: the converter.
        level: [points] of the full scale.
        noise: times the standard deviation of the ADC's noise, which is added to the level.

    Returns:
        [points, converters] of the full scale; one converter where all are alike.
    """
    differ = adc.errors is not None and (
        adc.errors.gain_relative_std or adc.errors.offset_relative_std or adc.errors.linearity is not None
    )
    n_channels = (TRACES if differ else 1) * adc.channels_per_converter
    bank = Bank(adc, n_channels, (0,))
    std = 0.0 if adc.errors is None else adc.errors.noise_relative_std or 0.0
    levels = np.repeat(level[:, None], n_channels, axis=1)
    added = np.full_like(levels, noise * std)
    return bank.convert(levels, 1.0, added if noise else None)[:, :: adc.channels_per_converter]


def _draw_transfer(axes: Any, *, adc: Adc) -> None:
    """Draw the codes over the whole range and a little beyond."""
    level = np.linspace(-BEYOND, BEYOND, POINTS)
    axes.plot(level, level, color="gray", linestyle="--", linewidth=1.0, label="input")
    axes.plot(level, transfer(adc, level), color="tab:blue", linewidth=1.0)
    axes.legend(fontsize=LEGEND_SIZE, loc="upper left")
    label_panel(axes, title="Transfer of the ADC", x="input, full scales", y="output, full scales")


def _draw_near_zero(axes: Any, *, adc: Adc) -> None:
    """Draw the steps near zero with the band that noise blurs them by."""
    unit, word = _unit(adc)
    reach = NEAR if adc.bits is None else NEAR_LSB * unit
    level = np.linspace(-reach, reach, POINTS)
    std = None if adc.errors is None else adc.errors.noise_relative_std
    if std is not None:
        low, high = (transfer(adc, level, noise=sign)[:, 0] / unit for sign in (-1.0, 1.0))
        label = f"one std of noise, {std / unit:.2g} {word}"
        axes.fill_between(level / unit, low, high, color="tab:blue", alpha=0.25, linewidth=0.0, label=label)
    axes.plot(level / unit, level / unit, color="gray", linestyle="--", linewidth=1.0)
    axes.plot(level / unit, transfer(adc, level) / unit, color="tab:blue", linewidth=1.2)
    if std is not None:
        axes.legend(fontsize=LEGEND_SIZE, loc="upper left")
    label_panel(axes, title="Near zero", x=f"input, {word}", y=f"output, {word}")


def _draw_error(axes: Any, *, adc: Adc) -> None:
    """Draw how far codes are from what was converted, noise left out."""
    unit, word = _unit(adc)
    level = np.linspace(-BEYOND, BEYOND, POINTS)
    error = (transfer(adc, level) - level[:, None]) / unit
    axes.plot(level, error, color="tab:blue", linewidth=0.6)
    inside = np.abs(level) <= 1.0
    largest = float(np.max(np.abs(error[inside])))
    axes.set_ylim(-2.5 * max(largest, 1e-3), 2.5 * max(largest, 1e-3))  # beyond the full scale it runs off
    title = f"Error without noise, up to {largest:.2g} {word}"
    label_panel(axes, title=title, x="input, full scales", y=f"output minus input, {word}")


def _draw_nonlinearity(axes: Any, *, inl: Floats) -> None:
    """Draw integral and differential nonlinearity, [converters, codes] LSB, over the codes."""
    code = np.arange(inl.shape[1]) - inl.shape[1] // 2
    axes.plot(code, inl.T, color="tab:blue", linewidth=0.8)
    axes.plot(code[1:], dnl_lsb(inl).T, color="tab:orange", linewidth=0.5, alpha=0.7)
    axes.plot([], [], color="tab:blue", label="INL")
    axes.plot([], [], color="tab:orange", label="DNL")
    axes.legend(fontsize=LEGEND_SIZE, loc="upper left")
    label_panel(axes, title="Nonlinearity", x="code", y="LSB")


def _unit(adc: Adc) -> tuple[float, str]:
    """Return what errors are given in, in full scales, and its name."""
    return (1.0, "full scales") if adc.bits is None else (lsb(adc.bits, 1.0), "LSB")
