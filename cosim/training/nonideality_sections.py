"""Tables of neurons, sources and wires in a configuration file, and what all non-idealities amount to for a block."""

from typing import Annotated, Final, final

from pydantic import Field, model_validator

from circuits.devices import Spread, SpreadDistribution
from circuits.energy_block import EnergyBlock
from circuits.errors import CircuitError
from circuits.neuron_spread import NeuronSpread
from circuits.nonidealities import NonIdealities
from circuits.source_errors import SourceErrors
from circuits.tiles import TileSize
from circuits.wires import WireEnd, Wires

from .device_sections import DevicesSection
from .section import OFF, READ_LOOSELY, NotNegative, Section, Seed

EFFECTS: Final = ("devices", "neurons", "sources", "wires", "temperature_k")  # keys of a configuration; None is ideal

Size = Annotated[NotNegative | None, OFF]


@final
class NeuronsSection(Section):
    """`[neurons]`: how clamp diodes, rails and leaks differ, each by itself; the saturation current is log-normal."""

    seed: Seed = 0
    saturation_current_relative_std: Size = None
    emission_coefficient_relative_std: Size = None
    rail_std_v: Size = None
    leak_relative_std: Size = None

    def spread(self) -> NeuronSpread:
        """Return how units differ."""

        def of(std: float | None, distribution: SpreadDistribution = SpreadDistribution.NORMAL) -> Spread | None:
            return None if std is None else Spread(relative_std=std, distribution=distribution)

        return NeuronSpread(
            saturation_current=of(self.saturation_current_relative_std, SpreadDistribution.LOG_NORMAL),
            emission_coefficient=of(self.emission_coefficient_relative_std),
            rail_std_v=self.rail_std_v,
            leak=of(self.leak_relative_std),
            seed=self.seed,
        )


@final
class SourcesSection(Section):
    """`[sources]`: gain and offset of inputs, nudges and bias rows; offsets in units of v_unit_v, or of a current."""

    seed: Seed = 0
    gain_error: Annotated[Annotated[float, Field(gt=-1)] | None, OFF] = None
    gain_std: Size = None
    offset: Annotated[float | None, OFF] = None
    offset_std: Size = None

    def errors(self) -> SourceErrors:
        """Return the errors of sources."""
        return SourceErrors(**dict(self))


@final
class WiresSection(Section):
    """`[wires]`: resistance a cell of row and column wires, of drivers and of what senses, and where they are.

    Zero is a wire without resistance, which is no element; "128x128" are the row and column wires of the largest tile.
    """

    row_ohm: NotNegative
    column_ohm: NotNegative
    driver_ohm: NotNegative = 0.0
    sense_ohm: NotNegative = 0.0
    row_end: Annotated[WireEnd, READ_LOOSELY] = WireEnd.NEAR
    column_end: Annotated[WireEnd, READ_LOOSELY] = WireEnd.FAR
    tile: str = "128x128"

    @model_validator(mode="after")
    def _check(self) -> "WiresSection":
        try:
            self.wires()
        except CircuitError as error:
            raise ValueError(str(error)) from None
        return self

    def wires(self) -> Wires:
        """Return the wires."""
        return Wires(**{**dict(self), "tile": TileSize.parse(self.tile)})


def made_of(
    block: EnergyBlock,
    *,
    devices: DevicesSection | None,
    neurons: NeuronsSection | None,
    sources: SourcesSection | None,
    wires: WiresSection | None,
    temperature_k: float | None,
) -> NonIdealities | None:
    """Return what is not ideal about a block; None where nothing is.

    Args:
        block: as designed.
        devices: the table; None where it is left out.
        neurons: likewise.
        sources: likewise.
        wires: likewise.
        temperature_k: K — of the circuits at work.

    Raises:
        CircuitError: for devices that cannot be.
    """
    window_s = (block.g_min_s, block.g_max_s) if devices is None or devices.window_s is None else devices.window_s
    made = NonIdealities(
        devices=None if devices is None else devices.crossbar_devices(*window_s),
        neurons=None if neurons is None else neurons.spread(),
        sources=None if sources is None else sources.errors(),
        wires=None if wires is None else wires.wires(),
        temperature_k=temperature_k,
    )
    return made if made.effects else None
