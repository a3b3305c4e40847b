"""Hopfield blocks compile: their circuits verify in plain ngspice, come back from the text, and the reports hold."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from analog_blocks import small_block
from small_bundles import (
    MAX_POOLED,
    hopfield_block,
    hopfield_network,
    read_files,
    replace_in,
    sign_again,
    small_inputs,
    small_network,
)
from torch import nn

from cosim.analog_block import AnalogBlock
from cosim.compilation.bundle import read_manifest
from cosim.compilation.compiled_block import CompiledBlock
from cosim.compilation.compiler import compile_network
from cosim.compilation.description import energy_block, programming_report
from cosim.compilation.errors import BundleError, CompileError
from cosim.compilation.loading import load_bundle
from cosim.compilation.programmed_blocks import with_circuits
from cosim.compilation.programming_texts import programming_lines
from cosim.compilation.verification import verify_bundle
from cosim.programming.settings import ActiveLeaks, OutOfWindow, ProgrammingSettings
from cosim.simulators.newton import NewtonSimulator
from digital.hopfield import ConvCoupling, DenseCoupling, HopfieldBlock, HopfieldConfig
from netlists.spice_reader import read_deck


def test_hopfield_blocks_come_back_from_their_decks(tmp_path: Path) -> None:
    network, x = hopfield_network(), small_inputs(5)
    before, generator = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    bundle = compile_network(network, tmp_path / "bundle", inputs=x[:1])
    assert torch.equal(torch.get_rng_state(), generator)
    assert isinstance(network[1], HopfieldBlock)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    programmed = with_circuits(network, None).eval()
    loaded = load_bundle(tmp_path / "bundle", NewtonSimulator(), into=hopfield_network(seed=9))
    assert torch.equal(loaded(x), programmed(x))
    torch.testing.assert_close(loaded(x), network.eval()(x), rtol=0, atol=0.1)  # but for the sharpness of the box
    again = load_bundle(tmp_path / "bundle", NewtonSimulator(), into=programmed)
    assert torch.equal(again(x), programmed(x))
    steps = [(step.kind, step.module) for step in bundle.manifest.chain]
    assert steps == [("digital", "0"), ("analog", "1"), ("digital", "2"), ("analog", "4"), ("digital", "5")]


@pytest.mark.ngspice
def test_circuits_with_active_leaks_verify(tmp_path: Path) -> None:
    bundle = compile_network(hopfield_network(), tmp_path / "bundle", inputs=small_inputs(2))
    assert all(block.counts["active_leaks"] for block in bundle.manifest.blocks)
    report = verify_bundle(tmp_path / "bundle")
    assert report.passed
    assert (report.samples, report.decks) == (2, 4)
    assert report.max_abs_error_v < 1e-9


def test_bytes_are_the_same_twice(tmp_path: Path) -> None:
    for name in ("one", "other"):
        compile_network(hopfield_network(), tmp_path / name, inputs=small_inputs(1))
    assert read_files(tmp_path / "one") == read_files(tmp_path / "other")


def test_one_hopfield_block_is_a_network(tmp_path: Path) -> None:
    block = hopfield_block("own", 0.2)
    entry = compile_network(block, tmp_path / "bundle").manifest.block("own")
    assert (entry.module, entry.drive, entry.polarity) == ("", "current", "differential")
    assert "active_leaks" not in entry.counts
    loaded = load_bundle(tmp_path / "bundle", NewtonSimulator(), into=block)
    assert isinstance(loaded, CompiledBlock)


def test_a_shared_hopfield_block_is_one_circuit(tmp_path: Path) -> None:
    config = HopfieldConfig(input_shape=(3,), couplings=(DenseCoupling(size=3),), name="shared")
    block = HopfieldBlock(config, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(block, nn.Tanh(), block)
    bundle = compile_network(network, tmp_path / "bundle", inputs=torch.ones(1, 3))
    assert len(bundle.manifest.blocks) == 1
    assert len(bundle.manifest.blocks[0].samples) == 2
    loaded = load_bundle(tmp_path / "bundle", NewtonSimulator(), into=network)
    assert loaded[0] is loaded[2]


def test_manifest_and_readme_say_what_was_done(tmp_path: Path) -> None:
    network = hopfield_network()
    settings = ProgrammingSettings(g_max_s=1e-5)
    bundle = compile_network(network, tmp_path / "bundle", programming=settings)
    manifest = read_manifest(tmp_path / "bundle")
    circuits = with_circuits(network, settings)
    texts = []
    for entry, path in zip(manifest.blocks, ("1", "4"), strict=True):
        analog = circuits.get_submodule(path)
        assert isinstance(analog, AnalogBlock)
        assert entry.programming is not None
        assert programming_report(entry.programming) == analog.report
        assert json.dumps(entry.programming.model_dump(mode="json")) == json.dumps(analog.report.to_json())
        assert energy_block(entry) == replace(analog.block, output_layers=(2,))
        active = sum(int((layer.leaks_s < 0).sum()) for layer in analog.block.layers)
        assert entry.counts["active_leaks"] == active > 0
        # One scale: the block's g_unit, and with it the DAC's unit of current.
        window = entry.programming.window
        assert window.outside > 0
        assert entry.g_unit_s == window.g_unit_s == pytest.approx(1e-4 * window.scale)
        assert max(max(map(max, c.plus_s)) for c in entry.crossbars) <= 1e-5
        source = (tmp_path / "bundle" / entry.folder / "sample.inc").read_text()
        (unit_a,) = re.findall(r"^\.param drive_iinput_l1_0p=(.*)$", source, re.MULTILINE)
        assert float(unit_a) == entry.g_unit_s * entry.v_unit_v
        texts += [f"{entry.name}, from a hopfield block:", *(f"  {text}" for text in analog.report.texts())]
    assert programming_lines(bundle.manifest) == texts
    readme = (tmp_path / "bundle" / "README.md").read_text()
    assert "## How it was programmed" in readme
    for text in texts:
        assert text.strip().partition(", from")[0] in readme
    leak = min(
        (leak, node)
        for layer in manifest.blocks[0].layers
        for leak, node in zip(layer.leak_s, layer.units.p, strict=True)
    )
    unit = leak[1].removesuffix("p")
    assert f"`gactive_{unit}`, a leak of {leak[0]:.6g} S" in readme
    neurons = (tmp_path / "bundle" / "blocks" / "dense" / "neurons.inc").read_text()
    assert f"gactive_{unit} {unit}p {unit}n {unit}p {unit}n -" in neurons
    picture = (tmp_path / "bundle" / "blocks" / "dense" / "circuit.svg").read_text()
    assert "active units" in picture
    assert bundle.to_json()["programming"] == [b.programming.model_dump(mode="json") for b in manifest.blocks]
    assert bundle.to_json()["accuracy"] is None


def test_analog_blocks_move_into_a_window_that_is_given(tmp_path: Path) -> None:
    network, x = small_network(), small_inputs(6)
    as_it_is = compile_network(network, tmp_path / "as_it_is")
    assert all(block.programming is None for block in as_it_is.manifest.blocks)
    assert "How it was programmed" not in (tmp_path / "as_it_is" / "README.md").read_text()
    window = ProgrammingSettings(g_min_s=2e-6, g_max_s=3e-5)
    bundle = compile_network(network, tmp_path / "moved", programming=window)
    for before, block in zip(as_it_is.manifest.blocks, bundle.manifest.blocks, strict=True):
        assert block.programming is not None
        assert block.programming.window.raised > 0
        assert block.g_unit_s < before.g_unit_s
        values = [value for c in block.crossbars for rows in (c.plus_s, c.minus_s) for row in rows for value in row]
        assert 2e-6 * (1 - 1e-6) <= min(values) <= max(values) <= 3e-5 * (1 + 1e-6)
        assert block.converters == before.converters  # and the ranges that they were given
        assert before.converters.input.in_force == block.converters.input.in_force
    assert torch.equal(network[2].g_plus["w1"], small_network()[2].g_plus["w1"])
    loaded = load_bundle(tmp_path / "moved", NewtonSimulator(), into=with_circuits(network, window))
    torch.testing.assert_close(loaded(x), network.eval()(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("leaks", [ActiveLeaks.REFUSE, ActiveLeaks.CLIP])
def test_a_circuit_with_active_leaks_is_none_that_is_passive(leaks: ActiveLeaks, tmp_path: Path) -> None:
    block = small_block("own", 2, 2)
    layers = tuple(replace(layer, leak_s=(-1e-6, 2e-6)) for layer in block.layers)
    network = nn.Sequential(AnalogBlock(replace(block, layers=layers), simulator=NewtonSimulator()))
    with pytest.raises(CompileError, match=r"module '0': block 'own': 1 of 2 units need an active leak"):
        compile_network(network, tmp_path / "bundle", programming=ProgrammingSettings(active_leaks=leaks))
    assert list(tmp_path.iterdir()) == []


def poisoned() -> nn.Sequential:
    network = hopfield_network()
    with torch.no_grad():
        network[4].weights["0"].view(-1)[3] = float("nan")
    return network


def pooled() -> nn.Sequential:
    return nn.Sequential(HopfieldBlock(MAX_POOLED))


def strong() -> nn.Sequential:
    return nn.Sequential(nn.Identity(), hopfield_block("strong", 4.0))


@pytest.mark.parametrize(
    ("make", "programming", "message"),
    [
        (poisoned, None, r"module '4': '4.weights.0' holds values that are not finite; train it anew"),
        (
            pooled,
            None,
            r"module '0': hopfield block 'pooled': coupling 1 has a max-pool inside the energy \(pool = 2\)",
        ),
        (
            strong,
            None,
            r"module '1': hopfield block 'strong': the smallest eigenvalue of its unclamped Hessian is -\d\.\d+, so",
        ),
        (
            hopfield_network,
            ProgrammingSettings(active_leaks=ActiveLeaks.REFUSE),
            r"module '1': hopfield block 'dense': 5 of 13 units need an active leak .* passive up to weights times 0\.",
        ),
        (
            hopfield_network,
            ProgrammingSettings(active_leaks=ActiveLeaks.CLIP, g_min_s=1e-4),
            r"module '1': hopfield block 'dense': devices at g_min = 1 g_unit alone load a unit by more than its own",
        ),
        (
            hopfield_network,
            ProgrammingSettings(out_of_window=OutOfWindow.REFUSE, g_max_s=1e-5),
            r"module '1': hopfield block 'dense': \d+ of 49 weights need more than g_max = 1e-05 S, the largest",
        ),
        (
            small_network,
            ProgrammingSettings(out_of_window=OutOfWindow.REFUSE, g_max_s=1e-5),
            r"module '2': block 'first': \d+ of \d+ weights have a device outside 1e-07 to 1e-05 S",
        ),
    ],
)
def test_blocks_that_cannot_be_programmed(make, programming, message: str, tmp_path: Path) -> None:
    with pytest.raises(CompileError, match=message):
        compile_network(make(), tmp_path / "bundle", programming=programming)
    assert list(tmp_path.iterdir()) == []


def test_several_equilibria_compile_where_they_are_allowed(tmp_path: Path) -> None:
    allowed = ProgrammingSettings(allow_several_equilibria=True)
    bundle = compile_network(strong(), tmp_path / "bundle", programming=allowed)
    eigenvalue = bundle.manifest.blocks[0].programming.smallest_eigenvalue
    assert eigenvalue < 0
    assert programming_lines(bundle.manifest)[-1].endswith("there may be several equilibria")


def with_dense(size: int = 4, last: int = 3, *, input_bias: bool = True) -> nn.Sequential:
    network = hopfield_network()
    couplings = (DenseCoupling(size=size), DenseCoupling(size=last))
    network[1] = HopfieldBlock(HopfieldConfig(input_shape=(6,), couplings=couplings, input_bias=input_bias))
    return network


def with_kernel(**options: int) -> nn.Sequential:
    network = hopfield_network()
    couplings = (ConvCoupling(channels=2, **options), DenseCoupling(size=3))
    network[4] = HopfieldBlock(HopfieldConfig(input_shape=(2, 4, 4), couplings=couplings))
    return network


@pytest.mark.parametrize(
    ("into", "message"),
    [
        (lambda: with_dense(5), r"block 'dense' at '1' has sizes = \(6, 4, 3\), the network \(6, 5, 3\); give a netw"),
        (lambda: with_dense(input_bias=False), r"has biases = \(True, True, True\), the network \(False, True, True\)"),
        (lambda: with_kernel(kernel=5, padding=2), r"block 'conv' at '4' has kernels = .*, the network .*5, 1, 2\)"),
        (lambda: hopfield_network()[:4], r"the network has no energy block at '4'"),
        (lambda: hopfield_network().append(hopfield_block("more")), r"has no deck for the energy block at '6'"),
    ],
)
def test_networks_that_do_not_fit(into, message: str, tmp_path: Path) -> None:
    compile_network(hopfield_network(), tmp_path / "bundle")
    with pytest.raises(BundleError, match=message):
        load_bundle(tmp_path / "bundle", NewtonSimulator(), into=into())


@pytest.mark.ngspice
@pytest.mark.parametrize("name", ["gactive_l3_1", "rleak_l1_4n"])
def test_a_leak_with_another_value_is_found(name: str, tmp_path: Path) -> None:
    compile_network(hopfield_network(), tmp_path / "bundle", inputs=small_inputs(1))
    deck = tmp_path / "bundle" / "blocks" / "dense" / "neurons.inc"
    line = next(line for line in deck.read_text().splitlines() if line.startswith(f"{name} "))
    head, _, value = line.rpartition(" ")
    replace_in(deck, line, f"{head} {float(value) * 0.99}")
    sign_again(tmp_path / "bundle")
    report = verify_bundle(tmp_path / "bundle")
    assert not report.passed
    (problem,) = report.problems
    assert problem.startswith(f"block 'dense': device r{name[1:]} has ")


def test_decks_hold_the_leaks_to_the_bit(tmp_path: Path) -> None:
    network = hopfield_network()
    bundle = compile_network(network, tmp_path / "bundle")
    circuits = with_circuits(network, None)
    for entry in bundle.manifest.blocks:
        analog = circuits.get_submodule(entry.module)
        resistors = read_deck(tmp_path / "bundle" / entry.top).circuit.resistors
        values = dict(zip(resistors.names, resistors.conductance_s.tolist(), strict=True))
        for layer, units in zip(analog.block.layers, entry.layers, strict=True):
            for side in (units.units.p, units.units.n):
                active = [values.get(f"active_{node[:-1]}", 0.0) for node in side]
                found = [values[f"leak_{node}"] + 2 * c for node, c in zip(side, active, strict=True)]
                np.testing.assert_allclose(found, layer.leaks_s, rtol=1e-12, atol=1e-19)
