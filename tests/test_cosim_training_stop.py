"""Ctrl-C and SIGTERM end a run after the batch at hand, with a checkpoint; a second time at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_runs import (
    SLOW,
    TINY,
    Command,
    list_differences,
    quiet,
    read_outcome,
    set_options,
    stub_pictures,
    tiny_config,
    write_small,
)

from cosim.errors import RunError
from cosim.training import loop
from cosim.training.checkpoint import check_checkpoint
from cosim.training.checkpoints import Which
from cosim.training.run import train
from cosim.training.stop import SIGNALS, StopRequest

LAST = "checkpoint.safetensors"


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_pictures(monkeypatch.setattr)


# ------------------------------------------------------------------------------------------------------------ requests


@pytest.mark.parametrize(
    ("number", "again"), [(signal.SIGINT, "Ctrl-C again stops at once"), (signal.SIGTERM, "a second signal stops at")]
)
def test_the_first_signal_is_noted_and_answered_and_the_second_obeyed(number: int, again: str) -> None:
    console = quiet()
    before = [signal.getsignal(each) for each in SIGNALS]
    with StopRequest(console) as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
        text = console.file.getvalue()  # type: ignore[attr-defined]
        assert text.startswith("stopping after this batch, with a checkpoint (")
        assert again in text
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_the_signals_are_as_before_after_an_error() -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(RunError), StopRequest(quiet()):
        raise RunError("the disk is full")
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_a_thread_that_may_take_no_signals_can_train(tmp_path: Path) -> None:
    results: list[Any] = []
    config = tiny_config(tmp_path)
    thread = threading.Thread(target=lambda: results.append(train(config, tmp_path / "run", console=quiet())))
    thread.start()
    thread.join()
    assert results[0].epochs == 2


# ---------------------------------------------------------------------------------------------- wherever in the loop


class Asked(StopRequest):
    """Is asked to stop just before the n-th look at it, as a signal may come between any two lines."""

    looks_left = 0

    @property
    def requested(self) -> bool:
        type(self).looks_left -= 1
        return type(self).looks_left < 0

    @requested.setter
    def requested(self, _value: bool) -> None:
        pass


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("expected")
    with pytest.MonkeyPatch.context() as patch:
        stub_pictures(patch.setattr)
        train(tiny_config(folder), folder / "run", console=quiet())
    return read_outcome(folder / "run")


def test_a_signal_between_any_two_lines_loses_nothing(
    expected: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cosim.training import run as run_module

    config, done = tiny_config(tmp_path), []
    original = loop.train_batch

    def noted(*arguments: Any) -> None:
        original(*arguments)
        done.append(0)

    for look in range(100):
        run = tmp_path / f"run{look}"
        done.clear()
        Asked.looks_left = look
        with monkeypatch.context() as patch:
            patch.setattr(run_module, "StopRequest", Asked)
            patch.setattr(loop, "train_batch", noted)
            try:
                train(config, run, console=quiet())
                break
            except KeyboardInterrupt:
                pass
        tally = check_checkpoint(run / LAST)
        assert 2 * tally.epoch + tally.batch == len(done), f"look {look}: a batch is done that no checkpoint has"
        train(config, run, resume=Which.LAST, console=quiet())
        assert set(list_differences(expected, read_outcome(run))) <= {"previous.safetensors"}, f"look {look}"
    else:
        raise AssertionError("it never came to its end")
    assert (
        look >= 10
    )  # 4 batches, 2 evaluations of the images held out, and two for the result; an epoch's end looks, too


def interrupt_when(monkeypatch: pytest.MonkeyPatch, name: str, call: int) -> None:
    """Press Ctrl-C in the n-th call of a function of the loop, from 1."""
    original, calls = getattr(loop, name), []

    def pressed(*arguments: Any, **options: Any) -> Any:
        calls.append(0)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments, **options)

    monkeypatch.setattr(loop, name, pressed)


@pytest.mark.parametrize(
    ("name", "call", "epoch", "batch"),
    [
        ("train_batch", 1, 0, 1),
        ("train_batch", 2, 0, 2),
        ("train_batch", 4, 1, 2),
        ("score", 1, 0, 2),  # while the images held out are looked at: the epoch is not finished
        ("score", 2, 1, 2),
        ("score", 3, 2, 0),  # for the result: there is nothing left to train
        ("score", 4, 2, 0),
        ("plot_training", 1, 2, 0),
    ],
)
def test_everything_done_is_in_the_checkpoint(
    expected: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    call: int,
    epoch: int,
    batch: int,
) -> None:
    config, run = tiny_config(tmp_path), tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_when(patch, name, call)
        with pytest.raises(KeyboardInterrupt):
            train(config, run, console=quiet())
    tally = check_checkpoint(run / LAST)
    assert (tally.epoch, tally.batch) == (epoch, batch)
    assert not (run / "result.json").exists()
    assert (run / "training.png").exists() == (epoch > 0)  # pictures of what there is
    train(config, run, resume=Which.LAST, console=quiet())
    assert set(list_differences(expected, read_outcome(run))) <= {"previous.safetensors"}


# ---------------------------------------------------------------------------------------------------- from the outside


@pytest.fixture
def commands() -> Iterator[list[Command]]:
    """Commands that end with the test, whatever becomes of it."""
    started: list[Command] = []
    yield started
    for command in started:
        command.process.kill()
        command.process.communicate()


def start(commands: list[Command], tmp_path: Path, *arguments: str, seconds: float) -> Command:
    """Start a command whose batches take a while, and wait until it is in the middle of one."""
    begun = tmp_path / "begun"
    begun.unlink(missing_ok=True)
    toml = write_small(tmp_path, TINY)
    before = SLOW.format(seconds=seconds, begun=str(begun))
    commands.append(
        Command(toml, "--out", tmp_path / "run", *set_options("training.batch_size=20"), *arguments, before=before)
    )
    commands[-1].wait_for(begun)
    return commands[-1]


def test_a_command_ends_with_a_checkpoint_and_says_how_to_go_on(commands: list[Command], tmp_path: Path) -> None:
    config, run = tiny_config(tmp_path, "training.batch_size=20"), tmp_path / "run"
    train(config, tmp_path / "whole", console=quiet())

    first = start(commands, tmp_path, seconds=0.3)
    status, out, err = first.end(signal.SIGINT)
    assert status == 130, err
    assert "stopping after this batch, with a checkpoint (Ctrl-C again stops at once)" in out
    assert f"stopped; {run} keeps everything done, and goes on by: tellegen train --resume --out {run}" in err
    assert "Traceback" not in err
    tally = check_checkpoint(run / LAST)
    assert 1 <= 3 * tally.epoch + tally.batch < 5

    second = start(commands, tmp_path, "--resume", seconds=0.3)
    status, out, err = second.end(signal.SIGTERM)
    assert status == 130, err
    assert "(a second signal stops at once)" in out
    assert f"goes on by: tellegen train --resume --out {run}" in err
    later = check_checkpoint(run / LAST)
    assert 3 * tally.epoch + tally.batch < 3 * later.epoch + later.batch < 6

    train(config, run, resume=Which.LAST, console=quiet())
    assert set(list_differences(read_outcome(tmp_path / "whole"), read_outcome(run))) <= {"previous.safetensors"}


def test_a_second_interrupt_ends_a_command_at_once(commands: list[Command], tmp_path: Path) -> None:
    command = start(commands, tmp_path, seconds=60)
    command.process.send_signal(signal.SIGINT)
    assert command.process.stdout is not None
    assert any("stopping after this batch" in line for line in iter(command.process.stdout.readline, ""))
    start_s = time.monotonic()
    status, _, err = command.end(signal.SIGINT)
    assert time.monotonic() - start_s < 20  # a batch takes a minute
    assert status == 130
    assert "stopped before the first checkpoint, so nothing is kept: start again, with --force to replace" in err
    assert "--resume" not in err
