"""What one scope of a deck, the deck itself or a subcircuit, holds: elements as columns, nodes and models by name.

Filled by the reader card by card; `spice_flattening` makes a circuit of it.
"""

import re
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar, final

from .spice_lexer import Card

Value = TypeVar("Value", float, str)
PARAMETER: Final = re.compile(r"\{\s*([a-z_][a-z0-9_]*)\s*\}", re.ASCII)  # how a value names a parameter


@final
@dataclass(kw_only=True, slots=True, eq=False)
class Columns(Generic[Value]):
    """Elements of one kind, in the order of the deck: names without the letter of the kind, local nodes, values."""

    names: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    start: list[int] = field(default_factory=list)
    end: list[int] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)

    def add(self, card: Card, name: str, start: int, end: int, value: Value) -> None:
        """Add an element.

        Raises:
            NetlistError: for a name that is taken in this scope, or none at all.
        """
        if not name:
            raise card.error(f"'{card.text.split()[0]}' needs a name after its letter")
        if name in self.seen:
            raise card.error(f"'{card.text.split()[0]}' is there already; rename one")
        self.seen.add(name)
        self.names.append(name)
        self.start.append(start)
        self.end.append(end)
        self.values.append(value)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Call:
    """An instance of a subcircuit.

    Args:
        card: where it is written.
        name: with its x.
        subcircuit: name of what is called.
        nodes: local nodes handed to the ports.
        before: how many elements of each kind stand before it, in the order of `Circuit.groups`.
    """

    card: Card
    name: str
    subcircuit: str
    nodes: list[int]
    before: tuple[int, ...]


@final
@dataclass(kw_only=True, slots=True, eq=False)
class HalfAmplifier:
    """An amplifier while its cards are read: E, then the source that measures, then F.

    Args:
        card: of the E.
        name: without its letter.
        start: name of the node that controls it.
        gain: of the E.
        end: name of the node behind the source; empty until that has come.
        sense: name of the source, with its letter.
    """

    card: Card
    name: str
    start: str
    gain: float
    end: str = ""
    sense: str = ""


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reference:
    """A value that names a parameter: which entry of which columns waits for it."""

    card: Card
    parameter: str
    columns: Columns[float]
    entry: int


@final
@dataclass(kw_only=True, slots=True, eq=False)
class Scope:
    """A deck or a subcircuit.

    Args:
        card: its .subckt; the place of the deck otherwise.
        name: of the subcircuit, "" for the deck.
        n_ports: the first n_ports nodes are its ports.
        nodes: index by local name.
        resistors, voltage_sources, current_sources, capacitors: values in S, V, A, F.
        amplifiers: values are gains.
        half_amplifiers: those of which not every card has come, by the node between.
        inner_nodes: names of the nodes inside the others, with the card of each.
        diodes: values are model names; diode_cards say where they are.
        driven_voltage, driven_current: entries whose value comes with each sample.
        cubic: k3 in 1/V^2 by entry of the resistors that are not linear.
        calls: instances of subcircuits.
        references: values that wait for a parameter.
        parameters: text of each value, and its card.
        models: index into the deck's table by local name.
    """

    card: Card
    name: str = ""
    n_ports: int = 0
    nodes: dict[str, int] = field(default_factory=dict)
    resistors: Columns[float] = field(default_factory=Columns)
    diodes: Columns[str] = field(default_factory=Columns)
    voltage_sources: Columns[float] = field(default_factory=Columns)
    current_sources: Columns[float] = field(default_factory=Columns)
    capacitors: Columns[float] = field(default_factory=Columns)
    amplifiers: Columns[float] = field(default_factory=Columns)
    half_amplifiers: dict[str, HalfAmplifier] = field(default_factory=dict)
    inner_nodes: dict[str, Card] = field(default_factory=dict)
    diode_cards: list[Card] = field(default_factory=list)
    driven_voltage: list[int] = field(default_factory=list)
    driven_current: list[int] = field(default_factory=list)
    cubic: dict[int, float] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    called: set[str] = field(default_factory=set)
    references: list[Reference] = field(default_factory=list)
    parameters: dict[str, tuple[str, Card]] = field(default_factory=dict)
    models: dict[str, int] = field(default_factory=dict)

    def node(self, name: str) -> int:
        """Return the local index of a node."""
        return self.nodes.setdefault(name, len(self.nodes))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of elements of each kind, in the order of `Circuit.groups`."""
        return (
            len(self.resistors.names),
            len(self.diodes.names),
            len(self.voltage_sources.names),
            len(self.current_sources.names),
            len(self.capacitors.names),
            len(self.amplifiers.names),
        )
