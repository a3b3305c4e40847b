"""Read SPICE text back into a circuit: the part of SPICE that this project writes, and a little more.

Accepted: R, C, V, I, D and X cards; G cards of an active leak, a VCCS across its own nodes; B cards of a cubic device
or a piecewise-linear diode; E, V and F cards, in this order, of a bidirectional amplifier; .include (.inc), .subckt and
.ends, .param, .model d(...), .options, .title, .end; .op and .save are passed over. Values are numbers or, but for G,
B, E and F, {parameter}. Names are case-blind. Everything else is refused with file and line: other expressions,
definitions inside a subcircuit, its parameters, sources that are more than DC, and so on.

A source is driven where its value is {drive_<its name>}: its value comes with each sample.
"""

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, final

from circuits.circuit import Circuit
from circuits.diode import DiodeModel
from circuits.piecewise_linear_diode import PiecewiseLinearDiode

from .errors import NetlistError
from .netlist import SolverOptions
from .spice_cubic import FORM, parse_law
from .spice_flattening import flatten
from .spice_lexer import Card, read_cards, require_printable
from .spice_numbers import conductance_of
from .spice_piecewise import STARTS, parse_diode
from .spice_scope import PARAMETER, Call, Columns, HalfAmplifier, Reference, Scope
from .spice_settings import parse_assignments, parse_model, parse_options, parse_value, solver_options

DRIVE: Final = "drive_"  # a driven source's value is the parameter of this and its name
# What the writers make of a resistor; all other cards take the longer way.
_RESISTOR: Final = re.compile(
    r"r([a-z0-9_]+) ([a-z0-9_]+) ([a-z0-9_]+) ([+-]?\d+(?:\.\d*)?(?:e[+-]?\d{1,4})?)", re.ASCII
)
_NAME: Final = re.compile(r"[^\s{}'\"=(),;$\\]+")
GROUND: Final = frozenset({"0", "gnd"})
AMPLIFIER: Final = "Ename m 0 start 0 A, Vname m end 0, Fname start 0 Vname 1/A"
_PASSED_OVER: Final = frozenset({".op", ".save", ".end"})


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Deck:
    """What a deck says.

    Args:
        circuit: named after the title; elements in the order of the deck, instances flattened in place. A device keeps
            its own name where no other of its kind has it, else it gets the path of instances, like "xa.xb.1".
        options: tolerances and limits; ngspice's own where the deck has none.
    """

    circuit: Circuit
    options: SolverOptions


def read_deck(path: str | os.PathLike[str]) -> Deck:
    """Read a deck and the files it includes.

    Args:
        path: the deck. Includes are sought beside the file that names them.

    Returns:
        its circuit and its options. A conductance is the double nearest to 1 / R.

    Raises:
        NetlistError: with file and line, for everything that is not accepted.
    """
    title, cards = read_cards(path)
    reader = _Reader(Card(os.fspath(path), 1, ""), title)
    reader.read(cards)
    options, temperature_k, gmin_s = solver_options(reader.options)
    circuit = flatten(
        reader.top,
        reader.subcircuits,
        tuple(reader.models),
        name=reader.title,
        temperature_k=temperature_k,
        gmin_s=gmin_s,
    )
    return Deck(circuit=circuit, options=options)


