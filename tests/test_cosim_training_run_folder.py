"""Where a run may be made, what --force removes and what it spares, and that one process trains there at a time."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_runs import WHOLE, quiet, stub_pictures, tiny_config

from cosim.errors import ConfigError, RunError
from cosim.training import run as run_module
from cosim.training.checkpoints import Which
from cosim.training.run import evaluate, train
from cosim.training.run_folder import RUN_FILES, RunFolder, check_place

NAMES = {
    *WHOLE,
    "metrics.jsonl",
    "progress.json",
    "result.json",
    "training.png",
    "blocks.png",
    "run.lock",
}


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_pictures(monkeypatch.setattr)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        stub_pictures(patch.setattr)
        train(tiny_config(folder), folder / "run", console=quiet())
    return folder / "run"


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """The finished run once more, to break."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


class Stop(Exception):
    pass


def read_all(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ------------------------------------------------------------------------------------------------------------- places


def test_an_existing_folder_is_refused(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=r"exists already\. Go on with it by `tellegen train --resume`, replace it by --f"
    ):
        train(tiny_config(tmp_path), copied, console=quiet())
    (copied / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"exists already and holds what no run writes \(notes\.txt\)\. .*e`, or choose"):
        train(tiny_config(tmp_path), copied, console=quiet())


def test_what_is_no_run_is_refused_without_offering_what_would_fail(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.txt").write_text("mine")
    for name, reason in (("file", "is no folder"), ("folder", "holds files but no run")):
        with pytest.raises(RunError, match=f"{reason}, so choose another --out$"):
            check_place(tmp_path / name, force=False)


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    train(tiny_config(tmp_path), tmp_path / "run", console=quiet())
    assert names_in(tmp_path / "run") == NAMES


@pytest.mark.parametrize("name", [".config.json.0123456789abcdef.part", "run.lock"])
def test_a_folder_in_which_a_run_was_killed_before_it_began_is_taken(tmp_path: Path, name: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_bytes(b"")
    train(tiny_config(tmp_path), tmp_path / "run", console=quiet())
    assert names_in(tmp_path / "run") == NAMES


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write .*run: Not a directory"):
        train(tiny_config(tmp_path), tmp_path / "file" / "run", console=quiet())


def test_a_taken_place_is_refused_before_anything_is_set_up(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*_arguments: object, **_options: object) -> None:
        raise Stop

    monkeypatch.setattr(run_module, "build_simulator", too_late)
    monkeypatch.setattr(run_module, "set_up", too_late)
    with pytest.raises(RunError, match="exists already"):
        train(tiny_config(tmp_path), copied, console=quiet())
    with pytest.raises(RunError, match="no run folder"):
        train(tiny_config(tmp_path), tmp_path / "nothing", resume=Which.LAST, console=quiet())
    with pytest.raises(ConfigError, match="was started with another configuration"):
        train(tiny_config(tmp_path, "training.seed=5"), copied, resume=Which.LAST, console=quiet())


# -------------------------------------------------------------------------------------------------------------- force


def test_force_replaces_a_run_and_nothing_else(copied: Path, tmp_path: Path) -> None:
    (copied / ".metrics.jsonl.0123456789abcdef.part").write_bytes(b"")  # as a kill may leave it
    train(tiny_config(tmp_path, "training.seed=1"), copied, force=True, console=quiet())
    assert names_in(copied) == NAMES
    assert json.loads((copied / "config.json").read_text())["training"]["seed"] == 1
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="holds files but no run"):
        train(tiny_config(tmp_path), precious, force=True, console=quiet())
    with pytest.raises(RunError, match="is no folder"):
        train(tiny_config(tmp_path), precious / "thesis.txt", force=True, console=quiet())
    assert (precious / "thesis.txt").read_text() == "years of work"


def test_force_goes_on_from_nothing_that_was_there(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise Stop

    monkeypatch.setattr(run_module, "_train_in", fail)
    with pytest.raises(Stop):
        train(tiny_config(tmp_path), copied, force=True, console=quiet())
    assert names_in(copied) == {"config.json", "run.lock"}


def refuse_force(folder: Path, tmp_path: Path, message: str) -> None:
    """Expect that --force refuses a folder and leaves all that is in it."""
    before = read_all(folder)
    with pytest.raises(RunError, match=message):
        train(tiny_config(tmp_path), folder, force=True, console=quiet())
    assert read_all(folder) == before


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
    train(tiny_config(tmp_path), copied, force=True, console=quiet())
    assert names_in(copied) == NAMES


def test_a_wrong_network_leaves_an_existing_run_alone(copied: Path, tmp_path: Path) -> None:
    before = read_all(copied)
    wrong = tiny_config(tmp_path, "network.stages.3.drive=current", "network.stages.2.size=7")
    with pytest.raises(ConfigError, match=r"puts each of 7 inputs into one unit, but layers\[0\]\.size = 3"):
        train(wrong, copied, force=True, console=quiet())
    assert read_all(copied) == before


# ------------------------------------------------------------------------------------------------------ configuration


def test_another_configuration_cannot_be_resumed(copied: Path, tmp_path: Path) -> None:
    other = tiny_config(tmp_path, "training.epochs=4", "training.seed=5")
    with pytest.raises(
        ConfigError, match=r"training\.epochs is 2 there and 4 now; training\.seed is 0 there and 5 now"
    ):
        train(other, copied, resume=Which.LAST, console=quiet())
    with pytest.raises(ConfigError, match=r"network\.stages\[2\]\.size is 3 there and 4 now"):
        train(tiny_config(tmp_path, "network.stages.2.size=4"), copied, resume=Which.LAST, console=quiet())
    with pytest.raises(ConfigError, match=r"data\.flip is False there and True now"):
        train(tiny_config(tmp_path, "data.flip=true"), copied, resume=Which.LAST, console=quiet())


def test_what_changes_no_weight_may_differ(copied: Path, tmp_path: Path) -> None:
    other = tiny_config(tmp_path, "training.checkpoint_every_s=7", "simulator.chunk=5")
    assert train(other, copied, resume=Which.LAST, console=quiet()).epochs == 2


def test_resuming_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run folder \(there is no config.json in it\)"):
        train(tiny_config(tmp_path), tmp_path / "nothing", resume=Which.LAST, console=quiet())
    assert not (tmp_path / "nothing").exists()


def test_a_damaged_configuration_is_refused(copied: Path) -> None:
    (copied / "config.json").write_text("{")
    with pytest.raises(RunError, match=r"config\.json: cannot be read"):
        evaluate(copied)
    (copied / "config.json").write_text('{"netwrk": {}}')
    with pytest.raises(ConfigError, match=r"config\.json: netwrk: unknown key; did you mean 'network'"):
        evaluate(copied)


# ------------------------------------------------------------------------------------------------------- measurements


def test_lines_after_a_checkpoint_are_dropped_and_the_others_kept(copied: Path) -> None:
    folder = RunFolder(path=copied)
    first, second = (copied / "metrics.jsonl").read_text().splitlines()
    (copied / "metrics.jsonl").write_text(f'{first}\n{second}\n{{"epoch": 3, "cut sho')  # as a kill may leave it
    assert [entry["epoch"] for entry in folder.read_metrics(9)] == [1, 2]
    assert [entry["epoch"] for entry in folder.keep_metrics(1)] == [1]
    assert (copied / "metrics.jsonl").read_text() == f"{first}\n"


def test_an_evaluation_names_the_checkpoints_epoch(copied: Path) -> None:
    # A kill between an epoch's line and its checkpoint leaves the line of an epoch that no file has the weights of.
    folder = RunFolder(path=copied)
    folder.append_metrics({**folder.read_metrics(2)[-1], "epoch": 3})
    assert evaluate(copied).epochs == 2


def test_the_time_spent_is_that_of_the_checkpoint(copied: Path) -> None:
    folder = RunFolder(path=copied)
    folder.write_progress(1, 2, 12.5)
    assert folder.read_wall_s(1, 2) == 12.5
    assert folder.read_wall_s(1, 3) == folder.read_metrics(1)[-1]["wall_s"]  # a kill before the time was written
    (copied / "progress.json").write_text("{")
    assert folder.read_wall_s(2, 0) == folder.read_metrics(2)[-1]["wall_s"]
    assert folder.read_wall_s(0, 1) == 0.0


# --------------------------------------------------------------------------------------------------------------- lock


@contextmanager
def trained_elsewhere(run: Path) -> Iterator[None]:
    """Hold the lock as another process does: a lock belongs to the open file, not to the process."""
    with (run / "run.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


BUSY = "another process is training here; wait for it, stop it, or choose another --out"


def test_a_second_process_is_refused(copied: Path) -> None:
    config, before = RunFolder(path=copied).read_config(), read_all(copied)
    with trained_elsewhere(copied):
        with pytest.raises(RunError, match=BUSY):
            train(config, copied, resume=Which.LAST, console=quiet())
        assert read_all(copied) == before
        assert evaluate(copied).epochs == 2  # looking is free
    assert train(config, copied, resume=Which.LAST, console=quiet()).epochs == 2


def test_force_spares_a_run_that_is_being_trained(copied: Path, tmp_path: Path) -> None:
    with trained_elsewhere(copied):
        refuse_force(copied, tmp_path, BUSY)


def test_a_lock_ends_with_its_run(copied: Path) -> None:
    folder = RunFolder(path=copied)
    for _ in range(2):
        with pytest.raises(Stop), folder.locked():
            raise Stop
    with folder.locked(), pytest.raises(RunError, match=BUSY), folder.locked():
        pass
