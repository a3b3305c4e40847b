"""Subcommands that look at what there is: doctor, gradcheck, bench, presets, demo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from .options import DATA_OPTION, FOLDER, JSON_OPTION, SET_OPTION, fail_unless, make_console, print_lines, write_json

DEFAULT_BETAS = "default"  # stands for --betas without numbers


@click.command()
@JSON_OPTION
def doctor(json_file: str | None) -> None:
    """Check this machine: versions, ngspice, both simulators on a small circuit, and how to fix what is missing."""
    from ..doctor import diagnose

    diagnosis = diagnose()
    make_console(json_file).print(diagnosis.table(), highlight=False, markup=False, soft_wrap=True)
    write_json(diagnosis.to_json(), json_file)
    fail_unless(diagnosis.ok)


@click.command()
@click.argument("target", metavar="RUN|CONFIG", type=FOLDER)
@click.option(
    "--out",
    type=FOLDER,
    metavar="FOLDER",
    help="Folder that gets the bar plot, made if missing; by default the RUN itself, nothing for a CONFIG.",
)
@click.option("--beta", type=float, help="Another nudge than the network's own.")
@click.option("--ac", is_flag=True, help="Read the gradients out of ngspice itself, too: one .ac analysis a sample.")
@click.option(
    "--betas",
    is_flag=False,
    flag_value=DEFAULT_BETAS,
    metavar="[=B,B,...]",
    help="Measure errors over a sweep of beta, 1e-7 to 2 or --betas=1e-4,1e-3,0.01, and say where bias and noise "
    "balance; drawn beside the bar plot.",
)
@DATA_OPTION
@JSON_OPTION
def gradcheck(
    *,
    target: Path,
    out: Path | None,
    beta: float | None,
    ac: bool,
    betas: str | None,
    data: Path | None,
    json_file: str | None,
) -> None:
    """Compare equilibrium propagation with implicit differentiation and finite differences, tensor by tensor."""
    from ..studies.beta_sweep import BETAS
    from ..studies.gradcheck import gradcheck as check_gradients

    values = None if betas is None else (BETAS if betas == DEFAULT_BETAS else _parse_betas(betas))
    console = make_console(json_file)
    report = check_gradients(target, out=out, beta=beta, ac=ac, betas=values, data=data, console=console)
    for table in report.tables():
        console.print(table)
    print_lines(console, () if report.advice is None else (report.advice,))
    write_json(report.to_json(), json_file)
    fail_unless(report.passed)


@click.group()
def bench() -> None:
    """Measure speed."""


@bench.command()
@click.option(
    "--sizes",
    default=None,
    metavar="SIZES",
    help="Blocks as 256-128-10,64-32-10: inputs, then units of each layer, commas between blocks.",
)
@JSON_OPTION
def relaxation(sizes: str | None, json_file: str | None) -> None:
    """Time one relaxation: ngspice per sample, folded, streamed and mirrored, against newton, on one core."""
    from ..studies.relaxation_bench import relaxation_bench

    report = relaxation_bench() if sizes is None else relaxation_bench(_parse_sizes(sizes))
    make_console(json_file).print(report.table())
    write_json(report.to_json(), json_file)


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--out", type=FOLDER, metavar="DIR", help="Folder that gets a NAME.png each, made if missing.")
@JSON_OPTION
def presets(*, names: Sequence[str], out: Path | None, json_file: str | None) -> None:
    """List presets of devices, diodes, converters and the paper's networks, all or those of a NAME; --out draws them.

    Each comes with its numbers, what is modelled and the source; those of a NAME with a note on what was inferred or
    left out, too, and a network with the configuration file that it stands for.
    """
    from ..studies.presets import list_presets

    listed = list_presets(names, out=out)
    console = make_console(json_file)
    console.print(listed.table(notes=bool(names)))
    print_lines(console, listed.files() if names else ())
    if out is not None:
        files = ", ".join(path.name for path in listed.plots)
        console.print(f"wrote {files} in {out}", highlight=False, markup=False, soft_wrap=True)
    write_json(listed.to_json(), json_file)


@click.command()
@click.option("--out", default="runs/demo", show_default=True, type=FOLDER, metavar="RUN", help="Run folder.")
@click.option("--force", is_flag=True, help="Replace a run that is there.")
@click.option("--config", type=FOLDER, help="Another configuration than examples/digits.toml.")
@SET_OPTION
@JSON_OPTION
def demo(*, out: Path, force: bool, config: Path | None, overrides: Sequence[str], json_file: str | None) -> None:
    """Train handwritten digits at circuit level, evaluate, check gradients, plot: about a minute on two cores."""
    from ..studies.demo import demo as run_demo

    report = run_demo(out, config=config, overrides=overrides, force=force, console=make_console(json_file))
    write_json(report.to_json(), json_file)
    fail_unless(report.passed)


def _parse_sizes(text: str) -> list[tuple[int, ...]]:
    """Read "256-128-10,64-32-10"."""
    sizes = []
    for block in text.split(","):
        parts = block.strip().split("-")
        if len(parts) < 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
            raise click.BadParameter(f"'{block}': write inputs and units as 256-128-10", param_hint="--sizes")
        sizes.append(tuple(int(part) for part in parts))
    return sizes


def _parse_betas(text: str) -> tuple[float, ...]:
    """Read "1e-4,1e-3,0.01"; the study itself judges the numbers."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(
            f"'{text}': write numbers with commas as --betas=1e-4,1e-3,0.01, or --betas alone behind RUN|CONFIG",
            param_hint="--betas",
        ) from None
