"""`tellegen show`: what is said of a run that is finished, stopped, just begun, damaged, or none."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import pytest
from small_runs import quiet, small_config

from circuits import Drive, Polarity
from cosim.errors import RunError
from cosim.files import format_json
from cosim.training import run_contents
from cosim.training.block_summary import BlockSummary
from cosim.training.checkpoint import Tally
from cosim.training.run import train
from cosim.training.run_folder import RunFolder
from cosim.training.summary import RunState, WeightCount, find_best, summarise

CHECKPOINTS = ("checkpoint.safetensors", "previous.safetensors", "best.safetensors")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    train(small_config(folder), folder / "run", console=quiet())
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """The finished run once more, to break."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def text_of(run: Path) -> str:
    lines = summarise(run).lines()
    assert all(len(line) < 80 for line in lines if str(run) not in line)
    return "\n".join(lines)


def test_a_finished_run(finished: Path) -> None:
    summary, text = summarise(finished), text_of(finished)
    result = json.loads((finished / "result.json").read_text())
    metrics = RunFolder(path=finished).read_metrics(9)
    assert (summary.state, summary.epoch, summary.batch) == (RunState.FINISHED, 3, 0)
    assert summary.last == metrics[-1]
    assert summary.best is not None
    assert summary.best["test_accuracy"] == max(entry["test_accuracy"] for entry in metrics)
    assert summary.counts["relaxations"] == result["relaxations"]
    assert summary.contents.wall_s == result["wall_s"]
    assert summary.contents.damaged == ()
    assert f"run         {finished}\nstate       finished, 3 of 3 epochs\ndata        digits, 297 images" in text
    assert "network     flatten, linear 6, batch_norm, [first], linear 10" in text
    assert re.search(r"training +gradient ep in newton, beta 0\.005, cross_entropy, adamw at 0\.05", text)
    assert f"result      test accuracy {result['test_accuracy']:.4f}, after the last epoch" in text
    assert (
        f"last epoch  3: test accuracy {metrics[-1]['test_accuracy']:.4f} (loss {metrics[-1]['test_loss']:.4f})" in text
    )
    assert f"work        {result['relaxations']:,} relaxations, " in text


def test_weights_are_counted_by_hand(finished: Path) -> None:
    # Linear 64 to 6, batch norm, linear 5 to 10, with biases; w2 of 6 by 5 and b2 of 5 twice, each in two devices.
    digital = 64 * 6 + 6 + 2 * 6 + 5 * 10 + 10
    expected = WeightCount(digital=digital, conductances=2 * (30 + 5), devices=4 * (30 + 5))
    assert summarise(finished).weights == expected
    assert "weights     462 digital; 70 conductances of 140 devices" in text_of(finished)


def test_blocks_have_sizes_and_what_the_last_epoch_showed(finished: Path) -> None:
    (block,) = summarise(finished).blocks
    last = RunFolder(path=finished).read_metrics(9)[-1]
    assert (block.name, block.sizes, block.drive) == ("first", (6, 6, 5), Drive.CURRENT)
    assert block.clamped_share == last["first.clamped_share"]
    assert block.nudge_response_v == last["first.nudge_response_v"]
    assert block.tolerances == pytest.approx(last["first.nudge_response_v"] / last["first.tolerance_v"])
    assert not block.is_noise
    text = text_of(finished)
    assert "first       6-6-5, current-driven, differential\n" in text
    assert f"{100 * last['first.clamped_share']:.1f} % of the units clamped\n" in text
    assert re.search(r"nudge response \S+ V rms, \S+e\+\d+ tolerances\n", text)


def test_inputs_of_a_crossbar_come_from_the_checkpoint(tmp_path: Path) -> None:
    config = small_config(tmp_path, "network.stages.3.drive=voltage", "network.stages.1.size=7", "training.epochs=1")
    train(config, tmp_path / "run", console=quiet())
    assert summarise(tmp_path / "run").blocks[0].sizes == (7, 6, 5)
    for name in CHECKPOINTS:
        (tmp_path / "run" / name).unlink(missing_ok=True)
    assert summarise(tmp_path / "run").blocks[0].sizes == (None, 6, 5)
    assert "?-6-5, voltage-driven" in text_of(tmp_path / "run")


