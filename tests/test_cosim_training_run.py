from __future__ import annotations

import errno
import itertools
import json
import math
import os
import pickletools
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_runs import quiet, small_config
from threadpoolctl import threadpool_info, threadpool_limits

from cosim import files
from cosim.errors import ConfigError, RunError
from cosim.simulators.base import AbstractSimulator
from cosim.simulators.newton import NewtonSimulator
from cosim.threads import one_thread, one_torch_thread
from cosim.training import run as run_module
from cosim.training.config import Config, SimulatorKind
from cosim.training.network import build_simulator, list_analog_blocks
from cosim.training.result import Result
from cosim.training.run import evaluate, load_run, train
from cosim.training.run_folder import RUN_FILES, RunFolder, check_place
from cosim.training.trainer import Score

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
    with pytest.raises(
        RunError, match=r"exists already\. Go on with it by `tellegen train --resume`, replace it by --f"
    ):
        train(small_config(tmp_path), copied, console=quiet())
    (copied / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"exists already and holds what no run writes \(notes\.txt\)\. .*e`, or choose"):
        train(small_config(tmp_path), copied, console=quiet())


def test_what_is_no_run_is_refused_without_offering_what_would_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.txt").write_text("mine")
    for name, reason in (("file", "is no folder"), ("folder", "holds files but no run")):
        with pytest.raises(RunError, match=f"{reason}, so choose another --out$"):
            check_place(tmp_path / name, force=False)


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    train(small_config(tmp_path, "training.epochs=1"), tmp_path / "run", console=quiet())
    assert {path.name for path in (tmp_path / "run").iterdir()} == NAMES


def test_force_replaces_a_run_and_nothing_else(copied: Path, tmp_path: Path) -> None:
    (copied / ".metrics.jsonl.0123456789abcdef.part").write_bytes(b"")  # as a kill may leave it
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


