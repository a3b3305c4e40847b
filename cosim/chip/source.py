"""What is priced: the network of a run folder or of a bundle, with real images for it, and how it is trained.

A bundle that comes from a run holds its configuration, so it can be priced as the run can; one that was compiled from a
torch module holds no code, and `bundled_blocks` prices its circuits alone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch
from torch import Tensor

from circuits.diode import K_OVER_Q_V_PER_K
from digital.ff_ebm import FfEbm
from digital.images import ImageDataset

from ..analog_block import AnalogBlock
from ..compilation.block_entry import BlockEntry, CrossbarEntry
from ..compilation.bundle import Bundle, is_bundle, open_bundle
from ..compilation.description import converters, energy_block
from ..compilation.loading import load_bundle, run_config
from ..simulators.newton import NewtonSimulator
from ..training.checkpoints import Which
from ..training.config import Config, GradientKind, OptimizerKind
from ..training.data import check_images, load_data, with_data
from ..training.network import build_network, list_analog_blocks
from ..training.run_folder import RunFolder
from ..training.setup import load_run
from ..training.trainer import LOSSES, Loss
from .errors import ChipError


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """How a network is trained, as far as it costs.

    Args:
        batch_size: samples a step.
        optimizer: which of torch's.
    """

    batch_size: int
    optimizer: OptimizerKind


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Source:
    """A network to price.

    Args:
        network: its blocks relaxed by newton.
        x, y: [n, ...] images held out, and their classes.
        loss: that is trained.
        training: how.
        notes: sentences on what is not as the run or bundle has it.
    """

    network: FfEbm
    x: Tensor
    y: Tensor
    loss: Loss
    training: Training
    notes: tuple[str, ...]


def open_source(target: Path, *, samples: int, data: Path | None = None, which: Which = Which.LAST) -> Source | Bundle:
    """Open what is to be priced.

    Args:
        target: a run folder, or a bundle.
        samples: images to price with.
        data: where the images are, if not where they were.
        which: the checkpoint of a run.

    Returns:
        the network; or the bundle itself, where it was compiled from a torch module whose code it does not hold.

    Raises:
        RunError, BundleError, ConfigError, DataError: if the folder or its images cannot be used.
        ChipError: for more samples than there are.
    """
    if not is_bundle(target):
        return _open_run(target, samples, data, which)
    bundle = open_bundle(target)
    return bundle if bundle.manifest.run is None else _open_bundle(bundle, samples, data)


def _open_run(run: Path, samples: int, data: Path | None, which: Which) -> Source:
    config = with_data(RunFolder(path=run).read_config(), data)
    setup = load_run(run, NewtonSimulator() if config.has_circuit else None, config=config, which=which)
    check_images(run, setup.tally.images, setup.data)
    return _source(config, setup.network, setup.data, samples, [])


def _open_bundle(bundle: Bundle, samples: int, data: Path | None) -> Source:
    """Return a bundle's network, to be trained as its run's configuration says, with the conductances of its decks."""
    run = bundle.manifest.run
    if run is None:
        raise ChipError(f"{bundle.path}: has no run")
    config = with_data(run_config(bundle, run), data)
    images = load_data(config.data)
    check_images(bundle.path, run.images, images)
    compiled = load_bundle(bundle.path, NewtonSimulator())
    with torch.random.fork_rng(devices=[]):
        network = build_network(
            config.model_copy(update=dict.fromkeys(config.effects)),
            shape=run.shape,
            n_classes=run.n_classes,
            simulator=NewtonSimulator(),
            generator=torch.Generator(),
            k_over_q_v_per_k=bundle.manifest.blocks[0].k_over_q_v_per_k if bundle.manifest.blocks else K_OVER_Q_V_PER_K,
        )
    network.load_state_dict(compiled.state_dict(), strict=False)
    for block in list_analog_blocks(network):
        _load_conductances(block, bundle.manifest.block(block.block.name))
    notes = ["bundle: circuits as designed, and trained as the configuration in its manifest says"]
    return _source(config, network, images, samples, notes)


def _source(config: Config, network: FfEbm, data: ImageDataset, samples: int, notes: list[str]) -> Source:
    if samples > len(data.test):
        raise ChipError(
            f"{samples} samples of {len(data.test)} images held out; give --samples {len(data.test)} or less"
        )
    if config.gradient is GradientKind.IMPLICIT and config.has_circuit:
        notes.append('gradient = "implicit" is no circuit\'s: training is priced by the nudged phases of [phases]')
    if config.effects:
        notes.append(f"circuits as made: {', '.join(config.effects)}")
    images = data.test.take(torch.arange(samples))
    network.eval()  # converter ranges stay as training left them
    return Source(
        network=network,
        x=data.scaled(images.pixels),
        y=images.labels,
        loss=LOSSES[config.training.loss],
        training=Training(batch_size=config.training.batch_size, optimizer=config.training.optimizer),
        notes=tuple(notes),
    )


def bundled_block(entry: BlockEntry) -> AnalogBlock:
    """Return a block of a bundle as a module of its own, relaxed by newton."""
    block = AnalogBlock(
        energy_block(entry), simulator=NewtonSimulator(), converters=converters(entry), generator=torch.Generator()
    )
    _load_conductances(block, entry)
    return block.eval()


def _load_conductances(block: AnalogBlock, entry: BlockEntry) -> None:
    """Give a block the conductances that the manifest says."""

    def values(crossbar: CrossbarEntry, siemens: tuple[tuple[float, ...], ...]) -> np.ndarray:
        low, high = block.block.window
        return np.clip(np.array(siemens).reshape(crossbar.shape) / block.block.g_unit_s, low, high)

    plus = {c.name: values(c, c.plus_s) for c in entry.crossbars}
    minus = {c.name: values(c, c.minus_s) for c in entry.crossbars if c.minus_s is not None}
    block.load_conductances(plus, minus)
