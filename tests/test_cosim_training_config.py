from __future__ import annotations

import json
import re
import tomllib
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from small_runs import SMALL, small_config, write_small

from circuits.energy_block import Drive
from cosim.errors import ConfigError
from cosim.phase_settings import Nudging
from cosim.programming.settings import DEFAULT_WINDOW_S
from cosim.simulators.newton import NewtonSimulator
from cosim.training.config import (
    AnalogStage,
    AveragePoolStage,
    CircuitSection,
    Config,
    ConvCouplingSection,
    ConvLayerSection,
    ConvStage,
    DatasetKind,
    DenseCouplingSection,
    GradientKind,
    HopfieldScaling,
    HopfieldSection,
    HopfieldStage,
    ImageChoice,
    LastLayerKind,
    LossKind,
    MaxPoolStage,
    ModuleStage,
    NodeLayerSection,
    SimulatorKind,
    StartSection,
    TanhStage,
)
from cosim.training.config_file import config_from_json, format_path, load_config
from cosim.training.device_sections import DevicesSection, PulseKind, PulsesSection, VerifySection
from cosim.training.network import list_analog_blocks
from cosim.training.nonideality_sections import NeuronsSection, SourcesSection, WiresSection
from cosim.training.setup import set_up

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "digits.toml"
ALL_KEYS = EXAMPLE.with_name("all_keys.toml")
CIFAR10 = EXAMPLE.with_name("cifar10.toml")
HOPFIELD_EXAMPLE = EXAMPLE.with_name("hopfield.toml")


MODULE = 'network.stages.1={ kind = "module", module = "torch.nn.GELU" }'
IMAGE_STAGES = """network.stages=[
    { kind = "conv", channels = 4, kernel = 3 }, { kind = "tanh" }, { kind = "max_pool", kernel = 2 },
    { kind = "average_pool", kernel = 3, stride = 1 }, { kind = "module", module = "torch.nn.GELU" },
    { kind = "flatten" }, { kind = "analog", layers = [{ size = 10 }] }]"""
HOPFIELD = """network.stages.1={ kind = "hopfield", couplings = [
    { kind = "conv", channels = 2, pool = 2 }, { kind = "dense", size = 6 }] }"""


def test_a_file_is_read_with_its_defaults(tmp_path: Path) -> None:
    config = small_config(tmp_path)
    block = config.network.stages[3]
    assert isinstance(block, AnalogStage)
    assert (block.drive, block.layers[0].clamp, block.layers[1].leak) == (Drive.CURRENT, (-0.3, 0.3), 0.5)
    assert (config.data.test_size, config.training.epochs, config.training.optimizer.value) == (1500, 3, "adamw")
    assert (config.data.name, config.data.flip, config.data.crop) == (DatasetKind.DIGITS, False, 0)
    assert config.training.loss is LossKind.CROSS_ENTROPY
    assert (config.gradient, config.phases.beta, config.phases.nudging) == (GradientKind.EP, 0.005, Nudging.CENTERED)
    assert config.simulator.name is SimulatorKind.NEWTON
    assert config.converters.phase.bits is None
    assert (config.simulator.device, config.simulator.chunk) == ("cpu", 32)


def test_overrides_take_toml_values_bare_words_and_list_entries(tmp_path: Path) -> None:
    config = small_config(
        tmp_path,
        "training.epochs=7",
        "simulator.name=ngspice",
        'phases.nudging="positive"',
        "network.stages.3.layers.0.clamp=[-1, 1]",
        "converters.input={bits = 6, full_scale = 2}",
        "converters.phase.bits=ideal",
        "converters.phase.full_scale=data",
    )
    block = config.network.stages[3]
    assert isinstance(block, AnalogStage)
    assert config.training.epochs == 7
    assert config.simulator.name is SimulatorKind.NGSPICE
    assert config.phases.nudging is Nudging.POSITIVE
    assert block.layers[0].clamp == (-1, 1)
    assert (config.converters.input.bits, config.converters.input.full_scale) == (6, 2)
    assert (config.converters.phase.bits, config.converters.phase.full_scale) == (None, None)


def test_the_shipped_example_is_valid() -> None:
    if not EXAMPLE.is_file():
        pytest.skip("no examples beside an installed wheel")
    config = load_config(EXAMPLE)
    assert config.simulator.name is SimulatorKind.NGSPICE
    assert len(config.network.block_names) == 2
    bits = [getattr(config.converters, name).bits for name in ("input", "output", "nudge", "phase")]
    assert bits == [8, 8, 8, 8]


