"""The orchestrator: order of the phases, converters on every crossing, counters; one instance a block.

Free phase: DAC of x, relax, ADC of the outputs. Backward: DAC of ds as nudge currents, relax at the two nudges (one
batch), read, estimate. It knows converters and equilibria; the training loop above does not know that a circuit is
there.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from circuits.arrays import Floats
from circuits.block_circuit import BlockCircuit
from circuits.energy_block import Drive
from netlists.netlist import SolverOptions

from .converters import Converters, Crossing, Ranges, lsb
from .equilibrium_propagation import Response, conductance_gradients, input_gradient, response
from .phase_settings import DifferenceRead, NudgeScaling, Nudging, ParameterRead, PhaseSettings
from .relaxation import Relaxation
from .simulators.base import OperatingPoint

TOLERANCE_MARGIN = 100.0  # a nudge response below this many solver tolerances is noise


class NudgeWarning(UserWarning):
    """The nudge is too small for the solver's tolerance or a converter's step."""


@final
@dataclass(kw_only=True, slots=True)
class Counters:
    """What a block has done since it was made."""

    relaxations: int = 0
    iterations: int = 0
    dac_conversions: int = 0
    adc_conversions: int = 0


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FreePhase:
    """A free equilibrium with what led to it.

    Args:
        conductance_s: [n_resistors] S.
        x: [batch, n_inputs] input after the DAC.
        point: the equilibrium.
        outputs: [batch, n_outputs] states after the ADC.
    """

    conductance_s: Floats
    x: Floats
    point: OperatingPoint
    outputs: Floats


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Gradients:
    """What the backward phases return.

    Args:
        conductances: dL/dG+ and dL/dG- by crossbar, per g_unit, summed over the batch.
        x: [batch, n_inputs] dL/dx; None where it was not asked for.
    """

    conductances: Mapping[str, tuple[Floats, Floats | None]]
    x: Floats | None


@final
class Phases:
    """Run the phases of one block.

    Args:
        circuit: the block's circuit.
        relaxation: where it is relaxed.
        settings: how the phases are run.
        converters: DACs and ADCs.
        ranges: full scales found from data.
        solver: tolerances of the simulator, for the check of the nudge's size.
    """

    def __init__(
        self,
        circuit: BlockCircuit,
        relaxation: Relaxation,
        settings: PhaseSettings,
        converters: Converters,
        ranges: Ranges,
        solver: SolverOptions,
    ) -> None:
        self.circuit = circuit
        self.relaxation = relaxation
        self.settings = settings
        self.converters = converters
        self.ranges = ranges
        self.counters = Counters()
        self._solver = solver
        self._warned: set[str] = set()

    def _solve(self, conductance_s: Floats, drives: Floats, start_v: Floats | None = None) -> OperatingPoint:
        point = self.relaxation.solve(conductance_s, drives, start_v=start_v)
        self.counters.relaxations += len(point)
        self.counters.iterations += round(float(point.iterations.sum()))
        return point

    def free(self, conductance_s: Floats, x: Floats, *, learn: bool) -> FreePhase:
        """Relax the free phase.

        Args:
            conductance_s: [n_resistors] S.
            x: [batch, n_inputs] dimensionless.
            learn: whether data-driven converter ranges may move.

        Returns:
            equilibrium and digitised outputs.
        """
        c = self.converters
        scale = self.ranges.full_scale(Crossing.INPUT, c.input.full_scale, x, learn=learn)
        applied = c.input.convert(x, scale)
        self.counters.dac_conversions += applied.size
        point = self._solve(conductance_s, self.circuit.drives(applied))
        states = self.circuit.outputs(point.voltage_v)
        scale = self.ranges.full_scale(Crossing.OUTPUT, c.output.full_scale, states, learn=learn)
        self.counters.adc_conversions += states.size
        return FreePhase(conductance_s=conductance_s, x=applied, point=point, outputs=c.output.convert(states, scale))

    def nudged(self, free: FreePhase, ds: Floats, *, want_x: bool, learn: bool) -> Gradients:
        """Relax the nudged phases and return the gradients.

        Args:
            free: the free phase.
            ds: [batch, n_outputs] dL/ds.
            want_x: whether dL/dx is wanted; if not, nothing is read for it.
            learn: whether data-driven converter ranges may move.

        Returns:
            gradients of the loss; zeros, without a relaxation, where ds is zero throughout.
        """
        if not ds.any():  # no nudge: both phases would be the free one
            return self._no_gradients(free, want_x=want_x)
        nudge, scale = self._nudge(ds, learn=learn)
        first_v, second_v, betas = self._two_phases(free, nudge)
        self._check_nudge(first_v, second_v)
        exact = response(first_v, second_v, *betas, scale)
        read_states = self.settings.parameter_read is ParameterRead.DIGITAL
        digital = self._read_states(free, first_v, second_v, betas, scale, learn=learn) if read_states else exact
        gradients = conductance_gradients(self.circuit, digital)
        x_gradient = None
        if want_x and read_states and self.circuit.block.drive is Drive.CURRENT:
            x_gradient = input_gradient(self.circuit, free.conductance_s, digital)  # the first layer is read already
        elif want_x:
            x_gradient = self._read_input(free, first_v, second_v, betas, scale, learn=learn)
        return Gradients(conductances=gradients, x=x_gradient)

    def implicit(self, free: FreePhase, ds: Floats, *, want_x: bool) -> Gradients:
        """Return the exact gradients at the free equilibrium by implicit differentiation.

        Equation: r = dv/dbeta = -H^-1 ds in place of the response of two phases.
        """
        drives = self.circuit.drives(free.x)
        change = self.circuit.drives(np.zeros_like(free.x), ds)
        v = free.point.voltage_v
        exact = Response(mean_v=v, response_v=self.relaxation.small_signal(free.conductance_s, drives, v, change))
        return Gradients(
            conductances=conductance_gradients(self.circuit, exact),
            x=input_gradient(self.circuit, free.conductance_s, exact) if want_x else None,
        )

    def _no_gradients(self, free: FreePhase, *, want_x: bool) -> Gradients:
        v = free.point.voltage_v
        none = Response(mean_v=v, response_v=np.zeros_like(v))
        gradients = conductance_gradients(self.circuit, none)
        return Gradients(conductances=gradients, x=np.zeros_like(free.x) if want_x else None)

    def _nudge(self, ds: Floats, *, learn: bool) -> tuple[Floats, Floats]:
        """Return the nudge per unit of beta after the DAC, and the scale to undo, [batch]."""
        dac, beta = self.converters.nudge, self.settings.beta
        self.counters.dac_conversions += ds.size * (2 if self.settings.nudging is Nudging.CENTERED else 1)
        if self.settings.scaling is NudgeScaling.NONE:
            full_scale = self.ranges.full_scale(Crossing.NUDGE, dac.full_scale, beta * ds, learn=learn)
            return dac.convert(beta * ds, full_scale) / beta, np.ones(len(ds))
        largest = np.abs(ds).max(axis=1)
        normalised = ds / np.where(largest > 0, largest, 1.0)[:, None]
        return dac.convert(normalised, 1.0 if dac.full_scale is None else dac.full_scale), largest

    def _two_phases(self, free: FreePhase, nudge: Floats) -> tuple[Floats, Floats, tuple[float, float]]:
        """Return the voltages of the two phases to compare and their betas; both nudges go in one batch."""
        beta, free_v = self.settings.beta, free.point.voltage_v
        match self.settings.nudging:
            case Nudging.CENTERED:
                signs = [-beta, beta]
            case Nudging.POSITIVE:
                signs = [beta]
            case Nudging.NEGATIVE:
                signs = [-beta]
        drives = np.concatenate([self.circuit.drives(free.x, sign * nudge) for sign in signs])
        start_v = np.tile(free_v, (len(signs), 1))
        voltage_v = self._solve(free.conductance_s, drives, start_v).voltage_v
        match self.settings.nudging:
            case Nudging.CENTERED:
                return voltage_v[: len(free_v)], voltage_v[len(free_v) :], (-beta, beta)
            case Nudging.POSITIVE:
                return free_v, voltage_v, (0.0, beta)
            case Nudging.NEGATIVE:
                return voltage_v, free_v, (-beta, 0.0)

    def _read_pair(
        self, first: Floats, second: Floats, phase: Crossing, difference: Crossing, *, learn: bool
    ) -> tuple[Floats, Floats]:
        """Return mean and difference of two analog values as the digital side gets them."""
        adc = self.converters.source_current if phase is Crossing.CURRENT else self.converters.phase
        if self.settings.difference_read is DifferenceRead.EACH_PHASE:
            scale = self.ranges.full_scale(phase, adc.full_scale, np.concatenate([first, second]), learn=learn)
            self.counters.adc_conversions += 2 * first.size
            one, two = adc.convert(first, scale), adc.convert(second, scale)
            self._check_step(phase, second - first, adc.bits, scale)
            return (one + two) / 2, two - one
        change = second - first
        scale = self.ranges.full_scale(difference, None, change, learn=learn)
        mean = (first + second) / 2
        mean_scale = self.ranges.full_scale(phase, adc.full_scale, mean, learn=learn)
        self.counters.adc_conversions += change.size
        if phase is Crossing.PHASE and self.settings.parameter_read is ParameterRead.DIGITAL:
            self.counters.adc_conversions += mean.size
        return adc.convert(mean, mean_scale), adc.convert(change, scale)

    def _read_states(
        self,
        free: FreePhase,
        first_v: Floats,
        second_v: Floats,
        betas: tuple[float, float],
        scale: Floats,
        *,
        learn: bool,
    ) -> Response:
        """Return mean and response rebuilt from digitised states of every layer."""
        sizes = np.cumsum([layer.size for layer in self.circuit.block.layers])[:-1]
        first = np.concatenate(self.circuit.states(first_v), axis=1)
        second = np.concatenate(self.circuit.states(second_v), axis=1)
        mean, change = self._read_pair(first, second, Crossing.PHASE, Crossing.DIFFERENCE, learn=learn)
        per_beta = change * (scale / (betas[1] - betas[0]))[:, None]
        return Response(
            mean_v=self.circuit.mirrored_voltages(np.split(mean, sizes, axis=1), free.x),
            response_v=self.circuit.mirrored_voltages(np.split(per_beta, sizes, axis=1), np.zeros_like(free.x))
            - self.circuit.mirrored_voltages(np.split(np.zeros_like(change), sizes, axis=1), np.zeros_like(free.x)),
        )

    def _read_input(
        self,
        free: FreePhase,
        first_v: Floats,
        second_v: Floats,
        betas: tuple[float, float],
        scale: Floats,
        *,
        learn: bool,
    ) -> Floats:
        """Return dL/dx from what hardware can measure: first-layer voltages or input source currents."""
        circuit, per_beta = self.circuit, (scale / (betas[1] - betas[0]))[:, None]
        if circuit.block.drive is Drive.CURRENT:
            first, second = (circuit.layers[0].state(v, circuit.block.v_unit_v) for v in (first_v, second_v))
            _, change = self._read_pair(first, second, Crossing.PHASE, Crossing.DIFFERENCE, learn=learn)
            return -change * per_beta
        first, second = (circuit.input_currents(free.conductance_s, v) for v in (first_v, second_v))
        _, change = self._read_pair(first, second, Crossing.CURRENT, Crossing.CURRENT_DIFFERENCE, learn=learn)
        return change * per_beta

    def _warn_once(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(f"block '{self.circuit.block.name}': {text}", NudgeWarning, stacklevel=4)

    def _check_nudge(self, first_v: Floats, second_v: Floats) -> None:
        """Warn where the nudge moves the output nodes by little more than the solver's tolerance."""
        change_v = self.circuit.outputs(second_v) - self.circuit.outputs(first_v)
        largest_v = float(np.abs(change_v).max(initial=0.0)) * self.circuit.block.v_unit_v
        tolerance_v = self._solver.voltage_tolerance_v(float(np.abs(second_v).max(initial=0.0)))
        if largest_v < TOLERANCE_MARGIN * tolerance_v:
            self._warn_once(
                "tolerance",
                f"the nudge beta = {self.settings.beta:g} moves the outputs by at most {largest_v:.2g} V, "
                f"{largest_v / tolerance_v:.2g} times the solver's tolerance of {tolerance_v:.2g} V; raise beta",
            )

    def _check_step(self, crossing: Crossing, change: Floats, bits: int | None, full_scale: float) -> None:
        """Warn where the ADC's step is larger than the whole difference between the phases."""
        largest = float(np.abs(change).max(initial=0.0))
        adc = "source-current ADC" if crossing is Crossing.CURRENT else "phase ADC"
        if bits is not None and 0.0 < largest < lsb(bits, full_scale):
            self._warn_once(
                adc,
                f"the nudge beta = {self.settings.beta:g} changes what the {adc} reads by at most {largest:.2g}, "
                f"less than its step of {lsb(bits, full_scale):.2g} ({bits} bits over +-{full_scale:.2g}); raise beta "
                "or read the difference by sample and hold",
            )
