"""The splitting study from its trainings to its files: what is there at the end, and after an interrupt."""

from __future__ import annotations

import csv
import json
import math
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from small_runs import quiet, stub_pictures
from test_cosim_studies_relaxation_bench import expect_exit, load_benchmark

from cosim.cli import main
from cosim.errors import ConfigError, RunError, StudyError
from cosim.studies import splitting as study_module
from cosim.studies import trainings as trainings_module
from cosim.studies.comparison import Row
from cosim.studies.splitting import FILES, list_variants, splitting_study
from cosim.studies.splitting_networks import HOPFIELD_L6, NETWORKS, RESISTIVE_L6, Method, SplitNetwork
from cosim.studies.splitting_plot import plot_splitting
from cosim.studies.splitting_results import SplitRow, Splitting, Variant
from cosim.training import loop
from cosim.training.run_folder import RunFolder

TWO_CUTS = ("hopfield-l6-bs6-*", "hopfield-l6-bs2-*")


def here() -> Executor:
    """Run trainings in a thread of this process: starting others takes seconds."""
    return ThreadPoolExecutor(1)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    sets = {
        f"{kind}_{which}": values
        for which, n in (("train", 20), ("test", 10))
        for kind, values in (
            ("x", generator.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)),
            ("y", np.arange(n) % 10),
        )
    }
    np.savez(tmp_path / "images.npz", **sets)
    return tmp_path / "images.npz"


def run_study(out: Path, images: Path, **options: Any) -> Splitting:
    overrides = ("data.images=all", "training.epochs=1", "training.batch_size=10", *options.pop("overrides", ()))
    given = {
        "data": images,
        "n_seeds": 2,
        "only": TWO_CUTS,
        "command": "the command",
        "executor_factory": here,
        "workers": 1,
    }
    return splitting_study(out, console=quiet(), overrides=overrides, **{**given, **options})


