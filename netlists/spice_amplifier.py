"""Spell a bidirectional amplifier: a voltage forward, a current back, and the 0 V source between that measures it.

ename sense_name 0 start 0 A          v(end) = A v(start)
vsense_name sense_name end 0.0        the current delivered at end
fname start 0 vsense_name 1/A         its share, drawn out of start
"""

from .netlist import Netlist


def sense_node(name: str) -> str:
    """Return the node between an amplifier's voltage and the source that measures its current."""
    return f"sense_{name}"


def sense_name(name: str) -> str:
    """Return the name of that source."""
    return f"vsense_{name}"


def amplifier_cards(netlist: Netlist) -> list[list[str]]:
    """Return the three cards of each amplifier."""
    a, nodes = netlist.circuit.amplifiers, netlist.nodes
    columns = zip(netlist.amplifiers, a.start.tolist(), a.end.tolist(), a.gain.tolist(), strict=True)
    return [
        [
            f"e{name} {sense_node(name)} 0 {nodes[start]} 0 {gain!r}",
            f"{sense_name(name)} {sense_node(name)} {nodes[end]} 0.0",
            f"f{name} {nodes[start]} 0 {sense_name(name)} {1.0 / gain!r}",
        ]
        for name, start, end, gain in columns
    ]
