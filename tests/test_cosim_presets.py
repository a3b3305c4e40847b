"""`tellegen presets`: lists every device preset with its source, and draws those asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from circuits import CircuitError
from circuits.devices import LinearStep, Preset, PulsedUpdate, preset, preset_names
from cosim import cli
from cosim.studies.preset_plots import POINTS, TRACES, plot_preset, pulse_response, written_std_s
from cosim.studies.presets import list_presets

PNG = b"\x89PNG\r\n\x1a\n"


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def test_every_preset_is_listed_with_window_effects_and_source() -> None:
    result = invoke("presets")
    assert result.exit_code == 0, result.output
    for name in preset_names():
        assert name in result.output
    for text in ("50 to 225", "programming error", "pulsed update", "drift", "Nature", "aihwkit", "CrossSim"):
        assert text in result.output
    assert max(map(len, result.output.splitlines())) <= 80


def test_a_name_gets_its_note_too() -> None:
    result = invoke("presets", "rram-milo")
    assert result.exit_code == 0
    assert "Nonlinear current left" in result.output
    assert "pcm" not in result.output


def test_json() -> None:
    result = invoke("presets", "pcm", "capacitor", "pcm", "--json", "-")
    first, second = json.loads(result.stdout)["presets"]
    assert first["name"] == "pcm"
    assert (first["g_min_s"], first["g_max_s"]) == (0.0, pytest.approx(25e-6))
    assert first["effects"] == ["programming_error", "read_noise", "drift"]
    assert "ICECS 2019" in first["source"]
    assert first["plot"] is None
    assert second["effects"] == ["pulsed_update"]
    assert "Leakage" in second["note"]


def test_every_preset_is_drawn(tmp_path: Path) -> None:
    result = invoke("presets", "--out", tmp_path / "new" / "plots", "--json", tmp_path / "presets.json")
    assert result.exit_code == 0, result.output
    files = sorted(path.name for path in (tmp_path / "new" / "plots").iterdir())
    assert files == sorted(f"{name}.png" for name in preset_names())
    listed = json.loads((tmp_path / "presets.json").read_text(encoding="utf-8"))["presets"]
    for entry in listed:
        assert Path(entry["plot"]).read_bytes()[:8] == PNG
    assert "wrote ideal.png, pcm.png" in result.output


def test_an_unknown_name_draws_nothing(tmp_path: Path) -> None:
    result = invoke("presets", "pcm", "ecram", "--out", tmp_path / "plots")
    assert result.exit_code == 2
    assert result.stderr.strip() == "tellegen: no device preset 'ecram': did you mean ecram-li or ecram-mo?"
    assert not (tmp_path / "plots").exists()
    with pytest.raises(CircuitError, match="no device preset 'ecram'"):
        list_presets(["ecram"])


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
    trace = pulse_response(device, each=20)
    assert trace.shape == (2 * POINTS + 1, 1)
    assert np.all(np.diff(trace[: POINTS + 1, 0]) > 0)
    assert np.all(np.diff(trace[POINTS:, 0]) < 0)
    x = (trace[POINTS, 0] - device.g_min_s) / device.window_s
    assert x == pytest.approx(1 - (1 - 0.0016) ** (20 * POINTS), rel=1e-9)


def test_devices_that_differ_are_each_drawn(tmp_path: Path) -> None:
    step = LinearStep(up_at_low=0.01, up_at_high=0.01, down_at_low=0.01, down_at_high=0.01)
    device = replace(preset("pcm").device, pulsed_update=PulsedUpdate(step=step, cycle_relative_std=0.5))
    assert pulse_response(device, each=1).shape == (2 * POINTS + 1, TRACES)
    plot_preset(Preset(name="own", device=device, source="measured", note="all three panels"), tmp_path / "own.png")
    assert (tmp_path / "own.png").read_bytes()[:8] == PNG


def test_the_dots_of_the_programming_error_lie_on_the_formula() -> None:
    device = preset("pcm").device
    measured = written_std_s(device, np.array([5e-6, 12.5e-6]))
    # aihwkit's polynomial, in microsiemens; 5,000 writes know their spread to 1 %.
    for g, std in zip((0.2, 0.5), measured, strict=True):
        assert std * 1e6 == pytest.approx(0.26348 + 1.965 * g - 1.1731 * g**2, rel=0.04)
