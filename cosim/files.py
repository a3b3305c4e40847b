"""Write files whole or not at all.

A reader never sees half a file, and a full disk leaves what was there before: everything is written beside the target,
flushed to the disk, and then moved into place in one step.
"""

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import RunError


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file, or leave what was there.

    Args:
        path: the file; its folder exists.
        content: all of it.

    Raises:
        RunError: if it cannot be written, with the reason and the next step.
    """
    with explained(path):
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)  # mkstemp's files are their owner's alone
            os.replace(name, path)  # noqa: PTH105  the one step; tests stand in for it
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def append_line(path: Path, line: str) -> None:
    """Append a line to a file, or leave the file as it was.

    Raises:
        RunError: as `write_atomically`.
    """
    with explained(path), path.open("ab") as file:
        length = file.tell()
        try:
            file.write(f"{line}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            os.truncate(path, length)
            raise


def format_json(value: Any) -> str:
    """Return JSON for people and programs: indented, no NaN (which is no JSON)."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write a file into a RunError with a next step."""
    try:
        yield
    except OSError as error:
        advice = {
            errno.ENOSPC: "the disk is full: free some space",
            errno.EDQUOT: "your disk quota is used up: free some space",
            errno.EACCES: "no permission: choose a folder that you may write to",
            errno.EROFS: "the file system is read-only: choose another folder",
            errno.ENOENT: "its folder does not exist: make it",
        }
        reason = advice.get(error.errno or 0, f"{error.strerror or error}: see to that")
        raise RunError(
            f"cannot write {path}: {reason}, then run the command again. Nothing was half-written"
        ) from error


def _sync_folder(folder: Path) -> None:
    """Make the move itself durable, where the system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems cannot sync a folder; the file itself is safe
        return
    finally:
        os.close(descriptor)
