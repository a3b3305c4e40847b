"""Compiling a torch module: its decks are its circuits bit for bit, its manifest finds every device, bytes repeat."""

from __future__ import annotations

import copy
import json
import xml.etree.ElementTree as ET
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from analog_blocks import KIND_IDS, KINDS, analog, draw_block, small_block
from random_blocks import random_convolution
from small_bundles import read_files, small_bundle, small_inputs, small_network
from torch import Tensor, nn

from circuits import Convolution, Drive, EnergyBlock, NodeLayer, Polarity
from circuits.tiles import TileSize
from cosim.analog_block import AnalogBlock
from cosim.compilation import manifest as manifests
from cosim.compilation.block_entry import BlockEntry
from cosim.compilation.bundle import read_manifest
from cosim.compilation.compiled_block import CompiledBlock
from cosim.compilation.compiler import compile_network
from cosim.compilation.errors import CompileError
from cosim.compilation.loading import load_bundle
from cosim.compilation.manifest import format_schema, manifest_schema
from cosim.errors import BlockError
from cosim.simulators.newton import NewtonSimulator
from digital.ff_ebm import FfEbm
from netlists.spice_reader import Deck, read_deck

TILE = TileSize(rows=6, columns=4)


def check_devices(entry: BlockEntry, deck: Deck) -> int:
    """Find the devices of every weight by what the manifest says, in the deck; return their number."""
    resistors = deck.circuit.resistors
    values = dict(zip(resistors.names, resistors.conductance_s.tolist(), strict=True))
    found = 0
    for crossbar in entry.crossbars:
        n_plus = len(crossbar.plus_devices)
        for i, row in enumerate(crossbar.plus_s):
            for j, plus in enumerate(row):
                wanted = [plus] * n_plus
                wanted += [] if crossbar.minus_s is None else [crossbar.minus_s[i][j]] * len(crossbar.minus_devices)
                names = [name.removeprefix("r") for name in crossbar.devices(i, j)]
                assert [values[name] for name in names] == wanted
                found += len(names)
    return found


@pytest.mark.parametrize(("polarity", "drive", "n_layers"), KINDS, ids=KIND_IDS)
def test_every_kind_of_block_comes_back(polarity: Polarity, drive: Drive, n_layers: int, tmp_path: Path) -> None:
    drawn = draw_block(3, polarity, drive, n_layers)
    block = analog(drawn)
    bundle = compile_network(block, tmp_path / "bundle", tile=TILE)
    (entry,) = bundle.manifest.blocks
    deck = read_deck(tmp_path / "bundle" / entry.top)
    leaks = len(drawn.built.leak_devices)
    assert check_devices(entry, deck) == len(deck.circuit.resistors) - leaks
    assert set(deck.circuit.nodes[1:]) >= {*entry.inputs.p, *entry.outputs.p, *(entry.outputs.n or ())}
    assert (entry.outputs.n is None) == (polarity is Polarity.SINGLE)
    loaded = load_bundle(tmp_path / "bundle", NewtonSimulator(), into=block)
    assert isinstance(loaded, CompiledBlock)
    x = torch.from_numpy(drawn.x)
    assert torch.equal(loaded(x), block.eval()(x))


def test_manifest_names_sources_and_outputs_in_order(tmp_path: Path) -> None:
    block = EnergyBlock(
        name="b", n_inputs=2, layers=(NodeLayer(size=2), NodeLayer(size=1, leak_s=1e-5)), output_layers=(-1, 0)
    )
    bundle = compile_network(AnalogBlock(block, simulator=NewtonSimulator()), tmp_path / "voltage")
    entry = bundle.manifest.block("b")
    assert entry.inputs.p == ("x0p", "x1p")
    assert (entry.input_sources.p, entry.input_sources.n) == (("vx0p", "vx1p"), ("vx0n", "vx1n"))
    assert entry.output_layers == (1, 0)
    assert entry.outputs.p == ("l2_0p", "l1_0p", "l1_1p")
    current = small_block("c", 3, 3, 2, drive=Drive.CURRENT)
    entry = compile_network(AnalogBlock(current, simulator=NewtonSimulator()), tmp_path / "current").manifest.block("c")
    assert entry.inputs.p == ("l1_0p", "l1_1p", "l1_2p")
    assert entry.input_sources.n == ("iinput_l1_0n", "iinput_l1_1n", "iinput_l1_2n")
    text = (tmp_path / "current" / entry.folder / "sample.inc").read_text()
    assert ".param drive_iinput_l1_0p=0.0001\n" in text  # one unit of current, for want of a sample


