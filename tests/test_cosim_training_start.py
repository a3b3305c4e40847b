"""`train --from RUN`: what was trained without a circuit, or on another one, is programmed and goes on training."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cifar10_archive import npz_arrays, write_npz
from click.testing import CliRunner, Result
from small_bundles import read_files
from small_runs import (
    SMALL,
    TINY,
    Killed,
    end_at,
    list_differences,
    quiet,
    read_outcome,
    set_options,
    stub_pictures,
    write_small,
)
from torch import Tensor, nn

from cosim.analog_block import AnalogBlock
from cosim.cli import main
from cosim.compilation.loading import load_bundle
from cosim.errors import ConfigError, RunError
from cosim.programming.errors import ProgrammingError
from cosim.programming.program import program_block
from cosim.programming.settings import ProgrammingSettings
from cosim.simulators.newton import NewtonSimulator
from cosim.studies.gradcheck import gradcheck
from cosim.training.checkpoint import check_checkpoint
from cosim.training.checkpoints import Checkpoints, Which
from cosim.training.circuit_section import CircuitSection, StartSection
from cosim.training.config import AnalogStage, Config, HopfieldStage, OptimizerKind
from cosim.training.config_file import load_circuit, load_config
from cosim.training.converter_sections import ConverterSection
from cosim.training.data import evaluation_batches
from cosim.training.network import list_analog_blocks
from cosim.training.programmed import program_network
from cosim.training.run import evaluate, train
from cosim.training.run_folder import RunFolder
from cosim.training.setup import Setup, load_run
from cosim.training.start import complete_tables
from cosim.training.summary import summarise
from cosim.training.trainer import LOSSES, score

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
LAST = "checkpoint.safetensors"

# Images and units, a dense layer behind a convolution, statistics, and a dropout that draws while it trains.
HOPFIELD = """
[data]
train_size = 240
test_size = 80

[[network.stages]]
kind = "conv"
channels = 3
kernel = 3
stride = 2

[[network.stages]]
kind = "batch_norm"
affine = false

[[network.stages]]
kind = "hopfield"
couplings = [{ kind = "conv", channels = 2 }, { kind = "dense", size = 12, bias = false }]

[[network.stages]]
kind = "batch_norm"
affine = false

[[network.stages]]
kind = "module"
module = "torch.nn.Dropout"
arguments = { p = 0.1 }

[[network.stages]]
kind = "linear"
size = 8

[[network.stages]]
kind = "hopfield"
name = "second"
couplings = [{ kind = "dense", size = 8 }]
slope = [0.5, 0.6]
last_layer = "clamped"
input_bias = true

[[network.stages]]
kind = "batch_norm"
affine = false

[[network.stages]]
kind = "linear"
size = 10

[hopfield]
free_steps = 60
nudged_steps = 8
tolerance = 1e-4

[training]
epochs = 6
batch_size = 20
learning_rate = 1e-2
weight_decay = 1.0
"""
SHORT = ("training.epochs=2", "training.batch_size=80", "training.learning_rate=3e-3")
N_BATCHES = 3  # an epoch of those
# Diodes of 4 mV at a state of 10 V: boxes as sharp as the network's.
SHARP = ("circuit.v_unit_v=10.0", "circuit.g_unit_s=1e-5", "circuit.diode.emission_coefficient=0.1")


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_pictures(monkeypatch.setattr)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs to begin with, and one that began: never changed, see the last test."""
    folder = tmp_path_factory.mktemp("runs")
    few = ("training.epochs=1", "data.train_size=60", "data.test_size=20")
    sources = {
        "hopfield": (HOPFIELD,),
        "analog": (SMALL, *few, "converters.phase.bits=6", "training.optimizer=sgd"),
        "tanh": (TINY, *few, "gradient=backprop"),
    }
    with pytest.MonkeyPatch.context() as patch:
        stub_pictures(patch.setattr)
        for name, (text, *overrides) in sources.items():
            train(load_config(write_small(folder, text), overrides), folder / name, console=quiet())
        begin(folder / "hopfield", folder / "programmed", *SHORT)
    return {path.name: path for path in folder.iterdir() if path.is_dir()}


def configure(source: Path | None, *overrides: str, file: Path | None = None) -> Config:
    return load_config(file, overrides, complete=lambda tables: complete_tables(tables, source))


