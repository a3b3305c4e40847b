"""Train a configuration into a run folder, and evaluate a run: the two public functions of this package."""

import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from rich.console import Console

from digital.datasets import DATASETS, ImageDataset
from digital.ff_ebm import FfEbm

from ..errors import RunError
from ..simulators.base import AbstractSimulator
from ..threads import one_thread
from ..versions import collect_versions
from .checkpoint import Progress, Tally, load_checkpoint, load_model, save_checkpoint
from .config import Config, SimulatorKind
from .display import Display
from .network import build_network, build_simulator, list_analog_blocks, measured_k_over_q, sum_counters
from .plots import plot_training
from .result import Result
from .run_folder import RunFolder, check_place, create_run_folder, open_run_folder
from .trainer import (
    Score,
    build_optimizer,
    build_scheduler,
    count_batches,
    score,
    shuffled_batches,
    train_epoch,
)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Setup:
    """A configuration made real: images, network and the simulator that relaxes it."""

    config: Config
    data: ImageDataset
    network: FfEbm
    generator: torch.Generator  # drew the blocks' weights
    epochs: int = 0  # that the weights were trained for


def set_up(config: Config, simulator: AbstractSimulator) -> Setup:
    """Load the images and build the network, its weights drawn from the configuration's seed.

    Raises:
        ConfigError: if the stages do not fit.
        StageError: if the data cannot be split as asked.
    """
    data = DATASETS[config.data.name](test_size=config.data.test_size, seed=config.data.seed)
    generator = torch.Generator().manual_seed(config.training.seed)
    torch.manual_seed(config.training.seed)
    network = build_network(
        config,
        shape=data.shape,
        n_classes=data.n_classes,
        simulator=simulator,
        generator=generator,
        k_over_q_v_per_k=measured_k_over_q(config.simulator),
    )
    return Setup(config=config, data=data, network=network, generator=generator)


def load_run(run: Path, simulator: AbstractSimulator, *, config: Config | None = None) -> Setup:
    """Set up a run's network with the weights of its last checkpoint.

    Args:
        run: the run folder.
        simulator: relaxes its blocks.
        config: in place of the folder's own, for other running options.

    Raises:
        RunError: if this is no run folder, or its checkpoint cannot be used.
    """
    folder = RunFolder(path=run)
    setup = set_up(config or folder.read_config(), simulator)
    return replace(setup, epochs=load_model(folder.checkpoint, setup.network))


@one_thread()
def train(
    config: Config, out: Path, *, resume: bool = False, force: bool = False, console: Console | None = None
) -> Result:
    """Train a network and keep everything about it in a run folder.

    Args:
        config: what to train.
        out: the run folder; it must not exist, or be empty, but for `resume` or `force`.
        resume: go on after the last checkpoint of a run of this configuration.
        force: replace a run that is there.
        console: where to show progress; standard output if left out.

    Returns:
        the result, which result.json holds too.

    Raises:
        ConfigError: if the configuration does not fit the data, or is not the one of the run to resume.
        RunError: if the folder is taken, cannot be written, or holds a corrupt checkpoint.
        SimulationError: if a circuit finds no equilibrium; the last checkpoint stays.
    """
    console = console or Console()
    if resume:
        open_run_folder(out, config)
    else:
        check_place(out, force=force)  # at once; the folder is made when nothing else can be refused
    with closing(build_simulator(config.simulator)) as simulator:
        setup = set_up(config, simulator)
        folder = open_run_folder(out, config) if resume else create_run_folder(out, config, force=force)
        return _train_in(folder, setup, console)


@one_thread()
def evaluate(run: Path, *, simulator: SimulatorKind | None = None) -> Result:
    """Score a run's last checkpoint on the images held out and on those it was trained on.

    Args:
        run: the run folder.
        simulator: another one than the run's.

    Returns:
        the result; nothing is written.

    Raises:
        RunError: if this is no run folder, or its checkpoint cannot be used.
        SimulatorNotFound: if the simulator is not installed.
    """
    start = time.perf_counter()
    if run.is_file() and run.suffix == ".toml":
        raise RunError(f"{run}: this is a configuration; eval takes a run folder, the --out of a `tellegen train`")
    config = RunFolder(path=run).read_config()
    if simulator is not None:
        section = config.simulator.model_copy(update={"name": simulator})
        config = config.model_copy(update={"simulator": section})
    with closing(build_simulator(config.simulator)) as built:
        setup = load_run(run, built, config=config)
        return _result(RunFolder(path=run), setup, epochs=setup.epochs, wall_s=-start, earlier={})


