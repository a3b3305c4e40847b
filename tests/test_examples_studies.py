"""The shipped studies: every file is a sweep, its command is the one it names, and their README has them all."""

import re
from pathlib import Path

import pytest

from cosim.sweeps.plan import make_plan
from cosim.sweeps.sweep_file import load_sweep

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "studies"
STUDIES = sorted(FOLDER.glob("*.toml"))

if not STUDIES:
    pytest.skip("no examples beside an installed wheel", allow_module_level=True)


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.stem)
def test_a_study_is_a_sweep_and_names_its_command(study: Path, tmp_path: Path) -> None:
    plan = make_plan(load_sweep(study), out=tmp_path / "out", source=study)
    assert len(plan.points) >= 12
    assert {point.seed for point in plan.points} == {0, 1, 2}, "accuracies are means of three seeds"
    text = study.read_text(encoding="utf-8")
    assert f"#   tellegen sweep examples/studies/{study.name} " in text
    checked = [point for point in plan.points if point.check_in_ngspice]
    assert len(checked) >= len(plan.jobs) / 20, "one point in twenty is checked in ngspice"


def test_their_readme_has_each_with_its_time() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+\.toml)` \|.*\| (\d+) min \|", text, re.MULTILINE)
    assert sorted(name for name, _ in rows) == [study.name for study in STUDIES]
    assert int(rows[0][1]) <= 10
    assert all(int(minutes) <= 30 for _, minutes in rows)
