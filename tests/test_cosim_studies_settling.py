"""What a trained network is worth before it has settled: early is worse, late is the equilibrium."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner
from small_runs import SMALL, quiet, small_config, write_small

from circuits.capacitance import Capacitance
from cosim.cli import main
from cosim.errors import ConfigError, StudyError
from cosim.simulators.newton import NewtonSimulator
from cosim.studies import settling_sampling
from cosim.studies.settling import settling_study
from cosim.training.config_file import load_config
from cosim.training.run import evaluate, train
from cosim.training.setup import load_run

OVERRIDES = ("data.train_size=60", "data.test_size=40", 'simulator.name="newton"')


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("settling")
    train(small_config(folder, *OVERRIDES, "training.epochs=4"), folder / "run", console=quiet())
    return folder / "run"


@pytest.mark.ngspice
def test_early_is_worse_and_late_is_settled(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling_sampling, "ACCURACY_V", 1e-5)
    found = CliRunner().invoke(
        main, ["study", "settling", str(run), "--out", str(tmp_path), "--times", "0.2", "--times", "10", "--json", "-"]
    )
    assert found.exit_code == 0, found.stderr
    report = json.loads(found.stdout)
    early, late, settled = report["free"]
    assert settled["time_constants"] is None
    assert settled["accuracy"] == evaluate(run).test_accuracy
    assert late["accuracy"] == settled["accuracy"]
    assert late["loss"] == pytest.approx(settled["loss"], rel=1e-3)
    assert early["loss"] > 1.02 * settled["loss"]
    nudged = {(row["time_constants"], row["tensor"]): row for row in report["nudged"]}
    for tensor in ("g_plus.w2", "input"):
        assert nudged[0.2, tensor]["norm_ratio"] < 0.9
        assert nudged[10.0, tensor]["norm_ratio"] == pytest.approx(1.0, abs=2e-3)
        assert nudged[10.0, tensor]["cosine"] > 0.9999
        assert nudged[0.2, tensor]["cosine"] < nudged[10.0, tensor]["cosine"]
    for row in report["ngspice"]:
        assert 0 < row["free_v"] < 2e-4
        assert 0 < row["nudged_v"] < 2e-4
    assert report["blocks"][0]["time_constant_s"] > 0
    assert json.loads((tmp_path / "settling.json").read_text()) == report
    rows = list(csv.DictReader((tmp_path / "settling.csv").read_text().splitlines()))
    assert len(rows) == len(report["nudged"])
    assert (tmp_path / "settling.png").stat().st_size > 20_000


def test_bad_input_is_refused(run: Path, tmp_path: Path) -> None:
    for times in ((), (0.0,), (math.nan,)):
        with pytest.raises(StudyError, match="sampling times"):
            settling_study(run, tmp_path, multiples=times)
    config = load_config(write_small(tmp_path, 'gradient = "backprop"\n' + SMALL), ("training.epochs=1",))
    train(config, tmp_path / "backprop", console=quiet())
    with pytest.raises(ConfigError, match="no analog block"):
        settling_study(tmp_path / "backprop", tmp_path)


def test_all_movements_are_slower_than_differential_ones(run: Path) -> None:
    network = load_run(run, NewtonSimulator()).network.eval()
    pairs, whole = (settling_sampling.timed_blocks(network, Capacitance(), modes) for modes in settling_sampling.Modes)
    for name, block in pairs.items():
        assert block.time_constant_s < whole[name].time_constant_s
        assert block.capacitance_f.sum() == whole[name].capacitance_f.sum()
