from __future__ import annotations

import errno
import json
import os
import pickletools
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_runs import quiet, small_config

from cosim import files
from cosim.errors import ConfigError, RunError
from cosim.simulators.newton import NewtonSimulator
from cosim.training import run as run_module
from cosim.training.config import SimulatorKind
from cosim.training.network import list_analog_blocks
from cosim.training.result import Result
from cosim.training.run import evaluate, load_run, train
from cosim.training.run_folder import RunFolder

NAMES = {"config.json", "metrics.jsonl", "checkpoint.safetensors", "result.json", "training.png"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    folder = tmp_path_factory.mktemp("finished")
    return folder / "run", train(small_config(folder), folder / "run", console=quiet())


@pytest.fixture
def copied(finished: tuple[Path, Result], tmp_path: Path) -> Path:
    """The finished run once more, to break."""
    return Path(shutil.copytree(finished[0], tmp_path / "run"))


def read_tensors(run: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(run / "checkpoint.safetensors"))


def assert_same_checkpoint(one: Path, other: Path) -> None:
    a, b = read_tensors(one), read_tensors(other)  # which differ, for the message
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []
    assert (one / "checkpoint.safetensors").read_bytes() == (other / "checkpoint.safetensors").read_bytes()


def test_a_run_learns_and_leaves_its_folder(finished: tuple[Path, Result]) -> None:
    run, result = finished
    assert {path.name for path in run.iterdir()} == NAMES
    metrics = RunFolder(path=run).read_metrics(99)
    assert [entry["epoch"] for entry in metrics] == [1, 2, 3]
    assert metrics[-1]["train_loss"] < 0.8 * metrics[0]["train_loss"]
    assert result.train_accuracy > 0.3  # chance is 0.1
    assert (run / "training.png").read_bytes().startswith(b"\x89PNG")


def test_the_result_keeps_the_contract(finished: tuple[Path, Result]) -> None:
    run, result = finished
    saved = json.loads((run / "result.json").read_text())
    assert saved == json.loads(json.dumps(result.to_json()))
    for key in ("test_accuracy", "train_accuracy", "wall_s", "relaxations", "simulator", "seed", "versions"):
        assert key in saved
    assert 0 <= saved["test_accuracy"] <= 1
    assert (saved["n_train"], saved["n_test"], saved["simulator"], saved["seed"]) == (297, 1500, "newton", 0)
    assert saved["versions"]["torch"] == torch.__version__


def test_every_relaxation_is_counted(finished: tuple[Path, Result]) -> None:
    # One free and two nudged for each training sample, one for each held-out one; then all once more for the result.
    assert finished[1].relaxations == 3 * (3 * 297 + 1500) + 297 + 1500


def test_metrics_of_the_last_epoch_are_the_results(finished: tuple[Path, Result]) -> None:
    run, result = finished
    assert RunFolder(path=run).read_metrics(3)[-1]["test_accuracy"] == result.test_accuracy


def test_evaluation_finds_the_same_accuracy_and_writes_nothing(finished: tuple[Path, Result]) -> None:
    run, result = finished
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    again = evaluate(run)
    assert (again.test_accuracy, again.train_accuracy) == (result.test_accuracy, result.train_accuracy)
    assert (again.epochs, again.relaxations) == (3, 297 + 1500)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.ngspice
def test_another_simulator_finds_the_same_accuracy(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    config["data"]["test_size"] = 1700  # fewer training images: only the split is another
    (copied / "config.json").write_text(json.dumps(config))
    newton, ngspice = evaluate(copied), evaluate(copied, simulator=SimulatorKind.NGSPICE)
    assert ngspice.test_accuracy == newton.test_accuracy
    assert ngspice.test_loss == pytest.approx(newton.test_loss, rel=1e-6)
    assert (ngspice.simulator, newton.simulator) == ("ngspice", "newton")
    assert ngspice.versions["ngspice"]


def test_the_same_seed_gives_the_same_run_and_another_seed_another(
    finished: tuple[Path, Result], tmp_path: Path
) -> None:
    train(small_config(tmp_path), tmp_path / "again", console=quiet())
    train(small_config(tmp_path, "training.seed=1"), tmp_path / "other", console=quiet())
    assert_same_checkpoint(finished[0], tmp_path / "again")
    one, other = read_tensors(finished[0]), read_tensors(tmp_path / "other")
    assert not torch.equal(one["model/readout.weight"], other["model/readout.weight"])


class Stop(Exception):
    pass


def stop_after(monkeypatch: pytest.MonkeyPatch, n_epochs: int) -> None:
    """End training in the middle of the next epoch, as a kill would."""
    original, calls = run_module.train_epoch, []

    def counted(model: Any, optimizer: Any, scheduler: Any, batches: Any, *rest: Any) -> Any:
        calls.append(0)
        if len(calls) <= n_epochs:
            return original(model, optimizer, scheduler, batches, *rest)
        original(model, optimizer, scheduler, iter(list(batches)[:2]), *rest)
        raise Stop

    monkeypatch.setattr(run_module, "train_epoch", counted)


@pytest.mark.parametrize("n_epochs", [0, 1, 2])
def test_a_stopped_run_goes_on_to_the_same_bits(
    finished: tuple[Path, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_epochs: int
) -> None:
    config, run = small_config(tmp_path), tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_after(patch, n_epochs)
        with pytest.raises(Stop):
            train(config, run, console=quiet())
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3, "cut sho')  # as a kill may leave it
    torch.manual_seed(99)
    result = train(config, run, resume=True, console=quiet())
    assert_same_checkpoint(finished[0], run)
    metrics = [RunFolder(path=path).read_metrics(99) for path in (finished[0], run)]
    one, other = ([{**entry, "wall_s": 0.0} for entry in entries] for entries in metrics)
    assert one == other
    assert (result.test_accuracy, result.counts) == (finished[1].test_accuracy, finished[1].counts)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_every_optimizer_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    config = small_config(tmp_path, f"training.optimizer={optimizer}", "training.schedule=cosine", "training.epochs=2")
    train(config, tmp_path / "whole", console=quiet())
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(Stop):
            train(config, tmp_path / "run", console=quiet())
    train(config, tmp_path / "run", resume=True, console=quiet())
    assert_same_checkpoint(tmp_path / "whole", tmp_path / "run")


def test_resuming_a_finished_run_changes_no_weight(copied: Path, finished: tuple[Path, Result]) -> None:
    config = RunFolder(path=copied).read_config()
    assert train(config, copied, resume=True, console=quiet()).test_accuracy == finished[1].test_accuracy
    assert_same_checkpoint(finished[0], copied)


def test_an_existing_folder_is_refused(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"exists already\. Go on with it by --resume, replace it by --force"):
        train(small_config(tmp_path), copied, console=quiet())


def test_force_replaces_a_run_and_nothing_else(copied: Path, tmp_path: Path) -> None:
    (copied / "old.png").write_bytes(b"")
    train(small_config(tmp_path, "training.epochs=1"), copied, force=True, console=quiet())
    assert {path.name for path in copied.iterdir()} == NAMES
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="holds files but no run"):
        train(small_config(tmp_path), precious, force=True, console=quiet())
    with pytest.raises(RunError, match="is no folder"):
        train(small_config(tmp_path), precious / "thesis.txt", force=True, console=quiet())
    assert (precious / "thesis.txt").read_text() == "years of work"


def test_a_wrong_network_leaves_an_existing_run_alone(copied: Path, tmp_path: Path) -> None:
    before = (copied / "config.json").read_bytes()
    with pytest.raises(ConfigError, match=r"puts each of 7 inputs into one unit, but layers\[0\]\.size = 6"):
        train(small_config(tmp_path, "network.stages.1.size=7"), copied, force=True, console=quiet())
    assert (copied / "config.json").read_bytes() == before


def test_stages_that_do_not_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gives 9 values a sample, but data.name = 'digits' has 10 classes"):
        train(small_config(tmp_path, "network.stages.4.size=9"), tmp_path / "run", console=quiet())
    with pytest.raises(ConfigError, match=r"network.stages\[1\] \(linear\): .*put a 'flatten' stage before it"):
        train(small_config(tmp_path, "network.stages.0.kind=relu"), tmp_path / "run", console=quiet())
    assert not (tmp_path / "run").exists()


def test_another_configuration_cannot_be_resumed(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"training\.epochs is 3 there and 4 now; training\.seed is 0 there and 5 now"
    ):
        train(small_config(tmp_path, "training.epochs=4", "training.seed=5"), copied, resume=True, console=quiet())


def test_resuming_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run folder \(there is no config.json in it\)"):
        train(small_config(tmp_path), tmp_path / "nothing", resume=True, console=quiet())


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "pickle", "foreign", "shape", "nan"])
def test_a_corrupt_checkpoint_is_refused_by_name(copied: Path, damage: str) -> None:
    path = copied / "checkpoint.safetensors"
    content = path.read_bytes()
    tensors = read_tensors(copied)
    match damage:
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case "flipped":
            path.write_bytes(b"\xff" * 8 + content[8:])
        case "empty":
            path.write_bytes(b"")
        case "pickle":
            path.write_bytes(b"\x80\x04cos\nsystem\n.")
        case "foreign":
            save_file(tensors, path)
        case _:
            header = files_header(path)
            weight = tensors["model/readout.weight"]
            tensors["model/readout.weight"] = weight[:, :2].clone() if damage == "shape" else weight * float("nan")
            save_file(tensors, path, metadata=header)
    config = RunFolder(path=copied).read_config()
    with pytest.raises(RunError, match=r"checkpoint\.safetensors: this checkpoint cannot be used: .*--force"):
        train(config, copied, resume=True, console=quiet())
    with pytest.raises(RunError, match=r"checkpoint\.safetensors: this checkpoint cannot be used"):
        evaluate(copied)


