"""Test accuracy of examples/digits.toml over three seeds, at circuit level in ngspice. Takes about two minutes.

Asked: a mean of at least 0.97; exit status 1 otherwise.

Run: python benchmarks/digits_seeds.py [--set key=value ...]      (the same options as tellegen train)
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from cosim.studies.demo import CONFIG
from cosim.studies.example import find_example
from cosim.training.config_file import load_config
from cosim.training.run import train

SEEDS = (0, 1, 2)
LEAST_MEAN = 0.97


def find_misses(mean: float) -> list[str]:
    """Return a line for each limit that is missed."""
    return [] if mean >= LEAST_MEAN else [f"mean test accuracy {mean:.4f}, at least {LEAST_MEAN:g} asked"]


def main() -> None:
    """Train three times, print mean and standard deviation, and end with 1 if the limit is missed."""
    overrides = [text for text in sys.argv[1:] if text != "--set"]
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in SEEDS:
            config = load_config(find_example(CONFIG), [*overrides, f"training.seed={seed}"])
            results.append(train(config, Path(folder) / str(seed)))
    accuracy = np.array([result.test_accuracy for result in results])
    wall_s = np.array([result.wall_s for result in results])
    print(f"digits  {results[0].simulator}, {results[0].epochs} epochs, seeds {SEEDS}: test accuracy ", end="")
    print(f"{accuracy.mean():.4f} +- {accuracy.std(ddof=1):.4f} ({', '.join(f'{a:.4f}' for a in accuracy)}), ", end="")
    print(f"{wall_s.mean():.0f} s each, {results[0].relaxations:,} relaxations")
    misses = find_misses(float(accuracy.mean()))
    if misses:
        sys.exit("\n".join(f"digits: MISSED: {line}" for line in misses))


if __name__ == "__main__":
    main()
