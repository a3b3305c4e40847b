"""A run learns, says what it came to, and is scored again to the same numbers."""

from __future__ import annotations

import itertools
import json
import math
import pickletools
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from small_runs import list_differences, quiet, read_outcome, small_config, stub_pictures, tiny_config

from cosim.errors import ConfigError, RunError
from cosim.simulators.newton import NewtonSimulator
from cosim.training import loop
from cosim.training import run as run_module
from cosim.training.checkpoints import Which
from cosim.training.config import SimulatorKind
from cosim.training.network import list_analog_blocks
from cosim.training.result import Result
from cosim.training.run import evaluate, train
from cosim.training.run_folder import RunFolder
from cosim.training.setup import load_run
from cosim.training.trainer import Score

NAMES = {
    "config.json",
    "metrics.jsonl",
    "checkpoint.safetensors",
    "previous.safetensors",
    "best.safetensors",
    "progress.json",
    "result.json",
    "training.png",
    "blocks.png",
    "run.lock",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("finished")
    return folder / "run", train(small_config(folder), folder / "run", console=quiet())


@pytest.fixture
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_pictures(monkeypatch.setattr)


def test_a_run_learns_and_leaves_its_folder(finished: tuple[Path, Result]) -> None:
    run, result = finished
    assert {path.name for path in run.iterdir()} == NAMES
    metrics = RunFolder(path=run).read_metrics(99)
    assert [entry["epoch"] for entry in metrics] == [1, 2, 3]
    assert metrics[-1]["train_loss"] < 0.8 * metrics[0]["train_loss"]
    assert result.train_accuracy > 0.3  # chance is 0.1
    for name in ("training.png", "blocks.png"):
        assert (run / name).read_bytes().startswith(b"\x89PNG")


def test_the_result_keeps_the_contract(finished: tuple[Path, Result]) -> None:
    run, result = finished
    saved = json.loads((run / "result.json").read_text())
    assert saved == json.loads(json.dumps(result.to_json()))
    for key in ("test_accuracy", "train_accuracy", "wall_s", "relaxations", "simulator", "seed", "versions"):
        assert key in saved
    assert 0 <= saved["test_accuracy"] <= 1
    assert (saved["n_train"], saved["n_test"], saved["simulator"], saved["seed"]) == (297, 1500, "newton", 0)
    assert saved["test_accuracy"] <= saved["test_top5"] <= 1
    assert saved["versions"]["torch"] == torch.__version__
    earlier = {key: value for key, value in saved.items() if key not in {"test_top5", "train_top5"}}
    assert Result.from_json(run, saved) == result
    assert Result.from_json(run, earlier).test_top5 is None
    assert saved["gradient"] == "ep"


def test_the_best_epoch_is_the_first_of_the_highest_accuracy(finished: tuple[Path, Result]) -> None:
    run, result = finished
    accuracies = [entry["test_accuracy"] for entry in RunFolder(path=run).read_metrics(99)]
    assert result.best_accuracy == max(accuracies)
    assert result.best_epoch == 1 + accuracies.index(max(accuracies))
    best = evaluate(run, which=Which.BEST)
    assert (best.test_accuracy, best.epochs) == (result.best_accuracy, result.best_epoch)


def test_every_relaxation_is_counted(finished: tuple[Path, Result]) -> None:
    # One free and two nudged for each training sample, one for each held-out one; then all once more for the result.
    assert finished[1].relaxations == 3 * (3 * 297 + 1500) + 297 + 1500


def test_metrics_of_the_last_epoch_are_the_results(finished: tuple[Path, Result]) -> None:
    run, result = finished
    (*_, last) = RunFolder(path=run).read_metrics(3)
    assert (last["test_accuracy"], last["test_loss"]) == (result.test_accuracy, result.test_loss)
    assert last["test_top5"] == result.test_top5
    assert 0 < last["train_top5"] < 1
    assert last["relaxations"] == result.relaxations - 297 - 1500
    assert 0 < last["first.clamped_share"] < 1


def test_evaluation_finds_the_same_accuracy_and_writes_nothing(finished: tuple[Path, Result]) -> None:
    run, result = finished
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    again = evaluate(run)
    assert (again.test_accuracy, again.train_accuracy) == (result.test_accuracy, result.train_accuracy)
    assert (again.epochs, again.relaxations) == (3, 297 + 1500)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.ngspice
@pytest.mark.usefixtures("_no_pictures")
def test_another_simulator_finds_the_same_accuracy(tmp_path: Path) -> None:
    few = ("data.train_size=60", "data.test_size=100", "training.epochs=1")
    train(small_config(tmp_path, *few), tmp_path / "run", console=quiet())
    newton, ngspice = (evaluate(tmp_path / "run", simulator=name) for name in (None, SimulatorKind.NGSPICE))
    assert ngspice.test_accuracy == newton.test_accuracy
    assert ngspice.test_loss == pytest.approx(newton.test_loss, rel=1e-6)
    assert (ngspice.simulator, newton.simulator) == ("ngspice", "newton")
    assert ngspice.versions["ngspice"]


@pytest.mark.usefixtures("_no_pictures")
def test_the_same_seed_gives_the_same_run_and_another_seed_another(tmp_path: Path) -> None:
    for name, options in (("one", ()), ("again", ()), ("other", ("training.seed=1",))):
        train(tiny_config(tmp_path, *options), tmp_path / name, console=quiet())
    assert list_differences(read_outcome(tmp_path / "one"), read_outcome(tmp_path / "again")) == []
    one, other = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("one", "other"))
    assert not torch.equal(one["model/readout.weight"], other["model/readout.weight"])
    assert not torch.equal(one["generator/order"], other["generator/order"])


