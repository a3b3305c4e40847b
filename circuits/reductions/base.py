"""What every exact reduction offers: analysed once per topology, programmed once per parameter set.

    reduce:  (g, drives) -> (g', drives')      solve the smaller circuit      expand:  v' -> v

A reduction switches itself off where its condition fails: its constructor returns None for a topology, `program`
returns None for conductances and `applies_to` is False for drives that break it.
"""

from abc import ABC, abstractmethod

from ..arrays import Floats, Indices
from ..circuit import Circuit


class AbstractProgram(ABC):
    """A reduction with its conductances put in."""

    @property
    @abstractmethod
    def conductance_s(self) -> Floats:
        """[n_reduced_resistors] S — conductances of the reduced circuit."""

    @abstractmethod
    def applies_to(self, drives: Floats) -> bool:
        """Return whether a batch of drives of the full circuit ([batch, n_drives]) meets the condition."""

    @abstractmethod
    def drives(self, drives: Floats) -> Floats:
        """Return the reduced circuit's drives ([batch, n_reduced_drives]) for the full circuit's."""

    @abstractmethod
    def expand(self, drives: Floats, voltage_v: Floats) -> Floats:
        """Return all node voltages of the full circuit.

        Args:
            drives: [batch, n_drives] V then A — of the full circuit.
            voltage_v: [batch, n_reduced_nodes] V — solution of the reduced circuit.

        Returns:
            [batch, n_nodes] V.
        """

    def expand_ports(self, drives: Floats, voltage_v: Floats) -> Floats:
        """Return what `expand` does, but for what costs time: voltages inside of a port reduction are NaN."""
        return self.expand(drives, voltage_v)

    @abstractmethod
    def restrict(self, voltage_v: Floats) -> Floats:
        """Return the reduced circuit's node voltages for the full circuit's, the inverse of `expand`."""


class AbstractReduction(ABC):
    """A reduction of one circuit's topology."""

    @property
    @abstractmethod
    def reduced(self) -> Circuit:
        """The smaller circuit; its values are those of the full circuit's own values."""

    @property
    @abstractmethod
    def kept_nodes(self) -> Indices:
        """[n_reduced_nodes] the full circuit's node behind each node of the reduced one."""

    @abstractmethod
    def program(self, conductance_s: Floats) -> AbstractProgram | None:
        """Put conductances in ([n_resistors] S); None where they break the condition."""
