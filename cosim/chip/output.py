"""The files of a report: chip.json and chip.png."""

from pathlib import Path

from ..files import format_json, make_folder, write_atomically
from .plot import plot_chip
from .report import ChipReport


def write_report(report: ChipReport, folder: Path) -> None:
    """Write chip.json and chip.png into a folder, which is made if missing.

    Raises:
        RunError: if they cannot be written.
    """
    make_folder(folder)
    write_atomically(folder / "chip.json", format_json(report.to_json()).encode())
    plot_chip(report, folder / "chip.png")
