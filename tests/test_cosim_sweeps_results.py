"""What a sweep measures and leaves behind: numbers against independent ones, files against each other."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from matplotlib.image import imread
from small_runs import SMALL, quiet, stub_pictures, write_small
from sweep_files import GRID, OVERRIDES, here, make_run, write_sweep

from cosim.analog_block import Gradient
from cosim.converters import Converters
from cosim.simulators.newton import NewtonSimulator
from cosim.studies.gradient_probe import GradientProbe
from cosim.sweeps.curves import list_panels
from cosim.sweeps.outputs import write_outputs
from cosim.sweeps.plan import make_plan
from cosim.sweeps.point import Outcome
from cosim.sweeps.results import Results, estimate
from cosim.sweeps.sweep import SweepReport
from cosim.sweeps.sweep_file import load_sweep
from cosim.sweeps.tornado import list_effects
from cosim.sweeps.trainings import epochs_to
from cosim.training.config import AnalogStage
from cosim.training.config_file import load_config
from cosim.training.run import evaluate, train
from cosim.training.run_folder import RunFolder
from cosim.training.setup import load_run
from cosim.training.trainer import LOSSES
from cosim.twin import twin


@pytest.fixture(autouse=True)
def _no_pictures_of_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_pictures(monkeypatch.setattr)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    make_run(folder)
    return folder


@pytest.fixture(scope="module")
def grid(place: Path) -> SweepReport:
    text = GRID.replace('"phases.beta" = [0.005, 0.5]', '"network.stages.*.temperature_k" = [300.15, 380.0]')
    return here(write_sweep(place, text), place / "grid")


def rows_of(report: SweepReport) -> list[dict[str, object]]:
    return report.results.rows()


def test_a_point_without_effects_has_the_accuracy_of_eval(place: Path, grid: SweepReport) -> None:
    expected = evaluate(place / "run")
    row = next(r for r in rows_of(grid) if r["bits"] == "ideal" and r["network.stages.*.temperature_k"] == 300.15)
    assert row["accuracy"] == expected.test_accuracy
    assert row["loss"] == expected.test_loss


def test_gradients_are_compared_with_the_ideal_network_and_with_the_same_circuit(
    place: Path, grid: SweepReport
) -> None:
    """By the probe of `tellegen gradcheck`, from networks set up by hand: directions and lengths."""

    def gradient(overrides: tuple[str, ...], kind: Gradient, *, is_ideal: bool) -> np.ndarray:
        config = load_config(place / "run" / "config.json", overrides)
        setup = load_run(place / "run", NewtonSimulator(), config=config)
        network = twin(setup.network, gradient=kind, converters=Converters.ideal() if is_ideal else None)
        for block in network.modules():
            if hasattr(block, "converter_ranges"):
                block.converter_ranges.zero_()
        images = setup.data.train.take(torch.arange(16))
        probe = GradientProbe(
            network.double().eval(), setup.data.scaled(images.pixels), images.labels, LOSSES[config.training.loss]
        )
        return np.concatenate([g.ravel() for name, g in sorted(probe.gradients().items()) if name[1].startswith("g_")])

    hot = ("network.stages.3.temperature_k=380.0",)
    coarse = (*hot, "converters.input.bits=2", "converters.output.bits=2")
    value = gradient(coarse, Gradient.EP, is_ideal=False)
    row = next(r for r in rows_of(grid) if r["bits"] == 2 and r["network.stages.*.temperature_k"] == 380.0)
    for name, reference in (
        ("gradient", gradient((), Gradient.IMPLICIT, is_ideal=True)),
        ("estimate", gradient(hot, Gradient.IMPLICIT, is_ideal=True)),
    ):
        norms = np.linalg.norm(value), np.linalg.norm(reference)
        assert row[f"{name}_cosine"] == pytest.approx(value @ reference / (norms[0] * norms[1]), abs=1e-9)
        assert row[f"{name}_norm_ratio"] == pytest.approx(norms[0] / norms[1], rel=1e-9)
    assert abs(row["gradient_norm_ratio"] - row["estimate_norm_ratio"]) > 1e-3  # type: ignore[operator]


def test_a_small_nudge_with_ideal_converters_gives_the_exact_gradient(grid: SweepReport) -> None:
    for row in rows_of(grid):
        if row["bits"] == "ideal":
            assert row["estimate_cosine"] == pytest.approx(1.0, abs=1e-5)
            assert row["estimate_norm_ratio"] == pytest.approx(1.0, abs=1e-3)
    hot = next(r for r in rows_of(grid) if r["bits"] == "ideal" and r["network.stages.*.temperature_k"] == 380.0)
    assert abs(float(str(hot["gradient_norm_ratio"])) - 1.0) > 1e-3, "the circuit is another than the ideal one"


def test_parquet_csv_and_store_hold_the_same(grid: SweepReport) -> None:
    columns, rows = grid.results.columns, rows_of(grid)
    table = pq.read_table(grid.out / "results.parquet").to_pydict()
    with (grid.out / "results.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(table) == list(columns) == list(lines[0])
    assert len(lines) == len(rows) == 4
    for k, row in enumerate(rows):
        for name in columns:
            value = row[name]
            assert table[name][k] == (str(value) if name == "bits" else value)
            text = "" if value is None else repr(value) if isinstance(value, float) else str(value)
            assert lines[k][name] == text
        outcome = grid.results.outcomes[str(row["key"])]
        assert outcome.measured["accuracy"] == row["accuracy"]


def check_pictures(report: SweepReport, *names: str) -> None:
    assert sorted(path.name for path in report.out.glob("*.png")) == sorted(names)
    summary = (report.out / "summary.md").read_text()
    for name in names:
        image = imread(report.out / name)
        assert min(image.shape[:2]) > 200
        assert image[..., :3].std() > 0.05, f"{name} is blank"
        assert f"]({name})" in summary


def test_a_grid_has_curves_and_heat_maps(grid: SweepReport) -> None:
    check_pictures(grid, "accuracy.png", "gradient_cosine.png", "heat_map_accuracy.png", "heat_map_gradient_cosine.png")
    summary = (grid.out / "summary.md").read_text()
    assert "| 380 | ideal |" in summary
    assert "which sets `converters.input.bits`, `converters.output.bits`" in summary
    assert set(grid.files) <= {path.name for path in grid.out.iterdir()}


def test_mean_and_interval_are_students() -> None:
    found = estimate([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.half_width == pytest.approx(4.302652729911275 / math.sqrt(3))  # t(0.975, 2) of any table
    assert math.isnan(estimate([1.0]).half_width)
    assert estimate([1.0], is_random=False).half_width == 0.0


ONE = """
do = "train"
mode = "one_at_a_time"
seeds = 2
[base]
config = "small.toml"
set = { "training.learning_rate" = 0.01 }
[axes]
"phases.beta" = [0.001, 0.1]
"training.learning_rate" = [0.001, 0.01, 0.1]
"converters.input.bits" = [2]
"""


def test_the_tornado_is_the_change_from_the_nominal_point_paired_by_seed(tmp_path: Path) -> None:
    write_small(tmp_path, SMALL)
    file = write_sweep(tmp_path, ONE)
    plan = make_plan(load_sweep(file), out=tmp_path / "out", source=file)
    # Nominal 0.9 and 0.8; the change is that of the setting, and for the second seed 0.02 more.
    changes = {("phases.beta", 0.001): -0.1, ("phases.beta", 0.1): 0.05, ("training.learning_rate", 0.001): -0.3}
    changes |= {("training.learning_rate", 0.1): 0.04, ("converters.input.bits", 2): -0.01}
    outcomes = {}
    for point in plan.points:
        varied = [(name, value) for name, value in point.values.items() if (name, value) in changes]
        change = sum(changes[pair] for pair in varied)
        accuracy = (0.9, 0.8)[point.seed] + change + (0.02 * point.seed if varied else 0.0)
        measured = {"accuracy": accuracy, "epochs_to_90": 2, "accuracy_by_epoch": (0.2, accuracy)}
        outcomes[point.key] = Outcome(key=point.key, measured=measured, error=None, wall_s=1.0, cpu_s=1.0)
    results = Results(plan, outcomes)
    effects = list_effects(results)
    assert [effect.axis for effect in effects] == ["training.learning_rate", "phases.beta", "converters.input.bits"]
    assert [[end.value for end in effect.ends] for effect in effects] == [[0.001, 0.1], [0.001, 0.1], [2]]
    means = [[end.change.mean for end in effect.ends] for effect in effects]
    assert means == [pytest.approx([-0.29, 0.05]), pytest.approx([-0.09, 0.06]), pytest.approx([0.0])]
    # s of two changes that are 0.02 apart is 0.02 / sqrt(2); t(0.975, 1) = 12.7062.
    assert effects[0].ends[0].change.half_width == pytest.approx(12.706204736 * 0.02 / math.sqrt(2) / math.sqrt(2))
    assert [effect.nominal for effect in effects] == [0.01, 0.005, "ideal"]
    beta = next(panel for panel in list_panels(results) if panel.axis == "phases.beta")
    assert beta.lines[0].values == (0.001, 0.005, 0.1), "the nominal value is on the curve"
    shown = write_outputs(results, tmp_path, "changes")
    assert set(shown) == {"accuracy.png", "training.png", "tornado.png"}
    for name in shown:
        assert imread(tmp_path / name)[..., :3].std() > 0.05


def test_trainings_are_ordinary_runs_and_are_evaluated_as_asked(tmp_path: Path) -> None:
    write_small(tmp_path, SMALL)
    text = f"""
    do = "train"
    evaluate_with = {{ "converters.output.bits" = 1 }}
    seeds = 2
    [base]
    config = "small.toml"
    set = {{ {", ".join(f'"{key}" = {value}' for key, value in (pair.split("=") for pair in OVERRIDES))} }}
    [axes]
    "phases.beta" = [0.05]
    """
    report = here(write_sweep(tmp_path, text), tmp_path / "out")
    assert report.passed, report.lines()
    config = load_config(tmp_path / "small.toml", (*OVERRIDES, "phases.beta=0.05", "training.seed=1"))
    expected = train(config, tmp_path / "alone", console=quiet())
    row = rows_of(report)[1]
    assert row["accuracy_as_trained"] == expected.test_accuracy
    assert row["train_accuracy"] == expected.train_accuracy
    run = report.out / "points" / str(row["key"])
    assert evaluate(run).test_accuracy == expected.test_accuracy
    setup = load_config(run / "config.json", ["converters.output.bits=1"])
    (tmp_path / "coarse").mkdir()
    for name in ("checkpoint.safetensors",):
        (tmp_path / "coarse" / name).write_bytes((run / name).read_bytes())
    (tmp_path / "coarse" / "config.json").write_text(json.dumps(setup.model_dump(mode="json")))
    assert row["accuracy"] == evaluate(tmp_path / "coarse").test_accuracy
    assert isinstance(row["accuracy_by_epoch"], tuple)
    assert len(row["accuracy_by_epoch"]) == 2
    check_pictures(report, "accuracy.png", "training.png")


def test_epochs_to_a_share_of_the_final_accuracy() -> None:
    assert epochs_to(0.9, (0.1, 0.5, 0.85, 0.95, 0.9)) == 3
    assert epochs_to(0.9, (0.95, 0.5, 0.9)) == 1
    assert epochs_to(0.9, ()) is None


def test_fine_tuning_knows_what_was_before_and_points_by_hand_are_dots(place: Path) -> None:
    text = """
    do = "program-then-finetune"
    [base]
    run = "run"
    set = { "training.epochs" = 1 }
    [[points]]
    label = "as it is"
    set = { "training.learning_rate" = 1e-9 }
    [[points]]
    label = "narrow"
    set = { "circuit.g_min_s" = 2e-5, "circuit.g_max_s" = 4e-5, "circuit.window" = "clip" }
    [[points]]
    label = "too narrow"
    set = { "circuit.g_min_s" = 2e-5, "circuit.g_max_s" = 2.1e-5, "circuit.window" = "refuse" }
    """
    report = here(write_sweep(place, text), place / "tuned")
    same, narrow, refused = rows_of(report)
    assert same["accuracy_before"] == evaluate(place / "run").test_accuracy
    assert narrow["accuracy_before"] != same["accuracy_before"]
    assert (refused["status"], refused["accuracy"]) == ("failed", None)
    assert "outside 2e-05 to 2.1e-05 S" in str(refused["error"])
    assert not report.passed
    check_pictures(report, "accuracy.png", "training.png")
    again = here(write_sweep(place, text), place / "tuned", retry=True)
    assert again.n_computed == 1


def test_a_base_configuration_is_trained_once_a_seed(tmp_path: Path) -> None:
    write_small(tmp_path, SMALL)
    pairs = ", ".join(f'"{key}" = {value}' for key, value in (pair.split("=") for pair in OVERRIDES))
    text = GRID.replace('run = "run"', f'config = "small.toml"\ntrain_with = {{ {pairs} }}')
    text = text.replace("probe_images = 16", "probe_images = 16\nseeds = 2")
    report = here(write_sweep(tmp_path, text), tmp_path / "out")
    assert report.passed, report.lines()
    losses = [evaluate(tmp_path / "out" / "base" / f"seed-{k}").test_loss for k in range(2)]
    ideal = [row["loss"] for row in rows_of(report) if row["bits"] == "ideal" and row["phases.beta"] == 0.005]
    assert ideal == losses
    assert losses[0] != losses[1]
    assert "±" in (report.out / "summary.md").read_text()


@pytest.mark.ngspice
def test_one_point_in_so_many_is_checked_in_ngspice(place: Path) -> None:
    text = GRID + "[ngspice]\ncheck_every = 3\n"
    report = here(write_sweep(place, text), place / "checked")
    assert report.passed, report.lines()
    rows = rows_of(report)
    assert [row["ngspice_accuracy"] is not None for row in rows] == [True, False, False, True]
    for row in (rows[0], rows[3]):
        assert row["ngspice_accuracy_difference"] == row["ngspice_accuracy"] - row["accuracy"]  # type: ignore[operator]
        assert 0 < float(str(row["ngspice_voltage_difference_v"])) < 1e-8
    assert "One point in 3, 2 in all, was evaluated in ngspice as well" in (report.out / "summary.md").read_text()


def test_a_base_configuration_is_trained_and_then_tuned_on_devices_seed_by_seed(tmp_path: Path) -> None:
    write_small(tmp_path, SMALL)
    pairs = ", ".join(f'"{key}" = {value}' for key, value in (pair.split("=") for pair in OVERRIDES))
    text = f"""
    do = "program-then-finetune"
    seeds = 2
    [base]
    config = "small.toml"
    train_with = {{ {pairs} }}
    set = {{ "training.epochs" = 1, "devices.time_s" = 60.0 }}
    [axes]
    "devices.preset" = ["pcm", "rram-milo"]
    """
    report = here(write_sweep(tmp_path, text), tmp_path / "out")
    assert report.passed, report.lines()
    rows = rows_of(report)
    assert [row["devices.preset"] for row in rows] == ["pcm", "pcm", "rram-milo", "rram-milo"]
    runs = [RunFolder(path=run).read_config() for run in sorted((tmp_path / "out" / "points").iterdir())]
    starts = sorted(config.start.run for config in runs if config.start)
    assert starts == sorted(2 * [str(tmp_path / "out" / "base" / f"seed-{k}") for k in range(2)])
    assert sorted(config.devices.seed for config in runs if config.devices) == [0, 0, 1, 1]
    windows = {
        config.devices.preset: stage.g_max * stage.g_unit_s
        for config in runs
        for stage in config.network.stages
        if config.devices and isinstance(stage, AnalogStage)
    }
    assert windows["pcm"] == pytest.approx(25e-6)
    assert windows["rram-milo"] == pytest.approx(225e-6)


def test_evaluated_devices_are_the_same_chips_for_every_value_of_an_axis(place: Path) -> None:
    text = """
    do = "evaluate"
    seeds = 3
    probe_images = 16
    [base]
    run = "run"
    [axes]
    "devices.spread_relative_std" = [0.0, 0.4]
    "phases.beta" = [0.005, 0.05]
    """
    report = here(write_sweep(place, text), place / "chips")
    assert report.passed, report.lines()
    loss = {
        (row["devices.spread_relative_std"], row["phases.beta"], row["seed"]): row["loss"] for row in rows_of(report)
    }
    assert {loss[0.0, beta, k] for beta in (0.005, 0.05) for k in range(3)} == {evaluate(place / "run").test_loss}
    assert len({loss[0.4, 0.005, k] for k in range(3)}) == 3
    assert all(loss[0.4, 0.005, k] == loss[0.4, 0.05, k] for k in range(3))


@pytest.mark.ngspice
def test_a_trained_point_is_checked_in_ngspice_with_the_devices_that_it_was_trained_on(tmp_path: Path) -> None:
    write_small(tmp_path, SMALL)
    pairs = ", ".join(f'"{key}" = {value}' for key, value in (pair.split("=") for pair in OVERRIDES))
    text = f"""
    do = "train"
    [base]
    config = "small.toml"
    set = {{ {pairs}, "devices.programming_error_relative_std" = 0.02 }}
    [axes]
    "devices.spread_relative_std" = [0.0, 0.4]
    [ngspice]
    check_every = 1
    """
    report = here(write_sweep(tmp_path, text), tmp_path / "out")
    assert report.passed, report.lines()
    for row in rows_of(report):
        assert row["ngspice_accuracy"] == row["accuracy"]
        assert 0.0 <= float(row["ngspice_voltage_difference_v"]) < 1e-9
    assert "2 in all" in (report.out / "summary.md").read_text()
