"""Time and energy of each phase of a block: from ngspice's `.tran`, until a converter could not tell the difference.

Phases follow one another as on a chip: inputs step from rest, then each nudge from the phase before it. A phase lasts
until its slowest sample has settled and is then held while ADCs take their turns; DACs set their levels at once.
"""

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from circuits.arrays import Floats
from circuits.capacitance import Capacitance, node_capacitances
from circuits.power import power_balance
from circuits.topology import Topology, analyse

from ..analog_block import AnalogBlock
from ..reduce import Reduce
from ..transients.integrator import Step, Waveforms
from ..transients.settling import settle
from .activity import BlockActivity, inference_activity
from .constants import Constants
from .conversion import BlockConverters, Conversions
from .equilibria import BlockStates, PhaseState
from .tolerances import PhaseReading, compared_free_reading, inference_reading, nudged_reading


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseCost:
    """Time and energy of one phase, means over the samples but for times.

    Args:
        sign: of the nudge: 0 in the free phase.
        tolerance_v: V — half a step of the ADC.
        tolerance_of: the bank whose half step that is; "devices" where only devices see the states.
        tolerance_a: A — half a step of the ADC of source currents; None where they are not read.
        settling_s: s — the slowest sample's.
        hold_s: s — until the last conversion of a converter has its turn; 0 where each does one, as the sampling
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
    tolerance_of: str
    tolerance_a: float | None
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


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseCosts:
    """What the phases of a block cost.

    Args:
        inference: its free phase, whose outputs alone are read.
        training: the phases of a training step, the free one first; that of an inference where there are no nudges, or
            two, as only a free phase that is compared with a nudged one is read like that.
    """

    inference: PhaseCost
    training: tuple[PhaseCost, ...]


def phase_costs(
    block: AnalogBlock,
    states: BlockStates,
    banks: BlockConverters,
    constants: Constants,
    training: BlockActivity | None = None,
) -> PhaseCosts:
    """Return what each phase of a block costs.

    Args:
        block: the block.
        states: its equilibria.
        banks: its converters.
        constants: capacitances, and how long a conversion takes.
        training: what a training step reads; None where there is none.

    Raises:
        SimulatorNotFound: if ngspice is not installed.
        ConvergenceError: for a phase that does not settle, naming the block.
    """
    built = block.circuit
    phases = _Phases(block, states, constants)
    rest = built.drives(np.zeros((len(states.free.drives), built.block.n_inputs)))
    outputs, (reads,) = inference_reading(block, states, banks), inference_activity(banks).reads
    inference = phases.cost(states.free, rest, outputs, reads, banks)
    if training is None or not states.nudged:
        return PhaseCosts(inference=inference, training=(inference,))
    everything = nudged_reading(block, states, banks)
    first, before = inference, states.free.drives
    if len(states.nudged) == 1:
        both = compared_free_reading(outputs, everything)
        first = phases.cost(states.free, rest, both, training.reads[0], banks)
    costs = [first]
    for phase, reads in zip(states.nudged, training.reads[1:], strict=True):
        costs.append(phases.cost(phase, before, everything, reads, banks))
        before = phase.drives
    return PhaseCosts(inference=inference, training=tuple(costs))


@final
class _Phases:
    """The phases of one block, with the capacitance of its nodes."""

    def __init__(self, block: AnalogBlock, states: BlockStates, constants: Constants) -> None:
        self._built, self._conductance_s = block.circuit, states.conductance_s
        self._topology = analyse(self._built.circuit)
        self._capacitance_f = node_capacitances(
            self._built.circuit, capacitance_of(constants), on_wires=self._built.wire_nodes
        )
        self._period_s = constants["adc_period"]

    def cost(
        self, phase: PhaseState, before: Floats, reading: PhaseReading, reads: Conversions, banks: BlockConverters
    ) -> PhaseCost:
        """Return the cost of a phase, which begins at the equilibrium of the drives before it."""
        step = Step(
            circuit=self._built.circuit,
            conductance_s=self._conductance_s,
            drives_before=before,
            drives_after=phase.drives,
            capacitance_f=self._capacitance_f,
        )
        settling = settle(step, reading, tolerance_v=reading.tolerance_v, reduce=Reduce.MIRROR, image=self._built.image)
        settling_s = float(settling.time_s.max())
        transient_j, stored_j = _transient(self._topology, step, settling.waveforms, settling_s)
        moved = settling.after_v - settling.before_v
        charging_j = float((_source_set(self._topology) * self._capacitance_f * moved**2).sum(axis=1).mean())
        hold_s = max(banks.turns(reads) - 1, 0) * self._period_s
        delivered_w = float(phase.power.delivered_w.mean())
        return PhaseCost(
            sign=phase.sign,
            tolerance_v=reading.tolerance_v,
            tolerance_of=reading.tolerance_of,
            tolerance_a=None if reading.currents is None else reading.currents.tolerance_a,
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