@pytest.mark.usefixtures("_no_pictures")
@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("gradient", ["ep", "implicit", "backprop"])
def test_every_gradient_learns_with_every_loss(tmp_path: Path, gradient: str, loss: str) -> None:
    few = ("data.train_size=100", "data.test_size=20", "training.epochs=4", "training.learning_rate=0.05")
    config = tiny_config(tmp_path, *few, f"gradient={gradient}", f"training.loss={loss}")
    result = train(config, tmp_path / "run", console=quiet())
    losses = [entry["train_loss"] for entry in RunFolder(path=tmp_path / "run").read_metrics(9)]
    assert losses[-1] < losses[0]
    assert result.gradient == gradient
    assert evaluate(tmp_path / "run").test_loss == result.test_loss


@pytest.mark.usefixtures("_no_pictures")
def test_without_a_circuit_there_is_no_simulator(tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = train(tiny_config(tmp_path, "gradient=backprop"), run, console=quiet())
    assert (result.simulator, result.relaxations) == (None, 0)
    assert "no circuit" in result.lines()[1]
    with pytest.raises(ConfigError, match=r'gradient = "backprop" has no circuit that newton could relax'):
        evaluate(run, simulator=SimulatorKind.NEWTON)


def test_stages_that_do_not_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gives 9 values a sample, but data.name = 'digits' has 10 classes"):
        train(small_config(tmp_path, "network.stages.4.size=9"), tmp_path / "run", console=quiet())
    with pytest.raises(ConfigError, match=r"network.stages\[1\] \(linear\): .*put a 'flatten' stage before it"):
        train(small_config(tmp_path, "network.stages.0.kind=relu"), tmp_path / "run", console=quiet())
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("_no_pictures")
def test_a_diverged_loss_is_null_in_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = itertools.cycle([math.nan, math.inf])

    def diverged(_model: object, _loss_of: object, batches: object) -> Score:
        list(batches)  # type: ignore[call-overload]
        return Score(loss=next(losses), accuracy=0.1)

    monkeypatch.setattr(loop, "score", diverged)
    config, run = tiny_config(tmp_path, "training.epochs=1"), tmp_path / "run"
    train(config, run, console=quiet())
    saved = json.loads((run / "result.json").read_text())
    assert (saved["test_loss"], saved["train_loss"], saved["test_accuracy"]) == (None, None, 0.1)
    assert json.loads((run / "metrics.jsonl").read_text())["test_loss"] is None
    (metrics,) = RunFolder(path=run).read_metrics(1)
    assert math.isnan(metrics["test_loss"])
    train(config, run, resume=Which.LAST, console=quiet())  # reads and writes the line again
    assert json.loads((run / "metrics.jsonl").read_text())["test_loss"] is None


def test_nothing_in_a_run_folder_is_pickled(finished: tuple[Path, Result]) -> None:
    for path in finished[0].iterdir():
        assert path.suffix in {".json", ".jsonl", ".safetensors", ".png", ".lock"}
        with pytest.raises((ValueError, IndexError)):
            list(pickletools.genops(path.read_bytes()))
    source = Path(run_module.__file__).parent
    code = "\n".join(path.read_text() for path in source.glob("*.py"))
    assert not any(word in code for word in ("import pickle", "torch.save", "torch.load"))


def test_load_run_gives_the_trained_network(finished: tuple[Path, Result]) -> None:
    setup = load_run(finished[0], NewtonSimulator())
    (block,) = list_analog_blocks(setup.network)
    assert block.block.name == "first"
    assert setup.tally.epoch == 3
    saved = load_file(finished[0] / "checkpoint.safetensors")
    for name, value in setup.network.state_dict().items():
        assert torch.equal(value, saved[f"model/{name}"])


def test_a_configuration_is_no_run(tmp_path: Path) -> None:
    tiny_config(tmp_path)
    with pytest.raises(RunError, match="this is a configuration; eval takes a run folder"):
        evaluate(tmp_path / "small.toml")


@pytest.mark.usefixtures("_no_pictures")
def test_training_without_a_terminal_prints_one_line_an_epoch(tmp_path: Path) -> None:
    console = quiet()
    train(tiny_config(tmp_path), tmp_path / "run", console=console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 3
    assert lines[0].startswith("epoch  train loss  accuracy  test loss")
    assert lines[2].startswith("  2/2  ")
