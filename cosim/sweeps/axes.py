"""Axes: what a sweep varies, each one or more dotted keys of the configuration file with a list of values.

Takes: the tables of a sweep file and those of a configuration. Gives: axes, and configurations with values put in.
Tables of a configuration are as a run folder saves them: what was not written may be missing; `complete` has all of it.
A key is spelt as for --set, list entries by number; `*` stands for every entry of a list or table that has the rest.
The word "off" is None where the key can be None: TOML cannot spell it.
"""

import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, final

from pydantic import JsonValue, ValidationError

from ..errors import ConfigError
from ..training.config import Config
from ..training.config_file import Tables, config_from_json, format_path
from .errors import SweepError

KeyPath = tuple[str | int, ...]
OFF: Final = "off"
_WORDS: Final = ("ideal", "data", OFF)  # that keys have for None
_DEFINITION: Final = {"keys", "values"}


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """One thing that is varied.

    Args:
        name: in tables and plots; the key itself where there is one.
        keys: dotted keys that all take the value.
        values: in order.
    """

    name: str
    keys: tuple[str, ...]
    values: tuple[JsonValue, ...]


def parse_axes(tables: Mapping[str, JsonValue]) -> tuple[Axis, ...]:
    """Return the axes of `[axes]`, in order; unquoted dotted keys, which TOML reads as tables, are joined again.

    Raises:
        SweepError: for what is no list of values, an empty one, a value twice, or a key in two axes.
    """
    axes = tuple(_walk_axes(tables, ""))
    taken: dict[str, str] = {}
    for axis in axes:
        for key in axis.keys:
            if key in taken:
                raise SweepError(f"axes: '{key}' is in '{taken[key]}' and in '{axis.name}'; vary it in one of them")
            taken[key] = axis.name
    return axes


def _walk_axes(tables: Mapping[str, JsonValue], prefix: str) -> Iterator[Axis]:
    for name, value in tables.items():
        key = f"{prefix}{name}"
        if isinstance(value, list):
            yield _axis(key, (key,), value)
        elif isinstance(value, dict) and isinstance(value.get("values"), list):
            if not value.keys() <= _DEFINITION:
                wrong = min(value.keys() - _DEFINITION)
                raise SweepError(f"axes: \"{key}\": unknown key '{wrong}'; allowed here: keys, values")
            keys = value.get("keys", [key])
            if not isinstance(keys, list) or not keys or not all(isinstance(entry, str) for entry in keys):
                raise SweepError(f'axes: "{key}": keys = {keys!r}; write a list of keys, as ["converters.input.bits"]')
            yield _axis(key, tuple(map(str, keys)), value["values"])
        elif isinstance(value, dict) and value:
            yield from _walk_axes(value, f"{key}.")
        else:
            raise SweepError(f'axes: "{key}" = {value!r}: write a list of values, as [{json.dumps(value)}]')


def _axis(name: str, keys: tuple[str, ...], values: Any) -> Axis:
    if not values:
        raise SweepError(f'axes: "{name}": the list of values is empty; write one at least')
    spelt = [json.dumps(value, sort_keys=True) for value in values]
    twice = [text for text in spelt if spelt.count(text) > 1]
    if twice:
        raise SweepError(f'axes: "{name}": {twice[0]} is there twice; leave one out')
    return Axis(name=name, keys=keys, values=tuple(values))


def flatten(settings: Mapping[str, JsonValue], prefix: str = "") -> dict[str, JsonValue]:
    """Return settings by dotted key: tables stand for the keys in them."""
    flat: dict[str, JsonValue] = {}
    for name, value in settings.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {f"{prefix}{name}": value}
    return flat


def parse_key(key: str) -> KeyPath:
    """Return the path of "network.stages[1].size", or of "network.stages.1.size".

    Raises:
        SweepError: for a key with an empty part.
    """
    parts = re.sub(r"\[(\d+|\*)\]", r".\1", key.strip()).split(".")
    if not all(parts):
        raise SweepError(f'"{key}": is no key of a configuration; write it as phases.beta')
    return tuple(int(part) if part.isdecimal() else part for part in parts)


def expand(key: str, tables: Tables) -> tuple[KeyPath, ...]:
    """Return the paths that a key stands for, several where it has a `*`.

    Args:
        key: dotted.
        tables: of a configuration.

    Raises:
        SweepError: if a `*` finds nothing.
    """
    path = parse_key(key)
    if "*" not in path:
        return (path,)
    found = tuple(_matches(path, complete(tables)))
    if not found:
        raise SweepError(f'"{key}": matches no key of the base configuration; compare with its config.json')
    return found


