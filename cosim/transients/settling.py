"""How long a circuit takes to settle after its drives step: until what is read stays within half a step of the ADC.

The window begins with what the linearised circuit needs from where it starts, and grows where a sample needs more.
Voltages come from ngspice's `.tran` by default, the two equilibria from newton.
"""

import math
from dataclasses import dataclass
from typing import Final, Protocol, final

import numpy as np

from circuits.arrays import Floats, Indices
from circuits.circuit import Circuit
from circuits.crossbar import UnitNodes
from circuits.topology import analyse
from netlists.lowering import lower

from ..errors import ConvergenceError, SimulationError
from ..reduce import Reduce
from ..simulators.newton import NewtonSimulator
from ..simulators.ngspice.transient import NgspiceIntegrator
from .integrator import AbstractIntegrator, Step, Waveforms
from .linearised import Linearised, linearise
from .reduced import follow

N_POINTS: Final = 240  # of the waveforms: between two of them the crossing is found by a straight line
GROWTH: Final = 3.0  # of the window
N_WINDOWS: Final = 4  # before it is given up
_MARGIN: Final = 1.5  # of the first window, over what the linearised circuit needs: clamps may let go on the way
_LONGEST: Final = 40.0  # time constants, in which anything that is measured has died out


class AbstractReading(Protocol):
    """What is read of a circuit: linear in its voltages, but for a constant. `UnitNodes` are such."""

    def state(self, voltage_v: Floats, v_unit_v: float) -> Floats:
        """Return [batch, n_read] readings of [batch, n_nodes] V, in v_unit."""


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Settling:
    """How a batch of samples settled.

    Args:
        time_s: [batch] s — from when on what is read stays within the tolerance of the new equilibrium; 0 where it
            never leaves it.
        waveforms: all node voltages from 0 to the end of the window.
        before_v, after_v: [batch, n_nodes] V — the equilibria.
        slowest_s, fastest_s: [batch] s — time constants at the new equilibrium.
    """

    time_s: Floats
    waveforms: Waveforms
    before_v: Floats
    after_v: Floats
    slowest_s: Floats
    fastest_s: Floats


def settle(
    step: Step,
    nodes: AbstractReading,
    *,
    tolerance_v: float,
    integrator: AbstractIntegrator | None = None,
    reduce: Reduce = Reduce.NONE,
    image: Indices | None = None,
) -> Settling:
    """Follow a circuit after a step of its drives until all that is read has settled.

    Args:
        step: circuit, parameters, capacitances, and the drives before and after.
        nodes: what is read: v_p of single nodes, (v_p - v_n) / 2 of pairs.
        tolerance_v: V — how near to its final value a reading counts as settled, half a step of the ADC.
        integrator: ngspice's `.tran` if left out.
        reduce: the furthest reduction of the circuit that is followed.
        image: [n_nodes] mirror image of each node, for `Reduce.MIRROR`.

    Returns:
        settling times, waveforms and equilibria.

    Raises:
        SimulationError: for a tolerance that is not above zero, or a circuit that cannot be followed.
        ConvergenceError: if a sample does not settle within the window, which has grown some times.
    """
    name = step.circuit.name
    if not (math.isfinite(tolerance_v) and tolerance_v > 0):
        raise SimulationError(
            f"block '{name}': tolerance_v = {tolerance_v!r} of the settling time; give a value above zero, half an LSB"
        )
    session = NewtonSimulator().prepare(lower(step.circuit)[0])
    before_v = session.solve(step.conductance_s, step.drives_before).voltage_v
    after_v = session.solve(step.conductance_s, step.drives_after).voltage_v
    linear = linearise(analyse(step.circuit), step.conductance_s, after_v, step.capacitance_f)
    final_v = nodes.state(after_v, 1.0)
    window_s = _first_window_s(linear, before_v - after_v, nodes, tolerance_v)
    for _ in range(N_WINDOWS):
        time_s = times_after_step(float((1.0 / linear.rate_per_s).min()), window_s)
        waveforms = follow(integrator or NgspiceIntegrator(), step, time_s, reduce=reduce, image=image)
        away_v = np.stack([nodes.state(v, 1.0) for v in waveforms.voltage_v]) - final_v[:, np.newaxis]
        away_v = np.abs(away_v).max(axis=2, initial=0.0)
        unsettled = away_v[:, -1] > tolerance_v
        if not unsettled.any():
            return Settling(
                time_s=_last_crossings_s(time_s, away_v, tolerance_v),
                waveforms=waveforms,
                before_v=before_v,
                after_v=after_v,
                slowest_s=linear.slowest_s,
                fastest_s=linear.time_constants_s[:, -1],
            )
        window_s *= GROWTH
    sample = int(np.argmax(away_v[:, -1]))
    raise ConvergenceError(
        f"block '{name}': {int(unsettled.sum())} of {len(step)} samples have not settled {time_s[-1]:.3g} s after the "
        f"step, {time_s[-1] / linear.slowest_s.max():.0f} times the slowest time constant; sample {sample} is still "
        f"{away_v[sample, -1]:.3g} V away, allowed {tolerance_v:.3g} V. Take a coarser converter, less capacitance or "
        "more leak; or its diodes are far from their new state, where they conduct little"
    )


