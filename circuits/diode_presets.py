"""Diodes by name: a part with the numbers of its vendor, and three that no vendor sells."""

from dataclasses import dataclass
from typing import final

from .diode import DiodeModel
from .errors import CircuitError
from .nearest_names import nearest_names_hint
from .piecewise_linear_diode import PiecewiseLinearDiode

SHARP_N = 0.04


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DiodePreset:
    """A diode with its source.

    Args:
        name: by which it is asked for.
        model: its parameters.
        source: where they come from.
        note: what was left out, and why it is as it is.
    """

    name: str
    model: DiodeModel | PiecewiseLinearDiode
    source: str
    note: str


def _presets() -> tuple[DiodePreset, ...]:
    """Return every preset, in the order in which they are listed."""
    return (
        DiodePreset(
            name="spice-default",
            model=DiodeModel(),
            source="ngspice manual, defaults of the junction diode: IS 1e-14 A, N 1, RS 0, EG 1.11 eV, XTI 3",
            note="What a block has that is given no diode. A silicon junction without flaws.",
        ),
        DiodePreset(
            name="1N4148",
            model=DiodeModel(saturation_current_a=4.352e-9, emission_coefficient=1.906, series_resistance_ohm=0.6458),
            source="NXP Semiconductors (now Nexperia), SPICE model of the 1N4148 in SOD27: IS 4.352E-9, N 1.906, RS "
            "0.6458",
            note="EG and XTI are not in that model: SPICE's defaults. Left out: breakdown at 110 V, capacitance, "
            "and the 5.8 Gohm that some editions put across it.",
        ),
        DiodePreset(
            name="sharp",
            # EG and XTI stand over n in the temperature law: scaled with it, I_s(T) stays that of the default.
            model=DiodeModel(
                emission_coefficient=SHARP_N, activation_energy_ev=1.11 * SHARP_N, saturation_exponent=3.0 * SHARP_N
            ),
            source="No device: a mathematical idealisation, SPICE's default with n = 0.04; no junction has n below 1.",
            note="For clamps that are nearly a box: n V_t is 1.03 mV at 300.15 K, so a clamp gives 2.4 mV a decade of "
            "current instead of 60. EG and XTI are scaled with n, which leaves I_s(T) that of the default.",
        ),
        DiodePreset(
            name="ebana",
            model=PiecewiseLinearDiode(threshold_v=0.15, on_resistance_ohm=1.0, off_resistance_ohm=1e20),
            source="EBANA (github.com/mawatfa/ebana, commit 9aab552), behavioural diode: VTH 0.15 V, RON 1 ohm, ROFF "
            "1e20 ohm; Watfa et al., Front. Comput. Neurosci. 2023",
            note="Piecewise-linear: I = max(v / R_off, (v - V_th) / R_on). Temperature does not act on it.",
        ),
    )


def diode_preset_names() -> tuple[str, ...]:
    """Return the names of all diode presets, in the order in which they are listed."""
    return tuple(entry.name for entry in _presets())


def diode_preset(name: str) -> DiodePreset:
    """Return a diode preset.

    Args:
        name: one of `diode_preset_names()`, in upper or lower case.

    Raises:
        CircuitError: for another name, with the nearest ones.
    """
    entries = {entry.name.lower(): entry for entry in _presets()}
    entry = entries.get(str(name).lower())
    if entry is None:
        raise CircuitError(f"no diode preset '{name}': {nearest_names_hint(name, diode_preset_names())}")
    return entry