def test_every_picture_and_file_has_its_path(finished: Path) -> None:
    summary, text = summarise(finished), text_of(finished)
    names = [path.name for path in summary.contents.files]
    assert names[:2] == ["blocks.png", "training.png"]
    assert set(names) == {path.name for path in finished.iterdir()} - {"run.lock"}
    assert all(path.is_file() for path in summary.contents.files)
    assert all(str(path) in text for path in summary.contents.files)
    assert f"{finished / 'checkpoint.safetensors'}, epoch 3\n" in text


def test_backprop_has_no_circuit(tmp_path: Path) -> None:
    config = small_config(tmp_path, "gradient=backprop", "training.epochs=1", "network.stages.3.drive=voltage")
    train(config, tmp_path / "run", console=quiet())
    summary, text = summarise(tmp_path / "run"), text_of(tmp_path / "run")
    assert "first       6-6-5, tanh layers in place of the circuit\n" in text
    assert "training    gradient backprop, cross_entropy" in text
    assert summary.to_json()["simulator"] is None
    assert summary.weights is not None
    assert summary.weights.digital == 462 + (6 * 6 + 6) + (6 * 5 + 5)
    assert "conductances" not in text


# ---------------------------------------------------------------------------------------- not finished, or damaged


def test_a_stopped_run(run: Path) -> None:
    (run / "result.json").unlink()
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:2]))
    shutil.copy(run / "previous.safetensors", run / "checkpoint.safetensors")  # of epoch 2
    summary, text = summarise(run), text_of(run)
    assert (summary.state, summary.epoch) == (RunState.UNFINISHED, 2)
    assert "state       stopped or still going, 2 of 3 epochs done\n" in text
    assert "last epoch  2: " in text
    assert "result " not in text
    assert summary.counts["relaxations"] == json.loads(lines[1])["relaxations"]
    assert summary.contents.wall_s == json.loads(lines[1])["wall_s"]
    assert summary.weights is not None


def test_a_run_stopped_within_an_epoch(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run / "result.json").unlink()
    tally = Tally(images="", epoch=1, batch=4, counts={"relaxations": 1234, "dac_conversions": 2, "adc_conversions": 3})
    monkeypatch.setattr(run_contents, "check_checkpoint", lambda _path: tally)
    (run / "progress.json").write_text('{"epoch": 1, "batch": 4, "wall_s": 7321.0}')
    text = text_of(run)
    assert "state       stopped or still going, 1 of 3 epochs done, 4 batches of the next\n" in text
    assert "work        1,234 relaxations, 5 conversions, 2 h 2 min\n" in text
    assert f"{run / 'checkpoint.safetensors'}, epoch 1 and 4 batches\n" in text


def test_a_run_killed_before_its_first_checkpoint(run: Path) -> None:
    for path in run.iterdir():
        if path.name != "config.json":
            path.unlink()
    summary, text = summarise(run), text_of(run)
    assert (summary.state, summary.epoch) == (RunState.NO_CHECKPOINT, 0)
    assert (summary.best, summary.last, summary.weights, summary.contents.damaged) == (None, None, None, ())
    assert "state       no checkpoint yet, 0 of 3 epochs done\n" in text
    assert "first       6-6-5, current-driven, differential" in text
    assert text.endswith(f"files       {run / 'config.json'}")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", b"{", "config.json: cannot be read"),
        ("config.json", b'{"netwrk": {}}', "config.json: netwrk: unknown key"),
        ("metrics.jsonl", b'{"epoch": 1}\n{"epo', "metrics.jsonl: line 2 of 2 cannot be read; those before it count"),
        ("metrics.jsonl", b"[1]\n", "metrics.jsonl: line 1 of 1 cannot be read"),
        ("metrics.jsonl", b"\xff\xfe", "metrics.jsonl: cannot be read"),
        ("result.json", b"{", "result.json: cannot be read"),
        ("result.json", b"[]", "result.json: holds no result"),
        ("checkpoint.safetensors", b"", "checkpoint.safetensors: this checkpoint cannot be used"),
        ("best.safetensors", b"\xff" * 20, "best.safetensors: this checkpoint cannot be used"),
    ],
)
def test_a_damaged_file_is_named_and_the_rest_is_summed_up(run: Path, name: str, content: bytes, said: str) -> None:
    (run / name).write_bytes(content)
    summary, text = summarise(run), text_of(run)
    (sentence,) = summary.contents.damaged
    assert said in sentence
    assert f"damaged     {run}" in text
    assert [block.name for block in summary.blocks] == ["first"]
    assert json.loads(format_json(summary.to_json()))["damaged"] == [sentence]
    if name != "metrics.jsonl":
        assert summary.last is not None
        assert summary.blocks[0].clamped_share is not None
    if name != "checkpoint.safetensors":
        assert summary.epoch == 3
    else:
        assert summary.epoch == 2  # what --from previous goes on from


