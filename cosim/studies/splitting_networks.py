"""The networks of the splitting study: couplings to be cut, and how each cut of them is trained.

```
hopfield-l6   image -- conv 8 -- conv 16 -- conv 16 -- conv 32 -- conv 32 -- 32              -- norm -- linear 10
hopfield-l12  image -- conv 8 (2) -- conv 16 (4) -- conv 32 (5) -- 32                        -- norm -- linear 10
resistive-l6  image -- conv 16 -- conv 32 -- linear 64 == 24 == 16 == 16 == 12 == 12 == 12   -- norm -- linear 10
```

`--` is digital or a coupling of a Hopfield network, depending on the cut, and == a crossbar. The Hopfield networks are
the paper's at a sixteenth of their width; their first convolution has a stride of 2. Otherwise than in the paper:

- In its released configurations the cuts of one network differ in pools, sizes and normalisation; here they do not.
- Normalisation precedes the readout: without it W grows until a deep block settles no more.
- Each sample's nudge is scaled: behind normalisation its loss gradient is as large as the states are small, and a nudge
  that drives units through their boxes tells no derivative. With the paper's scaling the uncut network learns nothing.
- Weights start as torch's do: from the paper's small ones, six couplings pass nothing on in the few epochs here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, final

from ..training.config import (
    AnalogStage,
    AveragePoolStage,
    BatchNormStage,
    Config,
    ConvCouplingSection,
    ConvStage,
    CouplingSection,
    DataSection,
    DatasetKind,
    DenseCouplingSection,
    FlattenStage,
    GradientKind,
    HopfieldScaling,
    HopfieldSection,
    ImageChoice,
    LinearStage,
    NetworkSection,
    NodeLayerSection,
    OptimizerKind,
    PhasesSection,
    ReluStage,
    ScheduleKind,
    SimulatorKind,
    StageSection,
    TrainingSection,
)
from ..training.config_file import load_config
from .splitting_cut import cut_hopfield, cut_resistive


class Method(Enum):
    """What trains a cut network."""

    ID = "id"
    EP = "ep"
    NGSPICE = "ep-ngspice"

    @property
    def title(self) -> str:
        """How tables name it."""
        return {Method.ID: "ID", Method.EP: "EP", Method.NGSPICE: "EP in ngspice"}[self]

    @property
    def gradient(self) -> GradientKind:
        """Where the gradients of its blocks come from."""
        return GradientKind.IMPLICIT if self is Method.ID else GradientKind.EP

    @property
    def simulator(self) -> SimulatorKind:
        """What relaxes its circuits; Hopfield blocks have none."""
        return SimulatorKind.NGSPICE if self is Method.NGSPICE else SimulatorKind.NEWTON


class Energy(Enum):
    """What the blocks of a network are."""

    HOPFIELD = "hopfield"
    RESISTIVE = "resistive"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SplitNetwork:
    """One network and its cuts.

    Args:
        name: "hopfield-l6".
        energy: what its blocks are.
        n_couplings: L.
        block_sizes: couplings of a block in each cut, the largest first.
        methods: by which each cut is trained.
        cut: returns the stages of a cut, given the size of its blocks.
        training: epochs and the like, the same for all cuts.
        hopfield, phases: how blocks are relaxed and nudged, likewise.
    """

    name: str
    energy: Energy
    n_couplings: int
    block_sizes: tuple[int, ...]
    methods: tuple[Method, ...]
    cut: Callable[[int], Sequence[StageSection]]
    training: TrainingSection
    hopfield: HopfieldSection = field(default_factory=HopfieldSection)
    phases: PhasesSection = field(default_factory=PhasesSection)

    @property
    def title(self) -> str:
        """How tables name it."""
        return f"{self.energy.value.capitalize()}, L = {self.n_couplings}"

    def configure(self, block_size: int, method: Method, *, seed: int, overrides: Sequence[str] = ()) -> Config:
        """Return the configuration of one training.

        Args:
            block_size: of the cut.
            method: what trains it.
            seed: of weights and batches.
            overrides: "training.epochs=1" and the like.

        Raises:
            ConfigError: for an override that is wrong.
            StudyError: if the couplings cannot be cut so.
        """
        whole = Config(
            network=NetworkSection(stages=tuple(self.cut(block_size))),
            data=DataSection(name=DatasetKind.CIFAR10, images=ImageChoice.LISTED, flip=True, crop=2),
            training=self.training,
            hopfield=self.hopfield,
            phases=self.phases,
        )
        tables = whole.model_dump(mode="json")
        how = (f"gradient={method.gradient.value}", f"simulator.name={method.simulator.value}")
        texts = (*overrides, *how, f"training.seed={seed}")
        return load_config(None, texts, complete=lambda _nothing: tables)


_NORM: Final = BatchNormStage(kind="batch_norm", affine=False)
_READOUT: Final = (_NORM, LinearStage(kind="linear", size=10))


def _conv(channels: int, *, pool: int | None = None) -> ConvCouplingSection:
    return ConvCouplingSection(kind="conv", channels=channels, pool=pool)


_FIRST: Final = ConvCouplingSection(kind="conv", channels=8, kernel=5, stride=2, padding=2, pool=2)  # 8 x 8 x 8
_DENSE: Final = DenseCouplingSection(kind="dense", size=32)
L6: Final[tuple[CouplingSection, ...]] = (
    _FIRST,
    _conv(16, pool=2),
    _conv(16),
    _conv(32, pool=2),
    _conv(32),
    _DENSE,
)
L12: Final[tuple[CouplingSection, ...]] = (
    _FIRST,
    _conv(8),
    _conv(16, pool=2),
    _conv(16),
    _conv(16),
    _conv(16),
    _conv(32, pool=2),
    _conv(32),
    _conv(32),
    _conv(32),
    _conv(32),
    _DENSE,
)


def _cut_l6(block_size: int) -> tuple[StageSection, ...]:
    return (*cut_hopfield(L6, block_size, slope=0.5, goe_variance=None), *_READOUT)


def _cut_l12(block_size: int) -> tuple[StageSection, ...]:
    return (*cut_hopfield(L12, block_size, slope=0.5, goe_variance=None), *_READOUT)


# The tolerance ends most free phases within 20 steps; the others are for the few batches that take more.
_PHASES: Final = HopfieldSection(
    free_steps=100, nudged_steps=10, tolerance=1e-3, beta=0.02, scaling=HopfieldScaling.PER_SAMPLE
)
_HOPFIELD_TRAINING: Final = TrainingSection(
    epochs=8,
    batch_size=64,
    optimizer=OptimizerKind.ADAM,
    learning_rate=3e-3,
    schedule=ScheduleKind.COSINE,
    checkpoint_every_s=30.0,
)

HOPFIELD_L6: Final = SplitNetwork(
    name="hopfield-l6",
    energy=Energy.HOPFIELD,
    n_couplings=len(L6),
    block_sizes=(6, 3, 2),
    methods=(Method.ID, Method.EP),
    cut=_cut_l6,
    training=_HOPFIELD_TRAINING,
    hopfield=_PHASES,
)
HOPFIELD_L12: Final = SplitNetwork(
    name="hopfield-l12",
    energy=Energy.HOPFIELD,
    n_couplings=len(L12),
    block_sizes=(4, 3, 2),
    methods=(Method.ID, Method.EP),
    cut=_cut_l12,
    training=_HOPFIELD_TRAINING,
    hopfield=_PHASES,
)

LAYERS: Final = (
    *(NodeLayerSection(size=size, clamp=(-0.3, 0.3)) for size in (24, 16, 16, 12, 12)),
    NodeLayerSection(size=12, leak=0.5),
)
_STEM: Final[tuple[StageSection, ...]] = (
    ConvStage(kind="conv", channels=16, kernel=5, stride=2, padding=2),
    BatchNormStage(kind="batch_norm"),
    ReluStage(kind="relu"),
    ConvStage(kind="conv", channels=32, kernel=3, stride=2, padding=1),
    BatchNormStage(kind="batch_norm"),
    ReluStage(kind="relu"),
    AveragePoolStage(kind="average_pool", kernel=2),
    FlattenStage(kind="flatten"),
    LinearStage(kind="linear", size=64),
)


def _cut_crossbars(block_size: int) -> tuple[StageSection, ...]:
    block = AnalogStage(kind="analog", layers=LAYERS, g_min=1e-3, g_max=2.0)
    return (*_STEM, *cut_resistive(LAYERS, block_size, gain=3.0, block=block), *_READOUT)


RESISTIVE_L6: Final = SplitNetwork(
    name="resistive-l6",
    energy=Energy.RESISTIVE,
    n_couplings=len(LAYERS),
    block_sizes=(6, 3, 2),
    methods=(Method.ID, Method.EP, Method.NGSPICE),
    cut=_cut_crossbars,
    training=TrainingSection(
        epochs=8,
        batch_size=32,
        optimizer=OptimizerKind.ADAMW,
        learning_rate=1e-2,
        weight_decay=1e-2,
        schedule=ScheduleKind.ONE_CYCLE,
        checkpoint_every_s=30.0,
    ),
    phases=PhasesSection(beta=0.05),
)

NETWORKS: Final = (HOPFIELD_L6, RESISTIVE_L6)
FULL_NETWORKS: Final = (HOPFIELD_L6, HOPFIELD_L12, RESISTIVE_L6)
