"""How much faster are two ngspice workers than one, on a batch of 256 samples?

Asked: at least 1.7 times.

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
from cosim.threads import use_one_thread

BATCH, REPEATS = 256, 5


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


def main() -> None:
    """Print both times and their ratio."""
    use_one_thread()
    name = sys.argv[1] if len(sys.argv) > 1 else "256-128-10"
    size = [int(n) for n in name.split("-")]
    one_s, one = measure(1, size)
    two_s, two = measure(2, size)
    same = "the same bits" if np.array_equal(one, two) else "DIFFERENT bits"
    print(f"two cores  {name}, batch of {BATCH}: {one_s:.3f} s with one worker, {two_s:.3f} s with two: ", end="")
    print(f"{one_s / two_s:.2f} times faster, {same}")


if __name__ == "__main__":
    main()
