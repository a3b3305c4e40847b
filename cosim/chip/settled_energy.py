"""Time and energy of each phase of a block: from ngspice's `.tran`, until a converter could not tell the difference.

Phases follow one another as on a chip: inputs step from rest, then each nudge from the phase before it. A phase lasts
until its slowest sample has settled and is then held while converters take their turns.
"""

from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np

from circuits.arrays import Floats
from circuits.block_circuit import BlockCircuit
from circuits.capacitance import Capacitance, node_capacitances
from circuits.crossbar import UnitNodes
from circuits.power import power_balance
from circuits.topology import Topology, analyse

from ..analog_block import AnalogBlock
from ..converters import Adc, Crossing, lsb
from ..phase_settings import DifferenceRead
from ..reduce import Reduce
from ..transients.integrator import Step, Waveforms
from ..transients.settling import settle
from .constants import Constants
from .conversion import BlockConverters
from .equilibria import BlockStates, PhaseState

_ZERO: Final = 1e-15  # of a difference between phases: nothing moved


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseCost:
    """Time and energy of one phase, means over the samples but for times.

    Args:
        sign: of the nudge: 0 in the free phase.
        tolerance_v: V — half a step of the ADC.
        settling_s: s — the slowest sample's.
        hold_s: s — until the last channel of a converter has its turn; 0 where each has its own, as the sampling
            capacitor belongs to the node that settles.
        transient_j: J — drawn from supplies while it settles.
        held_j: J — drawn while it is held.
        charging_j: J — drawn to move the rows that ideal sources set, C dV^2 each.
        stored_j: J — by which the energy in capacitors, C V^2 / 2, grows; it is part of what was drawn.
        delivered_w: W — drawn from supplies at the equilibrium.
        active_w: W — of it by active leaks, and amplifiers if there are any.
        resistors_w, diodes_w: W — dissipated in them.
        absorbed_w: W — absorbed by sources, rails above all, and not given back.
    """

    sign: int
    tolerance_v: float
    settling_s: float
    hold_s: float
    transient_j: float
    held_j: float
    charging_j: float
    stored_j: float
    delivered_w: float
    active_w: float
    resistors_w: float
    diodes_w: float
    absorbed_w: float

    @property
    def energy_j(self) -> float:
        """J — all that is drawn."""
        return self.transient_j + self.held_j + self.charging_j

    def to_json(self) -> dict[str, Any]:
        """Return every number, the energy too."""
        return {**{name: getattr(self, name) for name in self.__dataclass_fields__}, "energy_j": self.energy_j}


def capacitance_of(constants: Constants) -> Capacitance:
    """Return the capacitance of nodes, devices and junctions that the constants say."""
    return Capacitance(
        node_f=constants["node_capacitance"],
        device_f=constants["device_capacitance"],
        junction_f=constants["junction_capacitance"],
    )


def chip_capacitances(built: BlockCircuit, constants: Constants) -> Floats:
    """Return the capacitance of every node to ground, [n_nodes] F; nodes on wires have no converter's.

    Args:
        built: the block.
        constants: capacitance of nodes, devices and junctions.
    """
    total = node_capacitances(built.circuit, capacitance_of(constants)).copy()
    total[built.wire_nodes] -= constants["node_capacitance"]
    return total


def phase_costs(
    block: AnalogBlock, states: BlockStates, banks: BlockConverters, constants: Constants
) -> tuple[PhaseCost, ...]:
    """Return what each phase of a block costs, the free one first.

    Args:
        block: the block.
        states: its equilibria.
        banks: its converters.
        constants: capacitances, and how long a conversion takes.

    Raises:
        SimulatorNotFound: if ngspice is not installed.
        ConvergenceError: for a phase that does not settle, naming the block.
    """
    built = block.circuit
    topology = analyse(built.circuit)
    capacitance_f = chip_capacitances(built, constants)
    before = built.drives(np.zeros((len(states.free.drives), built.block.n_inputs)))
    costs = []
    for phase in states.phases:
        is_free = phase.sign == 0
        nodes = _outputs(built) if is_free else _joined(built.layers)
        tolerance_v = free_tolerance_v(block, states, banks) if is_free else nudged_tolerance_v(block, states, banks)
        step = Step(
            circuit=built.circuit,
            conductance_s=states.conductance_s,
            drives_before=before,
            drives_after=phase.drives,
            capacitance_f=capacitance_f,
        )
        settling = settle(step, nodes, tolerance_v=tolerance_v, reduce=Reduce.MIRROR, image=built.image)
        settling_s = float(settling.time_s.max())
        read = (banks.output,) if is_free else (banks.phase, banks.current)
        turns = max((bank.channels_per_converter for bank in read if bank.channels), default=1)
        transient_j, stored_j = _transient(topology, step, settling.waveforms, settling_s)
        moved = settling.after_v - settling.before_v
        charging_j = float((_source_set(topology) * capacitance_f * moved**2).sum(axis=1).mean())
        hold_s = (turns - 1) * constants["adc_period"]
        delivered_w = float(phase.power.delivered_w.mean())
        costs.append(
            PhaseCost(
                sign=phase.sign,
                tolerance_v=tolerance_v,
                settling_s=settling_s,
                hold_s=hold_s,
                transient_j=transient_j,
                held_j=delivered_w * hold_s,
                charging_j=charging_j,
                stored_j=stored_j,
                delivered_w=delivered_w,
                active_w=float((phase.power.active_w + phase.power.amplifiers_w).mean()),
                resistors_w=float(phase.power.resistors_w.mean()),
                diodes_w=float(phase.power.diodes_w.mean()),
                absorbed_w=float(phase.power.absorbed_w.mean()),
            )
        )
        before = phase.drives
    return tuple(costs)