def _train_in(folder: RunFolder, setup: Setup, console: Console) -> Result:
    """Train in a folder from its checkpoint on, or from the start where there is none."""
    section, data, network = setup.config.training, setup.data, setup.network
    blocks = list_analog_blocks(network)
    n_batches = count_batches(len(data.x_train), section.batch_size)
    optimizer = build_optimizer(section, network)
    progress = Progress(
        model=network,
        optimizer=optimizer,
        scheduler=build_scheduler(section, optimizer, section.epochs * n_batches),
        generators={"weights": setup.generator, "order": torch.Generator().manual_seed(section.seed + 1)},
    )
    tally = Tally(epoch=0, counts={})
    if folder.checkpoint.exists():
        tally = load_checkpoint(folder.checkpoint, progress)
        console.print(f"going on after epoch {tally.epoch} of {section.epochs}", highlight=False)
    metrics = folder.keep_metrics(tally.epoch)
    earlier, start = tally, time.perf_counter() - (metrics[-1]["wall_s"] if metrics else 0.0)
    display = Display(console, n_epochs=section.epochs, n_batches=n_batches, first_epoch=earlier.epoch)
    with display:
        for epoch in range(earlier.epoch + 1, section.epochs + 1):
            batches = shuffled_batches(len(data.x_train), section.batch_size, progress.generators["order"])

            def report(so_far: Score, epoch: int = epoch) -> None:
                display.batch(epoch, so_far)

            learned = train_epoch(network, optimizer, progress.scheduler, batches, data.x_train, data.y_train, report)
            held_out = score(network, data.x_test, data.y_test)
            counts = Counter(earlier.counts) + Counter(sum_counters(blocks))
            tally, wall_s = Tally(epoch=epoch, counts=dict(counts)), time.perf_counter() - start
            metrics.append(_metrics(tally, learned, held_out, optimizer.param_groups[0]["lr"], wall_s))
            folder.append_metrics(metrics[-1])
            save_checkpoint(folder.checkpoint, progress, tally)
            display.epoch(epoch, learned, held_out, wall_s)
    result = _result(folder, setup, epochs=tally.epoch, wall_s=-start, earlier=earlier.counts)
    plot_training(metrics, folder.training_plot, f"{folder.path.name}: test accuracy {result.test_accuracy:.4f}")
    folder.write_result(result.to_json())
    return result


def _metrics(tally: Tally, learned: Score, held_out: Score, learning_rate: float, wall_s: float) -> dict[str, float]:
    return {
        "epoch": tally.epoch,
        "train_loss": learned.loss,
        "train_accuracy": learned.accuracy,
        "test_loss": held_out.loss,
        "test_accuracy": held_out.accuracy,
        "learning_rate": learning_rate,
        "wall_s": wall_s,
        **tally.counts,
    }


def _result(folder: RunFolder, setup: Setup, *, epochs: int, wall_s: float, earlier: dict[str, int]) -> Result:
    """Score a network on all images; wall_s is minus the time it began."""
    data, config = setup.data, setup.config
    test = score(setup.network, data.x_test, data.y_test)
    train_score = score(setup.network, data.x_train, data.y_train)
    counts = Counter(earlier) + Counter(sum_counters(list_analog_blocks(setup.network)))
    return Result(
        run=folder.path,
        test_accuracy=test.accuracy,
        train_accuracy=train_score.accuracy,
        test_loss=test.loss,
        train_loss=train_score.loss,
        epochs=epochs,
        n_train=len(data.x_train),
        n_test=len(data.x_test),
        wall_s=wall_s + time.perf_counter(),
        counts=dict(counts),
        simulator=config.simulator.name.value,
        seed=config.training.seed,
        versions=_versions(config),
    )


def _versions(config: Config) -> dict[str, Any]:
    versions = collect_versions()
    if config.simulator.name is SimulatorKind.NGSPICE:
        from ..simulators.ngspice.library import ngspice_library  # noqa: PLC0415  loads libngspice

        versions["ngspice"] = str(ngspice_library().version)
    return versions
