"""An energy block as a torch module: forward relaxes the free phase, backward the nudged phases.

`loss.backward()` through a network with such blocks is the chaining of backprop and equilibrium propagation of
Nest & Ernoult 2024: each block returns its conductance gradients and hands dL/dx to the stage before it.
"""

import copy
from collections.abc import Callable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, final

import torch
from torch import Tensor, nn

from circuits.arrays import Floats
from circuits.block_circuit import BlockCircuit
from circuits.choices import chosen
from circuits.convolution import format_shape
from circuits.devices.program_and_verify import VerifyReport
from circuits.energy_block import EnergyBlock
from circuits.fabrication import fabricate
from circuits.nonidealities import NonIdealities
from circuits.weight_means import mean_weights

from .block_input import check_input, checked_gradient
from .converters import Converters, ConverterState
from .device_buffers import BUFFER_NAMES, load_devices, register_devices, store_devices
from .device_state import DeviceState, is_device_state
from .errors import BlockError
from .phase_settings import PhaseSettings
from .phases import FreePhase, Gradients, NudgeResponse, Phases
from .reading import Counters
from .relax import Relax
from .relaxation import Relaxation, RelaxationOptions
from .simulators.base import AbstractSimulator
from .weights import asked_conductances, draw_weights, move_weights, replace_weights, restore_windows

if TYPE_CHECKING:
    from .programming.programmed import ProgrammedBlock
    from .programming.report import ProgrammingReport
    from .programming.settings import ProgrammingSettings


class Gradient(Enum):
    """Where a block's gradient comes from."""

    EP = "ep"  # nudged phases, in any simulator
    IMPLICIT = "implicit"  # a small-signal solve at the free equilibrium: exact, whoever found it


def _restore_windows(module: nn.Module, _incompatible: object) -> None:
    """Mend what `load_state_dict(assign=True)` leaves."""
    if isinstance(module, AnalogBlock):
        module._report = None
        for group in (module.g_plus, module.g_minus):
            restore_windows(group, module.block.window)


