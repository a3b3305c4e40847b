"""Flatten the scopes of a deck into one circuit: each instance becomes its elements, in the order of the deck.

Nodes handed to a port keep the outer name, so a deck whose subcircuits have ports only keeps all its names. An inner
node gets the path of instances before it ("xa.xb.mid"), and so does a device whose name another device of its kind has.
"""

from collections import Counter
from collections.abc import Mapping
from itertools import chain
from typing import Final, NamedTuple, final

import numpy as np
import numpy.typing as npt

from circuits.arrays import Floats, Indices
from circuits.circuit import Circuit
from circuits.diode import DiodeModel
from circuits.elements import Amplifiers, Capacitors, CurrentSources, Diodes, Resistors, VoltageSources
from circuits.piecewise_linear_diode import PiecewiseLinearDiode

from .errors import NetlistError
from .spice_lexer import Card
from .spice_numbers import conductance_of, parse_number
from .spice_scope import PARAMETER, Call, Columns, Scope

MOST_ELEMENTS: Final = 20_000_000  # instances of instances multiply: a few lines could ask for more than any memory
DEEPEST_CALL: Final = 100
_GROUND: Final = frozenset({"0", "gnd"})


class _Piece(NamedTuple):
    """Elements of one kind, [n] each: where they are, names, nodes, values (or models), and what only some have.

    That is one for a source that is driven, and k3 in 1/V^2 for a resistor.
    """

    path: str
    names: list[str]
    start: Indices
    end: Indices
    values: Floats
    extra: Floats


def flatten(
    top: Scope,
    subcircuits: Mapping[str, Scope],
    models: tuple[DiodeModel | PiecewiseLinearDiode, ...],
    *,
    name: str,
    temperature_k: float,
    gmin_s: float,
) -> Circuit:
    """Return the circuit of a deck.

    Args:
        top: the deck.
        subcircuits: by name.
        models: the table that the scopes' models point into.
        name: of the circuit.
        temperature_k: K.
        gmin_s: S.

    Raises:
        NetlistError: with file and line, for a parameter, model or subcircuit that is not defined, a wrong number of
            nodes, a subcircuit that contains itself, or too many elements.
    """
    for scope in (top, *subcircuits.values()):
        _fill_in_parameters(scope, top)
    _count_elements(top, subcircuits, {}, ())
    flat = _Flat(top, subcircuits)
    flat.expand(top, np.array([flat.node(node) for node in top.nodes], dtype=np.int64), "")
    r, d, v, i, c, a = (_joined(kind, top.card) for kind in flat.pieces)
    return Circuit(
        name=name,
        nodes=tuple(flat.nodes),
        resistors=Resistors(names=tuple(r.names), a=r.start, b=r.end, conductance_s=r.values, k3_per_v2=r.extra),
        diodes=Diodes(
            names=tuple(d.names), anode=d.start, cathode=d.end, model=d.values.astype(np.int64), models=models
        ),
        voltage_sources=VoltageSources(
            names=tuple(v.names), plus=v.start, minus=v.end, voltage_v=v.values, driven=v.extra > 0
        ),
        current_sources=CurrentSources(
            names=tuple(i.names), start=i.start, end=i.end, current_a=i.values, driven=i.extra > 0
        ),
        capacitors=Capacitors(names=tuple(c.names), a=c.start, b=c.end, capacitance_f=c.values),
        amplifiers=Amplifiers(names=tuple(a.names), start=a.start, end=a.end, gain=a.values),
        temperature_k=temperature_k,
        gmin_s=gmin_s,
        active=bool((r.values <= 0).any()),
    )


def _fill_in_parameters(scope: Scope, top: Scope) -> None:
    """Put the values of parameters where they are referred to."""
    for reference in scope.references:
        value = parse_number(_parameter(reference.parameter, scope, top, reference.card), parameter=True)
        try:
            number = conductance_of(value) if reference.columns is scope.resistors else float(value)
        except NetlistError as error:
            raise reference.card.error(str(error)) from None
        reference.columns.values[reference.entry] = number


def _parameter(name: str, scope: Scope, top: Scope, card: Card) -> str:
    """Return the number, as text, that a parameter stands for: of the subcircuit, else of the deck."""
    seen: set[str] = set()
    while True:
        if name in seen:
            raise card.error(f"parameter '{name}' is defined by itself")
        seen.add(name)
        if name not in scope.parameters:
            scope = top
        if name not in scope.parameters:
            raise card.error(f"unknown parameter '{name}'; define it with .param")
        text, card = scope.parameters[name]
        found = PARAMETER.fullmatch(text)
        if found is None:
            return text
        name = found[1]


