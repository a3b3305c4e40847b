"""What a block does for one sample: relaxations, conversions phase by phase, codes moved, device writes.

The counts are those of `cosim.reading.Counters`, worked out from the settings instead of by running.
"""

from dataclasses import dataclass
from typing import Any, final

from circuits.block_circuit import BlockCircuit
from circuits.energy_block import Drive

from ..phase_settings import DifferenceRead, ParameterRead, PhaseSettings
from .constants import Constants
from .conversion import BlockConverters, Conversions


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class BlockActivity:
    """What a block does for one sample.

    Args:
        free_relaxations, nudged_relaxations: equilibria that are found.
        set_levels: conversions of DACs.
        reads: conversions of ADCs in each phase, the free one first; none without nudges but in the free phase.
        device_writes: of trainable devices; a step writes all of them, which the samples of its batch share.
    """

    free_relaxations: int
    nudged_relaxations: int
    set_levels: Conversions
    reads: tuple[Conversions, ...]
    device_writes: float

    @property
    def conversions(self) -> Conversions:
        """Conversions of each bank, over all phases."""
        counts = dict(self.set_levels)
        for bank, n in (read for phase in self.reads for read in phase):
            counts[bank] = counts.get(bank, 0) + n
        return tuple(counts.items())

    def count(self, kind: str) -> int:
        """Return the conversions of all DACs or ADCs."""
        return sum(n for bank, n in self.conversions if bank.kind == kind)

    def energy_j(self, kind: str, constants: Constants) -> float:
        """Return the energy of the conversions of all DACs or ADCs."""
        return sum(n * bank.conversion_j(constants) for bank, n in self.conversions if bank.kind == kind)

    @property
    def code_bytes(self) -> int:
        """Bytes of codes that a buffer gives to DACs and takes from ADCs."""
        return sum(n * bank.code_bytes for bank, n in self.conversions)

    def to_json(self) -> dict[str, Any]:
        """Return the counts."""
        return {
            "free_relaxations": self.free_relaxations,
            "nudged_relaxations": self.nudged_relaxations,
            "dac_conversions": self.count("DAC"),
            "adc_conversions": self.count("ADC"),
            "conversions": {bank.name: n for bank, n in self.conversions},
            "code_bytes": self.code_bytes,
            "device_writes": self.device_writes,
        }


def inference_activity(banks: BlockConverters) -> BlockActivity:
    """Return what an inference does: inputs through the DACs, one free relaxation, outputs through the ADCs."""
    return BlockActivity(
        free_relaxations=1,
        nudged_relaxations=0,
        set_levels=((banks.input, banks.input.channels),),
        reads=(((banks.output, banks.output.channels),),),
        device_writes=0.0,
    )


def training_activity(
    built: BlockCircuit,
    banks: BlockConverters,
    settings: PhaseSettings,
    *,
    want_x: bool,
    want_conductances: bool,
    n_devices: int,
    batch_size: int,
) -> BlockActivity:
    """Return what a step of equilibrium propagation does for each sample: free phase, nudges, reads, write.

    Args:
        built: the block.
        banks: its converters.
        settings: how its phases are run.
        want_x: whether dL/dx is read.
        want_conductances: whether its conductances are trained.
        n_devices: that a step writes.
        batch_size: samples a step.
    """
    n_nudges = len(settings.nudging.signs) if want_x or want_conductances else 0
    reads_digital = settings.parameter_read is ParameterRead.DIGITAL and want_conductances
    each_phase = settings.difference_read is DifferenceRead.EACH_PHASE
    is_current = built.block.drive is Drive.CURRENT
    phase = current = 0
    if reads_digital:
        phase = sum(layer.size for layer in built.block.layers)
    elif want_x and is_current:
        phase = built.block.layers[0].size
    if want_x and not is_current:
        current = built.block.n_inputs
    reads = [((banks.output, banks.output.channels),), *(() for _ in range(n_nudges))]
    if each_phase:
        for k in (-2, -1) if n_nudges else ():  # the two that are compared; with one nudge the free phase is one
            reads[k] = (*reads[k], (banks.phase, phase), (banks.current, current))
    elif n_nudges:
        # Both phases are held in analog until the last is there. A gradient by conductance needs the mean, too.
        reads[-1] = (*reads[-1], (banks.phase, (2 if reads_digital else 1) * phase), (banks.current, current))
    return BlockActivity(
        free_relaxations=1,
        nudged_relaxations=n_nudges,
        set_levels=((banks.input, banks.input.channels), (banks.nudge, n_nudges * banks.nudge.channels)),
        reads=tuple(reads),
        device_writes=n_devices / batch_size if want_conductances else 0.0,
    )
