"""`[neurons]` and `[sources]` of a configuration file, and what all tables of non-idealities amount to for a block."""

from typing import Annotated, Final, final

from pydantic import Field

from circuits.devices import Spread, SpreadDistribution
from circuits.energy_block import EnergyBlock
from circuits.neuron_spread import NeuronSpread
from circuits.nonidealities import NonIdealities
from circuits.source_errors import SourceErrors

from .device_sections import OFF, DevicesSection
from .section import NotNegative, Section, Seed

EFFECTS: Final = ("devices", "neurons", "sources", "temperature_k")  # keys of a configuration; None is ideal

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


def made_of(
    block: EnergyBlock,
    *,
    devices: DevicesSection | None,
    neurons: NeuronsSection | None,
    sources: SourcesSection | None,
    temperature_k: float | None,
) -> NonIdealities | None:
    """Return what is not ideal about a block; None where nothing is.

    Args:
        block: as designed.
        devices: the table; None where it is left out.
        neurons: likewise.
        sources: likewise.
        temperature_k: K — of the circuits at work.

    Raises:
        CircuitError: for devices that cannot be.
    """
    window_s = (block.g_min_s, block.g_max_s) if devices is None or devices.window_s is None else devices.window_s
    made = NonIdealities(
        devices=None if devices is None else devices.crossbar_devices(*window_s),
        neurons=None if neurons is None else neurons.spread(),
        sources=None if sources is None else sources.errors(),
        temperature_k=temperature_k,
    )
    return made if made.effects else None
