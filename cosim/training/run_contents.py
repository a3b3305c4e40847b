"""Read what a run folder holds, whatever is missing or damaged; the files that are damaged are named.

Takes: a run folder, perhaps in use. Gives: `RunContents`. It writes nothing, and raises only where there is no run.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from safetensors import SafetensorError, safe_open

from ..errors import ConfigError, RunError
from .checkpoint import Tally, check_checkpoint
from .checkpoints import Which
from .config import Config
from .run_folder import RUN_FILES, Metrics, RunFolder

LOCK: Final = "run.lock"  # nothing to look at

Shapes = Mapping[str, tuple[int, ...]]


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RunContents:
    """What a run folder holds.

    Args:
        config: None if it is damaged.
        metrics: the lines up to the first that cannot be read.
        result: of a finished run; None before its end.
        tallies: how far each checkpoint is that can be used.
        has_checkpoint: whether there is one at all.
        shapes: of the tensors of the first checkpoint that can be used; empty without one.
        wall_s: s — spent up to the last checkpoint or, finished, in all; None if no file tells.
        files: what is there, pictures first.
        damaged: a sentence for each file that is.
    """

    config: Config | None
    metrics: tuple[Metrics, ...]
    result: Mapping[str, Any] | None
    tallies: Mapping[Which, Tally]
    has_checkpoint: bool
    shapes: Shapes
    wall_s: float | None
    files: tuple[Path, ...]
    damaged: tuple[str, ...]

    @property
    def tally(self) -> Tally | None:
        """Of the checkpoint that `--resume` would go on from; None if there is none."""
        return self.tallies.get(Which.LAST) or self.tallies.get(Which.PREVIOUS)


def read_contents(run: Path) -> RunContents:
    """Read a run folder.

    Raises:
        RunError: if it is none.
    """
    folder, damaged = RunFolder(path=run), list[str]()
    config = _read_config(folder, damaged)
    metrics = _read_metrics(folder, damaged)
    result = _read_result(folder, damaged)
    tallies = _check_checkpoints(folder, damaged)
    tally = tallies.get(Which.LAST) or tallies.get(Which.PREVIOUS)
    names = {path.name for path in run.iterdir()} & (RUN_FILES - {LOCK})
    return RunContents(
        config=config,
        metrics=metrics,
        result=result,
        tallies=tallies,
        has_checkpoint=any(folder.checkpoints.path(which).exists() for which in Which),
        shapes=read_shapes(folder.checkpoints.path(next(iter(tallies)))) if tallies else {},
        wall_s=_wall_s(folder, result, metrics, tally),
        files=tuple(run / name for name in sorted(names, key=lambda name: (not name.endswith(".png"), name))),
        damaged=tuple(damaged),
    )


def read_shapes(checkpoint: Path) -> Shapes:
    """Return the shape of every tensor in a checkpoint, from its header alone; nothing if it cannot be read."""
    try:
        with safe_open(str(checkpoint), framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  no dict
    except (SafetensorError, OSError):
        return {}


def _read_config(folder: RunFolder, damaged: list[str]) -> Config | None:
    try:
        return folder.read_config()
    except (RunError, ConfigError) as error:
        if not folder.config.is_file():
            raise
        damaged.append(str(error))
        return None


def _read_metrics(folder: RunFolder, damaged: list[str]) -> tuple[Metrics, ...]:
    """Read the lines that hold numbers, and an epoch among them."""
    try:
        read: Sequence[Mapping[str, Any]] = folder.read_metrics(sys.maxsize)
        n_lines = len(folder.metrics.read_text(encoding="utf-8").splitlines()) if folder.metrics.is_file() else 0
    except (OSError, ValueError) as error:
        damaged.append(f"{folder.metrics}: cannot be read ({error})")
        return ()
    if len(read) < n_lines:
        damaged.append(f"{folder.metrics}: line {len(read) + 1} of {n_lines} cannot be read; those before it count")
    entries = (entry for entry in read if isinstance(entry["epoch"], int))
    return tuple({name: value for name, value in entry.items() if isinstance(value, int | float)} for entry in entries)


def _read_result(folder: RunFolder, damaged: list[str]) -> Mapping[str, Any] | None:
    try:
        result = json.loads(folder.result.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        damaged.append(f"{folder.result}: cannot be read ({error}); `tellegen eval` scores the run again")
        return None
    if isinstance(result, dict):
        return result
    damaged.append(f"{folder.result}: holds no result; `tellegen eval` scores the run again")
    return None


def _check_checkpoints(folder: RunFolder, damaged: list[str]) -> dict[Which, Tally]:
    tallies = {}
    for which in Which:
        if folder.checkpoints.path(which).exists():
            try:
                tallies[which] = check_checkpoint(folder.checkpoints.path(which))
            except RunError as error:
                damaged.append(str(error))
    return tallies


def _wall_s(
    folder: RunFolder, result: Mapping[str, Any] | None, metrics: tuple[Metrics, ...], tally: Tally | None
) -> float | None:
    found = None if result is None else result.get("wall_s")
    if isinstance(found, int | float):
        return float(found)
    if tally is not None:
        try:
            return folder.read_wall_s(tally.epoch, tally.batch)
        except (OSError, ValueError, KeyError):
            return None
    return metrics[-1].get("wall_s") if metrics else None
