"""How much faster are two ngspice workers than one, on a batch of 256 samples?

Asked: at least 1.7 times, with the same bits; exit status 1 otherwise.

Run: python benchmarks/two_cores.py [256-128-10]
Workers are warm and the deck is loaded; the same chunks, so the results are the same to the last bit.
"""

import sys
import time

import numpy as np

from circuits.arrays import Floats
from cosim.relaxation import Reduce, Relaxation, RelaxationOptions
from cosim.simulators.ngspice import NgspiceSimulator
from cosim.studies.relaxation_bench import random_block
from cosim.threads import one_thread

BATCH, REPEATS = 256, 5
LEAST = 1.7  # times faster


def measure(workers: int, size: list[int]) -> tuple[float, Floats]:
    """Return the fastest of some repeats in s, and the voltages."""
    block, conductance_s, drives = random_block(size, 0)
    batch = np.tile(drives, (-(-BATCH // len(drives)), 1))[:BATCH]
    simulator = NgspiceSimulator(workers=workers)
    relaxation = Relaxation(block.circuit, block.image, simulator, RelaxationOptions(reduce=Reduce.FOLD))
    times = []
    try:
        for _ in range(1 + REPEATS):
            start = time.perf_counter()
            voltages = relaxation.solve(conductance_s, batch).voltage_v
            times.append(time.perf_counter() - start)
    finally:
        simulator.close()
    return min(times[1:]), voltages


def find_misses(ratio: float, *, is_same: bool) -> list[str]:
    """Return a line for each limit that is missed."""
    lines = [] if ratio >= LEAST else [f"{ratio:.2f} times faster, at least {LEAST:g} asked"]
    return lines if is_same else [*lines, "the results differ in their bits"]


@one_thread()
def main() -> None:
    """Print both times and their ratio, and end with 1 if a limit is missed."""
    name = sys.argv[1] if len(sys.argv) > 1 else "256-128-10"
    size = [int(n) for n in name.split("-")]
    one_s, one = measure(1, size)
    two_s, two = measure(2, size)
    is_same = np.array_equal(one, two)
    same = "the same bits" if is_same else "DIFFERENT bits"
    print(f"two cores  {name}, batch of {BATCH}: {one_s:.3f} s with one worker, {two_s:.3f} s with two: ", end="")
    print(f"{one_s / two_s:.2f} times faster, {same}")
    misses = find_misses(one_s / two_s, is_same=is_same)
    if misses:
        sys.exit("\n".join(f"two cores: MISSED: {line}" for line in misses))


if __name__ == "__main__":
    main()
