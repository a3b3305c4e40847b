"""The group of all subcommands, and how they end."""

from __future__ import annotations

import warnings
from typing import Any, TextIO

import click

from .compiling import compile_, verify
from .measuring import bench, demo, doctor, gradcheck, presets
from .pricing import chip
from .running import evaluate, show, train
from .studying import study, sweep
from .transients import transient

BAD_INPUT = 2
INTERRUPTED = 130


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


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tellegen")
@click.option("--debug", is_flag=True, help="Show a traceback with an error.")
def main(*, debug: bool) -> None:
    """Co-simulate hybrid networks whose energy blocks are analog circuits, trained by equilibrium propagation."""
    del debug  # read by `Commands`


for _command in (
    doctor,
    train,
    show,
    evaluate,
    compile_,
    verify,
    gradcheck,
    transient,
    bench,
    presets,
    study,
    sweep,
    chip,
    demo,
):
    main.add_command(_command)
