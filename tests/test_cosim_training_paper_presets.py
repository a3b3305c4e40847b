"""The paper's experiments by name: the numbers of its released code, typed again; every one builds and steps."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from cifar10_archive import npz_arrays, write_npz
from small_runs import quiet, stub_pictures, write_small
from torch import Tensor, nn

from cosim.errors import ConfigError
from cosim.training import loop
from cosim.training.config import Config, DatasetKind, ImageChoice
from cosim.training.config_file import config_from_json, load_config
from cosim.training.dataset_facts import DATASETS
from cosim.training.network import build_network
from cosim.training.paper_networks import PaperBlock
from cosim.training.paper_presets import paper_preset, paper_preset_names
from cosim.training.paper_tables import preset_tables
from cosim.training.preset_fit import check_preset_fits
from cosim.training.run import evaluate, train
from cosim.training.setup import set_up
from cosim.training.summary import summarise
from cosim.training.toml_text import format_toml
from cosim.training.trainer import LOSSES, build_optimizer
from digital.ff_ebm import FfEbm
from digital.hopfield import HopfieldBlock, LastLayer

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "paper.toml"
NAMES = paper_preset_names()
# Name: L, T1, T2, slope, 1e5 V, learning rate, where it ends, epochs, batch size, tolerance, data.
SMALL, LARGE = (6, 60, 20, 1.0, 8.351, 1e-4, 1e-6, 200, 128), (12, 20, 5, 1.0, 5.9, 5e-5, 1e-6, 200, 128)
SMALL_TOL, LARGE_TOL = (6, 1580, 20, 0.65, 8.351, 3e-4, 1e-6, 100, 128), (12, 1580, 5, 0.55, 5.9, 5e-5, 1e-6, 100, 128)
L12, L15 = (12, 15, 5, 0.5, 4.9, 5e-5, 5e-7, 200, 256), (15, 15, 5, 0.5, 1.0, 2e-5, 1e-7, 100, 256)
RELEASED = {
    **{f"paper-l6-bs{bs}": (*SMALL, None, "cifar10") for bs in (6, 3, 2)},
    **{f"paper-l12-bs{bs}": (*LARGE, None, "cifar10") for bs in (4, 3, 2)},
    **{f"paper-l6-bs{bs}-tol": (*SMALL_TOL, 1e-6, "cifar10") for bs in (6, 3, 2)},
    **{f"paper-l12-bs{bs}-tol": (*LARGE_TOL, 1e-4, "cifar10") for bs in (4, 3, 2)},
    "paper-l12-bs2-cifar100": (*L12, None, "cifar100"),
    "paper-l12-bs2-imagenet32": (*L12, None, "imagenet32"),
    "paper-l15-bs2": (*L15, None, "cifar100"),
    "paper-l15-bs2-imagenet32": (*L15, None, "imagenet32"),
}
# Blocks as in hydra_conf/model: layers, m for a max-pool behind, b for batch normalisation, + for a clamped last layer.
NETWORKS = {
    "paper-l6-bs6": "128m 256m 256m 512m 512 fc256 b",
    "paper-l6-bs3": "128m 256m 256m b+ | 512m 512m fc256",
    "paper-l6-bs2": "128m 256m b+ | 256m 512m + | 512 fc256",
    "paper-l12-bs4": "128 128 128m 128 b | 256m 256 256 256 b | 512m 512 512 512 b",
    "paper-l12-bs3": "128 128 128 b | 128m 256 256 b | 256m 256 512 b | 512m 512 512 b",
    "paper-l12-bs2": "128 128 b | 128m 128 b | 256m 256 b | 256 256 b | 512m 512 b | 512 512 b",
    "paper-l12-bs2-cifar100": "128m 128 b | 128 128 b | 256m 256 b | 256 256 b | 512m 512 b | 512 512 b",
    "paper-l15-bs2": "64 64 b | 128m 128 b | 128 128 b | 256m 256 b | 256 256 b | 512m 512 b | 512 512 b | 512 b",
}
# Millions of parameters without the readout, feedforward and energy-based, as counted from the released files.
PARAMETERS = {
    "paper-l6-bs6": (0.003, 4.95),
    "paper-l6-bs3": (1.2, 3.4),
    "paper-l6-bs2": (2.9, 2.0),
    "paper-l12-bs4": (1.5, 9.3),
    "paper-l12-bs3": (3.1, 7.7),
    "paper-l12-bs2": (4.6, 6.2),
    "paper-l12-bs2-cifar100": (4.6, 6.2),
    "paper-l15-bs2": (7.0, 6.2),
}


def spelt(block: PaperBlock) -> str:
    layers = [f"{'fc' * each.is_dense}{each.size}{'m' * each.is_pooled}" for each in block.layers]
    marks = "b" * block.is_normalised + "+" * block.is_clamped
    return " ".join([*layers, marks] if marks else layers)


def config_of(name: str, **tables: Any) -> Config:
    return Config.model_validate({"preset": name, **tables})


def build(config: Config) -> FfEbm:
    facts = DATASETS[config.data.name]
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    return build_network(config, shape=facts.shape, n_classes=facts.n_classes, simulator=None, generator=generator)


def test_every_preset_has_the_released_numbers() -> None:
    assert tuple(RELEASED) == NAMES
    for name, numbers in RELEASED.items():
        config, t = config_of(name), paper_preset(name)
        h, training, stages = config.hopfield, config.training, config.network.energy_blocks
        slopes, variances = (
            {getattr(s, "slope", None) for s, _ in stages},
            {getattr(s, "goe_variance", 0) for s, _ in stages},
        )
        found = (t.network.n_layers, h.free_steps, h.nudged_steps, *slopes, *(v * 1e5 for v in variances))
        found = (*found, training.learning_rate, training.final_learning_rate, training.epochs, training.batch_size)
        assert (*found, h.tolerance, config.data.name.value) == pytest.approx(numbers)
        assert (h.beta, h.nudging.value, h.scaling.value, config.gradient.value) == (0.2, "centered", "batch", "ep")
        assert (training.optimizer.value, training.weight_decay, training.loss.value) == ("adam", 3e-4, "cross_entropy")
        assert training.schedule.value == "cosine_per_epoch"
        assert training.drop_last is (config.data.name is not DatasetKind.IMAGENET32)
        assert (config.data.flip, config.data.crop, config.data.crop_padding.value) == (True, 4, "edge")
        rgb = {  # of torchvision's Normalize
            DatasetKind.IMAGENET32: ([0.485, 0.456, 0.406], [1.5 * each for each in (0.229, 0.224, 0.225)]),
        }.get(config.data.name, ([0.4914, 0.4822, 0.4465], [3 * each for each in (0.2023, 0.1994, 0.2010)]))
        assert list(config.data.mean or ()) == pytest.approx(rgb[0])
        assert list(config.data.std or ()) == pytest.approx(rgb[1])


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_the_released_one(name: str) -> None:
    network = paper_preset(name).network
    assert " | ".join(map(spelt, network.blocks)) == NETWORKS[name]
    made = build(config_of(name))
    in_readout = [p for module in made.readout.modules() if isinstance(module, nn.Conv2d) for p in module.parameters()]
    feedforward = sum(p.numel() for p in (*made.feedforward.parameters(), *in_readout)) / 1e6
    coupled = sum(p.numel() for p in made.energy.parameters()) / 1e6
    assert (feedforward, coupled) == pytest.approx(PARAMETERS[name], rel=0.16 if feedforward < 0.01 else 0.025)


def test_what_the_tables_say_is_what_is_built() -> None:
    first, second, third = (link for link in build(config_of("paper-l6-bs2", width=0.0625)).links)
    conv, pool, norm = first.feedforward
    assert isinstance(conv, nn.Conv2d)
    assert (conv.out_channels, conv.kernel_size, conv.padding, conv.bias) == (8, (3, 3), (1, 1), None)
    assert isinstance(pool, nn.MaxPool2d)
    assert isinstance(norm, nn.BatchNorm2d)
    assert not norm.affine
    conv = second.feedforward[0]
    assert float(conv.bias.detach().abs().max()) == 0.0
    # V / N off the diagonal of 3x3 slices, eight times that on it; V divided by the width.
    weight = conv.weight.detach()
    assert torch.equal(weight, weight.mT)
    corner = torch.stack([weight[:, :, 0, 1], weight[:, :, 0, 2], weight[:, :, 1, 2]]).square().mean()
    assert float(corner) == pytest.approx(8.351e-5 / 0.0625 / 3, rel=0.2)
    assert float(weight.diagonal(dim1=2, dim2=3).square().mean() / corner) == pytest.approx(8, rel=0.3)
    blocks = [link.energy for link in (first, second, third)]
    assert all(isinstance(block, HopfieldBlock) for block in blocks)
    shapes = [block.config.shapes for block in blocks if isinstance(block, HopfieldBlock)]
    assert shapes == [((8, 16, 16), (16, 8, 8)), ((16, 4, 4), (32, 2, 2)), ((32, 2, 2), (16,))]
    lasts = [block.config.last_layer for block in blocks if isinstance(block, HopfieldBlock)]
    assert lasts == [LastLayer.CLAMPED, LastLayer.CLAMPED, LastLayer.LINEAR]
    assert [block.config.slopes for block in blocks if isinstance(block, HopfieldBlock)] == [(1.0, 1.0)] * 3


@pytest.mark.parametrize("name", NAMES)
def test_every_preset_builds_and_steps(name: str) -> None:
    config = config_of(name, width=0.03, hopfield={"free_steps": 6, "nudged_steps": 6, "tolerance": None})
    facts, network = DATASETS[config.data.name], build(config)
    torch.manual_seed(1)
    x, y = torch.randn(4, *facts.shape), torch.arange(4) * 2
    optimizer = build_optimizer(config.training, network)
    before = {key: value.detach().clone() for key, value in network.named_parameters()}
    loss: Tensor = LOSSES[config.training.loss](network(x), y)
    loss.backward()
    assert torch.isfinite(loss)
    idle = [key for key, p in network.named_parameters() if p.grad is None or not bool(p.grad.any())]
    assert idle == []
    optimizer.step()
    assert all(not torch.equal(before[key], p.detach()) for key, p in network.named_parameters())


def test_a_file_wins_over_its_preset_key_by_key(tmp_path: Path) -> None:
    text = """
