"""What a training run is: the sections of a configuration file, with their units, defaults and limits.

Takes: the tables of a TOML file. Gives: an immutable `Config`. Must not know: torch, run folders.
Inside an analog stage numbers are dimensionless, in units of the stage's `v_unit_v` and `g_unit_s`; in a hopfield stage
there are no others.
"""

import math
from collections import Counter
from enum import Enum
from typing import Annotated, Any, Literal, final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from circuits.diode import NOMINAL_TEMPERATURE_K
from circuits.energy_block import Drive, Polarity

from ..phase_settings import DifferenceRead, NudgeScaling, Nudging, ParameterRead

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Device = Annotated[str, Field(pattern=r"^(cpu|cuda(:[0-9]+)?)$")]  # Newton computes in float64
Margin = Annotated[int, Field(ge=0)]

# In strict mode, which keeps "8" from passing as 8, text is no choice and a list no tuple; TOML has only these.
_READ_LOOSELY = Field(strict=False)


class DatasetKind(Enum):
    """Which images."""

    DIGITS = "digits"
    CIFAR10 = "cifar10"


class ImageChoice(Enum):
    """Which images of a data set."""

    ALL = "all"
    LISTED = "listed"  # the 3,000 and 660 of the published results, by their official index


class GradientKind(Enum):
    """What trains the energy blocks, or stands in place of the analog ones."""

    EP = "ep"  # nudged phases
    IMPLICIT = "implicit"  # the circuit's exact gradient; through a hopfield stage's steps from the free state on
    BACKPROP = "backprop"  # no circuit: tanh layers of the same sizes; hopfield stages have no such twin


class LossKind(Enum):
    """What is minimised."""

    CROSS_ENTROPY = "cross_entropy"
    MSE = "mse"  # against one-hot vectors


class SimulatorKind(Enum):
    """Which simulator relaxes the blocks."""

    NEWTON = "newton"
    NGSPICE = "ngspice"


class OptimizerKind(Enum):
    """Which of torch's optimisers."""

    ADAMW = "adamw"
    ADAM = "adam"
    SGD = "sgd"


class ScheduleKind(Enum):
    """How the learning rate changes from step to step."""

    ONE_CYCLE = "one_cycle"
    COSINE = "cosine"
    CONSTANT = "constant"


class LastLayerKind(Enum):
    """What the last layer of a hopfield stage does with its current."""

    LINEAR = "linear"  # s = c
    CLAMPED = "clamped"  # s = clamp(a c, 0, 1), as in the other layers


class HopfieldScaling(Enum):
    """By what a sample's loss gradient is multiplied before it nudges a hopfield stage."""

    BATCH = "batch"  # the batch size, as the loss is a mean: the sample's own gradient
    PER_SAMPLE = "per_sample"  # the largest of each sample gives beta
    NONE = "none"


