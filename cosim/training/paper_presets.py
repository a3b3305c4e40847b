"""The paper's experiments by name: a network, and what it was trained with.

Takes: a name. Gives: `PaperPreset`. Must not know: how a configuration file spells it (`paper_tables.py`), torch.

Source: Nest & Ernoult 2024, arXiv 2409.03306, tables 1, 2 and 7; the numbers are those of the released code,
github.com/rain-neuromorphics/hybrid_bp_ep_official, hydra_conf.
"""

from dataclasses import dataclass, replace
from typing import Final, final

from circuits.nearest_names import nearest_names_hint

from ..errors import ConfigError
from .paper_networks import (
    L6_BS2,
    L6_BS3,
    L6_BS6,
    L12_BS2,
    L12_BS2_SCALING,
    L12_BS3,
    L12_BS4,
    L15_BS2,
    PaperNetwork,
)
from .run_sections import DatasetKind

PAPER: Final = "Nest & Ernoult 2024, arXiv 2409.03306; its code"
DIFFERENCES: Final = (
    "Other than in the released code (github.com/rain-neuromorphics/hybrid_bp_ep_official, hydra_conf): x = F(s) is "
    "computed once a batch, there at every step of a phase, so that there the running means of the normalisation move "
    "T1 + 2 T2 times a batch. The last block is nudged by the loss gradient of the free state, there by that of each "
    "step's state; the readout learns from the free state, there from the mean of both nudged ones. All held-out "
    "images are scored, there only full batches. Random numbers are others."
)
TOLERANCE_DIFFERENCE: Final = (
    "The tolerance is of the largest change of any unit, there of a mean over the layers of |change| / |s|."
)
SAME_AT_ANY_WIDTH: Final = (
    "At a width below 1 channels and dense units shrink, the readout does not, and V is divided by the width, so that "
    "currents start as large as in the whole network. No results of the paper are of such networks."
)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Scaling:
    """How pixels enter: x = (pixel / 255 - mean) / std, a number a channel."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PaperRecipe:
    """What a network was trained with.

    Args:
        file: of the released code.
        batch_size, epochs: of training.
        learning_rate, final_learning_rate: of Adam, and where its cosine ends.
        free_steps, nudged_steps: T1 and T2.
        slope: a of the layers with a box.
        goe_variance: V of the initial convolutions.
        tolerance: at which a free phase ends; None to do all T1 steps.
    """

    file: str
    batch_size: int
    epochs: int
    learning_rate: float
    final_learning_rate: float
    free_steps: int
    nudged_steps: int
    slope: float
    goe_variance: float
    tolerance: float | None = None


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PaperPreset:
    """An experiment of the paper.

    Args:
        name: by which it is asked for.
        network: its blocks.
        recipe: what it was trained with.
        data: the images.
        scaling: how they enter.
        drops_last: whether a batch that is not full is left out.
        remark: what is particular about it; empty for nothing.
    """

    name: str
    network: PaperNetwork
    recipe: PaperRecipe
    data: DatasetKind
    scaling: Scaling
    drops_last: bool = True
    remark: str = ""

    @property
    def source(self) -> str:
        """Where its numbers come from."""
        return f"{PAPER}, model/{self.network.file} and {self.recipe.file}"

    @property
    def note(self) -> str:
        """What differs from the source."""
        parts = [self.remark, DIFFERENCES, TOLERANCE_DIFFERENCE if self.recipe.tolerance else "", SAME_AT_ANY_WIDTH]
        return " ".join(part for part in parts if part)


# Of both CIFAR sets, CIFAR-10's means with three times its standard deviations within an image.
CIFAR_SCALING: Final = Scaling(mean=(0.4914, 0.4822, 0.4465), std=(0.6069, 0.5982, 0.603))
IMAGENET32_SCALING: Final = Scaling(mean=(0.485, 0.456, 0.406), std=(0.3435, 0.336, 0.3375))

SPLITTING_SMALL: Final = PaperRecipe(
    file="splitting_small.yaml",
    batch_size=128,
    epochs=200,
    learning_rate=1e-4,
    final_learning_rate=1e-6,
    free_steps=60,
    nudged_steps=20,
    slope=1.0,
    goe_variance=8.351e-5,
)
SPLITTING_SMALL_TOL: Final = replace(
    SPLITTING_SMALL,
    file="splitting_small_TOL.yaml",
    epochs=100,
    learning_rate=3e-4,
    free_steps=1580,
    tolerance=1e-6,
    slope=0.65,
)
SPLITTING_LARGE: Final = PaperRecipe(
    file="splitting_large.yaml",
    batch_size=128,
    epochs=200,
    learning_rate=5e-5,
    final_learning_rate=1e-6,
    free_steps=20,
    nudged_steps=5,
    slope=1.0,
    goe_variance=5.9e-5,
)
SPLITTING_LARGE_TOL: Final = replace(
    SPLITTING_LARGE,
    file="splitting_large_TOL.yaml",
    epochs=100,
    free_steps=1580,
    tolerance=1e-4,
    slope=0.55,
)
SCALING_SMALL: Final = PaperRecipe(
    file="scaling_small.yaml",
    batch_size=256,
    epochs=200,
    learning_rate=5e-5,
    final_learning_rate=5e-7,
    free_steps=15,
    nudged_steps=5,
    slope=0.5,
    goe_variance=4.9e-5,
)
SCALING_LARGE: Final = PaperRecipe(
    file="scaling_large.yaml",
    batch_size=256,
    epochs=100,
    learning_rate=2e-5,
    final_learning_rate=1e-7,
    free_steps=15,
    nudged_steps=5,
    slope=0.5,
    goe_variance=1e-5,
)

_NOT_ONE_NETWORK: Final = (
    "Of the released L = 6 networks this one pools five times, those of one and three blocks four times: strictly they "
    "are not cuts of one network."
)
_OTHER_CUT: Final = "The released L = 6 network of two blocks (paper-l6-bs3) pools once more than this one."
_POOLS: Final = "Released networks of different cuts pool at different layers; the number of pools is the same."
_NO_COUPLING: Final = (
    "The last block has no coupling, its state is its current: here a convolution in front of the readout. The "
    "released file has 258 channels at one layer, between layers of 256: read as a slip of the pen, 256 here."
)
_IMAGENET_RECIPE: Final = "Released with the numbers of CIFAR-100; the paper's own for ImageNet32 may differ."

_SMALL: Final = (
    ("paper-l6-bs6", L6_BS6, _OTHER_CUT),
    ("paper-l6-bs3", L6_BS3, _NOT_ONE_NETWORK),
    ("paper-l6-bs2", L6_BS2, _OTHER_CUT),
)
_LARGE: Final = (
    ("paper-l12-bs4", L12_BS4, _POOLS),
    ("paper-l12-bs3", L12_BS3, _POOLS),
    ("paper-l12-bs2", L12_BS2, _POOLS),
)


def paper_preset(name: str) -> PaperPreset:
    """Return an experiment by its name.

    Raises:
        ConfigError: with the nearest names.
    """
    presets = {entry.name: entry for entry in _presets()}
    if name not in presets:
        raise ConfigError(f"no preset '{name}': {nearest_names_hint(name, presets)}")
    return presets[name]


def paper_preset_names() -> tuple[str, ...]:
    """Return the names of all experiments, in the order in which they are listed."""
    return tuple(entry.name for entry in _presets())


def _presets() -> tuple[PaperPreset, ...]:
    """Return every experiment, in the order in which they are listed."""
    l12 = PaperPreset(
        name="paper-l12-bs2-cifar100",
        network=L12_BS2_SCALING,
        recipe=SCALING_SMALL,
        data=DatasetKind.CIFAR100,
        scaling=CIFAR_SCALING,
        remark="Pools sooner than paper-l12-bs2.",
    )
    l15 = replace(l12, name="paper-l15-bs2", network=L15_BS2, recipe=SCALING_LARGE, remark=_NO_COUPLING)
    return (
        *(_on_cifar10(name, network, SPLITTING_SMALL, remark) for name, network, remark in _SMALL),
        *(_on_cifar10(name, network, SPLITTING_LARGE, remark) for name, network, remark in _LARGE),
        *(_on_cifar10(f"{name}-tol", network, SPLITTING_SMALL_TOL, remark) for name, network, remark in _SMALL),
        *(_on_cifar10(f"{name}-tol", network, SPLITTING_LARGE_TOL, remark) for name, network, remark in _LARGE),
        l12,
        _on_imagenet32(l12, "paper-l12-bs2-imagenet32"),
        l15,
        _on_imagenet32(l15, "paper-l15-bs2-imagenet32"),
    )


def _on_cifar10(name: str, network: PaperNetwork, recipe: PaperRecipe, remark: str) -> PaperPreset:
    """Return a splitting experiment."""
    return PaperPreset(
        name=name, network=network, recipe=recipe, data=DatasetKind.CIFAR10, scaling=CIFAR_SCALING, remark=remark
    )


def _on_imagenet32(entry: PaperPreset, name: str) -> PaperPreset:
    """Return the same experiment on ImageNet32, whose released loader keeps the last batch."""
    return replace(
        entry,
        name=name,
        data=DatasetKind.IMAGENET32,
        scaling=IMAGENET32_SCALING,
        drops_last=False,
        remark=f"{entry.remark} {_IMAGENET_RECIPE}",
    )
