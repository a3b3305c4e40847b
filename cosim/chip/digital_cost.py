"""What digital work costs: multiply-adds in an arithmetic, values through buffers whose size decides their energy."""

from dataclasses import dataclass
from enum import Enum
from typing import Final, final

from ..training.config import OptimizerKind
from .constants import Constants
from .digital_work import DigitalWork

KB: Final = 1024


class Arithmetic(Enum):
    """In what a digital processor computes."""

    INT8 = "int8"  # products of 8 bits, summed in 32
    FLOAT16 = "float16"
    FLOAT32 = "float32"

    @property
    def value_bytes(self) -> int:
        """Bytes of a value in a buffer."""
        return {Arithmetic.INT8: 1, Arithmetic.FLOAT16: 2, Arithmetic.FLOAT32: 4}[self]

    def mac_j(self, constants: Constants) -> float:
        """Return the energy of one multiply-add."""
        parts = {
            Arithmetic.INT8: ("int8_multiply", "int32_add"),
            Arithmetic.FLOAT16: ("float16_multiply", "float16_add"),
            Arithmetic.FLOAT32: ("float32_multiply", "float32_add"),
        }
        return sum(constants[name] for name in parts[self])


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """What an optimiser does to one parameter, once a step.

    Args:
        operations: multiply-adds and the like.
        values: read and written.
        copies: kept for a parameter: itself, its gradient, what the optimiser remembers.
    """

    operations: int
    values: int
    copies: int


# AdamW: decay 1, two moments 2 + 3, root and division 2, scale and step 2; SGD: decay, momentum, step.
_UPDATES: Final = {
    OptimizerKind.ADAMW: Update(operations=10, values=7, copies=4),
    OptimizerKind.ADAM: Update(operations=10, values=7, copies=4),
    OptimizerKind.SGD: Update(operations=3, values=5, copies=3),
}


def update_of(optimizer: OptimizerKind) -> Update:
    """Return what an optimiser does to one parameter."""
    return _UPDATES[optimizer]


def update_work(optimizer: OptimizerKind, parameters: int, batch_size: int) -> DigitalWork:
    """Return the work of a step on some parameters, one sample's share of it."""
    update, share = update_of(optimizer), parameters / batch_size
    return DigitalWork(elementwise=update.operations * share, values=update.values * share)


def buffer_j_per_byte(capacity_bytes: float, constants: Constants) -> float:
    """Return the energy of one byte read from or written to a buffer of a size.

    Equation: that of the smallest published SRAM that holds it; more than 1 MB is banks of 1 MB.
    """
    if capacity_bytes <= 8 * KB:
        return constants["sram_8kb"]
    return constants["sram_32kb"] if capacity_bytes <= 32 * KB else constants["sram_1mb"]


def work_energy_j(work: DigitalWork, arithmetic: Arithmetic, constants: Constants) -> float:
    """Return the energy of multiply-adds and elementwise operations, each of which counts as a multiply-add."""
    return (work.macs + work.elementwise) * arithmetic.mac_j(constants)