class Section(BaseModel):
    """A table of the file: no unknown key, no conversion of types, no infinities."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


@final
class DataSection(Section):
    """`[data]`: which images, how many, which split, and how they are varied in training.

    `path` is where CIFAR-10 is, `url` where it may be downloaded from. Sizes are of balanced subsets; without one the
    digits hold out 360 and everything else stays whole.
    """

    name: Annotated[DatasetKind, _READ_LOOSELY] = DatasetKind.DIGITS
    path: Annotated[str, Field(min_length=1)] | None = None
    url: Annotated[str, Field(pattern=r"^https?://", examples=["https://..."])] | None = None
    images: Annotated[ImageChoice, _READ_LOOSELY] = ImageChoice.ALL
    train_size: Count | None = None
    test_size: Count | None = None
    seed: Seed = 0
    flip: bool = False
    crop: Margin = 0

    @model_validator(mode="after")
    def _check(self) -> "DataSection":
        if self.name is DatasetKind.DIGITS:
            named = [key for key in ("path", "url") if getattr(self, key) is not None]
            if self.images is not ImageChoice.ALL:
                named.append("images")
            if named:
                raise ValueError(f'{named[0]} is for data.name = "cifar10"; the digits come with scikit-learn')
        return self


@final
class FlattenStage(Section):
    """An image laid out as one row."""

    kind: Literal["flatten"]


@final
class LinearStage(Section):
    """A dense layer of `size` outputs."""

    kind: Literal["linear"]
    size: Count
    bias: bool = True


@final
class ConvStage(Section):
    """A 2-D convolution to `channels` channels, its square kernel, stride and zero padding as in torch."""

    kind: Literal["conv"]
    channels: Count
    kernel: Count
    stride: Count = 1
    padding: Margin = 0
    bias: bool = True


@final
class MaxPoolStage(Section):
    """The largest of each window; without a stride the windows do not overlap."""

    kind: Literal["max_pool"]
    kernel: Count
    stride: Count | None = None


@final
class AveragePoolStage(Section):
    """The mean of each window; without a stride the windows do not overlap."""

    kind: Literal["average_pool"]
    kernel: Count
    stride: Count | None = None


@final
class TanhStage(Section):
    """A hyperbolic tangent."""

    kind: Literal["tanh"]


@final
class ModuleStage(Section):
    """Any torch module by its name, "torch.nn.GELU" or your own, with the arguments that make it."""

    kind: Literal["module"]
    module: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$", examples=["torch.nn.GELU"])]
    arguments: dict[str, JsonValue] = {}  # what a run folder can hold


@final
class BatchNormStage(Section):
    """Batch normalisation, of units or of channels; `affine` for a trained scale and shift."""

    kind: Literal["batch_norm"]
    affine: bool = True
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1


@final
class ReluStage(Section):
    """A rectifier."""

    kind: Literal["relu"]


@final
class GainStage(Section):
    """A factor: how far the next block is driven."""

    kind: Literal["gain"]
    value: float
    trainable: bool = False


@final
class StandardiseStage(Section):
    """A fixed shift and scale, (x - mean) / std."""

    kind: Literal["standardise"]
    mean: float
    std: Positive


@final
class DiodeSection(Section):
    """The clamp diodes: a level-1 SPICE model and the current at which the clamp holds its limit exactly."""

    saturation_current_a: Positive = 1e-14
    emission_coefficient: Positive = 1.0
    series_resistance_ohm: NotNegative = 0.0
    reference_current_a: Positive = 1e-5


@final
class NodeLayerSection(Section):
    """One layer of units: clamp in units of v_unit_v, leak in units of g_unit_s."""

    size: Count
    clamp: Annotated[tuple[float, float] | None, _READ_LOOSELY] = None
    leak: NotNegative = 0.0
    bias: bool = False

    @model_validator(mode="after")
    def _check(self) -> "NodeLayerSection":
        if self.clamp is not None and self.clamp[0] >= self.clamp[1]:
            raise ValueError(f"clamp = {list(self.clamp)}: the lower limit must lie below the upper one")
        return self


@final
class AnalogStage(Section):
    """An energy block: a resistive network relaxed by the simulator."""

    kind: Literal["analog"]
    layers: Annotated[tuple[NodeLayerSection, ...], Field(strict=False, min_length=1)]
    name: Name | None = None
    drive: Annotated[Drive, _READ_LOOSELY] = Drive.VOLTAGE
    polarity: Annotated[Polarity, _READ_LOOSELY] = Polarity.DIFFERENTIAL
    output_layers: Annotated[tuple[int, ...], Field(strict=False, min_length=1)] = (-1,)
    g_min: Positive = 1e-3
    g_max: Positive = 2.0
    v_unit_v: Positive = 1.0
    g_unit_s: Positive = 1e-4
    temperature_k: Positive = NOMINAL_TEMPERATURE_K
    diode: DiodeSection = DiodeSection()

    @model_validator(mode="after")
    def _check(self) -> "AnalogStage":
        if self.g_min >= self.g_max:
            raise ValueError(f"g_min = {self.g_min:g} must lie below g_max = {self.g_max:g}")
        n_layers = len(self.layers)
        if any(not -n_layers <= k < n_layers for k in self.output_layers):
            raise ValueError(f"output_layers = {list(self.output_layers)}, but there are layers 0 to {n_layers - 1}")
        return self


@final
class ConvCouplingSection(Section):
    """A convolution from one layer of a hopfield stage to the next; `pool` is a max-pool inside the energy."""

    kind: Literal["conv"]
    channels: Count
    kernel: Count = 3
    stride: Count = 1
    padding: Margin = 1
    pool: Annotated[int, Field(ge=2)] | None = None
    bias: bool = True


@final
class DenseCouplingSection(Section):
    """A matrix from every unit of a layer of a hopfield stage to the `size` units of the next."""

    kind: Literal["dense"]
    size: Count
    bias: bool = True


CouplingSection = Annotated[ConvCouplingSection | DenseCouplingSection, Field(discriminator="kind")]


def _read_slope(value: Any) -> Any:
    """Take a number or a list of numbers; a union of both would report each mistake twice."""
    given = value if isinstance(value, list | tuple) else [value]
    is_right = all(isinstance(a, int | float) and not isinstance(a, bool) and 0 < a < math.inf for a in given)
    if not given or not is_right:
        raise ValueError(f"{value!r} is no slope; write a number above zero, or a list, one for each layer with a box")
    return tuple(map(float, given)) if isinstance(value, list | tuple) else float(value)


@final
class HopfieldStage(Section):
    """An energy block without a circuit: a deep Hopfield network, whose first layer the sample enters as currents.

    `slope` is of the layers in [0, 1], one number for all or one each. Without `goe_variance` convolutional weights
    start as torch's do, with it as the paper's.
    """

    kind: Literal["hopfield"]
    couplings: Annotated[tuple[CouplingSection, ...], Field(strict=False, min_length=1)]
    name: Name | None = None
    slope: Annotated[float | tuple[float, ...], BeforeValidator(_read_slope)] = 0.5
    last_layer: Annotated[LastLayerKind, _READ_LOOSELY] = LastLayerKind.LINEAR
    input_bias: bool = False
    goe_variance: Positive | None = None


DigitalStage = (
    FlattenStage
    | LinearStage
    | ConvStage
    | MaxPoolStage
    | AveragePoolStage
    | BatchNormStage
    | ReluStage
    | TanhStage
    | GainStage
    | StandardiseStage
    | ModuleStage
)

StageSection = Annotated[
    DigitalStage | AnalogStage | HopfieldStage,
    Field(discriminator="kind"),
]


@final
class NetworkSection(Section):
    """`[network]`: the stages in order; what stands behind the last energy block is the readout."""

    stages: Annotated[tuple[StageSection, ...], Field(strict=False, min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> "NetworkSection":
        names = [name for _, name in self.energy_blocks]
        if not names:
            raise ValueError("there is no stage of kind 'analog' or 'hopfield'; a network needs at least one")
        repeated = [name for name, count in Counter(names).items() if count > 1]
        if repeated:
            raise ValueError(f"two energy blocks are called '{repeated[0]}'; rename one")
        return self

    @property
    def energy_blocks(self) -> "tuple[tuple[AnalogStage | HopfieldStage, str], ...]":
        """The analog and hopfield stages in order with their names: their own, or block1, block2, ..."""
        stages = [stage for stage in self.stages if isinstance(stage, AnalogStage | HopfieldStage)]
        return tuple((stage, stage.name or f"block{k}") for k, stage in enumerate(stages, start=1))

    @property
    def block_names(self) -> tuple[str, ...]:
        """Names of the analog stages in order; the numbers of those without one count hopfield stages too."""
        return tuple(name for stage, name in self.energy_blocks if isinstance(stage, AnalogStage))


@final
class SimulatorSection(Section):
    """`[simulator]`: which one, and how it runs.

    `device` is newton's: "cpu", "cuda" or "cuda:1". The others are ngspice's: worker processes (0: in this process),
    the time a chunk may take, the samples of one, which are part of the result's last bits, and the address of a Dask
    scheduler whose workers are to be used in place of own ones.
    """

    name: Annotated[SimulatorKind, _READ_LOOSELY] = SimulatorKind.NEWTON
    device: Device = "cpu"
    workers: Annotated[int, Field(ge=0, le=256)] = 0
    timeout_s: Positive = 300.0
    chunk: Count = 32
    dask: Annotated[str, Field(pattern=r"^[a-z]+://.+$", examples=["tcp://localhost:8786"])] | None = None

    @model_validator(mode="after")
    def _check(self) -> "SimulatorSection":
        if self.dask is not None and self.name is not SimulatorKind.NGSPICE:
            raise ValueError(f'dask = "{self.dask}" is for name = "ngspice"; {self.name.value} runs in this process')
        return self


@final
class PhasesSection(Section):
    """`[phases]`: how the nudged phases are driven and read."""

    beta: Positive = 0.005
    nudging: Annotated[Nudging, _READ_LOOSELY] = Nudging.CENTERED
    scaling: Annotated[NudgeScaling, _READ_LOOSELY] = NudgeScaling.PER_SAMPLE
    difference_read: Annotated[DifferenceRead, _READ_LOOSELY] = DifferenceRead.SAMPLE_AND_HOLD
    parameter_read: Annotated[ParameterRead, _READ_LOOSELY] = ParameterRead.LOCAL


@final
class HopfieldSection(Section):
    """`[hopfield]`: how every hopfield stage is relaxed, and nudged or differentiated; the paper's numbers.

    `free_steps` is T1, at most if there is a `tolerance`, the largest change of a unit at which the free phase ends;
    `nudged_steps` is T2. With `gradient = "implicit"` there is no nudge: backprop goes through T2 more steps.
    """

    free_steps: Count = 60
    nudged_steps: Count = 20
    tolerance: Positive | None = None
    beta: Positive = 0.2
    nudging: Annotated[Nudging, _READ_LOOSELY] = Nudging.CENTERED
    scaling: Annotated[HopfieldScaling, _READ_LOOSELY] = HopfieldScaling.BATCH


def _none_for(word: str) -> BeforeValidator:
    """Read a word as None, which TOML cannot spell."""

    def replace(value: Any) -> Any:
        return None if value == word else value

    return BeforeValidator(replace)


@final
class ConverterSection(Section):
    """One converter: bits or "ideal"; full scale in units, or "data" to range it from what passes."""

    bits: Annotated[Annotated[int, Field(ge=1, le=32)] | None, _none_for("ideal")] = None
    full_scale: Annotated[Positive | None, _none_for("data")] = None


@final
class ConvertersSection(Section):
    """`[converters]`: DACs on inputs and nudges, ADCs on outputs, on the phases' voltages and source currents."""

    input: ConverterSection = ConverterSection()
    output: ConverterSection = ConverterSection()
    nudge: ConverterSection = ConverterSection()
    phase: ConverterSection = ConverterSection()
    current: ConverterSection | None = None