def list_all(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def refuse_force(folder: Path, tmp_path: Path, message: str) -> None:
    """Expect that --force refuses a folder and leaves all that is in it."""
    before = {path: path.read_bytes() for path in list_all(folder) if path.is_file()}
    with pytest.raises(RunError, match=message):
        train(small_config(tmp_path, "training.epochs=1"), folder, force=True, console=quiet())
    assert {path: path.read_bytes() for path in list_all(folder) if path.is_file()} == before


@pytest.mark.parametrize("content", ['{"model_type": "bert"}', "[]", "no json"])
def test_force_spares_a_folder_with_a_foreign_configuration(tmp_path: Path, content: str) -> None:
    model = tmp_path / "model"
    (model / "weights").mkdir(parents=True)
    (model / "config.json").write_text(content)
    (model / "weights" / "shard.safetensors").write_text("years of work")
    refuse_force(model, tmp_path, r"its config\.json is none that this version of tellegen wrote")


@pytest.mark.parametrize("name", ["notes.txt", "old.png", "runs/result.json", ".thesis.tex.part"])
def test_force_spares_a_run_that_holds_anything_else(copied: Path, tmp_path: Path, name: str) -> None:
    path = copied / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("years of work")
    refuse_force(copied, tmp_path, rf"holds what no run writes \({Path(name).parts[0]}\).*or move them away")


def test_force_follows_no_link(copied: Path, tmp_path: Path) -> None:
    (tmp_path / "precious.json").write_text("years of work")
    (copied / "result.json").unlink()
    (copied / "result.json").symlink_to(tmp_path / "precious.json")
    refuse_force(copied, tmp_path, r"holds what no run writes \(result\.json\)")


@pytest.mark.parametrize("place", [".", "..", "../.."])
def test_force_spares_the_working_directory_and_its_parents(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    shutil.copy(copied / "config.json", tmp_path / "config.json")
    monkeypatch.chdir(copied if place == "." else inner)
    with pytest.raises(RunError, match="is the working directory or lies above it"):
        check_place(Path(place), force=True)


def test_force_takes_all_that_the_demonstration_writes(copied: Path, tmp_path: Path) -> None:
    for name in RUN_FILES:
        if name != "config.json":
            (copied / name).write_text("old")
    train(small_config(tmp_path, "training.epochs=1"), copied, force=True, console=quiet())
    assert {path.name for path in copied.iterdir()} == NAMES


def test_a_taken_place_is_refused_before_anything_is_set_up(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*_arguments: object) -> None:
        raise Stop

    monkeypatch.setattr(run_module, "build_simulator", too_late)
    monkeypatch.setattr(run_module, "set_up", too_late)
    with pytest.raises(RunError, match="exists already"):
        train(small_config(tmp_path), copied, console=quiet())
    with pytest.raises(RunError, match="no run folder"):
        train(small_config(tmp_path), tmp_path / "nothing", resume=True, console=quiet())


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


def test_a_checkpoint_of_another_network_is_named_by_its_first_mismatch(copied: Path) -> None:
    tensors, path = read_tensors(copied), copied / "checkpoint.safetensors"
    header = files_header(path)
    tensors["model/readout.weight"] = tensors["model/readout.weight"][:, :2].clone()
    tensors["model/other"] = tensors["model/readout.weight"].clone()
    save_file(tensors, path, metadata=header)
    with pytest.raises(RunError, match=r"config\.json: the network has no 'other' \(and 1 more\)\. Restore"):
        evaluate(copied)
    del tensors["model/other"]
    save_file(tensors, path, metadata=header)
    with pytest.raises(RunError, match=r"'readout\.weight' is \(10, 2\) there and \(10, 5\) in the network\. Restore"):
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


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o002, 0o664), (0o022, 0o644)])
def test_a_new_file_has_the_permissions_that_the_umask_leaves(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        files.write_atomically(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_json_has_null_for_what_is_not_finite() -> None:
    value = {"a": [1.0, math.nan, (math.inf, {"b": -math.inf})], "c": "nan", "d": 3, "e": None}
    expected = {"a": [1.0, None, [None, {"b": None}]], "c": "nan", "d": 3, "e": None}
    assert json.loads(files.format_json(value)) == expected
    assert json.loads(files.format_json_line(value)) == expected


def test_a_diverged_loss_is_null_in_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = itertools.cycle([math.nan, math.inf])
    monkeypatch.setattr(run_module, "score", lambda *_arguments: Score(loss=next(losses), accuracy=0.1))
    config, run = small_config(tmp_path, "training.epochs=1"), tmp_path / "run"
    train(config, run, console=quiet())
    saved = json.loads((run / "result.json").read_text())
    assert (saved["test_loss"], saved["train_loss"], saved["test_accuracy"]) == (None, None, 0.1)
    assert json.loads((run / "metrics.jsonl").read_text())["test_loss"] is None
    (metrics,) = RunFolder(path=run).read_metrics(1)
    assert math.isnan(metrics["test_loss"])
    train(config, run, resume=True, console=quiet())  # reads and writes the line again
    assert json.loads((run / "metrics.jsonl").read_text())["test_loss"] is None


def test_an_evaluation_names_the_checkpoints_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_after(patch, 1)
        with pytest.raises(Stop):
            train(small_config(tmp_path), run, console=quiet())
    lines = (run / "metrics.jsonl").read_text()
    # A kill between an epoch's line and its checkpoint leaves the line of an epoch that no file has the weights of.
    (run / "metrics.jsonl").write_text(lines + lines.replace('"epoch": 1', '"epoch": 2'))
    assert [m["epoch"] for m in RunFolder(path=run).read_metrics(9)] == [1, 2]
    assert evaluate(run).epochs == 1


@pytest.mark.parametrize("what", ["train", "evaluate", "refused"])
def test_threads_are_as_before_afterwards(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    inside = []
    original = run_module.set_up

    def noted(config: Config, simulator: AbstractSimulator) -> Any:
        inside.append(count_threads())
        return original(config, simulator)

    monkeypatch.setattr(run_module, "set_up", noted)
    before_torch = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with threadpool_limits(limits=2, user_api="blas"):
            before = count_threads()
            match what:
                case "train":
                    train(small_config(tmp_path, "training.epochs=1"), tmp_path / "new", console=quiet())
                case "evaluate":
                    evaluate(copied)
                case _:
                    with pytest.raises(ConfigError):
                        train(small_config(tmp_path, "network.stages.4.size=9"), tmp_path / "new", console=quiet())
            after = count_threads()
    finally:
        torch.set_num_threads(before_torch)
    assert after == before
    assert before[0] == 3
    assert [set(threads) for threads in inside] == [{1}]


def count_threads() -> tuple[int, ...]:
    """Threads of torch, then of each BLAS."""
    return torch.get_num_threads(), *(p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas")


def test_one_thread_is_a_block_and_gives_back() -> None:
    before_torch = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
            with one_torch_thread():
                pass
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before_torch)


def test_a_device_that_is_not_here_is_refused_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config(tmp_path, "simulator.device=cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r'simulator\.device = "cuda": .*; .*, or set simulator\.device = "cpu"'):
        train(config, tmp_path / "run", console=quiet())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("n_devices", "cuda", "message"),
    [
        (0, None, "built without CUDA; install a CUDA build of torch"),
        (0, "12.4", "sees no CUDA device here; check `nvidia-smi`"),
        (1, "12.4", r'sees 1 CUDA device\(s\) here, counted from 0; choose "cuda:0"'),
    ],
)
def test_what_to_do_about_a_missing_device_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_devices: int, cuda: str | None, message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: n_devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_devices)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    with pytest.raises(ConfigError, match=message):
        build_simulator(small_config(tmp_path, "simulator.device=cuda:1").simulator)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_run_on_cuda_learns_as_on_the_cpu(finished: tuple[Path, Result], tmp_path: Path) -> None:
    result = train(small_config(tmp_path, "simulator.device=cuda"), tmp_path / "run", console=quiet())
    assert result.test_loss == pytest.approx(finished[1].test_loss, rel=1e-3)


def test_the_chunk_of_the_configuration_is_ngspices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cosim.simulators.ngspice import library, simulator

    asked = []
    monkeypatch.setattr(library, "find_ngspice_library", lambda: None)
    monkeypatch.setattr(simulator, "NgspiceSimulator", lambda **options: asked.append(options))
    build_simulator(small_config(tmp_path, "simulator.name=ngspice", "simulator.chunk=7").simulator)
    assert asked == [{"workers": 0, "timeout_s": 300.0, "chunk": 7}]


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
    assert len(lines) == 3
    assert lines[0].startswith("epoch  train loss  accuracy  test loss")
    assert lines[2].startswith("  2/2  ")
