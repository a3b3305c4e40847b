"""Subcommands about netlists: compile, verify."""

from __future__ import annotations

from pathlib import Path

import click

from .options import CHECKPOINTS, DATA_OPTION, FOLDER, JSON_OPTION, fail_unless, make_console, print_lines, write_json

SIEMENS = click.FloatRange(min=0, min_open=True)


@click.command(name="compile")
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

    from ..compilation.compiled_run import VERIFIED_SAMPLES, compile_run
    from ..compilation.programmed_run import choose_programming
    from ..compilation.programming_texts import programming_lines
    from ..compilation.verification import verify_bundle
    from ..programming.settings import ActiveLeaks, OutOfWindow
    from ..training.checkpoints import Which

    console = make_console(json_file)
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
    print_lines(console, lines)
    write_json({**bundle.to_json(), "verify": None if report is None else report.to_json()}, json_file)
    fail_unless(report is None or report.passed)


@click.command()
@click.argument("bundle", type=FOLDER)
@JSON_OPTION
def verify(bundle: Path, json_file: str | None) -> None:
    """Run every sample's deck of a BUNDLE in ngspice, and compare with the voltages that its network has."""
    from ..compilation.verification import verify_bundle

    console = make_console(json_file)
    report = verify_bundle(bundle, console=console)
    print_lines(console, report.lines())
    write_json(report.to_json(), json_file)
    fail_unless(report.passed)
