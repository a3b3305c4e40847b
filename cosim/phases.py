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

from .converters import Converters, Crossing, Ranges
from .equilibrium_propagation import Response, conductance_gradients, input_gradient
from .phase_settings import NudgeScaling, Nudging, ParameterRead, PhaseSettings
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
        if not ds.any():  # no nudge: both phases would be the free one
            return self._no_gradients(free, want_x=want_x)
        nudge, scale = self._nudge(ds, learn=learn)
        pair = self._two_phases(free, nudge, scale)
        self._check_nudge(pair.first_v, pair.second_v)
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

    def _check_nudge(self, first_v: Floats, second_v: Floats) -> None:
        """Warn where the nudge moves the output nodes by little more than the solver's tolerance."""
        change_v = self.circuit.outputs(second_v) - self.circuit.outputs(first_v)
        largest_v = float(np.abs(change_v).max(initial=0.0)) * self.circuit.block.v_unit_v
        tolerance_v = self._solver.voltage_tolerance_v(float(np.abs(second_v).max(initial=0.0)))
        if largest_v < TOLERANCE_MARGIN * tolerance_v:
            self._reader.warn_once(
                "tolerance",
                f"the nudge beta = {self.settings.beta:g} moves the outputs by at most {largest_v:.2g} V, "
                f"{largest_v / tolerance_v:.2g} times the solver's tolerance of {tolerance_v:.2g} V; raise beta",
            )
