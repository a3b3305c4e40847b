"""Lower a circuit to a netlist: validate it, decide every SPICE name, and return the way back."""

import re
from collections import Counter
from collections.abc import Sequence

from circuits.circuit import Circuit
from circuits.piecewise_linear_diode import PiecewiseLinearDiode
from circuits.validation import validate

from .errors import NetlistError
from .netlist import Netlist, NodeMap, SolverOptions, node_map
from .spice_amplifier import sense_name, sense_node

RESERVED_NODES = frozenset({"gnd", "sweep"})  # ngspice's other name for ground, and the node of our sweep source
RESERVED_NAME = re.compile(r"^(drive\d+|sweep)$")  # names of streamed sources and of the sweep source


def spell(name: str) -> str:
    """Return a name as SPICE takes it: lower case, everything but letters, digits and _ replaced by _."""
    return re.sub(r"[^a-z0-9_]", "_", name.lower())


def _spell_all(circuit: Circuit, kind: str, names: Sequence[str], letter: str = "") -> tuple[str, ...]:
    spelt = tuple(spell(name) for name in names)
    if len(set(spelt)) < len(spelt):
        repeated = next(name for name, count in Counter(spelt).items() if count > 1)
        clash = [name for name, short in zip(names, spelt, strict=True) if short == repeated]
        raise NetlistError(
            f"circuit '{circuit.name}': {kind} {', '.join(map(repr, clash))} are all spelt '{repeated}' in SPICE; "
            "rename all but one"
        )
    for name in spelt:
        if not name or RESERVED_NAME.match(name):
            raise NetlistError(
                f"circuit '{circuit.name}': {kind} cannot be named '{name}', a name the deck needs; rename"
            )
    return tuple(letter + name for name in spelt)


def _spell_resistors(circuit: Circuit) -> tuple[str, ...]:
    """Return the names of the resistors: with b where one is cubic, for it is written as a behavioural source."""
    names = _spell_all(circuit, "resistors", circuit.resistors.names, "r")
    if not circuit.has_cubic:
        return names
    cubic = set(circuit.resistors.cubic.tolist())
    return tuple("b" + name[1:] if k in cubic else name for k, name in enumerate(names))


def _spell_diodes(circuit: Circuit) -> tuple[str, ...]:
    """Return the names of the diodes: with b where one is piecewise-linear, for it is a behavioural source, too."""
    d = circuit.diodes
    is_piecewise = [isinstance(model, PiecewiseLinearDiode) for model in d.models]
    names = _spell_all(circuit, "diodes", d.names, "d")
    if not any(is_piecewise):
        return names
    return tuple("b" + name[1:] if is_piecewise[k] else name for name, k in zip(names, d.model.tolist(), strict=True))


def _check_behavioural(circuit: Circuit, resistors: Sequence[str], diodes: Sequence[str]) -> None:
    """Raise NetlistError where a cubic resistor and a piecewise-linear diode would be one source by their names."""
    clash = {resistors[k] for k in circuit.resistors.cubic.tolist()}.intersection(diodes)
    if clash:
        raise NetlistError(
            f"circuit '{circuit.name}': a cubic resistor and a piecewise-linear diode are both spelt '{min(clash)}' in "
            "SPICE; rename one"
        )


def _spell_amplifiers(circuit: Circuit, nodes: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the amplifiers; the node and the source that measure their currents are named after them."""
    names = _spell_all(circuit, "amplifiers", circuit.amplifiers.names)
    taken = {sense_node(name) for name in names}.intersection(nodes)
    taken |= {sense_name(name)[1:] for name in names}.intersection(map(spell, circuit.voltage_sources.names))
    if taken:
        raise NetlistError(
            f"circuit '{circuit.name}': '{min(taken)}' names a node or voltage source, but an amplifier's deck needs "
            "that name; rename"
        )
    return names


def lower(circuit: Circuit, options: SolverOptions | None = None) -> tuple[Netlist, NodeMap]:
    """Lower a circuit to a netlist.

    Args:
        circuit: any circuit.
        options: tolerances; tight ones by default.

    Returns:
        the netlist and the map from a simulator's vectors back to the circuit.

    Raises:
        CircuitError: if the circuit is not physical (circuits.validation).
        NetlistError: if two names differ only by what SPICE does not tell apart, or a name is reserved.
    """
    topology = validate(circuit)
    nodes = ("0", *_spell_all(circuit, "nodes", circuit.nodes[1:]))
    reserved = RESERVED_NODES.intersection(nodes)
    if reserved:
        raise NetlistError(
            f"circuit '{circuit.name}': a node cannot be named '{min(reserved)}' (SPICE or the deck uses it); rename"
        )
    resistors, diodes = _spell_resistors(circuit), _spell_diodes(circuit)
    _check_behavioural(circuit, resistors, diodes)
    netlist = Netlist(
        circuit=circuit,
        topology=topology,
        nodes=nodes,
        resistors=resistors,
        diodes=diodes,
        voltage_sources=_spell_all(circuit, "voltage sources", circuit.voltage_sources.names, "v"),
        current_sources=_spell_all(circuit, "current sources", circuit.current_sources.names, "i"),
        capacitors=_spell_all(circuit, "capacitors", circuit.capacitors.names, "c"),
        amplifiers=_spell_amplifiers(circuit, nodes),
        models=tuple(f"diode{k}" for k in range(len(circuit.diodes.models))),
        options=options or SolverOptions(),
    )
    return netlist, node_map(netlist)
