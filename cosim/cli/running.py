"""Subcommands that make, sum up and score a run: train, show, eval."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from .options import CHECKPOINTS, DATA_OPTION, FOLDER, JSON_OPTION, SET_OPTION, make_console, print_lines, write_json


@click.command()
@click.argument("config", type=FOLDER, required=False)
@click.option("--out", required=True, type=FOLDER, metavar="RUN", help="Run folder; made new, or empty.")
@click.option("--resume", is_flag=True, help="Go on after the run folder's last checkpoint; CONFIG may be left out.")
@click.option(
    "--from",
    "origin",
    metavar="RUN|CHECKPOINT",
    help="Begin with the network of another run, on circuits; what CONFIG leaves out is as there. With --resume: last, "
    "previous or best, to go on after another checkpoint.",
)
@click.option("--force", is_flag=True, help="Replace a run that is there; files of your own in it are refused.")
@DATA_OPTION
@click.option("--dask", metavar="ADDRESS", help="Relax on the workers of a Dask scheduler, as tcp://host:8786.")
@SET_OPTION
@JSON_OPTION
def train(
    *,
    config: Path | None,
    out: Path,
    resume: bool,
    origin: str | None,
    force: bool,
    data: Path | None,
    dask: str | None,
    overrides: Sequence[str],
    json_file: str | None,
) -> None:
    """Train the network of a TOML file, CONFIG, or of another run (--from), into a run folder."""
    if resume and force:
        raise click.UsageError("--resume goes on with a run and --force replaces it: give one of them")
    if resume and origin is not None and origin not in CHECKPOINTS.choices:
        raise click.UsageError(
            f"--from {origin}: with --resume it names a checkpoint, last, previous or best; a run that began with "
            "another one goes on without it"
        )
    if not resume and origin in CHECKPOINTS.choices and not Path(origin).exists():
        raise click.UsageError(f"--from {origin} says which checkpoint to go on after: give --resume too")
    if config is None and not resume and origin is None:
        raise click.UsageError("Missing argument 'CONFIG'; only --from RUN and --resume do without")
    from ..training.checkpoints import Checkpoints, Which
    from ..training.config_file import load_config
    from ..training.data import with_data
    from ..training.run import train as train_run
    from ..training.start import complete_tables, configuration_to_resume

    console = make_console(json_file)
    overrides = overrides if dask is None else [*overrides, f"simulator.dask={dask}"]
    start = Which(origin or "last") if resume else None
    source = configuration_to_resume(out, config) if resume else config
    run = None if resume or origin is None else Path(origin)
    try:
        loaded = load_config(source, overrides, complete=lambda tables: complete_tables(tables, run))
        settings = with_data(loaded, data)
        result = train_run(settings, out, resume=start, force=force, console=console)
    except KeyboardInterrupt:
        if Checkpoints(folder=out).exist:
            how = f"tellegen train --resume --out {shlex.quote(str(out))}"
            click.echo(f"stopped; {out} keeps everything done, and goes on by: {how}", err=True)
        else:
            again = f"start again, with --force to replace {out}" if out.is_dir() else "start again"
            click.echo(f"stopped before the first checkpoint, so nothing is kept: {again}", err=True)
        raise
    pictures = " and ".join(path.name for path in (out / "training.png", out / "blocks.png") if path.exists())
    print_lines(console, (*result.lines(), f"wrote result.json, {pictures} in {out}; tellegen show {out} sums it up"))
    write_json(result.to_json(), json_file)


@click.command()
@click.argument("run", type=FOLDER)
@JSON_OPTION
def show(run: Path, json_file: str | None) -> None:
    """Sum up a run folder, RUN, finished or not: how far, how good, what its blocks do, and where its pictures are."""
    from ..training.summary import summarise

    summary = summarise(run)
    console = make_console(json_file)
    print_lines(console, summary.lines())
    write_json(summary.to_json(), json_file)


@click.command(name="eval")
@click.argument("run", metavar="RUN|BUNDLE", type=FOLDER)
@click.option("--simulator", type=click.Choice(["newton", "ngspice"]), help="Another simulator than the run's.")
@click.option("--from", "which", type=CHECKPOINTS, help="Which checkpoint of a run; the last by default.")
@DATA_OPTION
@JSON_OPTION
def evaluate(*, run: Path, simulator: str | None, which: str | None, data: Path | None, json_file: str | None) -> None:
    """Score a checkpoint of a run folder, RUN, or the decks of a BUNDLE, on the images held out."""
    from ..compilation.bundle import is_bundle
    from ..training.config import SimulatorKind

    chosen = None if simulator is None else SimulatorKind(simulator)
    if is_bundle(run):
        from ..compilation.compiled_run import evaluate_bundle

        if which is not None:
            raise click.UsageError(f"--from: {run} is a bundle, which holds one checkpoint; leave it out")
        result = evaluate_bundle(run, simulator=chosen, data=data)
    else:
        from ..training.checkpoints import Which
        from ..training.run import evaluate as evaluate_run

        result = evaluate_run(run, simulator=chosen, which=Which(which or "last"), data=data)
    console = make_console(json_file)
    print_lines(console, result.lines())
    write_json(result.to_json(), json_file)
