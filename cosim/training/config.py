"""What a training run is: the sections of a configuration file, with their units, defaults and limits.

Takes: the tables of a TOML file. Gives: an immutable `Config`. Must not know: torch, run folders.
Inside an analog stage numbers are dimensionless, in units of the stage's `v_unit_v` and `g_unit_s`; in a hopfield stage
there are no others. The sections are in modules of their own, and all of them can be imported from here.
"""

from collections import Counter
from enum import Enum
from typing import Annotated, Any, final

from pydantic import Field, model_validator

from circuits.energy_block import EnergyBlock
from circuits.nonidealities import NonIdealities

from ..errors import ConfigError
from .analog_sections import (
    AnalogStage,
    ConvLayerSection,
    DiodeSection,
    NodeLayerSection,
    PhasesSection,
)
from .circuit_section import CircuitSection, StartSection
from .converter_sections import CalibrationKind, ConverterSection, ConvertersSection
from .device_sections import DevicesSection
from .digital_sections import (
    AveragePoolStage,
    BatchNormStage,
    ConvStage,
    DigitalStage,
    FlattenStage,
    GainStage,
    LinearStage,
    MaxPoolStage,
    ModuleStage,
    ReluStage,
    StandardiseStage,
    TanhStage,
)
from .hopfield_sections import (
    ConvCouplingSection,
    CouplingSection,
    DenseCouplingSection,
    HopfieldScaling,
    HopfieldSection,
    HopfieldStage,
    LastLayerKind,
)
from .nonideality_sections import EFFECTS, NeuronsSection, SourcesSection, WiresSection, made_of
from .paper_tables import WHOLE, with_preset
from .run_sections import (
    CropPaddingKind,
    DataSection,
    DatasetKind,
    ImageChoice,
    LossKind,
    OptimizerKind,
    ScheduleKind,
    SimulatorKind,
    SimulatorSection,
    TrainingSection,
)
from .section import OFF, READ_LOOSELY, Positive, Section

__all__ = [
    "AnalogStage",
    "AveragePoolStage",
    "BatchNormStage",
    "CalibrationKind",
    "CircuitSection",
    "Config",
    "ConvCouplingSection",
    "ConvLayerSection",
    "ConvStage",
    "ConverterSection",
    "ConvertersSection",
    "CouplingSection",
    "CropPaddingKind",
    "DataSection",
    "DatasetKind",
    "DenseCouplingSection",
    "DevicesSection",
    "DigitalStage",
    "DiodeSection",
    "FlattenStage",
    "GainStage",
    "GradientKind",
    "HopfieldScaling",
    "HopfieldSection",
    "HopfieldStage",
    "ImageChoice",
    "LastLayerKind",
    "LinearStage",
    "LossKind",
    "MaxPoolStage",
    "ModuleStage",
    "NetworkSection",
    "NeuronsSection",
    "NodeLayerSection",
    "OptimizerKind",
    "PhasesSection",
    "ReluStage",
    "ScheduleKind",
    "Section",
    "SimulatorKind",
    "SimulatorSection",
    "SourcesSection",
    "StageSection",
    "StandardiseStage",
    "StartSection",
    "TanhStage",
    "TrainingSection",
    "WiresSection",
]


class GradientKind(Enum):
    """What trains the energy blocks, or stands in place of the analog ones."""

    EP = "ep"  # nudged phases
    IMPLICIT = "implicit"  # the circuit's exact gradient; through a hopfield stage's steps from the free state on
    BACKPROP = "backprop"  # no circuit: tanh layers of the same sizes; hopfield stages have no such twin


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
class Config(Section):
    """A whole configuration file."""

    network: NetworkSection
    gradient: Annotated[GradientKind, READ_LOOSELY] = GradientKind.EP
    data: DataSection = DataSection()
    simulator: SimulatorSection = SimulatorSection()
    phases: PhasesSection = PhasesSection()
    hopfield: HopfieldSection = HopfieldSection()
    converters: ConvertersSection = ConvertersSection()
    devices: DevicesSection | None = None
    neurons: NeuronsSection | None = None
    sources: SourcesSection | None = None
    wires: WiresSection | None = None
    temperature_k: Annotated[Positive | None, OFF] = None
    training: TrainingSection = TrainingSection()
    start: StartSection | None = None
    circuit: CircuitSection | None = None
    preset: Annotated[str | None, OFF] = None  # an experiment of the paper, which fills in what is not written
    width: Annotated[float, Field(gt=0, le=1)] = WHOLE

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, tables: Any) -> Any:
        try:
            return with_preset(tables) if isinstance(tables, dict) else tables
        except ConfigError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="before")
    @classmethod
    def _check_run(cls, tables: Any) -> Any:
        # Before the others: without a run the network is missing, too, which would say nothing of what to do.
        if isinstance(tables, dict) and tables.get("circuit") is not None and tables.get("start") is None:
            raise ValueError(
                "circuit: says what a trained run is programmed into, but no run is named; give `tellegen train --from "
                "RUN`, or start.run"
            )
        return tables

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
        if self.circuit is not None and self.gradient is GradientKind.BACKPROP:
            raise ValueError(
                'circuit: gradient = "backprop" trains no circuit, but tanh layers that compute one way; set "ep" or '
                '"implicit", and begin with a run of hopfield or analog stages'
            )
        effects = self.effects
        if effects and not self.has_circuit:
            reason = "there are hopfield stages only; add [circuit], which programs the run of [start] into one"
            if self.gradient is GradientKind.BACKPROP:
                reason = 'gradient = "backprop" has tanh layers in its place; set "ep" or "implicit"'
            raise ValueError(f"{effects[0]}: is of a circuit, but {reason}")
        return self

    @property
    def effects(self) -> list[str]:
        """Names of the keys by which circuits are not ideal."""
        return [name for name in EFFECTS if getattr(self, name) is not None]

    def nonidealities(self, block: EnergyBlock) -> NonIdealities | None:
        """Return what is not ideal about a block.

        Raises:
            CircuitError: for devices that cannot be.
        """
        return made_of(block, **{name: getattr(self, name) for name in EFFECTS})

    @property
    def has_circuit(self) -> bool:
        """Whether there is anything for a simulator to relax, now or once it is programmed."""
        is_analog = bool(self.network.block_names) or self.circuit is not None
        return self.gradient is not GradientKind.BACKPROP and is_analog