@final
class _Reader:
    """Scopes, models and options collected card by card."""

    def __init__(self, place: Card, title: str) -> None:
        self.title = title
        self.top = Scope(card=place)
        self.scope = self.top
        self.subcircuits: dict[str, Scope] = {}
        self.models: list[DiodeModel | PiecewiseLinearDiode] = []
        self.options: dict[str, tuple[Decimal, Card]] = {}
        self.elements: dict[str, Callable[[Card, list[str]], None]] = {
            "r": self._resistor,
            "g": self._active_leak,
            "b": self._behavioural,
            "d": self._diode,
            "v": self._source,
            "i": self._source,
            "c": self._capacitor,
            "e": self._amplifier,
            "f": self._amplifier_back,
            "x": self._call,
        }
        self.controls: dict[str, Callable[[Card, list[str]], None]] = {
            ".subckt": self._open,
            ".ends": self._close,
            ".param": self._parameters,
            ".model": self._model,
            ".options": self._options,
            ".option": self._options,
            ".title": self._title,
        }

    def read(self, cards: Iterable[Card]) -> None:
        """Take every card; most are plain resistors."""
        plain = _RESISTOR.fullmatch
        for card in cards:
            found = plain(card.text)
            if found is None:
                self._card(card)
                continue
            name, a, b, value = found.groups()
            nodes = self.scope.nodes
            start, end = nodes.setdefault(a, len(nodes)), nodes.setdefault(b, len(nodes))
            self.scope.resistors.add(card, name, start, end, _conductance(card, Decimal(value)))
        if self.scope is not self.top:
            raise self.scope.card.error(f"subcircuit '{self.scope.name}' has no .ends")
        self._check_amplifiers()

    def _check_amplifiers(self) -> None:
        """Raise NetlistError for an amplifier of which a card is missing, or whose node between has other elements."""
        for half in self.scope.half_amplifiers.values():
            raise half.card.error(f"a VCVS is read where it is half of an amplifier; write '{AMPLIFIER}'")
        for node, card in self.scope.inner_nodes.items():
            if node in self.scope.nodes:
                raise card.error(f"node '{node}' of an amplifier belongs to it alone; rename it")

    def _card(self, card: Card) -> None:
        """Take a card that is not a plain resistor."""
        require_printable(card)
        words = card.text.split()
        word = words[0]
        if word in _PASSED_OVER:
            return
        if word[0] == ".":
            if word not in self.controls:
                raise card.error(f"'{word}' is not read here; remove it, or keep it in a deck of its own")
            self.controls[word](card, words[1:])
        elif word[0] not in self.elements:
            raise card.error(f"unknown element '{word}'; R, G, B, C, V, I, D, E, F and X are read")
        else:
            self.elements[word[0]](card, words)

    def _terminals(self, card: Card, words: list[str], form: str) -> tuple[str, int, int]:
        """Return name and nodes of a card of four words: element, two nodes, value."""
        if len(words) != 4:
            raise card.error(f"'{words[0]}' has {len(words)} words; write '{form}'")
        name, start, end = _checked(card, words[:3])
        return name[1:], self.scope.node(start), self.scope.node(end)

    def _value(self, card: Card, text: str, columns: Columns[float]) -> Decimal:
        """Return a value; for a parameter note who waits for it, and return a value to stand in."""
        if found := PARAMETER.fullmatch(text):
            entry = len(columns.names)
            self.scope.references.append(Reference(card=card, parameter=found[1], columns=columns, entry=entry))
            return Decimal(1)
        if text[0] in "{'":
            raise card.error(f"{text}: expressions are not read; give a number or {{parameter}}")
        return parse_value(card, text)

    def _resistor(self, card: Card, words: list[str]) -> None:
        name, a, b = self._terminals(card, words, "Rname node node ohms")
        value = self._value(card, words[3], self.scope.resistors)
        self.scope.resistors.add(card, name, a, b, _conductance(card, value))

    def _active_leak(self, card: Card, words: list[str]) -> None:
        form = "Gname node node node node siemens"
        if words[1:3] != words[3:5]:
            raise card.error(f"a VCCS is read where its own nodes control it, as an active leak; write '{form}'")
        name, a, b = self._terminals(card, [*words[:3], *words[5:]], form)
        self.scope.resistors.add(card, name, a, b, float(parse_value(card, words[5])))

    def _behavioural(self, card: Card, words: list[str]) -> None:
        expression = "".join(words[3:])
        name, a, b = self._terminals(card, [*words[:3], *([expression] if expression else [])], FORM)
        if expression.startswith(STARTS):
            self._piecewise_linear(card, words, expression)
            return
        try:
            conductance_s, k3_per_v2 = parse_law(words[1], words[2], expression)
        except NetlistError as error:
            raise card.error(str(error)) from None
        if k3_per_v2:
            self.scope.cubic[len(self.scope.resistors.names)] = k3_per_v2
        self.scope.resistors.add(card, name, a, b, conductance_s)

    def _piecewise_linear(self, card: Card, words: list[str], expression: str) -> None:
        try:
            model = parse_diode(words[0], words[1], words[2], expression)
        except NetlistError as error:
            raise card.error(str(error)) from None
        if model not in self.models:
            self.models.append(model)
        index = self.models.index(model)
        self.scope.models.setdefault(f"({index})", index)  # no name that a deck could give to one
        self._add_diode(card, words, f"({index})")

    def _capacitor(self, card: Card, words: list[str]) -> None:
        name, a, b = self._terminals(card, words, "Cname node node farads")
        value = self._value(card, words[3], self.scope.capacitors)
        self.scope.capacitors.add(card, name, a, b, float(value))

    def _amplifier(self, card: Card, words: list[str]) -> None:
        if len(words) != 6 or words[2] not in GROUND or words[4] not in GROUND:
            raise card.error(f"a VCVS is read where it is half of an amplifier; write '{AMPLIFIER}'")
        name, between, start = _checked(card, [words[0], words[1], words[3]])
        if between in self.scope.half_amplifiers or between in self.scope.inner_nodes:
            raise card.error(f"node '{between}' of an amplifier belongs to it alone; rename it")
        gain = float(parse_value(card, words[5]))
        self.scope.half_amplifiers[between] = HalfAmplifier(card=card, name=name[1:], start=start, gain=gain)

    def _sense(self, card: Card, words: list[str], half: HalfAmplifier) -> None:
        """Take the source that measures what an amplifier delivers."""
        if len(words) != 4 or parse_value(card, words[3]) or half.end:
            raise card.error(f"behind the VCVS of an amplifier stands one source of 0 V; write '{AMPLIFIER}'")
        half.sense, half.end = _checked(card, [words[0], words[2]])

    def _amplifier_back(self, card: Card, words: list[str]) -> None:
        found = next((at for at, half in self.scope.half_amplifiers.items() if [half.sense] == words[3:4]), None)
        if len(words) != 5 or found is None:
            raise card.error(f"a CCCS is read behind the other cards of its amplifier; write '{AMPLIFIER}'")
        half = self.scope.half_amplifiers.pop(found)
        back = float(parse_value(card, words[4]))
        if words[1] != half.start or words[2] not in GROUND or not half.gain or back != 1.0 / half.gain:
            raise card.error(f"this CCCS does not draw 1 / {half.gain!r} of the current out of '{half.start}'; it must")
        self.scope.inner_nodes[found] = half.card
        start, end = self.scope.node(half.start), self.scope.node(half.end)
        self.scope.amplifiers.add(half.card, half.name, start, end, half.gain)

    def _source(self, card: Card, words: list[str]) -> None:
        if words[3:4] == ["dc"]:
            del words[3]
        if words[0][0] == "v" and words[1:2] and words[1] in self.scope.half_amplifiers:
            self._sense(card, words, self.scope.half_amplifiers[words[1]])
            return
        name, plus, minus = self._terminals(card, words, f"{words[0][0].upper()}name node node dc value")
        voltage = words[0][0] == "v"
        columns = self.scope.voltage_sources if voltage else self.scope.current_sources
        value = self._value(card, words[3], columns)
        if words[3] == f"{{{DRIVE}{words[0]}}}":
            (self.scope.driven_voltage if voltage else self.scope.driven_current).append(len(columns.names))
        columns.add(card, name, plus, minus, float(value))

    def _diode(self, card: Card, words: list[str]) -> None:
        self._terminals(card, words, "Dname anode cathode model")
        self._add_diode(card, words, words[3])

    def _add_diode(self, card: Card, words: list[str], model: str) -> None:
        name, anode, cathode = words[0][1:], *map(self.scope.node, words[1:3])
        self.scope.diodes.add(card, name, anode, cathode, model)
        self.scope.diode_cards.append(card)

    def _call(self, card: Card, words: list[str]) -> None:
        name, *nodes, subcircuit = _checked(card, words) if len(words) > 2 else ("", "")
        if not nodes:
            raise card.error("write 'Xname node ... subcircuit'")
        if name in self.scope.called:
            raise card.error(f"'{name}' is there already; rename one")
        self.scope.called.add(name)
        local = [self.scope.node(node) for node in nodes]
        self.scope.calls.append(Call(card=card, name=name, subcircuit=subcircuit, nodes=local, before=self.scope.sizes))

    def _open(self, card: Card, words: list[str]) -> None:
        if self.scope is not self.top:
            raise card.error(f"a subcircuit inside '{self.scope.name}'; define it outside")
        if len(words) < 2:
            raise card.error("write '.subckt name node ...'")
        name, *ports = _checked(card, words)
        if name in self.subcircuits:
            raise card.error(f"subcircuit '{name}' is defined twice; first at {self.subcircuits[name].card.place}")
        if len(set(ports)) < len(ports) or {"0", "gnd"} & set(ports):
            raise card.error(f"subcircuit '{name}': a port named twice, or ground among them")
        nodes = {port: k for k, port in enumerate(ports)}
        self.scope = self.subcircuits[name] = Scope(card=card, name=name, n_ports=len(ports), nodes=nodes)

    def _close(self, card: Card, words: list[str]) -> None:
        if self.scope is self.top or words not in ([], [self.scope.name]):
            raise card.error(
                "this .ends does not close the subcircuit that is open; write '.ends name' after its cards"
            )
        self._check_amplifiers()
        self.scope = self.top

    def _parameters(self, card: Card, words: list[str]) -> None:
        for name, value in parse_assignments(card, " ".join(words)):
            if name in self.scope.parameters:
                first = self.scope.parameters[name][1].place
                raise card.error(f"parameter '{name}' is given twice; first at {first}")
            if PARAMETER.fullmatch(value) is None:
                parse_value(card, value, parameter=True)
            self.scope.parameters[name] = (value, card)

    def _model(self, card: Card, _words: list[str]) -> None:
        name, model = parse_model(card)
        if name in self.scope.models:
            raise card.error(f"model '{name}' is defined twice; rename one")
        self.scope.models[_checked(card, [name])[0]] = len(self.models)
        self.models.append(model)

    def _options(self, card: Card, words: list[str]) -> None:
        if self.scope is not self.top:
            raise card.error("options inside a subcircuit; they belong to the deck")
        options = parse_options(card, " ".join(words))
        for name in options.keys() & self.options.keys():
            raise card.error(f"option '{name}' is given twice; first at {self.options[name][1].place}")
        self.options |= options

    def _title(self, _card: Card, words: list[str]) -> None:
        self.title = " ".join(words)


def _checked(card: Card, names: list[str]) -> list[str]:
    """Return names of devices, nodes, subcircuits or models; raise NetlistError for what cannot be one."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise card.error(f"'{name}' cannot be a name here; separate words by spaces, without ( ) , = or quotes")
    return names


def _conductance(card: Card, resistance: Decimal) -> float:
    try:
        return conductance_of(resistance)
    except NetlistError as error:
        raise card.error(str(error)) from None
