"""The device presets as a list: what each models, where its numbers come from, and its picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from rich.table import Table

from circuits.devices import Preset, preset, preset_names

from ..files import make_folder
from .preset_plots import plot_preset


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PresetList:
    """Presets, and the pictures drawn of them.

    Args:
        presets: in the order asked for.
        plots: PNG files, one a preset in the same order; empty if none were drawn.
    """

    presets: tuple[Preset, ...]
    plots: tuple[Path, ...]

    def table(self, *, notes: bool = False) -> Table:
        """Return the list for a terminal; with notes on what was inferred or left out."""
        table = Table(show_lines=True)
        table.add_column("preset", no_wrap=True)
        table.add_column("window, uS", no_wrap=True)
        table.add_column("models")
        table.add_column("source", ratio=1)
        for entry in self.presets:
            device = entry.device
            window = f"{device.g_min_s * 1e6:g} to {device.g_max_s * 1e6:g}"
            effects = "\n".join(effect.replace("_", " ") for effect in device.effects)
            source = f"{entry.source}\n\n{entry.note}" if notes else entry.source
            table.add_row(entry.name, window, effects, source)
        return table

    def to_json(self) -> dict[str, Any]:
        """Return the list as JSON."""
        drawn = dict(zip((entry.name for entry in self.presets), map(str, self.plots), strict=False))
        return {
            "presets": [
                {
                    "name": entry.name,
                    "g_min_s": entry.device.g_min_s,
                    "g_max_s": entry.device.g_max_s,
                    "effects": list(entry.device.effects),
                    "source": entry.source,
                    "note": entry.note,
                    "plot": drawn.get(entry.name),
                }
                for entry in self.presets
            ]
        }


def list_presets(names: Sequence[str] = (), *, out: Path | None = None) -> PresetList:
    """List presets, and draw them.

    Args:
        names: which; all if empty. One given twice counts once.
        out: folder that gets a NAME.png each, made if missing; None draws nothing.

    Raises:
        CircuitError: for a name that is no preset, before anything is drawn.
        RunError: if a file cannot be written.
    """
    presets = tuple(preset(name) for name in dict.fromkeys(names or preset_names()))
    plots: list[Path] = []
    if out is not None:
        make_folder(out)
        for entry in presets:
            plots.append(out / f"{entry.name}.png")
            plot_preset(entry, plots[-1])
    return PresetList(presets=presets, plots=tuple(plots))
