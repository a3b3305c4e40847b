"""Follow a circuit in time through an exact reduction: rows folded away, or the p half of a mirrored circuit.

Both are as exact in time as at equilibrium: an ideal row is at its source's voltage at any time, and of a mirrored
circuit whose capacitances are mirrored too, v_n = -v_p holds at any time. Wires keep their nodes, which take time.
"""

from dataclasses import dataclass, replace
from typing import final

import numpy as np

from circuits.arrays import Floats, Indices, no_indices
from circuits.circuit import Circuit
from circuits.reductions import AbstractProgram, AbstractReduction, Chain, fold, mirror

from ..reduce import Reduce
from .integrator import AbstractIntegrator, Step, Waveforms


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ReducedStep:
    """A step of a reduced circuit, and the way back to all nodes.

    Args:
        step: of the circuit that is left.
        program: the reduction with its conductances.
        full: the step of the full circuit.
    """

    step: Step
    program: AbstractProgram
    full: Step

    def expanded(self, waveforms: Waveforms) -> Waveforms:
        """Return the waveforms of the full circuit."""
        voltage_v = np.stack(
            [
                self.program.expand(self.full.drives_after if time > 0 else self.full.drives_before, v)
                for time, v in zip(waveforms.time_s, waveforms.voltage_v.swapaxes(0, 1), strict=True)
            ],
            axis=1,
        )
        return Waveforms(time_s=waveforms.time_s, voltage_v=voltage_v)


def reduce_step(step: Step, reduce: Reduce, image: Indices | None = None) -> ReducedStep | None:
    """Reduce a step as far as is asked for and exact.

    Args:
        step: of a full circuit.
        reduce: the furthest reduction; wires stay.
        image: [n_nodes] mirror image of each node; None or empty where the circuit has none.

    Returns:
        the reduced step; None where nothing can be reduced.
    """
    wanted = [] if reduce is Reduce.NONE else [Reduce.FOLD]
    if reduce is Reduce.MIRROR:
        wanted.insert(0, Reduce.MIRROR)
    for kind in wanted:
        reduction = _reduction(step, kind, no_indices() if image is None else image)
        program = None if reduction is None else reduction.program(step.conductance_s)
        both = np.concatenate([step.drives_before, step.drives_after])
        if reduction is None or program is None or not program.applies_to(both):
            continue
        reduced = replace(
            step,
            circuit=reduction.reduced,
            conductance_s=program.conductance_s,
            drives_before=program.drives(step.drives_before),
            drives_after=program.drives(step.drives_after),
            capacitance_f=step.capacitance_f[reduction.kept_nodes],
        )
        return ReducedStep(step=reduced, program=program, full=step)
    return None


def follow(
    integrator: AbstractIntegrator,
    step: Step,
    time_s: Floats,
    *,
    reduce: Reduce = Reduce.NONE,
    image: Indices | None = None,
) -> Waveforms:
    """Follow every sample of a circuit after its step.

    Args:
        integrator: what integrates.
        step: circuit, parameters, capacitances, and the drives before and after.
        time_s: [n_t] s — when voltages are wanted.
        reduce: the furthest reduction; none by default: the plain circuit, device by device.
        image: [n_nodes] mirror image of each node; None or empty where the circuit has none.

    Returns:
        the waveforms of all nodes.

    Raises:
        SimulationError: as `AbstractIntegrator.follow`.
    """
    reduced = reduce_step(step, reduce, image)
    if reduced is None:
        return integrator.follow(step, time_s)
    return reduced.expanded(integrator.follow(reduced.step, time_s))


def _reduction(step: Step, kind: Reduce, image: Indices) -> AbstractReduction | None:
    """Return a reduction of the circuit's wiring; None where its condition fails, for capacitances too."""
    circuit: Circuit = step.circuit
    if kind is Reduce.FOLD:
        return fold(circuit)
    if not len(image) or not np.array_equal(step.capacitance_f, step.capacitance_f[image]):
        return None
    half = mirror(circuit, image)
    folded = None if half is None else fold(half.reduced)
    return half if half is None or folded is None else Chain(first=half, second=folded)
