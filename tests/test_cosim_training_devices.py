"""Tables of non-idealities in a configuration: what each key says, what is refused, what commands make of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from nonideal_blocks import EFFECTS, EVERYTHING, audited, small_block
from small_runs import SMALL, quiet, stub_pictures, write_small

from circuits.crossbar_devices import CrossbarDevices, ReadDraw, Write
from circuits.devices import (
    CubicCurrent,
    Drift,
    ExponentialStep,
    LinearStep,
    ProgrammingError,
    PulsedUpdate,
    RelativeReadNoise,
    SoftBoundsStep,
    Spread,
    SpreadDistribution,
    Stuck,
    TemperatureCoefficient,
    Verify,
    VerifyBy,
    preset,
)
from circuits.neuron_spread import NeuronSpread
from circuits.nonidealities import NonIdealities
from circuits.source_errors import SourceErrors
from cosim.cli import main
from cosim.compilation.compiled_run import DesignWarning, compile_run, evaluate_bundle
from cosim.compilation.compiler import compile_network
from cosim.compilation.errors import CompileError
from cosim.errors import ConfigError
from cosim.simulators.newton import NewtonSimulator
from cosim.studies.gradcheck import gradcheck
from cosim.training.config import AnalogStage, Config
from cosim.training.config_file import config_from_json, load_config
from cosim.training.data import evaluation_batches
from cosim.training.device_window import in_device_window
from cosim.training.network import list_analog_blocks
from cosim.training.run import evaluate, train
from cosim.training.run_folder import RunFolder
from cosim.training.setup import load_run
from cosim.training.trainer import LOSSES, score

TINY_DATA = ("training.epochs=1", "training.batch_size=20", "data.train_size=60", "data.test_size=40")
WINDOW = ("devices.g_min_s=1e-6", "devices.g_max_s=1e-4")


def read(folder: Path, *overrides: str, text: str = SMALL) -> Config:
    return load_config(write_small(folder, text), (*TINY_DATA, *overrides))


def made(config: Config) -> NonIdealities | None:
    return config.nonidealities(replace(small_block(), g_min_s=1e-6, g_max_s=1e-4))


def used(config: Config) -> CrossbarDevices:
    effects = made(config)
    assert effects is not None
    assert effects.devices is not None
    return effects.devices


# --------------------------------------------------------------------------------------------------------- what is said

DEVICE_KEYS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "nothing": (("seed=0",), {}),
    "levels": (("levels=16",), {"levels": 16}),
    "programming error": (  # a fraction of g_max
        ("programming_error_relative_std=0.02",),
        {"programming_error": ProgrammingError(coefficients_s=(0.02 * 1e-4,), reference_s=1e-4)},
    ),
    "read noise": (("read_noise_relative_std=0.03",), {"read_noise": RelativeReadNoise(relative_std=0.03)}),
    "drift": (("drift_nu=0.05",), {"drift": Drift.constant(0.05, nu_std=None, t_0_s=20.0)}),
    "drift with spread": (
        ("drift_nu=0.05", "drift_nu_std=0.01", "drift_t_0_s=1.0"),
        {"drift": Drift.constant(0.05, nu_std=0.01, t_0_s=1.0)},
    ),
    "stuck low": (("stuck_at_g_min=0.01",), {"stuck": Stuck(probability_at_g_min=0.01)}),
    "stuck high": (("stuck_at_g_max=0.02",), {"stuck": Stuck(probability_at_g_max=0.02)}),
    "spread": (("spread_relative_std=0.1",), {"spread": Spread(relative_std=0.1)}),
    "log-normal": (
        ("spread_relative_std=0.1", 'spread_distribution="log_normal"'),
        {"spread": Spread(relative_std=0.1, distribution=SpreadDistribution.LOG_NORMAL)},
    ),
    "cubic": (("k3_per_v2=0.2",), {"cubic": CubicCurrent(k3_per_v2=0.2)}),
    "temperature": (
        ("temperature_per_k=-1e-3", "temperature_reference_k=310"),
        {"temperature": TemperatureCoefficient(per_k=-1e-3, reference_k=310.0)},
    ),
    "linear pulses": (
        ('pulses={kind="linear", up_step=0.01, down_step=0.02, gamma_up=0.4, gamma_down=0.5, cycle_relative_std=0.3}',),
        {
            "pulsed_update": PulsedUpdate(
                step=LinearStep(up_at_low=0.01, up_at_high=0.006, down_at_low=0.01, down_at_high=0.02),
                cycle_relative_std=0.3,
            )
        },
    ),
    "soft bounds": (
        ('pulses={kind="soft_bounds", up_step=0.01, down_step=0.02, up_down=0.1, nominal_step=0.015}',),
        {
            "pulsed_update": PulsedUpdate(
                step=SoftBoundsStep(up_rate=0.01, down_rate=0.02), up_down=0.1, nominal_step=0.015
            )
        },
    ),
    "exponential pulses": (
        (
            'pulses={kind="exponential", up_step=0.01, down_step=0.02, a_up=0.1, a_down=0.2}',
            "pulses.gamma_up=1.0",
            "pulses.gamma_down=2.0",
            "pulses.scale=1.5",
            "pulses.shift=0.1",
            "pulses.bound_device_std=0.1",
        ),
        {
            "pulsed_update": PulsedUpdate(
                step=ExponentialStep(
                    up_step=0.01,
                    down_step=0.02,
                    a_up=0.1,
                    a_down=0.2,
                    gamma_up=1.0,
                    gamma_down=2.0,
                    scale=1.5,
                    shift=0.1,
                ),
                bound_device_std=0.1,
            )
        },
    ),
}


@pytest.mark.parametrize("name", DEVICE_KEYS)
def test_every_key_of_a_device_says_one_effect(tmp_path: Path, name: str) -> None:
    keys, effects = DEVICE_KEYS[name]
    found = used(read(tmp_path, *WINDOW, *(f"devices.{key}" for key in keys)))
    ideal = used(read(tmp_path, *WINDOW)).device
    assert (ideal.g_min_s, ideal.g_max_s, ideal.levels, ideal.spread) == (1e-6, 1e-4, None, None)
    assert found.device == replace(ideal, **effects)


def test_keys_of_how_devices_are_used(tmp_path: Path) -> None:
    keys = (
        "seed=3", 'write="program_and_verify"', "time_s=60.0", 'read_draw="each_phase"', "most_pulses=9",
        'verify={tolerance_relative=0.02, max_cycles=5, by="writes"}',
    )  # fmt: skip
    found = used(read(tmp_path, *WINDOW, *(f"devices.{key}" for key in keys)))
    assert found == CrossbarDevices(
        device=found.device,
        write=Write.PROGRAM_AND_VERIFY,
        verify=Verify(tolerance_relative=0.02, max_cycles=5, by=VerifyBy.WRITES),
        most_pulses=9,
        time_s=60.0,
        read_draw=ReadDraw.EACH_PHASE,
        seed=3,
    )


def test_keys_of_neurons_sources_and_temperature(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        "neurons={seed=1, saturation_current_relative_std=0.3, rail_std_v=0.01, leak_relative_std=0.1}",
        "neurons.emission_coefficient_relative_std=0.02",
        "sources={seed=2, gain_error=0.01, gain_std=0.02, offset=0.03, offset_std=0.04}",
        "temperature_k=350",
    )
    assert made(config) == NonIdealities(
        neurons=NeuronSpread(
            seed=1,
            saturation_current=Spread(relative_std=0.3, distribution=SpreadDistribution.LOG_NORMAL),
            emission_coefficient=Spread(relative_std=0.02),
            rail_std_v=0.01,
            leak=Spread(relative_std=0.1),
        ),
        sources=SourceErrors(seed=2, gain_error=0.01, gain_std=0.02, offset=0.03, offset_std=0.04),
        temperature_k=350.0,
    )
    assert config.effects == ["neurons", "sources", "temperature_k"]
    assert made(read(tmp_path)) is None


def test_a_preset_with_keys_of_ones_own(tmp_path: Path) -> None:
    """What is written wins, "off" switches off, and the rest is the preset's, its window too."""
    config = read(
        tmp_path,
        'devices.preset="pcm"',
        "devices.time_s=100",
        "devices.drift_nu=off",
        "devices.spread_relative_std=0.1",
    )
    expected = replace(preset("pcm").device, drift=None, spread=Spread(relative_std=0.1))
    assert used(config).device == expected
    moved = used(read(tmp_path, 'devices.preset="rram-milo"', *WINDOW)).device
    assert (moved.g_min_s, moved.g_max_s) == (1e-6, 1e-4)
    assert moved.programming_error == preset("rram-milo").device.programming_error
    # A source that gives weights without a unit takes the window of the stage.
    assert used(read(tmp_path, 'devices.preset="reram-es"')).device.g_max_s == 1e-4
    assert in_device_window(read(tmp_path, 'devices.preset="reram-es"')).network == read(tmp_path).network


