"""The rows of a sweep as Parquet and CSV: the same columns and values in both.

CSV has Python's shortest form of a number, lists as JSON, and nothing for None. A column of Parquet whose values are
numbers and words (bits that may be "ideal") is text.
"""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..files import write_atomically
from .results import Row


def write_csv(columns: Sequence[str], rows: Sequence[Row], path: Path) -> None:
    """Write rows as CSV.

    Raises:
        RunError: if the file cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[name]) for name in columns] for row in rows)
    write_atomically(path, text.getvalue().encode())


def write_parquet(columns: Sequence[str], rows: Sequence[Row], path: Path) -> None:
    """Write rows as Parquet.

    Raises:
        RunError: likewise.
    """
    table = pa.table({name: _column([row[name] for row in rows]) for name in columns})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    write_atomically(path, buffer.getvalue())


def _cell(value: Any) -> Any:
    return json.dumps(list(value)) if isinstance(value, tuple) else value


def _column(values: Sequence[Any]) -> Any:
    """Return values as a column of one type."""
    known = [value for value in values if value is not None]
    if not known:
        return pa.array(values, pa.string())
    if all(isinstance(value, bool) for value in known):
        return pa.array(values, pa.bool_())
    if all(isinstance(value, int) and not isinstance(value, bool) for value in known):
        return pa.array(values, pa.int64())
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        return pa.array(values, pa.float64())
    if all(isinstance(value, tuple) for value in known):
        return pa.array([None if value is None else list(value) for value in values], pa.list_(pa.float64()))
    return pa.array([None if value is None else str(value) for value in values], pa.string())
