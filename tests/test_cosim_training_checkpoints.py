"""Checkpoints hold everything, notice any damage, and always leave one to go on from."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_runs import list_differences, quiet, read_outcome, stub_pictures, tiny_config

from cosim.errors import RunError
from cosim.simulators.newton import NewtonSimulator
from cosim.training import loop
from cosim.training.checkpoint import Best, Progress, Tally, check_checkpoint, format_checkpoint, load_checkpoint
from cosim.training.checkpoints import Checkpoints, Which
from cosim.training.run import evaluate, train
from cosim.training.run_folder import RunFolder
from cosim.training.setup import load_run
from cosim.training.trainer import build_optimizer, build_scheduler

LAST, PREVIOUS, BEST = "checkpoint.safetensors", "previous.safetensors", "best.safetensors"


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_pictures(monkeypatch.setattr)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        stub_pictures(patch.setattr)
        train(tiny_config(folder, "training.epochs=3"), folder / "run", console=quiet())
    return folder / "run"


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """The finished run once more, to break."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


class Stop(Exception):
    pass


@pytest.fixture
def stopped(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same run, killed after two epochs and one batch, a checkpoint after each batch."""
    config = tiny_config(tmp_path, "training.epochs=3", "training.checkpoint_every_s=1e-9")
    with monkeypatch.context() as patch:
        stop_before(patch, batch=6)
        with pytest.raises(Stop):
            train(config, tmp_path / "run", console=quiet())
    return tmp_path / "run"


def stop_before(patch: pytest.MonkeyPatch, *, batch: int) -> None:
    """End training before a batch, counted over all epochs from 1."""
    original, calls = loop.train_batch, []

    def counted(*arguments: Any) -> None:
        calls.append(0)
        if len(calls) == batch:
            raise Stop
        original(*arguments)

    patch.setattr(loop, "train_batch", counted)


def go_on(run: Path, which: Which = Which.LAST) -> None:
    train(RunFolder(path=run).read_config(), run, resume=which, console=quiet())


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def damage(path: Path) -> None:
    flip(path, 8 * path.stat().st_size - 99)


# ----------------------------------------------------------------------------------------------------------- contents


def test_a_checkpoint_holds_everything(finished: Path) -> None:
    tensors = load_file(finished / LAST)
    kinds = {name.split("/", maxsplit=1)[0] for name in tensors}
    assert kinds == {"model", "optimizer", "generator"}
    assert {name for name in tensors if name.startswith("generator/")} == {
        f"generator/{name}" for name in ("weights", "order", "augmentation", "global")
    }
    assert tensors["model/energy.0.converter_ranges"].any()
    moments = {name.rpartition("/")[2] for name in tensors if name.startswith("optimizer/")}
    assert moments == {"exp_avg", "exp_avg_sq", "step"}
    tally = check_checkpoint(finished / LAST)
    result = evaluate(finished)
    assert (tally.epoch, tally.batch, tally.best) == (
        3,
        0,
        Best(epoch=result.best_epoch or 0, accuracy=result.best_accuracy or 0.0),
    )
    assert tally.counts["relaxations"] == 3 * (3 * 60 + 20)


def make_progress(run: Path) -> tuple[Progress, Tally]:
    setup = load_run(run, NewtonSimulator())
    section = setup.config.training
    optimizer = build_optimizer(section, setup.network)
    generators = {name: torch.Generator() for name in ("weights", "order", "augmentation")}
    scheduler = build_scheduler(section, optimizer, 6)
    progress = Progress(model=setup.network, optimizer=optimizer, scheduler=scheduler, generators=generators)
    return progress, setup.tally


def test_what_is_loaded_is_written_again_to_the_same_bytes(finished: Path) -> None:
    progress, _ = make_progress(finished)
    torch.manual_seed(5)
    tally = load_checkpoint(finished / LAST, progress)
    for _ in range(10):  # an order that differs from time to time would show
        assert format_checkpoint(progress, tally) == (finished / LAST).read_bytes()


def test_last_previous_and_best_are_what_they_say(finished: Path) -> None:
    last, previous, best = (check_checkpoint(finished / name) for name in (LAST, PREVIOUS, BEST))
    assert (last.epoch, previous.epoch) == (3, 2)
    assert last.best is not None
    assert best.epoch == last.best.epoch
    assert best.best == last.best
    assert evaluate(finished, which=Which.PREVIOUS).epochs == 2
    assert evaluate(finished, which=Which.BEST).test_accuracy == last.best.accuracy


# ------------------------------------------------------------------------------------------------------------- damage


def list_bits(path: Path) -> Iterator[int]:
    """Yield bits of every part of a checkpoint: the whole length field, then some of header and data."""
    content, draw = path.read_bytes(), random.Random(0)  # noqa: S311
    header = 8 + int.from_bytes(content[:8], "little")
    yield from range(64)
    yield from draw.sample(range(64, 8 * header), 300)
    yield from draw.sample(range(8 * header, 8 * len(content)), 150)


def test_a_flipped_bit_is_noticed_wherever_it_is(copied: Path) -> None:
    path, missed = copied / LAST, []
    for bit in list_bits(path):
        flip(path, bit)
        try:
            check_checkpoint(path)
            missed.append(bit)
        except RunError:
            pass
        flip(path, bit)
    assert missed == []
    assert check_checkpoint(path).epoch == 3


@pytest.mark.parametrize("kind", ["model/readout.weight", "optimizer/0/exp_avg_sq", "generator/order"])
def test_a_flipped_bit_of_any_tensor_is_refused_by_name(copied: Path, kind: str) -> None:
    from safetensors import safe_open

    path = copied / LAST
    with safe_open(str(path), framework="pt") as file:
        wanted = file.get_tensor(kind).numpy().tobytes()[:8]
    flip(path, 8 * path.read_bytes().index(wanted, path.stat().st_size // 2 if kind.startswith("g") else 0))
    with pytest.raises(RunError, match=r"checkpoint\.safetensors: this checkpoint cannot be used: .*SHA-256 differs"):
        go_on(copied)


@pytest.mark.parametrize("kind", ["cut", "one byte less", "one byte more", "empty", "pickle", "foreign", "folder"])
def test_a_file_that_is_no_checkpoint_is_refused_with_the_way_on(copied: Path, kind: str) -> None:
    path = copied / LAST
    content = path.read_bytes()
    match kind:
        case "cut":
            path.write_bytes(content[: len(content) // 2])
        case "one byte less":
            path.write_bytes(content[:-1])
        case "one byte more":
            path.write_bytes(content + b"\0")
        case "empty":
            path.write_bytes(b"")
        case "pickle":
            path.write_bytes(b"\x80\x04cos\nsystem\n.")
        case "foreign":
            save_file(load_file(path), path)
        case _:
            path.unlink()
            path.mkdir()
    for use in (go_on, evaluate):
        with pytest.raises(RunError, match=r"checkpoint\.safetensors: .*The one before it.*--from previous") as caught:
            use(copied)
        assert "\n" not in str(caught.value)


def spoil_weights(run: Path, kind: str) -> None:
    """Write a whole checkpoint, digest and all, whose weights cannot be used."""
    progress, tally = make_progress(run)
    readout = progress.model.get_submodule("readout")
    match kind:
        case "shape":
            readout.weight = torch.nn.Parameter(readout.weight.detach()[:, :2].clone())
        case "other":
            progress.model.register_buffer("other", torch.zeros(2))
        case _:
            readout.weight.data[0, 0] = float(kind)
    (run / LAST).write_bytes(format_checkpoint(progress, tally))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("shape", r"'readout\.weight' is \(10, 2\) there and \(10, 3\) in the network\. The one before it"),
        ("other", r"config\.json: the network has no 'other'\. The one before it"),
        ("nan", r"'readout\.weight' holds values that are not finite\. The one before it"),
        ("inf", r"'readout\.weight' holds values that are not finite\. The one before it"),
    ],
)
def test_weights_that_do_not_fit_are_named_with_the_way_on(copied: Path, kind: str, message: str) -> None:
    spoil_weights(copied, kind)
    for use in (go_on, evaluate):
        with pytest.raises(RunError, match=rf"checkpoint\.safetensors: this checkpoint cannot be used: .*{message}"):
            use(copied)


def test_a_format_of_another_version_is_named(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cosim.training import checkpoint

    monkeypatch.setattr(checkpoint, "FORMAT", 99)
    with pytest.raises(RunError, match="was written by another version of tellegen, or is none of ours"):
        check_checkpoint(copied / LAST)


# ------------------------------------------------------------------------------------------------------------- way on


@pytest.mark.parametrize("which", [Which.PREVIOUS, Which.BEST])
def test_after_a_damage_another_checkpoint_leads_to_the_same_bits(
    finished: Path, stopped: Path, monkeypatch: pytest.MonkeyPatch, which: Which
) -> None:
    damage(stopped / LAST)
    before = {path.name: path.read_bytes() for path in stopped.iterdir()}
    with pytest.raises(
        RunError,
        match=r"run/checkpoint\.safetensors: .*The one before it, previous\.safetensors, is whole, after epoch 2: "
        r"take it with --from previous \(to go on: --resume --from previous\)$",
    ):
        go_on(stopped)
    assert {path.name: path.read_bytes() for path in stopped.iterdir()} == before
    go_on(stopped, which)
    expected, found = read_outcome(finished), read_outcome(stopped)
    # Here there is a checkpoint after each batch, so that the one before is another.
    assert set(list_differences(expected, found)) <= {"config.json", PREVIOUS}


def test_a_damaged_checkpoint_takes_no_others_place(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (stopped / PREVIOUS).read_bytes()
    damage(stopped / LAST)
    with monkeypatch.context() as patch:  # a second accident at once
        stop_before(patch, batch=1)
        with pytest.raises(Stop):
            go_on(stopped, Which.PREVIOUS)
    assert (stopped / LAST).read_bytes() == (stopped / PREVIOUS).read_bytes() == whole
    with monkeypatch.context() as patch:  # or after the next checkpoint
        stop_before(patch, batch=2)
        with pytest.raises(Stop):
            go_on(stopped)
    assert (stopped / PREVIOUS).read_bytes() == whole
    assert (check_checkpoint(stopped / LAST).epoch, check_checkpoint(stopped / LAST).batch) == (2, 1)


def test_where_the_one_before_is_damaged_too_the_best_is_offered(stopped: Path) -> None:
    for name in (LAST, PREVIOUS):
        damage(stopped / name)
    with pytest.raises(
        RunError, match=r"The best, best\.safetensors, is whole, after epoch \d: .*--resume --from best"
    ):
        go_on(stopped)
    with pytest.raises(RunError, match=r"previous\.safetensors: this .*The best, best\.safetensors, is whole"):
        go_on(stopped, Which.PREVIOUS)


def test_where_all_are_damaged_nothing_is_offered_and_nothing_removed(stopped: Path) -> None:
    for name in (LAST, PREVIOUS, BEST):
        damage(stopped / name)
    before = {path.name: path.read_bytes() for path in stopped.iterdir()}
    for which in Which:
        with pytest.raises(RunError, match=r"No other is whole: restore the file, or start anew with --force$"):
            go_on(stopped, which)
    with pytest.raises(RunError, match="No other is whole"):
        evaluate(stopped)
    assert {path.name: path.read_bytes() for path in stopped.iterdir()} == before


def test_a_crash_between_the_two_moves_is_no_damage(finished: Path, stopped: Path) -> None:
    (stopped / LAST).replace(stopped / PREVIOUS)
    assert evaluate(stopped).epochs == 2
    go_on(stopped)
    assert set(list_differences(read_outcome(finished), read_outcome(stopped))) <= {"config.json", PREVIOUS}


def test_a_run_without_a_checkpoint_cannot_be_evaluated_but_goes_on(finished: Path, stopped: Path) -> None:
    for name in (LAST, PREVIOUS, BEST):
        (stopped / name).unlink()
    assert not Checkpoints(folder=stopped).exist
    with pytest.raises(RunError, match=r"run: there is no last checkpoint \(checkpoint\.safetensors\)"):
        evaluate(stopped)
    go_on(stopped)
    assert set(list_differences(read_outcome(finished), read_outcome(stopped))) <= {"config.json", PREVIOUS}


def test_a_missing_best_is_named_and_the_last_offered(copied: Path) -> None:
    (copied / BEST).unlink()
    with pytest.raises(RunError, match=r"no best checkpoint \(best\.safetensors\)\. The last, checkpoint\.safetensors"):
        evaluate(copied, which=Which.BEST)


def test_going_back_from_a_finished_run_ends_at_the_same_bits(finished: Path, copied: Path) -> None:
    go_on(copied, Which.PREVIOUS)
    assert list_differences(read_outcome(finished), read_outcome(copied)) == []
    go_on(copied)  # nothing is left to do
    assert list_differences(read_outcome(finished), read_outcome(copied)) == []
