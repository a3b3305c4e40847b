"""Converters of a configuration file: keys, presets, runs that go on to the bit, and bundles that keep every error."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save
from small_bundles import small_inputs, small_network
from small_runs import end_at, list_differences, quiet, read_outcome, small_config, stub_pictures, tiny_config
from torch import nn

from cosim.compilation.bundle import read_manifest
from cosim.compilation.compiler import compile_network
from cosim.compilation.loading import load_bundle
from cosim.converters import (
    Adc,
    ConverterErrors,
    Converters,
    Dac,
    Elements,
    InlCurve,
    MaximumRange,
    MovingAverageRange,
    NoiseDraw,
    PercentileRange,
    UnitElementMismatch,
    converter_preset,
    converter_preset_names,
)
from cosim.errors import BlockError, ConfigError
from cosim.simulators.newton import NewtonSimulator
from cosim.training import checkpoint
from cosim.training.checkpoints import Which
from cosim.training.config import Config
from cosim.training.config_file import config_from_json
from cosim.training.run import evaluate, train
from cosim.twin import replace_blocks

FULL = (
    "converters.seed=5",
    "converters.noise_draw=same",
    "converters.input={ bits = 8, gain_error = 0.01, offset_error = -0.02, inl_lsb = [0, 0.5, 0] }",
    "converters.input.gain_relative_std=0.03",
    "converters.input.offset_relative_std=0.04",
    "converters.input.noise_relative_std=0.05",
    "converters.output={ bits = 6, unit_element_relative_std = 0.1, channels_per_converter = 8 }",
    "converters.output.unit_elements=thermometer",
    "converters.nudge={ full_scale = 2.0, clip = true }",
    'converters.phase={ calibration = "percentile", percent = 99, decay = 0.1 }',
    'converters.current={ calibration = "moving_average", std_multiple = 4 }',
)


def made(folder: Path, *overrides: str) -> Converters:
    return small_config(folder, *overrides).converters.made()


def test_every_key_makes_its_converter(tmp_path: Path) -> None:
    errors = ConverterErrors(
        gain_error=0.01,
        offset_error=-0.02,
        gain_relative_std=0.03,
        offset_relative_std=0.04,
        noise_relative_std=0.05,
        linearity=InlCurve(inl_lsb=(0.0, 0.5, 0.0)),
    )
    thermometer = UnitElementMismatch(relative_std=0.1, elements=Elements.THERMOMETER)
    assert made(tmp_path, *FULL) == Converters(
        input=Dac(bits=8, errors=errors),
        output=Adc(bits=6, errors=ConverterErrors(linearity=thermometer), channels_per_converter=8),
        nudge=Dac(full_scale=2.0, clip=True),
        phase=Adc(calibration=PercentileRange(percent=99.0, decay=0.1)),
        current=Adc(calibration=MovingAverageRange(std_multiple=4.0)),
        seed=5,
        noise_draw=NoiseDraw.SAME,
    )
    assert made(tmp_path) == Converters()
    assert made(tmp_path, "converters.phase.decay=0.5").phase.calibration == MaximumRange(decay=0.5)
    assert made(tmp_path, "converters.phase.calibration=percentile").phase.calibration == PercentileRange()


def test_what_is_not_given_of_the_current_adc_is_like_phase(tmp_path: Path) -> None:
    like = made(tmp_path, "converters.phase={ bits = 8, full_scale = 0.5, noise_relative_std = 0.01 }")
    assert like.source_current == Adc(bits=8, errors=ConverterErrors(noise_relative_std=0.01))


# --------------------------------------------------------------------------------------------------------- presets


def test_presets_have_the_published_numbers() -> None:
    # aihwkit 1.1.0: IOParameters; steps of 1 / (2^7 - 2) and 1 / (2^9 - 2) of the whole range are 7 and 9 bits here.
    io = converter_preset("aihwkit-io").converters
    assert io.input == io.nudge == Dac(bits=7)
    assert io.output == io.phase == Adc(bits=9, errors=ConverterErrors(noise_relative_std=0.06 / 12.0))
    hwa = converter_preset("aihwkit-hwa").converters
    assert (hwa.input.bits, hwa.output.bits) == (8, 8)
    assert hwa.output.errors == ConverterErrors(noise_relative_std=0.004)
    neurosim = converter_preset("neurosim").converters
    assert (neurosim.output.bits, neurosim.output.channels_per_converter) == (5, 8)
    for name in converter_preset_names():
        entry = converter_preset(name)
        assert entry.name == name
        assert entry.source
        assert entry.note


def test_unknown_presets_are_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(BlockError, match=r"no converter preset 'aihwkit': did you mean aihwkit-io or aihwkit-hwa\?"):
        converter_preset("aihwkit")
    with pytest.raises(ConfigError, match=r"converters\.preset: no converter preset 'neurosin': did you mean neuro"):
        small_config(tmp_path, "converters.preset=neurosin")


def test_what_is_written_wins_over_the_preset_even_read_back(tmp_path: Path) -> None:
    written = [
        "converters.preset=aihwkit-io",
        "converters.phase.bits=12",
        "converters.input.bits=ideal",
        "converters.output.noise_relative_std=off",
        "converters.current.full_scale=3.0",
    ]
    config = small_config(tmp_path, *written)
    noise = ConverterErrors(noise_relative_std=0.005)
    expected = Converters(
        input=Dac(),
        output=Adc(bits=9),
        nudge=Dac(bits=7),
        phase=Adc(bits=12, errors=noise),
        current=Adc(bits=9, full_scale=3.0, errors=noise),
    )
    assert config.converters.made() == expected
    tables = config.model_dump(mode="json")
    again = config_from_json(json.loads(json.dumps(tables)), "here")
    assert again == config
    assert again.converters.made() == expected
    # A preset set on top of a saved file holds for all that nobody wrote.
    tables["converters"]["preset"] = "aihwkit-hwa"
    other = config_from_json(tables, "here").converters.made()
    assert other.nudge == Dac(bits=8)
    assert other.phase == Adc(bits=12, errors=ConverterErrors(noise_relative_std=0.004))
    plain = small_config(tmp_path).model_dump(mode="json")
    plain["converters"]["preset"] = "neurosim"
    assert config_from_json(plain, "here").converters.made() == converter_preset("neurosim").converters
    # As files of before there were presets have it: null is what was not written.
    plain["converters"]["phase"] = {"bits": None, "full_scale": None}
    assert config_from_json(plain, "here").converters.made() == converter_preset("neurosim").converters


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("converters.phase.noise_relative_std=-0.1", r"converters\.phase\.noise_relative_std = -0\.1: input should be"),
        ("converters.phase.gain_error=-1", r"converters\.phase\.gain_error = -1: input should be greater than -1"),
        ("converters.phase.percent=0", r"converters\.phase\.percent = 0: input should be greater than 0"),
        ("converters.phase.percent=101", r"converters\.phase\.percent = 101: input should be less than or equal"),
        (
            "converters.phase.percent=99",
            r'converters\.phase: percent = 99 is for calibration = "percentile", but it is',
        ),
        ("converters.phase.std_multiple=3", r'converters\.phase: std_multiple = 3 is for calibration = "moving_av'),
        (
            "converters.phase.calibration=mx",
            r"converters\.phase\.calibration = 'mx'; did you mean 'max'\? Allowed: max",
        ),
        ("converters.phase.inl_lsb=[0.1]", r"converters\.?.*inl_lsb = \(0\.1,\); give two points or more"),
        (
            "converters.phase={bits = 3, inl_lsb = [0,0,0,0,0,0,0,0]}",
            r"converters.*: phase: inl_lsb: 8 points, but 3 b",
        ),
        (
            "converters.phase.unit_element_relative_std=0.1",
            r"converters: phase: ADC: INL is given in codes, but an idea",
        ),
        (
            "converters.phase={bits = 8, inl_lsb = [0, 1], unit_element_relative_std = 0.1}",
            r"converters\.phase: inl_lsb gives the curve that unit_element_relative_std would draw",
        ),
        (
            'converters.phase={full_scale = 1.0, calibration = "percentile"}',
            r"converters: phase: ADC: full_scale = 1\.0 is fixed, so there is nothing to calibrate",
        ),
        ("converters.noise_draw=often", r"converters\.noise_draw = 'often'. Allowed: anew, same"),
        (
            "converters.phase.noise_std=1",
            r"converters\.phase\.noise_std: unknown key; did you mean 'noise_relative_std'",
        ),
        ("converters.seed=-1", r"converters\.seed = -1: "),
        ("converters.phase.channels_per_converter=0", r"converters\.phase\.channels_per_converter = 0: "),
    ],
)
def test_wrong_values_are_named(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"small\.toml \(with --set\): {message}"):
        small_config(tmp_path, override)


# ------------------------------------------------------------------------------------------------------------ runs


NOISY = (
    "converters.seed=3",
    "converters.input={ bits = 8, noise_relative_std = 0.01, offset_relative_std = 0.02 }",
    'converters.output={ bits = 8, noise_relative_std = 0.02, calibration = "percentile" }',
    "converters.output.unit_element_relative_std=0.05",
    "converters.nudge={ bits = 8, noise_relative_std = 0.01 }",
    'converters.phase={ bits = 10, noise_relative_std = 0.001, calibration = "moving_average", std_multiple = 4 }',
    "phases.beta=0.2",
    "training.checkpoint_every_s=1e-9",
)


def noisy_config(folder: Path, *overrides: str) -> Config:
    return tiny_config(folder, *NOISY, *overrides)


def test_a_run_with_noise_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub_pictures(monkeypatch.setattr)
    config = noisy_config(tmp_path)
    whole = train(config, tmp_path / "whole", console=quiet())
    expected = read_outcome(tmp_path / "whole")
    for batch in (2, 3):
        run = tmp_path / f"run{batch}"
        with monkeypatch.context() as patch:
            end_at(patch, batch, how="Ctrl-C")
            with pytest.raises(KeyboardInterrupt):
                train(config, run, console=quiet())
        train(config, run, resume=Which.LAST, console=quiet())
        assert list_differences(expected, read_outcome(run)) == []
    # Scored again it is the same, noise and all; with other noise it is not.
    again = evaluate(tmp_path / "whole")
    assert (again.test_loss, again.train_loss) == (whole.test_loss, whole.train_loss)
    other = train(noisy_config(tmp_path, "converters.seed=4"), tmp_path / "other", console=quiet())
    assert other.test_loss != whole.test_loss
    # The counter is in the checkpoint: in each of 2 x 2 batches an input, an output, two nudges and a read.
    with safe_open(str(tmp_path / "whole" / "checkpoint.safetensors"), framework="pt") as file:
        assert file.get_tensor("model/energy.0.converter_ranges")[7] == 4 * 5


def test_a_checkpoint_from_before_there_was_noise_still_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub_pictures(monkeypatch.setattr)
    run = tmp_path / "run"
    scored = train(tiny_config(tmp_path, "converters.output.bits=6", "training.epochs=1"), run, console=quiet())
    path = run / "checkpoint.safetensors"
    with safe_open(str(path), framework="pt") as file:
        text = file.metadata()[checkpoint.HEADER_KEY].partition(" ")[2]
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  it is no dict
    tensors["model/energy.0.converter_ranges"] = tensors["model/energy.0.converter_ranges"][:7].clone()
    digest = checkpoint._digest(tensors, text)
    path.write_bytes(save(tensors, {checkpoint.HEADER_KEY: f"{digest} {text}"}))
    assert evaluate(run).test_loss == scored.test_loss


# --------------------------------------------------------------------------------------------------------- bundles


def with_converters(network: nn.Module, converters: Converters) -> nn.Module:
    return replace_blocks(network, lambda block: block.configured(converters=converters))


def test_a_bundle_keeps_every_error(tmp_path: Path) -> None:
    errors = ConverterErrors(
        gain_error=0.01,
        offset_error=0.02,
        gain_relative_std=0.03,
        offset_relative_std=0.04,
        noise_relative_std=0.01,
        linearity=UnitElementMismatch(relative_std=0.1, elements=Elements.THERMOMETER),
    )
    curve = replace(errors, linearity=InlCurve(inl_lsb=(0.0, 1.0, -1.0)))
    converters = Converters(
        input=Dac(bits=6, errors=errors, channels_per_converter=2, calibration=MovingAverageRange(std_multiple=3.0)),
        output=Adc(bits=6, errors=curve, calibration=PercentileRange(percent=98.0)),
        phase=Adc(clip=True, calibration=MaximumRange(decay=0.5)),
        seed=7,
    )
    network = with_converters(small_network(), converters)
    network(small_inputs(16))
    compile_network(network, tmp_path / "bundle")
    loaded = load_bundle(tmp_path / "bundle", NewtonSimulator(), into=network)
    x = small_inputs(8)
    network.eval()
    loaded.eval()
    expected = network(x)
    assert torch.equal(loaded(x), expected)
    assert not torch.equal(small_network().eval()(x), expected)
    listed = read_manifest(tmp_path / "bundle").block("first").converters
    assert listed.seed == 7
    assert listed.input.errors is not None
    assert listed.input.errors.mismatch is not None
    assert listed.output.errors is not None
    assert listed.output.errors.inl_lsb == (0.0, 1.0, -1.0)
    assert listed.phase.clip
    assert "6 bits, full scale" in (tmp_path / "bundle" / "README.md").read_text()
