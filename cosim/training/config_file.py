"""Read a configuration file; a wrong key or value is named with its place, what is allowed, and the nearest name.

Takes: a TOML file and `key=value` overrides. Gives: a `Config`, or a `ConfigError` with one line a mistake.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, final

from pydantic import ValidationError

from ..errors import ConfigError
from .circuit_section import CircuitSection
from .config import Config
from .paper_tables import with_preset
from .section import Section

Path_ = tuple[str | int, ...]
Tables = dict[str, Any]


class Place(NamedTuple):
    """Where a mistake is: the path as the user wrote it, and the schema that holds there."""

    path: Path_
    schema: Tables


def load_config(
    path: Path | None, overrides: Sequence[str] = (), *, complete: Callable[[Tables], Tables] | None = None
) -> Config:
    """Read a TOML configuration, or the config.json of a run folder.

    Args:
        path: the file; None for one that `complete` makes of nothing.
        overrides: "training.epochs=1" and the like; list entries by number, as in "network.stages.1.size=20" or
            "network.stages[1].size=20". The value is TOML, or text where it is not.
        complete: adds what the file leaves out, before the overrides but after those of `[start]`, where from, and of
            `preset` and `width`.

    Returns:
        the checked configuration.

    Raises:
        ConfigError: for a file that is missing or no TOML, and for every key or value that is wrong, all at once.
    """
    tables = {} if path is None else _read_tables(path)
    first = [text for text in overrides if re.match(r"\s*(start\s*[.=]|(preset|width)\s*=)", text)]
    overridden = [_override(tables, text) for text in first]
    try:
        tables = with_preset(tables)
    except ConfigError as error:
        raise ConfigError(f"{'the configuration' if path is None else path}: {error}") from None
    tables = tables if complete is None else complete(tables)
    overridden += [_override(tables, text) for text in overrides if text not in first]
    try:
        return Config.model_validate(tables)
    except ValidationError as error:
        raise ConfigError(_explain(error, "the configuration" if path is None else str(path), overridden)) from None


def load_circuit(path: Path) -> CircuitSection:
    """Read the `[circuit]` table of a TOML file, whatever else is in it.

    Raises:
        ConfigError: if there is none, or it has a wrong key or value.
    """
    tables = _read_tables(path, example="examples/finetune.toml, which has a [circuit] table")
    if "circuit" not in tables:
        raise ConfigError(f"{path}: has no [circuit] table; write one, as examples/finetune.toml has it")
    try:
        return _Circuit.model_validate({"circuit": tables["circuit"]}).circuit
    except ValidationError as error:
        raise ConfigError(_explain(error, str(path), [])) from None


@final
class _Circuit(Section):
    circuit: CircuitSection


def config_from_json(tables: Any, source: str) -> Config:
    """Check a configuration that a run folder holds.

    Raises:
        ConfigError: likewise.
    """
    try:
        return Config.model_validate(tables)
    except ValidationError as error:
        raise ConfigError(_explain(error, source, [])) from None


def format_path(path: Sequence[str | int]) -> str:
    """Return a key's path as a person writes it: network.stages[1].size."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")


def _read_tables(path: Path, *, example: str = "examples/digits.toml") -> Tables:
    try:
        text = path.read_text(encoding="utf-8")
        tables: Tables = json.loads(text) if path.name == "config.json" else tomllib.loads(text)
        return tables
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; name a configuration, for example {example}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); name a TOML configuration file") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: not valid JSON: {error}") from error


def _override(tables: Tables, text: str) -> Path_:
    """Put one `key=value` into the tables and return its path."""
    key, equals, value_text = text.partition("=")
    dotted = re.sub(r"\[(\d+)\]", r".\1", key.strip())  # as errors print it
    path: Path_ = tuple(int(part) if part.isdecimal() else part for part in dotted.split("."))
    if not equals or "" in path:
        raise ConfigError(f"--set {text}: write key=value, for example --set training.epochs=1")
    try:
        value: Any = tomllib.loads(f"value = {value_text}")["value"]
    except tomllib.TOMLDecodeError:
        value = value_text.strip()  # a bare word, as in simulator.name=newton
    place: Any = tables
    for depth, part in enumerate(path):
        _check_step(text, place, part, format_path(path[:depth]) or "the file")
        if depth == len(path) - 1:
            place[part] = value
        else:
            if isinstance(place, dict) and place.get(part) is None:  # JSON has null for what TOML leaves out
                place[part] = {}
            place = place[part]
    return path


def _check_step(text: str, place: Any, part: str | int, where: str) -> None:
    """Refuse an override whose path leads nowhere."""
    if isinstance(place, list):
        if not (isinstance(part, int) and part < len(place)):
            raise ConfigError(f"--set {text}: {where} has entries 0 to {len(place) - 1}, not '{part}'")
    elif not isinstance(place, dict):
        raise ConfigError(f"--set {text}: {where} is a value, not a table")
    elif isinstance(part, int):
        raise ConfigError(f"--set {text}: {where} is a table, which has no entry number {part}")


def _explain(error: ValidationError, source: str, overridden: Sequence[Path_]) -> str:
    """Turn pydantic's list of mistakes into lines for a person."""
    schema = Config.model_json_schema()
    lines = []
    for mistake in error.errors(include_url=False):
        if mistake["type"] == "too_short" and mistake["input"]:
            continue  # pydantic counts only the entries that are right, and each wrong one has its line
        is_extra = mistake["type"] == "extra_forbidden"
        place = _locate(schema, mistake["loc"][:-1] if is_extra else mistake["loc"])
        path = (*place.path, mistake["loc"][-1]) if is_extra else place.path
        by_hand = any(path[: len(p)] == p or p[: len(path)] == path for p in overridden)
        head = f"{source} (with --set)" if by_hand else source
        lines.append(f"{head}: {format_path(path)}{_reason(mistake, Place(path, place.schema))}".replace(": : ", ": "))
    return "\n".join(lines)


