"""The table of published constants: each has a value, a unit and a source, and a user's file overrides any of them."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, final

from circuits.nearest_names import nearest_names_hint

from .errors import ChipError

TABLE: Final = "constants.toml"
_FIELDS: Final = ("value", "unit", "source")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Constant:
    """One number with what it means.

    Args:
        value: in `unit`.
        unit: SI, as "J" or "J/byte".
        source: publication or assumption.
    """

    value: float
    unit: str
    source: str


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Constants:
    """The whole table.

    Args:
        entries: by name.
    """

    entries: Mapping[str, Constant]

    def __getitem__(self, name: str) -> float:
        """Return a constant's value in its unit."""
        return self.entries[name].value

    def to_json(self) -> dict[str, Any]:
        """Return every constant with its unit and source."""
        return {name: {key: getattr(entry, key) for key in _FIELDS} for name, entry in self.entries.items()}


def load_constants(path: Path | None = None) -> Constants:
    """Read the table, and what a file puts in place of some entries.

    Args:
        path: a TOML file of the same form; None for the table as it is.

    Raises:
        ChipError: naming the constant, for one that is unknown, without value, unit or source, in another unit or not a
            finite number of at least zero; for a file that cannot be read.
    """
    own = _entries(tomllib.loads(files(__package__).joinpath(TABLE).read_text(encoding="utf-8")), TABLE, known=None)
    if path is None:
        return Constants(entries=own)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ChipError(
            f"{path}: no such file; name a TOML file of constants, as cosim/chip/{TABLE} has them"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ChipError(f"{path}: cannot be read ({error}); name a TOML file of constants") from error
    except tomllib.TOMLDecodeError as error:
        raise ChipError(f"{path}: not valid TOML: {error}") from error
    return Constants(entries={**own, **_entries(tables, str(path), known=own)})


def _entries(tables: Mapping[str, Any], where: str, *, known: Mapping[str, Constant] | None) -> dict[str, Constant]:
    """Return the constants of a file, checked one by one."""
    return {name: _entry(name, table, where, known) for name, table in tables.items()}


def _entry(name: str, table: Any, where: str, known: Mapping[str, Constant] | None) -> Constant:
    """Return one constant; in a user's file it must be one of ours, in our unit."""
    if known is not None and name not in known:
        raise ChipError(f"{where}: there is no constant '{name}'; {nearest_names_hint(name, known)}")
    if not isinstance(table, dict):
        raise ChipError(f"{where}: constant '{name}' = {table!r}; write [{name}] with value, unit and source below it")
    unknown = [key for key in table if key not in _FIELDS]
    if unknown:
        raise ChipError(f"{where}: constant '{name}' has a key '{unknown[0]}'; it takes value, unit and source")
    for key in _FIELDS:
        if key not in table:
            unit = f', as unit = "{known[name].unit}"' if key == "unit" and known is not None else ""
            raise ChipError(f"{where}: constant '{name}' has no {key}; write one{unit}")
    value, unit, source = (table[key] for key in _FIELDS)
    if known is not None and unit != known[name].unit:
        raise ChipError(f"{where}: constant '{name}' is in '{unit}'; give it in '{known[name].unit}'")
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
        raise ChipError(f"{where}: constant '{name}' has value = {value!r}; give a finite number, zero or more")
    if not (isinstance(source, str) and source.strip()):
        raise ChipError(f"{where}: constant '{name}' has no source; say where the number is from")
    return Constant(value=float(value), unit=str(unit), source=source)
