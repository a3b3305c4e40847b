"""What must have settled before a phase ends, and how near: half a step of the ADC that reads it.

Where devices form the conductance gradients themselves no ADC reads states; they settle as for one with the bits of
the phase ADC, so that both ways to train are priced at the same accuracy.
"""

from dataclasses import dataclass
from typing import Final, final

import numpy as np

from circuits.arrays import Floats
from circuits.block_circuit import BlockCircuit
from circuits.crossbar import UnitNodes

from ..analog_block import AnalogBlock
from ..converters import Adc, Crossing, lsb
from ..phase_settings import DifferenceRead
from .conversion import BlockConverters
from .equilibria import BlockStates, PhaseState

_ZERO: Final = 1e-15  # of a difference between phases: nothing moved
DEVICES: Final = "devices"  # which no ADC reads


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SourceCurrents:
    """The currents of the input sources of a voltage-driven block, where an ADC reads them.

    Args:
        built: the block.
        conductance_s: [n_resistors] S.
        tolerance: half a step of their ADC, in g_unit v_unit.
    """

    built: BlockCircuit
    conductance_s: Floats
    tolerance: float

    @property
    def tolerance_a(self) -> float:
        """A — half a step of their ADC."""
        return self.tolerance * self.built.block.g_unit_s * self.built.block.v_unit_v


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PhaseReading:
    """What is read in a phase; it is settled when states are within their tolerance and currents within theirs.

    Args:
        units: whose states are read.
        tolerance_v: V — how near to the equilibrium they must be.
        tolerance_of: the bank whose half step that is, or `DEVICES`.
        currents: of sources, read too; None where they are not.
    """

    units: UnitNodes
    tolerance_v: float
    tolerance_of: str
    currents: SourceCurrents | None = None

    def state(self, voltage_v: Floats, v_unit_v: float) -> Floats:
        """Return states, then currents in the scale in which their tolerance is that of states: [batch, n_read]."""
        states = self.units.state(voltage_v, v_unit_v)
        if self.currents is None:
            return states
        read = self.currents.built.input_currents(self.currents.conductance_s, voltage_v)
        scaled = read * (self.tolerance_v / self.currents.tolerance / v_unit_v)
        return np.concatenate([states, scaled], axis=1)


def inference_reading(block: AnalogBlock, states: BlockStates, banks: BlockConverters) -> PhaseReading:
    """Return what an inference reads: the outputs."""
    built = block.circuit
    outputs = _joined(tuple(built.layers[k] for k in built.block.output_layers))
    return PhaseReading(
        units=outputs, tolerance_v=free_tolerance_v(block, states, banks), tolerance_of=banks.output.name
    )


def nudged_reading(block: AnalogBlock, states: BlockStates, banks: BlockConverters) -> PhaseReading:
    """Return what is read in the two phases that are compared: every layer, and source currents if there is an ADC."""
    built, currents = block.circuit, None
    if banks.current.channels:
        first, last = (built.input_currents(states.conductance_s, phase.voltage_v) for phase in _compared(states))
        crossings = Crossing.CURRENT, Crossing.CURRENT_DIFFERENCE
        step = _step(block, block.converters.source_current, banks.current.bits, crossings, first, last)
        currents = SourceCurrents(built=built, conductance_s=states.conductance_s, tolerance=step / 2.0)
    return PhaseReading(
        units=_joined(built.layers),
        tolerance_v=nudged_tolerance_v(block, states, banks),
        tolerance_of=banks.phase.name if banks.phase.channels else DEVICES,
        currents=currents,
    )


def compared_free_reading(inference: PhaseReading, nudged: PhaseReading) -> PhaseReading:
    """Return what is read in a free phase that is compared with a nudged one: all, to the finer of both tolerances."""
    finer = min(inference, nudged, key=lambda reading: reading.tolerance_v)
    return PhaseReading(
        units=nudged.units,
        tolerance_v=finer.tolerance_v,
        tolerance_of=finer.tolerance_of,
        currents=nudged.currents,
    )


def free_tolerance_v(block: AnalogBlock, states: BlockStates, banks: BlockConverters) -> float:
    """Return half a step of the ADC of the outputs, V."""
    adc, largest = block.converters.output, float(np.abs(block.circuit.outputs(states.free.voltage_v)).max())
    scale = adc.full_scale or _found(block, Crossing.OUTPUT) or largest
    return lsb(banks.output.bits, scale) / 2.0 * block.block.v_unit_v


def nudged_tolerance_v(block: AnalogBlock, states: BlockStates, banks: BlockConverters) -> float:
    """Return half a step of the ADC that reads the nudged phases, or their difference, V."""
    units, v_unit_v = _joined(block.circuit.layers), block.block.v_unit_v
    first, last = (units.state(phase.voltage_v, v_unit_v) for phase in _compared(states))
    crossings = Crossing.PHASE, Crossing.DIFFERENCE
    return _step(block, block.converters.phase, banks.phase.bits, crossings, first, last) / 2.0 * v_unit_v


def _step(
    block: AnalogBlock, adc: Adc, bits: int, crossings: tuple[Crossing, Crossing], first: Floats, last: Floats
) -> float:
    """Return the step by which two phases are read; a held difference is ranged from the data, fixed scale or not."""
    each, difference = crossings
    if block.settings.difference_read is DifferenceRead.SAMPLE_AND_HOLD:
        scale = _found(block, difference) or float(np.abs(last - first).max())
    else:
        scale = adc.full_scale or _found(block, each) or float(np.abs(last).max())
    return lsb(bits, max(scale, _ZERO))


def _compared(states: BlockStates) -> tuple[PhaseState, PhaseState]:
    """Return the two phases that are compared."""
    return (states.nudged[0] if len(states.nudged) > 1 else states.free), states.phases[-1]


def _found(block: AnalogBlock, crossing: Crossing) -> float:
    """Return the full scale that training found; 0 if none."""
    return float(block.get_buffer("converter_ranges")[crossing])


def _joined(layers: tuple[UnitNodes, ...]) -> UnitNodes:
    """Return the units of some layers as one group."""
    n = [layer.n for layer in layers if layer.n is not None]
    return UnitNodes(p=np.concatenate([layer.p for layer in layers]), n=np.concatenate(n) if n else None)
