"""The picture of a diode preset: its current, linear and logarithmic, and how soft a box its clamps make.

The currents are those of the laws that both simulators solve (`circuits.diode`, `circuits.piecewise_linear_diode`),
series resistance included, gmin left out.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from circuits import Clamp, DiodeModel, PiecewiseLinearDiode
from circuits.arrays import Floats
from circuits.diode import NOMINAL_TEMPERATURE_K, junction_current, junction_voltage
from circuits.diode_presets import DiodePreset
from circuits.piecewise_linear_diode import piecewise_linear_current

from .preset_figure import LEGEND_SIZE, draw_panels, label_panel

Diode = DiodeModel | PiecewiseLinearDiode

TEMPERATURES_K = (273.15, NOMINAL_TEMPERATURE_K, 350.15)
MOST_A = 1e-3  # highest current drawn
LEAST_A = 1e-13  # lowest, of the logarithmic panel
POINTS = 801
PULL_S = 1e-5  # conductance through which a clamped node is pulled
BOX_V = (0.0, 1.0)
BEYOND_V = 1.0  # pull beyond either limit: a current of 10 uA, for which the rails are set


def plot_diode_preset(entry: DiodePreset, path: Path) -> None:
    """Draw a diode preset into a PNG file: four panels, its source below.

    Args:
        entry: the preset.
        path: the file.

    Raises:
        RunError: if the file cannot be written.
    """
    model = entry.model
    draw_panels(
        (
            partial(_draw_linear, model=model),
            partial(_draw_logarithmic, model=model),
            partial(_draw_clamp, model=model),
            partial(_draw_softness, model=model),
        ),
        title=f"{entry.name}, {_numbers(model)}",
        source=entry.source,
        note=entry.note,
        path=path,
    )


def _numbers(model: Diode) -> str:
    """Return the parameters in words."""
    if isinstance(model, PiecewiseLinearDiode):
        resistances = f"R_on {model.on_resistance_ohm:g} ohm, R_off {model.off_resistance_ohm:g} ohm"
        return f"V_th {model.threshold_v:g} V, {resistances}"
    series = f", R_s {model.series_resistance_ohm:g} ohm" if model.series_resistance_ohm > 0 else ""
    return f"I_s {model.saturation_current_a:g} A, n {model.emission_coefficient:g}{series}"


def forward_v(model: Diode, current_a: float, temperature_k: float) -> float:
    """Return the voltage across the diode at a forward current, in V."""
    if isinstance(model, PiecewiseLinearDiode):
        return model.forward_voltage_v(current_a)
    return model.forward_voltage_v(current_a, temperature_k)


def _temperatures(model: Diode) -> dict[str, float]:
    """Return the temperatures that make a difference, by their label."""
    if isinstance(model, PiecewiseLinearDiode):
        return {"any temperature": NOMINAL_TEMPERATURE_K}
    return {f"{temperature_k:g} K": temperature_k for temperature_k in TEMPERATURES_K}


def diode_current_a(model: Diode, voltage_v: Floats, temperature_k: float) -> Floats:
    """Return the current at a voltage across the diode, series resistance included, [...] A."""
    if isinstance(model, PiecewiseLinearDiode):
        m = model
        parameters = (np.asarray(p) for p in (m.threshold_v, m.on_resistance_ohm, m.off_resistance_ohm, m.bend_v))
        return np.asarray(piecewise_linear_current(voltage_v, *parameters)[0])
    i_s = np.full_like(voltage_v, model.saturation_current_at_a(temperature_k))
    n_vt = np.full_like(voltage_v, model.thermal_voltage_v(temperature_k))
    r_s = np.full_like(voltage_v, model.series_resistance_ohm)
    junction_v = junction_voltage(voltage_v, i_s, n_vt, r_s, 0.0)
    current, _ = junction_current(junction_v, i_s, n_vt, 0.0)
    return np.asarray(current)


def clamped(model: Diode, temperature_k: float = NOMINAL_TEMPERATURE_K) -> tuple[Floats, Floats]:
    """Return where a clamped node stands when it is pulled: pull and node, [points] V each."""
    low_v, high_v = BOX_V
    clamp = Clamp(low_v=low_v, high_v=high_v, diode=model)
    drop_v = clamp.drop_v(temperature_k)
    low_rail_v, high_rail_v = low_v + drop_v, high_v - drop_v
    # Dense at the limits, where the node bends, and wide enough that the pull reaches its ends.
    bend = clamp.margin_v(temperature_k) * np.linspace(-25.0, 1.0, POINTS)
    node_v = np.unique(np.concatenate([low_v - bend, np.linspace(low_v, high_v, POINTS), high_v + bend]))
    up_a = diode_current_a(model, node_v - high_rail_v, temperature_k)
    down_a = diode_current_a(model, low_rail_v - node_v, temperature_k)
    pull_v = node_v + (up_a - down_a) / PULL_S
    inside = (pull_v >= low_v - BEYOND_V) & (pull_v <= high_v + BEYOND_V)
    return pull_v[inside], node_v[inside]


def _draw_linear(axes: Any, *, model: Diode) -> None:
    """Draw the forward current on a linear scale."""
    for label, temperature_k in _temperatures(model).items():
        voltage_v = np.linspace(0.0, forward_v(model, MOST_A, temperature_k), POINTS)
        current_ma = diode_current_a(model, voltage_v, temperature_k) * 1e3
        axes.plot(voltage_v * 1e3, current_ma, label=label)
    axes.legend(fontsize=LEGEND_SIZE, loc="upper left")
    label_panel(axes, title="Forward current", x="voltage, mV", y="current, mA")


def _draw_logarithmic(axes: Any, *, model: Diode) -> None:
    """Draw the current either way on a logarithmic scale."""
    for label, temperature_k in _temperatures(model).items():
        highest_v = forward_v(model, MOST_A, temperature_k)
        voltage_v = np.linspace(-0.3 * highest_v, highest_v, POINTS)
        current_a = np.abs(diode_current_a(model, voltage_v, temperature_k))
        axes.semilogy(voltage_v * 1e3, np.where(current_a > 0, current_a, np.nan), label=label)
    floor_a = LEAST_A if isinstance(model, PiecewiseLinearDiode) else 0.1 * model.saturation_current_a
    axes.set_ylim(bottom=min(LEAST_A, floor_a), top=3 * MOST_A)
    axes.legend(fontsize=LEGEND_SIZE, loc="lower right")
    label_panel(axes, title="Current either way", x="voltage, mV", y="|current|, A")


def _draw_clamp(axes: Any, *, model: Diode) -> None:
    """Draw where a clamped node stands when it is pulled, beside an ideal box."""
    pull_v, node_v = clamped(model)
    axes.plot(pull_v, node_v, color="tab:blue", label="two diodes")
    ideal = np.array([BOX_V[0] - BEYOND_V, *BOX_V, BOX_V[1] + BEYOND_V])
    axes.plot(ideal, np.clip(ideal, *BOX_V), color="gray", linestyle="--", linewidth=1.0, label="box")
    axes.legend(fontsize=LEGEND_SIZE, loc="upper left")
    label_panel(axes, title=f"Clamped node, pulled through {PULL_S * 1e6:g} uS", x="pulled to, V", y="stands at, V")


def _draw_softness(axes: Any, *, model: Diode) -> None:
    """Draw how far a clamped node is from an ideal box."""
    pull_v, node_v = clamped(model)
    difference_mv = 1e3 * (node_v - np.clip(pull_v, *BOX_V))
    axes.plot(pull_v, difference_mv, color="tab:blue")
    for limit_v in BOX_V:
        axes.axvline(limit_v, color="gray", linewidth=0.8, linestyle=":")
    largest_mv = float(np.max(np.abs(difference_mv)))
    title = f"Softness: up to {largest_mv:.3g} mV"
    if isinstance(model, DiodeModel):
        title += f", {largest_mv / (1e3 * model.thermal_voltage_v(NOMINAL_TEMPERATURE_K)):.2g} n V_t"
    label_panel(axes, title=title, x="pulled to, V", y="node minus box, mV")
