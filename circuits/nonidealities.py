"""What of a block is not ideal, as one frozen value: `None` for what is."""

from dataclasses import dataclass, fields
from typing import final

from .crossbar_devices import CrossbarDevices
from .devices.ranges import require_positive
from .neuron_spread import NeuronSpread
from .source_errors import SourceErrors


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class NonIdealities:
    """Everything by which a block as made differs from the block as designed.

    Args:
        devices: of the crossbars.
        neurons: spread of clamp diodes, rails and leaks.
        sources: errors of inputs, nudges and bias rows.
        temperature_k: K — at which the circuit works; None for the block's own, at which its rails were set.

    Raises:
        CircuitError: for a temperature that is not above zero.
    """

    devices: CrossbarDevices | None = None
    neurons: NeuronSpread | None = None
    sources: SourceErrors | None = None
    temperature_k: float | None = None

    def __post_init__(self) -> None:
        if self.temperature_k is not None:
            require_positive("non-idealities", temperature_k=self.temperature_k)

    @property
    def effects(self) -> tuple[str, ...]:
        """Names of what is on, in the order of the fields."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name) is not None)
