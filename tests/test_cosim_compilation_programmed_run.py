"""Runs with hopfield stages compile: what the command prints and refuses, and what it costs to be passive."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from small_bundles import read_files
from small_runs import quiet, small_config, stub_pictures, write_small
from torch import Tensor, nn

from cosim.analog_block import AnalogBlock
from cosim.cli import main
from cosim.compilation import programmed_run
from cosim.compilation.bundle import read_manifest
from cosim.compilation.compiled_run import compile_run, evaluate_bundle
from cosim.compilation.errors import CompileError
from cosim.compilation.loading import load_bundle
from cosim.compilation.verification import verify_bundle
from cosim.programming.settings import ActiveLeaks, OutOfWindow, ProgrammingSettings
from cosim.simulators.newton import NewtonSimulator
from cosim.training.config_file import load_config
from cosim.training.data import evaluation_batches
from cosim.training.programmed import program_network
from cosim.training.run import train
from cosim.training.setup import Setup, load_run
from cosim.training.trainer import LOSSES, score

HOPFIELD = """
[data]
train_size = 1000
test_size = 300

[[network.stages]]
kind = "conv"
channels = 4
kernel = 3
stride = 2

[[network.stages]]
kind = "batch_norm"
affine = false

[[network.stages]]
kind = "hopfield"
name = "images"
couplings = [{ kind = "conv", channels = 4 }]
goe_variance = 8.351e-5

[[network.stages]]
kind = "batch_norm"
affine = false

[[network.stages]]
kind = "flatten"

[[network.stages]]
kind = "linear"
size = 12

[[network.stages]]
kind = "batch_norm"
affine = false

[[network.stages]]
kind = "hopfield"
name = "units"
couplings = [{ kind = "dense", size = 10, bias = false }, { kind = "dense", size = 8 }]
last_layer = "clamped"
input_bias = true

[[network.stages]]
kind = "batch_norm"
affine = false

[[network.stages]]
kind = "linear"
size = 10

[hopfield]
free_steps = 30
nudged_steps = 8

[training]
epochs = 8
batch_size = 40
learning_rate = 8e-3
weight_decay = 1.0
"""

# The first block a circuit from the beginning.
MIXED = HOPFIELD.replace(
    'kind = "hopfield"\nname = "images"\ncouplings = [{ kind = "conv", channels = 4 }]\ngoe_variance = 8.351e-5\n',
    'kind = "flatten"\n\n[[network.stages]]\nkind = "analog"\nname = "images"\n\n'
    "[[network.stages.layers]]\nsize = 8\nclamp = [-0.5, 0.5]\nleak = 0.5\n",
)


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def trained(folder: Path, text: str, *overrides: str) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        stub_pictures(patch.setattr)
        train(load_config(write_small(folder, text), overrides), folder / "run", console=quiet())
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two hopfield blocks, of images and of units."""
    return trained(tmp_path_factory.mktemp("hopfield"), HOPFIELD)


@pytest.fixture(scope="module")
def compiled(run: Path) -> Path:
    """Its bundle with two samples."""
    bundle = run.parent / "bundle"
    result = invoke("compile", run, "--out", bundle, "--samples", "2", "--json", run.parent / "made.json")
    assert result.exit_code == 0, result.output
    (run.parent / "output.txt").write_text(result.output)
    return bundle


def load(run: Path) -> Setup:
    return load_run(run, None)


def programmed(setup: Setup, settings: ProgrammingSettings) -> nn.Module:
    made = program_network(
        setup.config,
        setup.network,
        settings,
        simulator=NewtonSimulator(),
        shape=setup.data.shape,
        n_classes=setup.data.n_classes,
    )
    return made.network


