"""The sweep file: what is varied around which network, how often, and what is done at each point.

Takes: a TOML file. Gives: a `SweepFile`, or a `SweepError` with one line a mistake. Must not know: whether an axis is a
key of the configuration; `axes` and `plan` see to that.

```toml
do = "evaluate"                    # or "train", "program-then-finetune"
seeds = 3                          # chips at each point; trainings with do = "train"
mode = "grid"                      # or "one_at_a_time": each axis alone, around the nominal point
[base]
run = "runs/digits"                # or config = "digits.toml"
checkpoint = "best"
set = { "simulator.name" = "newton" }
[axes]
"phases.beta" = [0.01, 0.05, 0.2]
"ADC bits" = { keys = ["converters.output.bits", "converters.phase.bits"], values = [4, 6, 8, "ideal"] }
```
"""

import difflib
import tomllib
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, final

from pydantic import Field, JsonValue, ValidationError, model_validator

from ..training.section import READ_LOOSELY, Count, Section
from .errors import SweepError

Settings = dict[str, JsonValue]  # value by dotted key; tables stand for the keys in them


class Do(Enum):
    """What is done at each point."""

    EVALUATE = "evaluate"  # the base network under the point's configuration
    TRAIN = "train"  # the point's configuration, from its seed
    FINETUNE = "program-then-finetune"  # the base network, programmed and trained as the point says


class Mode(Enum):
    """How axes make points."""

    GRID = "grid"  # every combination
    ONE_AT_A_TIME = "one_at_a_time"  # each axis alone, all others as in the base: the nominal point


@final
class BaseSection(Section):
    """`[base]`: a run, whose checkpoint gives the weights, or a configuration; `set` is what all points share.

    Where weights are needed a configuration is trained first, once a seed, as it is but for `train_with`. A path is
    looked for from the working directory, then from the sweep file's folder.
    """

    run: Annotated[str, Field(min_length=1)] | None = None
    config: Annotated[str, Field(min_length=1)] | None = None
    checkpoint: Literal["last", "previous", "best"] = "last"
    set: Settings = {}  # noqa: RUF012  pydantic copies it
    train_with: Settings | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.run is None) is (self.config is None):
            raise ValueError(
                'name what is varied: run = "runs/digits", a run folder, or config = "digits.toml"; one of them'
            )
        if self.config is not None and self.checkpoint != "last":
            raise ValueError(f'checkpoint = "{self.checkpoint}" is one of a run; a config has none')
        if self.run is not None and self.train_with is not None:
            raise ValueError("train_with says how a config is trained first; a run is trained already: leave it out")
        return self


@final
class PointSection(Section):
    """`[[points]]`: one point by hand, with a name for tables and plots."""

    set: Settings
    label: Annotated[str, Field(min_length=1)] | None = None


@final
class NgspiceSection(Section):
    """`[ngspice]`: one point in so many is evaluated in ngspice as well, and the difference recorded."""

    check_every: Count = 20


@final
class SweepFile(Section):
    """A whole sweep file."""

    do: Annotated[Do, READ_LOOSELY]
    base: BaseSection
    title: Annotated[str, Field(min_length=1)] | None = None
    seeds: Count = 1
    mode: Annotated[Mode, READ_LOOSELY] = Mode.GRID
    axes: dict[str, JsonValue] = {}  # noqa: RUF012  pydantic copies it
    points: Annotated[tuple[PointSection, ...], Field(strict=False)] = ()
    evaluate_with: Settings | None = None
    probe_images: Count = 64
    ngspice: NgspiceSection | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.axes) is bool(self.points):
            raise ValueError(
                "say what is varied: [axes], lists of values by key, or [[points]], one table each; one of them"
            )
        if self.points and self.mode is Mode.ONE_AT_A_TIME:
            raise ValueError('mode = "one_at_a_time" is for [axes]; [[points]] are taken as they are')
        if self.evaluate_with is not None and self.do is not Do.TRAIN:
            raise ValueError(f'evaluate_with is for do = "train"; with do = "{self.do.value}" set it in [base]')
        if self.do is not Do.EVALUATE and "probe_images" in self.model_fields_set:
            raise ValueError(f'probe_images is for do = "evaluate", which measures gradients; not "{self.do.value}"')
        if self.do is Do.TRAIN and self.base.train_with is not None:
            raise ValueError('base.train_with is for a base that is trained first; with do = "train" write base.set')
        return self


_PLACES: Final[dict[str, type[Section]]] = {
    "": SweepFile,
    "base": BaseSection,
    "points": PointSection,
    "ngspice": NgspiceSection,
}


def load_sweep(path: Path) -> SweepFile:
    """Read a sweep file.

    Raises:
        SweepError: if it is missing, no TOML, or has a wrong key or value; all of them at once.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SweepError(f"{path}: no such file; name a sweep, a TOML file with do, [base] and [axes]") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SweepError(f"{path}: cannot be read ({error}); name a sweep, a TOML file") from error
    except tomllib.TOMLDecodeError as error:
        raise SweepError(f"{path}: not valid TOML: {error}") from error
    try:
        return SweepFile.model_validate(tables)
    except ValidationError as error:
        raise SweepError("\n".join(f"{path}: {_explain(m)}" for m in error.errors(include_url=False))) from None


def _explain(mistake: Any) -> str:
    """Return a line for a person: the place, what is wrong, what is allowed."""
    place = ".".join(map(str, mistake["loc"]))
    if mistake["type"] == "extra_forbidden":
        table, name = mistake["loc"][0] if len(mistake["loc"]) > 1 else "", str(mistake["loc"][-1])
        names = list(_PLACES.get(table, SweepFile).model_fields)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        meant = f"; did you mean '{near[0]}'?" if near else "."
        return f"{place}: unknown key{meant} Allowed here: {', '.join(names)}"
    if mistake["type"] == "missing":
        hints = {
            "do": f"write do = one of {', '.join(repr(kind.value) for kind in Do)}",
            "base": 'write [base] with run = "..." or config = "..."',
        }
        return f"{place}: missing; {hints.get(place, 'it has no default')}"
    if mistake["type"] == "value_error":
        return f"{place}: {mistake['ctx']['error']}".removeprefix(": ")
    return f"{place} = {mistake['input']!r}: {mistake['msg'][:1].lower()}{mistake['msg'][1:]}"
