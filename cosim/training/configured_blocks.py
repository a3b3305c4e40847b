"""The circuits of a configuration without its images and weights, for what is said of a run that is not loaded."""

import torch

from circuits.energy_block import EnergyBlock
from digital.errors import StageError
from digital.stages import Shape

from ..errors import ConfigError
from .analog_sections import AnalogStage
from .block_of_stage import energy_block
from .config import Config
from .dataset_facts import DATASETS
from .hopfield_sections import HopfieldStage
from .network import digital_stage, hopfield_config


def configured_blocks(config: Config) -> dict[str, EnergyBlock]:
    """Return the energy blocks of the analog stages by name; those behind a stage that cannot be built are left out.

    Such a stage is a torch module that is not installed here; all others were built when the run began.
    """
    names = iter([name for _, name in config.network.energy_blocks])
    blocks: dict[str, EnergyBlock] = {}
    shape: Shape = DATASETS[config.data.name].shape
    with torch.random.fork_rng(devices=[]):  # stages draw weights
        for section in config.network.stages:
            try:
                match section:
                    case AnalogStage():
                        name = next(names)
                        blocks[name] = energy_block(section, name, shape, name)
                        shape = blocks[name].output_shape
                    case HopfieldStage():
                        name = next(names)
                        shape = hopfield_config(section, name, shape, name).output_shape
                    case _:
                        shape = digital_stage(section, shape).shape
            except (ConfigError, StageError):
                break
    return blocks


def has_convolution(stage: AnalogStage) -> bool:
    """Return whether units of a stage depend on the image that enters it."""
    return any(layer.conv is not None for layer in stage.layers)
