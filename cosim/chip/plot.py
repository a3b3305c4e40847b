"""The picture of a chip's energy: stacked bars by part, the chip beside the same network all-digital."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..files import write_atomically
from .parts import PARTS, TITLES, EnergyParts
from .report import ChipReport, quantity

# Of Okabe and Ito's palette, which colour-blind people can tell apart.
_COLOURS: Final = {
    "relaxation": "#D55E00",
    "adc": "#E69F00",
    "dac": "#F0E442",
    "digital": "#0072B2",
    "buffers": "#56B4E9",
    "writes": "#CC79A7",
}
_UNITS: Final = ((1.0, "J"), (1e-3, "mJ"), (1e-6, "uJ"), (1e-9, "nJ"), (1e-12, "pJ"))


def plot_chip(report: ChipReport, path: Path) -> None:
    """Draw energy per inference and per sample of a training step into a PNG file.

    Args:
        report: what to draw.
        path: the file.

    Raises:
        RunError: if the file cannot be written.
    """
    rows = [("whole network", report.totals)]
    if report.circuits:
        rows.append(("energy blocks alone", report.blocks_alone))
    has_training = all(e.training is not None for e in report.totals.values())
    columns = 2 if has_training else 1
    figure = Figure(figsize=(4.6 * columns + 1.8, 4.2 * len(rows) + 0.4), layout="constrained")  # no pyplot: keeps it
    FigureCanvasAgg(figure)
    for line, (title, energies) in zip(figure.subplots(len(rows), columns, squeeze=False), rows, strict=True):
        _draw_panel(line[0], f"{title}: one inference", {name: e.inference for name, e in energies.items()})
        if has_training:
            step = {name: e.training for name, e in energies.items() if e.training is not None}
            _draw_panel(line[1], f"{title}: one sample of a step of {report.batch_size}", step)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside right center", fontsize=9)
    beside = ", and of the same network all-digital" if report.circuits else ", which has no circuit"
    figure.suptitle(f"{report.target.name}: energy of the chip{beside}", fontsize=11)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomically(path, buffer.getvalue())


def _draw_panel(axes: Any, title: str, parts: Mapping[str, EnergyParts]) -> None:
    """Draw a stacked bar for each network; reading images, the same for all, is left out and said below."""
    largest = max(p.total_j for p in parts.values())
    scale, unit = next(((s, u) for s, u in _UNITS if largest >= s), _UNITS[-1])
    places, bottom = np.arange(len(parts)), np.zeros(len(parts))
    for part in PARTS[:-1]:
        heights = np.array([getattr(p, part) for p in parts.values()]) / scale
        axes.bar(places, heights, 0.6, bottom=bottom, color=_COLOURS[part], label=TITLES[part])
        bottom += heights
    for place, height, p in zip(places, bottom, parts.values(), strict=True):
        axes.annotate(
            quantity(p.total_j, "J"), (place, height), (0, 3), textcoords="offset points", ha="center", fontsize=9
        )
    axes.set_xticks(places, [name.replace(" ", "\n") for name in parts])
    middle, reach = (len(parts) - 1) / 2.0, max(len(parts), 2) / 2.0 + 0.1
    axes.set_xlim(middle - reach, middle + reach)
    axes.set_ylim(0, 1.12 * largest / scale if largest > 0 else 1.0)
    axes.set_ylabel(unit)
    axes.set_title(title, fontsize=10)
    io_j = next(iter(parts.values())).io
    if io_j > 0:
        axes.set_xlabel(f"not in it, for each: {quantity(io_j, 'J')} to read the image", fontsize=8, color="dimgray")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