def test_the_cifar10_example_is_valid() -> None:
    if not CIFAR10.is_file():
        pytest.skip("no examples beside an installed wheel")
    config = load_config(CIFAR10)
    assert (config.data.name, config.data.images, config.data.flip) == (DatasetKind.CIFAR10, ImageChoice.LISTED, True)
    assert (config.simulator.name, config.simulator.workers) == (SimulatorKind.NGSPICE, 2)
    assert config.network.block_names == ("block1", "block2")


def test_the_hopfield_example_is_valid() -> None:
    if not HOPFIELD_EXAMPLE.is_file():
        pytest.skip("no examples beside an installed wheel")
    config = load_config(HOPFIELD_EXAMPLE)
    assert [type(stage) for stage, _ in config.network.energy_blocks] == [HopfieldStage, HopfieldStage]
    assert (config.gradient, config.has_circuit) == (GradientKind.EP, False)


def test_a_hopfield_stage_is_read_with_its_defaults(tmp_path: Path) -> None:
    config = small_config(tmp_path, HOPFIELD)
    assert config.network.stages[1] == HopfieldStage(
        kind="hopfield",
        couplings=(
            ConvCouplingSection(kind="conv", channels=2, kernel=3, stride=1, padding=1, pool=2, bias=True),
            DenseCouplingSection(kind="dense", size=6, bias=True),
        ),
        name=None,
        slope=0.5,
        last_layer=LastLayerKind.LINEAR,
        input_bias=False,
        goe_variance=None,
    )
    assert config.hopfield == HopfieldSection(
        free_steps=60, nudged_steps=20, tolerance=None, beta=0.2, scaling=HopfieldScaling.BATCH
    )
    assert config_from_json(config.model_dump(mode="json"), "here") == config


def test_a_slope_is_one_number_or_one_for_each_layer(tmp_path: Path) -> None:
    for text, slope in (("1", 1.0), ("[1, 0.5]", (1.0, 0.5))):
        config = small_config(tmp_path, HOPFIELD, f"network.stages.1.slope={text}")
        stage = config.network.stages[1]
        assert isinstance(stage, HopfieldStage)
        assert stage.slope == slope
        assert config_from_json(config.model_dump(mode="json"), "here") == config


LAYER = "network.stages.3.layers.1"
CONV_LAYER = f"{LAYER}={{ conv = {{ channels = 2 }} }}"


def test_a_layer_has_a_size_or_a_convolution(tmp_path: Path) -> None:
    config = small_config(tmp_path, CONV_LAYER)
    stage = config.network.stages[3]
    assert isinstance(stage, AnalogStage)
    conv = ConvLayerSection(channels=2, kernel=3, stride=1, padding=0)
    assert stage.layers[1] == NodeLayerSection(size=None, conv=conv, clamp=None, leak=0.0, bias=False)
    assert config_from_json(config.model_dump(mode="json"), "here") == config


