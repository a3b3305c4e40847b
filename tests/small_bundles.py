"""Small hybrid networks to compile, and what tests do to bundles."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from analog_blocks import small_block
from torch import Tensor, nn

from circuits import Drive
from cosim.analog_block import AnalogBlock
from cosim.compilation.bundle import MANIFEST, digest
from cosim.compilation.compiler import compile_network
from cosim.converters import Converters
from cosim.simulators.newton import NewtonSimulator


def small_network(*, bits: int | None = 8, seed: int = 0) -> nn.Sequential:
    """Return stages around a voltage-driven and a current-driven block, its converters ranged by one batch."""
    torch.manual_seed(seed)
    converters = Converters.ideal() if bits is None else Converters.uniform(bits)
    simulator = NewtonSimulator()
    first = AnalogBlock(small_block("first", 5, 4, 3), simulator=simulator, converters=converters)
    second = AnalogBlock(small_block("second", 3, 3, 2, drive=Drive.CURRENT), simulator=simulator)
    network = nn.Sequential(
        nn.Linear(4, 5), nn.BatchNorm1d(5), first, nn.Identity(), nn.Tanh(), second, nn.Linear(2, 3)
    )
    network(small_inputs(16))
    return network


def small_inputs(n: int) -> Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(1))


def small_bundle(out: Path, *, samples: int = 0) -> nn.Sequential:
    """Compile a small network and return it."""
    network = small_network()
    compile_network(network, out, inputs=small_inputs(samples) if samples else None)
    return network


def read_files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def replace_in(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert text.count(before) == 1
    path.write_text(text.replace(before, after))


def edit_manifest(folder: Path, **values: object) -> None:
    tables = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(tables | values))


def sign_again(folder: Path) -> None:
    """Make the checksums those of the files as they are now."""
    files = json.loads((folder / MANIFEST).read_text())["files"]
    edit_manifest(folder, files={name: digest((folder / name).read_bytes()) for name in files})
