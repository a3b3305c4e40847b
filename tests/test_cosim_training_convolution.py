"""Analog stages of images: convolved layers and leaks a unit, from the file to a trained, resumed and compiled run."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from small_runs import check_network_learns, list_differences, quiet, read_outcome, stub_pictures, write_small
from torch import Tensor, nn

from circuits import Clamp, Convolution, DiodeModel, Drive, EnergyBlock, NodeLayer, Polarity, build
from cosim.analog_block import AnalogBlock
from cosim.cli import main
from cosim.compilation.loading import load_bundle
from cosim.errors import ConfigError
from cosim.simulators.base import AbstractSimulator
from cosim.simulators.newton import NewtonSimulator
from cosim.studies.gradcheck import gradcheck
from cosim.training import loop
from cosim.training.block_of_stage import energy_block
from cosim.training.block_plots import draw_blocks
from cosim.training.block_summary import list_blocks
from cosim.training.checkpoints import Which
from cosim.training.config import AnalogStage, Config, DataSection, DatasetKind, DiodeSection
from cosim.training.config_file import config_from_json, load_config
from cosim.training.data import load_data
from cosim.training.dataset_facts import DATASETS
from cosim.training.network import build_network, list_analog_blocks, tanh_layers
from cosim.training.run import train
from cosim.training.setup import load_run
from cosim.training.stage_of_block import analog_stage
from cosim.training.summary import summarise
from digital.ff_ebm import FfEbm

# A convolution of the input with a leak a unit, two of them active; then an image that enters by currents, a
# convolution of it and a dense layer.
IMAGES = """
[data]
train_size = 60
test_size = 20

[[network.stages]]
kind = "average_pool"
kernel = 2

[[network.stages]]
kind = "gain"
value = 2.0

[[network.stages]]
kind = "analog"
name = "first"

[[network.stages.layers]]
conv = { channels = 2, stride = 1, padding = 0 }
clamp = [-0.3, 0.3]
leak = [0.5, 0.25, -0.125, 0.0, 0.5, -0.25, 0.3, 0.1]
bias = true

[[network.stages]]
kind = "batch_norm"

[[network.stages]]
kind = "analog"
drive = "current"
g_min = 1e-2

[[network.stages.layers]]
size = 8
clamp = [-0.5, 0.5]
leak = 0.5

[[network.stages.layers]]
conv = { channels = 3, kernel = 2 }
clamp = [-0.3, 0.3]
bias = true

[[network.stages.layers]]
size = 4
leak = 0.5

[[network.stages]]
kind = "linear"
size = 10

