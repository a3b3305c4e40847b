from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from rich.console import Console

from cosim.studies.comparison import Comparison, Row
from cosim.studies.comparison_plot import plot_comparison


def row(name: str, *accuracies: float, wall_s: float = 60.0) -> Row:
    n = len(accuracies)
    return Row(
        name=name,
        title=f"the {name}",
        accuracies=accuracies,
        wall_s=(wall_s,) * n,
        relaxations=(1000,) * n,
        iterations=(4000,) * n,
        commits=("abc1234",),
    )


EXACT, CLOSE, FAR = row("exact", 0.50, 0.52, 0.54), row("close", 0.53, 0.51, 0.55), row("far", 0.40, 0.41, 0.42)


def compare(*rows: Row) -> Comparison:
    return Comparison(rows=rows, reference="exact", command="tellegen study cifar10 --out runs/study")


def test_mean_and_spread_over_seeds() -> None:
    assert EXACT.mean == pytest.approx(0.52)
    assert EXACT.std == pytest.approx(0.02)  # (-0.02, 0, 0.02): sqrt(2 * 0.02^2 / (3 - 1))
    assert math.isnan(row("one", 0.5).std)


def test_a_difference_has_the_standard_error_of_both() -> None:
    difference = FAR.minus(EXACT)
    assert difference.value == pytest.approx(-0.11)
    assert difference.standard_error == pytest.approx(math.sqrt(0.01**2 / 3 + 0.02**2 / 3))


@pytest.mark.parametrize(("value", "is_within"), [(0.0199, True), (-0.0199, True), (0.0201, False), (-0.0201, False)])
def test_two_standard_errors_are_the_limit(value: float, is_within: bool) -> None:
    # Without a spread of its own the row adds nothing to the reference's standard error, 0.01.
    reference = row("exact", 0.5 - 0.01 * math.sqrt(3), 0.5, 0.5 + 0.01 * math.sqrt(3))
    assert row("other", *[0.5 + value] * 3).minus(reference).is_within is is_within


def test_the_reference_is_compared_with_nothing() -> None:
    comparison = compare(EXACT, CLOSE, FAR)
    assert comparison.difference(EXACT) is None
    assert compare(CLOSE).difference(CLOSE) is None
    assert comparison.verdicts() == [
        "the close: +0.0100 from the exact gradient, within two standard errors of 0.0163",
        "the far: -0.1100 from the exact gradient, NOT within two standard errors of 0.0129",
    ]


def test_one_seed_gives_no_verdict() -> None:
    comparison = compare(row("exact", 0.5), row("other", 0.6))
    assert comparison.verdicts() == []
    assert comparison.to_json()["rows"][1]["within_two_standard_errors"] is None


def test_the_json_keeps_its_fields() -> None:
    saved = compare(EXACT, FAR).to_json()
    assert saved["command"] == "tellegen study cifar10 --out runs/study"
    exact, far = saved["rows"]
    assert exact["minus_reference"] is None
    assert far["minus_reference"] == pytest.approx(-0.11)
    assert far["within_two_standard_errors"] is False
    assert far["test_accuracy"] == [0.40, 0.41, 0.42]
    assert far["wall_s"] == [60.0] * 3
    assert far["relaxations"] == [1000] * 3
    assert far["iterations"] == [4000] * 3
    assert far["commits"] == ["abc1234"]
    json.dumps(saved)


def test_the_markdown_holds_numbers_command_and_commit() -> None:
    lines = compare(EXACT, FAR).markdown().splitlines()
    assert lines[2] == "| the exact | 0.520 ± 0.020 | 0.500, 0.520, 0.540 |  | 60 s | 1,000 |"
    assert lines[3] == "| the far | 0.410 ± 0.010 | 0.400, 0.410, 0.420 | -0.110 ± 0.013 | 60 s | 1,000 |"
    assert lines[-1] == "Command: `tellegen study cifar10 --out runs/study`; commit abc1234."


def test_the_table_fits_a_terminal() -> None:
    console = Console(width=80, record=True, quiet=True)
    console.quiet = False
    with console.capture() as capture:
        console.print(compare(EXACT, row("ngspice, 8-bit converters", 0.5, 0.51, 0.52)).table())
    text = capture.get()
    assert "0.520 ± 0.020" in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_the_picture_is_a_png(tmp_path: Path) -> None:
    plot_comparison(compare(EXACT, CLOSE, row("one", 0.5)), tmp_path / "accuracy.png", title="three")
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")
