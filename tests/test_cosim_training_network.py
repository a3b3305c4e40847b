"""From a configuration to a network: every kind of stage, what stands in a circuit's place, errors.

Hopfield stages are in `test_cosim_training_hopfield`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_runs import check_network_learns, small_config
from torch import Tensor, nn

from circuits import Drive, EnergyBlock, NodeLayer
from cosim.analog_block import AnalogBlock, Gradient
from cosim.errors import ConfigError
from cosim.simulators.newton import NewtonSimulator
from cosim.training.config import Config
from cosim.training.config_file import load_config
from cosim.training.network import build_network, list_analog_blocks, sum_counters, tanh_layers
from digital.ff_ebm import FfEbm
from digital.tanh_layers import TanhLayers

CIFAR10 = Path(__file__).resolve().parent.parent / "examples" / "cifar10.toml"

IMAGES = """
[[network.stages]]
kind = "conv"
channels = 4
kernel = 3
padding = 1

[[network.stages]]
kind = "batch_norm"

[[network.stages]]
kind = "tanh"

[[network.stages]]
kind = "max_pool"
kernel = 2

[[network.stages]]
kind = "average_pool"
kernel = 2
stride = 1

[[network.stages]]
kind = "module"
module = "torch.nn.Conv2d"
arguments = { in_channels = 4, out_channels = 2, kernel_size = 2, bias = false }

[[network.stages]]
kind = "flatten"

[[network.stages]]
kind = "analog"

[[network.stages.layers]]
size = 6
clamp = [-0.3, 0.3]
bias = true

[[network.stages.layers]]
size = 5
leak = 0.5

