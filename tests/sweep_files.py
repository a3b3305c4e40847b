"""Sweeps of small networks: a run that takes a second, sweep files around it, calls that go wrong on purpose."""

from __future__ import annotations

import os
import signal
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from small_runs import SMALL, quiet, stub_pictures, write_small

from cosim.sweeps.point import Outcome, Point
from cosim.sweeps.sweep import SweepReport, sweep
from cosim.training.config_file import load_config
from cosim.training.run import train

OVERRIDES = ("training.epochs=2", "data.train_size=100", "data.test_size=100")

GRID = """
do = "evaluate"
probe_images = 16
[base]
run = "run"
[axes]
"phases.beta" = [0.005, 0.5]
bits = { keys = ["converters.input.bits", "converters.output.bits"], values = [2, "ideal"] }
"""


def make_run(folder: Path) -> Path:
    """Train the small network into FOLDER/run, without its pictures."""
    with pytest.MonkeyPatch.context() as patch:
        stub_pictures(patch.setattr)
        train(load_config(write_small(folder, SMALL), OVERRIDES), folder / "run", console=quiet())
    return folder / "run"


def write_sweep(folder: Path, text: str, name: str = "sweep.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def one_thread_each() -> Executor:
    return ThreadPoolExecutor(2)


def here(file: Path, out: Path, **options: Any) -> SweepReport:
    """Sweep in threads of this process."""
    return sweep(file, out, executor_factory=one_thread_each, **options)


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in {"wall_s", "cpu_s"}} for row in rows]


def evaluate_or_die(point: Point, out: Path) -> Outcome:
    """Stand in for `run_point`: the points with beta = 0.5 and ideal bits end their process."""
    if point.config.phases.beta == 0.5 and point.config.converters.input.bits is None:
        os.kill(os.getpid(), signal.SIGKILL)
    return Outcome(key=point.key, measured={"accuracy": 0.5, "loss": 1.0}, error=None, wall_s=0.0, cpu_s=0.0)
