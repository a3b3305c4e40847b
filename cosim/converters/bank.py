"""The converters of a block as they were made: every spread and mismatch drawn, once for life."""

import zlib
from dataclasses import dataclass
from typing import final

import numpy as np

from circuits.arrays import Floats
from circuits.block_circuit import BlockCircuit

from ..errors import BlockError
from .converter import Adc, Dac, Drawn
from .converter_set import Converters
from .error_model import ConverterErrors
from .ranges import Crossing
from .state import ConverterState

LARGEST_TABLE = 1 << 26  # entries of INL tables of one bank: 512 MiB


@final
class Bank:
    """The converters of one crossing, one a channel or fewer.

    Equation: of channel j, converter j // channels_per_converter.

    Args:
        converter: what each of them is.
        n_channels: units or columns that are converted.
        key: tells the bank's draws from all others: seed, block and crossing.

    Raises:
        BlockError: if the curves of so many converters do not fit into memory.
    """

    def __init__(self, converter: Dac | Adc, n_channels: int, key: tuple[int, ...]) -> None:
        self.converter = converter
        self._key = key
        channel = np.arange(n_channels) // converter.channels_per_converter
        n_converters = int(channel[-1]) + 1 if n_channels else 0
        errors = converter.errors or ConverterErrors()
        gain = _spread(1.0, errors.gain_error, errors.gain_relative_std, n_converters, (*key, 1))
        offset = _spread(0.0, errors.offset_error, errors.offset_relative_std, n_converters, (*key, 2))
        inl = None
        if errors.linearity is not None and converter.bits is not None:
            if n_converters << converter.bits > LARGEST_TABLE:
                raise BlockError(
                    f"converters: curves of {n_converters} converters of {converter.bits} bits have more than "
                    f"{LARGEST_TABLE} entries; give fewer bits, or raise channels_per_converter"
                )
            inl = errors.linearity.tables(converter.bits, n_converters, np.random.default_rng((*key, 3)))
        own = channel if inl is not None and len(inl) > 1 else np.zeros_like(channel)
        self.drawn = Drawn(
            gain=None if gain is None else gain[channel],
            offset=None if offset is None else offset[channel],
            inl_lsb=inl,
            converter=own,
        )

    @property
    def is_symmetric(self) -> bool:
        """Whether it converts -v to minus what it makes of v."""
        return self.converter.errors is None

    def noise(self, shape: tuple[int, ...], state: ConverterState, *, learn: bool) -> Floats | None:
        """Draw the noise of one conversion of so many values, of the full scale; None where it is off."""
        std = None if self.converter.errors is None else self.converter.errors.noise_relative_std
        if std is None:
            return None
        generator = np.random.default_rng((*self._key, 0, *state.begin_draw(learn=learn)))
        return std * generator.standard_normal(shape)

    def full_scale(
        self, crossing: Crossing, values: Floats, state: ConverterState, *, learn: bool, own_range: bool = False
    ) -> float:
        """Return the full scale in force for a batch.

        Args:
            crossing: what is converted.
            values: the batch's values.
            state: ranges found from data.
            learn: whether the batch may move them.
            own_range: whether the converter's fixed full scale is that of another quantity: this one is ranged.
        """
        c = self.converter
        fixed = None if own_range else c.full_scale
        return state.ranges.full_scale(crossing, fixed, values, learn=learn, calibration=c.calibration)

    def nominal(self, values: Floats, full_scale: float) -> Floats:
        """Return what the digital side takes a DAC's levels for: its codes without errors."""
        return self.converter.convert(values, full_scale)

    def convert(self, values: Floats, full_scale: float, noise: Floats | None = None) -> Floats:
        """Convert values of the bank's channels, or of the first of them.

        Args:
            values: [batch, n_channels] dimensionless.
            full_scale: the one in force.
            noise: from `noise`, of the same shape.

        Returns:
            [batch, n_channels] levels, or values of codes.
        """
        if self.converter.errors is None:
            return self.converter.convert(values, full_scale)
        d, n = self.drawn, values.shape[-1]
        drawn = Drawn(
            gain=None if d.gain is None else d.gain[:n],
            offset=None if d.offset is None else d.offset[:n],
            noise=noise,
            inl_lsb=d.inl_lsb,
            converter=None if d.converter is None else d.converter[:n],
        )
        return self.converter.convert(values, full_scale, drawn)


def _spread(centre: float, error: float | None, std: float | None, n: int, key: tuple[int, ...]) -> Floats | None:
    """Return centre + error + std xi for n converters; None where there is neither."""
    if error is None and std is None:
        return None
    values = np.full(n, centre + (error or 0.0))
    return values if std is None else values + std * np.random.default_rng(key).standard_normal(n)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ConverterBanks:
    """The converters of one block as they were made."""

    input: Bank
    output: Bank
    nudge: Bank
    phase: Bank
    current: Bank

    @staticmethod
    def of(converters: Converters, circuit: BlockCircuit) -> "ConverterBanks":
        """Make the converters of a block; the same seed and name make the same ones."""
        block = circuit.block
        units = sum(layer.size for layer in block.layers)

        def bank(converter: Dac | Adc, n_channels: int, crossing: Crossing) -> Bank:
            return Bank(converter, n_channels, (converters.seed, zlib.crc32(block.name.encode()), int(crossing)))

        return ConverterBanks(
            input=bank(converters.input, block.n_inputs, Crossing.INPUT),
            output=bank(converters.output, block.n_outputs, Crossing.OUTPUT),
            nudge=bank(converters.nudge, block.n_outputs, Crossing.NUDGE),
            phase=bank(converters.phase, units, Crossing.PHASE),
            current=bank(converters.source_current, block.n_inputs, Crossing.CURRENT),
        )