def _source_set(topology: Topology) -> Floats:
    """Return [n_nodes] 1 where ideal sources alone set the voltage, 0 elsewhere."""
    return np.asarray(topology.unknown_of_node < 0, dtype=np.float64)


def _transient(topology: Topology, step: Step, waveforms: Waveforms, until_s: float) -> tuple[float, float]:
    """Return what supplies deliver until a time, and by how much the charge of free nodes has grown: mean J.

    Equation: E = int_0^t sum of delivered powers dt; capacitors at free nodes draw theirs through resistors, and are in
    it. Rows step at t = 0, so that the first point has free nodes as before and rows as after.
    """
    time_s = waveforms.time_s
    fixed = topology.unknown_of_node < 0
    drawn, stored = [], []
    for k, voltage_v in enumerate(waveforms.voltage_v):
        states = voltage_v.copy()
        states[0, fixed] = states[-1, fixed]
        drives = np.repeat(step.drives_after[k : k + 1], len(time_s), axis=0)
        power_w = power_balance(topology, step.conductance_s, drives, states).delivered_w
        drawn.append(integral_until(time_s, power_w, until_s))
        energy_j = ((states**2) @ (step.capacitance_f * ~fixed)) / 2.0
        stored.append(float(np.interp(until_s, time_s, energy_j) - energy_j[0]))
    return float(np.mean(drawn)), float(np.mean(stored))


def integral_until(time_s: Floats, values: Floats, until_s: float) -> float:
    """Return the integral of a piecewise linear function from its first time to a later one."""
    inside = time_s < until_s
    times = np.append(time_s[inside], until_s)
    return float(np.trapezoid(np.append(values[inside], np.interp(until_s, time_s, values)), times))


def _outputs(built: BlockCircuit) -> UnitNodes:
    return _joined(tuple(built.layers[k] for k in built.block.output_layers))


def _joined(layers: tuple[UnitNodes, ...]) -> UnitNodes:
    """Return the units of some layers as one group."""
    n = [layer.n for layer in layers if layer.n is not None]
    return UnitNodes(p=np.concatenate([layer.p for layer in layers]), n=np.concatenate(n) if n else None)


def free_tolerance_v(block: AnalogBlock, states: BlockStates, banks: BlockConverters) -> float:
    """Return half a step of the ADC of the outputs, V."""
    largest = float(np.abs(block.circuit.outputs(states.free.voltage_v)).max())
    scale = _in_force(block, block.converters.output, Crossing.OUTPUT, largest)
    return lsb(banks.output.bits, scale) / 2.0 * block.block.v_unit_v


def nudged_tolerance_v(block: AnalogBlock, states: BlockStates, banks: BlockConverters) -> float:
    """Return half a step of the ADC that reads the nudged phases, or their difference, V."""
    held = block.settings.difference_read is DifferenceRead.SAMPLE_AND_HOLD
    nodes = _joined(block.circuit.layers)
    v_unit_v = block.block.v_unit_v
    first, last = (_state(nodes, phase, v_unit_v) for phase in _compared(states))
    largest = float(np.abs(last - first).max() if held else np.abs(last).max())
    crossing = Crossing.DIFFERENCE if held else Crossing.PHASE
    adc = block.converters.phase
    scale = largest if held and adc.full_scale is not None else _in_force(block, adc, crossing, largest)
    return lsb(banks.phase.bits, max(scale, _ZERO)) / 2.0 * v_unit_v


def _compared(states: BlockStates) -> tuple[PhaseState, PhaseState]:
    """Return the two phases that are compared."""
    return (states.nudged[0] if len(states.nudged) > 1 else states.free), states.phases[-1]


def _state(nodes: UnitNodes, phase: PhaseState, v_unit_v: float) -> Floats:
    return nodes.state(phase.voltage_v, v_unit_v)


def _in_force(block: AnalogBlock, adc: Adc, crossing: Crossing, largest: float) -> float:
    """Return an ADC's full scale: its own, the one found in training, or the largest value at hand."""
    found = float(block.get_buffer("converter_ranges")[crossing])
    return adc.full_scale or found or largest
