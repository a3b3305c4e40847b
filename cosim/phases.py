"""The orchestrator: order of the phases, converters on every crossing, counters; one instance a block.

Free phase: DAC of x, relax, ADC of the outputs. Backward: DAC of ds as nudge currents, relax at the two nudges (one
batch), read, estimate. It knows converters and equilibria; the training loop above does not know that a circuit is
there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from circuits.arrays import Floats
from circuits.block_circuit import BlockCircuit
from circuits.energy_block import Drive
from netlists.netlist import SolverOptions

from .converters import ConverterBanks, Converters, ConverterState, Crossing, lsb
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
        x: [batch, n_inputs] input after the DAC, its errors included.
        code: [batch, n_inputs] input as the digital side knows it: the DAC's codes.
        point: the equilibrium.
        outputs: [batch, n_outputs] states after the ADC.
    """

    conductance_s: Floats
    x: Floats
    code: Floats
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
        state: full scales found from data, and how much noise was drawn.
        solver: tolerances of the simulator, for the check of the nudge's size.
    """

    def __init__(
        self,
        circuit: BlockCircuit,
        relaxation: Relaxation,
        settings: PhaseSettings,
        converters: Converters,
        state: ConverterState,
        solver: SolverOptions,
    ) -> None:
        self.circuit = circuit
        self.relaxation = relaxation
        self.settings = settings
        self.converters = converters
        self.state = state
        self.banks = ConverterBanks.of(converters, circuit)
        self.counters = Counters()
        self.last_nudge: NudgeResponse | None = None  # of the last nudged phases; None where there was no nudge
        self._solver = solver
        self._reader = PhaseReader(circuit, settings, self.banks, state, self.counters, converters.noise_draw)

    def _solve(
        self, conductance_s: Floats, drives: Floats, start_v: Floats | None = None, *, recover: bool = True
    ) -> OperatingPoint:
        point = self.relaxation.solve(conductance_s, drives, start_v=start_v, recover=recover)
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
        dac, adc = self.banks.input, self.banks.output
        scale = dac.full_scale(Crossing.INPUT, x, self.state, learn=learn)
        applied = dac.convert(x, scale, dac.noise(x.shape, self.state, learn=learn))
        code = dac.nominal(x, scale)
        self.counters.dac_conversions += applied.size
        point = self._solve(conductance_s, self.circuit.drives(applied), recover=False)
        states = self.circuit.outputs(point.voltage_v)
        scale = adc.full_scale(Crossing.OUTPUT, states, self.state, learn=learn)
        self.counters.adc_conversions += states.size
        outputs = adc.convert(states, scale, adc.noise(states.shape, self.state, learn=learn))
        return FreePhase(conductance_s=conductance_s, x=applied, code=code, point=point, outputs=outputs)

    def nudged(
        self,
        free: FreePhase,
        ds: Floats,
        *,
        want_x: bool,
        learn: bool,
        want_conductances: bool = True,
        conductances: Sequence[Floats] | None = None,
    ) -> Gradients:
        """Relax the nudged phases and return the gradients.

        Args:
            free: the free phase.
            ds: [batch, n_outputs] dL/ds.
            want_x: whether dL/dx is wanted; if not, nothing is read for it.
            learn: whether data-driven converter ranges may move.
            want_conductances: whether dL/dG is wanted; if not, nothing is read for it.
            conductances: [n_resistors] S of each nudge (`n_nudges`), where they are not those of the free phase.

        Returns:
            gradients of the loss; zeros, without a relaxation, where ds is zero throughout.
        """
        self.last_nudge = None
        if not ds.any():  # no nudge: both phases would be the free one
            return self._no_gradients(free, want_x=want_x)
        nudges, scale = self._nudges(ds, learn=learn)
        pair = self._two_phases(free, nudges, scale, conductances)
        gradients: Mapping[str, tuple[Floats, Floats | None]] = {}
        digital = None
        if want_conductances and self.settings.parameter_read is ParameterRead.DIGITAL:
            digital = self._reader.read_states(pair, free.code, learn=learn)
        if want_conductances:
            # The digital side has states of units; a device on wires sees its cells.
            known = pair.response() if digital is None else digital
            gradients = conductance_gradients(self.circuit if digital is None else self.circuit.at_units, known)
        x_gradient = None
        if want_x and digital is not None and self.circuit.block.drive is Drive.CURRENT:
            x_gradient = input_gradient(self.circuit, free.conductance_s, digital)  # the first layer is read already
        elif want_x:
            x_gradient = self._reader.read_input(pair, learn=learn)
        states_read = digital is not None or (want_x and self.circuit.block.drive is Drive.CURRENT)
        self.last_nudge = self._measure_nudge(pair, states_read=states_read)
        self._check_nudge(self.last_nudge)
        return Gradients(conductances=gradients, x=x_gradient)

    def implicit(self, free: FreePhase, ds: Floats, *, want_x: bool) -> Gradients:
        """Return the exact gradients at the free equilibrium by implicit differentiation.

        Equation: r = dv/dbeta = -H^-1 ds in place of the response of two phases. Errors of the sources count in the
        equilibrium, but there is no nudge that could have any; dL/dx is by what the input sources give, not by what
        they are asked for.
        """
        drives = self.circuit.drives(free.x)
        change = self.circuit.drive_change(ds)
        v = self._free_voltages(free)
        exact = Response(mean_v=v, response_v=self.relaxation.small_signal(free.conductance_s, drives, v, change))
        return Gradients(
            conductances=conductance_gradients(self.circuit, exact),
            x=input_gradient(self.circuit, free.conductance_s, exact) if want_x else None,
        )

    def _free_voltages(self, free: FreePhase) -> Floats:
        """Return the voltages of the free phase on wires too, which its outputs can do without: [batch, n_nodes] V."""
        point = self.relaxation.recovered(free.conductance_s, self.circuit.drives(free.x), free.point)
        return point.voltage_v

    def _no_gradients(self, free: FreePhase, *, want_x: bool) -> Gradients:
        no_change = np.zeros_like(free.point.voltage_v)
        none = Response(mean_v=no_change, response_v=no_change)
        gradients = conductance_gradients(self.circuit, none)
        return Gradients(conductances=gradients, x=np.zeros_like(free.x) if want_x else None)

    @property
    def n_nudges(self) -> int:
        """Number of nudged phases."""
        return len(self.settings.nudging.signs)

    def _nudges(self, ds: Floats, *, learn: bool) -> tuple[list[Floats], Floats]:
        """Return the currents of each nudge after the DAC, and the scale to undo, [batch]."""
        dac, beta = self.banks.nudge, self.settings.beta
        self.counters.dac_conversions += ds.size * self.n_nudges
        if self.settings.scaling is NudgeScaling.NONE:
            full_scale = dac.full_scale(Crossing.NUDGE, beta * ds, self.state, learn=learn)
            levels = self._convert_nudges(beta * ds, full_scale, learn=learn)
            return [sign * beta * (level / beta) for sign, level in levels], np.ones(len(ds))
        full_scale = 1.0 if dac.converter.full_scale is None else dac.converter.full_scale
        largest = np.abs(ds).max(axis=1) / full_scale  # the largest |ds| of a sample becomes the DAC's full scale
        scaled = ds / np.where(largest > 0, largest, 1.0)[:, None]
        levels = self._convert_nudges(scaled, full_scale, learn=learn)
        return [sign * beta * level for sign, level in levels], largest

    def _convert_nudges(self, values: Floats, full_scale: float, *, learn: bool) -> list[tuple[int, Floats]]:
        """Return, of each nudge, its sign and the level that has it: with errors, both are conversions of their own."""
        dac = self.banks.nudge
        if dac.is_symmetric:
            level = dac.convert(values, full_scale)
            return [(sign, level) for sign in self.settings.nudging.signs]
        noises = self._reader.draw_noise(dac, values.shape, self.n_nudges, learn=learn)
        return [
            (sign, sign * dac.convert(sign * values, full_scale, noise))
            for sign, noise in zip(self.settings.nudging.signs, noises, strict=True)
        ]

    def _two_phases(
        self, free: FreePhase, nudges: list[Floats], scale: Floats, conductances: Sequence[Floats] | None
    ) -> PhasePair:
        """Return the two phases to compare; both nudges go in one batch where the devices stay what they are."""
        beta, free_v = self.settings.beta, free.point.voltage_v
        drives = [self.circuit.drives(free.x, nudge) for nudge in nudges]
        if conductances is None:
            conductances = [free.conductance_s] * len(nudges)
            start_v = np.tile(free_v, (len(nudges), 1))
            point = self._solve(free.conductance_s, np.concatenate(drives), start_v)
            voltages = np.split(point.voltage_v, len(nudges))
        else:
            voltages = [self._solve(g, d, free_v).voltage_v for g, d in zip(conductances, drives, strict=True)]
        if self.settings.nudging is not Nudging.CENTERED:
            free_v = self._free_voltages(free)
        match self.settings.nudging:
            case Nudging.CENTERED:
                phases, betas = list(zip(voltages, conductances, strict=True)), (-beta, beta)
            case Nudging.POSITIVE:
                phases, betas = [(free_v, free.conductance_s), (voltages[0], conductances[0])], (0.0, beta)
            case Nudging.NEGATIVE:
                phases, betas = [(voltages[0], conductances[0]), (free_v, free.conductance_s)], (-beta, 0.0)
        (first_v, first_s), (second_v, second_s) = phases
        return PhasePair(
            first_v=first_v, second_v=second_v, first_s=first_s, second_s=second_s, betas=betas, scale=scale
        )

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
        full_scale = fixed or float(self.state.ranges.values[Crossing.DIFFERENCE if held else Crossing.PHASE])
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
