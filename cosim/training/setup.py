"""A configuration made real: images, network and the simulator that relaxes it; fresh, or with a run's weights."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import torch
from rich.console import Console
from torch import nn

from circuits.diode import K_OVER_Q_V_PER_K
from digital.ff_ebm import FfEbm
from digital.images import ImageDataset

from ..errors import ConfigError
from ..programming.report import ProgrammingReport
from ..simulators.base import AbstractSimulator
from .checkpoint import Tally
from .checkpoints import Which
from .config import Config
from .data import load_data
from .network import build_network, list_analog_blocks
from .preset_fit import check_preset_fits
from .run_folder import RunFolder
from .simulators import measured_k_over_q


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Setup:
    """A configuration made real: images, network and the simulator that relaxes it."""

    config: Config
    data: ImageDataset
    network: FfEbm
    generator: torch.Generator  # drew the blocks' weights
    tally: Tally  # how far the weights were trained
    reports: tuple[ProgrammingReport, ...] = ()  # of blocks that were programmed to begin with


def set_up(config: Config, simulator: AbstractSimulator | None, console: Console | None = None) -> Setup:
    """Load the images and build the network, its weights drawn from the configuration's seed.

    Args:
        config: what to build.
        simulator: relaxes the blocks; None where the configuration has no circuit.
        console: shows the progress of a download.

    Raises:
        ConfigError: if the stages do not fit, or a simulator is given to hopfield stages only.
        DataError: if the images are not there, or cannot be split as asked.
    """
    if simulator is not None and not config.network.block_names:
        raise ConfigError(
            f"network.stages: hopfield stages only, so there is no circuit for the simulator {simulator.name}, nor for "
            'gradcheck; to compare the gradients of hopfield stages, train with gradient = "ep" and "implicit"'
        )
    check_preset_fits(config)
    data = load_data(config.data, console)
    generator = torch.Generator().manual_seed(config.training.seed)
    torch.manual_seed(config.training.seed)
    network = build_network(
        config,
        shape=data.shape,
        n_classes=data.n_classes,
        simulator=simulator,
        generator=generator,
        k_over_q_v_per_k=K_OVER_Q_V_PER_K if simulator is None else measured_k_over_q(config.simulator),
    )
    return Setup(config=config, data=data, network=network, generator=generator, tally=Tally(images=data.fingerprint))


def load_run(
    run: Path, simulator: AbstractSimulator | None, *, config: Config | None = None, which: Which = Which.LAST
) -> Setup:
    """Set up a run's network with the weights of a checkpoint.

    Args:
        run: the run folder.
        simulator: relaxes its blocks.
        config: in place of the folder's own, for other running options.
        which: the last checkpoint, the one before it, or the best.

    Raises:
        RunError: if this is no run folder, or its checkpoint cannot be used.
    """
    folder = RunFolder(path=run)
    theirs = folder.read_config()
    setup = set_up(config or theirs, simulator)
    tally = folder.checkpoints.load_model(which, setup.network)
    forget_other_devices(setup.network, setup.config, theirs)
    return replace(setup, tally=tally)


def forget_other_devices(network: nn.Module, config: Config, theirs: Config) -> None:
    """Have the devices of a network written anew that are not those of the run its weights came from.

    Args:
        network: with the run's state.
        config: its configuration.
        theirs: that of the run.
    """
    if config.devices is not None and not config.devices.is_written_as(theirs.devices):
        for block in list_analog_blocks(network):
            block.forget_devices()
