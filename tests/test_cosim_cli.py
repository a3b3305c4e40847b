from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from small_runs import SMALL, TINY, set_options, stub_pictures, write_small

from cosim import cli
from cosim.errors import ConfigError, RunError
from cosim.training import loop
from cosim.training.config import SimulatorSection

FEW = set_options("training.epochs=1", "data.train_size=60", "data.test_size=20")


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_pictures(monkeypatch.setattr)


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    with pytest.MonkeyPatch.context() as patch:
        stub_pictures(patch.setattr)
        result = invoke("train", write_small(folder), "--out", folder / "run", *FEW)
    assert result.exit_code == 0, result.output
    return folder / "run"


def test_help_names_every_command() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    for command in ("doctor", "train", "show", "eval", "gradcheck", "bench", "study", "sweep", "demo"):
        assert command in result.output


@pytest.mark.parametrize(
    "command",
    [("doctor",), ("train",), ("show",), ("eval",), ("gradcheck",), ("bench", "relaxation"), ("sweep",), ("demo",)],
)
def test_every_command_explains_itself_and_its_json(command: tuple[str, ...]) -> None:
    result = invoke(*command, "--help")
    assert result.exit_code == 0
    assert "--json FILE" in result.output


def test_help_of_a_command_imports_no_torch() -> None:
    code = (
        "import sys; from cosim.cli import main\n"
        "try: main(['train', '--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'numpy', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_train_prints_epochs_and_a_sentence(tmp_path: Path) -> None:
    result = invoke("train", write_small(tmp_path), "--out", tmp_path / "run", *FEW)
    assert result.exit_code == 0
    heading, epoch, accuracy, effort, files = result.stdout.splitlines()
    assert heading.split() == ["epoch", "train", "loss", "accuracy", "test", "loss", "accuracy", "time"]
    assert epoch.startswith("  1/1  ")
    assert len(heading) == len(epoch)
    assert accuracy.startswith("test accuracy 0.")
    assert effort.startswith("1 epoch, newton, ")
    assert max(map(len, (heading, epoch, accuracy, effort))) <= 79
    run = tmp_path / "run"
    assert files == f"wrote result.json, training.png and blocks.png in {run}; tellegen show {run} sums it up"
    assert sorted(path.name for path in run.glob("*.png")) == ["blocks.png", "training.png"]


def test_json_on_standard_output_sends_people_to_standard_error(tmp_path: Path) -> None:
    result = invoke("train", write_small(tmp_path), "--out", tmp_path / "run", *FEW, "--json", "-")
    assert json.loads(result.stdout) == json.loads((tmp_path / "run" / "result.json").read_text())
    assert "test accuracy" in result.stderr


def test_eval_writes_json_to_a_file(run: Path, tmp_path: Path) -> None:
    result = invoke("eval", run, "--simulator", "newton", "--json", tmp_path / "eval.json")
    assert result.exit_code == 0
    saved, trained = (json.loads(p.read_text()) for p in (tmp_path / "eval.json", run / "result.json"))
    assert saved["test_accuracy"] == trained["test_accuracy"]
    assert saved["simulator"] == "newton"


def test_train_refuses_a_folder_that_exists(run: Path, tmp_path: Path) -> None:
    result = invoke("train", write_small(tmp_path), "--out", run)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"tellegen: {run}: exists already")
    assert "Traceback" not in result.output


def test_train_resumes_a_run(run: Path, tmp_path: Path) -> None:
    result = invoke("train", write_small(tmp_path), "--out", run, "--resume", *FEW)
    assert result.exit_code == 0
    assert "going on after epoch 1 of 1" in result.stdout


