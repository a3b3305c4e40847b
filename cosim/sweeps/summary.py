"""summary.md: what was swept, what came of it, what failed, and how to do it again."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ..files import write_atomically
from .axis_scale import spell
from .results import Results
from .sweep_file import Do, Mode
from .tornado import list_effects

_COLUMNS: Final = {
    "accuracy": "accuracy",
    "accuracy_before": "before training",
    "accuracy_as_trained": "as trained",
    "epochs_to_90": "epochs to 90 %",
    "gradient_cosine": "gradient cosine",
    "gradient_norm_ratio": "norm ratio",
    "estimate_cosine": "estimate cosine",
    "estimate_norm_ratio": "norm ratio",
}
_SEEDS: Final = (
    "- Seeds: seed k adds k to every `seed` of the tables that are on, but that of the images; a combination in which "
    "nothing is random has one point."
)
_WHAT: Final = {
    Do.EVALUATE: "the base network, evaluated under each point's configuration",
    Do.TRAIN: "each point's configuration, trained from its seed",
    Do.FINETUNE: "the base network, programmed and trained as each point says",
}


def write_summary(
    results: Results,
    pictures: Mapping[str, str],
    path: Path,
    *,
    title: str,
    command: str,
    versions: Mapping[str, str | None],
    wall_s: float,
) -> None:
    """Write the summary.

    Args:
        results: of the sweep.
        pictures: what each shows, by file name.
        path: the file.
        title: what the sweep is.
        command: how it was started.
        versions: of what computed it.
        wall_s: s of this sitting.

    Raises:
        RunError: if the file cannot be written.
    """
    sections = [
        [f"# {title}"],
        _facts(results, command, versions, wall_s),
        _failures(results),
        ["## Results", "", *_table(results)],
        _effects(results),
        _checks(results),
        _shown(pictures),
    ]
    text = "\n\n".join("\n".join(lines) for lines in sections if lines)
    write_atomically(path, f"{text}\n".encode())


def _facts(results: Results, command: str, versions: Mapping[str, str | None], wall_s: float) -> list[str]:
    plan = results.plan
    base = plan.base
    jobs = plan.jobs
    spent = sum(outcome.cpu_s for outcome in results.outcomes.values())
    where = f"run `{base.run}`, its {base.which.value} checkpoint" if base.run is not None else "a configuration"
    trained = ", trained first, once a seed, into `base/`" if base.trains else ""
    seeds = "1 seed" if plan.spec.seeds == 1 else f"{plan.spec.seeds} seeds"
    n_settings, n_failed = len(results.settings()), len(results.failed)
    same = len(plan.points) - len(jobs)
    shared = f" ({same} of them the same as another one, computed once)" if same else ""
    known = ", ".join(f"{name} {version}" for name, version in versions.items() if version is not None)
    return [
        f"- What is done: {_WHAT[plan.spec.do]}.",
        f"- Base: {where}{trained}.",
        f"- Points: {len(plan.points)}{shared}, from {n_settings} combinations and {seeds}; {n_failed} failed.",
        _SEEDS,
        *[
            f"- Axis `{axis.name}`: {', '.join(map(spell, axis.values))}{_keys(axis.keys, axis.name)}"
            for axis in plan.axes
        ],
        f"- Time: {wall_s:.1f} s this time; all points together {spent:.1f} s of CPU.",
        f"- Command: `{command or 'cosim.sweeps.sweep.sweep'}`, finished {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
        f"- Versions: {known}.",
    ]


def _keys(keys: Sequence[str], name: str) -> str:
    return "." if tuple(keys) == (name,) else f", which sets {', '.join(f'`{key}`' for key in keys)}."


def _failures(results: Results) -> list[str]:
    failed = results.failed
    if not failed:
        return []
    lines = [
        "## Failed points",
        "",
        "They are in `results.csv` with their whole error; `--retry` tries them again.",
        "",
    ]
    for point in failed[:20]:
        error = (results.outcomes[point.key].error or "").strip().splitlines()[-1]
        where = point.label or ", ".join(f"{name} = {spell(value)}" for name, value in point.values.items())
        lines.append(f"- point {point.position} ({where}, seed {point.seed}): {error}")
    return [*lines, *([f"- and {len(failed) - 20} more"] if len(failed) > 20 else [])]


def _table(results: Results) -> list[str]:
    plan = results.plan
    measures = [name for name in _COLUMNS if results.measures(name)]
    labelled = any(point.label for point in plan.points)
    heads = [
        *(["point"] if labelled else []),
        *(axis.name for axis in plan.axes),
        *(_COLUMNS[m] for m in measures),
        "seeds",
    ]
    lines = [_row(heads), _row(["---"] * len(heads))]
    for point in results.settings():
        cells = [*([point.label or ""] if labelled else []), *(spell(value) for value in point.values.values())]
        for name in measures:
            found = results.estimate(point.setting, name)
            cells.append(found.spell(".1f" if name == "epochs_to_90" else ".4f") if found.values else "failed")
        n_right = len(results.by_seed(point.setting, "accuracy"))
        n_all = len(results.points_of(point.setting))
        lines.append(_row([*cells, str(n_all) if n_right == n_all else f"{n_right} of {n_all}"]))
    note = "Mean and half width of the 95 % confidence interval (Student's t) over the seeds."
    if results.measures("gradient_cosine"):
        note += (
            " Gradient cosine and the norm ratio after it: conductance gradients by equilibrium propagation against "
            "the exact ones of the ideal network; estimate cosine: against the exact ones of the same circuit."
        )
    return [*lines, "", note]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _effects(results: Results) -> list[str]:
    if results.plan.spec.mode is not Mode.ONE_AT_A_TIME:
        return []
    lines = [
        "## Each effect alone",
        "",
        "Change of accuracy from the nominal point, paired by seed; largest first.",
        "",
    ]
    lines += [_row(["axis", "nominal", "value", "change"]), _row(["---"] * 4)]
    for effect in list_effects(results):
        lines += [
            _row([effect.axis, spell(effect.nominal), spell(end.value), end.change.spell("+.4f")])
            for end in effect.ends
        ]
    return lines


def _checks(results: Results) -> list[str]:
    found = [o.measured for o in results.outcomes.values() if "ngspice_accuracy" in o.measured]
    spec = results.plan.spec.ngspice
    if spec is None:
        return []
    lines = ["## Check in ngspice", ""]
    if not found:
        return [*lines, "No point that was to be checked was measured."]
    accuracy = max((abs(float(_number(m["ngspice_accuracy_difference"]))) for m in found), default=0.0)
    voltage = max((float(_number(m["ngspice_voltage_difference_v"])) for m in found), default=0.0)
    text = (
        f"One point in {spec.check_every}, {len(found)} in all, was evaluated in ngspice as well: the accuracy differs "
        f"by {accuracy:.4f} at most, the states of all layers, with ideal converters, by {voltage:.1e} V."
    )
    return [*lines, text]


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _shown(pictures: Mapping[str, str]) -> list[str]:
    lines = ["## Files", "", "- `results.parquet`, `results.csv`: one row a point, failed ones with their error."]
    lines += [f"- `{name}`: {text}." for name, text in pictures.items()]
    if not any(name == "accuracy.png" for name in pictures):
        lines.append("- No curves: no point was measured, or there are too many combinations to draw.")
    return [*lines, *(f"\n![{text}]({name})" for name, text in pictures.items())]