def _reason(mistake: Any, place: Place) -> str:
    """Return what is wrong with a key or its value, what is allowed and the nearest name."""
    kind, value, schema = mistake["type"], mistake["input"], place.schema
    if kind == "extra_forbidden":
        names = list(schema.get("properties", {}))
        return f": unknown key{_nearest_key(place, names)} Allowed here: {', '.join(names)}"
    if kind == "missing":
        return ": missing; " + ("write [low, high]" if isinstance(mistake["loc"][-1], int) else "it has no default")
    if kind == "too_short":
        return f" = {value!r}: write one entry at least"
    if kind in {"tuple_type", "too_long"}:
        return f" = {value!r}: write {'[low, high]' if 'prefixItems' in schema else 'a list, in brackets'}"
    if kind in {"model_type", "model_attributes_type"}:
        return f" = {value!r}: write {_example_of(schema)}"
    if kind == "dict_type":
        return f" = {value!r}: write a table, as {{ name = 1 }}"
    if kind == "invalid-json-value":
        return f" = {value}: write a number, text, true or false, a list or a table"
    if kind == "string_pattern_mismatch" and "examples" in schema:
        return f" = {value!r}: write it like {schema['examples'][0]!r}"
    if kind == "value_error":
        return f": {mistake['ctx']['error']}"
    if kind == "union_tag_invalid":
        names = list(schema.get("discriminator", {}).get("mapping", {}))
        return f".kind = {mistake['ctx']['tag']!r}{_nearest(mistake['ctx']['tag'], names)} Allowed: {', '.join(names)}"
    if kind == "union_tag_not_found":
        return f".kind: missing. Allowed: {', '.join(schema.get('discriminator', {}).get('mapping', {}))}"
    if kind in {"enum", "literal_error"}:
        names = [str(name) for name in schema.get("enum", [schema.get("const")])]
        return f" = {value!r}{_nearest(str(value), names)} Allowed: {', '.join(names)}"
    return f" = {value!r}: {mistake['msg'][0].lower()}{mistake['msg'][1:]}"


def _example_of(schema: Tables) -> str:
    """Return how a table of a schema is written."""
    names = list(schema.get("properties", {}))
    if "bits" in names:
        return "{ bits = 8 }"
    if names:
        return f"a table with {', '.join(names)}"
    kinds = list(schema.get("discriminator", {}).get("mapping", {}))
    kind = "flatten" if "flatten" in kinds or not kinds else kinds[0]
    return f'a table, as {{ kind = "{kind}" }}'


def _nearest_key(place: Place, allowed: Sequence[str]) -> str:
    """Name the key that was meant: of this name in other tables, alike in this one, or alike in another.

    A key that only other kinds of stages have at this place is not looked for elsewhere.
    """
    name = str(place.path[-1])
    here = ".".join("N" if isinstance(key, int) else key for key in place.path)
    near = _nearest(name, allowed)
    paths = _list_keys(Config.model_json_schema())
    if here in paths:
        return near
    keys: dict[str, list[str]] = {}
    for path in paths:
        keys.setdefault(path.rsplit(".", 1)[-1], []).append(path)
    alike = [name] if name in keys else difflib.get_close_matches(name, keys, n=1, cutoff=0.75) if near == "." else []
    return f"; did you mean {' or '.join(repr(path) for path in keys[alike[0]][:3])}?" if alike else near


def _list_keys(schema: Tables) -> list[str]:
    """Return the path of every key as --set takes it, N for the number of a list entry; none twice."""
    paths: dict[str, None] = {}

    def walk(node: Any, path: str) -> None:
        if isinstance(node, list):
            for entry in node:
                walk(entry, path)
            return
        if "$ref" in node:
            walk(schema["$defs"][node["$ref"].rsplit("/", 1)[-1]], path)
        walk([*node.get("anyOf", []), *node.get("oneOf", [])], path)
        if "items" in node:
            walk(node["items"], f"{path}.N")
        for name, value in node.get("properties", {}).items():
            below = f"{path}.{name}".removeprefix(".")
            paths[below] = None
            walk(value, below)

    walk(schema, "")
    return list(paths)


def _nearest(name: str, allowed: Sequence[str]) -> str:
    found = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    return f"; did you mean '{found[0]}'?" if found else "."


def _locate(schema: Tables, loc: Path_) -> Place:
    """Follow pydantic's location through the schema; the tags of unions in it are no keys of the user's."""
    definitions = schema.get("$defs", {})

    def resolved(node: Tables) -> Tables:
        """Follow references, and the branch that is not null of an optional value."""
        while True:
            branches = [branch for branch in node.get("anyOf", ()) if branch.get("type") != "null"]
            if "$ref" in node:
                node = definitions[node["$ref"].rsplit("/", 1)[-1]]
            elif len(branches) == 1:
                node = branches[0]
            else:
                return node

    node, path = schema, []
    any_value, is_tagged = definitions.get("JsonValue"), False
    for key in loc:
        if node is any_value and not is_tagged:  # in a value of any kind pydantic names the kind before each key
            is_tagged = True
            continue
        is_tagged = False
        mapping = node.get("discriminator", {}).get("mapping", {})
        if key in mapping:
            node = resolved({"$ref": mapping[key]})
            continue
        path.append(key)
        if node is any_value:
            continue
        if isinstance(key, int):
            items = node.get("prefixItems")
            node = resolved(items[key] if items and key < len(items) else node.get("items", {}))
        else:
            node = resolved(node.get("properties", {}).get(key, node.get("additionalProperties") or {}))
    return Place(tuple(path), node)