def test_resume_and_force_exclude_each_other(run: Path, tmp_path: Path) -> None:
    result = invoke("train", write_small(tmp_path), "--out", run, "--resume", "--force")
    assert result.exit_code == 2
    assert "give one of them" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "nothing.toml", "--out", "run"), "nothing.toml: no such file"),
        (("eval", "nothing"), "no run folder"),
        (("eval", "nothing", "--simulator", "spectre"), "'spectre' is not one of 'newton', 'ngspice'"),
        (("doctor", "--json", "no/such/folder/file.json"), "its folder does not exist"),
        (("bench", "relaxation", "--sizes", "64"), "write inputs and units as 256-128-10"),
        (("bench", "relaxation", "--sizes", "64-x"), "write inputs and units as 256-128-10"),
        (("train",), "Missing option '--out'"),
        (("train", "--out", "run"), "Missing argument 'CONFIG'; only --from RUN and --resume do without"),
        (("train", "--out", "run", "--from", "nowhere"), "nowhere: no run folder"),
        (
            ("train", "small.toml", "--out", "run", "--from", "best"),
            "--from best says which checkpoint to go on after: give --resume too",
        ),
        (
            ("train", "small.toml", "--out", "run", "--resume", "--from", "first"),
            "--from first: with --resume it names a checkpoint, last, prev",
        ),
        (("train", "small.toml", "--out", "run", "--resume"), "run: no run folder (there is no config.json in it)"),
        (("train", "small.toml", "--out", "run", "--data", "images"), 'data.name = "digits" comes with scikit-learn'),
        (("train", "small.toml", "--out", "run", "--dask", "localhost"), "simulator.dask"),
        (("gradcheck", "small.toml", "--data", "images"), 'data.name = "digits" comes with scikit-learn'),
        (("eval", "nothing", "--from", "worst"), "'worst' is not one of 'last', 'previous', 'best'"),
        (("show", "nothing"), "no run folder"),
    ],
)
def test_bad_input_ends_with_two_and_one_message(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_small(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.output


def test_wrong_keys_are_reported_with_the_nearest_name(tmp_path: Path) -> None:
    path = write_small(tmp_path, SMALL.replace("epochs = 3", "epoch = 3"))
    result = invoke("train", path, "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert f"{path}: training.epoch: unknown key; did you mean 'epochs'?" in result.stderr
    assert not (tmp_path / "run").exists()


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    result = invoke("--debug", "eval", tmp_path)
    assert isinstance(result.exception, RunError)


def interrupt(*_arguments: object) -> None:
    raise KeyboardInterrupt


def test_an_interrupt_ends_with_130_and_the_way_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toml, run = write_small(tmp_path, TINY), tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(loop.Display, "epoch", interrupt)  # after the first checkpoint
        result = invoke("train", toml, "--out", run)
    assert result.exit_code == 130
    assert f"stopped; {run} keeps everything done, and goes on by: tellegen train --resume --out {run}" in result.stderr
    assert "Traceback" not in result.output
    again = invoke("train", toml, "--out", run, "--resume")
    assert again.exit_code == 0
    assert again.stdout.startswith("going on after epoch 1 of 2\n")


def test_an_interrupt_before_the_first_checkpoint_says_that_nothing_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml, run = write_small(tmp_path, TINY), tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_batch", interrupt)
        result = invoke("train", toml, "--out", run)
    assert result.exit_code == 130
    assert "stopped before the first checkpoint, so nothing is kept: start again, with --force to" in result.stderr
    assert "--resume" not in result.stderr
    assert invoke("train", toml, "--out", run, "--force").exit_code == 0


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_offered_and_taken(tmp_path: Path) -> None:
    toml, run = write_small(tmp_path, TINY), tmp_path / "run"
    assert invoke("train", toml, "--out", run).exit_code == 0
    weights = (run / "checkpoint.safetensors").read_bytes()
    (run / "checkpoint.safetensors").write_bytes(weights[:-100])
    (run / "result.json").unlink()
    for command in (("train", toml, "--out", run, "--resume"), ("eval", run)):
        result = invoke(*command)
        assert result.exit_code == 2
        assert f"tellegen: {run / 'checkpoint.safetensors'}: this checkpoint cannot be used: " in result.stderr
        assert (
            "The one before it, previous.safetensors, is whole, after epoch 1: take it with --from pre" in result.stderr
        )
        assert "(to go on: --resume --from previous)" in result.stderr
    assert "1 epoch, newton" in invoke("eval", run, "--from", "previous").stdout
    result = invoke("train", toml, "--out", run, "--resume", "--from", "previous")
    assert result.exit_code == 0
    assert result.stdout.startswith("going on after epoch 1 of 2\n")
    assert (run / "checkpoint.safetensors").read_bytes() == weights


def test_the_best_checkpoint_can_be_scored(tmp_path: Path) -> None:
    toml, run = write_small(tmp_path, TINY), tmp_path / "run"
    assert invoke("train", toml, "--out", run).exit_code == 0
    trained = json.loads((run / "result.json").read_text())
    best = json.loads(invoke("eval", run, "--from", "best", "--json", "-").stdout)
    assert (best["test_accuracy"], best["epochs"]) == (trained["best_accuracy"], trained["best_epoch"])


def test_show_sums_up_a_run(run: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    result = invoke("show", run, "--json", tmp_path / "show.json")
    assert result.exit_code == 0
    assert "finished" in result.stdout
    assert str(run / "blocks.png") in result.stdout
    saved, trained = (json.loads(p.read_text()) for p in (tmp_path / "show.json", run / "result.json"))
    assert (saved["state"], saved["epoch"]) == ("finished", 1)
    assert saved["best"]["test_accuracy"] == trained["best_accuracy"]
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_a_scheduler_is_a_key_of_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cosim.training import run as run_module

    asked: list[str | None] = []

    def refuse(section: SimulatorSection) -> None:
        asked.append(section.dask)
        raise ConfigError("no")

    monkeypatch.setattr(run_module, "build_simulator", refuse)
    ngspice = set_options("simulator.name=ngspice")
    invoke("train", write_small(tmp_path), "--out", tmp_path / "run", *ngspice, "--dask", "tcp://host:8786")
    assert asked == ["tcp://host:8786"]


def test_eval_of_a_configuration_says_what_it_takes(tmp_path: Path) -> None:
    result = invoke("eval", write_small(tmp_path))
    assert result.exit_code == 2
    assert "this is a configuration; eval takes a run folder" in result.stderr


def test_a_warning_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def warn(*_arguments: object) -> None:
        warnings.simplefilter("always")
        warnings.warn("raise beta", stacklevel=1)
        raise RunError("stop here")

    monkeypatch.setattr(loop, "train_batch", warn)
    result = invoke("train", write_small(tmp_path), "--out", tmp_path / "run")
    assert result.stderr == "warning: raise beta\ntellegen: stop here\n"


def test_a_nudge_too_small_is_one_sentence_on_standard_error(tmp_path: Path) -> None:
    options = [*FEW, *set_options("phases.beta=1e-12")]
    arguments = ["train", str(write_small(tmp_path)), "--out", str(tmp_path / "run"), *options]
    code = "from cosim.cli import main; main()"  # a process of its own: pytest's filters make warnings errors
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True, timeout=120
    )
    (line,) = result.stderr.splitlines()
    assert line.startswith("warning: block 'first': the nudge beta = 1e-12 moves the outputs by at most ")
    assert line.endswith("raise beta")
    assert "warning" not in result.stdout


def test_help_says_what_the_gradient_checks_folder_is_for() -> None:
    text = " ".join(invoke("gradcheck", "--help").output.split())
    assert "Folder that gets the bar plot, made if missing; by default the RUN itself" in text


def test_force_spares_what_is_no_run(tmp_path: Path) -> None:
    model = tmp_path / "model"
    (model / "weights").mkdir(parents=True)
    (model / "config.json").write_text('{"model_type": "bert"}')
    result = invoke("train", write_small(tmp_path), "--out", model, "--force")
    assert result.exit_code == 2
    assert "so --force does not replace it; choose another --out" in result.stderr
    assert {path.name for path in model.iterdir()} == {"config.json", "weights"}


def test_a_defect_of_ours_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(loop, "train_batch", fail)
    result = invoke("train", write_small(tmp_path), "--out", tmp_path / "run")
    assert isinstance(result.exception, ZeroDivisionError)
