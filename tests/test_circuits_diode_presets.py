"""Diode presets: the numbers of their sources, and what they mean."""

from __future__ import annotations

import math

import pytest

from circuits import CircuitError, DiodeModel
from circuits.diode_presets import diode_preset, diode_preset_names


def test_names_and_sources() -> None:
    assert diode_preset_names() == ("spice-default", "1N4148", "sharp", "ebana")
    for name in diode_preset_names():
        entry = diode_preset(name)
        assert entry.name == name
        assert entry.source
        assert entry.note
    assert "NXP Semiconductors" in diode_preset("1N4148").source
    assert "idealisation" in diode_preset("sharp").source


def test_1n4148_as_its_vendor_models_it() -> None:
    model = diode_preset("1n4148").model  # in either case
    assert (model.saturation_current_a, model.emission_coefficient) == (4.352e-9, 1.906)
    assert model.series_resistance_ohm == 0.6458
    assert (model.activation_energy_ev, model.saturation_exponent) == (1.11, 3.0)
    # Data sheets of the part: at most 1 V at 10 mA; typically 0.6 to 0.75 V at 5 mA.
    assert 0.6 < model.forward_voltage_v(5e-3, 298.15) < 0.75
    assert model.forward_voltage_v(10e-3, 298.15) < 1.0


def test_the_default_is_what_a_block_has() -> None:
    assert diode_preset("spice-default").model == DiodeModel()
    model = diode_preset("spice-default").model
    assert (model.saturation_current_a, model.emission_coefficient, model.series_resistance_ohm) == (1e-14, 1.0, 0.0)
    assert (model.activation_energy_ev, model.saturation_exponent) == (1.11, 3.0)


@pytest.mark.parametrize("temperature_k", [273.15, 300.15, 350.15])
def test_sharp_differs_from_the_default_in_sharpness_only(temperature_k: float) -> None:
    sharp, default = diode_preset("sharp").model, DiodeModel()
    assert sharp.emission_coefficient == 0.04
    assert sharp.saturation_current_at_a(temperature_k) == pytest.approx(
        default.saturation_current_at_a(temperature_k), rel=1e-9
    )
    # A decade of current takes n V_t ln 10: 2.4 mV instead of 60 at room temperature.
    decade = sharp.forward_voltage_v(1e-5, temperature_k) - sharp.forward_voltage_v(1e-6, temperature_k)
    assert decade == pytest.approx(0.04 * 8.617333e-5 * temperature_k * math.log(10), rel=1e-5)
    assert sharp.thermal_voltage_v(300.15) == pytest.approx(1.03e-3, rel=0.01)


@pytest.mark.parametrize(
    ("name", "answer"),
    [("4148", r"did you mean 1N4148\?"), ("spice", "did you mean spice-default"), ("led", "there are spice-default, ")],
)
def test_an_unknown_name_gets_the_nearest(name: str, answer: str) -> None:
    with pytest.raises(CircuitError, match=f"no diode preset '{name}': {answer}"):
        diode_preset(name)
