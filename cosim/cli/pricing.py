"""The subcommand that puts a price on a network: chip."""

from __future__ import annotations

from pathlib import Path

import click

from .options import CHECKPOINTS, DATA_OPTION, FOLDER, JSON_OPTION, fail_unless, make_console, print_lines, write_json

ARITHMETIC = click.Choice(["int8", "float16", "float32"])


@click.command()
@click.argument("target", metavar="RUN|BUNDLE", type=FOLDER)
@click.option("--constants", type=FOLDER, metavar="FILE", help="TOML with constants that are other than the table's.")
@click.option("--tile", metavar="ROWSxCOLUMNS", help="Largest tile: row and column wires; 64x64, or the bundle's.")
@click.option("--out", type=FOLDER, metavar="DIR", help="Folder that gets chip.png and chip.json, made if missing.")
@click.option("--samples", type=click.IntRange(min=1), default=2, show_default=True, help="Images that are relaxed.")
@click.option("--bits", type=click.IntRange(1, 24), default=8, show_default=True, help="Of ideal converters.")
@click.option(
    "--converters",
    "sharing",
    type=click.Choice(["separate", "shared"]),
    default="separate",
    show_default=True,
    help="Converters for each crossing, or one bank of DACs and one of ADCs a block.",
)
@click.option("--channels", type=click.IntRange(min=1), metavar="N", help="Units that take turns at a converter.")
@click.option("--arithmetic", type=ARITHMETIC, default="int8", show_default=True, help="Digital, in inference.")
@click.option("--training-arithmetic", type=ARITHMETIC, default="float32", show_default=True, help="In training.")
@click.option("--from", "which", type=CHECKPOINTS, default="last", show_default=True, help="Which checkpoint of a run.")
@DATA_OPTION
@JSON_OPTION
def chip(
    *,
    target: Path,
    constants: Path | None,
    tile: str | None,
    out: Path | None,
    samples: int,
    bits: int,
    sharing: str,
    channels: int | None,
    arithmetic: str,
    training_arithmetic: str,
    which: str,
    data: Path | None,
    json_file: str | None,
) -> None:
    """Price the chip of a RUN's or a BUNDLE's network: parts, conversions, time, energy; and all-digital.

    Exit status 1 if at any equilibrium the power delivered is not the power dissipated.
    """
    from ..chip.constants import load_constants
    from ..chip.conversion import Sharing
    from ..chip.digital_cost import Arithmetic
    from ..chip.output import write_report
    from ..chip.pricing import price_chip
    from ..chip.settings import ChipSettings, choose_tile
    from ..training.checkpoints import Which

    settings = ChipSettings(
        tile=choose_tile(tile, target),
        bits=bits,
        sharing=Sharing(sharing),
        channels_per_converter=channels,
        arithmetic=Arithmetic(arithmetic),
        training_arithmetic=Arithmetic(training_arithmetic),
        samples=samples,
        constants=load_constants(constants),
    )
    console = make_console(json_file)
    report = price_chip(target, settings=settings, data=data, which=Which(which), console=console)
    console.print(report.tables())
    lines = list(report.sentences())
    if out is not None:
        write_report(report, out)
        lines.append(f"wrote chip.png and chip.json in {out}")
    verdict = "pass" if report.passed else "FAIL"
    lines.append(f"{verdict}: power delivered and dissipated differ by {report.balance_error:.1g} of it at most")
    print_lines(console, lines)
    write_json(report.to_json(), json_file)
    fail_unless(report.passed)