[training]
epochs = 2
batch_size = 30
learning_rate = 2e-2
"""


def images_config(folder: Path, *overrides: str) -> Config:
    return load_config(write_small(folder, IMAGES), overrides)


def build_images(config: Config, simulator: AbstractSimulator | None = None) -> FfEbm:
    torch.manual_seed(0)
    return build_network(
        config,
        shape=(1, 8, 8),
        n_classes=10,
        simulator=simulator or NewtonSimulator(),
        generator=torch.Generator().manual_seed(0),
    )


def draw_images(n: int = 12) -> tuple[Tensor, Tensor]:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(5)) * 2 - 1, torch.arange(n) % 10


# -------------------------------------------------------------------------------------------- a block and its stage

RNG = np.random.default_rng(4)
CONVOLUTION = Convolution(input_shape=(2, 5, 4), channels=3, kernel=3, stride=2, padding=1)  # to 3x3x2


def draw_block(polarity: Polarity, drive: Drive, *, convolved: bool, **settings) -> EnergyBlock:
    """Draw a block of numbers that no unit divides without rounding."""
    diode = DiodeModel(
        saturation_current_a=3.1e-15,
        emission_coefficient=1.07,
        series_resistance_ohm=2.3,
        activation_energy_ev=0.7,
        saturation_exponent=2.1,
    )

    def layer(size: int, **others) -> NodeLayer:
        low_v, high_v = -RNG.uniform(0.1, 1), RNG.uniform(0.1, 1)
        clamp = Clamp(low_v=low_v, high_v=high_v, diode=diode, reference_current_a=1.3e-6)
        return NodeLayer(size=size, clamp=clamp, leak_s=tuple(RNG.normal(size=size) * 1e-5), **others)

    layers = [layer(18, coupling=CONVOLUTION, bias=True) if convolved else layer(7, bias=True)]
    layers.append(NodeLayer(size=4, leak_s=RNG.uniform(1e-6, 1e-5)))
    if drive is Drive.CURRENT:
        layers.insert(0, layer(CONVOLUTION.n_rows))
    return EnergyBlock(
        name="drawn",
        n_inputs=CONVOLUTION.n_rows,
        layers=layers,
        polarity=polarity,
        drive=drive,
        output_layers=(-1, 0),
        v_unit_v=0.37,
        g_unit_s=RNG.uniform(1e-6, 1e-3),
        g_min_s=1.7e-9,
        g_max_s=3.3e-5,
        temperature_k=311.1,
        k_over_q_v_per_k=8.6e-5,
        **settings,
    )


def built(stage: AnalogStage, block: EnergyBlock) -> EnergyBlock:
    assert stage.name is not None
    return energy_block(stage, stage.name, block.input_shape, "here", block.k_over_q_v_per_k)


def numbers(block: EnergyBlock) -> list[float]:
    found = [block.g_min_s, block.g_max_s, block.v_unit_v, block.g_unit_s]
    for layer in block.layers:
        found += [*layer.leaks_s, *([] if layer.clamp is None else [layer.clamp.low_v, layer.clamp.high_v])]
    return found


def without_numbers(block: EnergyBlock) -> EnergyBlock:
    layers = [
        replace(layer, leak_s=0.0, clamp=layer.clamp and replace(layer.clamp, low_v=-1.0, high_v=1.0))
        for layer in block.layers
    ]
    return replace(block, layers=layers, g_min_s=1.0, g_max_s=2.0)


@pytest.mark.parametrize(("polarity", "drive", "convolved"), list(itertools.product(Polarity, Drive, (False, True))))
def test_the_stage_of_a_block_builds_it_again(polarity: Polarity, drive: Drive, convolved: bool) -> None:
    block = draw_block(polarity, drive, convolved=convolved)
    assert min(block.layers[0].leaks_s) < 0
    stage = analog_stage(block)
    again = built(stage, block)
    np.testing.assert_allclose(numbers(again), numbers(block), rtol=2.3e-16, atol=0)
    assert without_numbers(again) == without_numbers(block)
    assert built(analog_stage(again), again) == again


def test_the_stage_of_a_block_is_a_file_without_a_digit_lost() -> None:
    block = draw_block(Polarity.DIFFERENTIAL, Drive.CURRENT, convolved=True)
    config = Config.model_validate({"network": {"stages": [analog_stage(block)]}})
    text = json.dumps(config.model_dump(mode="json"))
    assert config_from_json(json.loads(text), "here") == config
    (stage,) = config_from_json(json.loads(text), "here").network.stages
    assert isinstance(stage, AnalogStage)
    assert built(stage, block) == built(analog_stage(block), block)


def test_a_block_without_clamps_has_the_default_diode() -> None:
    block = EnergyBlock(name="b", n_inputs=3, layers=NodeLayer(size=2, leak_s=1e-5), g_min_s=1e-3 * 1e-4)
    assert analog_stage(block).diode == DiodeSection()
    assert built(analog_stage(block), block) == block


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "my block"}, "block 'my block' is no stage of a configuration: name: String should match pattern"),
        ({"gmin_s": 1e-12}, "block 'b': gmin_s = 1e-12 has no key in a configuration; leave it at 1e-15"),
        (
            {"layers": [NodeLayer(size=2, clamp=Clamp(low_v=-1, high_v=1, reference_current_a=i)) for i in (1, 2)]},
            "block 'b': its clamps differ in their diodes or reference currents; a stage has one diode table",
        ),
    ],
)
def test_what_a_stage_cannot_say_is_named(change: dict, message: str) -> None:
    block = EnergyBlock(name="b", n_inputs=3, layers=NodeLayer(size=2))
    with pytest.raises(ConfigError, match=message):
        analog_stage(replace(block, **change))


# ------------------------------------------------------------------------------------------------- the network's shapes


def test_an_image_goes_from_block_to_block(tmp_path: Path) -> None:
    network = build_images(images_config(tmp_path))
    first, second = (block.block for block in list_analog_blocks(network))
    assert (first.input_shape, first.output_shape) == ((1, 4, 4), (2, 2, 2))
    assert first.layers[0].leak_s == tuple(g * 1e-4 for g in (0.5, 0.25, -0.125, 0.0, 0.5, -0.25, 0.3, 0.1))
    assert (second.input_shape, second.output_shape, second.n_outputs) == ((2, 2, 2), (4,), 4)
    assert [layer.shape for layer in second.layers] == [(8,), (3, 1, 1), (4,)]
    assert second.layers[1].coupling == Convolution(input_shape=(2, 2, 2), channels=3, kernel=2)
    assert isinstance(network.feedforward[1], nn.BatchNorm2d)
    inputs, states = network.inputs_and_states(draw_images()[0])
    assert [tuple(t.shape) for t in (*inputs, *states)] == [(12, 1, 4, 4), (12, 2, 2, 2), (12, 2, 2, 2), (12, 4)]


def test_a_convolved_layer_may_be_padded_and_strided(tmp_path: Path) -> None:
    config = images_config(
        tmp_path,
        "network.stages.2.layers.0={ conv = { channels = 5, stride = 2, padding = 1 }, leak = 0.5 }",
        "network.stages.4={ kind = 'flatten' }",
    )
    (block,) = list_analog_blocks(build_images(config))
    assert block.block.output_shape == (5, 2, 2)
    assert block.g_plus["w1"].shape == (5, 1, 3, 3)


def test_an_image_enters_by_currents_before_a_dense_layer_too(tmp_path: Path) -> None:
    config = images_config(tmp_path, "network.stages.4.layers.1={ size = 4 }")
    second = list_analog_blocks(build_images(config))[1].block
    assert (second.input_shape, second.output_shape) == ((8,), (4,))


@pytest.mark.parametrize(
    ("output_layers", "shape"), [([0], (2, 2, 2)), ([1], (3, 1, 1)), ([-1], (4,)), ([0, 1], (11,)), ([2, 1], (7,))]
)
def test_blocks_and_their_twins_give_an_image_where_one_is_read(
    tmp_path: Path, output_layers: list[int], shape: tuple[int, ...]
) -> None:
    config = images_config(tmp_path, f"network.stages.4.output_layers={output_layers}")
    block = energy_block(config.network.energy_blocks[1][0], "second", (2, 2, 2), "here")
    x = draw_images(4)[0][:, :, :4, :2].reshape(4, 2, 2, 2)
    for module in (AnalogBlock(block, simulator=NewtonSimulator()), tanh_layers(block)):
        s = module(x)
        assert s.shape == (4, *shape)
        assert torch.equal(module(x.flatten(1)), s)


NO_IMAGE = (
    r"conv needs an image \[channels, height, width\], but what is before it has shape \({}\); give the layer befo"
)
TWICE = r"block 'block2': output_layers = \(2, -1\) names a layer twice"


@pytest.mark.parametrize(
    ("override", "place", "message"),
    [
        ('1={ kind = "flatten" }', "2.layers[0]", NO_IMAGE.format("16,")),
        ('3={ kind = "flatten" }', "4.layers[1]", NO_IMAGE.format("8,")),
        ("4.layers=[{ size = 8 }, { size = 8 }, { conv = { channels = 2 } }]", "4.layers[2]", NO_IMAGE.format("8,")),
        (
            "4.layers.2={ conv = { channels = 2, kernel = 2 } }",
            "4.layers[2]",
            "convolution: kernel = 2 is larger than the image, 1x1 and padding 0; give 1 or less, or more padding",
        ),
        (
            "2.layers.0.conv.kernel=5",
            "2.layers[0]",
            "convolution: kernel = 5 is larger than the image, 4x4 and padding",
        ),
        (
            "2.layers.0.leak=[1, 2, 3]",
            "2.layers[0]",
            "node layer: 3 leaks for 8 units; give one a unit, or one for all",
        ),
        ("4.layers.1.leak=[1, 2]", "4.layers[1]", "node layer: 2 leaks for 3 units; give one a unit, or one for all"),
        (
            "2.drive=current",
            "2.layers[0]",
            'conv, but with drive = "current" the input enters this layer as it is; set size = 16 and give layers',
        ),
        (
            "4.layers.0.size=9",
            "4",
            r'drive = "current" puts each of 8 inputs into one unit, but layers\[0\]\.size = 9; set it to 8, put',
        ),
        (
            "4={ kind = 'analog', layers = [{ size = 4 }] }",
            "4",
            r'needs a flat sample, gets shape \(2, 2, 2\); put kind = "flatten" before it',
        ),
        ("4.output_layers=[2, -1]", "4", TWICE),
    ],
)
def test_a_layer_that_does_not_fit_is_named(tmp_path: Path, override: str, place: str, message: str) -> None:
    stage, _, layer = place.partition(".")
    where = re.escape(f"network.stages[{stage}] (analog): " + (f"{layer}: " if layer else ""))
    with pytest.raises(ConfigError, match=f"^{where}{message}"):
        build_images(images_config(tmp_path, f"network.stages.{override}"))


# --------------------------------------------------------------------------------------------------------- it trains


@pytest.mark.parametrize("gradient", ["ep", "implicit", "backprop"])
def test_a_network_of_convolved_blocks_learns(tmp_path: Path, gradient: str) -> None:
    network, (x, y) = build_images(images_config(tmp_path, f"gradient={gradient}")), draw_images()
    check_network_learns(network, x, y, learning_rate=0.05, steps=15)


@pytest.mark.ngspice
def test_a_step_in_ngspice_is_the_step_in_newton(tmp_path: Path) -> None:
    from cosim.simulators.ngspice import NgspiceSimulator

    x, y = draw_images(6)
    found = []
    for simulator in (NewtonSimulator(), NgspiceSimulator()):
        network = build_images(images_config(tmp_path, "phases.beta=0.05"), simulator).double()
        logits = network(x.double())
        nn.functional.cross_entropy(logits, y).backward()
        found.append([logits.detach(), *(p.grad for p in network.parameters())])
    for newton, ngspice in zip(*found, strict=True):
        assert newton is not None
        torch.testing.assert_close(ngspice, newton, rtol=0, atol=1e-4 * float(newton.abs().max()))


def test_twins_of_convolved_layers_are_torchs_convolutions() -> None:
    layers = [NodeLayer(size=12), NodeLayer(coupling=Convolution(input_shape=(3, 2, 2), channels=4, padding=1))]
    block = EnergyBlock(name="b", n_inputs=12, layers=[*layers, NodeLayer(size=5)], drive=Drive.CURRENT)
    twin, x = tanh_layers(block), torch.randn(2, 3, 2, 2)
    w1, b1, w2, b2 = twin.parameters()
    s = torch.tanh(nn.functional.conv2d(torch.tanh(x), w1, b1, padding=1))
    assert torch.equal(twin(x), torch.tanh(s.flatten(1) @ w2.T + b2))
    assert list(twin.state_dict()) == ["linear.0.weight", "linear.0.bias", "linear.1.weight", "linear.1.bias"]


@pytest.mark.ngspice
def test_gradients_of_every_tensor_are_right(tmp_path: Path) -> None:
    images_config(tmp_path)
    report = gradcheck(tmp_path / "small.toml")
    assert report.passed
    assert {("first", "g_plus.w1"), ("block2", "g_minus.w2"), ("first", "input"), ("block2", "input")} <= {
        (check.block, check.tensor) for check in report.tensors
    }


# ------------------------------------------------------------------------------------------------------- run folders


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("images")
    with pytest.MonkeyPatch.context() as patch:
        stub_pictures(patch.setattr)
        train(images_config(folder), folder / "run", console=quiet())
        yield folder / "run"


def test_a_run_stopped_after_a_batch_goes_on_to_the_same_bits(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, config = loop.train_batch, images_config(tmp_path)

    def stopped(*arguments: Any) -> None:
        original(*arguments)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(loop, "train_batch", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run", console=quiet())
    monkeypatch.setattr(loop, "train_batch", original)
    train(config, tmp_path / "run", resume=Which.LAST, console=quiet())
    different = list_differences(read_outcome(run), read_outcome(tmp_path / "run"))
    assert set(different) <= {"previous.safetensors"}


def test_a_run_says_what_its_blocks_are(run: Path) -> None:
    summary = summarise(run)
    text = "\n".join(summary.lines())
    assert [block.sizes for block in summary.blocks] == [(16, 8), (8, 8, 3, 4)]
    assert "first       1x4x4-2x2x2, voltage-driven, differential\n" in text
    assert "block2      2x2x2-2x2x2-3x1x1-4, current-driven, differential\n" in text
    found = summary.to_json()["blocks"][1]
    assert found["sizes"] == (8, 8, 3, 4)
    assert "shapes" not in found
    # By hand: kernels of 2x1x3x3 and 3x2x2x2, biases of 2 and 3 channels, 3 by 4 weights.
    assert summary.weights is not None
    assert summary.weights.conductances == 2 * (18 + 2 + 24 + 3 + 12)
    assert summary.weights.devices == 4 * (8 * 9 + 8 + 3 * 8 + 3 + 12)
    assert summary.weights.devices == sum(
        sum(crossbar.plus.size + crossbar.minus.size for crossbar in build(block.block).crossbars)
        for block in list_analog_blocks(load_run(run, NewtonSimulator()).network)
    )


def test_what_a_missing_module_hides_is_a_question_mark(run: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["network"]["stages"][1] = {"kind": "module", "module": "not.Here"}
    blocks = list_blocks(config_from_json(config, "here"), (), {})
    assert [block.sizes for block in blocks] == [(None, None), (8, 8, None, 4)]
    assert blocks[1].texts() == ["8-8-?-4, current-driven, differential"]


def test_images_have_the_shape_that_a_summary_takes_for_granted() -> None:
    digits, facts = load_data(DataSection()), DATASETS[DatasetKind.DIGITS]
    assert (digits.shape, digits.n_classes, int(digits.train.pixels.max())) == (facts.shape, facts.n_classes, 16)
    assert set(DATASETS) == set(DatasetKind)


def test_a_picture_names_the_images_of_a_block(run: Path) -> None:
    setup = load_run(run, NewtonSimulator())
    setup.network(setup.data.scaled(setup.data.test.pixels[:4]))
    figure = draw_blocks(list_analog_blocks(setup.network), (), "convolved")
    labels = [text.get_text() for text in figure.axes[4].get_legend().get_texts()]
    assert labels[:3] == ["layer 1, 8 units", "layer 2, 3x1x1", "layer 3, 4 units"]


def test_a_convolved_twin_trains_in_a_run_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub_pictures(monkeypatch.setattr)
    train(images_config(tmp_path, "gradient=backprop", "training.epochs=1"), tmp_path / "run", console=quiet())
    text = "\n".join(summarise(tmp_path / "run").lines())
    assert "first       1x4x4-2x2x2, tanh layers in place of the circuit\n" in text


# ----------------------------------------------------------------------------------------------------------- bundles


def compiled(run: Path, out: Path) -> dict[str, Any]:
    arguments = ["compile", run, "--out", out, "--tile", "8x8", "--samples", "2", "--verify"]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads((out / "verify.json").read_text())
    return found


@pytest.mark.ngspice
def test_a_bundle_of_convolved_blocks_and_active_leaks_is_the_network(run: Path, tmp_path: Path) -> None:
    found = compiled(run, tmp_path / "bundle")
    assert (found["samples"], found["decks"], found["problems"]) == (2, 4, [])
    assert found["max_abs_error_v"] <= 1e-6
    data = load_run(run, NewtonSimulator()).data
    x = data.scaled(data.test.pixels)
    with torch.no_grad():
        expected = load_run(run, NewtonSimulator()).network.eval()(x)
        assert torch.equal(load_bundle(tmp_path / "bundle", NewtonSimulator()).eval()(x), expected)