def _count_elements(
    scope: Scope, subcircuits: Mapping[str, Scope], counted: dict[str, int], path: tuple[str, ...]
) -> int:
    """Return how many elements a scope has with all its instances, and check every call."""
    total = sum(scope.sizes)
    for call in scope.calls:
        called = subcircuits.get(call.subcircuit)
        if called is None:
            raise call.card.error(f"unknown subcircuit '{call.subcircuit}'; define it with .subckt")
        if len(call.nodes) != called.n_ports:
            raise call.card.error(
                f"'{call.name}' gives {len(call.nodes)} nodes to subcircuit '{call.subcircuit}', which has "
                f"{called.n_ports}"
            )
        if call.subcircuit in path:
            raise call.card.error(f"subcircuit '{call.subcircuit}' contains itself")
        if len(path) >= DEEPEST_CALL:
            raise call.card.error(f"subcircuits more than {DEEPEST_CALL} deep")
        if call.subcircuit not in counted:
            inside = (*path, call.subcircuit)
            counted[call.subcircuit] = _count_elements(called, subcircuits, counted, inside)
        total += counted[call.subcircuit] + 1  # an instance without elements costs, too
        if total > MOST_ELEMENTS:
            raise call.card.error(f"more than {MOST_ELEMENTS:,} elements with this instance")
    return total


@final
class _Flat:
    """Nodes and pieces collected while the scopes are expanded."""

    def __init__(self, top: Scope, subcircuits: Mapping[str, Scope]) -> None:
        self.nodes: dict[str, int] = {"0": 0}
        self.pieces: tuple[list[_Piece], ...] = ([], [], [], [], [], [])
        self.top = top
        self.subcircuits = subcircuits
        self.whole: dict[str, tuple[_Piece, ...]] = {}

    def node(self, name: str) -> int:
        """Return the circuit's index of a node."""
        return 0 if name in _GROUND else self.nodes.setdefault(name, len(self.nodes))

    def expand(self, scope: Scope, outer: Indices, path: str) -> None:
        """Add the elements of a scope whose local nodes are the given ones, [n_local]."""
        if scope.name not in self.whole:
            self.whole[scope.name] = self._arrays(scope)
        whole = self.whole[scope.name]
        done = (0,) * len(whole)
        for call in scope.calls:
            self._add(whole, done, call.before, outer, path)
            done = call.before
            self._expand_call(call, outer, f"{path}.{call.name}" if path else call.name)
        self._add(whole, done, scope.sizes, outer, path)

    def _expand_call(self, call: Call, outer: Indices, path: str) -> None:
        called = self.subcircuits[call.subcircuit]
        inner = list(called.nodes)[called.n_ports :]
        nodes = [self.node(name if name in _GROUND else f"{path}.{name}") for name in inner]
        self.expand(called, np.concatenate([outer[call.nodes], np.array(nodes, dtype=np.int64)]), path)

    def _add(
        self, whole: tuple[_Piece, ...], start: tuple[int, ...], stop: tuple[int, ...], outer: Indices, path: str
    ) -> None:
        """Add a run of a scope's elements of each kind."""
        for kind, piece, first, last in zip(self.pieces, whole, start, stop, strict=True):
            if last > first:
                run = slice(first, last)
                nodes = outer[piece.start[run]], outer[piece.end[run]]
                kind.append(_Piece(path, piece.names[run], *nodes, piece.values[run], piece.extra[run]))

    def _arrays(self, scope: Scope) -> tuple[_Piece, ...]:
        """Return all elements of a scope with their local nodes."""
        models = self.top.models | scope.models
        for name, card in zip(scope.diodes.values, scope.diode_cards, strict=True):
            if name not in models:
                raise card.error(f"unknown model '{name}'; define it with .model")
        return (
            _piece(scope.resistors, scope.resistors.values, scope.cubic),
            _piece(scope.diodes, [models[name] for name in scope.diodes.values]),
            _piece(scope.voltage_sources, scope.voltage_sources.values, dict.fromkeys(scope.driven_voltage, 1.0)),
            _piece(scope.current_sources, scope.current_sources.values, dict.fromkeys(scope.driven_current, 1.0)),
            _piece(scope.capacitors, scope.capacitors.values),
            _piece(scope.amplifiers, scope.amplifiers.values),
        )


def _piece(
    columns: Columns[float] | Columns[str], values: npt.ArrayLike, extra: Mapping[int, float] | None = None
) -> _Piece:
    column = np.zeros(len(columns.names))
    column[list(extra or ())] = list((extra or {}).values())
    start, end = (np.array(nodes, dtype=np.int64) for nodes in (columns.start, columns.end))
    return _Piece("", columns.names, start, end, np.array(values, dtype=np.float64), column)


def _joined(pieces: list[_Piece], place: Card) -> _Piece:
    """Return the pieces of one kind as one, with names that differ."""
    if not pieces:
        return _piece(Columns[float](), [])
    names = list(chain.from_iterable(piece.names for piece in pieces))
    if len(set(names)) < len(names):
        count = Counter(names)
        names = [
            f"{piece.path}.{name}" if piece.path and count[name] > 1 else name
            for piece in pieces
            for name in piece.names
        ]
        repeated = [name for name, times in Counter(names).items() if times > 1]
        if repeated:
            raise NetlistError(f"{place.file}: flattened, two devices are named '{repeated[0]}'; rename one")
    columns = (np.concatenate(column) for column in zip(*(piece[2:] for piece in pieces), strict=True))
    start, end, values, extra = columns
    return _Piece("", names, start, end, values, extra)
