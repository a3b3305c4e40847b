"""Disturb a small run at each thing that it does to the disk, go on with it, and compare every byte.

A process of its own, which imports everything once and forks a child for each disturbance (pytest's process may have
threads, and must not be forked): `python killed_runs.py kill FOLDER` kills it, `... fill FOLDER` has the disk full
from then on. Prints a line of JSON for each disturbance after which something is lost, then the names of all calls.
"""

from __future__ import annotations

import dataclasses
import errno
import gc
import io
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Self

from small_runs import list_differences, quiet, read_outcome, stub_pictures, tiny_config

from cosim.errors import RunError
from cosim.training import run as run_module
from cosim.training import setup as set_up_module
from cosim.training.checkpoints import Which
from cosim.training.config import Config
from cosim.training.run import train

OVERRIDES = {
    "kill": ("training.checkpoint_every_s=1e-9",),
    "fill": ("training.checkpoint_every_s=1e-9", "training.epochs=1", "training.batch_size=60"),
}
REFUSED = 3  # exit status of a child that ended with a RunError about the full disk


@dataclasses.dataclass
class Disk:
    """Stands between this process and a folder.

    Args:
        folder: calls about other places are not counted.
        kind: what happens at the chosen call, in its place: "kill", or "fill" for a disk that is full from then on.
        victim: the call's number, from 0; None for no disturbance.
        is_half: whether half of what was to be written is, before.
    """

    folder: Path
    kind: str = "kill"
    victim: int | None = None
    is_half: bool = False
    names: list[str] = dataclasses.field(default_factory=list)

    def meet(self, name: str, call: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        """Do a call, unless this is where it ends."""
        number = len(self.names)
        self.names.append(name)
        if number == self.victim and self.is_half and half is not None:
            half()
        if number == self.victim and self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        takes_space = name.split(maxsplit=1)[0] not in {"unlink", "truncate", "replace"}
        if self.victim is not None and number >= self.victim and self.kind == "fill" and takes_space:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return call()

    def install(self) -> None:
        """Stand in for what writes, moves and removes files; for good, since this process ends soon."""
        real_open = io.open

        def met_open(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
            if "r" in mode or not self._is_here(file):
                return real_open(file, mode, *rest, **options)
            name = _without_random(file)
            return _MetFile(self.meet(f"open {name}", lambda: real_open(file, mode, *rest, **options)), self, name)

        io.open = met_open  # what Path.open calls
        os.fsync = lambda _descriptor: self.meet("fsync", lambda: None)
        for name in ("replace", "unlink", "mkdir", "truncate"):
            setattr(os, name, self._met(name, getattr(os, name)))

    def _met(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *rest: Any, **options: Any) -> Any:
            if not self._is_here(path):
                return real(path, *rest, **options)
            return self.meet(f"{name} {_without_random(path)}", lambda: real(path, *rest, **options))

        return call

    def _is_here(self, path: Any) -> bool:
        return not isinstance(path, int) and Path(path).is_relative_to(self.folder)


class _MetFile:
    """A file opened to write."""

    def __init__(self, file: Any, disk: Disk, name: str) -> None:
        self._file, self._disk, self._name = file, disk, name

    def write(self, content: bytes) -> int:
        def half() -> None:
            self._file.write(content[: len(content) // 2])
            self._file.flush()

        return int(self._disk.meet(f"write {self._name}", lambda: self._file.write(content), half))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _without_random(path: Any) -> str:
    name = Path(path).name
    return f"{name.split('.')[1]}.part" if name.endswith(".part") else name


def in_child(work: Callable[[], None]) -> int:
    """Run something in a forked child; return its exit status, minus the signal if it was killed."""
    pid = os.fork()
    if pid == 0:
        gc.disable()
        status = 1
        try:
            work()
            status = 0
        except RunError as error:
            if "the disk is full: free some space" not in str(error):
                raise
            status = REFUSED
        finally:
            if status == 1:
                traceback.print_exc()
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def begin(config: Config, run: Path, disk: Disk) -> None:
    """Train until the disturbance."""
    disk.install()
    train(config, run, console=quiet())


def count_calls(config: Config, run: Path) -> list[str]:
    """Return what an undisturbed run does to its folder."""

    def work() -> None:
        disk = Disk(run)
        begin(config, run, disk)
        run.with_name("names").write_text(json.dumps(disk.names))

    if in_child(work) != 0:
        raise SystemExit("the undisturbed run failed")
    shutil.rmtree(run)
    return list(json.loads(run.with_name("names").read_text()))


def go_on(config: Config, run: Path) -> dict[str, Any]:
    """Do what the user of a disturbed run would do, and return what it came to."""
    has_begun = (run / "config.json").exists()
    try:
        train(config, run, resume=Which.LAST if has_begun else None, console=quiet())
    except RunError as error:
        return {"error": str(error)}
    return read_outcome(run)


def disturb_everywhere(folder: Path, kind: str) -> Iterator[dict[str, Any]]:
    """Yield what went wrong, disturbance by disturbance; nothing but the names of all calls if all is well."""
    config, run = tiny_config(folder, *OVERRIDES[kind]), folder / "run"
    stub_pictures()
    os.fsync = lambda _descriptor: None  # slower than all else; a kill loses nothing that the system has
    gc.freeze()  # a collection in a child would copy every page
    data = set_up_module.load_data(config.data)
    set_up_module.load_data = lambda *_arguments: data
    run_module.collect_versions = cache(run_module.collect_versions)
    train(config, folder / "whole", console=quiet())
    expected = read_outcome(folder / "whole")
    names = count_calls(config, run)
    # What is killed in place of a synchronisation leaves the folder as what is killed before the next call; and moving
    # or removing a file takes no space.
    harmless = {"kill": {"fsync"}, "fill": {"replace", "unlink", "truncate", "mkdir"}}[kind]
    # A folder that cannot be synchronised is no failure, so that a full disk may be found only later, or never.
    ends = {"kill": {-signal.SIGKILL}, "fill": {REFUSED, 0}}[kind]
    for number, name in enumerate(names):
        for is_half in (False, True) if name.startswith("write ") else (False,):
            if name.split(maxsplit=1)[0] in harmless:
                continue
            disk = Disk(run, kind, number, is_half)
            status = in_child(lambda disk=disk: begin(config, run, disk))
            found = go_on(config, run)
            different = list_differences(expected, found)
            if status not in ends or different:
                call = f"{number} {name}{' half-way' if is_half else ''}"
                yield {"call": call, "status": status, "different": different, "error": found.get("error")}
            shutil.rmtree(run, ignore_errors=True)
    yield {"calls": names}


if __name__ == "__main__":
    for finding in disturb_everywhere(Path(sys.argv[2]), sys.argv[1]):
        sys.stdout.write(f"{json.dumps(finding)}\n")
