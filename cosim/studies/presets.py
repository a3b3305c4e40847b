"""Every preset as a list: what it models, where its numbers come from, and its picture; of a network its file, too."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, final

from rich.console import Group, RenderableType
from rich.table import Table

from circuits import CircuitError
from circuits.devices import Preset, preset, preset_names
from circuits.diode_presets import DiodePreset, diode_preset, diode_preset_names
from circuits.nearest_names import nearest_names_hint
from circuits.piecewise_linear_diode import PiecewiseLinearDiode

from ..converters import ConverterErrors, ConverterPreset, converter_preset, converter_preset_names
from ..files import make_folder
from ..training.paper_presets import PaperPreset, paper_preset, paper_preset_names
from ..training.paper_tables import preset_tables
from ..training.toml_text import format_toml
from .converter_plots import format_bits, plot_converter_preset
from .diode_plots import plot_diode_preset
from .paper_plots import plot_paper_preset
from .preset_plots import plot_preset

KINDS = {"device": "Devices", "diode": "Diodes", "converter": "Converters", "network": "Networks of the paper"}


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ListedPreset:
    """A preset of any kind, in words.

    Args:
        name: by which it is asked for.
        kind: one of `KINDS`.
        numbers: the first numbers that one asks for, in words.
        models: what it models, in words.
        source: where its numbers come from.
        note: what was inferred, or left out.
        values: its numbers for a program, by name.
        draw: draws its picture into a file.
        tables: what it stands for in a configuration file, whole; empty for a preset of one table of it.
    """

    name: str
    kind: str
    numbers: str
    models: tuple[str, ...]
    source: str
    note: str
    values: dict[str, Any]
    draw: Callable[[Path], None]
    tables: Mapping[str, Any] = field(default_factory=dict)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PresetList:
    """Presets, and the pictures drawn of them.

    Args:
        presets: in the order asked for.
        plots: PNG files, one a preset in the same order; empty if none were drawn.
    """

    presets: tuple[ListedPreset, ...]
    plots: tuple[Path, ...]

    def table(self, *, notes: bool = False) -> RenderableType:
        """Return the list for a terminal, a table for each kind; with notes on what was inferred or left out."""
        tables = []
        for kind, title in KINDS.items():
            entries = [entry for entry in self.presets if entry.kind == kind]
            if not entries:
                continue
            table = Table(title=title, title_justify="left", show_lines=True)
            for heading in ("preset", "numbers"):
                table.add_column(heading, no_wrap=True)
            table.add_column("models", max_width=12)
            table.add_column("source", ratio=1, overflow="fold")
            for entry in entries:
                source = f"{entry.source}\n\n{entry.note}" if notes else entry.source
                table.add_row(entry.name, entry.numbers, "\n".join(entry.models), source)
            tables.append(table)
        return Group(*tables)

    def files(self) -> tuple[str, ...]:
        """Return the configuration file that each preset of a network stands for."""
        return tuple(
            "\n".join((*(f"# {line}" for line in _header(entry)), format_toml(entry.tables)))
            for entry in self.presets
            if entry.tables
        )

    def to_json(self) -> dict[str, Any]:
        """Return the list as JSON."""
        drawn = dict(zip((entry.name for entry in self.presets), map(str, self.plots), strict=False))
        return {
            "presets": [
                {
                    "name": entry.name,
                    "kind": entry.kind,
                    **entry.values,
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
    known = {entry.name: entry for entry in _all_presets()}
    for name in names:
        if name not in known:
            raise CircuitError(f"no preset '{name}': {nearest_names_hint(name, known)}")
    presets = tuple(known[name] for name in dict.fromkeys(names or known))
    plots: list[Path] = []
    if out is not None:
        make_folder(out)
        for entry in presets:
            plots.append(out / f"{entry.name}.png")
            entry.draw(plots[-1])
    return PresetList(presets=presets, plots=tuple(plots))


def _all_presets() -> tuple[ListedPreset, ...]:
    """Return the presets of every kind."""
    devices = (_listed_device(preset(name)) for name in preset_names())
    diodes = (_listed_diode(diode_preset(name)) for name in diode_preset_names())
    converters = (_listed_converter(converter_preset(name)) for name in converter_preset_names())
    networks = (_listed_network(paper_preset(name)) for name in paper_preset_names())
    return (*devices, *diodes, *converters, *networks)


def _header(entry: ListedPreset) -> list[str]:
    """Return what stands above the file that a preset stands for."""
    return [f'preset = "{entry.name}" is short for:', *textwrap.wrap(f"Source: {entry.source}", 116)]


def _listed_device(entry: Preset) -> ListedPreset:
    """Put a device into words."""
    device = entry.device
    return ListedPreset(
        name=entry.name,
        kind="device",
        numbers=f"{device.g_min_s * 1e6:g} to\n{device.g_max_s * 1e6:g} uS",
        models=tuple(effect.replace("_", " ") for effect in device.effects),
        source=entry.source,
        note=entry.note,
        values={"g_min_s": device.g_min_s, "g_max_s": device.g_max_s, "effects": list(device.effects)},
        draw=partial(plot_preset, entry),
    )


def _listed_diode(entry: DiodePreset) -> ListedPreset:
    """Put a diode into words."""
    model = entry.model
    if isinstance(model, PiecewiseLinearDiode):
        numbers = f"V_th {model.threshold_v:g} V\nR_on {model.on_resistance_ohm:g} ohm"
        numbers += f"\nR_off {model.off_resistance_ohm:g} ohm"
    else:
        numbers = f"I_s {model.saturation_current_a:g} A\nn {model.emission_coefficient:g}"
        numbers += f"\nR_s {model.series_resistance_ohm:g} ohm"
    return ListedPreset(
        name=entry.name,
        kind="diode",
        numbers=numbers,
        models=("DC current",) if isinstance(model, PiecewiseLinearDiode) else ("DC current", "temperature"),
        source=entry.source,
        note=entry.note,
        values=asdict(model),
        draw=partial(plot_diode_preset, entry),
    )


def _listed_converter(entry: ConverterPreset) -> ListedPreset:
    """Put a set of converters into words: that of inputs and that of outputs stand for all."""
    dac, adc = entry.converters.input, entry.converters.output
    errors = adc.errors or ConverterErrors()
    numbers = f"DAC {format_bits(dac)}\nADC {format_bits(adc)}"
    if errors.noise_relative_std is not None:
        numbers += f"\nnoise {errors.noise_relative_std:g}"
    modelled = {
        "resolution": adc.bits is not None,
        "noise": errors.noise_relative_std is not None,
        "sharing": adc.channels_per_converter > 1,
    }
    return ListedPreset(
        name=entry.name,
        kind="converter",
        numbers=numbers,
        models=tuple(word for word, is_on in modelled.items() if is_on),
        source=entry.source,
        note=entry.note,
        values={
            "dac_bits": dac.bits,
            "adc_bits": adc.bits,
            "adc_noise_relative_std": errors.noise_relative_std,
            "channels_per_adc": adc.channels_per_converter,
        },
        draw=partial(plot_converter_preset, entry),
    )


def _listed_network(entry: PaperPreset) -> ListedPreset:
    """Put an experiment of the paper into words."""
    recipe, blocks = entry.recipe, entry.network.blocks
    tables = preset_tables(entry)
    return ListedPreset(
        name=entry.name,
        kind="network",
        numbers=f"L {entry.network.n_layers}, {len(blocks)} block{'s' if len(blocks) > 1 else ''}\n"
        f"T1 {recipe.free_steps}, T2 {recipe.nudged_steps}\nslope {recipe.slope:g}",
        models=(entry.data.value,),
        source=entry.source,
        note=entry.note,
        values={
            "n_layers": entry.network.n_layers,
            "n_blocks": len(blocks),
            "data": entry.data.value,
            "free_steps": recipe.free_steps,
            "nudged_steps": recipe.nudged_steps,
            "tolerance": recipe.tolerance,
            "slope": recipe.slope,
            "goe_variance": recipe.goe_variance,
            "tables": tables,
        },
        draw=partial(plot_paper_preset, entry),
        tables=tables,
    )
