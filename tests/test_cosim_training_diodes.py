"""Diode presets in configurations: what is written wins, and a saved file says no more than was written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import small_config

from circuits.clamp import Clamp
from circuits.diode import DiodeModel
from cosim.analog_block import AnalogBlock
from cosim.errors import ConfigError
from cosim.simulators.newton import NewtonSimulator
from cosim.training.block_of_stage import energy_block
from cosim.training.config import AnalogStage, CircuitSection, Config, DiodeSection, NodeLayerSection
from cosim.training.config_file import config_from_json
from cosim.training.programmed import programming_settings
from cosim.training.stage_of_block import analog_stage

# NXP's SPICE model of the 1N4148: IS 4.352E-9, N 1.906, RS 0.6458; EG and XTI are SPICE's.
SIGNAL_DIODE = DiodeModel(saturation_current_a=4.352e-9, emission_coefficient=1.906, series_resistance_ohm=0.6458)
STAGE = "network.stages.3"  # of the small configuration, with a clamp


def diode_of(config: Config) -> DiodeSection:
    stage = config.network.stages[3]
    assert isinstance(stage, AnalogStage)
    return stage.diode


def clamp_of(section: DiodeSection) -> Clamp:
    layer = NodeLayerSection(size=2, clamp=(-0.3, 0.3), leak=0.5)
    stage = AnalogStage(kind="analog", layers=(layer,), diode=section)
    clamp = energy_block(stage, "b", (3,), "here").layers[0].clamp
    assert clamp is not None
    return clamp


def test_without_a_preset_the_diode_is_that_of_spice() -> None:
    assert DiodeSection().model() == DiodeModel()
    assert DiodeSection(preset=None, series_resistance_ohm=5.0).model() == DiodeModel(series_resistance_ohm=5.0)
    assert clamp_of(DiodeSection()) == Clamp(low_v=-0.3, high_v=0.3, diode=DiodeModel(), reference_current_a=1e-5)


def test_a_preset_has_the_numbers_of_the_vendor_and_what_is_written_wins(tmp_path: Path) -> None:
    section = diode_of(small_config(tmp_path, f"{STAGE}.diode.preset=1N4148"))
    assert section.model() == SIGNAL_DIODE
    assert clamp_of(section).diode == SIGNAL_DIODE
    # 1.0 is the default of this key, and wins all the same, as it was written.
    own = DiodeSection(preset="1n4148", emission_coefficient=1.0, reference_current_a=2e-6)
    assert own.model() == DiodeModel(saturation_current_a=4.352e-9, series_resistance_ohm=0.6458)
    assert clamp_of(own).reference_current_a == 2e-6
    # n = 0.04, and EG and XTI with it, which leaves I_s(T) that of silicon.
    sharp = DiodeSection(preset="sharp").model()
    assert (sharp.emission_coefficient, sharp.saturation_current_a) == (0.04, 1e-14)
    assert sharp.saturation_current_at_a(330.0) == pytest.approx(DiodeModel().saturation_current_at_a(330.0), rel=1e-12)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (f"{STAGE}.diode.preset=1N4184", r"stages\[3\]\.diode\.preset: no diode preset '1N4184': did you mean 1N4148"),
        (f"{STAGE}.diode.preset=zener", r"no diode preset 'zener': .*spice-default"),
        (f"{STAGE}.diode.activation_energy_ev=0", r"activation_energy_ev = 0: input should be greater than 0"),
    ],
)
def test_a_wrong_name_or_number_is_named_with_the_nearest(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small_config(tmp_path, override)


def test_a_saved_file_holds_what_was_written(tmp_path: Path) -> None:
    config = small_config(tmp_path, f"{STAGE}.diode.preset=sharp", f"{STAGE}.diode.series_resistance_ohm=3.0")
    tables = json.loads(json.dumps(config.model_dump(mode="json")))
    written = tables["network"]["stages"][3]["diode"]
    assert written == {"preset": "sharp", "series_resistance_ohm": 3.0}
    assert config_from_json(tables, "here") == config
    written["preset"] = "1N4148"  # as a sweep sets it on top of a saved run
    other = diode_of(config_from_json(tables, "here")).model()
    assert (other.emission_coefficient, other.series_resistance_ohm) == (1.906, 3.0)
    written["preset"] = "off"
    assert diode_of(config_from_json(tables, "here")).model() == DiodeModel(series_resistance_ohm=3.0)
    plain = small_config(tmp_path).model_dump(mode="json")["network"]["stages"][3]["diode"]
    assert plain == {}


def test_a_circuit_takes_a_preset_too() -> None:
    section = CircuitSection(diode=DiodeSection(preset="1N4148", reference_current_a=3e-6))
    settings = programming_settings(section, k_over_q_v_per_k=8.6e-5)
    assert (settings.diode, settings.reference_current_a) == (SIGNAL_DIODE, 3e-6)


@pytest.mark.parametrize("name", ["1N4148", "sharp"])
def test_the_stage_of_a_block_has_the_numbers_of_the_preset(name: str) -> None:
    layer = NodeLayerSection(size=2, clamp=(-0.3, 0.3), leak=0.5)
    stage = AnalogStage(kind="analog", layers=(layer,), name="b", diode=DiodeSection(preset=name))
    block = energy_block(stage, "b", (3,), "here")
    again = analog_stage(block)
    assert again.diode.model() == stage.diode.model()
    assert energy_block(again, "b", (3,), "here") == block


def test_a_clamp_of_sharp_diodes_is_nearer_to_a_box() -> None:
    def softness(section: DiodeSection) -> float:
        """How far a unit is at most from clip(x, -0.3, 0.3), in V."""
        layers = (NodeLayerSection(size=1, clamp=(-0.3, 0.3)),)
        stage = AnalogStage(kind="analog", layers=layers, polarity="single", g_min=1e-3, diode=section)
        block = AnalogBlock(energy_block(stage, "b", (1,), "here"), simulator=NewtonSimulator()).double()
        block.load_conductances({"w1": np.array([[0.1]])}, {})  # 10 uS: 1 V beyond a limit is the 10 uA it is set for
        x = torch.linspace(-1.3, 1.3, 105, dtype=torch.float64)[:, None]
        with torch.no_grad():
            return float((block(x) - x.clamp(-0.3, 0.3)).abs().max())

    plain, sharp, signal = (softness(DiodeSection(preset=name)) for name in ("spice-default", "sharp", "1N4148"))
    assert sharp < 0.1 * plain < 0.1 * signal
    assert sharp > 1e-3  # n V_t is 1.03 mV
