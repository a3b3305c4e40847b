"""Bundles on the disk: written whole or not at all, never over anything else, and refused once they were changed."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from analog_blocks import small_block
from small_bundles import (
    edit_manifest,
    read_files,
    replace_in,
    sign_again,
    small_bundle,
    small_inputs,
    small_network,
)
from torch import nn

from cosim.analog_block import AnalogBlock
from cosim.compilation.bundle import open_bundle, read_manifest
from cosim.compilation.compiler import compile_network
from cosim.compilation.errors import BundleError
from cosim.compilation.loading import load_bundle
from cosim.compilation.verification import verify_bundle
from cosim.errors import RunError
from cosim.simulators.newton import NewtonSimulator
from netlists import NetlistError


def tiny() -> AnalogBlock:
    return AnalogBlock(small_block("tiny", 2, 2), simulator=NewtonSimulator())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a bundle with one sample."""
    folder = tmp_path_factory.mktemp("bundle")
    small_bundle(folder / "bundle", samples=1)
    return read_files(folder / "bundle")


@pytest.fixture
def bundle(whole: dict[str, bytes], tmp_path: Path) -> Path:
    for name, content in whole.items():
        path = tmp_path / "bundle" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "bundle"


def test_places_that_are_free(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "new" / "deeper"):
        compile_network(tiny(), place)
        open_bundle(place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "new"]


def take_file(place: Path) -> None:
    place.write_text("mine")


def take_link(place: Path) -> None:
    (place.parent / "elsewhere").mkdir()
    place.symlink_to(place.parent / "elsewhere")


def take_folder(place: Path) -> None:
    place.mkdir()
    (place / "mine.txt").touch()


def take_other_manifest(place: Path) -> None:
    take_folder(place)
    (place / "manifest.json").write_text('{"format": "of a web page"}')


def take_bundle_with_notes(place: Path) -> None:
    compile_network(tiny(), place)
    (place / "blocks" / "tiny" / "notes.txt").touch()


def take_bundle_with_folder(place: Path) -> None:
    compile_network(tiny(), place)
    (place / "results").mkdir()


@pytest.mark.parametrize("force", [False, True], ids=["", "force"])
@pytest.mark.parametrize(
    ("take", "message"),
    [
        (take_file, r"taken: is no folder, so .*choose another --out"),
        (take_link, r"taken: is a link, no folder"),
        (take_folder, r"taken: holds files but no bundle"),
        (take_other_manifest, r"taken: holds files but no bundle"),
        (take_bundle_with_notes, r"taken: a bundle that holds what is none of its own \(blocks/tiny/notes.txt\)"),
        (take_bundle_with_folder, r"none of its own \(results\)"),
    ],
)
def test_places_that_are_taken(take, message: str, force: bool, tmp_path: Path) -> None:
    place = tmp_path / "taken"
    take(place)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(BundleError, match=message):
        compile_network(tiny(), place, force=force)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_working_directory_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_network(tiny(), tmp_path / "bundle")
    monkeypatch.chdir(tmp_path / "bundle" / "blocks")
    with pytest.raises(BundleError, match=r"is the working directory or lies above it, so --force does not replace it"):
        compile_network(tiny(), tmp_path / "bundle", force=True)