def test_convolutional_block_comes_back(tmp_path: Path) -> None:
    drawn = random_convolution(5, Convolution(input_shape=(2, 4, 4), channels=3, kernel=3, padding=1))
    block = analog(drawn)
    entry = compile_network(block, tmp_path / "bundle").manifest.block("convolved")
    assert [(c.name, c.joins.value, c.shape) for c in entry.crossbars[:1]] == [("w1", "convolution", (3, 2, 3, 3))]
    loaded = load_bundle(tmp_path / "bundle", NewtonSimulator(), into=block)
    x = torch.from_numpy(drawn.x)
    assert torch.equal(loaded(x), block.eval()(x))


def test_hybrid_network_comes_back_and_stays_as_it_was(tmp_path: Path) -> None:
    network = small_network().train()
    before, generator = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    bundle = compile_network(network, tmp_path / "bundle", inputs=small_inputs(3))
    loaded = load_bundle(tmp_path / "bundle", NewtonSimulator(), into=small_network(seed=5))
    assert network.training
    assert all(module.training for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    x = small_inputs(9)
    assert torch.equal(loaded(x), network.eval()(x))
    for block in bundle.manifest.blocks:
        assert check_devices(block, read_deck(tmp_path / "bundle" / block.top)) > 0
    torch.set_rng_state(generator)
    compile_network(network, tmp_path / "again", inputs=small_inputs(3))
    assert torch.equal(torch.get_rng_state(), generator)


def test_bytes_are_the_same_twice(tmp_path: Path) -> None:
    for name in ("one", "other"):
        small_bundle(tmp_path / name, samples=2)
    one, other = (read_files(tmp_path / name) for name in ("one", "other"))
    assert one == other
    assert {path.rpartition(".")[2] for path in one} == {"cir", "csv", "inc", "json", "md", "png", "safetensors", "svg"}
    assert not any(str(tmp_path).encode() in content for content in one.values())


def test_chain_is_that_of_the_modules(tmp_path: Path) -> None:
    small_bundle(tmp_path / "bundle")
    chain = read_manifest(tmp_path / "bundle").chain
    assert [(step.kind, step.module) for step in chain] == [
        ("digital", "0"), ("analog", "2"), ("digital", "4"), ("analog", "5"), ("digital", "6"),
    ]  # fmt: skip
    assert chain[0].kind == "digital"
    assert chain[0].layers[0].text == "Linear(in_features=4, out_features=5, bias=True)"
    picture = (tmp_path / "bundle" / "network.svg").read_text()
    ET.fromstring(picture)  # noqa: S314  our own file
    for text in ("first", "second", "5-4-3", "3-2", "DAC, 8 bits", "ADC, ideal", "Linear(4, 5)"):
        assert f">{text}<" in picture


def test_chain_of_links_and_of_a_shared_block(tmp_path: Path) -> None:
    block = AnalogBlock(small_block("own", 2, 2), simulator=NewtonSimulator())
    network = nn.Sequential(FfEbm([(nn.Linear(2, 2), block), (nn.Identity(), block)], nn.Linear(2, 2)), nn.ReLU())
    bundle = compile_network(network, tmp_path / "bundle", inputs=torch.ones(2, 2))
    steps = [step.module for step in bundle.manifest.chain]
    assert steps == ["0.feedforward.0", "0.energy.0", "0.energy.1", "0.readout"]
    assert len(bundle.manifest.blocks) == 1
    assert len(bundle.manifest.blocks[0].samples) == 4  # both of its runs
    loaded = load_bundle(tmp_path / "bundle", NewtonSimulator(), into=network)
    x = torch.randn(3, 2)
    assert torch.equal(loaded(x), network.eval()(x))


def test_converters_and_ranges_are_listed(tmp_path: Path) -> None:
    network = small_bundle(tmp_path / "bundle")
    converters = read_manifest(tmp_path / "bundle").block("first").converters
    ranges = network[2].get_buffer("converter_ranges")
    assert converters.input.bits == 8
    assert converters.input.full_scale is None
    assert converters.input.in_force == float(ranges[0])
    assert converters.output.unit == "v_unit_v"
    assert converters.phase.in_force is None


def test_schema_is_published_and_holds(tmp_path: Path) -> None:
    published = Path(manifests.__file__).with_name("manifest.schema.json").read_text()
    assert published == format_schema()
    small_bundle(tmp_path / "bundle", samples=1)
    assert (tmp_path / "bundle" / "manifest.schema.json").read_text() == published
    value = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    if find_spec("jsonschema") is not None:
        import jsonschema

        jsonschema.validate(value, manifest_schema())
    assert set(value) == set(manifest_schema()["required"])


def test_readme_names_an_existing_device(tmp_path: Path) -> None:
    small_bundle(tmp_path / "bundle")
    text = (tmp_path / "bundle" / "README.md").read_text()
    assert "weight (i, j) = (4, 3) of `w1`" in text
    crossbars = (tmp_path / "bundle" / "blocks" / "first" / "crossbars.inc").read_text()
    assert "`rw1_4_3_pp`" in text
    assert "\nrw1_4_3_pp x4p l1_3p " in crossbars
    assert "with every input at one unit" in text


def corrupt(network: nn.Sequential, which: str, value: float) -> nn.Sequential:
    with torch.no_grad():
        network.get_parameter(which).view(-1)[1] = value
    return network


class Untaken(nn.Module):
    """A block that the forward pass goes around."""

    def __init__(self) -> None:
        super().__init__()
        self.block = AnalogBlock(small_block("b", 2, 2), simulator=NewtonSimulator())

    def forward(self, x: Tensor) -> Tensor:
        return x


class Odd(nn.Linear):
    """A layer with a state that is no tensor."""

    def get_extra_state(self) -> str:
        return "here"

    def set_extra_state(self, state: object) -> None:
        pass


def two(first: str, second: str) -> nn.Sequential:
    return nn.Sequential(
        *(AnalogBlock(small_block(name, 2, 2), simulator=NewtonSimulator()) for name in (first, second))
    )


def wide() -> AnalogBlock:
    return AnalogBlock(EnergyBlock(name="w", n_inputs=300, layers=(NodeLayer(size=210),)), simulator=NewtonSimulator())


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (
            lambda: nn.Linear(2, 2),
            {},
            r"Linear: no energy block in it, .*give a network with a HopfieldBlock without",
        ),
        (
            lambda: corrupt(small_network(), "2.g_plus.w1", float("nan")),
            {},
            r"module '2' \(block 'first'\): .*g_plus.w1\[0, 1\] = nan, outside the window",
        ),
        (lambda: corrupt(small_network(), "5.g_minus.w2", 7.0), {}, r"module '5' \(block 'second'\): .* = 7, outside"),
        (
            lambda: corrupt(small_network(), "0.weight", float("inf")),
            {},
            r"module '0': '0.weight' holds values that are not finite",
        ),
        (lambda: nn.Sequential(Odd(2, 2), two("a", "b")), {}, r"module '0': its state '0._extra_state' is no tensor"),
        (
            lambda: two("a", "A"),
            {},
            r"modules '0' and '1' are both block 'A'; give each EnergyBlock or Hopfield",
        ),
        (lambda: two("a", "b/c"), {}, r"module '1' \(block 'b/c'\): cannot be the name of a folder"),
        (lambda: two("", "b"), {}, r"module '0' \(block ''\): cannot be the name of a folder"),
        (
            small_network,
            {"tile": TileSize(rows=1, columns=64)},
            r"module '2' .*a tile of 1x64 holds no weight of crossbar 'w1': one takes 2 row and 2 column wires",
        ),
        (
            wide,
            {"tile": TileSize(rows=1000, columns=1000)},
            r"block 'w': tiles of 1000x1000 have up to 1020 wires, .* 1000 for a subcircuit; .* --tile 500x500",
        ),
        (
            small_network,
            {"inputs": torch.ones(2, 3)},
            r"inputs of shape \(2, 3\) .* do not go through Sequential: mat1",
        ),
        (small_network, {"inputs": torch.ones(0, 4)}, r"inputs of shape \(0, 4\): no samples"),
        (Untaken, {"inputs": torch.ones(2, 2)}, r"module 'block': no input reaches this block"),
    ],
)
def test_networks_that_cannot_be_compiled(make, options, message: str, tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=message):
        compile_network(make(), tmp_path / "bundle", **options)
    assert list(tmp_path.iterdir()) == []


def test_input_that_the_block_refuses(tmp_path: Path) -> None:
    with pytest.raises(BlockError, match=r"block 'first': input 0 of sample 1 is nan"):
        compile_network(small_network(), tmp_path / "bundle", inputs=torch.tensor([[0.0] * 4, [float("nan")] * 4]))
    assert list(tmp_path.iterdir()) == []


def test_compiled_block_takes_floats_only(tmp_path: Path) -> None:
    network = small_bundle(tmp_path / "bundle")
    block = load_bundle(tmp_path / "bundle", NewtonSimulator(), into=network).get_submodule("2")
    assert str(block) == "CompiledBlock('first', 5-4-3, voltage-driven, from a deck)"
    assert block(torch.zeros(2, 5, dtype=torch.float64)).dtype is torch.float64
    assert block.counters.relaxations == 2
    with pytest.raises(BlockError, match=r"block 'first': input of type torch.int64; give float32 or float64"):
        block(torch.zeros(2, 5, dtype=torch.int64))
    assert np.array_equal(block.get_buffer("converter_ranges"), network[2].get_buffer("converter_ranges"))
