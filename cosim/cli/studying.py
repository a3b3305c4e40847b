"""Subcommands that run many networks and compare them: study, sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from .options import (
    DATA_OPTION,
    FOLDER,
    JSON_OPTION,
    OUT_OPTION,
    SEEDS_OPTION,
    SET_OPTION,
    fail_unless,
    make_console,
    print_lines,
    spell_command,
    telling_how_to_go_on,
    write_json,
)


@click.group()
def study() -> None:
    """Train many networks, and compare them."""


@study.command()
@OUT_OPTION
@DATA_OPTION
@click.option("--config", type=FOLDER, help="Another configuration than examples/cifar10.toml.")
@SEEDS_OPTION
@click.option("--only", multiple=True, metavar="VARIANT", help="backprop, implicit, newton, ngspice or ngspice-8bit.")
@SET_OPTION
@JSON_OPTION
def cifar10(
    *,
    out: Path,
    data: Path | None,
    config: Path | None,
    seeds: int,
    only: Sequence[str],
    overrides: Sequence[str],
    json_file: str | None,
) -> None:
    """Compare EP in ngspice, ideal and with 8 bits, EP in newton, exact gradients and plain backprop."""
    from ..studies.cifar10 import cifar10_study

    console = make_console(json_file)
    with telling_how_to_go_on(out, "everything done"):
        comparison = cifar10_study(
            out,
            data=data,
            config=config,
            overrides=overrides,
            n_seeds=seeds,
            only=only,
            command=spell_command(),
            console=console,
        )
    console.print(comparison.table())
    print_lines(console, (*comparison.verdicts(), f"wrote study.json, table.md and accuracy.png in {out}"))
    write_json(comparison.to_json(), json_file)


@study.command()
@OUT_OPTION
@DATA_OPTION
@click.option("--full", is_flag=True, help="Cut a network of 12 couplings into blocks of 4, 3 and 2 as well.")
@SEEDS_OPTION
@click.option(
    "--only", multiple=True, metavar="VARIANT", help="As hopfield-l6-bs2-ep, or '*-bs3-*' for all of a cut. Repeatable."
)
@SET_OPTION
@JSON_OPTION
def splitting(
    *,
    out: Path,
    data: Path | None,
    full: bool,
    seeds: int,
    only: Sequence[str],
    overrides: Sequence[str],
    json_file: str | None,
) -> None:
    """Cut one network into blocks of several sizes, and compare EP with exact gradients in each cut, on all cores."""
    from ..studies.splitting import FILES, splitting_study
    from ..studies.splitting_networks import FULL_NETWORKS, NETWORKS

    console = make_console(json_file)
    with telling_how_to_go_on(out, "every checkpoint"):
        found = splitting_study(
            out,
            networks=FULL_NETWORKS if full else NETWORKS,
            data=data,
            overrides=overrides,
            n_seeds=seeds,
            only=only,
            command=spell_command(),
            console=console,
        )
    for table in found.tables():
        console.print(table)
    print_lines(console, (*found.verdicts(), f"wrote {', '.join(FILES[:-1])} and {FILES[-1]} in {out}"))
    write_json(found.to_json(), json_file)


@click.command()
@click.argument("file", metavar="SWEEP.toml", type=FOLDER)
@click.option("--out", required=True, type=FOLDER, metavar="DIR", help="Goes on with what is there.")
@click.option("--dask", metavar="ADDRESS", help="Run points on the workers of a Dask scheduler, as tcp://host:8786.")
@click.option("--force", is_flag=True, help="Replace a sweep that is there; files of your own in it are refused.")
@click.option("--retry", is_flag=True, help="Try the points again that failed.")
@DATA_OPTION
@JSON_OPTION
def sweep(
    *, file: Path, out: Path, dask: str | None, force: bool, retry: bool, data: Path | None, json_file: str | None
) -> None:
    """Evaluate or train a network at every point of a SWEEP.toml, on all cores, and draw what came of it."""
    from ..simulators.ngspice.dask_executor import dask_executor_factory
    from ..sweeps.sweep import IN_FLIGHT_ON_DASK
    from ..sweeps.sweep import sweep as run_sweep

    console = make_console(json_file)
    with telling_how_to_go_on(out, "every finished point"):
        report = run_sweep(
            file,
            out,
            data=data,
            executor_factory=None if dask is None else dask_executor_factory(dask),
            in_flight=None if dask is None else IN_FLIGHT_ON_DASK,
            force=force,
            retry=retry,
            command=spell_command(),
            console=console,
        )
    print_lines(console, report.lines())
    write_json(report.to_json(), json_file)
    fail_unless(report.passed)
