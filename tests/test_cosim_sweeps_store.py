"""The store survives whatever ends a sweep, and nothing of it is overwritten."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sweep_files import GRID, here, make_run, without_times, write_sweep

from cosim.sweeps import sweep as sweep_module
from cosim.sweeps.errors import StoreError
from cosim.sweeps.folder import SweepFolder
from cosim.sweeps.point import Outcome
from cosim.sweeps.store import open_store

PLAN = {"sweep": {"seeds": 1, "axes": {"a": [1, 2]}}, "base": {"fingerprint": "x"}}
KEYS = ("k0", "k1")


def outcome(key: str, accuracy: float = 0.5, error: str | None = None) -> Outcome:
    measured = {} if error else {"accuracy": accuracy, "curve": (0.1, 0.2), "epochs_to_90": None}
    return Outcome(key=key, measured=measured, error=error, wall_s=1.5, cpu_s=0.25)


def test_what_is_recorded_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with open_store(path, PLAN, KEYS) as store:
        store.record(outcome("k0", 1 / 3))
        store.record(outcome("k1", error="no equilibrium"))
    with open_store(path, PLAN, KEYS) as store:
        assert store.outcomes == {"k0": outcome("k0", 1 / 3), "k1": outcome("k1", error="no equilibrium")}


def test_a_measured_point_is_recorded_once_and_a_failed_one_may_be_tried_again(tmp_path: Path) -> None:
    with open_store(tmp_path / "results.sqlite", PLAN, KEYS) as store:
        store.record(outcome("k0", error="no equilibrium"))
        store.record(outcome("k0", 0.75))
        with pytest.raises(StoreError, match="k0 is recorded already"):
            store.record(outcome("k0", 0.25))
        assert store.outcomes["k0"].measured["accuracy"] == 0.75


def test_another_sweep_is_refused_with_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    with open_store(path, PLAN, KEYS) as store:
        store.record(outcome("k0"))
    before = path.read_bytes()
    other = {"sweep": {"seeds": 3, "axes": {"a": [1, 5]}}, "base": {"fingerprint": "x"}}
    with pytest.raises(StoreError, match=r"seeds is 1 there and 3 now; axes\.a is \[1, 2\] there and \[1, 5\] now"):
        open_store(path, other, KEYS)
    assert path.read_bytes() == before


def damage_header(path: Path) -> None:
    path.write_bytes(b"no database" + path.read_bytes()[11:])


def damage_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    start = content.rindex(b'"measured"')
    content[start : start + 20] = bytes(20)
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edit(path: Path) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE outcomes SET value = replace(value, '0.5', '0.9')")
    connection.close()


def add_point(path: Path) -> None:
    with open_store(path, PLAN, (*KEYS, "k7")) as store:
        store.record(outcome("k7"))


def other_database(path: Path) -> None:
    path.unlink()
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE notes (text TEXT)")
    connection.close()


@pytest.mark.parametrize("damage", [damage_header, damage_middle, truncate, edit, add_point, other_database])
def test_a_damaged_store_is_refused_and_left_as_it_is(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "results.sqlite"
    with open_store(path, PLAN, KEYS) as store:
        store.record(outcome("k0"))
        store.record(outcome("k1"))
    damage(path)  # type: ignore[operator]
    before = path.read_bytes()
    with pytest.raises(StoreError, match="is damaged"):
        open_store(path, PLAN, KEYS)
    assert path.read_bytes() == before


def test_an_empty_store_beside_results_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results.sqlite").touch()
    SweepFolder(path=tmp_path).check_place(force=False)
    (tmp_path / "results.csv").touch()
    with pytest.raises(StoreError, match="missing or empty"):
        SweepFolder(path=tmp_path).check_place(force=False)


def test_force_replaces_a_sweep_and_nothing_else(tmp_path: Path) -> None:
    folder = SweepFolder(path=tmp_path / "out")
    with folder.locked(), open_store(folder.store, PLAN, KEYS):
        pass
    run = folder.path / "base" / "seed-0"
    run.mkdir(parents=True)
    (run / "config.json").touch()
    folder.check_place(force=True)
    (run / "thesis.tex").touch()
    with pytest.raises(StoreError, match=r"no sweep writes \(base/seed-0\)"):
        folder.check_place(force=True)
    (run / "thesis.tex").unlink()
    (folder.path / "notes.txt").touch()
    with pytest.raises(StoreError, match=r"no sweep writes \(notes\.txt\)"):
        folder.check_place(force=True)
    folder.check_place(force=False)  # notes beside a sweep are the user's business
    (folder.path / "notes.txt").unlink()
    with folder.locked():
        folder.clear()
    assert [entry.name for entry in folder.path.iterdir()] == ["sweep.lock"]


def test_two_processes_do_not_sweep_in_one_folder(tmp_path: Path) -> None:
    folder = SweepFolder(path=tmp_path)
    with folder.locked(), pytest.raises(StoreError, match="another process is sweeping here"):
        SweepFolder(path=tmp_path).locked().__enter__()


# Points take a moment, so that there is a time to kill the sweep in.
SLOW = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from cosim.sweeps import sweep as module
quick = module.run_point
def slow(point, out):
    with open(sys.argv[3], "a") as log:
        log.write(point.key + "\\n")
    time.sleep(0.15)
    return quick(point, out)
module.run_point = slow
module.sweep(Path(sys.argv[1]), Path(sys.argv[2]), executor_factory=lambda: ThreadPoolExecutor(1), in_flight=1)
"""