def logits(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return network.eval()(images)


def accuracy(setup: Setup, network: nn.Module) -> float:
    batches = evaluation_batches(setup.data, setup.data.test)
    return score(network, LOSSES[setup.config.training.loss], batches).accuracy


def test_a_bundle_predicts_as_the_programmed_network(run: Path, compiled: Path) -> None:
    setup = load(run)
    network = programmed(setup, ProgrammingSettings())
    loaded = load_bundle(compiled, NewtonSimulator())
    images = setup.data.scaled(setup.data.test.pixels)
    assert torch.equal(logits(loaded, images), logits(network, images))
    assert evaluate_bundle(compiled).test_accuracy == accuracy(setup, network)
    assert accuracy(setup, network) == pytest.approx(accuracy(setup, setup.network), abs=0.05)
    result = invoke("eval", compiled)
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"test accuracy {accuracy(setup, network):.4f} on 300 images")
    stages = read_manifest(compiled).run.config["network"]["stages"]
    assert [stage["kind"] for stage in stages if stage["kind"] != "batch_norm"] == [
        "conv", "analog", "flatten", "linear", "analog", "linear",
    ]  # fmt: skip


def test_the_command_says_what_it_did(run: Path, compiled: Path) -> None:
    lines = (run.parent / "output.txt").read_text().splitlines()
    manifest = read_manifest(compiled)
    start = lines.index("images, from a hopfield block:")
    network = programmed(load(run), ProgrammingSettings())
    reports = [block.report for block in network.modules() if isinstance(block, AnalogBlock)]
    texts = [f"  {text}" for text in reports[0].texts()]
    assert lines[start + 1 : start + 4] == texts
    assert lines[start + 4] == "units, from a hopfield block:"
    assert lines[-1].startswith("wrote ")
    made = json.loads((run.parent / "made.json").read_text())
    assert made["programming"] == json.loads(json.dumps([report.to_json() for report in reports]))
    assert made["accuracy"] is None
    assert [block.programming.source for block in manifest.blocks] == ["hopfield block"] * 2


@pytest.mark.ngspice
def test_samples_verify_in_ngspice(compiled: Path) -> None:
    report = verify_bundle(compiled)
    assert report.passed
    assert (report.samples, report.decks) == (2, 4)
    assert report.max_abs_error_v <= 1e-6


def test_bytes_are_the_same_twice(run: Path, compiled: Path, tmp_path: Path) -> None:
    compile_run(run, tmp_path / "again", samples=2)
    before = {name: content for name, content in read_files(compiled).items() if name != "verify.json"}
    assert read_files(tmp_path / "again") == before


def test_what_it_costs_to_be_passive(run: Path, tmp_path: Path) -> None:
    setup = load(run)
    json_file = tmp_path / "made.json"
    result = invoke("compile", run, "--out", tmp_path / "bundle", "--clip-passive", "--json", json_file)
    assert result.exit_code == 0, result.output
    networks = {
        "trained": setup.network,
        "active": programmed(setup, ProgrammingSettings()),
        "passive": programmed(setup, ProgrammingSettings(active_leaks=ActiveLeaks.CLIP)),
    }
    expected = {name: accuracy(setup, network) for name, network in networks.items()} | {"images": 300}
    assert json.loads(json_file.read_text())["accuracy"] == expected
    assert expected["passive"] < expected["active"]
    assert evaluate_bundle(tmp_path / "bundle").test_accuracy == expected["passive"]
    sentence = (
        f"test accuracy on 300 images, in newton: {expected['trained']:.4f} as trained, {expected['active']:.4f} on "
        f"circuits with active leaks, {expected['passive']:.4f} passive"
    )
    assert sentence in result.output.splitlines()
    manifest = read_manifest(tmp_path / "bundle")
    assert manifest.run.accuracy.model_dump() == expected
    assert not any("active_leaks" in block.counts for block in manifest.blocks)
    assert all(leak > 0 for block in manifest.blocks for layer in block.layers for leak in layer.leak_s)
    assert sentence in (tmp_path / "bundle" / "README.md").read_text()


