"""Relax a convolutional block of 8.7 million devices in newton, and take its gradient; time and memory.

Run: python benchmarks/convolution.py [SIZE CHANNELS]. A differential, current-driven block of two clamped layers,
16x16x32 - 16x16x32, 3x3 kernels; a batch of 64, inputs of size 3. Asked: a relaxation, with all that is analysed before
the first one, in under 30 s, and less than 4 GB; exit status 1 otherwise. The gradient and its check come after.
"""

import resource
import sys
import time
from collections.abc import Callable
from typing import Final, TypeVar

import torch

from circuits import Clamp, Convolution, Drive, EnergyBlock, NodeLayer
from cosim.analog_block import AnalogBlock, Gradient
from cosim.simulators.newton import NewtonSimulator

BATCH: Final = 64
LIMIT_S: Final = 30.0
LIMIT_GB: Final = 4.0
KERNEL: Final = "w2"

Result = TypeVar("Result")


def make_block(size: int, channels: int) -> EnergyBlock:
    """Return a block of two images, size x size x channels each, that a padded 3x3 convolution couples."""
    clamp = Clamp(low_v=-0.3, high_v=0.3)
    convolution = Convolution(input_shape=(channels, size, size), channels=channels, kernel=3, padding=1)
    layers = (
        NodeLayer(size=convolution.n_rows, clamp=clamp, leak_s=2e-5),
        NodeLayer(coupling=convolution, clamp=clamp, leak_s=2e-5, bias=True),
    )
    return EnergyBlock(name="convolution", n_inputs=convolution.n_rows, layers=layers, drive=Drive.CURRENT)


def read_peak_gb() -> float:
    """Largest resident memory of this process so far; kilobytes on Linux, bytes on macOS."""
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def measure(name: str, action: Callable[[], Result]) -> tuple[Result, float]:
    """Run an action and print how long it took and how much memory the process has used at most."""
    start, processor = time.perf_counter(), time.process_time()
    result = action()
    wall_s, processor_s = time.perf_counter() - start, time.process_time() - processor
    print(f"{name:<42} {wall_s:7.2f} s  {processor_s:7.2f} s of processor  peak {read_peak_gb():5.2f} GB", flush=True)
    return result, wall_s


def find_gradients(block: AnalogBlock, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the gradients of a quadratic loss for the kernel and the input."""
    block.zero_grad()
    leaf = x.clone().requires_grad_()
    block(leaf).square().sum().backward()
    found = {"G+ of the kernel": block.g_plus[KERNEL].grad, "input": leaf.grad}
    return {name: gradient.double() for name, gradient in found.items() if gradient is not None}


def main(size: int, channels: int) -> None:
    """Measure, print one line each, and end with 1 if a limit is missed."""
    torch.manual_seed(0)
    x = 3 * torch.randn(BATCH, size * size * channels)
    block, _ = measure("build", lambda: AnalogBlock(make_block(size, channels), simulator=NewtonSimulator()))
    print(f"{len(block.circuit.circuit.resistors)} devices, {block.circuit.circuit.n_nodes} nodes, batch {BATCH}")
    free, first_s = measure("first relaxation, analysis included", lambda: block.free_phase(x))
    _, again_s = measure("another relaxation", lambda: block.free_phase(x))
    peak_gb = read_peak_gb()
    print(f"clamped {block.clamped_share:.3f}, Newton iterations {free.point.iterations.max():.0f}")
    nudged, _ = measure("forward and backward by EP", lambda: find_gradients(block, x))
    exact = block.configured(gradient=Gradient.IMPLICIT)
    implicit, _ = measure("another block's by implicit differentiation", lambda: find_gradients(exact, x))
    for name, expected in implicit.items():
        found = nudged[name]
        cosine = float((found * expected).sum() / found.norm() / expected.norm())
        print(f"{name}: 1 - cosine {1 - cosine:.1e}, norm ratio - 1 {float(found.norm() / expected.norm()) - 1:+.1e}")
    misses = [f"{s:.1f} s, at most {LIMIT_S:g} s asked" for s in (first_s, again_s) if s > LIMIT_S]
    misses += [f"{peak_gb:.2f} GB, at most {LIMIT_GB:g} GB asked"] if peak_gb > LIMIT_GB else []
    if misses:
        sys.exit("\n".join(f"convolution: MISSED: {line}" for line in misses))


if __name__ == "__main__":
    main(*(int(text) for text in sys.argv[1:3])) if len(sys.argv) > 2 else main(16, 32)
