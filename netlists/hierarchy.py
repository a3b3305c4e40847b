"""Spell a netlist as a hierarchy: a subcircuit a group of elements, in include files, and a deck that runs alone.

    top.cir        title, tolerances, includes, one instance of each subcircuit, .op
    sample.inc     the driven sources' values, a .param each: what changes with every sample
    drivers.inc    subcircuits of the sources
    crossbars.inc  subcircuits of the tiles
    neurons.inc    diode models, subcircuits of the rows of clamps, leaks and amplifiers

Every net that a group touches is a port of the same name; ground is global. So no node is hidden: a simulator reports
them by the names of the flat deck. The text reads back to the same circuit, bit for bit (`netlists.read_deck`).
"""

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from circuits.arrays import Indices
from circuits.diode import DiodeModel
from circuits.element_groups import ElementGroup, GroupKind
from circuits.elements import terminals
from circuits.validation import check_values

from .errors import NetlistError
from .lowering import spell
from .netlist import Netlist, active_elements
from .spice_amplifier import amplifier_cards
from .spice_numbers import NOMINAL_CELSIUS, format_celsius, format_double, format_resistances
from .spice_reader import DRIVE
from .spice_writer import OPEN_OHM, abstol_a, active_line, cubic_law, diode_values

TOP: Final = "top.cir"
SAMPLE: Final = "sample.inc"
FILES: Final = {
    GroupKind.DRIVER: "drivers.inc",
    GroupKind.TILE: "crossbars.inc",
    GroupKind.CLAMP_ROW: "neurons.inc",
    GroupKind.LEAK_ROW: "neurons.inc",
    GroupKind.AMPLIFIER_ROW: "neurons.inc",
}
_HEADERS: Final = {
    SAMPLE: "* one sample: values of the driven sources, V and A",
    "drivers.inc": "* sources: inputs, bias, rails, nudges",
    "crossbars.inc": "* tiles of the crossbars",
    "neurons.inc": "* clamps and leaks of the units",
}
MOST_PORTS: Final = 1000  # ngspice 39 ends at 1005 ("N_GLOBAL_NODES overflow")
_COLUMNS: Final = 120


def format_hierarchy(netlist: Netlist, groups: Sequence[ElementGroup]) -> dict[str, str]:
    """Return the texts of a hierarchical deck.

    Args:
        netlist: the netlist; values are those of its circuit (`with_conductances`, `with_drives`).
        groups: every element in exactly one of them; from `circuits.element_groups.block_groups` for a block.

    Returns:
        text by file name, "top.cir" first; the files belong into one folder. The same bytes for the same netlist.

    Raises:
        NetlistError: if an element is in no group or in two, a group has more nets than ngspice can pass, two groups
            have one name, or a conductance has no resistance.
        CircuitError: for a value that is not physical.
    """
    check_values(netlist.circuit)
    _check_partition(netlist, groups)
    lines = _element_lines(netlist)
    files: dict[str, list[str]] = {SAMPLE: _sample_lines(netlist)} | {name: [] for name in FILES.values()}
    files["neurons.inc"] += _model_lines(netlist)
    instances = []
    for group in groups:
        ports = _ports(netlist, group)
        file = files[FILES[group.kind]]
        file += _wrapped([".subckt", group.name, *ports])
        for kind, members in zip(lines, group.elements, strict=True):
            file += [kind[k] for k in members.tolist()]
        file.append(f".ends {group.name}")
        instances += _wrapped([f"x{group.name}", *ports, group.name])
    used = {name: file for name, file in files.items() if file}
    top = [
        _title(netlist),
        *_option_lines(netlist),
        *(f'.include "{name}"' for name in used),
        *instances,
        ".op",
        ".end",
    ]
    return {TOP: _text(top)} | {name: _text([_HEADERS[name], *file]) for name, file in used.items()}


