"""Calls for worker processes, in a module that imports nothing heavy."""

from __future__ import annotations

import os
import signal
from pathlib import Path

CULPRIT = 13


def square(x: int) -> int:
    return x * x


def square_or_die(x: int, *, culprit: int | None) -> int:
    if culprit in (None, x):
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x


def die_once(x: int, *, flag: Path) -> int:
    if x == CULPRIT and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x