def begin(source: Path, out: Path, *overrides: str) -> None:
    train(configure(source, *overrides), out, console=quiet())


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def load(run: Path, which: Which = Which.LAST) -> Setup:
    config = RunFolder(path=run).read_config()
    return load_run(run, NewtonSimulator() if config.has_circuit else None, which=which)


def first_checkpoint(run: Path) -> Setup:
    """What a run of one epoch began with: the checkpoint before its last."""
    setup = load(run, Which.PREVIOUS)
    assert (setup.tally.epoch, setup.tally.batch) == (0, 0)
    return setup


def outputs(setup: Setup) -> Tensor:
    with torch.no_grad():
        return setup.network.eval()(setup.data.scaled(setup.data.test.pixels))


def measure(setup: Setup, network: nn.Module, *, images: str = "test") -> tuple[float, float]:
    """Return accuracy and loss."""
    batches = evaluation_batches(setup.data, getattr(setup.data, images))
    found = score(network, LOSSES[setup.config.training.loss], batches)
    return found.accuracy, found.loss


def digital_state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in network.state_dict().items() if not name.startswith("energy.")}


def assert_equal_tensors(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def read_saved(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "config.json").read_text()))


# --------------------------------------------------------------------------------------------------- what is begun with


def test_a_programmed_run_begins_with_what_was_programmed(runs: dict[str, Path], tmp_path: Path) -> None:
    begin(runs["hopfield"], tmp_path / "run", *SHORT, "training.epochs=1")
    source, begun = load(runs["hopfield"]), first_checkpoint(tmp_path / "run")
    assert_equal_tensors(digital_state(source.network), digital_state(begun.network))
    assert {"feedforward.0.1.running_mean", "readout.1.weight"} <= digital_state(begun.network).keys()
    for energy, circuit in zip(source.network.energy, begun.network.energy, strict=True):
        programmed = program_block(energy, ProgrammingSettings())
        assert isinstance(circuit, AnalogBlock)
        assert [layer.leak_s for layer in circuit.block.layers] == [layer.leak_s for layer in programmed.block.layers]
        # Not every double is a double times g_unit_s.
        assert (circuit.block.g_min_s, circuit.block.g_max_s) == pytest.approx((1e-7, 2e-4), rel=1e-15)
        for group, expected in ((circuit.g_plus, programmed.plus), (circuit.g_minus, programmed.minus)):
            assert sorted(group) == sorted(expected)
            for name, parameter in group.items():
                assert parameter.dtype == torch.float32
                assert torch.equal(parameter.detach().double(), torch.from_numpy(expected[name]))
    made = program_network(
        configure(runs["hopfield"]),
        source.network,
        ProgrammingSettings(),
        simulator=NewtonSimulator(),
        shape=source.data.shape,
        n_classes=source.data.n_classes,
    )
    assert torch.equal(outputs(begun), outputs(replace(source, network=made.network)))


def test_its_configuration_is_that_of_an_ordinary_run(runs: dict[str, Path]) -> None:
    run = runs["programmed"]
    config, source = RunFolder(path=run).read_config(), RunFolder(path=runs["hopfield"]).read_config()
    assert read_saved(run) == config.model_dump(mode="json")
    assert config.start == StartSection(run=str(runs["hopfield"]))
    assert config.circuit is None
    blocks = [stage for stage, _ in config.network.energy_blocks]
    assert all(isinstance(stage, AnalogStage) for stage in blocks)
    assert [name for _, name in config.network.energy_blocks] == ["block1", "second"]
    assert [[len(layer.leak) for layer in stage.layers] for stage in blocks] == [[27, 18, 12], [8, 8]]
    kept = [stage for stage in source.network.stages if not isinstance(stage, HopfieldStage)]
    assert [stage for stage in config.network.stages if not isinstance(stage, AnalogStage)] == kept
    rebuilt = load_run(run, NewtonSimulator())
    assert_equal_tensors(rebuilt.network.state_dict(), load(run).network.state_dict())


def test_it_trains_and_says_what_was_done(runs: dict[str, Path], tmp_path: Path) -> None:
    result = invoke("train", "--from", runs["hopfield"], "--out", tmp_path / "run", *set_options(*SHORT))
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == "block block1, hopfield block:"
    assert lines[1].startswith("  window 1e-07 to 0.0002 S: ")
    assert "block second, hopfield block:" in lines
    assert list_differences(read_outcome(runs["programmed"]), read_outcome(tmp_path / "run")) == []