@final
class AnalogBlock(nn.Module):
    """An energy block that torch can train.

    Parameters are `g_plus.<crossbar>` and, with differential polarity, `g_minus.<crossbar>`, in units of g_unit, kept
    inside the block's window after each step of any optimiser: [n_rows, n_columns], and of a convolution the kernel,
    [channels, channels before, kernel, kernel], whose gradient is the sum over the devices that share it.

    Args:
        block: the circuit's description.
        simulator: where it is relaxed; shared by copies.
        settings: how the phases are run.
        converters: DACs and ADCs on every crossing.
        gradient: equilibrium propagation, or implicit differentiation.
        generator: randomness of the initial weights; torch's default generator if left out.
        relaxation: how far the circuit is reduced, and the deck's tolerances.
        nonidealities: of the block as made; None for the block as designed. Devices of crossbars take what the weights
            ask for as well as they can, at each forward after the weights changed; with updates by pulses the weights
            are then what the devices hold on average.

    Source: Nest & Ernoult 2024, algorithms 1 and 2.
    """

    def __init__(
        self,
        block: EnergyBlock,
        *,
        simulator: AbstractSimulator,
        settings: PhaseSettings | None = None,
        converters: Converters | None = None,
        gradient: Gradient = Gradient.EP,
        generator: torch.Generator | None = None,
        relaxation: RelaxationOptions | None = None,
        nonidealities: NonIdealities | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(simulator, AbstractSimulator):
            raise BlockError(
                f"block '{block.name}': simulator = {simulator!r}; give an instance, as NgspiceSimulator() or "
                "NewtonSimulator()"
            )
        gradient = chosen(Gradient, gradient, f"block '{block.name}': gradient", BlockError)
        self.block = block
        self.simulator = simulator
        self.settings = settings or PhaseSettings()
        self.converters = converters or Converters()
        self.gradient = gradient
        self.relaxation_options = relaxation or RelaxationOptions()
        self.nonidealities = nonidealities
        self.circuit: BlockCircuit = fabricate(block, nonidealities)
        self.g_plus = nn.ParameterDict()
        self.g_minus = nn.ParameterDict()
        draw_weights(self.circuit, self.g_plus, self.g_minus, generator)
        state = ConverterState()
        self.register_buffer("converter_ranges", torch.from_numpy(state.values))
        self._devices: DeviceState | None = None
        if nonidealities is not None and nonidealities.devices is not None:
            self._devices = DeviceState(self.circuit, nonidealities.devices)
            register_devices(self, self._devices)
        self._phases = Phases(
            self.circuit,
            Relaxation.of_block(self.circuit, simulator, self.relaxation_options),
            self.settings,
            self.converters,
            state,
            self.relaxation_options.solver,
        )
        self._report: tuple[ProgrammingReport, tuple[int, ...]] | None = None  # with the versions of the parameters
        self._clamped_share: float | None = None
        self._last_voltage_v: Floats | None = None  # to be looked at: no state, so copies and checkpoints have none
        self.register_load_state_dict_post_hook(_restore_windows)  # type: ignore[no-untyped-call]  # untyped in torch

    @classmethod
    def from_digital(
        cls,
        module: nn.Module,
        *,
        simulator: AbstractSimulator,
        programming: "ProgrammingSettings | None" = None,
        settings: PhaseSettings | None = None,
        converters: Converters | None = None,
        gradient: Gradient | None = None,
        relaxation: RelaxationOptions | None = None,
        nonidealities: NonIdealities | None = None,
    ) -> "AnalogBlock":
        """Return the circuit of a trained module, its conductances programmed.

        Accepted are a `digital.hopfield.HopfieldBlock` without max-pool inside the energy, which becomes differential
        crossbars with a leak a unit, and a trained `AnalogBlock`, which moves into the window of `programming`. What
        was done is in `report`. What is left out of the running options is as an `AnalogBlock` has it, or the default.

        Args:
            module: what was trained; it stays as it is.
            simulator: where the block is relaxed.
            programming: window, scale and diodes, and what to do where weights do not fit.
            settings: how the phases are run.
            converters: DACs and ADCs on every crossing.
            gradient: equilibrium propagation, or implicit differentiation.
            relaxation: how far the circuit is reduced, and the deck's tolerances.
            nonidealities: of the block as made.

        Raises:
            ProgrammingError: for another module, such as linear and tanh layers, with the reason; for weights that are
                not finite, or do not fit as `programming` wants them to.
        """
        from .programming.program import program_block  # noqa: PLC0415  it makes and takes blocks

        programmed = program_block(module, programming)
        own = module if isinstance(module, AnalogBlock) else None
        made = cls(
            programmed.block,
            simulator=simulator,
            settings=settings or (own and own.settings),
            converters=converters or (own and own.converters),
            gradient=gradient or (own.gradient if own is not None else Gradient.EP),
            generator=torch.Generator(),
            relaxation=relaxation or (own and own.relaxation_options),
            nonidealities=nonidealities or (own and own.nonidealities),
        )
        made.take_programmed(programmed, module)
        return made.train(module.training)

    def take_programmed(self, programmed: "ProgrammedBlock", source: nn.Module) -> None:
        """Take what was made of a module: conductances, and of a circuit its converter ranges and what is frozen.

        Args:
            programmed: its block is of the structure of this one.
            source: the module; conductances get its device and, float64 or not, its type.
        """
        self.load_conductances(programmed.plus, programmed.minus, like=next(source.parameters(), None))
        self._report = programmed.report, self._versions()
        if isinstance(source, AnalogBlock):
            self.get_buffer("converter_ranges").copy_(source.get_buffer("converter_ranges"))
            for own, other in ((self.g_plus, source.g_plus), (self.g_minus, source.g_minus)):
                for name, parameter in other.items():
                    own[name].requires_grad_(parameter.requires_grad)

    def load_conductances(
        self, plus: Mapping[str, Floats], minus: Mapping[str, Floats], *, like: Tensor | None = None
    ) -> None:
        """Replace the parameters.

        Args:
            plus: G+ of each crossbar by name, in units of g_unit.
            minus: G-, likewise; empty with single polarity.
            like: a tensor of the device and, float64 or else float32, the type that the parameters shall have.
        """
        self._report = None
        replace_weights(self.g_plus, plus, self.block.window, like)
        replace_weights(self.g_minus, minus, self.block.window, like)

    @property
    def report(self) -> "ProgrammingReport | None":
        """What programming did to the block; None of one that was not programmed, or was trained since."""
        if self._report is None or self._report[1] != self._versions():
            return None
        return self._report[0]

    def _versions(self) -> tuple[int, ...]:
        """Return how often each parameter was changed in place."""
        return tuple(parameter._version for parameter in self.parameters())

    def forward(self, x: Tensor) -> Tensor:
        """Return the states of the output layers at the free equilibrium.

        Args:
            x: [batch, n_inputs] dimensionless, or [batch, channels, height, width] of an image of as many units.

        Returns:
            [batch, n_outputs] dimensionless, or [batch, channels, height, width] where the layer read is an image.

        Raises:
            BlockError: for a wrong shape, NaN or infinity in x or the weights, or a weight outside the window.
            ConvergenceError: if a sample has no acceptable equilibrium.
        """
        check_input(self.block, x)
        parameters = [*self.g_plus.values(), *self.g_minus.values()]
        result: Tensor = Relax.apply(x.flatten(1), self, *parameters)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return result.reshape(len(x), *self.block.output_shape)

    def conductances(self) -> Floats:
        """Return every device's conductance, [n_resistors] S: what it holds once the weights are written.

        Raises:
            BlockError: for a weight that is not finite or outside the window.
        """
        asked_s = self._asked()
        return asked_s if self._devices is None else self._devices.held(self._write(self._devices, asked_s))

    def _write(self, devices: DeviceState, asked_s: Floats) -> Floats:
        """Write what the weights ask for, and return what they ask for then: pulses move weights as devices move."""
        load_devices(self, devices)
        if devices.write(asked_s):
            if devices.weights_follow:
                means = mean_weights(self.circuit, devices.held(asked_s))
                for group, values in zip((self.g_plus, self.g_minus), means, strict=True):
                    move_weights(group, values, self.block.window)
                asked_s = self._asked()
                devices.asked(asked_s)
            store_devices(self, devices)
        return asked_s

    def forget_devices(self) -> None:
        """Forget what the devices hold, so that the next forward writes them for the first time."""
        if self._devices is not None:
            self.get_buffer("devices_counts").zero_()

    def _read(self) -> Floats:
        """Return what the circuit's conductances are now, [n_resistors] S, with devices drifted and noisy."""
        asked_s = self._asked()
        if self._devices is None:
            return asked_s
        now_s = self._devices.now(self._write(self._devices, asked_s), learn=self.training)
        store_devices(self, self._devices)
        return now_s

    def _asked(self) -> Floats:
        """Return the conductances that the weights ask for, [n_resistors] S."""
        return asked_conductances(self.circuit, self.g_plus, self.g_minus)

    def free_phase(self, x: Tensor) -> FreePhase:
        """Relax the free phase for an input, [batch, n_inputs]; `forward` with the equilibrium in hand."""
        self._phases.state.values[:] = self.get_buffer("converter_ranges").double().cpu().numpy()
        free = self._phases.free(self._read(), x.detach().double().cpu().numpy(), learn=self.training)
        self._last_voltage_v = free.point.voltage_v
        self._clamped_share = self.circuit.clamped_share(free.point.voltage_v)
        self._store_ranges()
        return free

    def nudged_phases(self, free: FreePhase, ds: Tensor, *, want_x: bool, want_conductances: bool = True) -> Gradients:
        """Relax the nudged phases for dL/ds, [batch, n_outputs]; `backward` without autograd."""
        gradient = checked_gradient(self.block, ds)
        if self.gradient is Gradient.IMPLICIT:
            return self._phases.implicit(free, gradient, want_x=want_x)
        conductances = None
        if self._devices is not None and self._devices.draws_each_phase:
            conductances = [self._read() for _ in range(self._phases.n_nudges)]
        result = self._phases.nudged(
            free,
            gradient,
            want_x=want_x,
            learn=self.training,
            want_conductances=want_conductances,
            conductances=conductances,
        )
        self._store_ranges()
        return result

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "AnalogBlock":
        """Convert or move everything; what devices hold stays in float64: rounded, it would be no longer what it is."""
        exact = [(name, value) for name, value in self.named_buffers(recurse=False) if is_device_state(name)]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # untyped in torch
        for name, value in exact:
            self.register_buffer(name, value.to(self.get_buffer(name).device))
        return self

    def train(self, mode: bool = True) -> "AnalogBlock":
        """Set training or evaluation; the noise of an evaluation begins anew, so each gives the same."""
        self._phases.state.begin_evaluation()
        if self._devices is not None:
            self._devices.begin_evaluation()
        return super().train(mode)

    def _store_ranges(self) -> None:
        self.get_buffer("converter_ranges").copy_(torch.from_numpy(self._phases.state.values))

    @property
    def last_verified(self) -> VerifyReport | None:
        """What the last write and verify took; None before the first, and where devices are written another way."""
        return None if self._devices is None else self._devices.verified

    @property
    def counters(self) -> Counters:
        """Relaxations, iterations and conversions since the block was made."""
        return self._phases.counters

    @property
    def clamped_share(self) -> float | None:
        """Share of units at a clamp in the last free phase; None before the first."""
        return self._clamped_share

    @property
    def last_nudge(self) -> NudgeResponse | None:
        """How far the last nudged phases moved the outputs; None before the first, and where there was no nudge."""
        return self._phases.last_nudge

    def last_voltages(self) -> tuple[Floats, ...] | None:
        """Return the states of every layer in the last free phase, one [batch, size] V each; None before the first.

        Equation: v_unit s, so (v_p - v_n) / 2 with differential polarity.
        """
        if self._last_voltage_v is None:
            return None
        return tuple(self.block.v_unit_v * s for s in self.circuit.states(self._last_voltage_v))

    def configured(
        self,
        *,
        simulator: AbstractSimulator | None = None,
        settings: PhaseSettings | None = None,
        converters: Converters | None = None,
        gradient: Gradient | None = None,
        relaxation: RelaxationOptions | None = None,
        nonidealities: NonIdealities | Literal["same"] | None = "same",
    ) -> "AnalogBlock":
        """Return a copy with the same weights and other running options; what is left out stays.

        Devices hold in the copy what they hold here; others, or devices that are written otherwise, are written anew.
        """
        effects = self.nonidealities if nonidealities == "same" else nonidealities
        copied = AnalogBlock(
            self.block,
            simulator=simulator or self.simulator,
            settings=settings or self.settings,
            converters=converters or self.converters,
            gradient=gradient or self.gradient,
            generator=torch.Generator(),  # weights are replaced below; the global generator is left alone
            relaxation=relaxation or self.relaxation_options,
            nonidealities=effects,
        )
        for own, other in ((self.g_plus, copied.g_plus), (self.g_minus, copied.g_minus)):
            other.update(copy.deepcopy(dict(own.items())))
        same = self._devices and copied._devices and copied._devices.use.is_written_as(self._devices.use)
        for name in ("converter_ranges", *(BUFFER_NAMES if same else ())):
            copied.register_buffer(name, self.get_buffer(name).clone())
        copied._report = None if self.report is None else (self.report, copied._versions())
        return copied.train(self.training)

    def __deepcopy__(self, memo: dict[int, Any]) -> "AnalogBlock":
        copied = self.configured()
        memo[id(self)] = copied
        for own, other in ((self.g_plus, copied.g_plus), (self.g_minus, copied.g_minus)):
            for name, parameter in own.items():
                memo[id(parameter)] = other[name]
        return copied

    def extra_repr(self) -> str:
        """Name shapes, drive and simulator."""
        sizes = (self.block.input_shape, *(layer.shape for layer in self.block.layers))
        shapes = "-".join(map(format_shape, sizes))
        return f"'{self.block.name}', {shapes}, {self.block.drive.value}-driven, {self.simulator.name}"
