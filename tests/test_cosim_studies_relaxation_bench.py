"""The bench at toy size: six ways, one answer, the fields that were promised."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from rich.console import Console

from cosim.studies import relaxation_bench as bench
from cosim.studies.relaxation_bench import BenchReport, random_block, relaxation_bench

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
    (row,) = relaxation_bench(((4, 3, 2),)).rows
    assert row.max_abs_diff_v == pytest.approx(1e-6, rel=1e-2)


@pytest.mark.ngspice
def test_library_is_left_clean() -> None:
    from cosim.simulators.ngspice.library import ngspice_library
    from cosim.simulators.ngspice.simulator import NgspiceSimulator
    from netlists import lower

    circuit, conductance_s, drives = random_block((4, 3, 2), seed=1)
    session = NgspiceSimulator().prepare(lower(circuit.circuit)[0])
    before = session.solve(conductance_s, drives[:5]).voltage_v
    relaxation_bench(((4, 3, 2),))
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