def test_the_source_may_go(runs: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(runs["hopfield"], tmp_path / "source")
    run = tmp_path / "run"
    begin(tmp_path / "source", run, *SHORT, "training.epochs=1")
    (tmp_path / "source").rename(tmp_path / "moved")
    trained = json.loads((run / "result.json").read_text())
    assert evaluate(run).test_accuracy == trained["test_accuracy"]
    assert summarise(run).epoch == 1
    shown = invoke("show", run)
    assert shown.exit_code == 0
    text = " ".join(shown.output.split())
    assert "[block1], batch_norm, torch.nn.Dropout, linear 8, [second]" in text
    assert f"began with {tmp_path / 'source'}, its last checkpoint" in text
    assert invoke("train", "--resume", "--out", run).output.startswith("going on after epoch 1 of 1\n")
    assert invoke("compile", run, "--out", tmp_path / "bundle").exit_code == 0
    setup = load(run)
    images = setup.data.scaled(setup.data.test.pixels[:8])
    with torch.no_grad():
        compiled = load_bundle(tmp_path / "bundle", NewtonSimulator()).eval()(images)
        assert torch.equal(compiled, setup.network.eval()(images))


@pytest.mark.ngspice
def test_its_gradients_are_right(runs: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(runs["programmed"], tmp_path / "run")
    saved = read_saved(tmp_path / "run")
    saved["data"]["train_size"] = 10  # the samples that it takes
    (tmp_path / "run" / "config.json").write_text(json.dumps(saved))
    report = gradcheck(tmp_path / "run", beta=1e-3)
    assert report.passed, report.table()
    assert {check.block for check in report.tensors} >= {"block1", "second"}


def test_sharp_diodes_keep_the_accuracy_and_training_lowers_the_loss(runs: dict[str, Path], tmp_path: Path) -> None:
    source = load(runs["hopfield"])
    gently = ("training.epochs=1", "training.learning_rate=1e-3", "training.weight_decay=0.0")
    begin(runs["hopfield"], tmp_path / "run", *gently, *SHARP)
    begun = first_checkpoint(tmp_path / "run")
    before = measure(source, source.network)
    assert before[0] > 0.5
    assert measure(begun, begun.network) == pytest.approx(before, abs=2e-3)
    assert float((outputs(begun) - outputs(source)).abs().max()) < 0.02
    trained = load(tmp_path / "run")
    assert (
        measure(trained, trained.network, images="train")[1] < measure(begun, begun.network, images="train")[1] - 0.02
    )


@pytest.mark.ngspice
def test_ngspice_takes_it_up(runs: dict[str, Path], tmp_path: Path) -> None:
    few = ("training.epochs=1", "training.batch_size=5", "data.train_size=10", "data.test_size=10")
    begin(runs["hopfield"], tmp_path / "run", *few, "simulator.name=ngspice", "training.learning_rate=1e-4")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["simulator"], result["relaxations"] > 0) == ("ngspice", True)
    begun = first_checkpoint(tmp_path / "run")
    source = load_run(runs["hopfield"], None, config=load_short(runs["hopfield"], begun))
    assert measure(begun, begun.network)[1] == pytest.approx(measure(source, source.network)[1], rel=0.1)


def load_short(run: Path, like: Setup) -> Config:
    return RunFolder(path=run).read_config().model_copy(update={"data": like.config.data})


# ---------------------------------------------------------------------------------------------- from circuit to circuit


def test_a_circuit_moves_into_another_window(runs: dict[str, Path], tmp_path: Path) -> None:
    window = ("circuit.g_min_s=1e-6", "circuit.g_max_s=2e-5")
    begin(runs["analog"], tmp_path / "run", "training.epochs=1", "converters.phase.bits=ideal", *window)
    source, begun = load(runs["analog"]), first_checkpoint(tmp_path / "run")
    (block,) = list_analog_blocks(begun.network)
    assert (block.block.name, block.block.g_min_s, block.block.g_max_s) == pytest.approx(("first", 1e-6, 2e-5))
    assert list_analog_blocks(source.network)[0].block.g_max_s == pytest.approx(2e-4)
    low, high = block.block.window
    values = torch.cat([p.detach().flatten() for p in block.parameters()]).double()
    assert low * (1 - 1e-6) <= float(values.min())
    assert float(values.max()) <= high * (1 + 1e-6)
    assert_equal_tensors(digital_state(source.network), digital_state(begun.network))
    # Scaled and made up for by leaks: the same equilibria, so the same outputs.
    assert torch.allclose(outputs(begun), outputs(source), atol=1e-4)


def test_circuits_stay_as_they_are_without_a_window(runs: dict[str, Path], tmp_path: Path) -> None:
    begin(runs["analog"], tmp_path / "run", "training.epochs=1", "circuit={}")
    source, begun = load(runs["analog"]), first_checkpoint(tmp_path / "run")
    assert_equal_tensors(source.network.state_dict(), begun.network.state_dict())
    assert torch.allclose(outputs(begun), outputs(source), atol=1e-6)


def test_circuits_go_on_with_other_converters(runs: dict[str, Path], tmp_path: Path) -> None:
    begin(runs["analog"], tmp_path / "run", "training.epochs=1", "converters.output.bits=4", "gradient=implicit")
    source, begun = load(runs["analog"]), first_checkpoint(tmp_path / "run")
    assert_equal_tensors(source.network.state_dict(), begun.network.state_dict())
    config = RunFolder(path=tmp_path / "run").read_config()
    assert (config.converters.output.bits, config.converters.phase.bits) == (4, 6)
    assert config.network == source.config.network
    (block,) = list_analog_blocks(begun.network)
    assert block.converters.output.bits == 4


@pytest.mark.ngspice
def test_circuits_go_on_in_another_simulator(runs: dict[str, Path], tmp_path: Path) -> None:
    begin(runs["analog"], tmp_path / "run", "training.epochs=1", "simulator.name=ngspice", "data.train_size=25")
    source, begun = load(runs["analog"]), first_checkpoint(tmp_path / "run")
    assert_equal_tensors(source.network.state_dict(), begun.network.state_dict())
    assert torch.allclose(outputs(begun), outputs(source), atol=1e-4)


def test_tanh_layers_go_on_as_tanh_layers(runs: dict[str, Path], tmp_path: Path) -> None:
    begin(runs["tanh"], tmp_path / "run", "training.epochs=1")
    assert_equal_tensors(
        load(runs["tanh"]).network.state_dict(), first_checkpoint(tmp_path / "run").network.state_dict()
    )


def test_the_best_checkpoint_begins_a_run(runs: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(runs["hopfield"], tmp_path / "source")
    previous = (tmp_path / "source" / "previous.safetensors").read_bytes()
    (tmp_path / "source" / "best.safetensors").write_bytes(previous)
    begin(tmp_path / "source", tmp_path / "run", *SHORT, "training.epochs=1", "start.checkpoint=best")
    expected = digital_state(load(runs["hopfield"], Which.PREVIOUS).network)
    assert_equal_tensors(digital_state(first_checkpoint(tmp_path / "run").network), expected)
    assert read_saved(tmp_path / "run")["start"]["checkpoint"] == "best"


# ----------------------------------------------------------------------------------------------- what CONFIG leaves out


def test_what_is_left_out_is_as_in_the_run(runs: dict[str, Path], tmp_path: Path) -> None:
    source = RunFolder(path=runs["analog"]).read_config()
    file = tmp_path / "next.toml"
    file.write_text("[training]\nepochs = 7\n[converters]\nnudge = { bits = 5 }\n[phases]\nbeta = 0.1\n")
    config = configure(runs["analog"], "training.batch_size=9", file=file)
    assert config.training == source.training.model_copy(update={"epochs": 7, "batch_size": 9})
    assert config.training.optimizer is OptimizerKind.SGD
    assert (config.converters.nudge.bits, config.converters.phase.bits) == (5, 6)
    assert config.phases == source.phases.model_copy(update={"beta": 0.1})
    assert (config.data, config.gradient, config.network) == (source.data, source.gradient, source.network)
    assert config.start == StartSection(run=str(runs["analog"]))
    assert config.circuit is None  # no hopfield stages
    assert configure(runs["analog"], "converters.current.bits=4").converters.current == ConverterSection(bits=4)
    assert configure(runs["hopfield"]).circuit == CircuitSection()
    assert configure(runs["programmed"]).circuit is None


def test_the_same_network_may_be_said_again(runs: dict[str, Path], tmp_path: Path) -> None:
    config = configure(runs["hopfield"], *SHORT, "training.epochs=1", file=write_small(tmp_path, HOPFIELD))
    train(config, tmp_path / "run", console=quiet())
    assert first_checkpoint(tmp_path / "run").tally.epoch == 0


def test_start_in_a_file_is_as_from(runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs["hopfield"].parent)
    file = tmp_path / "next.toml"
    file.write_text('[start]\nrun = "hopfield"\ncheckpoint = "previous"\n[circuit]\ng_max_s = 1e-4\n')
    expected = configure(runs["hopfield"], "start.checkpoint=previous", "circuit.g_max_s=1e-4")
    assert configure(None, file=file) == expected
    assert configure(None, "start.run=hopfield", "start.checkpoint=previous", "circuit.g_max_s=1e-4") == expected
    assert configure(Path("analog"), file=file).start == StartSection(run=str(runs["analog"]), checkpoint="previous")
    assert configure(Path("analog"), "start.run=hopfield").network == configure(runs["analog"]).network


def test_relative_paths_become_absolute(runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs["analog"].parent)
    invoke("train", "--from", "analog", "--out", tmp_path / "run", *set_options("training.epochs=1"))
    config = configure(runs["analog"], "training.epochs=1").model_copy(update={"start": StartSection(run="analog")})
    train(config, tmp_path / "again", console=quiet())
    for run in ("run", "again"):
        assert read_saved(tmp_path / run)["start"]["run"] == str(runs["analog"])


# -------------------------------------------------------------------------------------------------- stopped and resumed


@pytest.mark.parametrize(
    ("batch", "how", "kept"), [(1, "crash", 0), (2, "Ctrl-C", 2), (N_BATCHES + 2, "crash", N_BATCHES)]
)
def test_a_stopped_run_goes_on_to_the_same_bits(
    runs: dict[str, Path], tmp_path: Path, batch: int, how: str, kept: int
) -> None:
    shutil.copytree(runs["hopfield"], tmp_path / "hopfield")
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        end_at(patch, batch, how=how)
        with pytest.raises(KeyboardInterrupt if how == "Ctrl-C" else Killed):
            begin(tmp_path / "hopfield", run, *SHORT)
    shutil.rmtree(tmp_path / "hopfield")  # it is not needed any more
    torch.manual_seed(99)
    tally = check_checkpoint(run / LAST)
    assert N_BATCHES * tally.epoch + tally.batch == kept
    result = invoke("train", "--resume", "--out", run)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("going on after epoch ")
    different = list_differences(read_outcome(runs["programmed"]), read_outcome(run))
    assert set(different) <= {"config.json", "previous.safetensors"}  # the source was elsewhere
    saved, expected = read_saved(run), read_saved(runs["programmed"])
    assert {**saved, "start": None} == {**expected, "start": None}


def test_a_run_without_its_first_checkpoint_begins_anew(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_arguments: object, **_options: object) -> None:
        raise Killed

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", killed)
        with pytest.raises(Killed):
            begin(runs["hopfield"], run, *SHORT)
    assert {path.name for path in run.iterdir()} <= {"config.json", "programming.json", "metrics.jsonl", "run.lock"}
    result = invoke("train", "--resume", "--out", run)
    assert result.exit_code == 2
    assert f"tellegen: {run}: has no checkpoint yet, and begins with the weights of {runs['hopfield']}" in result.stderr
    assert f"start again, with --from {runs['hopfield']} --force" in result.stderr
    assert summarise(run).epoch == 0
    again = invoke("train", "--from", runs["hopfield"], "--force", "--out", run, *set_options(*SHORT))
    assert again.exit_code == 0
    assert list_differences(read_outcome(runs["programmed"]), read_outcome(run)) == []


def test_a_run_that_began_goes_on_without_configuration(runs: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs["programmed"], run)
    before = read_files(run)
    file = tmp_path / "next.toml"
    file.write_text("[circuit]\ng_max_s = 2e-4\n")
    message = (
        f"{run} began with the weights of {runs['hopfield']}, and goes on as its own config.json says: leave CONFIG "
        f"and [circuit] out, as in `tellegen train --resume --out {run}`"
    )
    for config in (file, write_small(tmp_path, HOPFIELD)):
        result = invoke("train", config, "--resume", "--out", run)
        assert result.exit_code == 2
        assert result.stderr == f"tellegen: {config}: {message}\n"
    with pytest.raises(ConfigError) as caught:
        train(configure(runs["hopfield"], *SHORT), run, resume=Which.LAST, console=quiet())
    assert str(caught.value) == message
    assert read_files(run) == before


def test_an_ordinary_run_goes_on_without_configuration(tmp_path: Path) -> None:
    run, config = tmp_path / "run", load_config(write_small(tmp_path, TINY))
    train(config, tmp_path / "whole", console=quiet())
    with pytest.MonkeyPatch.context() as patch:
        end_at(patch, 3, how="crash")
        with pytest.raises(Killed):
            train(config, run, console=quiet())
    result = invoke("train", "--resume", "--out", run, "--set", "simulator.chunk=16")
    assert result.exit_code == 0, result.output
    assert set(list_differences(read_outcome(tmp_path / "whole"), read_outcome(run))) <= {"previous.safetensors"}
    other = invoke("train", "--resume", "--out", run, "--set", "training.epochs=9")
    assert "was started with another configuration: training.epochs is 2 there and 9 now" in other.stderr


# -------------------------------------------------------------------------------------------------------------- refused

POOL = HOPFIELD.replace("channels = 2 }", "channels = 2, pool = 2 }").replace("epochs = 6", "epochs = 1")


@pytest.mark.parametrize(
    ("source", "overrides", "error", "message"),
    [
        ("nowhere", (), RunError, "nowhere: no run folder (there is no config.json in it); name the --out of a `telle"),
        ("tanh", ("circuit={}",), ConfigError, 'gradient = "backprop" trains no circuit, but tanh layers that compute'),
        ("tanh", ("circuit={}", "gradient=ep"), ConfigError, "whose tanh layers compute in one direction, and a circ"),
        ("tanh", ("gradient=ep",), ConfigError, "begin with a run of hopfield stages, or of analog ones with gradient"),
        ("analog", ("gradient=backprop",), ConfigError, 'are conductances; set "ep" or "implicit"'),
        ("hopfield", ("gradient=backprop",), ConfigError, 'gradient = "backprop" puts tanh layers in place of analog'),
        ("hopfield", ("network.stages.2.input_bias=true",), ConfigError, "whose weights cannot begin it; leave [netwo"),
        ("hopfield", ("start.checkpoint=first",), ConfigError, "start.checkpoint = 'first'. Allowed: last, prev"),
        ("hopfield", ("circuit.windows=clip",), ConfigError, "circuit.windows: unknown key; did you mean 'window'?"),
        ("hopfield", ("circuit.window=clipped",), ConfigError, "circuit.window = 'clipped'; did you mean 'clip'?"),
        ("hopfield", ("circuit.g_min_s=-1.0",), ConfigError, "circuit.g_min_s = -1.0: input should be greater than 0"),
        (
            "hopfield",
            ("circuit.g_min_s=1e-4", "circuit.g_max_s=1e-5"),
            ConfigError,
            "circuit: g_min_s = 0.0001 must lie below g_max_s = 1e-05",
        ),
        ("hopfield", ("circuit.g_min_s=1e-3",), ProgrammingError, "window upside down: g_min_s = 0.001, g_max"),
        (
            "hopfield",
            ("circuit.g_max_s=1e-6", "circuit.window=refuse"),
            ProgrammingError,
            "energy block 1: hopfield block 'block1': ",
        ),
        ("hopfield", ("circuit.active_leaks=refuse",), ProgrammingError, "need an active leak (layer "),
        ("analog", ("circuit.g_max_s=1e-6", "circuit.window=refuse"), ProgrammingError, "block 1: block 'first': "),
    ],
)  # fmt: skip
def test_refused(
    runs: dict[str, Path], tmp_path: Path, source: str, overrides: tuple[str, ...], error: type[Exception], message: str
) -> None:
    out = tmp_path / "folder" / "run"
    with pytest.raises(error) as caught:
        begin(runs.get(source, tmp_path / source), out, "training.epochs=1", *overrides)
    assert message in str(caught.value)
    options = set_options("training.epochs=1", *overrides)
    result = invoke("train", "--from", runs.get(source, tmp_path / source), "--out", out, *options)
    assert (result.exit_code, result.stderr) == (2, f"tellegen: {caught.value}\n")
    assert list(tmp_path.iterdir()) == []


def test_no_circuit_stands_for_a_max_pool_in_the_energy(tmp_path: Path) -> None:
    train(load_config(write_small(tmp_path, POOL)), tmp_path / "pooled", console=quiet())
    with pytest.raises(ProgrammingError, match=r"energy block 1: hopfield block 'block1': .*max-pool"):
        begin(tmp_path / "pooled", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_several_equilibria_are_refused_unless_allowed(tmp_path: Path) -> None:
    text = HOPFIELD.replace("slope = [0.5, 0.6]", "slope = [3.0, 3.0]").replace("tolerance = 1e-4\n", "")
    train(load_config(write_small(tmp_path, text), ("training.epochs=1",)), tmp_path / "strong", console=quiet())
    with pytest.raises(ProgrammingError, match=r"energy block 2: hopfield block 'second': .* several equilibria"):
        begin(tmp_path / "strong", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    config = configure(tmp_path / "strong", "circuit.several_equilibria=true")
    assert config.circuit == CircuitSection(several_equilibria=True)


def test_a_damaged_checkpoint_is_named_with_what_to_set(runs: dict[str, Path], tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(runs["analog"], source)
    shutil.copy(source / LAST, source / "previous.safetensors")
    (source / LAST).write_bytes((source / LAST).read_bytes()[:-20])
    with pytest.raises(RunError, match="this checkpoint cannot be used: ") as caught:
        begin(source, tmp_path / "run")
    assert str(caught.value).startswith(f"{source / LAST}: ")
    assert "The one before it, previous.safetensors, is whole" in str(caught.value)
    assert str(caught.value).endswith("as in --set start.checkpoint=previous")
    assert not (tmp_path / "run").exists()
    begin(source, tmp_path / "run", "start.checkpoint=previous", "training.epochs=1")
    (source / "best.safetensors").unlink()
    with pytest.raises(RunError, match=r"there is no best checkpoint \(best.safetensors\)"):
        begin(source, tmp_path / "other", "start.checkpoint=best")


def test_images_that_do_not_fit_are_named(runs: dict[str, Path], tmp_path: Path) -> None:
    images = write_npz(tmp_path / "images.npz", npz_arrays())
    few = ("data.train_size=20", "data.test_size=10")
    for source in ("analog", "hopfield"):  # a dense layer first, and a convolution
        with pytest.raises(
            ConfigError, match=r"data\.name = 'cifar10': its images do not fit the network of"
        ) as caught:
            begin(runs[source], tmp_path / "run", "data.name=cifar10", f"data.path={images}", *few)
        assert f"start.run = '{runs[source]}', which was trained on 'digits'" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_run_of_a_simulator_that_is_not_here_begins_one_in_another(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(runs["analog"], tmp_path / "source")
    config = read_saved(tmp_path / "source")
    (tmp_path / "source" / "config.json").write_text(json.dumps({**config, "simulator": {"name": "ngspice"}}))
    monkeypatch.setenv("NGSPICE_LIBRARY_PATH", str(tmp_path / "nowhere"))
    begin(tmp_path / "source", tmp_path / "run", "training.epochs=1", "simulator.name=newton")
    expected = load(runs["analog"]).network.state_dict()
    assert_equal_tensors(first_checkpoint(tmp_path / "run").network.state_dict(), expected)


def test_files_and_folders_that_are_no_run(runs: dict[str, Path], tmp_path: Path) -> None:
    file = write_small(tmp_path, TINY)
    with pytest.raises(RunError, match=r"small\.toml: is a file, no run folder"):
        configure(file)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match="model_type: unknown key"):
        configure(tmp_path)
    shutil.copytree(runs["analog"], tmp_path / "begun")
    (tmp_path / "begun" / LAST).unlink()
    with pytest.raises(RunError, match="begun: there is no last checkpoint"):
        begin(tmp_path / "begun", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_circuit_needs_a_run(tmp_path: Path) -> None:
    message = (
        "circuit: says what a trained run is programmed into, but no run is named; give `tellegen train --from RUN`, "
        "or start.run"
    )
    alone, whole = tmp_path / "next.toml", write_small(tmp_path, f"{TINY}\n[circuit]\n")
    alone.write_text("[circuit]\n[training]\nepochs = 1\n")
    for file in (alone, whole):
        for command in (("train", file, "--out", tmp_path / "run"), ("gradcheck", file)):
            assert invoke(*command).stderr == f"tellegen: {file}: {message}\n"
    with pytest.raises(ConfigError, match="no run is named"):
        load_config(alone)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[start]", "start.run: missing"),
        ("[start]\nrun = ''", "start.run = '': "),
        ("[start]\nruns = 'x'", "start.runs: unknown key; did you mean 'run'?"),
        ("start = 'x'", "start = 'x': write a table with run, checkpoint"),
        ("[start]\nrun = 'nowhere'", "nowhere: no run folder"),
    ],
)
def test_a_start_that_names_no_run(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "next.toml"
    file.write_text(text)
    result = invoke("train", file, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_gradient_check_is_of_the_run(runs: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "next.toml"
    file.write_text(f"[start]\nrun = {json.dumps(str(runs['hopfield']))}\n")
    result = invoke("gradcheck", file)
    assert result.exit_code == 2
    assert f"{file}: begins with the weights of {runs['hopfield']}" in result.stderr
    assert "check that run" in result.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "Missing argument 'CONFIG'; only --from RUN and --resume do without"),
        (("--from", "last"), "--from last says which checkpoint to go on after: give --resume too"),
        (
            ("--resume", "--from", "hopfield"),
            "--from hopfield: with --resume it names a checkpoint, last, previous or ",
        ),
        (("--resume", "--force"), "give one of them"),
        (("--resume",), "run: no run folder (there is no config.json in it); name the --out of a `tellegen train`"),
        (("--from", "hopfield", "--data", "images"), '--data images: data.name = "digits" comes with scikit-learn'),
        (
            ("--from", "hopfield", "--set", "circuit.volts=1"),
            "circuit.volts: unknown key. Allowed here: g_min_s, g_max",
        ),
    ],
)
def test_bad_commands(
    runs: dict[str, Path], tmp_path: Path, words: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs["hopfield"].parent)
    result = invoke("train", "--out", tmp_path / "run", *words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_run_to_begin_with_is_not_replaced(runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs["hopfield"])
    before = read_files(runs["hopfield"])
    for out in (runs["hopfield"], Path("../hopfield")):
        result = invoke("train", "--from", runs["hopfield"], "--out", out, "--force")
        assert result.exit_code == 2
        assert f"{out}: is the run to begin with, which stays as it is; choose another --out" in result.stderr
    assert read_files(runs["hopfield"]) == before


# --------------------------------------------------------------------------------------------------------- the examples


def test_the_examples_go_together(tmp_path: Path) -> None:
    if not EXAMPLES.is_dir():
        pytest.skip("no examples beside an installed wheel")
    quick = ("training.epochs=1", "data.train_size=64", "data.test_size=40")
    digital = load_config(EXAMPLES / "digits_hopfield.toml", quick)
    assert not digital.has_circuit
    train(digital, tmp_path / "digital", console=quiet())
    tuned = configure(tmp_path / "digital", *quick, "simulator.name=newton", file=EXAMPLES / "finetune.toml")
    assert tuned.circuit == load_circuit(EXAMPLES / "finetune.toml")
    assert tuned.network == digital.network
    train(tuned, tmp_path / "tuned", console=quiet())
    assert [
        len(stage.layers) for stage, _ in RunFolder(path=tmp_path / "tuned").read_config().network.energy_blocks
    ] == [
        2,
        2,
    ]


def test_sources_stay_as_they_are(runs: dict[str, Path], tmp_path: Path) -> None:
    def digests(run: Path) -> dict[str, str]:
        return {name: hashlib.sha256(content).hexdigest() for name, content in read_files(run).items()}

    for name in ("hopfield", "analog"):
        before = digests(runs[name])
        begin(runs[name], tmp_path / name, "training.epochs=1", *SHORT[1:])
        assert digests(runs[name]) == before
