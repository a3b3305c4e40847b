"""Tables as the text of a TOML file, for people: `tomllib` only reads."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ..errors import ConfigError

WIDTH: Final = 100  # of a line that has a list


def format_toml(tables: Mapping[str, Any]) -> str:
    """Return the text of a file that holds these tables.

    Args:
        tables: by name; values are numbers, text, true or false, lists and tables. None is left out.

    Returns:
        lines; keys before tables, a list of tables as [[name]], what is deeper inside as { key = value }.

    Raises:
        ConfigError: for a value that TOML has no word for.
    """
    return "\n".join(_table(tables, ())).strip() + "\n"


def _table(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    """Return the lines of a table: its own keys first, the tables below it then."""
    lines = [_line(key, value) for key, value in table.items() if value is not None and not _below(value, path)]
    for key, value in table.items():
        if not _below(value, path):
            continue
        name = ".".join(map(_key, (*path, key)))
        if isinstance(value, Mapping):
            own = _table(value, (*path, key))
            has_only_lists = bool(own) and own[0].startswith("\n[[")
            lines += [*([] if has_only_lists else [f"\n[{name}]"]), *own]
        else:
            lines += [line for entry in value for line in (f"\n[[{name}]]", *_table(entry, (*path, key, "")))]
    return lines


def _line(key: str, value: Any) -> str:
    """Return a key with its value; a long list with an entry a line."""
    line = f"{_key(key)} = {_value(value)}"
    if len(line) <= WIDTH or not isinstance(value, list | tuple):
        return line
    return "\n".join((f"{_key(key)} = [", *(f"    {_value(entry)}," for entry in value), "]"))


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def _below(value: Any, path: tuple[str, ...]) -> bool:
    """Whether a value is written as tables of its own; those inside a list of tables stay in their line."""
    if "" in path:
        return False
    is_list = isinstance(value, Sequence) and bool(value) and all(isinstance(entry, Mapping) for entry in value)
    return isinstance(value, Mapping) or is_list


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return json.dumps(value, ensure_ascii=False)
        case Mapping():
            inside = ", ".join(f"{_key(key)} = {_value(entry)}" for key, entry in value.items() if entry is not None)
            return f"{{ {inside} }}" if inside else "{}"
        case Sequence():
            return f"[{', '.join(map(_value, value))}]"
        case _:
            raise ConfigError(
                f"{value!r} is nothing that a TOML file can hold; write a number, text, a list or a table"
            )
