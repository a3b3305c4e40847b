from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from small_runs import write_small

from cosim import cli
from cosim.errors import ConfigError
from cosim.studies import example
from cosim.studies.demo import CONFIG


@pytest.mark.ngspice
def test_the_demonstration_says_in_one_line_each_what_it_found_and_where(tmp_path: Path) -> None:
    run, config = tmp_path / "run", write_small(tmp_path)
    few = ["--set", "training.epochs=1", "--set", "data.test_size=1700"]
    arguments = ["demo", "--config", str(config), "--out", str(run), *few, "--json", str(tmp_path / "demo.json")]
    result = CliRunner().invoke(cli.main, arguments)
    assert result.exit_code == 0, result.output
    findings = result.stdout.splitlines()[-4:]
    assert [line.split()[0] for line in findings] == ["trained", "evaluated", "gradients", "plots"]
    for line in findings:
        assert Path(line.rsplit(" ", 1)[1]).is_file()
    report = json.loads((tmp_path / "demo.json").read_text())
    assert report["pass"] is True
    assert report["result"]["simulator"] == "newton"
    assert report["evaluation"]["simulator"] == "ngspice"
    assert report["evaluation"]["test_accuracy"] == report["result"]["test_accuracy"]


def test_a_missing_example_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert example.find_example(CONFIG).is_file()
    monkeypatch.setattr(example, "__file__", str(tmp_path / "a" / "b" / "c.py"))
    with pytest.raises(ConfigError, match=r"digits\.toml: not found here; run from the source tree"):
        example.find_example(CONFIG)
