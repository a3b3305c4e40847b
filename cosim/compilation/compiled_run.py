"""Compile a run, and score a bundle that comes from one."""

import time
import warnings
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Final

import torch
from rich.console import Console
from torch import nn

from circuits.tiles import TileSize

from ..programming.program import ONE_WAY
from ..programming.settings import ProgrammingSettings
from ..reading import Counters
from ..simulators.newton import NewtonSimulator
from ..threads import one_thread
from ..training.checkpoints import Which
from ..training.config import Config, GradientKind, SimulatorKind
from ..training.data import check_images, evaluation_batches, load_data, with_data
from ..training.result import Result
from ..training.run_folder import RunFolder
from ..training.setup import Setup, load_run
from ..training.simulators import build_simulator, measured_k_over_q
from ..training.trainer import LOSSES, score
from ..versions import collect_versions
from .bundle import Bundle, read_manifest
from .bundle_folder import check_place
from .compiled_block import CompiledBlock
from .compiler import DEFAULT_TILE, compile_network
from .errors import BundleError, CompileError
from .loading import load_bundle, run_config
from .manifest import AccuracyEntry, RunEntry
from .programmed_run import program_setup

VERIFIED_SAMPLES: Final = 3  # of --verify where --samples says nothing


@one_thread()
def compile_run(
    run: Path,
    out: Path,
    *,
    tile: TileSize = DEFAULT_TILE,
    samples: int = 0,
    which: Which = Which.LAST,
    data: Path | None = None,
    force: bool = False,
    programming: ProgrammingSettings | None = None,
    console: Console | None = None,
) -> Bundle:
    """Compile the network of a run; hopfield stages are programmed.

    Args:
        run: the run folder.
        out: the bundle's folder; it must not exist, or be empty, but for `force`.
        tile: the largest tile of a crossbar.
        samples: the first images held out become samples, this many.
        which: the last checkpoint, the one before it, or the best.
        data: where the images are, if not where they were.
        force: replace a bundle that is there, and nothing else.
        programming: window, scale and diodes of hopfield stages, and the window that analog stages move into; if left
            out, analog stages stay as they are and hopfield stages get the default. k/q is that of the run's simulator.
        console: shows the progress of measuring accuracies, where it is a terminal.

    Returns:
        the bundle; its manifest says what programming did.

    Raises:
        RunError: if this is no run folder, its checkpoint cannot be used, or the bundle not be written.
        DataError: if the images are not there, or not those that the run was trained on.
        CompileError: if the run has no energy blocks, or one cannot be programmed as asked; and as `compile_network`.
        BundleError: if the place is taken.
        SimulatorNotFound: if it was trained in ngspice, whose constants its circuits have, and there is none here.
    """
    check_place(out, force=force)
    config = with_data(RunFolder(path=run).read_config(), data)
    if config.gradient is GradientKind.BACKPROP:
        raise CompileError(f'{run}: gradient = "backprop" trains tanh layers; no circuit stands for one: {ONE_WAY}')
    config = _as_designed(run, config)
    setup = load_run(run, NewtonSimulator() if config.has_circuit else None, config=config, which=which)
    inputs = None
    if samples:
        check_images(run, setup.tally.images, setup.data)
        held_out = setup.data.test
        if samples > len(held_out):
            raise CompileError(f"{run}: {samples} samples of {len(held_out)} images held out; ask for fewer")
        inputs = setup.data.scaled(held_out.take(torch.arange(samples)).pixels)
    setup, accuracy = program_setup(run, setup, programming, console)
    entry = _run_entry(setup, which, accuracy)
    return compile_network(setup.network, out, tile=tile, inputs=inputs, run=entry, force=force)


class DesignWarning(UserWarning):
    """A bundle holds the circuits of a run as they were designed, not as they were made."""


def _as_designed(run: Path, config: Config) -> Config:
    """Return a configuration without non-idealities: decks are of what is to be built."""
    effects = config.effects
    if effects:
        warnings.warn(
            f"{run}: compiled as designed, with the weights that were asked for; {', '.join(effects)} left out",
            DesignWarning,
            stacklevel=3,
        )
    return config.model_copy(update=dict.fromkeys(effects))


def _run_entry(setup: Setup, which: Which, accuracy: AccuracyEntry | None) -> RunEntry:
    tally, best = setup.tally, setup.tally.best
    return RunEntry(
        config=setup.config.model_dump(mode="json"),
        checkpoint=which.value,
        epoch=tally.epoch,
        batch=tally.batch,
        best_epoch=None if best is None else best.epoch,
        best_accuracy=None if best is None else best.accuracy,
        images=tally.images,
        shape=tuple(setup.data.shape),
        n_classes=setup.data.n_classes,
        accuracy=accuracy,
    )


@one_thread()
def evaluate_bundle(folder: Path, *, simulator: SimulatorKind | None = None, data: Path | None = None) -> Result:
    """Score a bundle's circuits on the images held out and on those that its network was trained on.

    Args:
        folder: the bundle, compiled from a run.
        simulator: another one than the run's.
        data: where the images are, if not where they were.

    Returns:
        the result; nothing is written.

    Raises:
        BundleError: if this is no whole bundle, or none of a run.
        NetlistError: with file and line, for a deck that cannot be read.
        DataError, RunError: if the images are not there, or not those that the network was trained on.
        SimulatorNotFound: if the simulator is not installed.
    """
    start = time.perf_counter()
    manifest = read_manifest(folder)
    run = manifest.run
    if run is None:
        raise BundleError(
            f"{folder}: was compiled from a torch module, so there is nothing to score it on; load it from Python with "
            "load_bundle(folder, simulator, into=YourNetwork(...))"
        )
    config = with_data(run_config(Bundle(path=folder, manifest=manifest), run), data)
    if simulator is not None:
        section = config.simulator.model_copy(update={"name": simulator})
        config = config.model_copy(update={"simulator": section})
    images = load_data(config.data)
    check_images(folder, run.images, images)
    built = build_simulator(config.simulator)
    try:
        k_over_q = measured_k_over_q(config.simulator)
        network = load_bundle(folder, built, k_over_q_v_per_k=k_over_q)
        loss = LOSSES[config.training.loss]
        scores = [score(network, loss, evaluation_batches(images, part)) for part in (images.test, images.train)]
    finally:
        built.close()
    return Result(
        run=folder,
        test_accuracy=scores[0].accuracy,
        train_accuracy=scores[1].accuracy,
        test_loss=scores[0].loss,
        train_loss=scores[1].loss,
        epochs=run.epoch,
        best_epoch=run.best_epoch,
        best_accuracy=run.best_accuracy,
        n_train=len(images.train),
        n_test=len(images.test),
        wall_s=time.perf_counter() - start,
        counts=_sum_counters(network),
        simulator=config.simulator.name.value,
        gradient=config.gradient.value,
        seed=config.training.seed,
        versions=_versions(config),
        test_top5=scores[0].top5,
        train_top5=scores[1].top5,
    )


def _sum_counters(network: nn.Module) -> dict[str, int]:
    total: Counter[str] = Counter(asdict(Counters()))
    for module in network.modules():
        if isinstance(module, CompiledBlock):
            total.update(asdict(module.counters))
    return dict(total)


def _versions(config: Config) -> dict[str, str | None]:
    versions = collect_versions()
    if config.simulator.name is SimulatorKind.NGSPICE:
        from ..simulators.ngspice.library import ngspice_library  # noqa: PLC0415  loads libngspice

        versions["ngspice"] = str(ngspice_library().version)
    return versions