@final
class TrainingSection(Section):
    """`[training]`: the loop; a checkpoint after each epoch, and within one when the last is this old."""

    epochs: Count = 10
    batch_size: Count = 64
    loss: Annotated[LossKind, _READ_LOOSELY] = LossKind.CROSS_ENTROPY
    optimizer: Annotated[OptimizerKind, _READ_LOOSELY] = OptimizerKind.ADAMW
    learning_rate: Positive = 3e-3
    weight_decay: NotNegative = 0.0
    schedule: Annotated[ScheduleKind, _READ_LOOSELY] = ScheduleKind.ONE_CYCLE
    checkpoint_every_s: Positive = 300.0
    seed: Seed = 0


@final
class Config(Section):
    """A whole configuration file."""

    network: NetworkSection
    gradient: Annotated[GradientKind, _READ_LOOSELY] = GradientKind.EP
    data: DataSection = DataSection()
    simulator: SimulatorSection = SimulatorSection()
    phases: PhasesSection = PhasesSection()
    hopfield: HopfieldSection = HopfieldSection()
    converters: ConvertersSection = ConvertersSection()
    training: TrainingSection = TrainingSection()

    @model_validator(mode="after")
    def _check(self) -> "Config":
        if self.training.batch_size == 1 and any(isinstance(s, BatchNormStage) for s in self.network.stages):
            raise ValueError("training.batch_size = 1, but a batch_norm stage needs two samples or more")
        blocks = self.network.energy_blocks
        if self.gradient is GradientKind.BACKPROP and any(isinstance(stage, HopfieldStage) for stage, _ in blocks):
            raise ValueError(
                'gradient = "backprop" puts tanh layers in place of analog stages, but there is a hopfield stage; set '
                '"ep" or "implicit"'
            )
        return self

    @property
    def has_circuit(self) -> bool:
        """Whether there is anything for a simulator to relax."""
        return self.gradient is not GradientKind.BACKPROP and bool(self.network.block_names)
