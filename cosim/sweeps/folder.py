"""The sweep's folder: what is in it, who may write to it, and what --force may remove.

```
DIR/results.sqlite             the store, one record a point
DIR/results.parquet, .csv      one row a point
DIR/summary.md, *.png          what came of it
DIR/base/seed-<k>              runs of a base that was trained first
DIR/points/<key>               runs of points that are trained
DIR/sweep.lock                 taken while a process sweeps here
```
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from filelock import FileLock, Timeout

from ..files import explained, make_folder
from ..training.run_folder import RUN_FILES
from .base import BASE_FOLDER
from .errors import StoreError

POINTS_FOLDER: Final = "points"
STORE: Final = "results.sqlite"
LOCK: Final = "sweep.lock"
PICTURES: Final = (
    "accuracy.png",
    "gradient_cosine.png",
    "training.png",
    "heat_map_accuracy.png",
    "heat_map_gradient_cosine.png",
    "tornado.png",
)
OUTPUTS: Final = ("results.parquet", "results.csv", "summary.md", *PICTURES)
_OWN: Final = frozenset({STORE, f"{STORE}-journal", LOCK, *OUTPUTS})
_RUNS: Final = {BASE_FOLDER: re.compile(r"seed-\d+"), POINTS_FOLDER: re.compile(r"[0-9a-f]{16}")}


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SweepFolder:
    """A sweep's folder and the names in it."""

    path: Path

    @property
    def store(self) -> Path:
        """The store."""
        return self.path / STORE

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, and keep other processes from sweeping in it at the same time.

        Raises:
            StoreError: if another one does.
            RunError: if it cannot be written to.
        """
        make_folder(self.path)
        lock = FileLock(self.path / LOCK)
        with explained(self.path / LOCK):
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise StoreError(
                    f"{self.path}: another process is sweeping here; wait for it, stop it, or choose another --out"
                ) from None
        try:
            yield
        finally:
            lock.release()

    def check_place(self, *, force: bool) -> None:
        """Refuse a place that holds anything else than a sweep, or is a link or a file; nothing is changed.

        Raises:
            StoreError: if so.
        """
        if self.path.is_symlink() or (self.path.exists() and not self.path.is_dir()):
            raise StoreError(f"{self.path}: is no folder; choose another --out")
        if not self.path.exists():
            return
        names = sorted(entry.name for entry in self.path.iterdir())
        outputs = [name for name in names if name in OUTPUTS or name in _RUNS]
        if outputs and (STORE not in names or self.store.stat().st_size == 0) and not force:
            raise StoreError(
                f"{self.path}: holds {', '.join(outputs[:3])}, but its store {STORE} is missing or empty, so no "
                "sweep can go on here; restore it from a copy, choose another --out, or start anew with --force"
            )
        foreign = self.list_foreign()
        if foreign and (force or STORE not in names):
            more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
            kept = "so --force does not replace it; move them away, or" if force else "so"
            raise StoreError(
                f"{self.path}: holds what no sweep writes ({', '.join(foreign[:3])}{more}), {kept} choose another --out"
            )

    def list_foreign(self) -> list[str]:
        """Return what is in the folder and was not written by a sweep."""
        foreign = []
        for entry in sorted(self.path.iterdir()):
            if entry.name in _RUNS and entry.is_dir() and not entry.is_symlink():
                foreign += [
                    f"{entry.name}/{run.name}" for run in entry.iterdir() if not _is_run(run, _RUNS[entry.name])
                ]
            elif not (_is_own(entry.name, _OWN) and entry.is_file() and not entry.is_symlink()):
                foreign.append(entry.name)
        return foreign

    def clear(self) -> None:
        """Remove a sweep that is to be replaced; call it while the folder is locked, after `check_place`."""
        with explained(self.path):
            for name in _RUNS:
                if (self.path / name).is_dir():
                    shutil.rmtree(self.path / name)
            for entry in self.path.iterdir():
                if entry.name != LOCK:
                    entry.unlink()


def _is_own(name: str, names: frozenset[str]) -> bool:
    """Whether a file is one of ours, or what is left of writing it: .name.<random>.part."""
    return name in names or bool(re.fullmatch(r"\.(.+)\.[0-9a-f]{16}\.part", name) and name[1:-22] in names)


def _is_run(folder: Path, pattern: re.Pattern[str]) -> bool:
    if not pattern.fullmatch(folder.name) or folder.is_symlink() or not folder.is_dir():
        return False
    return all(_is_own(entry.name, RUN_FILES) and entry.is_file() for entry in folder.iterdir())
