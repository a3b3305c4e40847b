"""What subcommands share: options, where people read, JSON for programs, the exit status of a check that failed."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

CHECK_FAILED = 1

FOLDER = click.Path(path_type=Path)


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
    "--data",
    type=FOLDER,
    metavar="PATH",
    help="Where the images are: CIFAR's archive, extracted folder or .npz, ImageNet32's folder; else $TELLEGEN_CIFAR10 "
    "and the like.",
)
OUT_OPTION = click.option("--out", required=True, type=FOLDER, metavar="FOLDER", help="Goes on with what is there.")
SEEDS_OPTION = click.option(
    "--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Trainings of each variant."
)
CHECKPOINTS = click.Choice(["last", "previous", "best"])


def spell_command() -> str:
    """Return the command line as it was typed."""
    return shlex.join(["tellegen", *sys.argv[1:]])


def make_console(json_file: str | None) -> Console:
    """Return where people read: standard error if standard output carries JSON."""
    from rich.console import Console

    return Console(stderr=json_file == "-")


@contextmanager
def telling_how_to_go_on(out: Path, kept: str) -> Iterator[None]:
    """Say, where something long is interrupted, what its folder keeps, and that the same command goes on."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"stopped; {out} keeps {kept}: the same command goes on", err=True)
        raise


def print_lines(console: Console, lines: Iterable[str]) -> None:
    """Print lines as they are, however long."""
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def write_json(value: dict[str, Any], json_file: str | None) -> None:
    """Write a result as JSON where --json says; nowhere without it."""
    from ..files import format_json, write_atomically

    if json_file == "-":
        click.echo(format_json(value), nl=False)
    elif json_file is not None:
        write_atomically(Path(json_file), format_json(value).encode())


def fail_unless(ok: bool) -> None:
    """End with the status of a check that failed, unless all is well."""
    if not ok:
        click.get_current_context().exit(CHECK_FAILED)