[[network.stages]]
kind = "linear"
size = 3
"""


def images_config(folder: Path, *overrides: str) -> Config:
    path = folder / "images.toml"
    path.write_text(IMAGES, encoding="utf-8")
    return load_config(path, overrides)


def build(config: Config, shape: tuple[int, ...] = (2, 8, 8), n_classes: int = 3, *, seed: int = 0) -> FfEbm:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    return build_network(config, shape=shape, n_classes=n_classes, simulator=NewtonSimulator(), generator=generator)


def draw_images(n: int = 12) -> tuple[Tensor, Tensor]:
    return torch.rand(n, 2, 8, 8, generator=torch.Generator().manual_seed(5)) * 2 - 1, torch.arange(n) % 3


def test_stages_become_torchs_modules_in_order(tmp_path: Path) -> None:
    network = build(images_config(tmp_path))
    (link,) = network.links
    kinds = [nn.Conv2d, nn.BatchNorm2d, nn.Tanh, nn.MaxPool2d, nn.AvgPool2d, nn.Conv2d, nn.Flatten]
    assert [type(stage) for stage in link.feedforward] == kinds
    assert isinstance(link.energy, AnalogBlock)
    assert link.energy.block.n_inputs == 2 * 2 * 2  # 8x8, pooled to 4x4, to 3x3, convolved to 2x2
    assert isinstance(network.readout, nn.Linear)


@pytest.mark.parametrize("gradient", ["ep", "implicit", "backprop"])
def test_a_network_of_images_learns(tmp_path: Path, gradient: str) -> None:
    network, (x, y) = build(images_config(tmp_path, f"gradient={gradient}")), draw_images()
    check_network_learns(network, x, y, learning_rate=0.02, steps=20)


def test_the_state_of_a_module_stage_is_saved(tmp_path: Path) -> None:
    config = images_config(tmp_path)
    one, other = build(config), build(config, seed=1)
    assert one.state_dict()["feedforward.0.5.weight"].shape == (2, 4, 2, 2)
    x, _ = draw_images()
    assert not torch.equal(one.eval()(x), other.eval()(x))
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(x), other(x))


def test_equal_seeds_build_equal_networks(tmp_path: Path) -> None:
    config = images_config(tmp_path)
    one, other = (build(config).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("gradient", Gradient)
def test_the_files_word_for_the_gradient_is_the_blocks(tmp_path: Path, gradient: Gradient) -> None:
    (block,) = list_analog_blocks(build(images_config(tmp_path, f"gradient={gradient.value}")))
    assert block.gradient is gradient


# ----------------------------------------------------------------------------------------------------- no circuit


def test_backprop_needs_no_simulator_and_the_others_do(tmp_path: Path) -> None:
    def build_without(gradient: str) -> FfEbm:
        config, generator = images_config(tmp_path, f"gradient={gradient}"), torch.Generator()
        return build_network(config, shape=(2, 8, 8), n_classes=3, simulator=None, generator=generator)

    network = build_without("backprop")
    assert [type(link.energy) for link in network.links] == [TanhLayers]
    assert list_analog_blocks(network) == []
    assert set(sum_counters([]).values()) == {0}
    for gradient in ("ep", "implicit"):
        with pytest.raises(
            ConfigError, match=rf'gradient = "{gradient}" needs a simulator, got None; give one, or set'
        ):
            build_without(gradient)


def test_tanh_layers_have_the_sizes_of_the_block() -> None:
    layers = tuple(NodeLayer(size=size) for size in (5, 4, 3))
    driven = tanh_layers(EnergyBlock(name="b", n_inputs=6, layers=layers, output_layers=(0, -1)))
    assert [tuple(m.weight.shape) for m in driven.linear] == [(5, 6), (4, 5), (3, 4)]
    assert driven(torch.zeros(2, 6)).shape == (2, 8)
    direct = tanh_layers(EnergyBlock(name="b", n_inputs=5, layers=layers, drive=Drive.CURRENT))
    assert [tuple(m.weight.shape) for m in direct.linear] == [(4, 5), (3, 4)]
    assert direct.enters_directly
    assert direct(torch.zeros(2, 5)).shape == (2, 3)


def test_a_network_without_circuits_keeps_the_shapes_and_the_rest(tmp_path: Path) -> None:
    analog, plain = (build(small_config(tmp_path, f"gradient={g}"), (1, 8, 8), 10) for g in ("ep", "backprop"))
    digital = {name: p for name, p in plain.named_parameters() if not name.startswith("energy")}
    assert [name for name, _ in analog.named_parameters() if not name.startswith("energy")] == list(digital)
    assert torch.equal(analog.feedforward[0][1].weight, plain.feedforward[0][1].weight)
    x = torch.rand(4, 1, 8, 8)
    for model in (analog, plain):
        inputs, states = model.inputs_and_states(x)
        assert [tuple(t.shape) for t in (*inputs, *states)] == [(4, 6), (4, 5)]


# ---------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "network.stages.0.kernel=11",
            r"stages\[0\] \(conv\): conv stage: kernel = 11 is larger than the image of 8x8, 10x10",
        ),
        (
            "network.stages.3.kernel=9",
            r"stages\[3\] \(max_pool\): max_pool stage: kernel = 9 is larger than .* 8x8; choose 8",
        ),
        ("network.stages.4.kernel=5", r"stages\[4\] \(average_pool\): average_pool stage: kernel = 5 is larger .* 4x4"),
        ("network.stages.5.module=torch.nn.Conv2D", r"stages\[5\] \(module\): .*; did you mean 'torch\.nn\.Conv2d'\?"),
        (
            "network.stages.5.arguments.out_chanels=3",
            r"stages\[5\] \(module\): .* fails: .*did you mean 'out_channels'\?",
        ),
        (
            "network.stages.5.arguments.in_channels=3",
            r"stages\[5\] \(module\): .* does not take samples of shape \(4, 3, 3\)",
        ),
        (
            'network.stages.6={ kind = "relu" }',
            r"stages\[7\] \(analog\): needs a flat sample, gets shape \(2, 2, 2\); put",
        ),
        ('network.stages.0={ kind = "flatten" }', r"stages\[3\] \(max_pool\): .* gets shape \(128,\); put it before"),
    ],
)
def test_a_stage_that_does_not_fit_is_named(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^network\.{message}"):
        build(images_config(tmp_path, override))


def test_the_last_stage_must_give_one_value_a_class(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"the last stage gives 3 values a sample, but .* has 4 classes; end with kind"
    ):
        build(images_config(tmp_path), n_classes=4)


def test_the_cifar10_example_builds_and_steps() -> None:
    if not CIFAR10.is_file():
        pytest.skip("no examples beside an installed wheel")
    network = build(load_config(CIFAR10), (3, 32, 32), 10)
    sizes = [(b.block.n_inputs, *(layer.size for layer in b.block.layers)) for b in list_analog_blocks(network)]
    assert sizes == [(64, 48, 32), (32, 32, 24)]
    x = torch.rand(8, 3, 32, 32) * 2 - 1
    nn.functional.cross_entropy(network(x), torch.arange(8)).backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in network.parameters())
    for block in list_analog_blocks(network):
        assert block.clamped_share is not None
        assert 0.05 < block.clamped_share < 0.5  # driven into the clamps, and not all of it
