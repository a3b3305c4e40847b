"""The bench at toy size: six ways, one answer, the fields that were promised."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console

from cosim.studies import relaxation_bench as bench
from cosim.studies.relaxation_bench import BenchReport, BenchRow, random_block, relaxation_bench

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"

FIELDS = {
    "block", "naive_ms", "op_folded_ms", "ngspice_ms", "ngspice_mirrored_ms", "newton_ms", "newton_mirrored_ms",
    "clamped", "max_abs_diff_v",
}  # fmt: skip


@pytest.fixture(scope="module")
def report() -> BenchReport:
    return relaxation_bench(((8, 6, 4), (6, 5)))


@pytest.mark.ngspice
def test_json_is_as_promised(report: BenchReport) -> None:
    content = json.loads(json.dumps(report.to_json()))
    assert set(content) == {"rows"}
    assert [row["block"] for row in content["rows"]] == ["8-6-4", "6-5"]
    for row in content["rows"]:
        assert set(row) == FIELDS
        assert all(row[name] > 0 for name in FIELDS if name.endswith("_ms"))
        assert row["max_abs_diff_v"] <= 1e-8
    assert 0.0 < content["rows"][0]["clamped"] < 0.9
    assert content["rows"][1]["clamped"] == 0.0  # the last layer has no clamp


@pytest.mark.ngspice
def test_streaming_beats_one_analysis_a_sample(report: BenchReport) -> None:
    for row in report.rows:
        assert row.ngspice_ms < row.naive_ms
        assert row.ngspice_ms < row.op_folded_ms


@pytest.mark.ngspice
def test_table_fits_a_terminal(report: BenchReport) -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(report.table())
    text = console.export_text()
    assert text.count("8-6-4") == 2
    assert "…" not in text


@pytest.mark.ngspice
def test_difference_between_the_ways_is_really_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    original = bench._time_folded_op

    def off_by_a_microvolt(*args):
        ms, voltage_v = original(*args)
        return ms, voltage_v + 1e-6

    monkeypatch.setattr(bench, "_time_folded_op", off_by_a_microvolt)
    row = bench.bench_block((4, 3, 2), seed=0)  # in this process, where the fault is
    assert row.max_abs_diff_v == pytest.approx(1e-6, rel=1e-2)


@pytest.mark.ngspice
def test_library_is_left_clean() -> None:
    from cosim.simulators.ngspice.library import ngspice_library
    from cosim.simulators.ngspice.simulator import NgspiceSimulator
    from netlists import lower

    circuit, conductance_s, drives = random_block((4, 3, 2), seed=1)
    session = NgspiceSimulator().prepare(lower(circuit.circuit)[0])
    before = session.solve(conductance_s, drives[:5]).voltage_v
    bench.bench_block((4, 3, 2), seed=0)
    np.testing.assert_array_equal(session.solve(conductance_s, drives[:5]).voltage_v, before)
    assert ngspice_library().lock.acquire(timeout=1)
    ngspice_library().lock.release()


def test_samples_and_weights_belong_to_the_seed() -> None:
    one, again, other = (random_block((8, 6, 4), seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one[1], again[1])
    np.testing.assert_array_equal(one[2], again[2])
    assert not np.array_equal(one[1], other[1])
    low, high = one[0].block.g_min_s, one[0].block.g_max_s
    weights = np.concatenate([c.plus.ravel() for c in one[0].crossbars])
    assert ((one[1][weights] >= low * (1 - 1e-12)) & (one[1][weights] <= high)).all()


def test_commands_stay_below_ngspices_limit() -> None:
    names, values = [f"vx{k}p" for k in range(300)], np.linspace(-1 / 3, 1 / 7, 300)
    commands = bench._alter_commands(names, values)
    assert max(len(command) for command in commands) < 1024
    said = [part for command in commands for part in command.split(";")]
    assert said == [f"alter {name} = {value!r}" for name, value in zip(names, values.tolist(), strict=True)]
    assert bench._alter_commands([], np.zeros(0)) == [""]


@pytest.mark.ngspice
def test_one_thread_inside_and_as_before_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, original = [], bench._time_folded_op

    def listening(*args):
        inside.append(torch.get_num_threads())
        return original(*args)

    monkeypatch.setattr(bench, "_time_folded_op", listening)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        bench.bench_block((4, 3, 2), seed=0)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert inside == [1]


# --------------------------------------------------------------------- the scripts of benchmarks/ must be able to fail


def load_benchmark(name: str) -> ModuleType:
    path = BENCHMARKS / f"{name}.py"
    if not path.is_file():
        pytest.skip("no benchmarks beside an installed wheel")
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def good_report(**changed: float) -> BenchReport:
    """All limits kept; `changed` holds for every block."""
    row = BenchRow(
        block="",
        naive_ms=3000.0,
        op_folded_ms=30.0,
        ngspice_ms=9.0,
        ngspice_mirrored_ms=3.0,
        newton_ms=1.0,
        newton_mirrored_ms=0.5,
        clamped=0.2,
        max_abs_diff_v=1e-8,
    )
    blocks = ["-".join(map(str, size)) for size in bench.DEFAULT_SIZES]
    return BenchReport(rows=tuple(replace(row, block=block, **changed) for block in blocks))


@pytest.mark.parametrize(
    ("changed", "misses"),
    [
        ({}, []),
        ({"naive_ms": 2600.0}, ["256-128-10: streamed ngspice against .op on the full deck is 288.9 times faster"]),
        ({"newton_ms": 1.2}, ["256-128-64: newton against streamed ngspice is 7.5 times faster, at least 8 asked"]),
        ({"ngspice_mirrored_ms": 3.2}, ["mirrored against streamed ngspice is 2.8 times faster"] * 4),
        ({"max_abs_diff_v": 1.1e-8}, ["the ways differ by 1.1e-08 V, at most 1e-08 V asked"] * 4),
        ({"max_abs_diff_v": float("nan")}, ["the ways differ by nan V"] * 4),
    ],
)
def test_relaxation_ends_with_one_and_names_a_missed_limit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changed: dict[str, float], misses: list[str]
) -> None:
    script = load_benchmark("relaxation")
    lines = script.find_misses(good_report(**changed))
    assert len(lines) == len(misses)
    assert all(miss in line for miss, line in zip(misses, lines, strict=True))
    monkeypatch.setattr(script, "relaxation_bench", lambda: good_report(**changed))
    if misses:
        expect_exit(script.main, misses[0])
    else:
        script.main()
        assert "every limit is kept" in capsys.readouterr().out


def test_a_block_that_was_not_measured_is_a_miss() -> None:
    script = load_benchmark("relaxation")
    assert script.find_misses(BenchReport(rows=good_report().rows[:2])) == [
        "256-128-10: not measured",
        "256-128-64: not measured",
    ]


def expect_exit(main, message: str, *arguments: object) -> None:
    """Expect what Python turns into the message on standard error and exit status 1."""
    with pytest.raises(SystemExit) as caught:
        main(*arguments)
    assert isinstance(caught.value.code, str)
    assert message in caught.value.code


@pytest.mark.parametrize(
    ("two_s", "volts", "message"),
    [(1 / 1.69, 0.0, "1.69 times faster, at least 1.7 asked"), (0.5, 1e-16, "the results differ in their bits")],
)
def test_two_cores_ends_with_one_at_a_missed_limit(
    monkeypatch: pytest.MonkeyPatch, two_s: float, volts: float, message: str
) -> None:
    script = load_benchmark("two_cores")
    monkeypatch.setattr(script.sys, "argv", ["two_cores.py"])
    measured = {1: (1.0, np.zeros(3)), 2: (0.5, np.zeros(3))}
    monkeypatch.setattr(script, "measure", lambda workers, _size: measured[workers])
    script.main()
    measured[2] = (two_s, np.full(3, volts))
    expect_exit(script.main, message)


def test_digits_seeds_ends_with_one_at_a_missed_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    script = load_benchmark("digits_seeds")
    result = SimpleNamespace(test_accuracy=0.97, wall_s=1.0, simulator="ngspice", epochs=1, relaxations=1)
    monkeypatch.setattr(script.sys, "argv", ["digits_seeds.py"])
    monkeypatch.setattr(script, "train", lambda *_arguments: result)
    script.main()
    result.test_accuracy = 0.969
    expect_exit(script.main, "mean test accuracy 0.9690, at least 0.97 asked")


def test_memory_flat_ends_with_one_at_a_missed_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    script = load_benchmark("memory_flat")
    after = {True: 150.0, False: 150.0}
    monkeypatch.setattr(script, "measure_growth", lambda _n, *, is_deck_kept: (100.0, after[is_deck_kept]))
    script.main(64)
    after[False] = 151.0
    expect_exit(script.main, "new deck every 64 samples: grew by 51.0 MB, at most 50 MB asked", 64)


def test_make_bench_runs_every_script_once_and_fails_if_one_does(tmp_path: Path) -> None:
    if not (BENCHMARKS.parent / "Makefile").is_file():
        pytest.skip("no Makefile beside an installed wheel")
    recipe = (BENCHMARKS.parent / "Makefile").read_text(encoding="utf-8").split("\nbench:")[1].split("\n\n")[0]
    (tmp_path / "Makefile").write_text(f"VENV := venv\nREADY :=\nbench:{recipe}\n", encoding="utf-8")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "bin" / "python").symlink_to(sys.executable)
    for name, status in (("a", 1), ("b", 0)):
        text = f"import pathlib, sys; pathlib.Path('ran').open('a').write('{name}'); sys.exit({status})"
        (tmp_path / "benchmarks" / f"{name}.py").write_text(text, encoding="utf-8")
    make = ["make", "-s", "bench"]
    assert subprocess.run(make, cwd=tmp_path, capture_output=True, check=False).returncode != 0
    assert (tmp_path / "ran").read_text() == "ab"
    (tmp_path / "benchmarks" / "a.py").write_text("", encoding="utf-8")
    assert subprocess.run(make, cwd=tmp_path, capture_output=True, check=False).returncode == 0
