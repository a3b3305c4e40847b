"""Compile a run, and score a bundle that comes from one."""

import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Final

import torch
from torch import nn

from circuits.tiles import TileSize
from digital.images import ImageDataset

from ..errors import RunError
from ..reading import Counters
from ..simulators.newton import NewtonSimulator
from ..threads import one_thread
from ..training.checkpoints import Which
from ..training.config import Config, GradientKind, SimulatorKind
from ..training.data import evaluation_batches, load_data, with_data
from ..training.result import Result
from ..training.run import Setup, load_run
from ..training.run_folder import RunFolder
from ..training.simulators import build_simulator, measured_k_over_q
from ..training.trainer import LOSSES, score
from ..versions import collect_versions
from .bundle import Bundle, read_manifest
from .bundle_folder import check_place
from .compiled_block import CompiledBlock
from .compiler import DEFAULT_TILE, compile_network
from .errors import BundleError, CompileError
from .loading import load_bundle, run_config
from .manifest import RunEntry

VERIFIED_SAMPLES: Final = 3  # of --verify where --samples says nothing


def compile_run(
    run: Path,
    out: Path,
    *,
    tile: TileSize = DEFAULT_TILE,
    samples: int = 0,
    which: Which = Which.LAST,
    data: Path | None = None,
    force: bool = False,
) -> Bundle:
    """Compile the network of a run.

    Args:
        run: the run folder.
        out: the bundle's folder; it must not exist, or be empty, but for `force`.
        tile: the largest tile of a crossbar.
        samples: the first images held out become samples, this many.
        which: the last checkpoint, the one before it, or the best.
        data: where the images are, if not where they were.
        force: replace a bundle that is there, and nothing else.

    Returns:
        the bundle.

    Raises:
        RunError: if this is no run folder, its checkpoint cannot be used, or the bundle not be written.
        DataError: if the images are not there, or not those that the run was trained on.
        CompileError: if the run has no circuit, and as `compile_network`.
        BundleError: if the place is taken.
        SimulatorNotFound: if it was trained in ngspice, whose constants its circuits have, and there is none here.
    """
    check_place(out, force=force)
    config = with_data(RunFolder(path=run).read_config(), data)
    if config.gradient is GradientKind.BACKPROP:
        raise CompileError(f'{run}: gradient = "backprop" trains tanh layers; there is no circuit to compile')
    if not config.has_circuit:
        raise CompileError(f"{run}: its energy blocks are hopfield stages; there is no circuit to compile")
    setup = load_run(run, NewtonSimulator(), config=config, which=which)
    inputs = None
    if samples:
        _check_images(run, setup.tally.images, setup.data)
        held_out = setup.data.test
        if samples > len(held_out):
            raise CompileError(f"{run}: {samples} samples of {len(held_out)} images held out; ask for fewer")
        inputs = setup.data.scaled(held_out.take(torch.arange(samples)).pixels)
    return compile_network(
        setup.network, out, tile=tile, inputs=inputs, run=_run_entry(config, setup, which), force=force
    )


def _run_entry(config: Config, setup: Setup, which: Which) -> RunEntry:
    tally, best = setup.tally, setup.tally.best
    return RunEntry(
        config=config.model_dump(mode="json"),
        checkpoint=which.value,
        epoch=tally.epoch,
        batch=tally.batch,
        best_epoch=None if best is None else best.epoch,
        best_accuracy=None if best is None else best.accuracy,
        images=tally.images,
        shape=tuple(setup.data.shape),
        n_classes=setup.data.n_classes,
    )


def _check_images(place: Path, fingerprint: str, found: ImageDataset) -> None:
    """Refuse other images than those that the network was trained on."""
    if fingerprint != found.fingerprint:
        raise RunError(
            f"{place}: was trained on other images than those found now; give the same ones, with --data PATH if they "
            "moved"
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
    _check_images(folder, run.images, images)
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
