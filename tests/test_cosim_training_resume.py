"""A run that is stopped or killed at any moment goes on to the bits of an undisturbed one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import (
    SLOW,
    SMALL,
    Command,
    Killed,
    end_at,
    list_differences,
    quiet,
    read_outcome,
    set_options,
    stub_pictures,
    tiny_config,
    write_small,
)

from cosim.errors import RunError
from cosim.training.checkpoint import check_checkpoint
from cosim.training.checkpoints import Which
from cosim.training.config import Config
from cosim.training.config_file import load_config
from cosim.training.run import train
from cosim.training.run_folder import RunFolder

LAST = "checkpoint.safetensors"
N_BATCHES = 4  # an epoch

# Everything that a checkpoint has to hold: a dropout draws from torch's own generator, the images are varied by
# another, the diodes make Newton iterate, and the converters' ranges follow the data.
RICH = SMALL.replace(
    '[[network.stages]]\nkind = "analog"',
    '[[network.stages]]\nkind = "module"\nmodule = "torch.nn.Dropout"\narguments = { p = 0.2 }\n\n'
    '[[network.stages]]\nkind = "analog"',
).replace("test_size = 1500", "train_size = 80\ntest_size = 40\nflip = true\ncrop = 1")
OVERRIDES = (
    "training.epochs=2",
    "training.batch_size=20",
    *(f"converters.{name}.bits=8" for name in ("input", "output", "nudge", "phase")),
)


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_pictures(monkeypatch.setattr)


def rich_config(folder: Path, *overrides: str) -> Config:
    return load_config(write_small(folder, RICH), (*OVERRIDES, *overrides))


def disturb(config: Config, run: Path, batch: int, *, how: str, resume: Which | None = None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        end_at(patch, batch, how=how)
        with pytest.raises(KeyboardInterrupt if how == "Ctrl-C" else Killed):
            train(config, run, resume=resume, console=quiet())
    torch.manual_seed(99)  # another process would begin with other numbers, too


def go_on(config: Config, run: Path) -> dict[str, Any]:
    train(config, run, resume=Which.LAST, console=quiet())
    return read_outcome(run)


def assert_same(expected: dict[str, Any], found: dict[str, Any]) -> None:
    """Everything but the checkpoint before the last, which depends on when there was one."""
    different = list_differences(expected, found)
    assert set(different) <= {"previous.safetensors"}


# -------------------------------------------------------------------------------------------------- within the process


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the rich run comes to undisturbed."""
    folder = tmp_path_factory.mktemp("expected")
    with pytest.MonkeyPatch.context() as patch:
        stub_pictures(patch.setattr)
        train(rich_config(folder), folder / "run", console=quiet())
    return read_outcome(folder / "run")


@pytest.mark.parametrize("batch", range(1, 2 * N_BATCHES + 1))
def test_a_run_stopped_after_any_batch_goes_on_to_the_same_bits(
    expected: dict[str, Any], tmp_path: Path, batch: int
) -> None:
    config, run = rich_config(tmp_path), tmp_path / "run"
    disturb(config, run, batch, how="Ctrl-C")
    tally = check_checkpoint(run / LAST)
    # Asked for in an epoch's last batch, the end comes before the images held out are looked at.
    epoch, within = divmod(batch - 1, N_BATCHES)
    assert (tally.epoch, tally.batch) == (epoch, within + 1)
    assert_same(expected, go_on(config, run))


@pytest.mark.parametrize("batch", [1, 3, 5, 8])
def test_a_run_that_crashed_in_any_batch_goes_on_to_the_same_bits(
    expected: dict[str, Any], tmp_path: Path, batch: int
) -> None:
    config, run = rich_config(tmp_path), tmp_path / "run"
    disturb(config, run, batch, how="crash")
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "cut sho')  # as a kill may leave it
    assert (run / LAST).exists() == (batch > N_BATCHES)  # the end of an epoch is the first
    assert_same(expected, go_on(config, run))


def test_a_run_disturbed_at_every_batch_goes_on_to_the_same_bits(expected: dict[str, Any], tmp_path: Path) -> None:
    config, run = rich_config(tmp_path), tmp_path / "run"
    resume = None
    for _ in range(2 * N_BATCHES):
        disturb(config, run, 1, how="Ctrl-C", resume=resume)
        resume = Which.LAST
    assert_same(expected, go_on(config, run))


@pytest.mark.parametrize("overrides", [("gradient=implicit",), ("gradient=backprop",), ("training.loss=mse",)])
@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_every_optimiser_and_schedule_goes_on_to_the_same_bits(
    tmp_path: Path, optimizer: str, schedule: str, overrides: tuple[str, ...]
) -> None:
    config = tiny_config(
        tmp_path,
        f"training.optimizer={optimizer}",
        f"training.schedule={schedule}",
        "training.weight_decay=0.01",
        "training.batch_size=20",
        "data.crop=2",
        *overrides,
    )
    train(config, tmp_path / "whole", console=quiet())
    disturb(config, tmp_path / "run", 5, how="Ctrl-C")
    assert_same(read_outcome(tmp_path / "whole"), go_on(config, tmp_path / "run"))


def test_checkpoints_within_an_epoch_change_nothing(expected: dict[str, Any], tmp_path: Path) -> None:
    config, run = rich_config(tmp_path, "training.checkpoint_every_s=1e-9"), tmp_path / "run"
    for batch in (3, 3, 2):
        disturb(config, run, batch, how="crash", resume=Which.LAST if run.exists() else None)
    tally = check_checkpoint(run / LAST)
    assert (tally.epoch, tally.batch) == (1, 1)
    assert set(list_differences(expected, go_on(config, run))) <= {"config.json", "previous.safetensors"}


