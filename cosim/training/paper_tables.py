"""An experiment of the paper as the tables of a configuration file, and as what a file leaves out.

Takes: `preset = "paper-l6-bs2"`, `width`, and the tables that a file writes itself. Gives: all tables. Must not know:
torch.
"""

from collections.abc import Mapping
from typing import Any, Final

from ..errors import ConfigError
from .dataset_facts import DATASETS
from .paper_networks import PaperBlock, PaperLayer
from .paper_presets import PaperPreset, paper_preset

Tables = dict[str, Any]

WHOLE: Final = 1.0  # width of the paper's own networks


def preset_tables(preset: PaperPreset, width: float = WHOLE) -> Tables:
    """Return the tables of an experiment.

    Args:
        preset: which.
        width: share of the channels and dense units that is left, above 0 up to 1.

    Raises:
        ConfigError: for another width.
    """
    _check_width(width)
    recipe = preset.recipe
    hopfield: Tables = {"free_steps": recipe.free_steps, "nudged_steps": recipe.nudged_steps}
    if recipe.tolerance is not None:
        hopfield["tolerance"] = recipe.tolerance
    return {
        "gradient": "ep",
        "data": {
            "name": preset.data.value,
            "flip": True,
            "crop": 4,
            "crop_padding": "edge",
            "mean": list(preset.scaling.mean),
            "std": list(preset.scaling.std),
        },
        "hopfield": {**hopfield, "beta": 0.2, "nudging": "centered", "scaling": "batch"},
        "training": {
            "epochs": recipe.epochs,
            "batch_size": recipe.batch_size,
            "loss": "cross_entropy",
            "optimizer": "adam",
            "learning_rate": recipe.learning_rate,
            "final_learning_rate": recipe.final_learning_rate,
            "weight_decay": 3e-4,
            "schedule": "cosine_per_epoch",
            "drop_last": preset.drops_last,
        },
        "network": {"stages": _stages(preset, width)},
    }


def with_preset(tables: Mapping[str, Any]) -> Tables:
    """Return tables of which those that a preset has are filled in, key by key; what is written wins.

    Args:
        tables: of a file, with `preset` or without; they stay as they are.

    Raises:
        ConfigError: for a preset that is none, a width out of range, or a width of no preset.
    """
    name, width = tables.get("preset"), tables.get("width", WHOLE)
    if name is None or name == "off":
        if isinstance(width, int | float) and width != WHOLE:
            raise ConfigError(f"width = {width:g} is of a preset, and none is named; give preset, or leave width out")
        return dict(tables)
    if not isinstance(name, str):
        raise ConfigError(f'preset = {name!r}: write a name, as "paper-l6-bs2", or "off"')
    if not isinstance(width, int | float) or isinstance(width, bool):
        raise ConfigError(f"width = {width!r}: write a number, above 0 and at most 1")
    filled = dict(tables)
    for key, value in preset_tables(paper_preset(name), width).items():
        given = filled.get(key)
        if key not in filled:
            filled[key] = value
        elif isinstance(value, dict) and isinstance(given, dict):
            filled[key] = {**value, **given}
    return filled


def _check_width(width: float) -> None:
    if not 0 < width <= WHOLE:
        raise ConfigError(f"width = {width:g}: give the share of the channels to keep, above 0 and at most 1")


def _stages(preset: PaperPreset, width: float) -> list[Tables]:
    """Return the stages in order, the readout for as many classes as the experiment's images have."""
    variance = preset.recipe.goe_variance / width
    stages: list[Tables] = []
    for block in preset.network.shrunk(width).blocks:
        stages += _feedforward(block, variance)
        if len(block.layers) > 1:
            stages.append(_energy(block, variance, preset.recipe.slope))
    last = preset.network.blocks[-1].layers[-1]
    flat = [] if last.is_dense else [{"kind": "flatten"}]
    return [*stages, *flat, {"kind": "linear", "size": DATASETS[preset.data].n_classes}]


def _feedforward(block: PaperBlock, variance: float) -> list[Tables]:
    """Return a convolution, and the pool and the normalisation behind it; a bias only where nothing takes it out."""
    conv = {
        "kind": "conv",
        "channels": block.layers[0].size,
        "kernel": 3,
        "padding": 1,
        "bias": not block.is_normalised,
        "goe_variance": variance,
    }
    pool = [{"kind": "max_pool", "kernel": 2}] if block.layers[0].is_pooled else []
    norm = [{"kind": "batch_norm", "affine": False}] if block.is_normalised else []
    return [conv, *pool, *norm]


def _energy(block: PaperBlock, variance: float, slope: float) -> Tables:
    return {
        "kind": "hopfield",
        "slope": slope,
        "last_layer": "clamped" if block.is_clamped else "linear",
        "goe_variance": variance,
        "couplings": [_coupling(layer) for layer in block.layers[1:]],
    }


def _coupling(layer: PaperLayer) -> Tables:
    if layer.is_dense:
        return {"kind": "dense", "size": layer.size}
    return {"kind": "conv", "channels": layer.size, **({"pool": 2} if layer.is_pooled else {})}
