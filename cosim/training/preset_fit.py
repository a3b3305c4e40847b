"""Whether an experiment of the paper fits the images of a configuration, before these are read or downloaded."""

import torch

from digital.errors import StageError
from digital.stages import Shape

from ..errors import ConfigError
from .analog_sections import AnalogStage
from .config import Config
from .dataset_facts import DATASETS
from .hopfield_sections import HopfieldStage
from .network import digital_stage, hopfield_config
from .paper_presets import paper_preset, paper_preset_names


def check_preset_fits(config: Config) -> None:
    """Refuse a preset whose network does not take the images, or gives no value for each class; others pass.

    Raises:
        ConfigError: naming preset, stage and both shapes.
    """
    if config.preset is None:
        return
    facts = DATASETS[config.data.name]
    for key, numbers in (("mean", config.data.mean), ("std", config.data.std)):
        if numbers is not None and len(numbers) != facts.shape[0]:
            raise _misfit(
                config, f"data.{key} = {list(numbers)} is of {len(numbers)} channels, not of {facts.shape[0]}"
            )
    shape: Shape = facts.shape
    names = iter([name for _, name in config.network.energy_blocks])
    where = "network.stages"
    with torch.device("meta"), torch.random.fork_rng(devices=[]):  # shapes only: no weights
        for index, section in enumerate(config.network.stages):
            where = f"network.stages[{index}] ({section.kind})"
            if isinstance(section, AnalogStage):
                return  # of the user's own making
            try:
                if isinstance(section, HopfieldStage):
                    shape = hopfield_config(section, next(names), shape, where).output_shape
                else:
                    shape = digital_stage(section, shape).shape
            except (ConfigError, StageError) as error:
                text = str(error) if isinstance(error, ConfigError) else f"{where}: {error}"
                raise _misfit(config, text) from error
    if shape != (facts.n_classes,):
        given = "x".join(map(str, shape))
        raise _misfit(config, f"{where} gives {given} values a sample, but there are {facts.n_classes} classes")


def _misfit(config: Config, reason: str) -> ConfigError:
    """Return what to raise, with what the preset is made for."""
    name = str(config.preset)
    made_for, given = (DATASETS[kind] for kind in (paper_preset(name).data, config.data.name))
    images = (f"{'x'.join(map(str, facts.shape))} in {facts.n_classes} classes" for facts in (made_for, given))
    others = [other for other in paper_preset_names() if paper_preset(other).data is config.data.name]
    advice = f"choose {' or '.join(others[:3])}" if others else "change its stages"
    return ConfigError(
        f"preset '{name}' at width {config.width:g} does not fit data.name = '{config.data.name.value}': {reason}. "
        f"It is made for '{paper_preset(name).data.value}', images of {next(images)}; these are {next(images)}. "
        f"Leave data.name out, or {advice}"
    )
