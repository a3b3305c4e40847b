"""`tellegen sweep`: its exit status, its JSON, one message for what is wrong, and Ctrl-C."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sweep_files import GRID, make_run, write_sweep

from cosim import cli


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    make_run(folder)
    return folder


def test_a_sweep_on_all_cores_writes_what_it_says_and_goes_on(place: Path) -> None:
    file, out = write_sweep(place, GRID), place / "out"
    result = invoke("sweep", file, "--out", out, "--json", place / "sweep.json")
    assert result.exit_code == 0, result.output
    first, files = result.stdout.splitlines()
    assert first.startswith("4 points, 4 computed now, 0 failed, ")
    assert files.startswith("wrote results.parquet, results.csv, accuracy.png")
    saved = json.loads((place / "sweep.json").read_text())
    assert (saved["points"], saved["computed"], saved["failed"], len(saved["rows"])) == (4, 4, 0, 4)
    assert all(0 <= row["accuracy"] <= 1 for row in saved["rows"])
    again = invoke("sweep", file, "--out", out, "--json", "-")
    assert json.loads(again.stdout)["computed"] == 0
    assert json.loads(again.stdout)["rows"] == saved["rows"]


def test_a_failed_point_is_exit_status_one(place: Path) -> None:
    text = """
    do = "program-then-finetune"
    [base]
    run = "run"
    [[points]]
    set = { "circuit.g_min_s" = 2e-5, "circuit.g_max_s" = 2.1e-5, "circuit.window" = "refuse" }
    """
    result = invoke("sweep", write_sweep(place, text, "failing.toml"), "--out", place / "failing")
    assert result.exit_code == 1, result.output
    assert "1 failed" in result.stdout


def test_a_wrong_axis_is_exit_status_two_with_the_nearest_name(place: Path) -> None:
    file = write_sweep(place, GRID.replace("phases.beta", "phases.bta"), "wrong.toml")
    result = invoke("sweep", file, "--out", place / "wrong")
    assert result.exit_code == 2
    assert "phases.bta: unknown key; did you mean 'beta'?" in result.stderr
    assert "Traceback" not in result.output
    assert not (place / "wrong").exists()


def test_results_of_another_sweep_are_exit_status_two_and_stay(place: Path) -> None:
    out = place / "other"
    assert invoke("sweep", write_sweep(place, GRID), "--out", out).exit_code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    changed = write_sweep(place, GRID.replace("= 16", "= 8"), "changed.toml")
    result = invoke("sweep", changed, "--out", out)
    assert result.exit_code == 2
    assert "probe_images is 16 there and 8 now" in result.stderr
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_interrupted_is_130_and_says_how_to_go_on(place: Path) -> None:
    text = GRID.replace("[0.005, 0.5]", str([round(0.001 * k, 3) for k in range(1, 400)]))
    file, out = write_sweep(place, text, "long.toml"), place / "long"
    code = "from cosim.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "sweep", str(file), "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (out / "results.sqlite").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "keeps every finished point: the same command goes on" in err
    assert "Traceback" not in err
