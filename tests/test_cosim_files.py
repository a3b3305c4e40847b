"""Files are written whole or not at all, with an error that says what to do."""

from __future__ import annotations

import errno
import json
import math
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from cosim import files
from cosim.errors import RunError


def refuse(code: int) -> Callable[..., None]:
    def call(*_arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    return call


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.jsonl"
    files.append_line(path, "one")
    monkeypatch.setattr(files.os, "fsync", refuse(errno.ENOSPC))
    with pytest.raises(
        RunError, match=r"metrics\.jsonl: the disk is full: free some space, then run the command again"
    ):
        files.append_line(path, "two")
    assert path.read_text() == "one\n"


def test_a_failed_move_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    files.write_atomically(path, b"old")
    monkeypatch.setattr(files.os, "replace", refuse(errno.EROFS))
    with pytest.raises(RunError, match="the file system is read-only: choose another folder"):
        files.write_atomically(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_file_before_is_kept_where_asked(tmp_path: Path) -> None:
    path, previous = tmp_path / "file", tmp_path / "previous"
    files.write_atomically(path, b"1", previous=previous)
    assert read_all(tmp_path) == {"file": b"1"}
    for before, content in ((b"1", b"2"), (b"2", b"3")):
        files.write_atomically(path, content, previous=previous)
        assert read_all(tmp_path) == {"file": content, "previous": before}


@pytest.mark.parametrize("name", ["fsync", "write"])
def test_a_full_disk_moves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path, previous = tmp_path / "file", tmp_path / "previous"
    for content in (b"1", b"2"):
        files.write_atomically(path, content, previous=previous)
    if name == "fsync":
        monkeypatch.setattr(files.os, "fsync", refuse(errno.ENOSPC))
    else:
        monkeypatch.setattr(Path, "open", refuse(errno.EDQUOT))
    with pytest.raises(RunError, match="free some space"):
        files.write_atomically(path, b"3", previous=previous)
    monkeypatch.undo()
    assert read_all(tmp_path) == {"file": b"2", "previous": b"1"}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()], ids=["full disk", "Ctrl-C"])
def test_between_the_two_moves_the_file_before_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path, previous, real = tmp_path / "file", tmp_path / "previous", os.replace
    for content in (b"1", b"2"):
        files.write_atomically(path, content, previous=previous)

    def first_only(source: Path, target: Path) -> None:
        if target == path:
            raise error
        real(source, target)

    monkeypatch.setattr(files.os, "replace", first_only)
    with pytest.raises(KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else RunError):
        files.write_atomically(path, b"3", previous=previous)
    assert read_all(tmp_path)["previous"] == b"2"
    assert set(read_all(tmp_path)) <= {"previous", "file"}


def test_a_folder_that_cannot_be_synchronised_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def only_files(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", only_files)
    files.write_atomically(tmp_path / "file", b"1")
    assert read_all(tmp_path) == {"file": b"1"}


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot write .*file: its folder does not exist: make it"):
        files.write_atomically(tmp_path / "nowhere" / "file", b"")


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o002, 0o664), (0o022, 0o644)])
def test_a_new_file_has_the_permissions_that_the_umask_leaves(tmp_path: Path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        files.write_atomically(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def test_a_folder_is_made_with_its_parents_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.make_folder(tmp_path / "a" / "b")
    files.make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    monkeypatch.setattr(files.os, "access", lambda _path, _mode: False)  # root may write anywhere
    with pytest.raises(RunError, match="no permission: choose a folder that you may write to"):
        files.make_folder(tmp_path / "a")


def test_json_has_null_for_what_is_not_finite() -> None:
    value = {"a": [1.0, math.nan, (math.inf, {"b": -math.inf})], "c": "nan", "d": 3, "e": None}
    expected = {"a": [1.0, None, [None, {"b": None}]], "c": "nan", "d": 3, "e": None}
    assert json.loads(files.format_json(value)) == expected
    assert json.loads(files.format_json_line(value)) == expected
