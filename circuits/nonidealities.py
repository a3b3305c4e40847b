"""What of a block is not ideal, as one frozen value: `None` for what is."""

from dataclasses import dataclass, fields, replace
from typing import final

from .crossbar_devices import CrossbarDevices, Write
from .devices.device import Device
from .devices.ranges import require_positive
from .neuron_spread import NeuronSpread
from .source_errors import SourceErrors
from .wires import Wires


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class NonIdealities:
    """Everything by which a block as made differs from the block as designed.

    Args:
        devices: of the crossbars.
        neurons: spread of clamp diodes, rails and leaks.
        sources: errors of inputs, nudges and bias rows.
        wires: resistance of the crossbars' wires.
        temperature_k: K — at which the circuit works; None for the block's own, at which its rails were set.

    Raises:
        CircuitError: for a temperature that is not above zero.
    """

    devices: CrossbarDevices | None = None
    neurons: NeuronSpread | None = None
    sources: SourceErrors | None = None
    wires: Wires | None = None
    temperature_k: float | None = None

    def __post_init__(self) -> None:
        if self.temperature_k is not None:
            require_positive("non-idealities", temperature_k=self.temperature_k)

    @property
    def effects(self) -> tuple[str, ...]:
        """Names of what is on, in the order of the fields."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name) is not None)

    @property
    def as_asked(self) -> "NonIdealities":
        """The same where conductances and sources are what they are asked for, so that gradients are derivatives.

        Devices keep their current law and sources their offsets; what a write, time, temperature or a read does to a
        conductance goes, and so do errors of gain: no update knows them, and gradients go straight through.
        """
        devices, sources = self.devices, self.sources
        if devices is not None:
            kept = devices.device
            device = Device(name=kept.name, g_min_s=kept.g_min_s, g_max_s=kept.g_max_s, cubic=kept.cubic)
            devices = CrossbarDevices(device=device, write=Write.IDEAL)
        if sources is not None:
            sources = replace(sources, gain_error=None, gain_std=None)
        return replace(self, devices=devices, sources=sources)
