"""The paper's splitting experiment: one network cut into blocks of several sizes, by EP and by exact gradients.

Takes: networks, and where the images are. Gives: a run folder a training, a table, a picture. Each training is an
ordinary run that `tellegen show` and `eval` read; the study goes on wherever it was interrupted, within one too.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from fnmatch import fnmatchcase
from pathlib import Path

from rich.console import Console

from ..errors import StudyError
from ..files import format_json, make_folder, write_atomically
from ..sweeps.tables import write_csv
from ..training.config import SimulatorKind
from ..training.data import with_absolute_data, with_data
from ..training.loop import PICTURES_EVERY_S
from ..training.result import Result
from .comparison import Row
from .splitting_networks import NETWORKS, SplitNetwork
from .splitting_plot import plot_splitting
from .splitting_results import CSV_COLUMNS, SplitRow, Splitting, Variant
from .trainings import Training, train_all

FILES = ("study.json", "table.md", "table.csv", "splitting.png")


def splitting_study(
    out: Path,
    *,
    networks: Sequence[SplitNetwork] = NETWORKS,
    data: Path | None = None,
    overrides: Sequence[str] = (),
    n_seeds: int = 3,
    only: Sequence[str] = (),
    executor_factory: Callable[[], Executor] | None = None,
    workers: int | None = None,
    command: str = "",
    console: Console | None = None,
) -> Splitting:
    """Train every cut of every network by every method with every seed, or go on doing so, and compare them.

    Args:
        out: folder of the study: a run folder OUT/<variant>/seed-<k> a training, and the results of all.
        networks: to be cut.
        data: where CIFAR-10 is; see `load_data` for what happens without.
        overrides: "training.epochs=1" and the like, for all trainings.
        n_seeds: trainings of each variant, with seeds 0, 1, ...
        only: names of variants, * for anything; all where it is empty.
        executor_factory: makes an executor for the trainings; new processes if left out.
        workers: trainings at a time; one for each core if left out.
        command: how the study was started, for its record.
        console: where to show progress; standard output if left out.

    Returns:
        the rows; OUT/study.json, table.md, table.csv and splitting.png hold them.

    Raises:
        StudyError: for an unknown variant, seeds that are no number above zero, or a training that failed.
        ConfigError: if a run folder in OUT was started with another configuration.
        DataError, SimulatorNotFound, RunError, KeyboardInterrupt: as `train`; checkpoints keep what was done.
    """
    variants = _choose(networks, only, n_seeds)
    trainings = {
        (variant.name, seed): Training(
            title=f"{variant.title}, seed {seed}",
            run=out / variant.name / f"seed-{seed}",
            config=with_absolute_data(
                with_data(
                    variant.network.configure(variant.block_size, variant.method, seed=seed, overrides=overrides), data
                )
            ),
        )
        for variant in variants
        for seed in range(n_seeds)
    }
    make_folder(out)
    # The longest first, or one core would be left with them at the end.
    order = sorted(trainings.values(), key=lambda t: t.config.simulator.name is not SimulatorKind.NGSPICE)
    results: dict[Path, Result] = {}
    splitting, drawn_at = Splitting(rows=(), command=command), time.perf_counter()
    trained = train_all(order, executor_factory=executor_factory, workers=workers, console=console or Console())
    for training, result in trained:
        results[training.run] = result
        rows = []
        for variant in variants:
            runs = [trainings[variant.name, seed].run for seed in range(n_seeds)]
            if all(run in results for run in runs):
                row = Row.from_results(variant.name, variant.title, [results[run] for run in runs])
                rows.append(SplitRow(variant=variant, row=row))
        if len(rows) > len(splitting.rows):
            splitting = Splitting(rows=tuple(rows), command=command)
            _keep(splitting, out)
            if time.perf_counter() - drawn_at > PICTURES_EVERY_S:
                _draw(splitting, out)
                drawn_at = time.perf_counter()
    _draw(splitting, out)
    return splitting


def list_variants(networks: Sequence[SplitNetwork]) -> list[Variant]:
    """Return all cuts of networks with all of their methods, in order."""
    return [
        Variant(network=network, block_size=size, method=method)
        for network in networks
        for size in network.block_sizes
        for method in network.methods
    ]


def _choose(networks: Sequence[SplitNetwork], only: Sequence[str], n_seeds: int) -> list[Variant]:
    variants = list_variants(networks)
    names = [variant.name for variant in variants]
    unknown = [pattern for pattern in only if not any(fnmatchcase(name, pattern) for name in names)]
    if unknown:
        raise StudyError(f"study splitting: no variant '{unknown[0]}'; there are {', '.join(names)}")
    if n_seeds < 1:
        raise StudyError(f"study splitting: {n_seeds} seeds; give one or more, three for a standard deviation")
    return [v for v in variants if not only or any(fnmatchcase(v.name, pattern) for pattern in only)]


def _keep(splitting: Splitting, out: Path) -> None:
    """Write what is known so far."""
    write_atomically(out / "study.json", format_json(splitting.to_json()).encode())
    write_atomically(out / "table.md", splitting.markdown().encode())
    write_csv(CSV_COLUMNS, splitting.csv_rows(), out / "table.csv")


def _draw(splitting: Splitting, out: Path) -> None:
    plot_splitting(splitting, out / "splitting.png", title="Cut into blocks: the CIFAR-10 subset")