preset = "paper-l6-bs2"
width = 0.125

[data]
images = "listed"
crop = 2

[training]
epochs = 3
"""
    config = load_config(write_small(tmp_path, text), ["network.stages.3.slope=0.5", "hopfield.free_steps=15"])
    whole = config_of("paper-l6-bs2", width=0.125)
    assert (config.data.images.value, config.data.crop, config.data.mean) == ("listed", 2, whole.data.mean)
    assert (config.training.epochs, config.training.learning_rate) == (3, 1e-4)
    assert (config.hopfield.free_steps, config.hopfield.nudged_steps) == (15, 20)
    slopes = [getattr(stage, "slope", None) for stage in config.network.stages]
    assert slopes == [0.5 if k == 3 else getattr(s, "slope", None) for k, s in enumerate(whole.network.stages)]
    changed = load_config(write_small(tmp_path, text), ["preset=paper-l12-bs2", "width=0.5"])
    assert changed.network == config_of("paper-l12-bs2", width=0.5).network
    assert changed.training.epochs == 3


def test_a_run_folder_holds_everything_that_the_preset_stood_for() -> None:
    config = config_of("paper-l6-bs2-tol", width=0.25, training={"epochs": 7}, hopfield={"tolerance": None})
    saved = json.loads(json.dumps(config.model_dump(mode="json")))
    assert (saved["preset"], saved["width"], saved["training"]["weight_decay"]) == ("paper-l6-bs2-tol", 0.25, 3e-4)
    assert config_from_json(saved, "here") == config
    without = {**saved, "preset": None, "width": 1.0}
    expected = config.model_copy(update={"preset": None, "width": 1.0})
    assert config_from_json(without, "here") == expected  # nothing else depends on the preset
    # A file of earlier versions has neither key.
    assert config_from_json({k: v for k, v in without.items() if k not in {"preset", "width"}}, "here") == expected


@pytest.mark.parametrize("name", NAMES)
def test_the_text_of_a_preset_is_the_preset(name: str) -> None:
    tables = preset_tables(paper_preset(name), 0.5)
    text = format_toml(tables)
    assert tomllib.loads(text) == tables
    assert max(map(len, text.splitlines())) <= 120
    given = Config.model_validate(tomllib.loads(text))
    assert given == config_of(name, width=0.5).model_copy(update={"preset": None, "width": 1.0})


def test_a_value_that_toml_has_no_word_for_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\(1\+2j\) is nothing that a TOML file can hold"):
        format_toml({"x": 1 + 2j})
    tables = {
        "a": 'q"\\ü',
        "t": {"on": True, "none": None, "list": [1, 2.5e-7], "u": {"v": 1}},
        "empty": {},
        "l": [{}],
        "a b": 1,
    }
    assert tomllib.loads(format_toml(tables)) == {**tables, "t": {"on": True, "list": [1, 2.5e-7], "u": {"v": 1}}}


def test_a_width_leaves_at_least_one_channel() -> None:
    shrunk = paper_preset("paper-l6-bs6").network.shrunk(0.001)
    assert {layer.size for block in shrunk.blocks for layer in block.layers} == {1}
    assert paper_preset("paper-l6-bs6").network.shrunk(1.0) == paper_preset("paper-l6-bs6").network
    third = paper_preset("paper-l15-bs2").network.shrunk(0.3)
    assert [layer.size for block in third.blocks for layer in block.layers][:4] == [19, 19, 38, 38]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('preset = "paper-l6-bs4"', r"no preset 'paper-l6-bs4': did you mean paper-l6-bs6"),
        ('preset = "paper-l15"', r"no preset 'paper-l15': did you mean paper-l15-bs2 or paper-l15-bs2-imagenet32\?"),
        ("preset = 6", r'preset = 6: write a name, as "paper-l6-bs2", or "off"'),
        ('preset = "paper-l6-bs2"\nwidth = 0', r"width = 0: give the share of the channels to keep, above 0 and at m"),
        ('preset = "paper-l6-bs2"\nwidth = 1.5', r"width = 1\.5: give the share"),
        ('preset = "paper-l6-bs2"\nwidth = nan', r"width = nan: give the share"),
        ('preset = "paper-l6-bs2"\nwidth = "half"', r"width = 'half': write a number, above 0 and at most 1"),
        ("width = 0.5", r"width = 0\.5 is of a preset, and none is named"),
    ],
)
def test_a_wrong_preset_or_width_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = write_small(tmp_path, text)
    with pytest.raises(ConfigError, match=rf"small\.toml: {message}") as caught:
        load_config(path)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ConfigError, match=message):
        config_from_json(tomllib.loads(text), "here")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "paper-l6-bs2",
            {"name": "digits", "mean": [0.5], "std": [0.5]},
            r"network\.stages\[6\] \(hopfield\): .*block2.*pool = 2 is larger than .*, 1x1; .*3x32x32 in .* 1x8x8 in",
        ),
        (
            "paper-l15-bs2",
            {"name": "digits", "mean": [0.5], "std": [0.5]},
            r"network\.stages\[\d+\] \(linear\) gives 100 values a sample, but there are 10 classes",
        ),
        ("paper-l12-bs4", {"name": "digits"}, r"data\.mean = \[0\.4914, .*\] is of 3 channels, not of 1"),
        (
            "paper-l6-bs2",
            {"name": "cifar100"},
            r"\(linear\) gives 10 values a sample, but there are 100 classes.*choose paper-l12-bs2-cifar100 or paper-",
        ),
        (
            "paper-l12-bs2-cifar100",
            {"name": "imagenet32"},
            r"gives 100 values .* 1000 classes.*paper-l15-bs2-imagenet32",
        ),
    ],
)
def test_a_preset_that_does_not_fit_the_images_is_refused_before_they_are_looked_for(
    monkeypatch: pytest.MonkeyPatch, name: str, data: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr("cosim.training.setup.load_data", lambda *_: pytest.fail("it was looked for"))
    config = config_of(name, width=0.5, data=data)
    state = torch.get_rng_state()
    with pytest.raises(ConfigError, match=rf"preset '{name}' at width 0\.5 does not fit data\.name = .*{message}"):
        set_up(config, None)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_preset_fits_where_its_stages_are_changed_to_fit() -> None:
    config = config_of("paper-l6-bs2", data={"name": "cifar100"})
    stages = [stage.model_dump() for stage in config.network.stages]
    stages[-1]["size"] = 100
    check_preset_fits(config_of("paper-l6-bs2", data={"name": "cifar100"}, network={"stages": stages}))
    check_preset_fits(config_of("paper-l12-bs4"))


@pytest.fixture
def narrow(tmp_path: Path) -> Config:
    """A preset of few channels and steps on 30 random images."""
    text = 'preset = "paper-l6-bs2"\nwidth = 0.02\n[training]\nepochs = 1\nbatch_size = 12\n'
    path = write_npz(tmp_path / "images.npz", npz_arrays())
    steps = ("hopfield.free_steps=3", "hopfield.nudged_steps=2")
    return load_config(write_small(tmp_path, text), [f"data.path={path}", *steps])


def test_a_preset_trains_like_any_network(narrow: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub_pictures(monkeypatch.setattr)
    batches: list[int] = []
    step = loop.train_batch
    monkeypatch.setattr(loop, "train_batch", lambda *a: (batches.append(len(a[4][1])), step(*a)))
    result = train(narrow, tmp_path / "run", console=quiet())
    assert batches == [12, 12]  # the last six images are left out
    assert result.test_top5 is not None
    assert result.test_accuracy <= result.test_top5 <= 1
    again = evaluate(tmp_path / "run")
    assert (again.test_top5, again.train_top5, again.test_loss) == (
        result.test_top5,
        result.train_top5,
        result.test_loss,
    )
    shown = summarise(tmp_path / "run")
    assert "preset      paper-l6-bs2 at width 0.02" in shown.lines()
    assert f"top-5       test {result.test_top5:.4f}, train {result.train_top5:.4f}" in shown.lines()
    assert (shown.to_json()["preset"], shown.to_json()["width"]) == ("paper-l6-bs2", 0.02)
    assert result.lines()[0].endswith(f", top-5 {result.test_top5:.4f}")


def test_a_run_without_a_full_batch_is_refused(narrow: Config, tmp_path: Path) -> None:
    section = narrow.training.model_copy(update={"batch_size": 31})
    message = r"drop_last = true .* 30 images do not fill one of training\.batch_size = 31"
    with pytest.raises(ConfigError, match=message):
        train(narrow.model_copy(update={"training": section}), tmp_path / "run", console=quiet())
    assert not (tmp_path / "run").exists()


def test_the_example_is_a_preset_with_a_few_other_numbers() -> None:
    if not EXAMPLE.is_file():
        pytest.skip("no examples beside an installed wheel")
    config, whole = load_config(EXAMPLE), config_of("paper-l6-bs2", width=0.125)
    assert (config.network, config.gradient, config.hopfield.beta) == (
        whole.network,
        whole.gradient,
        whole.hopfield.beta,
    )
    assert (config.data.images, config.data.mean) == (ImageChoice.LISTED, whole.data.mean)
    assert (config.hopfield.free_steps, config.training.optimizer) == (15, whole.training.optimizer)
    check_preset_fits(config)
