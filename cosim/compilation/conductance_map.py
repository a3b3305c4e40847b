"""A picture of a crossbar's conductances: G+, G- and the weight, entry by entry, with a scale in siemens."""

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from circuits.arrays import Floats

from .block_entry import CrossbarEntry, Joins


def draw_conductances(title: str, crossbar: CrossbarEntry, plus_s: Floats, minus_s: Floats | None) -> bytes:
    """Return a PNG file, the same bytes for the same values.

    Args:
        title: over it.
        crossbar: what the axes are.
        plus_s: S — G+, of the shape of the weights.
        minus_s: S — G- likewise; None with single polarity.
    """
    plus = plus_s.reshape(len(plus_s), -1)
    panels = [("G+" if minus_s is not None else "G", plus, "viridis")]
    if minus_s is not None:
        minus = minus_s.reshape(plus.shape)
        panels += [("G-", minus, "viridis"), ("w = G+ - G-", plus - minus, "RdBu_r")]
    largest = max(float(values.max()) for name, values, _ in panels if "w" not in name)
    n_rows, n_columns = plus.shape
    width, height = 3.9, float(np.clip(3.2 * n_rows / n_columns, 0.5, 4.8))
    figure = Figure(figsize=(width * len(panels) + 0.3, height + 1.3))
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10, y=1.0 - 0.12 / (height + 1.3), va="top")
    for k, (name, values, colours) in enumerate(panels):
        place = (0.7 + width * k) / (width * len(panels) + 0.3)
        panel_width, total = width * len(panels) + 0.3, height + 1.3
        axes = figure.add_axes((place, 0.55 / total, 2.3 / panel_width, height / total))
        scale = figure.add_axes((place + 2.42 / panel_width, 0.55 / total, 0.12 / panel_width, height / total))
        limit = float(np.abs(values).max()) or largest
        low, high = (0.0, largest) if colours == "viridis" else (-limit, limit)
        image = axes.imshow(values, cmap=colours, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
        figure.colorbar(image, cax=scale, format=EngFormatter(unit="S", places=None, sep=" "))
        scale.tick_params(labelsize="x-small")
        scale.yaxis.set_major_locator(MaxNLocator(nbins=5 if height > 1.5 else 2))
        axes.set_title(name, fontsize="small")
        _label(axes, crossbar, first=k == 0)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _label(axes: Axes, crossbar: CrossbarEntry, *, first: bool) -> None:
    """Name the axes: units of a dense crossbar, channels and taps of a kernel."""
    names = {
        Joins.DENSE: (f"row: unit of {crossbar.rows}", f"column: unit of {crossbar.columns}"),
        Joins.CONVOLUTION: ("channel", "channel before, then tap"),
        Joins.CHANNEL: (f"row: {crossbar.rows}", f"channel of {crossbar.columns}"),
    }[crossbar.joins]
    axes.set_xlabel(names[1], fontsize="x-small")
    if first:
        axes.set_ylabel(names[0], fontsize="x-small")
    axes.tick_params(labelsize="x-small")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=5, integer=True, min_n_ticks=1))