def files_header(path: Path) -> dict[str, str]:
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return dict(header["__metadata__"])


def test_a_run_without_a_checkpoint_cannot_be_evaluated(copied: Path) -> None:
    (copied / "checkpoint.safetensors").unlink()
    with pytest.raises(RunError, match="there is no checkpoint"):
        evaluate(copied)


def test_a_damaged_configuration_is_refused(copied: Path) -> None:
    (copied / "config.json").write_text("{")
    with pytest.raises(RunError, match=r"config\.json: cannot be read"):
        evaluate(copied)
    (copied / "config.json").write_text('{"netwrk": {}}')
    with pytest.raises(ConfigError, match=r"config\.json: netwrk: unknown key; did you mean 'network'"):
        evaluate(copied)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, run = small_config(tmp_path), tmp_path / "run"
    original, written = os.fsync, []

    def full(descriptor: int) -> None:
        # config, empty metrics, then for each epoch metrics and checkpoint; each atomic write syncs file and folder.
        written.append(0)
        if len(written) > 2 * 2 + 1 + 2 + 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(descriptor)

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(RunError, match=r"cannot write .*checkpoint\.safetensors: the disk is full: free some space"):
        train(config, run, console=quiet())
    monkeypatch.undo()
    assert {path.name for path in run.iterdir()} == NAMES - {"result.json", "training.png"}
    assert [m["epoch"] for m in RunFolder(path=run).read_metrics(99)] == [1, 2]
    train(config, run, resume=True, console=quiet())
    assert [m["epoch"] for m in RunFolder(path=run).read_metrics(99)] == [1, 2, 3]


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.jsonl"
    files.append_line(path, "one")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(RunError, match="the disk is full"):
        files.append_line(path, "two")
    assert path.read_text() == "one\n"


