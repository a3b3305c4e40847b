"""The command `tellegen`: each subcommand is a thin skin over one public function.

Exit status: 0 ok, 1 a check failed, 2 bad input, a missing simulator or an equilibrium that is not found (one
message on stderr), 130 interrupted. Nothing heavy is imported before a subcommand runs, so that `tellegen --help`
answers at once.
"""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from rich.console import Console

CHECK_FAILED = 1
BAD_INPUT = 2
INTERRUPTED = 130

FOLDER = click.Path(path_type=Path)


class Commands(click.Group):
    """A group whose commands end with one message instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a subcommand and turn its failure into an exit status."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            from circuits.errors import TellegenError

            if ctx.params.get("debug") or not isinstance(error, TellegenError):
                raise
            click.echo(f"tellegen: {error}", err=True)
            ctx.exit(BAD_INPUT)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a warning as a sentence: the line of our source that it came from helps no one."""
    del category, filename, lineno, file, line
    click.echo(f"warning: {message}", err=True)


def _check_json(_ctx: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Refuse a file that could not be written, before hours are spent on what goes into it."""
    if value is None or value == "-":
        return value
    path = Path(value)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise click.BadParameter(f"{value}: its folder does not exist, or it is a folder itself")
    return value


JSON_OPTION = click.option(
    "--json", "json_file", metavar="FILE", callback=_check_json, help="Write the result as JSON; - is standard output."
)
SET_OPTION = click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Override a key, as in training.epochs=1; examples/all_keys.toml has them all. Repeatable.",
)


DATA_OPTION = click.option(
    "--data", type=FOLDER, metavar="PATH", help="CIFAR-10: archive, extracted folder or .npz; else $TELLEGEN_CIFAR10."
)
CHECKPOINTS = click.Choice(["last", "previous", "best"])
SIEMENS = click.FloatRange(min=0, min_open=True)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tellegen")
@click.option("--debug", is_flag=True, help="Show a traceback with an error.")
def main(*, debug: bool) -> None:
    """Co-simulate hybrid networks whose energy blocks are analog circuits, trained by equilibrium propagation."""
    del debug  # read by `Commands`


@main.command()
@JSON_OPTION
def doctor(json_file: str | None) -> None:
    """Check this machine: versions, ngspice, both simulators on a small circuit, and how to fix what is missing."""
    from .doctor import diagnose

    diagnosis = diagnose()
    _console(json_file).print(diagnosis.table(), highlight=False, markup=False, soft_wrap=True)
    _write_json(diagnosis.to_json(), json_file)
    _fail_unless(diagnosis.ok)


@main.command()
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
    from .training.checkpoints import Checkpoints, Which
    from .training.config_file import load_config
    from .training.data import with_data
    from .training.run import train as train_run
    from .training.start import complete_tables, configuration_to_resume

    console = _console(json_file)
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
    for line in (*result.lines(), f"wrote result.json, {pictures} in {out}; tellegen show {out} sums it up"):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    _write_json(result.to_json(), json_file)


@main.command()
@click.argument("run", type=FOLDER)
@JSON_OPTION
def show(run: Path, json_file: str | None) -> None:
    """Sum up a run folder, RUN, finished or not: how far, how good, what its blocks do, and where its pictures are."""
    from .training.summary import summarise

    summary = summarise(run)
    console = _console(json_file)
    for line in summary.lines():
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    _write_json(summary.to_json(), json_file)


@main.command(name="eval")
@click.argument("run", metavar="RUN|BUNDLE", type=FOLDER)
@click.option("--simulator", type=click.Choice(["newton", "ngspice"]), help="Another simulator than the run's.")
@click.option("--from", "which", type=CHECKPOINTS, help="Which checkpoint of a run; the last by default.")
@DATA_OPTION
@JSON_OPTION
def evaluate(*, run: Path, simulator: str | None, which: str | None, data: Path | None, json_file: str | None) -> None:
    """Score a checkpoint of a run folder, RUN, or the decks of a BUNDLE, on the images held out."""
    from .compilation.bundle import is_bundle
    from .training.config import SimulatorKind

    chosen = None if simulator is None else SimulatorKind(simulator)
    if is_bundle(run):
        from .compilation.compiled_run import evaluate_bundle

        if which is not None:
            raise click.UsageError(f"--from: {run} is a bundle, which holds one checkpoint; leave it out")
        result = evaluate_bundle(run, simulator=chosen, data=data)
    else:
        from .training.checkpoints import Which
        from .training.run import evaluate as evaluate_run

        result = evaluate_run(run, simulator=chosen, which=Which(which or "last"), data=data)
    console = _console(json_file)
    for line in result.lines():
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    _write_json(result.to_json(), json_file)


@main.command(name="compile")
@click.argument("run", type=FOLDER)
@click.option("--out", required=True, type=FOLDER, metavar="BUNDLE", help="Folder of the bundle; made new, or empty.")
@click.option("--tile", default="64x64", show_default=True, metavar="RxC", help="Largest tile: row and column wires.")
@click.option("--samples", type=click.IntRange(min=1), metavar="N", help="Decks for the first N images held out.")
@click.option("--verify", is_flag=True, help="Run the samples' decks in ngspice and compare; 3 without --samples.")
@click.option("--from", "which", type=CHECKPOINTS, default="last", show_default=True, help="Which checkpoint.")
@click.option("--force", is_flag=True, help="Replace a bundle that is there; other files are refused.")
@click.option("--g-min", "g_min_s", type=SIEMENS, metavar="S", help="Lowest conductance of a device, siemens.")
@click.option("--g-max", "g_max_s", type=SIEMENS, metavar="S", help="Highest conductance of a device, siemens.")
@click.option("--window", type=click.Choice(["rescale", "clip"]), help="How weights get into the window; else rescale.")
@click.option("--strict", is_flag=True, help="Refuse weights outside the window.")
@click.option("--passive", is_flag=True, help="Refuse active leaks.")
@click.option("--clip-passive", is_flag=True, help="Shrink weights until no leak is active; says what that cost.")
@click.option("--allow-several-equilibria", is_flag=True, help="Compile what may have more than one equilibrium.")
@click.option("--circuit", type=FOLDER, metavar="FILE", help="TOML with a [circuit] table: window, scale, diodes.")
@DATA_OPTION
@JSON_OPTION
def compile_(
    *,
    run: Path,
    out: Path,
    tile: str,
    samples: int | None,
    verify: bool,
    which: str,
    force: bool,
    g_min_s: float | None,
    g_max_s: float | None,
    window: str | None,
    strict: bool,
    passive: bool,
    clip_passive: bool,
    allow_several_equilibria: bool,
    circuit: Path | None,
    data: Path | None,
    json_file: str | None,
) -> None:
    """Compile the network of a run folder, RUN, to a bundle of netlists that plain ngspice runs.

    Hopfield stages are programmed into crossbars with a leak a unit; analog stages move into a window that is given.
    """
    if strict and window is not None:
        raise click.UsageError("--strict refuses weights outside the window, --window changes them: give one of them")
    if passive and clip_passive:
        raise click.UsageError("--passive refuses active leaks and --clip-passive shrinks weights: give one of them")
    from circuits.tiles import TileSize

    from .compilation.compiled_run import VERIFIED_SAMPLES, compile_run
    from .compilation.programmed_run import choose_programming
    from .compilation.programming_texts import programming_lines
    from .compilation.verification import verify_bundle
    from .programming.settings import ActiveLeaks, OutOfWindow
    from .training.checkpoints import Which

    console = _console(json_file)
    wanted = samples or (VERIFIED_SAMPLES if verify else 0)
    fit = "refuse" if strict else window
    leaks = "refuse" if passive else "clip" if clip_passive else None
    programming = choose_programming(
        circuit,
        g_min_s=g_min_s,
        g_max_s=g_max_s,
        out_of_window=None if fit is None else OutOfWindow(fit),
        active_leaks=None if leaks is None else ActiveLeaks(leaks),
        allow_several_equilibria=allow_several_equilibria or None,
    )
    bundle = compile_run(
        run,
        out,
        tile=TileSize.parse(tile),
        samples=wanted,
        which=Which(which),
        data=data,
        force=force,
        programming=programming,
        console=console,
    )
    console.print(bundle.table())
    first = bundle.manifest.blocks[0]
    lines = programming_lines(bundle.manifest)
    lines += [f"wrote {out}; its README.md goes on from: cd {out / first.folder} && ngspice -b top.cir"]
    report = verify_bundle(out, console=console) if verify else None
    lines += [] if report is None else report.lines()
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    _write_json({**bundle.to_json(), "verify": None if report is None else report.to_json()}, json_file)
    _fail_unless(report is None or report.passed)


@main.command()
@click.argument("bundle", type=FOLDER)
@JSON_OPTION
def verify(bundle: Path, json_file: str | None) -> None:
    """Run every sample's deck of a BUNDLE in ngspice, and compare with the voltages that its network has."""
    from .compilation.verification import verify_bundle

    console = _console(json_file)
    report = verify_bundle(bundle, console=console)
    for line in report.lines():
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    _write_json(report.to_json(), json_file)
    _fail_unless(report.passed)


@main.command()
@click.argument("target", metavar="RUN|CONFIG", type=FOLDER)
@click.option(
    "--out",
    type=FOLDER,
    metavar="FOLDER",
    help="Folder that gets the bar plot, made if missing; by default the RUN itself, nothing for a CONFIG.",
)
@click.option("--beta", type=float, help="Another nudge than the network's own.")
@DATA_OPTION
@JSON_OPTION
def gradcheck(*, target: Path, out: Path | None, beta: float | None, data: Path | None, json_file: str | None) -> None:
    """Compare equilibrium propagation with implicit differentiation and finite differences, tensor by tensor."""
    from .studies.gradcheck import gradcheck as check_gradients

    report = check_gradients(target, out=out, beta=beta, data=data)
    _console(json_file).print(report.table())
    _write_json(report.to_json(), json_file)
    _fail_unless(report.passed)


@main.group()
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
    from .studies.relaxation_bench import relaxation_bench

    report = relaxation_bench() if sizes is None else relaxation_bench(_parse_sizes(sizes))
    _console(json_file).print(report.table())
    _write_json(report.to_json(), json_file)


@main.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--out", type=FOLDER, metavar="DIR", help="Folder that gets a NAME.png each, made if missing.")
@JSON_OPTION
def presets(*, names: Sequence[str], out: Path | None, json_file: str | None) -> None:
    """List device presets, all or those of a NAME: window, what is modelled, source; --out draws them.

    With a NAME the source comes with a note on what was inferred or left out.
    """
    from .studies.presets import list_presets

    listed = list_presets(names, out=out)
    console = _console(json_file)
    console.print(listed.table(notes=bool(names)))
    if out is not None:
        files = ", ".join(path.name for path in listed.plots)
        console.print(f"wrote {files} in {out}", highlight=False, markup=False, soft_wrap=True)
    _write_json(listed.to_json(), json_file)


@main.group()
def study() -> None:
    """Train many networks, and compare them."""


@study.command()
@click.option("--out", required=True, type=FOLDER, metavar="FOLDER", help="Goes on with what is there.")
@DATA_OPTION
@click.option("--config", type=FOLDER, help="Another configuration than examples/cifar10.toml.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Trainings of each variant.")
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
    from .studies.cifar10 import cifar10_study

    console = _console(json_file)
    try:
        comparison = cifar10_study(
            out,
            data=data,
            config=config,
            overrides=overrides,
            n_seeds=seeds,
            only=only,
            command=_spell_command(),
            console=console,
        )
    except KeyboardInterrupt:
        click.echo(f"stopped; {out} keeps everything done: the same command goes on", err=True)
        raise
    console.print(comparison.table())
    for line in (*comparison.verdicts(), f"wrote study.json, table.md and accuracy.png in {out}"):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    _write_json(comparison.to_json(), json_file)


@main.command()
@click.option("--out", default="runs/demo", show_default=True, type=FOLDER, metavar="RUN", help="Run folder.")
@click.option("--force", is_flag=True, help="Replace a run that is there.")
@click.option("--config", type=FOLDER, help="Another configuration than examples/digits.toml.")
@SET_OPTION
@JSON_OPTION
def demo(*, out: Path, force: bool, config: Path | None, overrides: Sequence[str], json_file: str | None) -> None:
    """Train handwritten digits at circuit level, evaluate, check gradients, plot: about a minute on two cores."""
    from .studies.demo import demo as run_demo

    report = run_demo(out, config=config, overrides=overrides, force=force, console=_console(json_file))
    _write_json(report.to_json(), json_file)
    _fail_unless(report.passed)


def _parse_sizes(text: str) -> list[tuple[int, ...]]:
    """Read "256-128-10,64-32-10"."""
    sizes = []
    for block in text.split(","):
        parts = block.strip().split("-")
        if len(parts) < 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
            raise click.BadParameter(f"'{block}': write inputs and units as 256-128-10", param_hint="--sizes")
        sizes.append(tuple(int(part) for part in parts))
    return sizes


def _spell_command() -> str:
    """Return the command line as it was typed."""
    return shlex.join(["tellegen", *sys.argv[1:]])


def _console(json_file: str | None) -> Console:
    """Return where people read: standard error if standard output carries JSON."""
    from rich.console import Console

    return Console(stderr=json_file == "-")


def _write_json(value: dict[str, Any], json_file: str | None) -> None:
    from .files import format_json, write_atomically

    if json_file == "-":
        click.echo(format_json(value), nl=False)
    elif json_file is not None:
        write_atomically(Path(json_file), format_json(value).encode())


def _fail_unless(ok: bool) -> None:
    if not ok:
        click.get_current_context().exit(CHECK_FAILED)
