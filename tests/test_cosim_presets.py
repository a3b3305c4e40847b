"""`tellegen presets`: lists every preset of devices, diodes and converters with its source; draws those asked for."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from circuits import CircuitError, DiodeModel
from circuits.devices import Device, LinearStep, Preset, ProgrammingError, PulsedUpdate, preset, preset_names
from circuits.diode_presets import diode_preset, diode_preset_names
from cosim import cli
from cosim.converters import (
    Adc,
    ConverterErrors,
    ConverterPreset,
    Converters,
    InlCurve,
    UnitElementMismatch,
    converter_preset,
    converter_preset_names,
)
from cosim.studies.converter_plots import TRACES, plot_converter_preset, transfer
from cosim.studies.diode_plots import clamped, diode_current_a
from cosim.studies.paper_plots import list_layers
from cosim.studies.preset_plots import (
    POINTS,
    plot_preset,
    pulse_response,
    read_std_s,
    step_std,
    written_std_s,
)
from cosim.studies.preset_plots import TRACES as DEVICES_DRAWN
from cosim.studies.presets import list_presets
from cosim.training.dataset_facts import DATASETS
from cosim.training.paper_presets import paper_preset, paper_preset_names
from cosim.training.paper_tables import preset_tables

PNG = b"\x89PNG\r\n\x1a\n"


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


NAMES = (*preset_names(), *diode_preset_names(), *converter_preset_names(), *paper_preset_names())


def test_every_preset_is_listed_with_window_effects_and_source() -> None:
    result = invoke("presets")
    assert result.exit_code == 0, result.output
    for name in NAMES:
        assert name in result.output
    for text in (
        "50 to",
        "225 uS",
        "Devices",
        "Diodes",
        "Converters",
        "DAC 7 bits",
        "ADC 9 bits",
        "noise 0.005",
        "StandardHWATrainingPreset",
        "NeuroSIM/Param.cpp",
        "I_s 4.352e-09 A",
        "n 1.906",
        "programming",
        "pulsed",
        "drift",
        "Nature",
        "CrossSim",
    ):
        assert text in result.output
    assert max(map(len, result.output.splitlines())) <= 80


def test_a_name_gets_its_note_too() -> None:
    result = invoke("presets", "rram-milo")
    assert result.exit_code == 0
    assert "Programming error only." in result.output
    assert "pcm" not in result.output
    assert "Diodes" not in result.output


def test_names_of_several_kinds_make_a_table_each() -> None:
    output = invoke("presets", "neurosim", "sharp", "capacitor").output
    assert output.index("Diodes") < output.index("Converters") < output.index("neurosim")
    assert output.index("Devices") < output.index("capacitor") < output.index("Diodes") < output.index("sharp")
    assert "idealisation" in output


def test_json() -> None:
    result = invoke("presets", "pcm", "capacitor", "pcm", "--json", "-")
    first, second = json.loads(result.stdout)["presets"]
    assert (first["name"], first["kind"]) == ("pcm", "device")
    assert (first["g_min_s"], first["g_max_s"]) == (0.0, pytest.approx(25e-6))
    assert first["effects"] == ["programming_error", "read_noise", "drift"]
    assert "ICECS 2019" in first["source"]
    assert first["plot"] is None
    assert second["effects"] == ["pulsed_update"]
    assert "leakage" in second["note"]
    diode = json.loads(invoke("presets", "1N4148", "--json", "-").stdout)["presets"][0]
    assert (diode["kind"], diode["saturation_current_a"], diode["emission_coefficient"]) == ("diode", 4.352e-9, 1.906)
    assert diode["series_resistance_ohm"] == 0.6458
    hwa, neurosim, ideal = json.loads(
        invoke("presets", "aihwkit-hwa", "neurosim", "ideal-converters", "--json", "-").stdout
    )["presets"]
    # aihwkit's StandardHWATrainingPreset: 254 steps either way, out_noise 0.04 of out_bound 10.
    assert (hwa["kind"], hwa["dac_bits"], hwa["adc_bits"]) == ("converter", 8, 8)
    assert hwa["adc_noise_relative_std"] == pytest.approx(0.04 / 10, rel=1e-12)
    assert (neurosim["dac_bits"], neurosim["adc_bits"], neurosim["channels_per_adc"]) == (None, 5, 8)
    assert (ideal["adc_bits"], ideal["adc_noise_relative_std"]) == (None, None)


def test_every_preset_is_drawn(tmp_path: Path) -> None:
    drawn = [name for name in NAMES if name not in paper_preset_names()[1:-1]]  # one picture is like another
    result = invoke("presets", *drawn, "--out", tmp_path / "new" / "plots", "--json", tmp_path / "presets.json")
    assert result.exit_code == 0, result.output
    files = sorted(path.name for path in (tmp_path / "new" / "plots").iterdir())
    assert files == sorted(f"{name}.png" for name in drawn)
    listed = json.loads((tmp_path / "presets.json").read_text(encoding="utf-8"))["presets"]
    for entry in listed:
        assert Path(entry["plot"]).read_bytes()[:8] == PNG
    assert "wrote ideal.png, pcm.png" in result.output


def test_a_network_comes_with_the_file_that_it_stands_for() -> None:
    result = invoke("presets", "paper-l15-bs2")
    text = result.output[result.output.index('# preset = "paper-l15-bs2" is short for:') :]
    assert tomllib.loads(text) == preset_tables(paper_preset("paper-l15-bs2"))
    assert "258 channels" in " ".join(result.output.replace("│", " ").split())
    assert "short for" not in invoke("presets").output
    (entry,) = json.loads(invoke("presets", "paper-l6-bs2", "--json", "-").stdout)["presets"]
    assert (entry["kind"], entry["n_layers"], entry["n_blocks"], entry["slope"]) == ("network", 6, 3, 1.0)
    assert entry["tables"] == preset_tables(paper_preset("paper-l6-bs2"))


def test_the_picture_of_a_network_counts_what_torch_makes() -> None:
    for name in ("paper-l6-bs3", "paper-l15-bs2-imagenet32"):
        rows = list_layers(paper_preset(name))
        assert [row.n_units for row in rows[:2]] == {6: [32768, 16384], 15: [65536, 65536]}[len(rows) - 1]
        assert sum(row.n_weights for row in rows) == count_parameters(name)


def count_parameters(name: str) -> int:
    from cosim.training.config import Config
    from cosim.training.network import build_network

    config = Config.model_validate({"preset": name})
    n_classes = DATASETS[config.data.name].n_classes
    network = build_network(config, shape=(3, 32, 32), n_classes=n_classes, simulator=None, generator=torch.Generator())
    return sum(parameter.numel() for parameter in network.parameters())


def test_an_unknown_name_draws_nothing(tmp_path: Path) -> None:
    result = invoke("presets", "pcm", "ecram", "--out", tmp_path / "plots")
    assert result.exit_code == 2
    assert result.stderr.strip() == "tellegen: no preset 'ecram': did you mean ecram-li or ecram-mo?"
    assert not (tmp_path / "plots").exists()
    with pytest.raises(CircuitError, match="no preset 'ecram'"):
        list_presets(["ecram"])
    with pytest.raises(CircuitError, match=r"no preset '4148': did you mean 1N4148\?"):
        list_presets(["4148"])


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plots").write_text("mine", encoding="utf-8")
    result = invoke("presets", "pcm", "--out", tmp_path / "plots")
    assert result.exit_code == 2
    assert result.stderr.startswith("tellegen: ")
    assert (tmp_path / "plots").read_text(encoding="utf-8") == "mine"


def test_the_command_imports_no_torch() -> None:
    code = (
        "import sys; from cosim.cli import main\n"
        "try: main(['presets', 'pcm'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def test_a_pulse_response_goes_up_and_comes_down() -> None:
    device = preset("reram-sb").device
    device = replace(device, pulsed_update=PulsedUpdate(step=device.pulsed_update.step))
    trace = pulse_response(device, each=20)
    assert trace.shape == (2 * POINTS + 1, 1)
    assert np.all(np.diff(trace[: POINTS + 1, 0]) > 0)
    assert np.all(np.diff(trace[POINTS:, 0]) < 0)
    x = (trace[POINTS, 0] - device.g_min_s) / device.window_s
    assert x == pytest.approx(1 - (1 - 0.0016) ** (20 * POINTS), rel=1e-9)


def test_devices_that_differ_are_each_drawn(tmp_path: Path) -> None:
    step = LinearStep(up_at_low=0.01, up_at_high=0.01, down_at_low=0.01, down_at_high=0.01)
    device = replace(preset("pcm").device, pulsed_update=PulsedUpdate(step=step, cycle_relative_std=0.5))
    assert pulse_response(device, each=1).shape == (2 * POINTS + 1, DEVICES_DRAWN)
    plot_preset(Preset(name="own", device=device, source="measured", note="all three panels"), tmp_path / "own.png")
    assert (tmp_path / "own.png").read_bytes()[:8] == PNG


def test_the_dots_of_the_programming_error_lie_on_the_formula() -> None:
    device = preset("pcm").device
    measured = written_std_s(device, np.array([5e-6, 12.5e-6]))
    # aihwkit's polynomial, in microsiemens; 5,000 writes know their spread to 1 %.
    for g, std in zip((0.2, 0.5), measured, strict=True):
        assert std * 1e6 == pytest.approx(0.26348 + 1.965 * g - 1.1731 * g**2, rel=0.04)


def test_a_device_without_an_effect_is_drawn_too(tmp_path: Path) -> None:
    device = Device(name="bare", g_min_s=1e-6, g_max_s=1e-4)
    plot_preset(Preset(name="bare", device=device, source="none", note="none"), tmp_path / "bare.png")
    assert (tmp_path / "bare.png").read_bytes()[:8] == PNG


def test_the_bands_drawn_are_those_of_the_formulas() -> None:
    # One pulse of ecram-li up at half of the window: noise 0.3 of the step, devices 0.1 and 0.01 of it.
    device, x = preset("ecram-li").device, np.array([0.5])
    step = 0.001 * (1 - 0.1153 * 0.1724 / 1.1724)
    spread = np.hypot(0.1, 0.01)
    expected = step * np.sqrt((1 + spread**2) * 0.3**2 + spread**2)
    assert step_std(device, x, up=True)[0] == pytest.approx(expected, rel=0.04)
    # A read of pcm a day after the write, at half of the window.
    expected = 12.5e-6 * 0.0088 / 0.5**0.65 * np.sqrt(np.log((86400 + 250e-9) / 500e-9))
    assert read_std_s(preset("pcm").device, np.array([12.5e-6]), 86400.0)[0] == pytest.approx(expected, rel=0.04)
    # A write of a device that is alike everywhere.
    error = ProgrammingError.independent(1e-6)
    plain = Device(name="plain", g_min_s=1e-6, g_max_s=1e-4, programming_error=error)
    assert written_std_s(plain, np.array([5e-5]))[0] == pytest.approx(1e-6, rel=0.04)


def test_the_diode_drawn_is_the_diode() -> None:
    model = diode_preset("1N4148").model
    for current in (1e-6, 1e-3, 0.1):
        v = model.forward_voltage_v(current, 300.15)
        assert diode_current_a(model, np.array([v]), 300.15)[0] == pytest.approx(current, rel=1e-9)
    # 0.1 A drops 65 mV in the series resistance alone.
    assert model.forward_voltage_v(0.1, 300.15) > 0.0645 + DiodeModel(
        saturation_current_a=4.352e-9, emission_coefficient=1.906
    ).forward_voltage_v(0.099, 300.15)


@pytest.mark.parametrize("name", ["spice-default", "1N4148", "sharp"])
def test_a_clamped_node_stands_at_its_limit_at_the_reference_current(name: str) -> None:
    # 1 V beyond the limit through 10 uS is the 10 uA that the rails are set for.
    model = diode_preset(name).model
    pull, node = clamped(model)
    assert np.all(np.diff(node) > 0)
    assert np.all(np.diff(pull) > 0)
    assert float(np.interp(2.0, pull, node)) == pytest.approx(1.0, abs=1e-3)
    assert float(np.interp(-1.0, pull, node)) == pytest.approx(0.0, abs=1e-3)
    # Elsewhere it is off by a few n V_t.
    n_vt = model.thermal_voltage_v(300.15)
    assert 1.0 < np.max(np.abs(node - np.clip(pull, 0.0, 1.0))) / n_vt < 6.0


def test_the_staircase_drawn_is_that_of_the_converter() -> None:
    # 5 bits: 31 levels, one each 1/15 of the full scale, thresholds half way between.
    level = np.array([-2.0, -0.034, -0.033, 0.0, 0.033, 0.034, 1.2])
    adc = converter_preset("neurosim").converters.output
    np.testing.assert_allclose(15 * transfer(adc, level)[:, 0], [-15, -1, 0, 0, 0, 1, 15], atol=1e-12)
    np.testing.assert_array_equal(transfer(Adc(), level)[:, 0], level)
    # Noise of 0.06 / 12 of the full scale: the band is the staircase of the level so much higher.
    adc, fine = converter_preset("aihwkit-io").converters.output, np.linspace(-0.02, 0.02, 401)
    np.testing.assert_array_equal(transfer(adc, fine, noise=1.0), transfer(adc, fine + 0.005))
    assert not np.array_equal(transfer(adc, fine, noise=1.0), transfer(adc, fine))


def test_converters_that_differ_are_each_drawn(tmp_path: Path) -> None:
    errors = ConverterErrors(
        noise_relative_std=0.01, gain_relative_std=0.02, linearity=UnitElementMismatch(relative_std=0.1)
    )
    adc, level = Adc(bits=6, channels_per_converter=2, errors=errors), np.linspace(-1, 1, 301)
    traces = transfer(adc, level)
    assert traces.shape == (301, TRACES)
    assert all(not np.array_equal(traces[:, 0], other) for other in traces[:, 1:].T)
    plots = []
    for name, linearity in (("plain", None), ("curved", InlCurve(inl_lsb=(0.0, 0.5, 0.0)))):
        made = Adc(bits=6, errors=ConverterErrors(noise_relative_std=0.01, linearity=linearity))
        plots.append(tmp_path / f"{name}.png")
        entry = ConverterPreset(name=name, converters=Converters(output=made), source="measured", note="own")
        plot_converter_preset(entry, plots[-1])
    widths = [int.from_bytes(path.read_bytes()[16:20], "big") for path in plots]  # of a PNG's header
    assert widths == [3 * 540, 4 * 540]  # nonlinearity has a panel where there is any
