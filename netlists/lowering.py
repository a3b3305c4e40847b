"""Lower a circuit to a netlist: validate it, decide every SPICE name, and return the way back."""

import re
from collections import Counter
from collections.abc import Sequence

from circuits.circuit import Circuit
from circuits.validation import validate

from .errors import NetlistError
from .netlist import Netlist, NodeMap, SolverOptions, node_map

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
    netlist = Netlist(
        circuit=circuit,
        topology=topology,
        nodes=nodes,
        resistors=_spell_resistors(circuit),
        diodes=_spell_all(circuit, "diodes", circuit.diodes.names, "d"),
        voltage_sources=_spell_all(circuit, "voltage sources", circuit.voltage_sources.names, "v"),
        current_sources=_spell_all(circuit, "current sources", circuit.current_sources.names, "i"),
        capacitors=_spell_all(circuit, "capacitors", circuit.capacitors.names, "c"),
        models=tuple(f"diode{k}" for k in range(len(circuit.diodes.models))),
        options=options or SolverOptions(),
    )
    return netlist, node_map(netlist)