def format_sample(netlist: Netlist) -> str:
    """Return the text of sample.inc alone, for another sample of a deck that is there (`with_drives`)."""
    check_values(netlist.circuit)
    return _text([_HEADERS[SAMPLE], *_sample_lines(netlist)])


def branch_names(netlist: Netlist, groups: Sequence[ElementGroup]) -> tuple[str, ...]:
    """Return what ngspice calls the current of each voltage source of the hierarchical deck, [n_voltage_sources]."""
    inside = {k: group.name for group in groups for k in group.voltage_sources.tolist()}
    return tuple(f"v.x{inside[k]}.{name}#branch" for k, name in enumerate(netlist.voltage_sources))


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


def _wrapped(words: Sequence[str]) -> list[str]:
    """Return one card on as many lines as it takes."""
    lines, line = [], words[0]
    for word in words[1:]:
        if len(line) + 1 + len(word) > _COLUMNS:
            lines.append(line)
            line = "+"
        line += f" {word}"
    return [*lines, line]


def _title(netlist: Netlist) -> str:
    name = "".join(letter if letter.isprintable() and letter.isascii() else " " for letter in netlist.circuit.name)
    return f"* {' '.join(name.split())}"


def _option_lines(netlist: Netlist) -> list[str]:
    o, circuit = netlist.options, netlist.circuit
    reltol, abstol, vntol, gmin = map(format_double, (o.reltol, abstol_a(netlist), o.vntol_v, circuit.gmin_s))
    return [
        f".options reltol={reltol} abstol={abstol} vntol={vntol}",
        f".options gmin={gmin} itl1={o.max_iterations} itl2={o.max_sweep_iterations}",
        f".options temp={format_celsius(circuit.temperature_k)} tnom={NOMINAL_CELSIUS}",
    ]


def _sample_lines(netlist: Netlist) -> list[str]:
    v, i = netlist.circuit.voltage_sources, netlist.circuit.current_sources
    return [
        f".param {DRIVE}{name}={format_double(value)}"
        for names, driven, values in (
            (netlist.voltage_sources, v.driven, v.voltage_v),
            (netlist.current_sources, i.driven, i.current_a),
        )
        for name, is_driven, value in zip(names, driven.tolist(), values.tolist(), strict=True)
        if is_driven
    ]


def _model_lines(netlist: Netlist) -> list[str]:
    return [
        f".model {name} d(is={format_double(m.saturation_current_a)} n={format_double(m.emission_coefficient)} "
        f"rs={format_double(m.series_resistance_ohm)} eg={format_double(m.activation_energy_ev)} "
        f"xti={format_double(m.saturation_exponent)})"
        for name, m in zip(netlist.models, netlist.circuit.diodes.models, strict=True)
        if isinstance(m, DiodeModel)
    ]


def _element_lines(netlist: Netlist) -> tuple[list[str], ...]:
    """Return the cards of each kind, in the order of `Circuit.groups`."""
    circuit = netlist.circuit
    _check_resistances(netlist)
    names = (netlist.resistors, netlist.diodes, netlist.voltage_sources, netlist.current_sources, netlist.capacitors)
    v, i = circuit.voltage_sources, circuit.current_sources
    sources = [
        [
            f"dc {{{DRIVE}{name}}}" if is_driven else f"dc {format_double(value)}"
            for name, is_driven, value in zip(spelt, driven.tolist(), values.tolist(), strict=True)
        ]
        for spelt, driven, values in ((names[2], v.driven, v.voltage_v), (names[3], i.driven, i.current_a))
    ]
    values = (
        format_resistances(circuit.resistors.conductance_s),
        diode_values(netlist),
        *sources,
        list(map(format_double, circuit.capacitors.capacitance_f.tolist())),
    )
    two_ended = circuit.groups[: len(names)]  # all but amplifiers, which are three cards each
    cards = (
        *(
            _cards(netlist.nodes, spelt, terminals(group), column)
            for spelt, group, column in zip(names, two_ended, values, strict=True)
        ),
        ["\n".join(map(_folded, parts)) for parts in amplifier_cards(netlist)],
    )
    conductance_s = circuit.resistors.conductance_s
    for k in active_elements(circuit, conductance_s).tolist():
        cards[0][k] = _folded(active_line(netlist, k, format_double(conductance_s[k])))
    for k in circuit.resistors.cubic.tolist():
        a, b = (netlist.nodes[int(column[k])] for column in terminals(circuit.resistors))
        cards[0][k] = _folded(f"{netlist.resistors[k]} {a} {b} {cubic_law(netlist, k, conductance_s)}")
    return cards