def test_every_cut_is_trained_by_both_and_kept(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub_pictures(monkeypatch.setattr)
    out = tmp_path / "study"
    found = run_study(out, images)
    names = [split.variant.name for split in found.rows]
    assert names == ["hopfield-l6-bs6-id", "hopfield-l6-bs6-ep", "hopfield-l6-bs2-id", "hopfield-l6-bs2-ep"]
    assert all(len(split.row.accuracies) == 2 for split in found.rows)
    for (
        split
    ) in found.rows:  # one block of 5 couplings, or three of one; 20 images to learn, 10 held out, 30 at the end
        n_blocks = 6 // split.variant.block_size
        per_image = 1 if split.variant.method is Method.ID else 3
        assert split.row.relaxations == (n_blocks * (20 * per_image + 10 + 30),) * 2
        assert min(split.row.iterations) > n_blocks * 20 * 10 * (per_image - 1 or 1)
    assert sorted(path.name for path in out.iterdir()) == sorted([*FILES, *names])
    assert json.loads((out / "study.json").read_text()) == json.loads(json.dumps(found.to_json()))
    assert (out / "table.md").read_text() == found.markdown()
    assert (out / "splitting.png").read_bytes().startswith(b"\x89PNG")
    with (out / "table.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [(line["cut"], line["gradient"], line["simulator"]) for line in lines] == [
        ("6", "implicit", ""),
        ("6", "ep", ""),
        ("2", "implicit", ""),
        ("2", "ep", ""),
    ]
    assert json.loads(lines[1]["test_accuracy"]) == list(found.rows[1].row.accuracies)


def test_a_finished_training_is_read_and_an_interrupted_one_goes_on(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub_pictures(monkeypatch.setattr)
    monkeypatch.setattr(study_module, "plot_splitting", lambda *_arguments, **_options: None)
    only = ("hopfield-l6-bs3-*",)
    whole = run_study(tmp_path / "whole", images, only=only)
    original, batches = loop.train_batch, []

    def interrupted(*arguments: Any) -> None:
        batches.append(0)
        if len(batches) == 6:  # in the third of four trainings of two batches
            raise KeyboardInterrupt
        original(*arguments)

    slow = {"only": only, "overrides": ("training.checkpoint_every_s=1e-9",)}  # a checkpoint after each batch
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_batch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_study(tmp_path / "study", images, **slow)
    partial = json.loads((tmp_path / "study" / "study.json").read_text())
    assert [row["name"] for row in partial["rows"]] == ["hopfield-l6-bs3-id"]  # the variant that was finished
    begun = RunFolder(path=tmp_path / "study" / "hopfield-l6-bs3-ep" / "seed-0")
    assert json.loads(begun.progress.read_text())["batch"] == 1

    def counted(*arguments: Any) -> None:
        batches.append(0)
        original(*arguments)

    batches.clear()
    monkeypatch.setattr(loop, "train_batch", counted)
    again = run_study(tmp_path / "study", images, **slow)
    assert len(batches) == 3  # what was left: one batch of the third, the fourth
    assert [split.row.accuracies for split in again.rows] == [split.row.accuracies for split in whole.rows]
    assert [split.row.iterations for split in again.rows] == [split.row.iterations for split in whole.rows]
    batches.clear()
    assert run_study(tmp_path / "study", images, **slow) == again
    assert not batches


def test_resistive_blocks_are_cut_as_well(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub_pictures(monkeypatch.setattr)
    found = run_study(tmp_path / "study", images, only=("resistive-l6-bs3-*",), n_seeds=1)
    assert [split.variant.method for split in found.rows] == [Method.ID, Method.EP, Method.NGSPICE]
    rows = found.to_json()["rows"]
    assert [(row["gradient"], row["simulator"]) for row in rows] == [
        ("implicit", "newton"),
        ("ep", "newton"),
        ("ep", "ngspice"),
    ]
    # Ideal converters: the same trainings but for tolerances, so that EP is ID, and ngspice is newton.
    losses = [
        json.loads((tmp_path / "study" / split.variant.name / "seed-0" / "result.json").read_text())["test_loss"]
        for split in found.rows
    ]
    assert losses[1:] == pytest.approx(losses[:2], rel=1e-4)
    assert all(row["iterations"][0] > row["relaxations"][0] > 0 for row in rows)
    assert {row["within_two_standard_errors"] for row in rows} == {None}  # one seed has no spread


def test_trainings_go_on_in_processes_of_their_own(tmp_path: Path, images: Path) -> None:
    found = run_study(tmp_path / "study", images, only=("hopfield-l6-bs6-ep",), n_seeds=1, executor_factory=None)
    (split,) = found.rows
    assert found.minus_id(split) is None  # there is no ID to compare it with


def test_a_warning_of_a_training_is_passed_on(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    stub_pictures(monkeypatch.setattr)
    splitting_study(
        tmp_path / "study",
        data=images,
        overrides=("data.images=all", "training.epochs=1", "training.batch_size=10", "hopfield.free_steps=1"),
        n_seeds=1,
        only=("hopfield-l6-bs6-ep",),
        executor_factory=here,
        console=Console(),
    )
    text = " ".join(capsys.readouterr().out.split())
    assert "training 1 of 1: Hopfield, L = 6, 1 block of 6, EP, seed 0: test accuracy" in text
    assert "warning: Hopfield, L = 6, 1 block of 6, EP, seed 0: hopfield block 'block1': after 1 steps" in text


def test_what_goes_wrong_is_said_with_its_place(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "study"
    with pytest.raises(StudyError, match=r"no variant .hopfield-l6-bs4-ep.; there are hopfield-l6-bs6-id, "):
        run_study(out, images, only=("hopfield-l6-bs4-ep",))
    with pytest.raises(StudyError, match="0 seeds; give one or more"):
        run_study(out, images, n_seeds=0)
    with pytest.raises(ConfigError, match=r"training\.epoch: unknown key; did you mean 'epochs'"):
        run_study(out, images, overrides=("training.epoch=3",))
    assert not out.exists()
    stub_pictures(monkeypatch.setattr)
    one = {"only": ("hopfield-l6-bs2-ep",), "n_seeds": 1}
    run_study(out, images, **one)
    with pytest.raises(ConfigError, match=r"seed-0 was started with another configuration: training\.epochs is 1"):
        run_study(out, images, overrides=("training.epochs=3",), **one)
    (out / "hopfield-l6-bs2-id" / "seed-0").mkdir(parents=True)
    (out / "hopfield-l6-bs2-id" / "seed-0" / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="holds files but no run"):
        run_study(out, images, only=("hopfield-l6-bs2-*",), n_seeds=1)

    def broken(*_arguments: object, **_options: object) -> None:
        raise StudyError("out of images")

    monkeypatch.setattr(trainings_module, "train", broken)
    with pytest.raises(StudyError, match=r"hopfield-l6-bs3-ep/seed-0: out of images"):
        run_study(out, images, only=("hopfield-l6-bs3-ep",), n_seeds=1)


# ------------------------------------------------------------------------------------------------------ the table


def row(network: SplitNetwork, size: int, method: Method, *accuracies: float) -> SplitRow:
    variant, n = Variant(network=network, block_size=size, method=method), len(accuracies)
    made = Row(
        name=variant.name,
        title=variant.title,
        accuracies=accuracies,
        wall_s=(60.0,) * n,
        relaxations=(20_000,) * n,
        iterations=(150_000,) * n,
        commits=("abc1234",),
    )
    return SplitRow(variant=variant, row=made)


TABLE = Splitting(
    rows=(
        row(HOPFIELD_L6, 6, Method.ID, 0.40, 0.42, 0.44),
        row(HOPFIELD_L6, 6, Method.EP, 0.41, 0.43, 0.45),
        row(HOPFIELD_L6, 2, Method.ID, 0.50, 0.52, 0.54),
        row(HOPFIELD_L6, 2, Method.EP, 0.41, 0.43, 0.45),
        row(RESISTIVE_L6, 2, Method.ID, 0.45, 0.47, 0.49),
        row(RESISTIVE_L6, 2, Method.NGSPICE, 0.45, 0.47, 0.49),
    ),
    command="tellegen study splitting --out runs/splitting",
)


def test_each_cut_is_compared_with_its_own_reference() -> None:
    differences = [TABLE.minus_id(split) for split in TABLE.rows]
    assert [None if d is None else round(d.value, 6) for d in differences] == [None, 0.01, None, -0.09, None, 0.0]
    error = math.sqrt(2 * 0.02**2 / 3)
    assert TABLE.verdicts() == [
        f"Hopfield, L = 6, 1 block of 6, EP minus ID: +0.0100, within two standard errors of {error:.4f}",
        f"Hopfield, L = 6, 3 blocks of 2, EP minus ID: -0.0900, NOT within two standard errors of {error:.4f}",
        f"Resistive, L = 6, 3 blocks of 2, EP in ngspice minus ID: +0.0000, within two standard errors of {error:.4f}",
        "lowest accuracy of any training: 0.4000",
    ]
    assert [row["within_two_standard_errors"] for row in TABLE.to_json()["rows"]] == [
        None,
        True,
        None,
        False,
        None,
        True,
    ]


def test_the_markdown_holds_numbers_command_and_commit() -> None:
    lines = TABLE.markdown().splitlines()
    assert lines[3] == (
        "| Hopfield, L = 6 | 1 × 6 | EP | 0.430 ± 0.020 | 0.410, 0.430, 0.450 | +0.010 ± 0.016 | 60 s | 0.02 M "
        "| 0.15 M |"
    )
    assert lines[-1] == "Command: `tellegen study splitting --out runs/splitting`; commit abc1234."


def test_the_terminal_table_fits() -> None:
    from rich.console import Console

    console = Console(width=80)
    with console.capture() as capture:
        for table in TABLE.tables():
            console.print(table)
    text = capture.get()
    assert "-0.090 ± 0.016" in text
    assert "3 × 2" in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_the_picture_is_a_png_even_of_a_part(tmp_path: Path) -> None:
    for k, n_rows in enumerate((6, 1)):
        plot_splitting(Splitting(rows=TABLE.rows[:n_rows], command=""), tmp_path / f"{k}.png", title="cuts")
        assert (tmp_path / f"{k}.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_prints_what_it_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def found(out: Path, **options: Any) -> Splitting:
        asked.update(options, out=out)
        return TABLE

    monkeypatch.setattr(study_module, "splitting_study", found)
    result = CliRunner().invoke(
        main, ["study", "splitting", "--out", str(tmp_path / "s"), "--only", "*-bs2-*", "--seeds", "2", "--json", "-"]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads(json.dumps(TABLE.to_json()))
    assert "NOT within two standard errors" in result.stderr
    assert (asked["n_seeds"], asked["only"], asked["networks"]) == (2, ("*-bs2-*",), NETWORKS)
    CliRunner().invoke(main, ["study", "splitting", "--out", str(tmp_path / "s"), "--full"])
    assert [network.name for network in asked["networks"]] == ["hopfield-l6", "hopfield-l12", "resistive-l6"]


def test_the_names_of_all_variants() -> None:
    names = [variant.name for variant in list_variants(NETWORKS)]
    assert len(names) == 3 * 2 + 3 * 3
    assert names[-1] == "resistive-l6-bs2-ep-ngspice"


# --------------------------------------------------------------------- the scripts of benchmarks/ must be able to fail


@pytest.mark.parametrize(
    ("accuracies", "misses"),
    [
        ((0.40, 0.42), []),
        ((0.24, 0.24), ["ID: test accuracy 0.2400, at least 0.25 asked", "EP: test accuracy 0.2400"]),
        ((0.40, 0.339), ["EP: -0.0610 from ID, at most 0.06 asked"]),
    ],
)
def test_the_short_benchmark_ends_with_one_at_a_missed_limit(
    monkeypatch: pytest.MonkeyPatch, accuracies: tuple[float, float], misses: list[str]
) -> None:
    script = load_benchmark("splitting")
    rows = [row(HOPFIELD_L6, 6, method, a) for method, a in zip((Method.ID, Method.EP), accuracies, strict=True)]
    monkeypatch.setattr(script, "splitting_study", lambda *_a, **_o: Splitting(rows=tuple(rows), command=""))
    if not misses:
        script.main()
    else:
        expect_exit(script.main, misses[0])
        assert "\n".join(script.find_misses(Splitting(rows=tuple(rows), command=""))).count("asked") == len(misses)


def test_the_long_benchmark_ends_with_one_at_a_missed_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    script = load_benchmark("long/splitting_study")
    monkeypatch.setattr(script.sys, "argv", ["splitting_study.py"])
    monkeypatch.setattr(script, "splitting_study", lambda *_a, **_o: TABLE)
    expect_exit(script.main, "Hopfield, L = 6, 3 blocks of 2, EP: -0.0900 from ID, more than two standard errors of")
    good = Splitting(rows=TABLE.rows[:2], command="")
    assert script.find_misses(good, 2) == []
    assert good.trained_s == 6 * 60.0
    slow = replace(good, rows=tuple(replace(s, row=replace(s.row, wall_s=(1201.0,) * 3)) for s in good.rows))
    assert script.find_misses(slow, 2) == ["60 minutes on 2 cores, at most 60 asked"]
    poor = Splitting(rows=(row(HOPFIELD_L6, 6, Method.ID, 0.29, 0.40, 0.40),), command="")
    assert script.find_misses(poor, 2) == [
        "Hopfield, L = 6, 1 block of 6, ID: test accuracy 0.2900, at least 0.3 asked"
    ]
