"""Converters of a block as a chip has them: banks of DACs and ADCs, their channels, bits and energy."""

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, final

from circuits.block_circuit import BlockCircuit
from circuits.energy_block import Drive

from ..converters import Adc, Converters, Dac
from ..phase_settings import ParameterRead, PhaseSettings
from .constants import Constants

DEFAULT_BITS: Final = 8  # of a converter that a network takes for ideal


class Sharing(Enum):
    """Whether what crosses at different times has converters of its own."""

    SEPARATE = "separate"  # a bank for inputs, outputs, nudges, phase reads and source currents each
    SHARED = "shared"  # one bank of DACs, one of ADCs, each as large as the largest crossing


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ConverterBank:
    """The converters of one crossing of a block; a differential unit has one, whose output or input is a pair.

    Args:
        name: "input", "nudge", "output", "phase" or "current".
        kind: "DAC" or "ADC".
        channels: units or columns that are converted.
        channels_per_converter: that take turns at one.
        bits: of a code.
        is_assumed: whether the network has an ideal converter there, so that the bits are assumed.
    """

    name: str
    kind: str
    channels: int
    channels_per_converter: int
    bits: int
    is_assumed: bool

    @property
    def converters(self) -> int:
        """Number of converters."""
        return math.ceil(self.channels / self.channels_per_converter)

    @property
    def code_bytes(self) -> int:
        """Bytes of one code in a buffer."""
        return math.ceil(self.bits / 8)

    def conversion_j(self, constants: Constants) -> float:
        """Return the energy of one conversion.

        Equation: E = FoM 2^bits.

        Source: R. H. Walden, Analog-to-digital converter survey and analysis, IEEE JSAC 17, 539, 1999.
        """
        return constants["adc_walden" if self.kind == "ADC" else "dac_walden"] * float(2**self.bits)

    def to_json(self) -> dict[str, Any]:
        """Return the bank for programs."""
        return {
            "crossing": self.name,
            "kind": self.kind,
            "channels": self.channels,
            "converters": self.converters,
            "bits": self.bits,
            "bits_assumed": self.is_assumed,
        }


Conversions = tuple[tuple[ConverterBank, int], ...]  # of each bank


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class BlockConverters:
    """The banks of a block.

    Args:
        input, nudge: DACs.
        output, phase, current: ADCs; a bank that reads nothing has no channels.
        sharing: whether the banks of a kind are one.
    """

    input: ConverterBank
    nudge: ConverterBank
    output: ConverterBank
    phase: ConverterBank
    current: ConverterBank
    sharing: Sharing

    @property
    def banks(self) -> tuple[ConverterBank, ...]:
        """The five banks."""
        return (self.input, self.nudge, self.output, self.phase, self.current)

    def count(self, kind: str) -> int:
        """Return the number of DACs or ADCs on the chip."""
        counts = [bank.converters for bank in self.banks if bank.kind == kind]
        return max(counts) if self.sharing is Sharing.SHARED else sum(counts)

    def turns(self, reads: Conversions) -> int:
        """Return how often the converters of a phase have to convert one after the other; 0 if nothing is read.

        Equation: ceil(conversions / converters) of a bank; banks work at the same time, but shared ones in turn.

        Args:
            reads: conversions of ADCs in one phase.
        """
        shared = self.count("ADC")
        if self.sharing is Sharing.SHARED:
            return sum(math.ceil(n / shared) for _, n in reads if n)
        return max((math.ceil(n / bank.converters) for bank, n in reads if n), default=0)


def block_converters(
    built: BlockCircuit,
    converters: Converters,
    settings: PhaseSettings,
    *,
    want_x: bool,
    sharing: Sharing,
    bits: int = DEFAULT_BITS,
    channels_per_converter: int | None = None,
) -> BlockConverters:
    """Return the converters that a block needs.

    Args:
        built: the block.
        converters: as the network has them.
        settings: of the phases, which say what is read.
        want_x: whether the stages before it are trained, so that dL/dx is read.
        sharing: whether crossings have banks of their own.
        bits: of converters that the network takes for ideal.
        channels_per_converter: in place of the network's own numbers.
    """
    n_states = sum(layer.size for layer in built.block.layers)
    reads_states = settings.parameter_read is ParameterRead.DIGITAL
    is_voltage = built.block.drive is Drive.VOLTAGE
    first = built.block.layers[0].size if want_x and not is_voltage else 0

    def bank(name: str, converter: Dac | Adc, channels: int) -> ConverterBank:
        return ConverterBank(
            name=name,
            kind=converter.kind,
            channels=channels,
            channels_per_converter=channels_per_converter or converter.channels_per_converter,
            bits=converter.bits or bits,
            is_assumed=converter.bits is None,
        )

    return BlockConverters(
        input=bank("input", converters.input, built.block.n_inputs),
        nudge=bank("nudge", converters.nudge, built.block.n_outputs),
        output=bank("output", converters.output, built.block.n_outputs),
        phase=bank("phase", converters.phase, n_states if reads_states else first),
        current=bank("current", converters.source_current, built.block.n_inputs if want_x and is_voltage else 0),
        sharing=sharing,
    )