def _cards(
    nodes: tuple[str, ...], names: Sequence[str], ends: tuple[Indices, Indices], values: Sequence[str]
) -> list[str]:
    columns = zip(names, ends[0].tolist(), ends[1].tolist(), values, strict=True)
    cards = [f"{name} {nodes[a]} {nodes[b]} {value}" for name, a, b, value in columns]
    return list(map(_folded, cards))


def _folded(card: str) -> str:
    return card if len(card) <= _COLUMNS else "\n".join(_wrapped(card.split(" ")))


def _check_resistances(netlist: Netlist) -> None:
    """Raise NetlistError for a conductance that no resistance in a deck stands for."""
    circuit = netlist.circuit
    size = np.abs(circuit.resistors.conductance_s)
    for k in np.flatnonzero((size > 0) & (size <= 1.0 / OPEN_OHM))[:1]:
        raise NetlistError(
            f"circuit '{circuit.name}': conductance of '{circuit.resistors.names[k]}' is "
            f"{circuit.resistors.conductance_s[k]:g} S; at or below {1 / OPEN_OHM:g} S SPICE has no resistance for it"
        )


def _ports(netlist: Netlist, group: ElementGroup) -> list[str]:
    """Return the nets that a group touches, in the order of the circuit's nodes, without ground."""
    ends = [
        column[part]
        for kind, part in zip(netlist.circuit.groups, group.elements, strict=True)
        for column in terminals(kind)
    ]
    nets = np.unique(np.concatenate(ends))
    ports = [netlist.nodes[k] for k in nets.tolist() if k]
    if not 1 <= len(ports) <= MOST_PORTS:
        raise NetlistError(
            f"circuit '{netlist.circuit.name}': {group.kind.value} '{group.name}' has {len(ports)} nets; ngspice "
            f"takes 1 to {MOST_PORTS} for a subcircuit: give smaller tiles or groups"
        )
    return ports


def _check_partition(netlist: Netlist, groups: Sequence[ElementGroup]) -> None:
    """Raise NetlistError unless group names are spelt as SPICE takes them and every element is in one group."""
    circuit = netlist.circuit
    names = [group.name for group in groups]
    for name in names:
        # On an instance's line ngspice takes a word that is a parameter's name for the parameter.
        if not name or spell(name) != name or name.startswith(DRIVE):
            raise NetlistError(
                f"circuit '{circuit.name}': group {name!r}; name it with small letters, digits and _, not {DRIVE}..."
            )
    if len(set(names)) < len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise NetlistError(f"circuit '{circuit.name}': two groups are named '{repeated}'; rename one")
    for kind, elements in enumerate(circuit.groups):
        members = np.concatenate([np.zeros(0, dtype=np.int64), *(group.elements[kind] for group in groups)])
        if len(members) and not 0 <= members.min() <= members.max() < len(elements):
            raise NetlistError(f"circuit '{circuit.name}': a group names an element outside 0..{len(elements) - 1}")
        times = np.bincount(members, minlength=len(elements))
        wrong = np.flatnonzero(times != 1)
        if len(wrong):
            raise NetlistError(
                f"circuit '{circuit.name}': '{elements.names[wrong[0]]}' is in {times[wrong[0]]} groups "
                f"({len(wrong)} such); every element belongs to exactly one"
            )
