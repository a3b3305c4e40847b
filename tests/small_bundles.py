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
from digital.hopfield import ConvCoupling, DenseCoupling, HopfieldBlock, HopfieldConfig

MAX_POOLED = HopfieldConfig(input_shape=(1, 4, 4), couplings=(ConvCoupling(channels=1, pool=2),), name="pooled")


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


def hopfield_block(name: str, scale: float = 1.0, *, seed: int = 1) -> HopfieldBlock:
    """Return a dense deep Hopfield network, weights multiplied by a scale; at 1 five of its leaks are active."""
    couplings = (DenseCoupling(size=4), DenseCoupling(size=3))
    config = HopfieldConfig(input_shape=(6,), couplings=couplings, input_bias=True, name=name)
    block = HopfieldBlock(config, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for weight in block.weights.values():
            weight.mul_(scale)
    return block


def hopfield_network(seed: int = 1) -> nn.Sequential:
    """Return stages around a dense and a convolutional deep Hopfield network."""
    torch.manual_seed(seed)
    couplings = (ConvCoupling(channels=2), DenseCoupling(size=3))
    config = HopfieldConfig(input_shape=(2, 4, 4), couplings=couplings, name="conv")
    convolved = HopfieldBlock(config, generator=torch.Generator().manual_seed(seed))
    dense = hopfield_block("dense", seed=seed)
    return nn.Sequential(
        nn.Linear(4, 6), dense, nn.Linear(3, 32), nn.Unflatten(1, (2, 4, 4)), convolved, nn.Linear(3, 2)
    )


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
