"""From a sweep file to its points: every configuration is built and checked before anything is computed.

Seeds. Point k of the seeds has k added to every `seed` in the tables that are on, but for that of `[data]`: chips
differ from seed to seed and are the same for all values of an axis, so that differences are paired. `training.seed` is
among them where something is trained. A seed that is an axis itself stays as the axis has it. Where no seed changes
anything (an evaluation without chips, or with converters that draw nothing) there is one point.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Final, final

from pydantic import JsonValue

from ..training.config_file import Tables
from .axes import Axis, apply, check, expand, flatten, parse_axes, value_at, word_for_none
from .base import FoundBase, find_base, runnable, with_seed
from .errors import SweepError
from .point import Point, result_tables
from .sweep_file import Do, Mode, SweepFile

# Columns of the results that no axis may be called.
RESERVED: Final = frozenset({"position", "setting", "label", "seed", "status", "error", "key", "wall_s", "cpu_s"})
TABLES_THAT_NO_POINT_SETS: Final = {
    "start": "a sweep begins with [base]",
    "data": "the base was trained on its own images",
}


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """A combination of values, before seeds."""

    label: str | None
    values: dict[str, JsonValue]
    settings: dict[str, JsonValue]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All that a sweep will do.

    Args:
        spec: the sweep file.
        axes: of it; of `[[points]]` one for each key that they set.
        points: in order, one a seed.
        base: what they begin with.
        nominal: the values of the nominal point by axis, with mode one_at_a_time.
    """

    spec: SweepFile
    axes: tuple[Axis, ...]
    points: tuple[Point, ...]
    base: FoundBase
    nominal: Mapping[str, JsonValue] | None

    @property
    def jobs(self) -> tuple[Point, ...]:
        """The points that are computed: the first of each key."""
        first: dict[str, Point] = {}
        for point in self.points:
            first.setdefault(point.key, point)
        return tuple(first.values())

    def to_json(self) -> dict[str, Any]:
        """Return what must not change when a sweep goes on."""
        return {
            "sweep": self.spec.model_dump(mode="json"),
            "base": {"fingerprint": self.base.fingerprint, "config": result_tables(self.base.config)},
        }


def make_plan(spec: SweepFile, *, out: Path, source: Path, data: Path | None = None) -> Plan:
    """Return the points of a sweep, all checked.

    Args:
        spec: the sweep file.
        out: the sweep's folder; a base that is still to be trained goes there.
        source: the sweep file's place, for errors and for paths beside it.
        data: where the images are, if not where the base says.

    Raises:
        SweepError: for an axis that does not exist, with the nearest names, or a value of the wrong type.
        ConfigError, RunError, DataError: if the base cannot be used.
    """
    base = find_base(spec, out=out, source=source, data=data)
    shared = apply(base.tables, flatten(spec.base.set), f"{source}: base.set")
    _refuse_idle(spec, flatten(spec.base.set), f"{source}: base.set")
    check(shared, f"{source}: base.set")
    axes = parse_axes(spec.axes)
    wrong = [axis.name for axis in axes if axis.name in RESERVED]
    if wrong:
        raise SweepError(f"{source}: axes: '{wrong[0]}' is a column of the results; call the axis otherwise")
    nominal = _nominal(axes, shared) if spec.mode is Mode.ONE_AT_A_TIME else None
    settings = list(_list_settings(spec, axes, nominal))
    points: list[Point] = []
    for number, setting in enumerate(settings):
        points += _points_of(spec, base, shared, setting, number, len(points), str(source))
    plan = Plan(spec=spec, axes=axes or _axes_of_points(settings), points=tuple(points), base=base, nominal=nominal)
    return plan if spec.ngspice is None else _with_checks(plan, spec.ngspice.check_every)


def _nominal(axes: Sequence[Axis], shared: Tables) -> dict[str, JsonValue]:
    """Return what each axis has where it is not varied; None by the word for it."""
    values: dict[str, JsonValue] = {}
    for axis in axes:
        path = expand(axis.keys[0], shared)[0]
        value = value_at(shared, path)
        values[axis.name] = word_for_none(shared, path) if value is None else value
    return values