def test_a_leak_is_one_number_or_one_for_each_unit(tmp_path: Path) -> None:
    third = 1 / 3
    for text, leak in (("2", 2.0), (f"[1, -0.5, 0, {third}, -1e-300]", (1.0, -0.5, 0.0, third, -1e-300))):
        config = small_config(tmp_path, f"{LAYER}.leak={text}")
        stage = config.network.stages[3]
        assert isinstance(stage, AnalogStage)
        assert stage.layers[1].leak == leak
        assert config_from_json(json.loads(json.dumps(config.model_dump(mode="json"))), "here") == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            f"{LAYER}={{ bias = true }}",
            r": size: missing; write the number of units, or conv = \{ channels = \.\.\. \}$",
        ),
        (f"{LAYER}.conv.channels=2", r": size = 5, but a conv says how many units there are; leave one of them out$"),
        (f"{LAYER}.conv=3", r"\.conv = 3: write a table with channels, kernel, stride, padding$"),
        (f"{LAYER}={{ conv = {{ kernel = 3 }} }}", r"\.conv\.channels: missing; it has no default$"),
        (
            f"{LAYER}={{ conv = {{ channels = 0 }} }}",
            r"\.conv\.channels = 0: input should be greater than or equal to 1$",
        ),
        (
            f"{LAYER}={{ conv = {{ channels = 2, stride = 0 }} }}",
            r"\.conv\.stride = 0: input should be greater than or ",
        ),
        (
            f"{LAYER}={{ conv = {{ channels = 2, padding = -1 }} }}",
            r"\.conv\.padding = -1: input should be greater than ",
        ),
        (
            f"{LAYER}={{ conv = {{ channels = 2, pool = 2 }} }}",
            r"\.conv\.pool: unknown key.* Allowed here: channels, ker",
        ),
        (f"{LAYER}.leak=true", r"\.leak: True is no leak; write zero or more, or a list, one number for each unit$"),
        (f"{LAYER}.leak=inf", r"\.leak: inf is no leak; "),
        (f"{LAYER}.leak=much", r"\.leak: 'much' is no leak; "),
        (f"{LAYER}.leak=[1, 2, nan, 4, 5]", r"\.leak: entry 2 is nan; write a finite number for each unit$"),
        (f"{LAYER}.leak=[1, '2', 3, 4, 5]", r"\.leak: entry 1 is '2'; write a finite number for each unit$"),
        (f"{LAYER}.leak=[1, 2]", r": leak: 2 numbers for 5 units; write one for each, or one number$"),
        (f"{LAYER}.leak=[]", r": leak: 0 numbers for 5 units; write one for each, or one number$"),
    ],
)
def test_a_wrong_convolution_or_leak_is_named_once(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        small_config(tmp_path, override)
    assert re.search(rf"small\.toml \(with --set\): network\.stages\[3\]\.layers\[1\]{message}", str(caught.value))
    assert len(str(caught.value).splitlines()) == 1


def test_energy_blocks_are_numbered_together_whatever_their_kind(tmp_path: Path) -> None:
    text = SMALL.replace('name = "first"\n', "")
    network = load_config(write_small(tmp_path, text), [HOPFIELD]).network
    assert [(type(stage), name) for stage, name in network.energy_blocks] == [
        (HopfieldStage, "block1"),
        (AnalogStage, "block2"),
    ]
    assert network.block_names == ("block2",)


def test_a_network_has_a_circuit_only_with_an_analog_stage_and_without_backprop(tmp_path: Path) -> None:
    assert small_config(tmp_path).has_circuit
    assert small_config(tmp_path, HOPFIELD).has_circuit
    assert not small_config(tmp_path, "gradient=backprop").has_circuit
    assert not small_config(tmp_path, HOPFIELD, 'network.stages.3={ kind = "relu" }').has_circuit


def test_stages_of_images_are_read_with_their_defaults(tmp_path: Path) -> None:
    conv, tanh, larger, mean, gelu, *_ = small_config(tmp_path, IMAGE_STAGES).network.stages
    assert conv == ConvStage(kind="conv", channels=4, kernel=3, stride=1, padding=0, bias=True)
    assert tanh == TanhStage(kind="tanh")
    assert larger == MaxPoolStage(kind="max_pool", kernel=2, stride=None)
    assert mean == AveragePoolStage(kind="average_pool", kernel=3, stride=1)
    assert isinstance(gelu, ModuleStage)
    assert (gelu.module, gelu.arguments) == ("torch.nn.GELU", {})


def test_arguments_of_a_module_are_those_of_the_file(tmp_path: Path) -> None:
    made = "network.stages.1.arguments"
    config = small_config(
        tmp_path,
        MODULE,
        f"{made}.n=3",
        f"{made}.list=[1, [2.5, true]]",
        f"{made}.name=tanh",
        f"{made}.table={{ x = -1 }}",
    )
    stage = config.network.stages[1]
    assert isinstance(stage, ModuleStage)
    assert stage.arguments == {"n": 3, "list": [1, [2.5, True]], "name": "tanh", "table": {"x": -1}}
    assert config_from_json(config.model_dump(mode="json"), "here") == config


def list_fields(model: type[BaseModel]) -> dict[type[BaseModel], set[str]]:
    """The keys of each section and kind of stage below a model, and its own."""
    found, waiting = {}, [model.model_fields]
    found[model] = set(model.model_fields)
    while waiting:
        annotations: list[Any] = [field.annotation for field in waiting.pop().values()]
        while annotations:
            annotation = annotations.pop()
            annotations += get_args(annotation)
            if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in found:
                found[annotation] = set(annotation.model_fields)
                waiting.append(annotation.model_fields)
    return found


def list_written(tables: Any) -> list[set[str]]:
    """The keys of each table of a file."""
    if isinstance(tables, list):
        return [keys for entry in tables for keys in list_written(entry)]
    if not isinstance(tables, dict):
        return []
    return [set(tables), *(keys for value in tables.values() for keys in list_written(value))]


# Behind a # in the reference: not for the digits, of a machine that is not here, or of a run to begin with.
COMMENTED = [
    "path = ",
    "url = ",
    "dask = ",
    "[start]",
    "run = ",
    "checkpoint = ",
    "[circuit]",
    "g_min_s = ",
    "g_max_s = ",
]
COMMENTED += ["v_unit_v = ", "g_unit_s = ", "temperature_k = ", "diode = ", "window = ", "active_leaks = "]
COMMENTED += ["several_equilibria = "]
JUNCTION = {"saturation_current_a", "emission_coefficient", "series_resistance_ohm"}
JUNCTION |= {"activation_energy_ev", "saturation_exponent"}
PIECEWISE = {"threshold_v", "on_resistance_ohm", "off_resistance_ohm"}
ALTERNATIVES = {"NodeLayerSection": ({"size"}, {"conv"}), "DiodeSection": (JUNCTION, PIECEWISE)}  # one of them a table
OTHER_VALUE = {  # shown there with another value than the default
    ("AnalogStage", "name"),
    ("NodeLayerSection", "size"),
    ("NodeLayerSection", "conv"),
    ("NodeLayerSection", "clamp"),
    ("NodeLayerSection", "leak"),
    ("NodeLayerSection", "bias"),
    ("MaxPoolStage", "stride"),
    ("AveragePoolStage", "stride"),
    ("ConvStage", "goe_variance"),
    ("ModuleStage", "arguments"),
    ("HopfieldStage", "name"),
    ("HopfieldStage", "goe_variance"),
    ("ConvCouplingSection", "pool"),
}


def test_the_reference_has_every_key_with_its_default() -> None:
    if not ALL_KEYS.is_file():
        pytest.skip("no examples beside an installed wheel")
    text = ALL_KEYS.read_text(encoding="utf-8")
    commented = re.compile(r"^# (?=(\[\w+\]|\w+ = ))", re.MULTILINE)
    assert commented.findall(text) == COMMENTED
    tables = tomllib.loads(commented.sub("", text))
    fields, written = list_fields(Config), list_written(tables)
    assert len(fields) == 35
    for model, keys in fields.items():
        alternatives = ALTERNATIVES.get(model.__name__, (set(),))
        for one in alternatives:
            assert keys - (set().union(*alternatives) - one) in written, model.__name__
    # Those behind a # are right too, for what they are for.
    tables["data"]["name"], tables["simulator"]["name"] = "cifar10", "ngspice"
    behind = config_from_json(tables, "here")
    assert behind.simulator.dask is not None
    assert behind.start == StartSection(run="runs/hopfield")
    # Without a window analog stages keep theirs, and hopfield stages get this one.
    assert behind.circuit == CircuitSection(g_min_s=DEFAULT_WINDOW_S[0], g_max_s=DEFAULT_WINDOW_S[1])
    config = load_config(ALL_KEYS)
    # TOML has no word for their default.
    shown: dict[str, Any] = {"converters": {"current"}, "hopfield": {"tolerance"}}
    shown["data"] = {"train_size", "test_size", "mean", "std"}
    shown |= {"devices": True, "neurons": True, "sources": True, "wires": True}
    assert config.model_dump(exclude=shown) == Config(network=config.network).model_dump(exclude=shown)
    assert config.devices is not None
    own = {"write", "verify", "pulses"}  # shown with another value, or with a table that is left out by default
    assert config.devices.model_dump(exclude=own) == DevicesSection().model_dump(exclude=own)
    pulses = PulsesSection(kind=PulseKind.LINEAR, up_step=1e-3, down_step=1e-3)
    assert (config.devices.verify, config.devices.pulses) == (VerifySection(), pulses)
    assert (config.neurons, config.sources) == (NeuronsSection(), SourcesSection())
    assert config.wires == WiresSection(row_ohm=1.0, column_ohm=1.0)
    for stage in config.network.stages:
        layers = getattr(stage, "layers", ())
        convolutions = [layer.conv for layer in layers if layer.conv is not None]
        for section in (stage, *layers, *convolutions, *getattr(stage, "couplings", ())):
            for name, field in type(section).model_fields.items():
                if not field.is_required() and (type(section).__name__, name) not in OTHER_VALUE:
                    assert getattr(section, name) == field.default, name
    choices = [c for model in fields for field in model.model_fields.values() for c in list_choices(field.annotation)]
    assert [choice for choice in choices if f'"{choice}"' not in text] == []


def list_choices(annotation: Any) -> list[str]:
    return [c.value for c in annotation] if isinstance(annotation, type) and issubclass(annotation, Enum) else []


def test_the_reference_builds_a_network() -> None:
    if not ALL_KEYS.is_file():
        pytest.skip("no examples beside an installed wheel")
    blocks = list_analog_blocks(set_up(load_config(ALL_KEYS), NewtonSimulator()).network)
    assert [block.block.output_shape for block in blocks] == [(4, 4, 4), (16,)]


def test_json_of_a_configuration_reads_back_as_the_same(tmp_path: Path) -> None:
    config = small_config(tmp_path, "converters.input.bits=8")
    assert config_from_json(config.model_dump(mode="json"), "here") == config


def test_blocks_without_a_name_are_numbered(tmp_path: Path) -> None:
    text = SMALL.replace('name = "first"\n', "")
    assert load_config(write_small(tmp_path, text)).network.block_names == ("block1",)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "training.epoch=1",
            r"training\.epoch: unknown key; did you mean 'epochs'\? Allowed here: epochs, batch_size, ",
        ),
        ("epochs=1", r"epochs: unknown key; did you mean 'training\.epochs'\? "),
        ("epoch=1", r"epoch: unknown key; did you mean 'training\.epochs'\? "),
        ("seed=1", r"seed: unknown key; did you mean 'data\.seed' or 'converters\.seed' or 'devices\.seed'\? "),
        ("network.stages[1].leak=1", r"network\.stages\[1\]\.leak: .*'network\.stages\.N\.layers\.N\.leak'\?"),
        ("network.stages[3].layers[0].size=0", r"network\.stages\[3\]\.layers\[0\]\.size = 0: "),
        ("converters.input=8", r"converters\.input = 8: write \{ bits = 8 \}$"),
        ("converters.current=8", r"converters\.current = 8: write \{ bits = 8 \}$"),
        ("training=8", r"training = 8: write a table with epochs, batch_size, "),
        ("network.stages=[8]", r"network\.stages\[0\] = 8: write a table, as "),
        ("network.stages.3.layers.0.clamp=0.2", r".*\.clamp: 0\.2 is no clamp; write \[low, high\], or a list"),
        ("network.stages.3.layers.0.clamp=[1]", r".*\.clamp: \[1\] are no limits; write \[low, high\], numbers or "),
        ("network.stages.3.layers.0.clamp=[1, 2, 3]", r".*\.clamp: \[1, 2, 3\] are no limits; write \[low, high\]"),
        ("network.stages.3.layers.0.clamp=['off', 'off']", r".*\.clamp: a clamp without a limit; leave it out"),
        ("network.stages.3.layers.0.clamp=[[0, 'off'], [1]]", r".*\.clamp: \[1\] are no limits; write \[low, high\]"),
        ("network.stages.3.output_layers=1", r".*\.output_layers = 1: write a list, in brackets$"),
        ("network.stages.3.layers=[{ size = 0 }]", r".*\.layers\[0\]\.size = 0: [^\n]*$"),
        ("network.stages.3.layers=[]", r".*\.layers = \[\]: write one entry at least$"),
        ("trainig.epochs=1", r"trainig: unknown key; did you mean 'training'\? Allowed here: network, gradient, data"),
        ("network.stages.3.layers.0.clmp=1", r"network\.stages\[3\]\.layers\[0\]\.clmp: .*'clamp'\?"),
        ("network.stages.3.drive=volts", r"network\.stages\[3\]\.drive = 'volts'; did you mean 'voltage'\? Allowed: "),
        (
            "network.stages.1.kind=liner",
            r"network\.stages\[1\]\.kind = 'liner'; did you mean 'linear'\? Allowed: .*relu",
        ),
        ("simulator.name=ngspcie", r"simulator\.name = 'ngspcie'; did you mean 'ngspice'\? Allowed: newton, ngspice"),
        ("data.name=cifar", r"data\.name = 'cifar'; did you mean 'cifar10'\? Allowed: digits, cifar10, "),
        ("data.path=here", r'data: path is for data\.name = "cifar10", .*"imagenet32"; the digits come with scikit'),
        ("data.images=listed", r'data: images is for data\.name = "cifar10"; digits has no list'),
        ("data={ name = 'cifar100', images = 'listed' }", r'data: images is for data\.name = "cifar10"; cifar100 has'),
        ("data={ name = 'imagenet32', url = 'https://there' }", r"data: url is for .*imagenet32 is not downloaded"),
        ("data.mean=[]", r"data\.mean = \[\]: write one entry at least"),
        ("data.std=[0]", r"data\.std\[0\] = 0: input should be greater than 0"),
        ("data.crop_padding=reflect", r"data\.crop_padding = 'reflect'\. Allowed: zeros, edge"),
        ("training.device=gpu", r"training\.device = 'gpu': "),
        ("training.final_learning_rate=1e-6", r'training: final_learning_rate = 1e-06 is of schedule = "cosine" or '),
        (
            "training={ schedule = 'cosine', final_learning_rate = 1.0 }",
            r"training: final_learning_rate = 1 is above learning_rate = 0\.003; a cosine goes down",
        ),
        ("data.crop=-1", r"data\.crop = -1: input should be greater than or equal to 0"),
        ("data.flip=1", r"data\.flip = 1: input should be a valid boolean"),
        ('data.url="ftp://there"', r"data\.url = 'ftp://there': write it like 'https://\.\.\.'$"),
        ("simulator.dask=localhost", r"simulator\.dask = 'localhost': write it like 'tcp://localhost:8786'$"),
        (
            "gradient=backpropagation",
            r"gradient = 'backpropagation'; did you mean 'backprop'\? Allowed: ep, implicit, ",
        ),
        ("training.loss=cross", r"training\.loss = 'cross'; did .*'cross_entropy'\? Allowed: cross_entropy, mse"),
        ("training.checkpoint_every_s=0", r"training\.checkpoint_every_s = 0: input should be greater than 0"),
        (
            'network.stages.1={ kind = "conv", kernel = 3 }',
            r"network\.stages\[1\]\.channels: missing; it has no default",
        ),
        (
            'network.stages.1={ kind = "conv", channels = 2, kernel = 0 }',
            r"network\.stages\[1\]\.kernel = 0: input should be greater than or equal to 1",
        ),
        (
            'network.stages.1={ kind = "max_pool", kernel = 2, padding = 1 }',
            r"network\.stages\[1\]\.padding: unknown key.*\. Allowed here: kind, kernel, stride",
        ),
        ('network.stages.1={ kind = "average_pool" }', r"network\.stages\[1\]\.kernel: missing; it has no default"),
        (
            'network.stages.1={ kind = "tanh", size = 2 }',
            r"network\.stages\[1\]\.size: unknown key.* Allowed here: kind",
        ),
        ('network.stages.1={ kind = "module" }', r"network\.stages\[1\]\.module: missing; it has no default"),
        (
            'network.stages.1={ kind = "averagepool", kernel = 2 }',
            r"network\.stages\[1\]\.kind = 'averagepool'; did you mean 'average_pool'\? Allowed: analog, average_pool",
        ),
        ("phases.beta=0", r"phases\.beta = 0: input should be greater than 0"),
        ("phases.beta=nan", r"phases\.beta = nan: input should be a finite number"),
        ("converters.input.bits=0", r"converters\.input\.bits = 0: input should be greater than or equal to 1"),
        ('converters.output.bits="8"', r"converters\.output\.bits = '8': input should be a valid integer"),
        ("converters.nudge.full_scale=-1", r"converters\.nudge\.full_scale = -1: "),
        ("training.epochs=2.5", r"training\.epochs = 2\.5: "),
        ("training.epochs=0", r"training\.epochs = 0: "),
        (
            "network.stages.3.layers.1.leak=-1",
            r".*layers\[1\]\.leak: -1 is no leak; write zero or more, or a list, one",
        ),
        (
            "network.stages.3.layers.0.clamp=[1, -1]",
            r".*stages\[3\]\.layers\[0\]\.clamp: \[1\.0, -1\.0\]: the lower limit",
        ),
        ("network.stages.3.g_min=3", r"network\.stages\[3\]: g_min = 3 must lie below g_max = 2"),
        (
            "network.stages.3.output_layers=[5]",
            r"network\.stages\[3\]: output_layers = \[5\], but there are layers 0 to 1",
        ),
        ("network.stages.3.layers=[]", r"network\.stages\[3\]\.layers = \[\]: "),
        ("training.batch_size=1", r"training\.batch_size = 1, but a batch_norm stage needs two"),
        ("training.seed=-1", r"training\.seed = -1: "),
        ("simulator.device=gpu", r"simulator\.device = 'gpu': string should match pattern .*cpu\|cuda"),
        ("simulator.chunk=0", r"simulator\.chunk = 0: input should be greater than or equal to 1"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_is_allowed(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"small\.toml \(with --set\): {message}"):
        small_config(tmp_path, override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("network.stages.1.module=GELU", r"stages\[1\]\.module = 'GELU': write it like 'torch\.nn\.GELU'$"),
        ("network.stages.1.argument.n=3", r"stages\[1\]\.argument: unknown key; did you mean 'arguments'\? Allowed "),
        ("network.stages.1.arguments=3", r"stages\[1\]\.arguments = 3: write a table, as \{ name = 1 \}$"),
        ("network.stages.1.arguments.float=nan", r"stages\[1\]\.arguments\.float = nan: input should be a finite"),
        ("network.stages.1.arguments.x=[1, { float = inf }]", r"stages\[1\]\.arguments\.x\[1\]\.float = inf: input sh"),
        ("network.stages.1.arguments.x=2020-01-02", r"stages\[1\]\.arguments\.x = 2020-01-02: write a number, text, "),
    ],
)
def test_a_wrong_argument_of_a_module_is_named(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"small\.toml \(with --set\): network\.{message}"):
        small_config(tmp_path, MODULE, override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("network.stages.1.couplings=[]", r"network\.stages\[1\]\.couplings = \[\]: write one entry at least$"),
        ("network.stages.1.couplings=8", r"network\.stages\[1\]\.couplings = 8: write a list, in brackets$"),
        ("network.stages.1.couplings=[8]", r".*\.couplings\[0\] = 8: write a table, as \{ kind = \"conv\" \}$"),
        (
            'network.stages.1.couplings=[{ kind = "con", channels = 3 }]',
            r".*\.couplings\[0\]\.kind = 'con'; did you mean 'conv'\? Allowed: conv, dense",
        ),
        ('network.stages.1.couplings=[{ kind = "conv" }]', r".*\.couplings\[0\]\.channels: missing; it has no"),
        ('network.stages.1.couplings=[{ kind = "dense" }]', r".*\.couplings\[0\]\.size: missing; it has no default"),
        ("network.stages.1.couplings.0.pool=1", r".*\.pool = 1: input should be greater than or equal to 2"),
        ("network.stages.1.couplings.1.kernel=3", r".*couplings\[1\]\.kernel: unknown .* Allowed here: kind, size, "),
        ("network.stages.1.coupling=3", r".*\.coupling: unknown key; did you mean 'couplings'\? Allowed here: kind, "),
        ("network.stages.1.slope=0", r".*\.slope: 0 is no slope; write a number above zero, or a list, one for each"),
        ("network.stages.1.slope=steep", r".*\.slope: 'steep' is no slope"),
        ("network.stages.1.slope=true", r".*\.slope: True is no slope"),
        ("network.stages.1.slope=inf", r".*\.slope: inf is no slope"),
        ("network.stages.1.slope=[0.5, nan]", r".*\.slope: \[0\.5, nan\] is no slope"),
        ("network.stages.1.slope=[]", r".*\.slope: \[\] is no slope"),
        ("network.stages.1.last_layer=liner", r".*\.last_layer = 'liner'; did you mean 'linear'\? Allowed: linear, "),
        ("network.stages.1.goe_variance=0", r".*\.goe_variance = 0: input should be greater than 0"),
        ("network.stages.1.name=first", r"network: two energy blocks are called 'first'; rename one"),
        ("gradient=backprop", r'gradient = "backprop" puts tanh layers in place of .* a hopfield stage; set "ep" or '),
        ("hopfield.free_steps=0", r"hopfield\.free_steps = 0: input should be greater than or equal to 1"),
        ("hopfield.free_step=9", r"hopfield\.free_step: unknown key; did you mean 'free_steps'\? Allowed here: free_"),
        ("hopfield.tolerance=0", r"hopfield\.tolerance = 0: input should be greater than 0"),
        ("hopfield.beta=-1", r"hopfield\.beta = -1: input should be greater than 0"),
        ("hopfield.nudging=centred", r"hopfield\.nudging = 'centred'; did you mean 'centered'\? Allowed: centered, "),
        ("hopfield.scaling=bach", r"hopfield\.scaling = 'bach'; did you mean 'batch'\? Allowed: batch, per_sample, "),
    ],
)
def test_a_wrong_key_or_value_of_a_hopfield_stage_is_named(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"small\.toml \(with --set\): {message}") as caught:
        small_config(tmp_path, HOPFIELD, override)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("kind", GradientKind)
