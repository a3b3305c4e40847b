"""Gradients in time: the built-in network's numbers, hopfield blocks step by step, and that what is unsound fails."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from small_runs import SMALL, write_small
from torch import nn

from circuits import Clamp, Drive, EnergyBlock, NodeLayer
from circuits.capacitance import Capacitance
from cosim.analog_block import AnalogBlock, Gradient
from cosim.cli import main
from cosim.errors import ConfigError, ConvergenceError, StudyError
from cosim.simulators.newton import NewtonSimulator
from cosim.studies import transient_analog, transient_hopfield
from cosim.studies.transient import follow, transient
from cosim.studies.transient_analog import TransientSettings
from cosim.studies.transient_curves import BlockTimes, LayerCurves
from cosim.studies.transient_plot import plot_agreement, plot_curves
from digital.hopfield import DenseCoupling, HopfieldBlock, HopfieldConfig, HopfieldPhases
from digital.hopfield import Gradient as HopfieldGradient

HOPFIELD = """
[data]
test_size = 1500

[[network.stages]]
kind = "flatten"

[[network.stages]]
kind = "linear"
size = 6

[[network.stages]]
kind = "hopfield"
name = "energy"
couplings = [{ kind = "dense", size = 5 }]

[[network.stages]]
kind = "linear"
size = 10
"""


def hopfield(
    name: str, n_inputs: int, *sizes: int, steps: int = 12, gradient: HopfieldGradient = HopfieldGradient.EP
) -> HopfieldBlock:
    config = HopfieldConfig(
        input_shape=(n_inputs,), couplings=tuple(DenseCoupling(size=size) for size in sizes), slope=0.6, name=name
    )
    phases = HopfieldPhases(nudged_steps=steps, free_steps=100, gradient=gradient)
    return HopfieldBlock(config, phases=phases, generator=torch.Generator().manual_seed(3))


def analog(name: str, n_inputs: int, size: int, *, amplification: float | None = None) -> AnalogBlock:
    clamp = Clamp(low_v=-0.1, high_v=0.1)
    block = EnergyBlock(
        name=name,
        n_inputs=n_inputs,
        layers=(NodeLayer(size=n_inputs, clamp=clamp, amplification=amplification), NodeLayer(size=size, leak_s=5e-5)),
        drive=Drive.CURRENT,
    )
    return AnalogBlock(block, simulator=NewtonSimulator(), generator=torch.Generator().manual_seed(4))


@pytest.mark.ngspice
def test_the_built_in_network_reaches_its_numbers(tmp_path: Path) -> None:
    found = CliRunner().invoke(main, ["transient", "--json", "-", "--out", str(tmp_path)])
    assert found.exit_code == 0, found.stderr
    report = json.loads(found.stdout)
    assert report["pass"] is True
    assert report["max_relative_error"] <= 1e-3
    layers = report["layers"]
    assert [layer["block"] for layer in layers] == ["block3"] * 4 + ["block2"] * 2 + ["block1"] * 4
    assert all(layer["cosine"] >= 0.9999 and abs(layer["norm_ratio"] - 1) <= 1e-3 for layer in layers)
    assert all(layer["clamped_share"] >= 0.2 for layer in layers)
    for block in ("block1", "block2", "block3"):
        assert sum(layer["devices"] for layer in layers if layer["block"] == block and layer["tensor"] != "input") > 200
    assert all(block["fastest_s"] < block["slowest_s"] < block["window_s"] for block in report["blocks"])
    assert (tmp_path / "transient.png").stat().st_size > 20_000
    assert (tmp_path / "transient_agreement.png").stat().st_size > 10_000


@pytest.mark.ngspice
def test_circuits_and_hopfield_blocks_in_one_network() -> None:
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Linear(5, 6), hopfield("first", 6, 5, 4), nn.Linear(4, 4), analog("second", 4, 3), nn.Linear(3, 5),
        hopfield("third", 5, 4), nn.Linear(4, 3),
    )  # fmt: skip
    with torch.no_grad():
        network[2].weight.mul_(8.0)
        network[4].weight.mul_(8.0)
    x, y = torch.randn(2, 5), torch.tensor([0, 2])
    layers = follow(network, x, y, settings=TransientSettings(spread=0.5))
    assert list(dict.fromkeys(layer.block for layer in layers)) == ["third", "second", "first"]
    assert {layer.tensor for layer in layers if layer.block == "first"} == {
        "weights.0",
        "weights.1",
        "biases.1",
        "biases.2",
        "input",
    }
    assert all(layer.passed for layer in layers), [layer.to_json() for layer in layers]
    assert max(layer.max_relative_error for layer in layers if layer.block == "third") < 1e-9
    assert max(layer.max_relative_error for layer in layers) > 1e-12  # two ways to the same number, not one
    assert all(np.linalg.norm(layer.exact[-1]) > 0 for layer in layers)


@pytest.mark.ngspice
def test_device_gradients_add_up_to_those_of_the_weights_with_amplifiers_too() -> None:
    block = analog("amplified", 4, 3, amplification=4.0)
    network = nn.Sequential(block, nn.Linear(3, 3)).double()
    x, y = 2 * torch.rand(2, 4).double() - 1, torch.tensor([0, 2])
    layers = {c.tensor: c for c in follow(network, x, y, settings=TransientSettings())}
    assert all(layer.passed for layer in layers.values()), [layer.to_json() for layer in layers.values()]
    x.requires_grad_()
    exact = nn.Sequential(block.configured(gradient=Gradient.IMPLICIT), network[1])
    nn.functional.cross_entropy(exact(x), y).backward()
    assert x.grad is not None
    np.testing.assert_allclose(layers["input"].exact[-1], x.grad.flatten().numpy(), rtol=1e-3, atol=1e-8)
    plus, minus = layers["w2"].exact[-1].reshape(2, 2, 4, 3).sum(axis=1)  # p-p and n-n, then p-n and n-p
    for found, group in ((plus, exact[0].g_plus), (minus, exact[0].g_minus)):
        np.testing.assert_allclose(found, group["w2"].grad.numpy(), rtol=1e-3, atol=1e-7)


def test_the_last_gradients_are_those_of_the_whole_network() -> None:
    options = {"steps": 60, "gradient": HopfieldGradient.ID}  # by backprop through the unrolled blocks
    blocks = hopfield("first", 6, 5, **options), hopfield("second", 5, 4, **options)
    network = nn.Sequential(nn.Linear(5, 6), blocks[0], nn.Linear(5, 5), blocks[1], nn.Linear(4, 3)).double()
    x, y = torch.randn(2, 5).double(), torch.tensor([0, 2])
    layers = {(c.block, c.tensor): c for c in follow(network, x, y, settings=TransientSettings())}
    nn.functional.cross_entropy(network(x), y).backward()
    for block, name in ((network[1], "first"), (network[3], "second")):
        for tensor, parameter in block.named_parameters():
            assert parameter.grad is not None
            np.testing.assert_allclose(
                layers[name, tensor].exact[-1], parameter.grad.flatten().numpy(), rtol=1e-6, atol=1e-12
            )


def curves(factor: float = 1.0) -> LayerCurves:
    exact = np.linspace(0.0, 1.0, 5)[:, np.newaxis] * np.array([1.0, -2.0, 2.0])
    return LayerCurves(
        block="block",
        tensor="w1",
        time=np.arange(5.0),
        estimated=factor * exact,
        exact=exact,
        clamped_share=0.25,
        times=BlockTimes(block="block", beta=0.1, window=4.0),
    )


def test_a_lost_factor_of_two_fails_though_its_cosine_is_one() -> None:
    assert curves().passed
    half = curves(0.5)
    assert half.cosine == pytest.approx(1.0)
    assert half.norm_ratio == pytest.approx(0.5)
    assert half.max_relative_error == pytest.approx(0.5)
    assert not half.passed
    assert not curves(-1.0).passed
    assert not curves(math.nan).passed
    # An error that has gone by the end still counts.
    early = curves()
    estimated = early.estimated.copy()
    estimated[1, 0] += 0.01 * 3.0
    late = replace(early, estimated=estimated)
    assert late.cosine == pytest.approx(1.0)
    assert late.max_relative_error == pytest.approx(0.01)
    assert not late.passed


def test_pictures_take_curves_that_do_not_agree(tmp_path: Path) -> None:
    layers = [curves(), replace(curves(0.5), tensor="input"), replace(curves(math.nan), block="other")]
    for path in (
        plot_curves(layers, tmp_path / "curves.png", seed=0),
        plot_agreement(layers, tmp_path / "agreement.png"),
    ):
        assert path.stat().st_size > 10_000


def test_a_block_that_does_not_settle_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transient_hopfield, "MOST_STEPS", 2)
    network = nn.Sequential(hopfield("slow", 4, 4).configured(HopfieldPhases(free_steps=1)), nn.Linear(4, 3))
    with pytest.raises(ConvergenceError, match="hopfield block 'slow': after 3 steps a unit still changes"):
        follow(network, torch.rand(1, 4), torch.tensor([0]), settings=TransientSettings())


@pytest.mark.ngspice
def test_a_nudge_that_is_too_strong_fails_and_one_that_has_not_settled_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, x = nn.Sequential(analog("strong", 4, 3), nn.Linear(3, 3)), torch.rand(1, 4)
    layers = follow(network, x, torch.tensor([0]), settings=TransientSettings(beta=1.0))
    assert not any(layer.passed for layer in layers)
    monkeypatch.setattr(transient_analog, "UNSETTLED", 1e-9)
    with pytest.raises(ConvergenceError, match=r"block 'strong': .* still .* beta = 1 drives its clamps"):
        follow(network, x, torch.tensor([0]), settings=TransientSettings(beta=1.0))


def test_bad_input_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="0 samples"):
        transient(n_samples=0)
    with pytest.raises(StudyError, match="beta = 0"):
        transient(beta=0.0)
    with pytest.raises(StudyError, match="no energy block"):
        follow(nn.Linear(2, 2), torch.ones(1, 2), torch.tensor([0]), settings=TransientSettings())
    with pytest.raises(StudyError, match="spread"):
        TransientSettings(spread=-1.0)
    with pytest.raises(StudyError, match="remainder"):
        TransientSettings(remainder=2.0)
    backprop = write_small(tmp_path, 'gradient = "backprop"\n' + SMALL)
    with pytest.raises(ConfigError, match="\"backprop\" puts tanh layers in place of block 'first'"):
        transient(backprop)
    without = write_small(tmp_path, '[[network.stages]]\nkind = "flatten"\n')
    with pytest.raises(ConfigError, match="at least one"):
        transient(without)
    block = hopfield("twice", 4, 4)
    twice = nn.Sequential(block, block)
    with pytest.raises(StudyError, match="block 'twice' is used twice"):
        follow(twice, torch.rand(1, 4), torch.tensor([0]), settings=TransientSettings())


def test_a_configuration_of_hopfield_blocks_needs_no_ngspice(tmp_path: Path) -> None:
    found = CliRunner().invoke(main, ["transient", str(write_small(tmp_path, HOPFIELD)), "--json", "-"])
    assert found.exit_code == 0, found.output
    report = json.loads(found.stdout)
    assert {layer["tensor"] for layer in report["layers"]} == {"weights.0", "biases.1", "input"}
    assert report["max_relative_error"] < 1e-6
    assert report["blocks"] == [{"block": "energy", "beta": 1e-6, "window_steps": 20}]
    assert report["plots"] == []


@pytest.mark.ngspice
def test_a_configuration_of_a_circuit_gets_its_pictures_where_asked(tmp_path: Path) -> None:
    path = write_small(tmp_path)
    report = transient(path, out=tmp_path / "pictures", n_samples=1, capacitance=Capacitance(node_f=1e-12))
    assert report.passed
    assert {path.name for path in report.plots} == {"transient.png", "transient_agreement.png"}
    assert [layer.tensor for layer in report.layers] == ["w2", "b2", "input"]
    wires = ["--samples", "1", "--node-capacitance", "0", "--device-capacitance", "1e-15"]
    slowest_s = []
    for junction_f in ("0", "1e-15"):
        found = CliRunner().invoke(
            main, ["transient", str(path), *wires, "--junction-capacitance", junction_f, "--json", "-"]
        )
        assert found.exit_code == 0, found.output
        slowest_s.append(json.loads(found.stdout)["blocks"][0]["slowest_s"])
    assert slowest_s[0] < slowest_s[1] < report.layers[0].times.unit / 10


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--samples", "0"], "0 samples"),
        (["--beta", "-1"], "beta = -1"),
        (["--junction-capacitance", "-1"], "-1"),
        (["runs/nope"], "runs/nope: no such file or folder; name a run folder"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(arguments: list[str], says: str) -> None:
    found = CliRunner().invoke(main, ["transient", *arguments])
    assert found.exit_code == 2
    assert says in found.stderr