def _list_settings(spec: SweepFile, axes: Sequence[Axis], nominal: Mapping[str, JsonValue] | None) -> Iterator[Setting]:
    if spec.points:
        names = dict.fromkeys(name for point in spec.points for name in flatten(point.set))
        for point in spec.points:
            given = flatten(point.set)
            yield Setting(label=point.label, values={name: given.get(name) for name in names}, settings=given)
    elif nominal is not None:
        yield Setting(label="nominal", values=dict(nominal), settings={})
        for axis in axes:
            for value in axis.values:
                label = f"{axis.name} = {value if isinstance(value, str) else json.dumps(value)}"
                yield Setting(
                    label=label, values={**nominal, axis.name: value}, settings=dict.fromkeys(axis.keys, value)
                )
    else:
        for values in product(*(axis.values for axis in axes)):
            pairs = list(zip(axes, values, strict=True))
            settings = {key: value for axis, value in pairs for key in axis.keys}
            yield Setting(label=None, values={axis.name: value for axis, value in pairs}, settings=settings)


def _points_of(
    spec: SweepFile, base: FoundBase, shared: Tables, setting: Setting, number: int, position: int, source: str
) -> list[Point]:
    """Return the points of a setting, one a seed; one alone where seeds change nothing."""
    spelt = ", ".join(f'"{key}" = {json.dumps(value)}' for key, value in setting.settings.items())
    where = (
        f"{source}: {setting.label or 'point'} ({spelt})" if spec.points else f"{source}: axes: {spelt or 'nominal'}"
    )
    _refuse_idle(spec, setting.settings, where)
    tables = apply(shared, setting.settings, where)
    check(tables, where)
    fixed = {path for key in setting.settings for path in expand(key, tables)}
    points: list[Point] = []
    for k in range(spec.seeds):
        config = runnable(check(with_seed(tables, k, fixed, trains=spec.do is not Do.EVALUATE), where))
        config = base.started(config, k)
        evaluated = None
        if spec.evaluate_with is not None:
            there = f"{source}: evaluate_with"
            changed = apply(tables, flatten(spec.evaluate_with), there)
            kept = fixed | {path for key in flatten(spec.evaluate_with) for path in expand(key, changed)}
            evaluated = runnable(check(with_seed(changed, k, kept, trains=False), there))
        point = Point(
            position=position + len(points),
            setting=number,
            label=setting.label,
            values=setting.values,
            seed=k,
            do=spec.do,
            config=config,
            base=None if spec.do is Do.TRAIN else base.of_seed(k),
            evaluate_with=evaluated,
            probe_images=spec.probe_images,
        )
        if not points or point.key != points[0].key:
            points.append(point)
    return points


def _refuse_idle(spec: SweepFile, settings: Mapping[str, JsonValue], where: str) -> None:
    """Refuse keys that would change nothing, or the base itself.

    Raises:
        SweepError: with what would do.
    """
    for key in settings:
        table, _, rest = key.partition(".")
        if table == "start" or (table == "data" and spec.do is not Do.TRAIN):
            raise SweepError(f"{where}: '{key}' cannot be set: {TABLES_THAT_NO_POINT_SETS[table]}; leave it out")
        if spec.do is Do.EVALUATE and table == "training" and rest != "loss":
            raise SweepError(
                f"{where}: '{key}' changes nothing where nothing is trained; set do = \"train\" or "
                '"program-then-finetune"'
            )
        if spec.do is Do.EVALUATE and table == "circuit":
            raise SweepError(
                f"{where}: '{key}' says what a run is programmed into; set do = \"program-then-finetune\", or program "
                "it once, by `tellegen train --from RUN`, and sweep that"
            )


def _axes_of_points(settings: Sequence[Setting]) -> tuple[Axis, ...]:
    """Return the keys that points by hand set, as axes, for the columns of the results."""
    values: dict[str, dict[str, JsonValue]] = {}
    for setting in settings:
        for name, value in setting.values.items():
            values.setdefault(name, {})[json.dumps(value, sort_keys=True)] = value
    return tuple(Axis(name=name, keys=(name,), values=tuple(found.values())) for name, found in values.items())


def _with_checks(plan: Plan, every: int) -> Plan:
    """Return a plan in which one computed point in so many is checked in ngspice."""
    chosen = {point.position for point in plan.jobs[::every]}
    points = tuple(replace(p, check_in_ngspice=True) if p.position in chosen else p for p in plan.points)
    return replace(plan, points=points)
