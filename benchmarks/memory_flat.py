"""Relax one block 20,000 times in one worker process and see that its memory stays where it is.

Run: python benchmarks/memory_flat.py [N_RELAXATIONS]. Done twice: with the deck kept, and with a new deck (all
conductances changed, as in training) every 64 samples. Asked: the worker grows by at most 50 MB; exit status 1
otherwise.
"""

import sys
from concurrent.futures import Executor
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cosim.simulators.ngspice.deck import StreamedDeck
from cosim.simulators.ngspice.pool import make_loky_executor
from cosim.simulators.ngspice.worker import run_chunk

CHUNK: Final = 64
LIMIT_MB: Final = 50.0
N_NODES: Final = 64
TIMEOUT_S: Final = 60.0


def make_block(generator: np.random.Generator) -> StreamedDeck:
    """Write a dense resistive block of 64 driven nodes with clamp diodes."""
    conductances = generator.uniform(1e-6, 1e-4, (N_NODES, N_NODES))
    lines = ["* memory", ".model clamp d(is=1e-14)", "vup up 0 -0.3", "vdown down 0 0.3"]
    for i in range(N_NODES):
        lines += [f"rl{i} n{i} 0 1e4", f"idrive{i} 0 n{i} external", f"da{i} n{i} up clamp", f"db{i} down n{i} clamp"]
        lines += [f"r{i}x{j} n{i} n{j} {float(1 / conductances[i, j])!r}" for j in range(i)]
    lines += ["vsweep sweep 0 0", "rsweep sweep 0 1", ".save all"]
    lines += [".options reltol=1e-10 abstol=1e-15 vntol=1e-13 gmin=1e-15", ".end"]
    vectors = tuple(f"n{i}" for i in range(N_NODES))
    return StreamedDeck.from_text("\n".join(lines) + "\n", vectors=vectors, n_current_drives=N_NODES)


def read_memory_mb() -> float:
    """Resident memory of the process that runs this; Linux only."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return float(line.split()[1]) / 1024
    raise OSError("no VmRSS in /proc/self/status")


def relax(executor: Executor, deck: StreamedDeck, drives: NDArray[np.float64]) -> None:
    """Relax one chunk in the worker."""
    result = executor.submit(run_chunk, deck, drives, TIMEOUT_S).result()
    if not result.converged.all():
        sys.exit(f"memory: MISSED: {int((~result.converged).sum())} samples found no equilibrium")


def measure_growth(n_relaxations: int, *, is_deck_kept: bool) -> tuple[float, float]:
    """Resident memory of one worker after the first relaxations and after all of them, in MB."""
    generator = np.random.default_rng(0)
    deck = make_block(generator)
    with make_loky_executor(1) as executor:
        before = 0.0
        n_chunks = -(-n_relaxations // CHUNK)
        for k in range(-8, n_chunks):
            if k == 0:
                before = executor.submit(read_memory_mb).result()
            if not is_deck_kept:
                deck = make_block(generator)
            relax(executor, deck, generator.uniform(-1e-4, 1e-4, (CHUNK, N_NODES)))
        return before, executor.submit(read_memory_mb).result()


def find_misses(name: str, growth_mb: float) -> list[str]:
    """Return a line for each limit that is missed."""
    return [] if growth_mb <= LIMIT_MB else [f"{name}: grew by {growth_mb:.1f} MB, at most {LIMIT_MB:g} MB asked"]


def main(n_relaxations: int) -> None:
    """Measure both ways, print one line each, and end with 1 if the limit is missed."""
    misses: list[str] = []
    for is_deck_kept in (True, False):
        before, after = measure_growth(n_relaxations, is_deck_kept=is_deck_kept)
        name = "deck kept" if is_deck_kept else f"new deck every {CHUNK} samples"
        print(f"{name}: {n_relaxations} relaxations, {before:.1f} MB before, {after:.1f} MB after")
        misses += find_misses(name, after - before)
    if misses:
        sys.exit("\n".join(f"memory: MISSED: {line}" for line in misses))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
