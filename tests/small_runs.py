"""Configurations that train in a second or less, and what a finished run came to."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from cosim.files import write_atomically
from cosim.training import loop
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


TINY = """
[data]
train_size = 60
test_size = 20

[[network.stages]]
kind = "flatten"

[[network.stages]]
kind = "module"
module = "torch.nn.Dropout"

[[network.stages]]
kind = "linear"
size = 3

[[network.stages]]
kind = "analog"

[[network.stages.layers]]
size = 3
leak = 0.5

[[network.stages]]
kind = "linear"
size = 10

[training]
epochs = 2
batch_size = 30
"""  # a linear circuit: one step of Newton's, so that a run takes a tenth of a second

WHOLE = ("config.json", "checkpoint.safetensors", "previous.safetensors", "best.safetensors")


def tiny_config(folder: Path, *overrides: str) -> Config:
    return load_config(write_small(folder, TINY), overrides)


def read_outcome(run: Path) -> dict[str, Any]:
    """Return all that a run must come to, to the bit; only times may differ."""
    progress, result = (json.loads((run / f"{name}.json").read_text()) for name in ("progress", "result"))
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return {
        **{name: (run / name).read_bytes() for name in WHOLE if (run / name).exists()},
        "metrics": [{**json.loads(line), "wall_s": 0.0} for line in lines],
        "progress": {**progress, "wall_s": 0.0},
        "result": {**result, "wall_s": 0.0},
    }


def list_differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Name what differs between two outcomes: bytes would drown the message of a failed test."""
    return [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]


def stub_pictures(patch: Callable[[object, str, object], None] = setattr) -> None:
    """Write one byte in place of each picture: drawing takes a second."""

    def write(*arguments: object, **_options: object) -> None:
        write_atomically(next(a for a in arguments if isinstance(a, Path)), b"!")

    patch(loop, "plot_training", write)
    patch(loop, "plot_blocks", write)


# For `Command`: batches that take a while, each begun with a sign that it is.
SLOW = """
import pathlib, time
from cosim.training import loop
quick = loop.train_batch
def slow(*arguments):
    pathlib.Path({begun!r}).touch()
    time.sleep({seconds})
    quick(*arguments)
loop.train_batch = slow
"""


def set_options(*pairs: str) -> list[str]:
    return [word for pair in pairs for word in ("--set", pair)]


class Command:
    """`tellegen train` in a process of its own.

    Args:
        arguments: of the command.
        before: Python that is run first.
    """

    def __init__(self, *arguments: str | Path, before: str = "") -> None:
        code = f"{before}\nfrom cosim.cli import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "train", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, path: Path) -> None:
        """Wait until it has written a file."""
        deadline = time.monotonic() + 60
        while not path.exists():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def end(self, number: int) -> tuple[int, str, str]:
        """Send a signal and return exit status, standard output and standard error."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


class Killed(Exception):
    """A crash of a training run."""


def end_at(patch: pytest.MonkeyPatch, batch: int, *, how: str) -> None:
    """End training at a batch, counted over all epochs from 1: by Ctrl-C within it, or by a crash before it."""
    original, calls = loop.train_batch, []

    def counted(*arguments: Any) -> None:
        calls.append(0)
        if len(calls) == batch and how == "crash":
            raise Killed
        original(*arguments)
        if len(calls) == batch:
            os.kill(os.getpid(), signal.SIGINT)

    patch.setattr(loop, "train_batch", counted)


def check_network_learns(network: nn.Module, x: Tensor, y: Tensor, *, learning_rate: float, steps: int) -> None:
    """Train on one batch: every parameter must get a gradient, and the loss must fall by a fifth."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(x), y)
        loss.backward()
        assert all(p.grad is not None and bool(p.grad.any()) for p in network.parameters())
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
