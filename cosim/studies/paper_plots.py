"""The picture of an experiment of the paper: its layers, block by block, with the weights and units of each."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, final

from ..training.dataset_facts import DATASETS
from ..training.paper_networks import PaperLayer
from ..training.paper_presets import PaperPreset
from .preset_figure import draw_panels, label_panel

FEEDFORWARD, COUPLING, READOUT = "tab:blue", "tab:orange", "tab:gray"
KERNEL_WEIGHTS: Final = 9
SIZE: Final = 7  # points


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class LayerRow:
    """A layer as the picture shows it.

    Args:
        block: number of its block, from 1; None of the readout.
        color: says whether it is feedforward, coupled, or the readout.
        text: what it does.
        n_weights: weights and biases of what leads to it.
        n_units: of one sample.
    """

    block: int | None
    color: str
    text: str
    n_weights: int
    n_units: int


def list_layers(entry: PaperPreset) -> tuple[LayerRow, ...]:
    """Return the layers in order, the readout last, with the numbers that follow from the shape of an image."""
    facts = DATASETS[entry.data]
    channels, side, _ = facts.shape
    rows = []
    for number, block in enumerate(entry.network.blocks, start=1):
        for k, layer in enumerate(block.layers):
            has_bias = k > 0 or not block.is_normalised
            n_inputs = channels * side * side if layer.is_dense else channels * KERNEL_WEIGHTS
            side = 1 if layer.is_dense else side // 2 if layer.is_pooled else side
            channels = layer.size
            rows.append(
                LayerRow(
                    block=number,
                    color=FEEDFORWARD if k == 0 else COUPLING,
                    text=_describe(layer, side, is_normalised=k == 0 and block.is_normalised),
                    n_weights=layer.size * (n_inputs + has_bias),
                    n_units=channels * side * side,
                )
            )
    n_weights = facts.n_classes * (channels * side * side + 1)
    readout = LayerRow(
        block=None, color=READOUT, text=f"linear, {facts.n_classes}", n_weights=n_weights, n_units=facts.n_classes
    )
    return (*rows, readout)


def plot_paper_preset(entry: PaperPreset, path: Path) -> None:
    """Draw an experiment of the paper into a PNG file: three panels, a row a layer, its source below.

    Args:
        entry: the preset.
        path: the file.

    Raises:
        RunError: if the file cannot be written.
    """
    rows = list_layers(entry)
    recipe = entry.recipe
    feedforward, coupled = (
        sum(row.n_weights for row in rows if row.color == color) / 1e6 for color in (FEEDFORWARD, COUPLING)
    )
    draw_panels(
        (
            partial(_draw_layers, rows=rows),
            partial(_draw_bars, rows=rows, quantity="n_weights", title="weights and biases"),
            partial(_draw_bars, rows=rows, quantity="n_units", title="units a sample"),
        ),
        title=f"{entry.name}, {entry.data.value}: {feedforward:.3g} M feedforward, {coupled:.3g} M energy-based; "
        f"T1 {recipe.free_steps}, T2 {recipe.nudged_steps}, slope {recipe.slope:g}, beta 0.2",
        source=entry.source,
        note=entry.note,
        path=path,
    )


def _describe(layer: PaperLayer, side: int, *, is_normalised: bool) -> str:
    if layer.is_dense:
        return f"dense, {layer.size}"
    pool = ", pool" if layer.is_pooled else ""
    norm = ", batch norm" if is_normalised else ""
    return f"conv{pool}{norm}, {layer.size} x {side} x {side}"


def _draw_layers(axes: Any, *, rows: tuple[LayerRow, ...]) -> None:
    """Draw a line of text a layer, blocks shaded; blue leads one way, orange both ways."""
    for k, row in enumerate(rows):
        if row.block is not None and row.block % 2:
            axes.axhspan(k - 0.5, k + 0.5, color="0.92", linewidth=0)
        if row.block is not None and (k == 0 or rows[k - 1].block != row.block):
            axes.text(0.02, k, f"block {row.block}", fontsize=SIZE, va="center")
        arrow = {FEEDFORWARD: "feedforward", COUPLING: "coupled", READOUT: "readout"}[row.color]
        axes.text(0.2, k, arrow, fontsize=SIZE, va="center", color=row.color, weight="bold")
        axes.text(0.44, k, row.text, fontsize=SIZE, va="center")
    axes.set_xlim(0, 1)
    _set_rows(axes, rows)
    axes.set_xticks([])
    axes.set_title("layers", fontsize=10)


def _draw_bars(axes: Any, *, rows: tuple[LayerRow, ...], quantity: str, title: str) -> None:
    """Draw a bar a layer."""
    for k, row in enumerate(rows):
        axes.barh(k, getattr(row, quantity), color=row.color, height=0.7)
    axes.set_xscale("log")
    _set_rows(axes, rows)
    label_panel(axes, title=title, x="", y="")


def _set_rows(axes: Any, rows: tuple[LayerRow, ...]) -> None:
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks([])