def count_recorded(path: Path) -> int:
    try:
        connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
        try:
            return int(connection.execute("SELECT count(*) FROM outcomes").fetchone()[0])
        finally:
            connection.close()
    except sqlite3.OperationalError:
        return 0


def test_a_killed_sweep_goes_on_and_computes_each_recorded_point_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path)
    text = GRID.replace("[0.005, 0.5]", "[0.005, 0.01, 0.02, 0.05, 0.1]")
    file, out, log = write_sweep(tmp_path, text), tmp_path / "out", tmp_path / "log"
    killed = 0
    for wanted in (2, 5):
        process = subprocess.Popen([sys.executable, "-c", SLOW, str(file), str(out), str(log)], stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while count_recorded(out / "results.sqlite") < wanted:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        killed = count_recorded(out / "results.sqlite")
        assert killed >= wanted
    report = here(file, out)
    assert report.n_computed == 10 - killed
    assert report.passed
    begun = log.read_text().split()
    assert len(set(begun)) <= len(begun) <= len(set(begun)) + 2, (
        "only what was under way when it was killed is begun again"
    )
    whole = here(file, tmp_path / "whole")
    assert without_times(report.results.rows()) == without_times(whole.results.rows())
    again = here(file, out)
    assert again.n_computed == 0
    assert again.results.rows() == report.results.rows()
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(StoreError, match=r"probe_images is 16 there and 17 now"):
        here(write_sweep(tmp_path, text.replace("= 16", "= 17")), out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert here(write_sweep(tmp_path, text.replace("= 16", "= 17")), out, force=True).n_computed == 10


def test_a_failed_point_is_kept_with_its_error_and_retried_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path)
    file, out = write_sweep(tmp_path, GRID), tmp_path / "out"
    quick = sweep_module.run_point

    def fail_one(point: object, out: Path) -> Outcome:
        found = quick(point, out)  # type: ignore[arg-type]
        is_it = point.position == 2  # type: ignore[attr-defined]
        return outcome(found.key, error="block 'first': no equilibrium") if is_it else found

    monkeypatch.setattr(sweep_module, "run_point", fail_one)
    report = here(file, out)
    assert not report.passed
    assert [row["status"] for row in report.results.rows()] == ["ok", "ok", "failed", "ok"]
    assert "block 'first': no equilibrium" in (out / "summary.md").read_text()
    assert "block 'first': no equilibrium" in (out / "results.csv").read_text()
    monkeypatch.setattr(sweep_module, "run_point", quick)
    assert here(file, out).n_computed == 0
    again = here(file, out, retry=True)
    assert again.n_computed == 1
    assert again.passed
    assert json.dumps(again.to_json())
