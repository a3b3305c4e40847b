"""Piecewise-linear diodes, one-sided and divided clamps, and amplifiers in configurations."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from small_runs import small_config

from circuits.clamp import Clamp
from circuits.diode import DiodeModel
from circuits.piecewise_linear_diode import PiecewiseLinearDiode
from cosim.errors import ConfigError
from cosim.training.block_of_stage import energy_block
from cosim.training.config import AnalogStage, DiodeSection, NodeLayerSection
from cosim.training.config_file import config_from_json
from cosim.training.stage_of_block import analog_stage

STAGE = "network.stages.3"
TEXT = """
kind = "analog"
v_unit_v = 0.5
[diode]
threshold_v = 0.2
reference_current_a = 1e-6
[[layers]]
size = 4
clamp = [[0.0, "off"], ["off", 0]]
amplification = 4.0
[[layers]]
size = 3
clamp = [-0.5, "off"]
[[layers]]
size = 2
clamp = [[-1, 1], "off"]
"""


def stage() -> AnalogStage:
    return AnalogStage.model_validate(tomllib.loads(TEXT))


def test_a_stage_says_all_of_it_and_reads_back() -> None:
    diode = PiecewiseLinearDiode(threshold_v=0.2)
    block = energy_block(stage(), "b", (3,), "here")
    own = {"diode": diode, "reference_current_a": 1e-6}
    halves, floor, half = (layer.clamp for layer in block.layers)
    assert halves == (Clamp(low_v=0.0, **own), Clamp(high_v=0.0, **own))
    assert floor == Clamp(low_v=-0.25, **own)
    assert half == (Clamp(low_v=-0.5, high_v=0.5, **own), None)
    assert [layer.amplification for layer in block.layers] == [4.0, None, None]
    again = analog_stage(block)
    assert energy_block(again, "b", (3,), "here") == block
    assert again.layers[0].clamp == ((0.0, "off"), ("off", 0.0))
    saved = json.loads(json.dumps(stage().model_dump(mode="json")))
    assert AnalogStage.model_validate_json(json.dumps(saved)) == stage()


def test_a_threshold_or_a_preset_makes_a_diode_piecewise_linear() -> None:
    assert DiodeSection().model() == DiodeModel()
    assert DiodeSection(on_resistance_ohm=1e-3).model() == PiecewiseLinearDiode(on_resistance_ohm=1e-3)
    assert DiodeSection(preset="ebana").model() == PiecewiseLinearDiode()
    assert DiodeSection(preset="ebana", threshold_v=0.7).model() == PiecewiseLinearDiode(threshold_v=0.7)


def test_a_saved_file_says_what_was_written(tmp_path: Path) -> None:
    layers = '[{size = 2, clamp = [0.0, "off"], amplification = 2.0}, {size = 3}]'
    config = small_config(tmp_path, f"{STAGE}.layers={layers}", f"{STAGE}.diode.preset=ebana")
    saved = config.model_dump(mode="json")
    assert saved["network"]["stages"][3]["diode"] == {"preset": "ebana"}
    assert saved["network"]["stages"][3]["layers"][0]["clamp"] in ((0.0, "off"), [0.0, "off"])
    assert config_from_json(json.loads(json.dumps(saved)), "here") == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("diode={preset='ebana', saturation_current_a=1e-14}", r"diode: saturation_current_a: this diode is piecewise"),
        ("diode={preset='1N4148', threshold_v=0.1}", r"diode: threshold_v: this diode is a level-1 model, with satur"),
        ("diode={emission_coefficient=1.0, threshold_v=0.1}", r"emission_coefficient: this diode is piecewise-linear"),
        ("diode={on_resistance_ohm=2.0, off_resistance_ohm=1.0}", r"on_resistance_ohm = 2 must lie below off_resist"),
        (
            "layers=[{size = 3, clamp = [[0.0, 'off'], 'off']}]",
            r"2 clamps for 3 units; write a number that divides",
        ),
        ("layers=[{size = 3, amplification = 2.0}]", r"layers\[0\]\.amplification: the last layer drives no other"),
        ("layers=[{size = 3, amplification = 0.0}, {size = 3}]", r"layers\[0\]\.amplification = 0\.0: "),
    ],
)
def test_refused(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small_config(tmp_path, f"{STAGE}.{override}")


def test_one_number_is_no_clamp() -> None:
    with pytest.raises(ValueError, match=r"a clamp without a limit"):
        NodeLayerSection(size=2, clamp=("off", "off"))
