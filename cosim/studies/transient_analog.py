"""A circuit's gradients in time: two `.tran` a sample at -beta and +beta, against the linearised circuit.

What is read of a device is dF/dg = V^2/2 + k3 V^4/4 from the voltage across it, and of an input its current by the
devices' laws: currents into capacitances are in neither.
"""

from dataclasses import dataclass, field
from typing import Final, final

import numpy as np
import torch
from torch import Tensor

from circuits.arrays import Floats, Indices
from circuits.capacitance import Capacitance, node_capacitances
from circuits.cocontent import response_gradient
from circuits.topology import Topology, analyse, incidence_matrix

from ..analog_block import AnalogBlock
from ..block_input import check_input, checked_gradient
from ..equilibrium_propagation import Response, input_gradient, response
from ..errors import ConvergenceError, StudyError
from ..phase_settings import NudgeScaling
from ..reduce import Reduce
from ..relaxation import Relaxation
from ..simulators.ngspice.transient import NgspiceIntegrator
from ..transients.integrator import Step
from ..transients.linearised import Linearised, linearise, slowest_of_pairs_s
from ..transients.reduced import follow
from ..transients.settling import times_after_step
from .transient_blocks import AbstractBlockInTime
from .transient_curves import BlockTimes, Curves

SHARE: Final = 1e-6  # error of a step in time that is allowed, of the largest change that the nudge makes,
LEAST_ACCURACY_V, MOST_ACCURACY_V = 1e-12, 1e-6  # within what ngspice's own tolerances can give, and what makes sense
UNSETTLED: Final = 1e-2  # of the nudge's change: a circuit further than that from its equilibrium has not settled
LONGEST: Final = 40.0  # time constants, in which anything that is measured has died out
N_TRIED: Final = 400  # times, from which the end of the window is chosen
TINY: Final = 1e-300


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TransientSettings:
    """How blocks are followed in time.

    Args:
        beta: nudge of circuits; its bias is of order (response / n V_t)^2, and ngspice takes steps as fine as it needs.
        hopfield_beta: nudge of hopfield blocks, whose states are piecewise linear: it has no bias as long as no unit
            enters or leaves its box, so the smaller the better until round-off.
        capacitance: of circuits' nodes and devices.
        spread: how unequal the nodes are: each has its capacitance times exp(spread u), u drawn from -1 to 1.
        remainder: of the response to the nudge, when a circuit counts as converged and its error goes upstream.
        n_times: at which gradients are taken.
        reduce: the furthest reduction of the circuits that ngspice follows; none: every device is in the deck.
        seed: of the spread.

    Raises:
        StudyError: for numbers that make no sense.
    """

    beta: float = 1e-3
    hopfield_beta: float = 1e-6
    capacitance: Capacitance = field(default_factory=Capacitance)
    spread: float = 0.0
    remainder: float = 1e-5
    n_times: int = 80
    reduce: Reduce = Reduce.NONE
    seed: int = 0

    def __post_init__(self) -> None:
        for beta in (self.beta, self.hopfield_beta):
            if not (np.isfinite(beta) and beta > 0):
                raise StudyError(f"transient: beta = {beta!r}; give a finite value above zero, as 1e-3")
        if not (np.isfinite(self.spread) and self.spread >= 0):
            raise StudyError(f"transient: spread = {self.spread!r} of the capacitances; give zero or more")
        if not 0 < self.remainder < 1 or self.n_times < 4:
            raise StudyError(
                f"transient: remainder = {self.remainder!r} of the response at {self.n_times} times; give a share "
                "between 0 and 1, and four times or more"
            )


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Free:
    """The free equilibrium of a batch, linearised."""

    x: Floats
    drives: Floats
    voltage_v: Floats
    linear: Linearised
    slowest_s: float
    shape: tuple[int, ...]