def complete(tables: Tables) -> Tables:
    """Return the tables of a configuration with every key that it has, defaults too, and None for what is off."""
    full: Tables = _plain(Config.model_validate(tables).model_dump())
    return full


def _plain(value: Any) -> Any:
    """Return what JSON would have for a value, but for None."""
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value.value if isinstance(value, Enum) else value


def _matches(path: KeyPath, node: Any) -> Iterator[KeyPath]:
    """Yield the paths below a node that are there."""
    if not path:
        yield ()
        return
    if isinstance(node, list):
        names: Sequence[str | int] = (
            range(len(node)) if path[0] == "*" else [k for k in path[:1] if k in range(len(node))]
        )
    else:
        names = (
            [] if not isinstance(node, dict) else list(node) if path[0] == "*" else [k for k in path[:1] if k in node]
        )
    for name in names:
        for rest in _matches(path[1:], node[name]):
            yield (name, *rest)


def put(tables: Tables, path: KeyPath, value: JsonValue, where: str) -> Tables:
    """Return a copy of the tables with a value put in; a table that is off is turned on for a key in it.

    Raises:
        SweepError: if the path leads through a value, or beyond a list.
    """
    changed = copy.deepcopy(tables)
    place: Any = changed
    for depth, part in enumerate(path):
        within = format_path(path[:depth]) or "the configuration"
        if isinstance(place, list):
            if not (isinstance(part, int) and part < len(place)):
                raise SweepError(f"{where}: {within} has entries 0 to {len(place) - 1}, not '{part}'")
        elif not isinstance(place, dict):
            raise SweepError(f"{where}: {within} is a value, not a table")
        if depth == len(path) - 1:
            place[part] = copy.deepcopy(value)
        else:
            if isinstance(place, dict) and place.get(str(part)) is None:
                place[str(part)] = {}
            place = place[part]
    return changed


def read_off(tables: Tables, path: KeyPath, value: JsonValue, where: str) -> JsonValue:
    """Return None for "off" where a key can be None and does not take the word itself; else the value."""
    if value != OFF or not _is_wrong(tables, path, OFF, where) or _is_wrong(tables, path, None, where):
        return value
    return None


def _is_wrong(tables: Tables, path: KeyPath, value: JsonValue, where: str) -> bool:
    """Whether a key does not take a value, whatever else is wrong with the configuration then."""
    try:
        Config.model_validate(put(tables, path, value, where))
    except ValidationError as error:
        return any(_is_within(path, mistake["loc"]) for mistake in error.errors(include_url=False))
    return False


def _is_within(path: KeyPath, place: KeyPath) -> bool:
    """Whether a mistake is at a path; pydantic puts tags of unions between its keys."""
    rest = iter(place)
    return all(part in rest for part in path)


def apply(tables: Tables, settings: Mapping[str, JsonValue], where: str) -> Tables:
    """Return tables with the values of dotted keys put in.

    Args:
        tables: of a configuration.
        settings: value by key.
        where: what the settings are, for errors.

    Raises:
        SweepError: for a key that leads nowhere; what else is wrong `check` says.
    """
    places = [(path, value) for key, value in settings.items() for path in expand(key, tables)]
    for path, value in places:
        tables = put(tables, path, read_off(tables, path, value, where), where)
    return tables


def check(tables: Tables, where: str) -> Config:
    """Return the configuration of tables.

    Raises:
        SweepError: for every key that does not exist, with the nearest name, and every value of the wrong type.
    """
    try:
        return config_from_json(tables, where)
    except ConfigError as error:
        raise SweepError(str(error)) from None


def value_at(tables: Tables, path: KeyPath) -> JsonValue:
    """Return a value of a configuration; None for one in a table that is off, or that does not exist."""
    node: Any = complete(tables)
    for part in path:
        if isinstance(node, dict):
            node = node.get(str(part))
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            node = node[part]
        else:
            return None
    return node  # type: ignore[no-any-return]  # what a JSON document holds


def word_for_none(tables: Tables, path: KeyPath) -> str:
    """Return how a key's None is spelt: "ideal" bits, a full scale from "data", else "off"."""
    for word in _WORDS:
        try:
            if value_at(put(tables, path, word, ""), path) is None:
                return word
        except (ValidationError, SweepError):
            continue
    return OFF
