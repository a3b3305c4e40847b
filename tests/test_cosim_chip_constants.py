"""The table of constants: each with unit and source, overridden one by one, wrong ones refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from cosim.chip.constants import load_constants
from cosim.chip.digital_cost import Arithmetic, buffer_j_per_byte
from cosim.chip.errors import ChipError

OTHER = '[adc_walden]\nvalue = 1e-15\nunit = "J/step"\nsource = "ours"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "constants.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_table_has_the_published_numbers() -> None:
    constants = load_constants()
    # Horowitz, ISSCC 2014, in pJ: multiply and add of each arithmetic; 64 bits of SRAM of 8 KB, 32 KB, 1 MB.
    published = {"int8_multiply": 0.2, "int32_add": 0.1, "float16_multiply": 1.1, "float16_add": 0.4}
    published |= {"float32_multiply": 3.7, "float32_add": 0.9}
    published |= {"sram_8kb": 10 / 8, "sram_32kb": 20 / 8, "sram_1mb": 100 / 8, "dram": 1950 / 8}
    for name, value_pj in published.items():
        assert constants[name] == pytest.approx(value_pj * 1e-12, rel=0.02), name
    assert all(entry.unit and entry.source for entry in constants.entries.values())
    assert Arithmetic.INT8.mac_j(constants) == pytest.approx(0.3e-12)
    assert Arithmetic.FLOAT32.mac_j(constants) == pytest.approx(4.6e-12)
    assert [buffer_j_per_byte(n, constants) * 1e12 for n in (8192, 8193, 32769)] == pytest.approx([1.25, 2.5, 12.5])


def test_file_overrides_what_it_holds(tmp_path: Path) -> None:
    own, constants = load_constants(), load_constants(write(tmp_path, OTHER))
    assert constants["adc_walden"] == 1e-15
    assert constants.to_json()["adc_walden"]["source"] == "ours"
    assert {n: e for n, e in constants.entries.items() if n != "adc_walden"} == {
        n: e for n, e in own.entries.items() if n != "adc_walden"
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (OTHER.replace('unit = "J/step"\n', ""), r"constant 'adc_walden' has no unit; write one, as unit = \"J/step\""),
        (OTHER.replace("J/step", "pJ"), r"constant 'adc_walden' is in 'pJ'; give it in 'J/step'"),
        (OTHER.replace("adc_walden", "adc_waldon"), r"no constant 'adc_waldon'; did you mean adc-?_?walden"),
        (OTHER.replace("1e-15", "-1.0"), r"constant 'adc_walden' has value = -1.0; give a finite number"),
        (OTHER.replace("1e-15", '"1"'), r"constant 'adc_walden' has value = '1'"),
        (OTHER.replace('source = "ours"\n', ""), r"constant 'adc_walden' has no source"),
        (OTHER + "cost = 1\n", r"constant 'adc_walden' has a key 'cost'"),
        ("adc_walden = 1e-15\n", r"constant 'adc_walden' = 1e-15; write \[adc_walden\] with value, unit and source"),
        ("[", "not valid TOML"),
    ],
)
def test_wrong_constant_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ChipError, match=said):
        load_constants(write(tmp_path, text))


def test_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ChipError, match="no such file"):
        load_constants(tmp_path / "none.toml")