@final
class AnalogInTime(AbstractBlockInTime):
    """A circuit in ngspice.

    Args:
        block: with ideal converters; its simulator finds the free equilibrium.
        settings: nudge, capacitances and window.
    """

    def __init__(self, block: AnalogBlock, settings: TransientSettings) -> None:
        self._block, self._settings = block, settings
        self._circuit = block.circuit
        self._topology: Topology = analyse(block.circuit.circuit)
        self._conductance_s = block.conductances()
        self._capacitance_f = _spread_capacitances(block, settings)
        self._free: _Free | None = None
        self._time_s: Floats = np.zeros(0)  # from the first nudge on

    @property
    def name(self) -> str:
        """Name of the block."""
        return self._block.block.name

    @property
    def times(self) -> BlockTimes:
        """Its time constants in the free equilibrium, the extremes over the samples, and the window."""
        free = self._equilibrium
        return BlockTimes(
            block=self.name,
            beta=self._settings.beta,
            window=float(self._time_s[-1]),
            slowest_s=free.slowest_s,
            fastest_s=float(free.linear.time_constants_s.min()),
        )

    @property
    def clamped_share(self) -> float:
        """Share of the units at a clamp in the free equilibrium."""
        return self._circuit.clamped_share(self._equilibrium.voltage_v)

    @property
    def _equilibrium(self) -> _Free:
        if self._free is None:
            raise StudyError(f"block '{self.name}': not relaxed yet")
        return self._free

    def relax(self, x: Tensor) -> Tensor:
        """Find the free equilibrium and linearise it; see `AbstractBlockInTime.relax`."""
        check_input(self._block.block, x)
        flat = x.flatten(1).double().numpy()
        drives = self._circuit.drives(flat)
        relaxation = Relaxation.of_block(self._circuit, self._block.simulator, self._block.relaxation_options)
        voltage_v = relaxation.solve(self._conductance_s, drives).voltage_v
        relaxation.close()
        linear = linearise(self._topology, self._conductance_s, voltage_v, self._capacitance_f)
        slowest_s = slowest_of_pairs_s(
            self._topology, self._conductance_s, voltage_v, self._capacitance_f, self._circuit.layers
        )
        self._free = _Free(
            x=flat,
            drives=drives,
            voltage_v=voltage_v,
            linear=linear,
            slowest_s=float(slowest_s.max()),
            shape=tuple(x.shape),
        )
        return torch.from_numpy(self._circuit.outputs(voltage_v)).reshape(len(x), *self._block.block.output_shape)

    def estimate(self, ds: Tensor) -> tuple[Curves, Tensor]:
        """Follow the circuit at -beta and +beta; see `AbstractBlockInTime.estimate`."""
        beta = self._settings.beta
        gradient = checked_gradient(self._block.block, ds)
        largest = np.abs(gradient).max(axis=1)
        scaled = self._block.settings.scaling is NudgeScaling.PER_SAMPLE
        scale = np.where(largest > 0, largest, 1.0) if scaled else np.ones(len(gradient))
        nudge = beta * gradient / scale[:, np.newaxis]
        time_s = self._times(gradient)
        moved_v = float(np.abs(self._moved(nudge, np.array([np.inf]))).max())
        integrator = NgspiceIntegrator(accuracy_v=min(max(SHARE * moved_v, LEAST_ACCURACY_V), MOST_ACCURACY_V))
        phases = []
        for sign in (-1.0, 1.0):
            step = self._step(sign * nudge)
            phases.append(
                follow(integrator, step, time_s, reduce=self._settings.reduce, image=self._circuit.image).voltage_v
            )
            self._require_settled(step, phases[-1][:, -1], moved_v)
        first_v, second_v = phases
        return self._curves([response(first_v[:, k], second_v[:, k], -beta, beta, scale) for k in range(len(time_s))])

    def differentiate(self, ds: Tensor) -> tuple[Curves, Tensor]:
        """Take the response of the linearised circuit; see `AbstractBlockInTime.differentiate`."""
        free, gradient = self._equilibrium, checked_gradient(self._block.block, ds)
        moved_v = self._moved(gradient, self._times(gradient))
        return self._curves([Response(mean_v=free.voltage_v, response_v=v) for v in moved_v.swapaxes(0, 1)])

    def _times(self, gradient: Floats) -> Floats:
        """Return the times at which gradients are taken, up to where the response to a first nudge has converged."""
        if not len(self._time_s):
            linear = self._equilibrium.linear
            fastest_s = float(linear.time_constants_s.min())
            tried_s = np.geomspace(fastest_s, LONGEST * float(linear.slowest_s.max()), N_TRIED)
            moved_v, end_v = self._moved(gradient, tried_s), self._moved(gradient, np.array([np.inf]))
            left = np.linalg.norm(moved_v - end_v, axis=2) / np.maximum(np.linalg.norm(end_v, axis=2), TINY)
            outside = np.flatnonzero(left.max(axis=0) > self._settings.remainder)
            window_s = tried_s[min(outside[-1] + 1, N_TRIED - 1)] if len(outside) else fastest_s
            self._time_s = times_after_step(fastest_s, float(window_s), self._settings.n_times)
        return self._time_s

    def _require_settled(self, step: Step, end_v: Floats, moved_v: float) -> None:
        """Raise ConvergenceError if a circuit is not where its equilibrium is at the end of the window."""
        relaxation = Relaxation.of_block(self._circuit, self._block.simulator, self._block.relaxation_options)
        settled_v = relaxation.solve(self._conductance_s, step.drives_after, start_v=end_v).voltage_v
        relaxation.close()
        away_v = float(np.abs(end_v - settled_v).max())
        if away_v > UNSETTLED * moved_v:
            raise ConvergenceError(
                f"block '{self.name}': {self._time_s[-1]:.3g} s after the nudge it is still {away_v:.3g} V from its "
                f"equilibrium, of {moved_v:.3g} V that the nudge moves it by the linearised circuit; beta = "
                f"{self._settings.beta:g} drives its clamps too far, lower it"
            )

    def _step(self, nudge: Floats) -> Step:
        free = self._equilibrium
        return Step(
            circuit=self._circuit.circuit,
            conductance_s=self._conductance_s,
            drives_before=free.drives,
            drives_after=self._circuit.drives(free.x, nudge),
            capacitance_f=self._capacitance_f,
        )

    def _moved(self, nudge: Floats, time_s: Floats) -> Floats:
        """Return how far a nudge has moved the nodes, -lambda(t): [batch, n_t, n_nodes] V."""
        circuit = self._circuit.circuit
        change = self._circuit.drive_change(nudge)
        _, current_a = circuit.source_values(change)
        _, rest_a = circuit.source_values(np.zeros_like(change))
        branches = incidence_matrix(circuit, circuit.current_sources.start, circuit.current_sources.end)
        drawn_a = (branches.T @ (current_a - rest_a).T).T
        return -self._equilibrium.linear.response(drawn_a, time_s)

    def _curves(self, responses: list[Response]) -> tuple[Curves, Tensor]:
        """Return the gradients by each device and input from the response at each time."""
        free, g, v_unit_v = self._equilibrium, self._conductance_s, self._block.block.v_unit_v
        circuit = self._circuit.circuit
        n_pairs = 1 if self._circuit.layers[0].n is None else 2  # F = 2 g_unit v_unit^2 E of pairs
        values = {}
        for crossbar in self._circuit.crossbars:
            devices = _devices(crossbar.plus, crossbar.minus)
            per_siemens = np.stack(
                [response_gradient(circuit, r.mean_v, r.response_v, r.change_v, devices=devices) for r in responses]
            )
            scale = self._circuit.gradient_weight(crossbar) / (n_pairs * v_unit_v**2)
            values[crossbar.name] = scale * per_siemens
        inputs = np.stack([input_gradient(self._circuit, g, r) for r in responses])
        values["input"] = inputs.reshape(len(responses), -1)
        return Curves(time=self._time_s, values=values), torch.from_numpy(inputs[-1].copy()).reshape(free.shape)


def _devices(plus: Indices, minus: Indices | None) -> Indices:
    """Return the devices of a crossbar in a row."""
    return plus.ravel() if minus is None else np.concatenate([plus.ravel(), minus.ravel()])


def _spread_capacitances(block: AnalogBlock, settings: TransientSettings) -> Floats:
    """Return the capacitance of each node, unequal as the settings say."""
    nominal_f = node_capacitances(block.circuit.circuit, settings.capacitance, on_wires=block.circuit.wire_nodes)
    u = np.random.default_rng(settings.seed).uniform(-1.0, 1.0, len(nominal_f))
    return np.asarray(nominal_f * np.exp(settings.spread * u))