def test_a_failed_move_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    files.write_atomically(path, b"old")

    def refuse(_source: str, _target: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(files.os, "replace", refuse)
    with pytest.raises(RunError, match="the file system is read-only: choose another folder"):
        files.write_atomically(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write .*run: Not a directory"):
        train(small_config(tmp_path), tmp_path / "file" / "run", console=quiet())


def test_nothing_in_a_run_folder_is_pickled(finished: tuple[Path, Result]) -> None:
    for path in finished[0].iterdir():
        assert path.suffix in {".json", ".jsonl", ".safetensors", ".png"}
        with pytest.raises((ValueError, IndexError)):
            list(pickletools.genops(path.read_bytes()))
    source = Path(run_module.__file__).parent
    code = "\n".join(path.read_text() for path in source.glob("*.py"))
    assert not any(word in code for word in ("import pickle", "torch.save", "torch.load"))


def test_load_run_gives_the_trained_network(finished: tuple[Path, Result]) -> None:
    setup = load_run(finished[0], NewtonSimulator())
    (block,) = list_analog_blocks(setup.network)
    assert block.block.name == "first"
    saved = read_tensors(finished[0])
    for name, value in setup.network.state_dict().items():
        assert torch.equal(value, saved[f"model/{name}"])


def test_training_without_a_terminal_prints_one_line_an_epoch(tmp_path: Path) -> None:
    console = quiet()
    train(small_config(tmp_path, "training.epochs=2"), tmp_path / "run", console=console)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 2
    assert lines[1].startswith("epoch 2/2  loss ")
    assert "test accuracy" in lines[1]