def test_time_is_that_of_all_sittings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, run = tiny_config(tmp_path), tmp_path / "run"
    disturb(config, run, 2, how="Ctrl-C")
    RunFolder(path=run).write_progress(0, 2, 1000.0)
    assert 1000 < train(config, run, resume=Which.LAST, console=quiet()).wall_s < 1060


def test_a_resumed_run_says_where_it_goes_on(tmp_path: Path) -> None:
    config, run, console = tiny_config(tmp_path, "training.batch_size=20"), tmp_path / "run", quiet()
    disturb(config, run, 5, how="Ctrl-C")
    train(config, run, resume=Which.LAST, console=console)
    first, *_ = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert first == "going on after epoch 1 and 2 batches of 2"


# --------------------------------------------------------------------------------------------------- at any disk access


def test_whatever_the_run_does_to_the_disk_may_be_its_end(tmp_path: Path) -> None:
    script = Path(__file__).with_name("killed_runs.py")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}  # what torch does for a GPU survives no fork
    processes = {}
    for kind in ("kill", "fill"):  # together, for there are many
        (tmp_path / kind).mkdir()
        command = [sys.executable, script, kind, tmp_path / kind]
        processes[kind] = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
    outputs = {kind: process.communicate(timeout=300) for kind, process in processes.items()}
    for kind, (out, err) in outputs.items():
        assert processes[kind].returncode == 0, err
        *findings, calls = map(json.loads, out.splitlines())
        assert findings == [], kind
        names = set(calls["calls"])
        assert {"write checkpoint.part", "replace checkpoint.safetensors", "replace checkpoint.part", "fsync"} <= names
        assert {"write best.part", "write metrics.jsonl", "write progress.part", "write result.part"} <= names


# ---------------------------------------------------------------------------------------------------- from the outside


def list_descendants(pid: int) -> set[int]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], check=True, capture_output=True, text=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listed.splitlines()]
    found, size = {pid}, 0
    while len(found) > size:
        size = len(found)
        found |= {child for child, parent in pairs if parent in found}
    return found - {pid}


def is_alive(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], check=False, capture_output=True, text=True).stdout
    return bool(state.strip()) and not state.startswith("Z")


def test_a_command_killed_at_random_moments_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    pairs = ("training.epochs=6", "training.batch_size=20", "training.checkpoint_every_s=0.02")
    config, run = load_config(write_small(tmp_path, RICH), (*OVERRIDES, *pairs)), tmp_path / "run"
    train(config, tmp_path / "whole", console=quiet())
    spent_s = read_result(tmp_path / "whole")["wall_s"]
    draw = random.Random(1)  # noqa: S311
    arguments = (tmp_path / "small.toml", "--out", run, *set_options(*OVERRIDES, *pairs))
    kills = 0
    for attempt in range(2):
        command = Command(*arguments, *(["--resume"] if attempt else []))
        command.wait_for(run / "metrics.jsonl")
        if attempt:
            (run / "progress.json").unlink(missing_ok=True)
            command.wait_for(run / "progress.json")
        time.sleep(draw.uniform(0.0, 0.3) * spent_s)
        kills += command.end(signal.SIGKILL)[0] == -signal.SIGKILL
    assert kills  # unless this machine was held up, both
    with pytest.raises(SystemExit) as ended:
        main_in_process("train", *arguments, "--resume")
    assert ended.value.code == 0
    assert set(list_differences(read_outcome(tmp_path / "whole"), read_outcome(run))) <= {"previous.safetensors"}


def main_in_process(*arguments: str | Path) -> None:
    from cosim.cli import main

    main([str(argument) for argument in arguments])


def read_result(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "result.json").read_text()))


@pytest.fixture
def ngspice_run(tmp_path: Path) -> Iterator[Command]:
    pairs = (*OVERRIDES, "simulator.name=ngspice", "simulator.workers=2", "simulator.chunk=10", "training.epochs=1")
    toml = write_small(tmp_path, RICH)
    train(load_config(toml, (*pairs, "simulator.workers=0")), tmp_path / "whole", console=quiet())
    options = set_options(*pairs, "training.checkpoint_every_s=1e-9")
    slow = SLOW.format(seconds=0.5, begun=str(tmp_path / "begun"))
    command = Command(toml, "--out", tmp_path / "run", *options, before=slow)
    yield command
    command.process.kill()
    command.process.communicate()


@pytest.mark.ngspice
def test_a_killed_command_leaves_no_worker_and_goes_on_to_the_same_bits(tmp_path: Path, ngspice_run: Command) -> None:
    ngspice_run.wait_for(tmp_path / "run" / "previous.safetensors")  # after the second batch
    workers = list_descendants(ngspice_run.process.pid)
    assert len(workers) >= 2
    with pytest.raises(RunError, match="another process is training"), RunFolder(path=tmp_path / "run").locked():
        pass
    assert ngspice_run.end(signal.SIGKILL)[0] == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while any(map(is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert [pid for pid in workers if is_alive(pid)] == []
    assert not (tmp_path / "run" / "result.json").exists()
    config = RunFolder(path=tmp_path / "run").read_config()
    tally = check_checkpoint(tmp_path / "run" / LAST)
    assert 2 <= N_BATCHES * tally.epoch + tally.batch < 2 * N_BATCHES
    found = go_on(config, tmp_path / "run")
    expected = read_outcome(tmp_path / "whole")
    assert set(list_differences(expected, found)) <= {"config.json", "previous.safetensors"}
