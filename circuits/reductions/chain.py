"""Two reductions one after the other: the first acts on the full circuit, the second on what is left."""

from dataclasses import dataclass
from typing import final

from ..arrays import Floats, Indices
from ..circuit import Circuit
from .base import AbstractProgram, AbstractReduction


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ChainProgram(AbstractProgram):
    """Both reductions with their conductances."""

    first: AbstractProgram
    second: AbstractProgram

    @property
    def conductance_s(self) -> Floats:
        """[n_reduced_resistors] S."""
        return self.second.conductance_s

    def applies_to(self, drives: Floats) -> bool:
        """Return whether both conditions hold."""
        return self.first.applies_to(drives) and self.second.applies_to(self.first.drives(drives))

    def drives(self, drives: Floats) -> Floats:
        """Reduce twice."""
        return self.second.drives(self.first.drives(drives))

    def expand(self, drives: Floats, voltage_v: Floats) -> Floats:
        """Expand in the opposite order."""
        return self.first.expand(drives, self.second.expand(self.first.drives(drives), voltage_v))

    def expand_ports(self, drives: Floats, voltage_v: Floats) -> Floats:
        """Expand in the opposite order, but for the inside of a port reduction."""
        return self.first.expand_ports(drives, self.second.expand_ports(self.first.drives(drives), voltage_v))

    def restrict(self, voltage_v: Floats) -> Floats:
        """Restrict twice."""
        return self.second.restrict(self.first.restrict(voltage_v))


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Chain(AbstractReduction):
    """`second` reduces what `first` leaves; its full circuit is `first.reduced`."""

    first: AbstractReduction
    second: AbstractReduction

    @property
    def reduced(self) -> Circuit:
        """What both leave."""
        return self.second.reduced

    @property
    def kept_nodes(self) -> Indices:
        """Those that the second leaves of those that the first leaves."""
        return self.first.kept_nodes[self.second.kept_nodes]

    def program(self, conductance_s: Floats) -> ChainProgram | None:
        """Program both; None where either condition fails."""
        first = self.first.program(conductance_s)
        second = None if first is None else self.second.program(first.conductance_s)
        return None if first is None or second is None else ChainProgram(first=first, second=second)
