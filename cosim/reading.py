"""How two phases reach the digital side: through ADCs, phase by phase or as a difference held in analog."""

import warnings
from dataclasses import dataclass
from typing import final

import numpy as np

from circuits.arrays import Floats
from circuits.block_circuit import BlockCircuit
from circuits.energy_block import Drive

from .converters import Converters, Crossing, Ranges, lsb
from .equilibrium_propagation import Response, response
from .phase_settings import DifferenceRead, PhaseSettings


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
class PhasePair:
    """The two phases that are compared.

    Args:
        first_v, second_v: [batch, n_nodes] V.
        betas: the nudges of both, the second larger.
        scale: [batch] loss gradient per unit of nudge, to undo the scaling of each sample.
    """

    first_v: Floats
    second_v: Floats
    betas: tuple[float, float]
    scale: Floats

    @property
    def per_beta(self) -> Floats:
        """[batch, 1] what turns a difference into a response."""
        return (self.scale / (self.betas[1] - self.betas[0]))[:, None]

    def response(self) -> Response:
        """Return mean and response of the analog voltages."""
        return response(self.first_v, self.second_v, *self.betas, self.scale)


@final
class PhaseReader:
    """Read the phases of one block.

    Args:
        circuit: the block's circuit.
        settings: how the phases are run.
        converters: DACs and ADCs.
        ranges: full scales found from data.
        counters: where conversions are counted.
    """

    def __init__(
        self,
        circuit: BlockCircuit,
        settings: PhaseSettings,
        converters: Converters,
        ranges: Ranges,
        counters: Counters,
    ) -> None:
        self.circuit = circuit
        self.settings = settings
        self.converters = converters
        self.ranges = ranges
        self.counters = counters
        self._warned: set[str] = set()

    def _read_pair(
        self, first: Floats, second: Floats, phase: Crossing, difference: Crossing, *, want_mean: bool, learn: bool
    ) -> tuple[Floats, Floats]:
        """Return mean and difference of two analog values as the digital side gets them."""
        adc = self.converters.source_current if phase is Crossing.CURRENT else self.converters.phase
        if self.settings.difference_read is DifferenceRead.EACH_PHASE:
            scale = self.ranges.full_scale(phase, adc.full_scale, np.concatenate([first, second]), learn=learn)
            self.counters.adc_conversions += 2 * first.size
            one, two = adc.convert(first, scale), adc.convert(second, scale)
            self._check_step(phase, second - first, adc.bits, scale)
            return (one + two) / 2, two - one
        change, mean = second - first, (first + second) / 2
        scale = self.ranges.full_scale(difference, None, change, learn=learn)
        self.counters.adc_conversions += change.size
        if want_mean:
            mean_scale = self.ranges.full_scale(phase, adc.full_scale, mean, learn=learn)
            self.counters.adc_conversions += mean.size
            mean = adc.convert(mean, mean_scale)
        return mean, adc.convert(change, scale)

    def read_states(self, pair: PhasePair, x: Floats, *, learn: bool) -> Response:
        """Return mean and response rebuilt from digitised states of every layer.

        Args:
            pair: the two phases.
            x: [batch, n_inputs] input after the DAC.
            learn: whether data-driven converter ranges may move.
        """
        sizes = np.cumsum([layer.size for layer in self.circuit.block.layers])[:-1]
        first = np.concatenate(self.circuit.states(pair.first_v), axis=1)
        second = np.concatenate(self.circuit.states(pair.second_v), axis=1)
        mean, change = self._read_pair(first, second, Crossing.PHASE, Crossing.DIFFERENCE, want_mean=True, learn=learn)
        per_beta = np.split(change * pair.per_beta, sizes, axis=1)
        return Response(
            mean_v=self.circuit.mirrored_voltages(np.split(mean, sizes, axis=1), x),
            response_v=self.circuit.mirrored_voltages(per_beta, np.zeros_like(x), bias=0.0),
        )

    def read_input(self, pair: PhasePair, conductance_s: Floats, *, learn: bool) -> Floats:
        """Return dL/dx from what hardware can measure: first-layer voltages or input source currents.

        Args:
            pair: the two phases.
            conductance_s: [n_resistors] S.
            learn: whether data-driven converter ranges may move.
        """
        circuit, v_unit_v = self.circuit, self.circuit.block.v_unit_v
        if circuit.block.drive is Drive.CURRENT:
            first, second = (circuit.layers[0].state(v, v_unit_v) for v in (pair.first_v, pair.second_v))
            crossings = Crossing.PHASE, Crossing.DIFFERENCE
            return -self._read_pair(first, second, *crossings, want_mean=False, learn=learn)[1] * pair.per_beta
        first, second = (circuit.input_currents(conductance_s, v) for v in (pair.first_v, pair.second_v))
        crossings = Crossing.CURRENT, Crossing.CURRENT_DIFFERENCE
        return self._read_pair(first, second, *crossings, want_mean=False, learn=learn)[1] * pair.per_beta

    def warn_once(self, kind: str, text: str) -> None:
        """Warn of a nudge that is too small, once for each kind of reason."""
        if kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(f"block '{self.circuit.block.name}': {text}", NudgeWarning, stacklevel=4)

    def _check_step(self, crossing: Crossing, change: Floats, bits: int | None, full_scale: float) -> None:
        """Warn where the ADC's step is larger than the whole difference between the phases."""
        largest = float(np.abs(change).max(initial=0.0))
        adc = "source-current ADC" if crossing is Crossing.CURRENT else "phase ADC"
        if bits is not None and 0.0 < largest < lsb(bits, full_scale):
            self.warn_once(
                adc,
                f"the nudge beta = {self.settings.beta:g} changes what the {adc} reads by at most {largest:.2g}, "
                f"less than its step of {lsb(bits, full_scale):.2g} ({bits} bits over +-{full_scale:.2g}); raise beta "
                "or read the difference by sample and hold",
            )
