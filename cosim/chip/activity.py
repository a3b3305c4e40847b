"""What a block does for one sample: relaxations, conversions, codes moved, device writes, gradients in digital.

The counts are those of `cosim.reading.Counters`, worked out from the settings instead of by running.
"""

from dataclasses import dataclass
from typing import Any, final

from circuits.block_circuit import BlockCircuit
from circuits.energy_block import Drive

from ..phase_settings import DifferenceRead, Nudging, ParameterRead, PhaseSettings
from .constants import Constants
from .conversion import BlockConverters, ConverterBank


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class BlockActivity:
    """What a block does for one sample.

    Args:
        free_relaxations, nudged_relaxations: equilibria that are found.
        conversions: of each bank.
        device_writes: of trainable devices; a step writes all of them, which the samples of its batch share.
    """

    free_relaxations: int
    nudged_relaxations: int
    conversions: tuple[tuple[ConverterBank, int], ...]
    device_writes: float

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
    conversions = ((banks.input, banks.input.channels), (banks.output, banks.output.channels))
    return BlockActivity(free_relaxations=1, nudged_relaxations=0, conversions=conversions, device_writes=0.0)


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
    n_nudges = nudge_count(settings) if want_x or want_conductances else 0
    reads_digital = settings.parameter_read is ParameterRead.DIGITAL and want_conductances
    each_phase = settings.difference_read is DifferenceRead.EACH_PHASE
    is_current = built.block.drive is Drive.CURRENT
    n_states = sum(layer.size for layer in built.block.layers)
    # Of a difference held in analog there is one code; a gradient by conductance needs the mean, too.
    phase = 2 * n_states if reads_digital else 0
    current = 0
    if want_x and is_current and not reads_digital:
        phase += (2 if each_phase else 1) * built.block.layers[0].size
    elif want_x and not is_current:
        current = (2 if each_phase else 1) * built.block.n_inputs
    return BlockActivity(
        free_relaxations=1,
        nudged_relaxations=n_nudges,
        conversions=(
            (banks.input, banks.input.channels),
            (banks.output, banks.output.channels),
            (banks.nudge, n_nudges * banks.nudge.channels),
            (banks.phase, phase),
            (banks.current, current),
        ),
        device_writes=n_devices / batch_size if want_conductances else 0.0,
    )


def nudge_count(settings: PhaseSettings) -> int:
    """Return the number of nudged phases."""
    return 2 if settings.nudging is Nudging.CENTERED else 1
