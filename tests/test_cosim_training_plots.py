"""The pictures of a run: the right panels with the right numbers, as whole PNG files."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from analog_blocks import small_block
from matplotlib.axes import Axes
from matplotlib.patches import StepPatch

from circuits import EnergyBlock, NodeLayer, Polarity
from cosim.analog_block import AnalogBlock, Gradient
from cosim.simulators.newton import NewtonSimulator
from cosim.training.block_plots import draw_blocks, plot_blocks
from cosim.training.config import LossKind
from cosim.training.plots import draw_training, plot_training
from cosim.training.run_folder import Metrics

NEWTON = NewtonSimulator()


def png_size(path: Path) -> tuple[int, int]:
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert content.endswith(b"IEND\xaeB`\x82")
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def metrics_of(n_epochs: int, *names: str) -> list[Metrics]:
    accuracies = [0.2, 0.7, 0.9, 0.9, 0.8]
    return [
        {
            "epoch": k + 1,
            "train_loss": 2.0 / (k + 1),
            "train_accuracy": 0.1 * k,
            "test_loss": 2.1 / (k + 1),
            "test_accuracy": accuracies[k],
            "learning_rate": 1e-3 * (k + 1),
            **{
                key: value
                for name in names
                for key, value in (
                    (f"{name}.clamped_share", 0.1 * k),
                    (f"{name}.nudge_response_v", 1e-3 / (k + 1)),
                    (f"{name}.tolerance_v", 1e-12),
                    (f"{name}.adc_step_v", 2e-4),
                )
            },
        }
        for k in range(n_epochs)
    ]


def make_blocks(n: int, *, relax: bool = True) -> list[AnalogBlock]:
    blocks = []
    for k in range(n):
        polarity = Polarity.SINGLE if k == 2 else Polarity.DIFFERENTIAL
        block = AnalogBlock(small_block(f"block{k + 1}", 4, 5, 3, polarity=polarity), simulator=NEWTON)
        if relax:
            block(4.0 * torch.randn(8, 4))
        blocks.append(block)
    return blocks


def stairs(axes: Axes) -> list[np.ndarray]:
    return [patch.get_data().values for patch in axes.patches if isinstance(patch, StepPatch) and not patch.get_fill()]


def lines(axes: Axes) -> dict[str, list[float]]:
    return {str(line.get_label()): list(line.get_ydata()) for line in axes.lines}


def limits(axes: Axes) -> list[float]:
    """Where the vertical lines are."""
    verticals = (list(line.get_xdata()) for line in axes.lines if list(line.get_ydata()) == [0, 1])
    return sorted({x[0] for x in verticals if x[0] == x[1]})


# ------------------------------------------------------------------------------------------------- training curve


def test_training_curve_shows_the_metrics_and_the_best_epoch() -> None:
    loss, accuracy, rate = draw_training(metrics_of(5), "a run").axes
    assert lines(loss)["train"] == [2.0 / k for k in range(1, 6)]
    assert lines(accuracy)["test"] == [0.2, 0.7, 0.9, 0.9, 0.8]
    assert lines(accuracy)["best: 0.9000, epoch 3"] == [0.9]  # the first of two
    assert [round(1e3 * y) for y in rate.lines[0].get_ydata()] == [1, 2, 3, 4, 5]
    assert [axes.get_ylabel() for axes in (loss, accuracy)] == ["cross-entropy", "accuracy"]
    mse = draw_training(metrics_of(1), "a run", loss=LossKind.MSE)
    assert mse.axes[0].get_ylabel() == "mean squared error"


@pytest.mark.parametrize("n_epochs", [0, 1, 5])
def test_training_curve_is_a_png(tmp_path: Path, n_epochs: int) -> None:
    metrics = metrics_of(n_epochs)
    if metrics:
        metrics[0]["train_loss"] = math.nan  # as a diverged run has it
        del metrics[0]["learning_rate"]  # as an older run has it
    plot_training(metrics, tmp_path / "training.png", "a run")
    assert png_size(tmp_path / "training.png") == (1320, 432)
    assert [path.name for path in tmp_path.iterdir()] == ["training.png"]


# --------------------------------------------------------------------------------------------------------- blocks


@pytest.mark.parametrize("n_blocks", [1, 3])
@pytest.mark.parametrize("n_epochs", [0, 1, 5])
def test_blocks_are_a_png_of_one_row_each(tmp_path: Path, n_blocks: int, n_epochs: int) -> None:
    blocks = make_blocks(n_blocks)
    metrics = metrics_of(n_epochs, *(block.block.name for block in blocks))
    assert len(draw_blocks(blocks, metrics, "a run").axes) == 4 * n_blocks
    assert plot_blocks(blocks, metrics, tmp_path / "blocks.png", "a run") is True
    width, height = png_size(tmp_path / "blocks.png")
    assert width == 1920
    assert 300 * n_blocks < height < 450 * n_blocks


def test_without_blocks_nothing_is_drawn(tmp_path: Path) -> None:
    assert plot_blocks([], metrics_of(3), tmp_path / "blocks.png", "a run") is False
    assert list(tmp_path.iterdir()) == []


def test_voltages_are_shares_of_each_layer_with_the_clamp() -> None:
    (block,) = make_blocks(1)
    axes = draw_blocks([block], [], "a run").axes[0]
    found = stairs(axes)
    assert len(found) == 2
    assert [shares.sum() for shares in found] == pytest.approx([1.0, 1.0])
    assert limits(axes) == [-0.3, 0.3]
    assert axes.get_yscale() == "log"
    low, high = axes.get_xlim()
    voltages = block.last_voltages()
    assert voltages is not None
    assert low < min(v.min() for v in voltages)
    assert high > max(v.max() for v in voltages)


def test_conductances_are_counts_of_each_crossbar_in_siemens() -> None:
    blocks = make_blocks(3)
    rows = np.reshape(draw_blocks(blocks, [], "a run").axes, (3, 4))
    sizes = [20, 15, 5]  # w1, w2, b1
    assert [counts.sum() for counts in stairs(rows[0][1])] == [n for n in sizes for _ in "+-"]
    assert [counts.sum() for counts in stairs(rows[2][1])] == sizes  # single polarity has no G-
    assert limits(rows[0][1]) == [blocks[0].block.g_min_s, blocks[0].block.g_max_s]


def test_epochs_show_clamped_units_and_the_response_against_its_limits() -> None:
    _, _, clamped, response = draw_blocks(make_blocks(1), metrics_of(5, "block1"), "a run").axes
    assert list(clamped.lines[0].get_ydata()) == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])
    assert list(clamped.lines[0].get_xdata()) == [1, 2, 3, 4, 5]
    assert response.get_yscale() == "log"
    found = lines(response)
    assert found["response, rms"] == pytest.approx([1e-3 / k for k in range(1, 6)])
    assert found["ADC step"] == [2e-4] * 5
    assert found["solver tolerance"] == [1e-12] * 5
    assert found["100 solver tolerances"] == pytest.approx([1e-10] * 5)


@pytest.mark.parametrize("gradient", Gradient)
def test_what_is_not_known_is_said(tmp_path: Path, gradient: Gradient) -> None:
    description = EnergyBlock(name="linear", n_inputs=2, layers=(NodeLayer(size=2, leak_s=1e-4),))
    block = AnalogBlock(description, simulator=NEWTON, gradient=gradient)
    figure = draw_blocks([block], [], "a run")
    said = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert said == ["no free phase yet", "no layer has a clamp", "no nudged phase yet"]
    zero = metrics_of(2, "linear")
    zero[0]["linear.nudge_response_v"], zero[1]["linear.nudge_response_v"] = 0.0, math.nan
    assert plot_blocks([block], zero, tmp_path / "blocks.png", "a run")  # neither has a place on a log axis
    block(torch.zeros(0, 2))
    assert plot_blocks([block], [], tmp_path / "blocks.png", "a run")
    block(torch.zeros(3, 2))  # all states are equal
    assert plot_blocks([block], [], tmp_path / "blocks.png", "a run")
