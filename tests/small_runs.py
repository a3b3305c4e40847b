"""A configuration that trains in a second, and the folder of a finished run of it."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from cosim.training.config import Config
from cosim.training.config_file import load_config

SMALL = """
[data]
test_size = 1500

[[network.stages]]
kind = "flatten"

[[network.stages]]
kind = "linear"
size = 6

[[network.stages]]
kind = "batch_norm"

[[network.stages]]
kind = "analog"
name = "first"
drive = "current"

[[network.stages.layers]]
size = 6
clamp = [-0.3, 0.3]

[[network.stages.layers]]
size = 5
leak = 0.5
bias = true

[[network.stages]]
kind = "linear"
size = 10

[training]
epochs = 3
batch_size = 25
learning_rate = 5e-2
"""


def write_small(folder: Path, text: str = SMALL) -> Path:
    path = folder / "small.toml"
    path.write_text(text, encoding="utf-8")
    return path


def small_config(folder: Path, *overrides: str) -> Config:
    return load_config(write_small(folder), overrides)


def quiet() -> Console:
    return Console(file=io.StringIO())
