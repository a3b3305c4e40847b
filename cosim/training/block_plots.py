"""What the analog blocks of a run show: voltages, conductances, clamped units and the nudge's response, block by block.

One row a block. Voltages and conductances are those of now, after the last free phase; the other two columns go over
the epochs, with the names that `observation` gives them.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter

from circuits.arrays import Floats
from circuits.convolution import format_shape
from circuits.energy_block import NodeLayer

from ..analog_block import AnalogBlock
from ..phases import TOLERANCE_MARGIN
from .observation import ADC_STEP, CLAMPED_SHARE, NUDGE_RESPONSE, TOLERANCE
from .plots import finish_epochs, new_figure, series, write_png
from .run_folder import Metrics

N_BINS = 60
N_COLUMNS = 4
SMALL = "x-small"


def plot_blocks(blocks: Sequence[AnalogBlock], metrics: Sequence[Metrics], path: Path, title: str) -> bool:
    """Draw a network's analog blocks into a PNG file.

    Args:
        blocks: in order; their last free phase and their weights are what is drawn.
        metrics: one entry an epoch, with the observer's names; none is fine.
        path: the file.
        title: what the run is.

    Returns:
        whether there was anything to draw: without a block nothing is written.

    Raises:
        RunError: if the file cannot be written.
    """
    if not blocks:
        return False
    write_png(draw_blocks(blocks, metrics, title), path)
    return True


def draw_blocks(blocks: Sequence[AnalogBlock], metrics: Sequence[Metrics], title: str) -> Figure:
    """Return the figure of `plot_blocks`: four panels a block."""
    figure = new_figure(16.0, 0.6 + 2.9 * len(blocks), title)
    rows = figure.subplots(len(blocks), N_COLUMNS, squeeze=False)
    for block, (voltages, conductances, clamped, response) in zip(blocks, rows, strict=True):
        _draw_voltages(voltages, block)
        _draw_conductances(conductances, block)
        _draw_clamped_share(clamped, block, metrics)
        _draw_response(response, block, metrics)
    return figure


def _draw_voltages(axes: Axes, block: AnalogBlock) -> None:
    """Draw a histogram of each layer's states, with its clamp's limits."""
    axes.set_title(f"{block.block.name}: voltages", fontsize="small")
    axes.set_xlabel("state of a unit, last free phase")
    axes.set_ylabel("share of the layer's states")
    axes.xaxis.set_major_formatter(EngFormatter(unit="V"))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))  # more labels would touch
    layers = block.last_voltages()
    if layers is None or not all(layer.size for layer in layers):
        _say(axes, "no free phase yet")
        return
    edges = _edges(layers)
    limits: dict[tuple[float, ...], str] = {}
    for k, (layer, values) in enumerate(zip(block.block.layers, layers, strict=True)):
        counts, _ = np.histogram(values, edges)
        axes.stairs(counts / values.size, edges, color=f"C{k}", fill=True, alpha=0.25)
        axes.stairs(counts / values.size, edges, color=f"C{k}", label=f"layer {k + 1}, {_units(layer)}")
        for _, clamp in layer.clamp_runs:
            limits.setdefault(clamp.limits_v, f"C{k}")
    for k, (pair, color) in enumerate(limits.items()):
        for limit_v in pair:
            axes.axvline(limit_v, color=color, linestyle="--", linewidth=1)
        axes.plot([], [], "--", color=color, linewidth=1, label="clamp" if k == 0 else None)
    axes.set_yscale("log")  # clamped units make one tall peak
    axes.grid(alpha=0.3)
    axes.legend(fontsize=SMALL)


def _draw_conductances(axes: Axes, block: AnalogBlock) -> None:
    """Draw a histogram of G+ and G- of each crossbar, with the window."""
    axes.set_title(f"{block.block.name}: conductances", fontsize="small")
    axes.set_xlabel("conductance of a device")
    axes.set_ylabel("number of weights")
    axes.xaxis.set_major_formatter(EngFormatter(unit="S"))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    low_s, high_s = block.block.g_min_s, block.block.g_max_s
    edges = np.linspace(low_s, high_s, N_BINS + 1)
    for k, name in enumerate(block.g_plus):
        for group, style in ((block.g_plus, "-"), (block.g_minus, ":")):
            if name in group:
                g = group[name].detach().double().cpu().numpy() * block.block.g_unit_s
                counts, _ = np.histogram(np.clip(g, low_s, high_s), edges)  # float32 rounds the window's edges
                axes.stairs(counts, edges, color=f"C{k}", linestyle=style, linewidth=1.3)
    for limit_s in (low_s, high_s):
        axes.axvline(limit_s, color="black", linestyle="--", linewidth=1)
    axes.set_yscale("log", nonpositive="clip")
    axes.set_ylim(bottom=0.7)
    keys = [Line2D([], [], color=f"C{k}", label=name) for k, name in enumerate(block.g_plus)]
    if len(block.g_minus):
        keys.append(Line2D([], [], color="gray", label="G+"))
        keys.append(Line2D([], [], color="gray", linestyle=":", label="G-"))
    keys.append(Line2D([], [], color="black", linestyle="--", linewidth=1, label="window"))
    axes.legend(handles=keys, fontsize=SMALL, ncols=2, loc="upper right")
    axes.grid(alpha=0.3)


def _draw_clamped_share(axes: Axes, block: AnalogBlock, metrics: Sequence[Metrics]) -> None:
    """Draw the share of clamped units over the epochs."""
    axes.set_title(f"{block.block.name}: clamped units", fontsize="small")
    axes.set_ylabel("share of all units, epoch's mean")
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1.0, symbol=" %"))
    finish_epochs(axes, metrics)
    epochs, shares = series(metrics, f"{block.block.name}.{CLAMPED_SHARE}")
    if not any(layer.is_clamped for layer in block.block.layers):
        _say(axes, "no layer has a clamp")
    elif not epochs:
        _say(axes, "no epoch yet")
    else:
        axes.plot(epochs, shares, "o-", markersize=3)
    axes.set_ylim(0.0, max([0.05, *(1.1 * share for share in shares if np.isfinite(share))]))


def _draw_response(axes: Axes, block: AnalogBlock, metrics: Sequence[Metrics]) -> None:
    """Draw the outputs' change between the phases over the epochs, with what limits its reading."""
    axes.set_title(f"{block.block.name}: nudge response at the outputs", fontsize="small")
    axes.set_ylabel("change between the phases, V")
    axes.set_yscale("log")
    finish_epochs(axes, metrics)
    name = block.block.name
    epochs, response_v = _positive(series(metrics, f"{name}.{NUDGE_RESPONSE}"))
    if not epochs:
        _say(axes, "no nudged phase yet" if block.last_nudge is None else "no epoch yet")
        return
    axes.plot(epochs, response_v, "o-", markersize=3, label="response, rms")
    epochs, step_v = _positive(series(metrics, f"{name}.{ADC_STEP}"))
    if epochs:
        axes.plot(epochs, step_v, "C1.--", label="ADC step")
    epochs, tolerance_v = _positive(series(metrics, f"{name}.{TOLERANCE}"))
    if epochs:
        label = f"{TOLERANCE_MARGIN:g} solver tolerances"
        axes.plot(epochs, [TOLERANCE_MARGIN * value for value in tolerance_v], "C3.:", label=label)
        axes.plot(epochs, tolerance_v, "C3.-", label="solver tolerance")
    axes.legend(fontsize=SMALL)


def _edges(layers: Sequence[Floats]) -> Floats:
    """Return bins that hold the states of every layer, wider than a point if all are equal."""
    low = min(float(values.min()) for values in layers)
    high = max(float(values.max()) for values in layers)
    margin = 0.02 * (high - low) or max(abs(high), 1.0) * 1e-3
    return np.linspace(low - margin, high + margin, N_BINS + 1)


def _units(layer: NodeLayer) -> str:
    return f"{layer.size} units" if layer.coupling is None else format_shape(layer.shape)


def _positive(found: tuple[list[float], list[float]]) -> tuple[list[float], list[float]]:
    """Leave out what has no place on a log axis."""
    kept = [(epoch, value) for epoch, value in zip(*found, strict=True) if 0.0 < value < np.inf]
    return [epoch for epoch, _ in kept], [value for _, value in kept]


def _say(axes: Axes, text: str) -> None:
    """Write why a panel is empty."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="gray")
