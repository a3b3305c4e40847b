"""How two phases reach the digital side: through ADCs, phase by phase or as a difference held in analog."""

import warnings
from dataclasses import dataclass
from typing import final

import numpy as np

from circuits.arrays import Floats
from circuits.block_circuit import BlockCircuit
from circuits.energy_block import Drive

from .converters import Bank, ConverterBanks, ConverterState, Crossing, NoiseDraw, lsb
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
        first_s, second_s: [n_resistors] S — conductances in each; the same, but for read noise that is drawn anew.
        betas: the nudges of both, the second larger.
        scale: [batch] loss gradient per unit of nudge, to undo the scaling of each sample.
    """

    first_v: Floats
    second_v: Floats
    first_s: Floats
    second_s: Floats
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
        banks: DACs and ADCs.
        state: full scales found from data, and how much noise was drawn.
        counters: where conversions are counted.
        noise_draw: whether two phases that are converted each get noise of their own.
    """

    def __init__(
        self,
        circuit: BlockCircuit,
        settings: PhaseSettings,
        banks: ConverterBanks,
        state: ConverterState,
        counters: Counters,
        noise_draw: NoiseDraw,
    ) -> None:
        self.circuit = circuit
        self.settings = settings
        self.banks = banks
        self.state = state
        self.counters = counters
        self.noise_draw = noise_draw
        self._warned: set[str] = set()

    def _read_pair(
        self, first: Floats, second: Floats, phase: Crossing, difference: Crossing, *, want_mean: bool, learn: bool
    ) -> tuple[Floats, Floats]:
        """Return mean and difference of two analog values as the digital side gets them."""
        bank = self.banks.current if phase is Crossing.CURRENT else self.banks.phase
        if self.settings.difference_read is DifferenceRead.EACH_PHASE:
            scale = bank.full_scale(phase, np.concatenate([first, second]), self.state, learn=learn)
            self.counters.adc_conversions += 2 * first.size
            noises = self.draw_noise(bank, first.shape, 2, learn=learn)
            one, two = (bank.convert(v, scale, noise) for v, noise in zip((first, second), noises, strict=True))
            self._check_step(phase, second - first, bank.converter.bits, scale)
            return (one + two) / 2, two - one
        change, mean = second - first, (first + second) / 2
        scale = bank.full_scale(difference, change, self.state, learn=learn, own_range=True)
        self.counters.adc_conversions += change.size
        if want_mean:
            mean_scale = bank.full_scale(phase, mean, self.state, learn=learn)
            self.counters.adc_conversions += mean.size
            mean = bank.convert(mean, mean_scale, bank.noise(mean.shape, self.state, learn=learn))
        return mean, bank.convert(change, scale, bank.noise(change.shape, self.state, learn=learn))

    def draw_noise(self, bank: Bank, shape: tuple[int, ...], n: int, *, learn: bool) -> list[Floats | None]:
        """Return the noise of n conversions of so many values, one for each phase: anew, or the same for all."""
        if self.noise_draw is NoiseDraw.SAME:
            return [bank.noise(shape, self.state, learn=learn)] * n
        return [bank.noise(shape, self.state, learn=learn) for _ in range(n)]

    def read_states(self, pair: PhasePair, x: Floats, *, learn: bool) -> Response:
        """Return mean and response rebuilt from digitised states of every layer, at the nodes of `circuit.at_units`.

        Args:
            pair: the two phases.
            x: [batch, n_inputs] input as the digital side knows it.
            learn: whether data-driven converter ranges may move.
        """
        sizes = np.cumsum([layer.size for layer in self.circuit.block.layers])[:-1]
        first = np.concatenate(self.circuit.states(pair.first_v), axis=1)
        second = np.concatenate(self.circuit.states(pair.second_v), axis=1)
        mean, change = self._read_pair(first, second, Crossing.PHASE, Crossing.DIFFERENCE, want_mean=True, learn=learn)
        per_beta = np.split(change * pair.per_beta, sizes, axis=1)
        none, change_v = np.zeros_like(x), None
        circuit = self.circuit.at_units
        if circuit.circuit.has_cubic:
            change_v = circuit.mirrored_voltages(np.split(change, sizes, axis=1), none, bias=0.0)
        return Response(
            mean_v=circuit.mirrored_voltages(np.split(mean, sizes, axis=1), x),
            response_v=circuit.mirrored_voltages(per_beta, none, bias=0.0),
            change_v=change_v,
        )

    def read_input(self, pair: PhasePair, *, learn: bool) -> Floats:
        """Return dL/dx from what hardware can measure: first-layer voltages or input source currents.

        Args:
            pair: the two phases.
            learn: whether data-driven converter ranges may move.
        """
        circuit, v_unit_v = self.circuit, self.circuit.block.v_unit_v
        if circuit.block.drive is Drive.CURRENT:
            first, second = (circuit.layers[0].state(v, v_unit_v) for v in (pair.first_v, pair.second_v))
            crossings = Crossing.PHASE, Crossing.DIFFERENCE
            change = -self._read_pair(first, second, *crossings, want_mean=False, learn=learn)[1]
            return circuit.input_weight * change * pair.per_beta
        first = circuit.input_currents(pair.first_s, pair.first_v)
        second = circuit.input_currents(pair.second_s, pair.second_v)
        crossings = Crossing.CURRENT, Crossing.CURRENT_DIFFERENCE
        change = self._read_pair(first, second, *crossings, want_mean=False, learn=learn)[1]
        return circuit.input_weight * change * pair.per_beta

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
