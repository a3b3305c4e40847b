"""Sources that do not give what they are asked for: gain and offset of inputs, nudges and bias rows."""

from dataclasses import dataclass, replace
from typing import final

import numpy as np

from .arrays import Floats, frozen_indices
from .block_circuit import BlockCircuit
from .devices.ranges import require_finite, require_not_negative
from .drive_errors import DriveErrors
from .errors import CircuitError


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SourceErrors:
    """Errors of the sources of inputs, nudges and bias rows, of which every node has one of its own.

    Equation: value = (1 + gain_error + gain_std xi) asked + (offset + offset_std xi') unit, xi and xi' standard normal,
    drawn once a source; the unit is v_unit of a voltage source and g_unit v_unit of a current source.

    Args:
        gain_error: common to all; None for none.
        gain_std: standard deviation between sources; None for none.
        offset: in units, common to all; None for none.
        offset_std: standard deviation between sources, in units; None for none.
        seed: of the construction.

    Raises:
        CircuitError: for a gain of zero or below, or a negative standard deviation.
    """

    gain_error: float | None = None
    gain_std: float | None = None
    offset: float | None = None
    offset_std: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        where = "source errors"
        for name in ("gain_error", "offset"):
            if getattr(self, name) is not None:
                require_finite(where, **{name: getattr(self, name)})
        for name in ("gain_std", "offset_std"):
            if getattr(self, name) is not None:
                require_not_negative(where, **{name: getattr(self, name)})
        if self.gain_error is not None and self.gain_error <= -1:
            raise CircuitError(f"{where}: gain_error = {self.gain_error!r} leaves no gain; give a number above -1")

    def draw(self, n: int, generator: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw gain and offset, in units, of n sources: two of [n]."""
        of_gain, of_offset = generator.spawn(2)
        gain = np.full(n, 1.0 + (self.gain_error or 0.0))
        offset = np.full(n, self.offset or 0.0)
        if self.gain_std is not None:
            gain += self.gain_std * of_gain.standard_normal(n)
        if self.offset_std is not None:
            offset += self.offset_std * of_offset.standard_normal(n)
        return gain, offset


def disturb_sources(block_circuit: BlockCircuit, errors: SourceErrors, generator: np.random.Generator) -> BlockCircuit:
    """Return a block whose sources were drawn.

    Args:
        block_circuit: the block as designed.
        errors: of its sources.
        generator: of the construction.

    Returns:
        the block as made: its driven sources answer to `BlockCircuit.drives` with errors, and so do its bias rows.
        Rails have their own spread, see `NeuronSpread`.
    """
    of_drives, of_bias = generator.spawn(2)
    circuit, block = block_circuit.circuit, block_circuit.block
    n_voltage, n_current = len(circuit.driven_voltage_sources), len(circuit.driven_current_sources)
    gain, offset = errors.draw(n_voltage + n_current, of_drives)
    unit = np.concatenate([np.full(n_voltage, block.v_unit_v), np.full(n_current, block.g_unit_s * block.v_unit_v)])
    if block_circuit.bias is not None:
        sources = circuit.voltage_sources
        nodes = [n for n in (block_circuit.bias.p, block_circuit.bias.n) if n is not None]
        rows = np.flatnonzero(np.isin(sources.plus, np.concatenate(nodes)) & ~sources.driven)
        bias_gain, bias_offset = errors.draw(len(rows), of_bias)
        voltage_v = sources.voltage_v.copy()
        voltage_v[rows] = voltage_v[rows] * bias_gain + bias_offset * block.v_unit_v
        circuit = replace(circuit, voltage_sources=replace(sources, voltage_v=voltage_v))
    return replace(
        block_circuit,
        circuit=circuit,
        drive_errors=DriveErrors(gain=gain, offset=offset * unit),
        image=frozen_indices(()),
    )
