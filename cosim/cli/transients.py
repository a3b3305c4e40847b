"""Subcommands about circuits in time: transient, study settling."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import DATA_OPTION, FOLDER, JSON_OPTION, fail_unless, make_console, print_lines, write_json
from .studying import study

if TYPE_CHECKING:
    from circuits.capacitance import Capacitance

FARAD = click.FloatRange(min=0)
NODE_OPTION = click.option("--node-capacitance", "node_f", type=FARAD, metavar="F", help="Each node's own, farad.")
DEVICE_OPTION = click.option(
    "--device-capacitance", "device_f", type=FARAD, metavar="F", help="Added by a device at each of its ends, farad."
)
JUNCTION_OPTION = click.option(
    "--junction-capacitance", "junction_f", type=FARAD, metavar="F", help="Added by a diode at each of its ends, farad."
)


@click.command()
@click.argument("target", metavar="[RUN|CONFIG]", type=FOLDER, required=False)
@click.option(
    "--out",
    type=FOLDER,
    metavar="FOLDER",
    help="Folder that gets the pictures, made if missing; by default the RUN itself, otherwise none.",
)
@click.option("--beta", type=float, help="Nudge; by default 1e-3 in circuits and 1e-6 in hopfield blocks.")
@click.option("--samples", "n_samples", type=int, default=2, show_default=True, help="Images.")
@NODE_OPTION
@DEVICE_OPTION
@JUNCTION_OPTION
@click.option("--spread", type=float, help="Capacitances from exp(-SPREAD) to exp(SPREAD) times as large, at random.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the spread, and of the built-in network.")
@DATA_OPTION
@JSON_OPTION
def transient(
    *,
    target: Path | None,
    out: Path | None,
    beta: float | None,
    n_samples: int,
    node_f: float | None,
    device_f: float | None,
    junction_f: float | None,
    spread: float | None,
    seed: int,
    data: Path | None,
    json_file: str | None,
) -> None:
    """Follow gradients while nudged circuits settle: EP(t) in ngspice's .tran against exact ID(t), at every time.

    Of a run, of a configuration's initial weights, or of a built-in network of three circuits; hopfield blocks are
    followed step by step.
    """
    from ..studies.transient import transient as follow_transients

    console = make_console(json_file)
    report = follow_transients(
        target,
        beta=beta,
        capacitance=_capacitance(node_f, device_f, junction_f),
        spread=spread,
        n_samples=n_samples,
        out=out,
        data=data,
        seed=seed,
        console=console,
    )
    console.print(report.table())
    if report.plots:
        print_lines(console, [f"wrote {' and '.join(path.name for path in report.plots)} in {report.plots[0].parent}"])
    write_json(report.to_json(), json_file)
    fail_unless(report.passed)


@study.command()
@click.argument("run", type=FOLDER)
@click.option("--out", required=True, type=FOLDER, metavar="DIR", help="Folder of the results, made if missing.")
@click.option(
    "--times",
    "multiples",
    type=float,
    multiple=True,
    metavar="N",
    help="Sampling time in time constants, repeatable; 1, 2, 5 and 10 by default.",
)
@click.option(
    "--modes",
    type=click.Choice(["differential", "all"]),
    default="differential",
    show_default=True,
    help="Time constants of p and n moving oppositely, as they are driven and read, or of all movements.",
)
@NODE_OPTION
@DEVICE_OPTION
@JUNCTION_OPTION
@DATA_OPTION
@JSON_OPTION
def settling(
    *,
    run: Path,
    out: Path,
    multiples: Sequence[float],
    modes: str,
    node_f: float | None,
    device_f: float | None,
    junction_f: float | None,
    data: Path | None,
    json_file: str | None,
) -> None:
    """Sample the circuits of a trained RUN before they have settled: accuracy, and how good gradients then are.

    Times are in units of each block's slowest time constant, 1 / smallest eigenvalue of C^-1 H at rest.
    """
    from ..studies.settling import MULTIPLES, settling_study
    from ..studies.settling_sampling import Modes

    console = make_console(json_file)
    report = settling_study(
        run,
        out,
        multiples=multiples or MULTIPLES,
        modes=Modes(modes),
        capacitance=_capacitance(node_f, device_f, junction_f),
        data=data,
        console=console,
    )
    console.print(report.table())
    print_lines(console, (*report.lines(), f"wrote settling.json, settling.csv and settling.png in {out}"))
    write_json(report.to_json(), json_file)


def _capacitance(node_f: float | None, device_f: float | None, junction_f: float | None) -> Capacitance:
    """Return the capacitances that were asked for, and the default ones where nothing was."""
    from circuits.capacitance import Capacitance

    default = Capacitance()
    return Capacitance(
        node_f=default.node_f if node_f is None else node_f,
        device_f=default.device_f if device_f is None else device_f,
        junction_f=default.junction_f if junction_f is None else junction_f,
    )