@pytest.mark.parametrize(
    "overrides",
    [
        ('devices.preset="pcm"', "devices.time_s=100", "devices.drift_nu=off"),
        ('devices.preset="reram-es"', 'devices.write="pulses"', "devices.read_noise_relative_std=0.1"),
        (*WINDOW, "devices.levels=8", "devices.verify={}", 'devices.write="program_and_verify"'),
        ("neurons.rail_std_v=0.01", "sources.offset=off", "temperature_k=310"),
        ('devices.pulses={kind="linear", up_step=0.01, down_step=0.01}',),
    ],
)
def test_json_keeps_the_meaning(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    config = read(tmp_path, *overrides)
    again = config_from_json(json.loads(config.model_dump_json()), "config.json")
    assert again.model_dump() == config.model_dump()
    assert made(again) == made(config)
    assert again.model_dump_json() == config.model_dump_json()


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (('devices.preset="rram-mylo"',), r"devices\.preset: .*rram-mylo.*rram-milo"),
        (("devices.spred_relative_std=0.1",), r"devices\.spred_relative_std: .*spread_relative_std"),
        (("neurons.rail_sd_v=0.1",), r"neurons\.rail_sd_v: .*rail_std_v"),
        (("devices.g_min_s=1e-4", "devices.g_max_s=1e-6"), r"devices: .*(upside down|g_min)"),
        (("devices.g_min_s=1e-6",), r"devices: g_min_s and g_max_s are the ends of one window"),
        (
            ("devices.read_noise_relative_std=-0.1",),
            r"devices\.read_noise_relative_std = -0\.1: .*or equal to 0",
        ),
        (("devices.spread_relative_std=-0.1",), r"devices\.spread_relative_std = -0\.1: .*or equal to 0"),
        (("sources.gain_error=-1",), r"sources\.gain_error = -1: .*greater than -1"),
        (("devices.levels=1",), r"devices\.levels = 1: .*greater than or equal to 2"),
        (("devices.stuck_at_g_min=0.6", "devices.stuck_at_g_max=0.6"), r"devices: .*add up to more than 1"),
        (('devices.write="pulses"',), r"devices: .*write = 'pulses', but it has no pulsed update"),
        (('devices.preset="pcm"',), r"devices: .*flicker read noise grows with time: give time_s"),
        (("devices.verify={}",), r"devices: .*verify is of write = 'program_and_verify', not of 'program'"),
        (("devices.drift_nu_std=0.1",), r"devices: drift_nu_std is of drift_nu; write that, too"),
        (("devices.spread_distribution=normal",), r"devices: spread_distribution is of spread_relative_std"),
        (("devices.temperature_reference_k=300",), r"devices: temperature_reference_k is of temperature_per_k"),
        (
            ('devices.pulses={kind="soft_bounds", up_step=0.1, down_step=0.1, gamma_up=0.1}',),
            r'devices\.pulses: gamma_up is not of kind = "soft_bounds"',
        ),
        (("temperature_k=-3",), r"temperature_k = -3: .*greater than 0"),
        (("gradient=backprop", "devices.levels=8"), r'devices: is of a circuit, but gradient = "backprop" has tanh'),
        (("gradient=backprop", "temperature_k=310"), r'temperature_k: is of a circuit, but gradient = "backprop"'),
    ],
)
def test_what_is_refused(tmp_path: Path, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read(tmp_path, *overrides)
    assert str(caught.value).count("\n") == 0  # one thing is wrong, and one line says it


def test_hopfield_stages_alone_have_no_devices(tmp_path: Path) -> None:
    stages = 'network.stages=[{ kind = "flatten" }, { kind = "hopfield", couplings = [{ kind = "dense", size = 6 }] }]'
    with pytest.raises(ConfigError, match=r"sources: is of a circuit, but there are hopfield stages only; add"):
        read(tmp_path, stages, "sources.offset=0.1")


# ---------------------------------------------------------------------------------------------------------- the window


def test_stages_move_into_the_window_of_their_devices(tmp_path: Path) -> None:
    """g_max of both is one; g_unit and the reference current go with it, and g_min rises where it must."""
    config = read(tmp_path, 'devices.preset="rram-milo"', "network.stages.3.diode.reference_current_a=1e-6")
    before, moved = (c.network.stages[3] for c in (config, in_device_window(config)))
    assert isinstance(before, AnalogStage)
    assert isinstance(moved, AnalogStage)
    scale = 225e-6 / (before.g_max * before.g_unit_s)
    assert moved.g_unit_s == pytest.approx(scale * before.g_unit_s, rel=1e-12)
    assert moved.g_max == before.g_max
    assert moved.g_min * moved.g_unit_s == pytest.approx(50e-6, rel=1e-12)
    assert moved.diode.reference_current_a == pytest.approx(scale * 1e-6, rel=1e-12)
    again = in_device_window(in_device_window(config))
    assert again == in_device_window(config)
    ideal = config.model_copy(update={"devices": None})
    assert in_device_window(ideal) is ideal


# ------------------------------------------------------------------------------------------------------ other commands


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on devices with levels, errors, spread and a cubic law, with neurons and sources as made."""
    folder = tmp_path_factory.mktemp("made")
    overrides = (
        "devices.levels=32", "devices.programming_error_relative_std=0.01", "devices.spread_relative_std=0.05",
        "devices.k3_per_v2=0.1", "devices.read_noise_relative_std=0.01", "neurons.rail_std_v=0.01",
        "sources={gain_std=0.02, offset_std=0.01}", "temperature_k=310",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        stub_pictures(patch.setattr)
        train(read(folder, *overrides), folder / "run", console=quiet())
    return folder / "run"


@pytest.mark.parametrize("effects", [EFFECTS["spread"], EVERYTHING], ids=["spread", "everything"])
def test_a_block_as_made_is_not_compiled(tmp_path: Path, effects: NonIdealities) -> None:
    made_of = ", ".join(effects.effects)
    message = rf"block 'small'\)?: is as made \({made_of}\), but decks are of blocks as designed; compile twin\(network"
    with pytest.raises(CompileError, match=message):
        compile_network(audited(small_block(), effects), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_a_run_on_devices_is_compiled_as_designed(run: Path, tmp_path: Path) -> None:
    with pytest.warns(DesignWarning, match="as designed, .*; devices, neurons, sources, temperature_k left out"):
        compile_run(run, tmp_path / "bundle")
    theirs = RunFolder(path=run).read_config()
    designed = theirs.model_copy(update=dict.fromkeys(theirs.effects))
    setup = load_run(run, NewtonSimulator(), config=designed)
    (block,) = list_analog_blocks(setup.network)
    assert block.nonidealities is None
    expected = score(setup.network, LOSSES[designed.training.loss], evaluation_batches(setup.data, setup.data.test))
    found = evaluate_bundle(tmp_path / "bundle")
    assert found.test_accuracy == expected.accuracy
    assert found.test_loss == pytest.approx(expected.loss, rel=1e-6)
    assert not math.isclose(found.test_loss, evaluate(run).test_loss, rel_tol=1e-4)


def test_show_of_a_run_on_devices(run: Path) -> None:
    result = CliRunner().invoke(main, ["show", str(run)])
    assert result.exit_code == 0, result.output
    assert "finished, 1 of 1 epochs" in result.output


@pytest.mark.ngspice
def test_gradcheck_of_a_run_on_devices(run: Path, tmp_path: Path) -> None:
    """Pass and fail are of the circuit as its devices are asked for; what they then do has a column of its own."""
    report = gradcheck(run, out=tmp_path)
    assert report.passed
    cosines = [effect.cosine_id for effect in report.converter_effect]
    assert 0.5 < min(cosines) < 0.9999


def test_as_asked_keeps_what_is_in_the_circuit() -> None:
    kept = EVERYTHING.as_asked
    assert EVERYTHING.devices is not None
    assert kept.devices is not None
    device = EVERYTHING.devices.device
    assert kept.devices.device.cubic == device.cubic
    assert kept.devices.device == replace(
        device,
        levels=None, programming_error=None, spread=None, stuck=None, drift=None, temperature=None, read_noise=None,
    )  # fmt: skip
    assert (kept.neurons, kept.temperature_k) == (EVERYTHING.neurons, EVERYTHING.temperature_k)
    assert kept.sources == replace(EVERYTHING.sources, gain_error=None, gain_std=None)
    assert NonIdealities().as_asked == NonIdealities()