@pytest.mark.parametrize("simulator", SimulatorKind)
def test_every_gradient_goes_with_every_simulator(tmp_path: Path, kind: GradientKind, simulator: SimulatorKind) -> None:
    config = small_config(tmp_path, f"gradient={kind.value}", f"simulator.name={simulator.value}")
    assert (config.gradient, config.simulator.name) == (kind, simulator)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    path = write_small(tmp_path, SMALL.replace('kind = "linear"\nsize = 6', 'kind = "linear"'))
    with pytest.raises(ConfigError, match=r"small\.toml: network\.stages\[1\]\.size: missing"):
        load_config(path)


def test_a_stage_without_a_kind_is_named(tmp_path: Path) -> None:
    path = write_small(tmp_path, SMALL.replace('kind = "flatten"\n', ""))
    with pytest.raises(ConfigError, match=r"network\.stages\[0\]\.kind: missing\. Allowed: .*analog"):
        load_config(path)


def test_every_mistake_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        small_config(tmp_path, "training.epoch=1", "phases.beta=-1")
    assert len(str(caught.value).splitlines()) == 2


def test_two_blocks_of_one_name_are_refused(tmp_path: Path) -> None:
    block = SMALL[SMALL.index('[[network.stages]]\nkind = "analog"') : SMALL.index("[training]")]
    with pytest.raises(ConfigError, match="two energy blocks are called 'first'"):
        load_config(write_small(tmp_path, SMALL.replace("[training]", block + "\n[training]")))