def test_everything_damaged_at_once(run: Path) -> None:
    for path in run.iterdir():
        path.write_bytes(b"\xff\xff")
    summary, text = summarise(run), text_of(run)
    assert len(summary.contents.damaged) == 6
    assert summary.state is RunState.UNFINISHED
    assert "state       stopped or still going, 0 epochs done\n" in text
    assert summary.blocks == ()


def test_numbers_of_another_kind_are_left_out(run: Path) -> None:
    (run / "metrics.jsonl").write_text(
        '{"epoch": 1, "test_accuracy": "high", "first.clamped_share": null}\n{"epoch": NaN}\n'
    )
    (run / "result.json").write_text('{"test_accuracy": null, "wall_s": "long"}')
    summary, text = summarise(run), text_of(run)
    assert summary.best is None
    assert "last epoch  1: test accuracy nan (loss nan), train nan (loss nan)\n" in text
    assert "result      test accuracy nan" in text
    assert "first       6-6-5" in text


@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_what_is_no_run_folder_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "run"
    if kind == "empty":
        path.mkdir()
    elif kind == "file":
        path.write_text("")
    with pytest.raises(RunError, match="no run folder"):
        summarise(path)


def test_summing_up_writes_nothing(run: Path) -> None:
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.iterdir()}
    summarise(run).lines()
    assert {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.iterdir()} == before


# ------------------------------------------------------------------------------------------------------- its parts


def test_the_best_epoch_is_the_first_of_several() -> None:
    entries = [{"epoch": k, "test_accuracy": a} for k, a in enumerate([0.1, math.nan, 0.8, 0.8, 0.3], start=1)]
    assert find_best(entries) is entries[2]
    assert find_best([{"epoch": 1.0}, {"epoch": 2, "test_accuracy": math.nan}]) is None


@pytest.mark.parametrize(("tolerances", "noise"), [(99.0, True), (101.0, False)])
def test_a_response_near_the_tolerance_is_called_noise(tolerances: float, noise: bool) -> None:
    block = BlockSummary(
        name="first",
        sizes=(4, 3),
        drive=Drive.CURRENT,
        polarity=Polarity.SINGLE,
        clamped_share=0.125,
        nudge_response_v=tolerances * 1e-12,
        tolerance_v=1e-12,
        adc_step_v=2e-12,
    )
    assert block.is_noise is noise
    texts = block.texts()
    assert texts[:2] == ["4-3, current-driven, single", "12.5 % of the units clamped"]
    expected = (
        f"nudge response {tolerances * 1e-12:.2g} V rms, {tolerances:.2g} tolerances, {tolerances / 2:.2g} ADC steps"
    )
    assert texts[2] == (f"{expected}: NOISE, raise phases.beta" if noise else expected)
    assert block.to_json()["is_noise"] is noise


def test_json_of_a_summary(finished: Path) -> None:
    found = json.loads(format_json(summarise(finished).to_json()))
    assert (found["state"], found["epoch"], found["epochs"], found["gradient"]) == ("finished", 3, 3, "ep")
    assert found["blocks"][0]["drive"] == "current"
    assert found["weights"] == {"digital": 462, "conductances": 70, "devices": 140}
    assert found["result"]["test_accuracy"] == found["last"]["test_accuracy"]