def test_no_accuracy_where_nothing_was_clipped(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def weak(*arguments: object, **options: object) -> Setup:
        setup = load_run(*arguments, **options)
        with torch.no_grad():
            for name, parameter in setup.network.energy.named_parameters():
                parameter.mul_(0.05 if "weights" in name or "biases" in name else 1.0)
        return setup

    from cosim.compilation import compiled_run

    monkeypatch.setattr(compiled_run, "load_run", weak)
    bundle = compile_run(run, tmp_path / "bundle", programming=ProgrammingSettings(active_leaks=ActiveLeaks.CLIP))
    assert bundle.manifest.run.accuracy is None
    assert [block.programming.passivity.applied for block in bundle.manifest.blocks] == [None, None]


def test_active_leaks_that_may_have_several_equilibria(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def strong(*arguments: object, **options: object) -> Setup:
        setup = load_run(*arguments, **options)
        with torch.no_grad():
            setup.network.energy[1].weights["0"].mul_(5.0)
        return setup

    from cosim.compilation import compiled_run

    monkeypatch.setattr(compiled_run, "load_run", strong)
    result = invoke("compile", run, "--out", tmp_path / "bundle", "--clip-passive")
    assert result.exit_code == 0, result.output
    assert "no value on circuits with active leaks, which may have several equilibria, 0." in result.output
    assert read_manifest(tmp_path / "bundle").run.accuracy.active is None


def test_accuracies_need_the_images_of_the_training(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    config["data"]["seed"] = 1
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    result = invoke("compile", tmp_path / "run", "--out", tmp_path / "bundle", "--clip-passive")
    assert result.exit_code == 2
    assert "run: was trained on other images than those found now (" in result.output
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--strict", "--window", "clip"), "--strict refuses weights outside the window, --window changes them"),
        (("--passive", "--clip-passive"), "--passive refuses active leaks and --clip-passive shrinks weights"),
        (("--g-min", "-1e-7"), "-1e-07 is not in the range x>0"),
        (("--g-max", "0"), "0.0 is not in the range x>0"),
        (("--g-max", "nan"), "g_max_s = nan; give a finite value above zero"),
        (("--g-min", "1e-4", "--g-max", "1e-5"), "window upside down: g_min_s = 0.0001, g_max_s = 1e-05"),
        (("--window", "stretch"), "'stretch' is not one of 'rescale', 'clip'"),
        (("--passive",), r"hopfield block 'images': "),
        (("--strict", "--g-max", "2e-6"), "hopfield block 'images': "),
        (("--clip-passive", "--g-min", "1e-4"), "devices at g_min = 1 g_unit alone load a unit by more than its own"),
        (("--circuit", "none.toml"), "none.toml: no such file"),
    ],
)
def test_bad_options(words: tuple[str, ...], message: str, run: Path, tmp_path: Path) -> None:
    result = invoke("compile", run, "--out", tmp_path / "bundle", *words)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.output.split())
    assert list(tmp_path.iterdir()) == []


def test_windows(run: Path, tmp_path: Path) -> None:
    """One scale keeps predictions, clipping does not; both are said."""
    setup = load(run)
    images = setup.data.scaled(setup.data.test.pixels[:50])
    found = {}
    for name in ("rescale", "clip"):
        result = invoke("compile", run, "--out", tmp_path / name, "--g-max", "1e-5", "--window", name)
        assert result.exit_code == 0, result.output
        settings = ProgrammingSettings(g_max_s=1e-5, out_of_window=OutOfWindow(name))
        found[name] = logits(load_bundle(tmp_path / name, NewtonSimulator()), images)
        assert torch.equal(found[name], logits(programmed(setup, settings), images))
    changes = {name: float((found[name] - logits(setup.network, images)).abs().max()) for name in found}
    assert changes["rescale"] < changes["clip"]
    assert "clipped, by up to" in result.output


def test_flags_override_the_circuit_file(run: Path, tmp_path: Path) -> None:
    circuit = tmp_path / "circuit.toml"
    circuit.write_text("[circuit]\nv_unit_v = 2.0\ng_unit_s = 2e-5\ng_max_s = 1e-3\n")
    result = invoke("compile", run, "--out", tmp_path / "bundle", "--circuit", circuit, "--g-max", "5e-4")
    assert result.exit_code == 0, result.output
    for block in read_manifest(tmp_path / "bundle").blocks:
        assert (block.v_unit_v, block.g_unit_s, block.g_min_s, block.g_max_s) == (2.0, 2e-5, 1e-7, 5e-4)


def test_circuit_file_with_a_wrong_key(run: Path, tmp_path: Path) -> None:
    circuit = tmp_path / "circuit.toml"
    circuit.write_text("[circuit]\nvolts = 2.0\n")
    result = invoke("compile", run, "--out", tmp_path / "bundle", "--circuit", circuit)
    assert result.exit_code == 2
    assert "circuit.volts" in result.output
    assert not (tmp_path / "bundle").exists()


