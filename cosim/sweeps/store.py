"""The store: one SQLite file in which each point is recorded once, as it finishes.

A record is one transaction that is on the disk before the next point is looked at, so whenever a sweep is killed the
store is whole and holds every point that was finished. What it holds is checked when it is opened: SQLite's own check
of the file, a hash of each record, and that it is this sweep's.
"""

import hashlib
import json
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, final

from .errors import StoreError
from .point import Outcome

FORMAT: Final = 1
_TABLES: Final = (
    "CREATE TABLE sweep (name TEXT PRIMARY KEY, value TEXT NOT NULL, hash TEXT NOT NULL)",
    "CREATE TABLE outcomes (name TEXT PRIMARY KEY, value TEXT NOT NULL, hash TEXT NOT NULL)",
)


@final
class Store:
    """An open store.

    Args:
        path: the file.
        outcomes: what it holds already, by key.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, outcomes: dict[str, Outcome]) -> None:
        self.path = path
        self.outcomes: Mapping[str, Outcome] = outcomes
        self._connection, self._outcomes = connection, outcomes

    def record(self, outcome: Outcome) -> None:
        """Record what came of a point; a failed one may be tried again, a measured one stays as it is.

        Raises:
            StoreError: if the disk is full, or the file cannot be written to.
        """
        before = self._outcomes.get(outcome.key)
        if before is not None and before.error is None:
            raise StoreError(f"{self.path}: point {outcome.key} is recorded already")
        value = {
            "measured": outcome.measured,
            "error": outcome.error,
            "wall_s": outcome.wall_s,
            "cpu_s": outcome.cpu_s,
        }
        with _explained(self.path), self._connection:
            _put(self._connection, "outcomes", outcome.key, value)
        self._outcomes[outcome.key] = outcome

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_store(path: Path, plan: Any, keys: Collection[str]) -> Store:
    """Open a sweep's store, or make it.

    Args:
        path: the file.
        plan: what must be the same for a sweep to go on, as JSON.
        keys: of its points.

    Raises:
        StoreError: if it is damaged, or holds another sweep, with what differs; the file stays as it is.
    """
    is_new = not path.exists() or path.stat().st_size == 0  # killed before the first transaction was done
    if not is_new:
        _check_saved(path, plan)
    with _explained(path):
        connection = sqlite3.connect(path)
        try:
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("PRAGMA synchronous = FULL")  # recorded means on the disk
            if is_new:
                with connection:
                    connection.execute("BEGIN")
                    for table in _TABLES:
                        connection.execute(table)
                    _put(connection, "sweep", "format", FORMAT)
                    _put(connection, "sweep", "plan", plan)
            return Store(path, connection, _read_outcomes(path, connection, keys))
        except BaseException:  # an interrupt, too: an open connection would keep the file locked
            connection.close()
            raise


def _check_saved(path: Path, plan: Any) -> None:
    """Refuse a damaged store, or that of another sweep, without writing to it.

    A journal beside it is of a sweep that was killed within a transaction: only opening it to write takes that back.
    """
    mode = "rw" if path.with_name(f"{path.name}-journal").exists() else "ro"
    with _explained(path):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True)
        try:
            found = connection.execute("PRAGMA integrity_check").fetchall()
            if found != [("ok",)]:
                raise _damaged(path, str(found[0][0]))
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if names != {"sweep", "outcomes"}:
                raise _damaged(path, f"it has the tables {sorted(names)}, which no sweep writes")
            saved = _read(path, connection, "sweep")
        finally:
            connection.close()
    if saved.get("format") != FORMAT:
        raise StoreError(
            f"{path}: has format {saved.get('format')!r}, this version of tellegen reads {FORMAT}; choose another --out"
        )
    # Numbers and words as JSON has them: what is read must compare with what is asked for.
    different = _list_differences(saved.get("plan"), json.loads(json.dumps(plan)))
    if different:
        more = f" (and {len(different) - 5} more)" if len(different) > 5 else ""
        raise StoreError(
            f"{path.parent}: holds the results of another sweep: {'; '.join(different[:5])}{more}. Choose another "
            "--out, or replace them by --force"
        )


def _read_outcomes(path: Path, connection: sqlite3.Connection, keys: Collection[str]) -> dict[str, Outcome]:
    outcomes = {}
    for key, value in _read(path, connection, "outcomes").items():
        if key not in keys:
            raise _damaged(path, f"it has a point, {key}, that this sweep has not")
        try:
            measured = {n: tuple(v) if isinstance(v, list) else v for n, v in value["measured"].items()}
            outcomes[key] = Outcome(
                key=key, measured=measured, error=value["error"], wall_s=value["wall_s"], cpu_s=value["cpu_s"]
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise _damaged(path, f"point {key} is not what a sweep records ({error!r})") from error
    return outcomes


def _put(connection: sqlite3.Connection, table: str, name: str, value: Any) -> None:
    text = json.dumps(value)
    row = (name, text, _hash(name, text))
    connection.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)", row)  # noqa: S608  a table of ours


def _read(path: Path, connection: sqlite3.Connection, table: str) -> dict[str, Any]:
    values = {}
    for name, text, found in connection.execute(f"SELECT name, value, hash FROM {table}"):  # noqa: S608  likewise
        if _hash(str(name), str(text)) != found:
            raise _damaged(path, f"the hash of record {name!r} is wrong")
        values[str(name)] = json.loads(text)
    return values


def _hash(name: str, text: str) -> str:
    return hashlib.sha256(f"{name}\n{text}".encode()).hexdigest()


def _damaged(path: Path, reason: str) -> StoreError:
    return StoreError(
        f"{path}: is damaged ({reason}); nothing was changed. Restore it from a copy, choose another --out, or start "
        "anew with --force"
    )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.OperationalError as error:  # a full or read-only disk, a locked file
        raise StoreError(
            f"{path}: cannot be read or written ({error}); see to the disk and to other programs that use it, then run "
            "the command again. Every point that was recorded is safe"
        ) from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error


def _list_differences(saved: Any, wanted: Any, path: str = "") -> list[str]:
    """Name the values that two sweeps do not share."""
    if isinstance(saved, dict) and isinstance(wanted, dict):
        names = list(dict.fromkeys([*saved, *wanted]))
        pairs = [(f"{path}.{name}", saved.get(name), wanted.get(name)) for name in names]
        return [line for place, a, b in pairs for line in _list_differences(a, b, place)]
    name = path.removeprefix(".").removeprefix("sweep.")
    return [] if saved == wanted else [f"{name} is {_spell(saved)} there and {_spell(wanted)} now"]


def _spell(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
