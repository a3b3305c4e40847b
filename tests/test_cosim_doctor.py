from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from circuits.diode import K_OVER_Q_V_PER_K
from cosim import cli, doctor
from cosim.doctor import diagnose
from cosim.errors import SimulatorNotFound
from cosim.simulators.ngspice import library, thermal


@pytest.mark.ngspice
def test_a_machine_that_is_set_up_is_ok(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.main, ["doctor", "--json", str(tmp_path / "doctor.json")])
    saved = json.loads((tmp_path / "doctor.json").read_text())
    assert (saved["ok"], saved["problems"]) == (True, [])
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "ok"
    assert saved["self_test"]["largest_difference_v"] <= 1e-8
    # 1 V rail, 43 uA through 1e-14 A of saturation current: 1 + 0.02586 ln(4.3e9)
    assert saved["self_test"]["clamp_v"]["newton"] == pytest.approx(1.5735, abs=1e-4)
    assert saved["ngspice"]["k_over_q_v_per_k"] == pytest.approx(K_OVER_Q_V_PER_K, rel=1e-5)
    assert saved["ngspice"]["version"] >= 39
    for name in ("python", "tellegen", "torch", "numpy", "PySpice", "numba"):
        assert saved["versions"][name]


def test_a_machine_without_libngspice_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> str:
        raise SimulatorNotFound("libngspice is not installed on this machine")

    monkeypatch.setattr(library, "find_ngspice_library", missing)
    monkeypatch.delenv("NGSPICE_LIBRARY_PATH", raising=False)
    monkeypatch.setattr(doctor.sys, "platform", "linux")
    found = diagnose()
    assert not found.ok
    assert found.ngspice_library is None
    assert found.largest_difference_v is None
    assert list(found.clamp_v) == ["newton"]
    (problem,) = [p for p in found.problems if "libngspice" in p.what]
    assert problem.fix == "sudo apt-get install -y libngspice0"
    assert "fix: sudo apt-get install -y libngspice0" in found.table()


def test_a_wrong_library_path_is_told_to_be_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NGSPICE_LIBRARY_PATH", "/no/such/libngspice.so")
    (problem,) = [p for p in diagnose().problems if "libngspice" in p.what]
    assert "/no/such/libngspice.so" in problem.what
    assert problem.fix.startswith("unset NGSPICE_LIBRARY_PATH")


def test_a_missing_program_and_package_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda _name: None)
    monkeypatch.setattr(doctor, "collect_versions", lambda: {"python": "3.11.2", "numba": None})
    found = {problem.what: problem.fix for problem in diagnose().problems}
    assert found["Python package numba is not installed"] == "make setup"
    assert found["the ngspice program is not on PATH"].endswith("install -y ngspice") or "brew" in str(found)


def test_simulators_that_disagree_fail_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_examine_library", lambda _problems: ("libngspice.so.0", 39, K_OVER_Q_V_PER_K))
    monkeypatch.setattr(doctor, "_solve_in_ngspice", lambda _k_over_q: 1.5)
    found = diagnose()
    assert any("differ by 0.074 V on a diode clamp" in problem.what for problem in found.problems)
    assert found.to_json()["ok"] is False


def test_an_unphysical_constant_fails_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "find_ngspice_library", lambda: "libngspice.so.0")
    monkeypatch.setattr(library, "ngspice_library", lambda: SimpleNamespace(path="x", version=39))
    monkeypatch.setattr(thermal, "measure_k_over_q", lambda: 8.7e-5)
    monkeypatch.setattr(doctor, "_solve_in_ngspice", lambda _k_over_q: 1.5)
    assert any("no physical constant" in problem.what for problem in diagnose().problems)


def test_failing_doctor_ends_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NGSPICE_LIBRARY_PATH", "/no/such/libngspice.so")
    result = CliRunner().invoke(cli.main, ["doctor", "--json", "-"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["ok"] is False
    assert "problem: libngspice cannot be found" in result.stderr
