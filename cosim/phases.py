"""The orchestrator: order of the phases, converters on every crossing, counters; one instance a block.

Free phase: DAC of x, relax, ADC of the outputs. Backward: DAC of ds as nudge currents, relax at the two nudges (one
batch), read, estimate. It knows converters and equilibria; the training loop above does not know that a circuit is
there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from circuits.arrays import Floats
from circuits.block_circuit import BlockCircuit
from circuits.energy_block import Drive
from netlists.netlist import SolverOptions

from .converters import Converters, Crossing, Ranges, lsb
from .equilibrium_propagation import Response, conductance_gradients, input_gradient
from .phase_settings import DifferenceRead, NudgeScaling, Nudging, ParameterRead, PhaseSettings
from .reading import Counters, PhasePair, PhaseReader
from .relaxation import Relaxation
from .simulators.base import OperatingPoint

TOLERANCE_MARGIN = 100.0  # a nudge response below this many solver tolerances is noise


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
@dataclass(frozen=True, kw_only=True, slots=True)
class NudgeResponse:
    """How far the nudge moved a block's outputs: what equilibrium propagation reads, against what limits it.

    Equation: the change is v_unit (s at the second nudge - s at the first), of every sample and output; with centered
    nudging from -beta to +beta, so twice what one nudge does.

    Args:
        largest_v: V — largest magnitude of the change.
        rms_v: V — its root mean square: the typical response.
        tolerance_v: V — what the solver's tolerances leave open at the block's largest voltage.
        adc_step_v: V — step of the ADC that read the states; None if it is ideal, read no voltage or has no range yet.
    """

    largest_v: float
    rms_v: float
    tolerance_v: float
    adc_step_v: float | None

    @property
    def is_noise(self) -> bool:
        """Whether every output moved by less than TOLERANCE_MARGIN tolerances."""
        return self.largest_v < TOLERANCE_MARGIN * self.tolerance_v


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
        self.last_nudge: NudgeResponse | None = None  # of the last nudged phases; None where there was no nudge
        self._solver = solver
        self._reader = PhaseReader(circuit, settings, converters, ranges, self.counters)

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

    def nudged(
        self, free: FreePhase, ds: Floats, *, want_x: bool, learn: bool, want_conductances: bool = True
    ) -> Gradients:
        """Relax the nudged phases and return the gradients.

        Args:
            free: the free phase.
            ds: [batch, n_outputs] dL/ds.
            want_x: whether dL/dx is wanted; if not, nothing is read for it.
            learn: whether data-driven converter ranges may move.
            want_conductances: whether dL/dG is wanted; if not, nothing is read for it.

        Returns:
            gradients of the loss; zeros, without a relaxation, where ds is zero throughout.
        """
        self.last_nudge = None
        if not ds.any():  # no nudge: both phases would be the free one
            return self._no_gradients(free, want_x=want_x)
        nudge, scale = self._nudge(ds, learn=learn)
        pair = self._two_phases(free, nudge, scale)
        gradients: Mapping[str, tuple[Floats, Floats | None]] = {}
        digital = None
        if want_conductances and self.settings.parameter_read is ParameterRead.DIGITAL:
            digital = self._reader.read_states(pair, free.x, learn=learn)
        if want_conductances:
            gradients = conductance_gradients(self.circuit, digital or pair.response())
        x_gradient = None
        if want_x and digital is not None and self.circuit.block.drive is Drive.CURRENT:
            x_gradient = input_gradient(self.circuit, free.conductance_s, digital)  # the first layer is read already
        elif want_x:
            x_gradient = self._reader.read_input(pair, free.conductance_s, learn=learn)
        states_read = digital is not None or (want_x and self.circuit.block.drive is Drive.CURRENT)
        self.last_nudge = self._measure_nudge(pair, states_read=states_read)
        self._check_nudge(self.last_nudge)
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
        full_scale = 1.0 if dac.full_scale is None else dac.full_scale
        largest = np.abs(ds).max(axis=1) / full_scale  # the largest |ds| of a sample becomes the DAC's full scale
        return dac.convert(ds / np.where(largest > 0, largest, 1.0)[:, None], full_scale), largest

    def _two_phases(self, free: FreePhase, nudge: Floats, scale: Floats) -> PhasePair:
        """Return the two phases to compare; both nudges go in one batch."""
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
                first_v, second_v, betas = voltage_v[: len(free_v)], voltage_v[len(free_v) :], (-beta, beta)
            case Nudging.POSITIVE:
                first_v, second_v, betas = free_v, voltage_v, (0.0, beta)
            case Nudging.NEGATIVE:
                first_v, second_v, betas = voltage_v, free_v, (-beta, 0.0)
        return PhasePair(first_v=first_v, second_v=second_v, betas=betas, scale=scale)

    def _measure_nudge(self, pair: PhasePair, *, states_read: bool) -> NudgeResponse:
        """Return how far the nudge moved the output nodes; the ranges of this batch are in force already."""
        v_unit_v = self.circuit.block.v_unit_v
        change_v = (self.circuit.outputs(pair.second_v) - self.circuit.outputs(pair.first_v)) * v_unit_v
        step = self._state_step() if states_read else None
        return NudgeResponse(
            largest_v=float(np.abs(change_v).max(initial=0.0)),
            rms_v=float(np.sqrt(np.square(change_v).mean())),
            tolerance_v=self._solver.voltage_tolerance_v(float(np.abs(pair.second_v).max(initial=0.0))),
            adc_step_v=None if step is None else step * v_unit_v,
        )

    def _state_step(self) -> float | None:
        """Return the step of the ADC that reads states, or their difference; None if it is ideal or has no range."""
        adc = self.converters.phase
        held = self.settings.difference_read is DifferenceRead.SAMPLE_AND_HOLD
        fixed = None if held else adc.full_scale  # a held difference is always ranged from the data
        full_scale = fixed or float(self.ranges.values[Crossing.DIFFERENCE if held else Crossing.PHASE])
        return None if adc.bits is None or not full_scale else lsb(adc.bits, full_scale)

    def _check_nudge(self, nudge: NudgeResponse) -> None:
        """Warn where the nudge moves the output nodes by little more than the solver's tolerance."""
        if nudge.is_noise:
            self._reader.warn_once(
                "tolerance",
                f"the nudge beta = {self.settings.beta:g} moves the outputs by at most {nudge.largest_v:.2g} V, "
                f"{nudge.largest_v / nudge.tolerance_v:.2g} times the solver's tolerance of {nudge.tolerance_v:.2g} V; "
                "raise beta",
            )
