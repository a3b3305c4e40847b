"""Where does the time of a training step in ngspice go? Takes about a minute.

Asked of examples/cifar10.toml: the digital stages, and Python between relaxations, cost at most 25 % of the wall time;
exit status 1 otherwise. Relaxing is from handing ngspice its batch to having its answer; "around the blocks" is all
else inside an analog block: decks, converters, Kirchhoff's law, gradients.

Run: TELLEGEN_CIFAR10=PATH python benchmarks/cifar10_profile.py [--set key=value ...]
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch

from cosim.phases import Phases
from cosim.simulators.ngspice.pool import NgspicePool
from cosim.studies.example import find_example
from cosim.threads import one_thread
from cosim.training.config import Config
from cosim.training.config_file import load_config
from cosim.training.data import augmentation_of, training_batch
from cosim.training.setup import set_up
from cosim.training.simulators import build_simulator
from cosim.training.trainer import LOSSES, Average, build_optimizer, build_scheduler, shuffled_batches, train_batch
from digital.errors import DataError

WARM_UP, STEPS = 3, 40
MOST = 0.25  # share of the wall time outside ngspice


@contextmanager
def timed(owner: type, names: tuple[str, ...]) -> Iterator[dict[str, float]]:
    """Add up the time spent in methods of a class."""
    originals = {name: getattr(owner, name) for name in names}
    spent = dict.fromkeys(names, 0.0)

    def wrap(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def timed_method(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            try:
                return method(*args, **kwargs)
            finally:
                spent[name] += time.perf_counter() - start

        return timed_method

    for name, method in originals.items():
        setattr(owner, name, wrap(name, method))
    try:
        yield spent
    finally:
        for name, method in originals.items():
            setattr(owner, name, method)


def measure(config: Config) -> dict[str, float]:
    """Return seconds a step: "wall", "relaxing" in ngspice, and "blocks", which holds it."""
    with closing(build_simulator(config.simulator)) as simulator:
        setup = set_up(config, simulator)
        optimizer = build_optimizer(config.training, setup.network)
        scheduler = build_scheduler(config.training, optimizer, WARM_UP + STEPS)
        generator, average = torch.Generator().manual_seed(0), Average()
        augmentation = augmentation_of(config.data)
        batches = shuffled_batches(len(setup.data.train), config.training.batch_size, generator)
        start = 0.0
        with timed(NgspicePool, ("run",)) as pool, timed(Phases, ("free", "nudged")) as phases:
            for k in range(WARM_UP + STEPS):
                if k == WARM_UP:
                    for spent in (pool, phases):
                        spent.update(dict.fromkeys(spent, 0.0))
                    start = time.perf_counter()
                batch = training_batch(setup.data, batches[k % len(batches)], augmentation, generator)
                train_batch(setup.network, optimizer, scheduler, LOSSES[config.training.loss], batch, average)
            wall_s = time.perf_counter() - start
    return {
        "wall": wall_s / STEPS,
        "relaxing": pool["run"] / STEPS,
        "blocks": (phases["free"] + phases["nudged"]) / STEPS,
    }


def find_misses(outside: float) -> list[str]:
    """Return a line for each limit that is missed."""
    return [] if outside <= MOST else [f"{outside:.1%} of the time is spent outside ngspice, at most {MOST:.0%} asked"]


@one_thread()
def main() -> None:
    """Print the shares, and end with 1 if the limit is missed."""
    overrides = [text for text in sys.argv[1:] if text != "--set"]
    config = load_config(find_example(Path("examples/cifar10.toml")), overrides)
    try:
        seconds = measure(config)
    except DataError as error:
        sys.exit(f"cifar10 profile: {error}")
    wall_s = seconds["wall"]
    outside = 1.0 - seconds["relaxing"] / wall_s
    print(
        f"cifar10 profile  {1e3 * wall_s:.0f} ms a step of {config.training.batch_size}, {config.simulator.workers} "
        f"workers: in ngspice {seconds['relaxing'] / wall_s:.1%}, around the blocks "
        f"{(seconds['blocks'] - seconds['relaxing']) / wall_s:.1%}, digital stages, data and optimiser "
        f"{1.0 - seconds['blocks'] / wall_s:.1%}"
    )
    misses = find_misses(outside)
    if misses:
        sys.exit("\n".join(f"cifar10 profile: MISSED: {line}" for line in misses))


if __name__ == "__main__":
    main()