def settling_times_s(
    circuit: Circuit,
    conductance_s: Floats,
    drives_before: Floats,
    drives_after: Floats,
    capacitance_f: Floats,
    *,
    tolerance_v: float,
    nodes: UnitNodes,
) -> Floats:
    """Return how long each sample takes to settle, by ngspice's `.tran` of the plain circuit: `settle` in short.

    Args:
        circuit: without capacitors of its own.
        conductance_s: [n_resistors] S.
        drives_before: [batch, n_drives] V then A — up to t = 0, at equilibrium.
        drives_after: [batch, n_drives] V then A — from t = 0 on.
        capacitance_f: [n_nodes] F — of each node to ground.
        tolerance_v: V — half a step of the ADC.
        nodes: what is read.

    Returns:
        [batch] s.

    Raises:
        SimulationError: as `settle`.
    """
    step = Step(
        circuit=circuit,
        conductance_s=conductance_s,
        drives_before=drives_before,
        drives_after=drives_after,
        capacitance_f=capacitance_f,
    )
    return settle(step, nodes, tolerance_v=tolerance_v).time_s


def times_after_step(fastest_s: float, window_s: float, n_points: int = N_POINTS) -> Floats:
    """Return times that show both what is fast and what is slow: 0, then half in geometric and half in even steps.

    Args:
        fastest_s: s — the smallest time constant; the first step is a fifth of it.
        window_s: s — the last time.
        n_points: how many.
    """
    n = max(2, n_points // 2)
    first_s = min(fastest_s / 5.0, window_s / 4.0)
    geometric, even = np.geomspace(first_s, window_s, n), np.linspace(0.0, window_s, n)
    merged = np.unique(np.concatenate([geometric, even]))
    apart = np.diff(merged, prepend=-np.inf) > 1e-9 * window_s  # the same time from both, but for rounding
    merged = merged[apart]
    merged[-1] = window_s
    return np.asarray(merged)


def _first_window_s(linear: Linearised, displaced_v: Floats, nodes: AbstractReading, tolerance_v: float) -> float:
    """Return the time that the linearised circuit takes from the displacement to the tolerance, and some more.

    Modes that the displacement does not excite, such as p and n moving together, take no part.
    """
    fastest_s, slowest_s = float(linear.time_constants_s[:, -1].min()), float(linear.slowest_s.max())
    time_s = np.geomspace(fastest_s, _LONGEST * slowest_s, N_POINTS)
    left_v = (nodes.state(linear.decay(displaced_v, time_s[k : k + 1])[:, 0], 1.0) for k in range(N_POINTS))
    outside = np.flatnonzero([np.abs(v).max(initial=0.0) > tolerance_v for v in left_v])
    return _MARGIN * float(time_s[outside[-1]] if len(outside) else fastest_s)


def _last_crossings_s(time_s: Floats, away_v: Floats, tolerance_v: float) -> Floats:
    """Return when each sample comes within the tolerance for the last time, [batch] s."""
    outside = away_v > tolerance_v
    last = len(time_s) - 1 - np.argmax(outside[:, ::-1], axis=1)  # of the points that are outside
    sample, later = np.arange(len(away_v)), np.minimum(last + 1, len(time_s) - 1)
    before_v, after_v = away_v[sample, last], away_v[sample, later]
    # Differences decay exponentially: a straight line through their logarithms.
    tiny = np.finfo(float).tiny
    span = np.log(np.maximum(before_v, tiny) / np.maximum(after_v, tiny))
    share = np.log(np.maximum(before_v, tiny) / tolerance_v) / np.where(span > 0, span, 1.0)
    crossing = time_s[last] + np.clip(share, 0.0, 1.0) * (time_s[later] - time_s[last])
    return np.where(outside.any(axis=1), crossing, 0.0)
