"""What was found of a chip: values only, block by block and in sum, and how programs get them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

from .activity import BlockActivity
from .conversion import BlockConverters
from .digital_work import StageWork
from .inventory import BlockInventory
from .parts import EnergyParts, sum_parts
from .settled_energy import PhaseCost
from .sweeps import SweepCount


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Energies:
    """Energy of one inference, and of one sample of a training step; None where training was not priced."""

    inference: EnergyParts
    training: EnergyParts | None

    def __add__(self, other: "Energies") -> "Energies":
        training = None
        if self.training is not None and other.training is not None:
            training = self.training + other.training
        return Energies(inference=self.inference + other.inference, training=training)

    def __sub__(self, other: "Energies") -> "Energies":
        training = None
        if self.training is not None and other.training is not None:
            training = self.training - other.training
        return Energies(inference=self.inference - other.inference, training=training)

    def to_json(self) -> dict[str, Any]:
        """Return both."""
        return {
            "inference": self.inference.to_json(),
            "training_step": None if self.training is None else self.training.to_json(),
        }


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessorPrice:
    """A digital processor with its buffer.

    Args:
        work: per sample; that of an energy block which is computed is in it, and updates of parameters.
        parameters: trained numbers, conductances included.
        inference_bytes, training_bytes: what its buffer holds; the stage and the energy block have a bank each.
        moved_bytes: in an inference, and in a sample of a training step, codes of converters included.
    """

    work: StageWork
    parameters: int
    inference_bytes: float
    training_bytes: float
    moved_bytes: tuple[float, float]

    def __add__(self, other: "ProcessorPrice") -> "ProcessorPrice":
        return ProcessorPrice(
            work=self.work + other.work,
            parameters=self.parameters + other.parameters,
            inference_bytes=self.inference_bytes + other.inference_bytes,
            training_bytes=self.training_bytes + other.training_bytes,
            moved_bytes=(self.moved_bytes[0] + other.moved_bytes[0], self.moved_bytes[1] + other.moved_bytes[1]),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the numbers."""
        return {
            "parameters": self.parameters,
            "buffer_bytes": {"inference": self.inference_bytes, "training": self.training_bytes},
            "inference": {**self.work.inference.to_json(), "bytes_moved": self.moved_bytes[0]},
            "training_step": {**self.work.training.to_json(), "bytes_moved": self.moved_bytes[1]},
        }


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CircuitPrice:
    """The analog side of a block.

    Args:
        sizes: of its layers, input first where it has rows of its own: "64-32-24".
        inventory: parts.
        converters: banks.
        inference, training: what it does for a sample; training None where it was not priced.
        phases: time and energy of each phase, the free one of an inference first.
        training_phases: those of a training step; its free phase is another where it is compared with a nudged one.
        balance_error: largest relative difference of power delivered and dissipated.
        sweeps: of its relaxation done digitally.
    """

    sizes: str
    inventory: BlockInventory
    converters: BlockConverters
    inference: BlockActivity
    training: BlockActivity | None
    phases: tuple[PhaseCost, ...]
    training_phases: tuple[PhaseCost, ...]
    balance_error: float
    sweeps: SweepCount

    @property
    def inference_s(self) -> float:
        """Time that the circuit is on in an inference, s."""
        return self.phases[0].settling_s + self.phases[0].hold_s

    @property
    def training_s(self) -> float:
        """Time that the circuit is on for a sample of a training step, s."""
        return sum(phase.settling_s + phase.hold_s for phase in self.training_phases)

    def to_json(self) -> dict[str, Any]:
        """Return the numbers."""
        return {
            "sizes": self.sizes,
            "inventory": self.inventory.to_json(),
            "converters": {
                "sharing": self.converters.sharing.value,
                "banks": [bank.to_json() for bank in self.converters.banks],
            },
            "inference": self.inference.to_json(),
            "training_step": None if self.training is None else self.training.to_json(),
            "phases": [phase.to_json() for phase in self.phases],
            "training_phases": [phase.to_json() for phase in self.training_phases],
            "time_s": {"inference": self.inference_s, "training_step": self.training_s},
            "power_balance_error": self.balance_error,
            "digital_sweeps": {
                "free": self.sweeps.free,
                "nudged": self.sweeps.nudged,
                "macs_per_sweep": self.sweeps.macs_per_sweep,
                "macs_of_input": self.sweeps.macs_of_input,
            },
        }


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TilePrice:
    """One tile of the paper's chip: analog processors, a digital processor and a buffer; or the readout's processor.

    Args:
        name: of the energy block, or "readout".
        circuit: None where everything is computed digitally.
        processor: the digital processor, with its buffer.
        energies: of the tile.
        tanh, relaxed: of the same tile all-digital: tanh layers in the block's place, or its relaxation computed.
        shared: of the digital stage alone, which all three have.
    """

    name: str
    circuit: CircuitPrice | None
    processor: ProcessorPrice
    energies: Energies
    tanh: Energies
    relaxed: Energies
    shared: Energies

    def to_json(self) -> dict[str, Any]:
        """Return the tile."""
        return {
            "name": self.name,
            "kind": "digital" if self.circuit is None else "analog",
            "circuit": None if self.circuit is None else self.circuit.to_json(),
            "processor": self.processor.to_json(),
            "energy": self.energies.to_json(),
            "energy_of_stage": self.shared.to_json(),
            "all_digital": {"tanh_layers": self.tanh.to_json(), "relaxation": self.relaxed.to_json()},
        }


def sum_energies(energies: Iterable[Energies]) -> Energies:
    """Return the sum; training is None where any part has none."""
    listed = list(energies)
    trained = [e.training for e in listed if e.training is not None]
    return Energies(
        inference=sum_parts(e.inference for e in listed),
        training=sum_parts(trained) if len(trained) == len(listed) else None,
    )