@pytest.mark.ngspice
def test_a_mixed_run(tmp_path: Path) -> None:
    """A circuit and a hopfield block, trained in ngspice: k/q is its own."""
    run = trained(
        tmp_path, MIXED, "training.epochs=1", "data.train_size=40", "data.test_size=40", "simulator.name=ngspice"
    )
    bundle = compile_run(run, tmp_path / "bundle", samples=1)
    images, units = bundle.manifest.blocks
    assert (images.programming.source, units.programming.source) == ("analog block", "hopfield block")
    assert images.programming.window.outside == 0
    assert images.k_over_q_v_per_k == units.k_over_q_v_per_k
    assert verify_bundle(tmp_path / "bundle").max_abs_error_v <= 1e-6
    ours = load_run(run, NewtonSimulator())
    network = programmed(ours, ProgrammingSettings(k_over_q_v_per_k=units.k_over_q_v_per_k))
    x = ours.data.scaled(ours.data.test.pixels)
    assert torch.equal(logits(load_bundle(tmp_path / "bundle", NewtonSimulator()), x), logits(network, x))


def test_an_analog_run_moves_into_a_window_that_is_given(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stub_pictures(patch.setattr)
        train(small_config(tmp_path, "training.epochs=1"), tmp_path / "run", console=quiet())
    compile_run(tmp_path / "run", tmp_path / "as_it_is")
    result = invoke("compile", tmp_path / "run", "--out", tmp_path / "moved", "--g-min", "1e-6", "--g-max", "2e-5")
    assert result.exit_code == 0, result.output
    assert "first, from an analog block:" in result.output
    block = read_manifest(tmp_path / "moved").block("first")
    assert (block.g_min_s, block.g_max_s) == pytest.approx((1e-6, 2e-5))
    setup = load_run(tmp_path / "run", NewtonSimulator())
    images = setup.data.scaled(setup.data.test.pixels[:100])
    expected = logits(setup.network, images)
    for name, tolerance in (("as_it_is", 0.0), ("moved", 1e-5)):
        found = logits(load_bundle(tmp_path / name, NewtonSimulator()), images)
        torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)
    assert "How it was programmed" not in (tmp_path / "as_it_is" / "README.md").read_text()
    # Where there is nothing to do the decks are the same bytes.
    compile_run(tmp_path / "run", tmp_path / "asked", programming=ProgrammingSettings(active_leaks=ActiveLeaks.REFUSE))
    before, after = (read_files(tmp_path / name / "blocks") for name in ("as_it_is", "asked"))
    assert after == before


def break_weights(setup: Setup) -> None:
    setup.network.energy[1].weights["1"].view(-1)[2] = float("inf")


def make_strong(setup: Setup) -> None:
    setup.network.energy[0].weights["0"].mul_(50.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (break_weights, r"module 'energy.1': 'energy.1.weights.1' holds values that are not finite"),
        (make_strong, r"run: energy block 1: hopfield block 'images': the smallest eigenvalue .* is -\d+\.\d+, so it"),
    ],
)
def test_runs_that_cannot_be_programmed(
    change, message: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(*arguments: object, **options: object) -> Setup:
        setup = load_run(*arguments, **options)
        with torch.no_grad():
            change(setup)
        return setup

    from cosim.compilation import compiled_run

    monkeypatch.setattr(compiled_run, "load_run", changed)
    with pytest.raises(CompileError, match=message):
        compile_run(run, tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_max_pool_inside_the_energy(tmp_path: Path) -> None:
    text = HOPFIELD.replace("channels = 4 }]", "channels = 4, pool = 2 }]")
    run = trained(tmp_path, text, "training.epochs=1")
    with pytest.raises(
        CompileError, match=r"run: energy block 1: hopfield block 'images': coupling 1 has a max-pool inside the energy"
    ):
        compile_run(run, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_what_is_asked_for() -> None:
    assert programmed_run.choose_programming() is None
    asked = programmed_run.choose_programming(g_min_s=2e-7, active_leaks=ActiveLeaks.CLIP)
    assert asked == ProgrammingSettings(g_min_s=2e-7, active_leaks=ActiveLeaks.CLIP)
