"""Write files whole or not at all.

A reader never sees half a file, and a full disk leaves what was there before: everything is written beside the target,
flushed to the disk, and then moved into place in one step.
"""

import errno
import json
import math
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import RunError

PART = ".part"  # ends the name of a file that is not whole yet; a killed run may leave one


def write_atomically(path: Path, content: bytes, *, previous: Path | None = None) -> None:
    """Write a file, or leave what was there.

    Args:
        path: the file; its folder exists.
        content: all of it.
        previous: where the file that was there goes, once the new one is safe on the disk beside it. A crash between
            the two moves leaves that one only.

    Raises:
        RunError: if it cannot be written, with the reason and the next step.
    """
    with explained(path):
        part = path.with_name(f".{path.name}.{secrets.token_hex(8)}{PART}")
        try:
            with part.open("xb") as file:  # with the permissions that the user's umask leaves, as any new file
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if previous is not None and path.exists():
                path.replace(previous)
            os.replace(part, path)  # noqa: PTH105  the one step; tests stand in for it
        except BaseException:  # an interrupt, too: nothing half-written stays
            part.unlink(missing_ok=True)
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


def make_folder(folder: Path) -> None:
    """Make a folder that files can be written to, its parents too; one that is there will do.

    Raises:
        RunError: as `write_atomically`.
    """
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def format_json(value: Any) -> str:
    """Return JSON for people and programs: indented; null for NaN and infinities, which JSON has not."""
    return json.dumps(_finite_or_none(value), indent=2, allow_nan=False) + "\n"


def format_json_line(value: Any) -> str:
    """Return the same on one line, without its end."""
    return json.dumps(_finite_or_none(value), allow_nan=False)


def _finite_or_none(value: Any) -> Any:
    """Replace the numbers that JSON has not, however deep."""
    if isinstance(value, dict):
        return {key: _finite_or_none(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite_or_none(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
            errno.EEXIST: "a file of that name is in the way: choose another name",
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