def test_a_network_without_energy_blocks_is_refused(tmp_path: Path) -> None:
    text = '[[network.stages]]\nkind = "relu"\n'
    with pytest.raises(ConfigError, match="no stage of kind 'analog' or 'hopfield'; a network needs"):
        load_config(write_small(tmp_path, text))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs", "write key=value"),
        ("training..epochs=1", "write key=value"),
        ("training.epochs.more=1", "training.epochs is a value, not a table"),
        ("network.stages.9.size=1", "network.stages has entries 0 to 4, not '9'"),
        ("network.stages.first.size=1", "not 'first'"),
        ("training.1=1", "training is a table, which has no entry number 1"),
    ],
)
def test_an_override_that_leads_nowhere_says_where_it_ends(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=f"--set {override}: .*{message}"):
        small_config(tmp_path, override)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.toml: no such file"):
        load_config(tmp_path / "nothing.toml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    with pytest.raises(ConfigError, match=r"small\.toml: not valid TOML: .*line 1"):
        load_config(write_small(tmp_path, "gradient = \n"))
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.toml: cannot be read"):
        load_config(binary)


def test_a_value_where_a_table_belongs_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"small\.toml: network = 3: "):
        load_config(write_small(tmp_path, "network = 3"))


def test_paths_are_written_as_a_person_writes_them() -> None:
    assert format_path(("network", "stages", 1, "size")) == "network.stages[1].size"


def test_no_section_takes_unknown_keys() -> None:
    tables = tomllib.loads(SMALL)
    for section in ("data", "training"):
        with pytest.raises(ConfigError, match="unknown key"):
            config_from_json({**tables, section: {**tables[section], "zzz": 1}}, "here")
    assert isinstance(config_from_json(tables, "here"), Config)


def test_dask_is_for_ngspice(tmp_path: Path) -> None:
    address = "simulator.dask=tcp://localhost:8786"
    assert small_config(tmp_path, "simulator.name=ngspice", address).simulator.dask == "tcp://localhost:8786"
    with pytest.raises(
        ConfigError, match=r'simulator: dask = "tcp://.*" is for name = "ngspice"; newton runs in this pro'
    ):
        small_config(tmp_path, address)
