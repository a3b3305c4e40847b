"""Devices by name, as published: every number stands beside the table or paper that it comes from.

What a source gives no number for is off, not guessed; a preset's note says what was left out, or inferred.
"""

from ..errors import CircuitError
from ..nearest_names import nearest_names_hint
from .preset import Preset
from .programmed_presets import programmed_presets
from .pulsed_presets import pulsed_presets


def _presets() -> tuple[Preset, ...]:
    """Return every preset, in the order in which they are listed: the ideal one first."""
    ideal, *pulsed = pulsed_presets()
    return (ideal, *programmed_presets(), *pulsed)


def preset_names() -> tuple[str, ...]:
    """Return the names of all presets, in the order in which they are listed."""
    return tuple(entry.name for entry in _presets())


def preset(name: str) -> Preset:
    """Return a preset.

    Args:
        name: one of `preset_names()`.

    Raises:
        CircuitError: for another name, with the nearest ones.
    """
    entries = {entry.name: entry for entry in _presets()}
    if name in entries:
        return entries[name]
    raise CircuitError(f"no device preset '{name}': {nearest_names_hint(name, entries)}")