def test_force_replaces_a_bundle_and_its_verification(bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"holds a bundle already; replace it by --force, or choose another --out"):
        compile_network(tiny(), bundle)
    (bundle / "verify.json").touch()
    (bundle / ".verify.json.0123456789abcdef.part").touch()
    (bundle / "blocks" / "first" / "top.cir").unlink()
    compile_network(tiny(), bundle, force=True)
    assert open_bundle(bundle).manifest.blocks[0].name == "tiny"
    assert not (bundle / "verify.json").exists()
    assert sorted(path.name for path in bundle.parent.iterdir()) == ["bundle"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_nothing_half_written(
    error: BaseException, whole: dict[str, bytes], bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter([None] * 5)

    def full(_descriptor: int) -> None:
        if next(left, error) is error:
            raise error

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises((RunError, KeyboardInterrupt), match=r"the disk is full: free some space|^$"):
        compile_network(tiny(), bundle, force=True)
    assert read_files(bundle) == whole
    assert sorted(path.name for path in bundle.parent.iterdir()) == ["bundle"]


def test_old_bundle_comes_back_where_the_new_one_cannot_be_moved(
    whole: dict[str, bytes], bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves = iter([True, False, True])
    rename = Path.rename

    def sometimes(path: Path, target: Path) -> Path:
        if not next(moves):
            raise PermissionError(errno.EACCES, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", sometimes)
    with pytest.raises(RunError, match=r"cannot write .*bundle: no permission"):
        compile_network(tiny(), bundle, force=True)
    assert read_files(bundle) == whole
    assert sorted(path.name for path in bundle.parent.iterdir()) == ["bundle"]


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot write .*file"):
        compile_network(tiny(), tmp_path / "file" / "bundle")


def edit_deck(bundle: Path) -> None:
    path = bundle / "blocks" / "first" / "crossbars.inc"
    path.write_text(path.read_text() + "* a note\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (edit_deck, r"blocks/first/crossbars.inc: changed since it was compiled \(SHA-256 differs\); restore it"),
        (lambda b: (b / "digital.safetensors").unlink(), r"digital.safetensors: missing from the bundle; restore it"),
        (lambda b: (b / "manifest.json").unlink(), r"bundle: no bundle \(there is no manifest.json in it\)"),
        (lambda b: (b / "manifest.json").write_text("{"), r"manifest.json: no JSON \("),
        (lambda b: (b / "manifest.json").write_text("[]"), r"manifest.json: no manifest of a bundle"),
        (
            lambda b: edit_manifest(b, version=3, tellegen="9.1"),
            r"manifest.json: version 3, written by a newer tellegen \(9.1\); this one reads version 2: update it",
        ),
        (
            lambda b: edit_manifest(b, blocks=[{"name": 3}]),
            r"manifest.json: blocks.0.name: Input should be a valid str",
        ),
        (lambda b: edit_manifest(b, files={"../../etc/passwd": "0" * 64}), r"manifest.json: files.*pattern"),
        (lambda b: edit_manifest(b, more=1), r"manifest.json: more: Extra inputs are not permitted"),
    ],
)
def test_bundles_that_are_not_whole(damage, message: str, bundle: Path) -> None:
    damage(bundle)
    with pytest.raises(BundleError, match=message):
        load_bundle(bundle, NewtonSimulator(), into=small_network())
    with pytest.raises(BundleError, match=message):
        verify_bundle(bundle)


def test_no_bundle_at_all(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "none", tmp_path / "file"):
        with pytest.raises(BundleError, match=r"no bundle \(there is no manifest.json in it\); name the --out of a"):
            read_manifest(place)


def test_values_of_the_decks_are_what_runs(bundle: Path) -> None:
    network, x = small_network(), small_inputs(4)
    before = load_bundle(bundle, NewtonSimulator(), into=network)(x)
    deck = bundle / "blocks" / "first" / "crossbars.inc"
    line = next(line for line in deck.read_text().splitlines() if line.startswith("rw1_2_1_pp "))
    replace_in(deck, line, f"{line.rpartition(' ')[0]} 5000.0")
    sign_again(bundle)
    loaded = load_bundle(bundle, NewtonSimulator(), into=network)
    assert not torch.equal(loaded(x), before)
    circuit = loaded.get_submodule("2").circuit.circuit
    value = circuit.resistors.conductance_s[circuit.resistors.names.index("w1_2_1_pp")]
    assert value == 2e-4


@pytest.mark.parametrize(
    ("before", "after", "error", "message"),
    [
        ("rw1_2_1_pp x2p", "rw1_2_1_pp x2p x3p", NetlistError, r"crossbars.inc, line \d+: 'rw1_2_1_pp' has 5 words"),
        (
            "rw1_2_1_pp x2p",
            "rother x2p",
            NetlistError,
            r"resistors differ from what was written: 'w1_2_1_pp' is missing",
        ),
        ("rw1_2_1_pp x2p", "q1 x2p", NetlistError, r"crossbars.inc, line \d+: unknown element 'q1'"),
        ("dc {drive_vx2p}", "dc 0.5", BundleError, r"top.cir: source 'x2p' must take its value from a sample's param"),
    ],
)
def test_decks_that_are_another_circuit(
    before: str, after: str, error: type[Exception], message: str, bundle: Path
) -> None:
    name = "drivers.inc" if "drive" in before else "crossbars.inc"
    replace_in(bundle / "blocks" / "first" / name, before, after)
    sign_again(bundle)
    with pytest.raises(error, match=message):
        load_bundle(bundle, NewtonSimulator(), into=small_network())


def other_block() -> nn.Sequential:
    network = small_network()
    network[2] = AnalogBlock(small_block("first", 5, 4, 4), simulator=NewtonSimulator())
    return network


@pytest.mark.parametrize(
    ("into", "message"),
    [
        (lambda: None, r"compiled from a torch module, whose code no bundle holds; .* into=YourNetwork"),
        (lambda: nn.Sequential(nn.Linear(2, 2)), r"the network has no energy block at '2'"),
        (lambda: nn.Sequential(small_network()), r"has no deck for the energy block at '0.2'"),
        (other_block, r"block 'first' at '2' has layers = .*, the network .*; give a network like the one compiled"),
        (
            lambda: small_network().append(nn.Linear(3, 3)),
            r"safetensors: its weights do not fit the network: it has no",
        ),
        (lambda: small_network()[:-1], r"do not fit the network: the network has no '6.bias' \(and 1 more\)"),
    ],
)
def test_networks_that_do_not_fit(into, message: str, bundle: Path) -> None:
    with pytest.raises(BundleError, match=message):
        load_bundle(bundle, NewtonSimulator(), into=into())


def test_tensors_that_cannot_be_read(bundle: Path) -> None:
    (bundle / "digital.safetensors").write_bytes(b"no tensors")
    sign_again(bundle)
    with pytest.raises(BundleError, match=r"digital.safetensors: cannot be read \("):
        load_bundle(bundle, NewtonSimulator(), into=small_network())
