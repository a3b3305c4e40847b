"""Sources of zero that make the drives of a netlist change in an `.ac`: an `external` source can have no AC value.

Takes: a netlist, and which of its drives change. Gives: the same netlist with an AC source for each of those. Must not
know: values.
"""

from dataclasses import dataclass, replace
from typing import final

import numpy as np

from circuits.arrays import Indices
from circuits.circuit import Circuit
from netlists.lowering import lower
from netlists.netlist import Netlist
from netlists.spice_writer import StreamedTemplate, streamed_template


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AcSources:
    """A netlist with an AC source for each drive that changes.

    Args:
        changed: [n] columns of the drives that change.
        names: [n] device name of the AC source of each.
        template: the streamed spelling.
    """

    changed: Indices
    names: tuple[str, ...]
    template: StreamedTemplate

    @classmethod
    def of(cls, netlist: Netlist, changed: Indices) -> "AcSources":
        """Add AC sources to a netlist, whose own nodes and devices keep their names.

        Raises:
            NetlistError: if a node or source of the circuit has the name of an AC source, "ac_drive_0" and so on.
        """
        circuit = netlist.circuit
        n_voltage = len(circuit.driven_voltage_sources)
        voltage = circuit.driven_voltage_sources[changed[changed < n_voltage]]
        current = circuit.driven_current_sources[changed[changed >= n_voltage] - n_voltage]
        lowered = lower(_with_ac_sources(circuit, voltage, current), netlist.options)[0]
        template = streamed_template(lowered)
        return cls(
            changed=changed,
            names=(
                *lowered.voltage_sources[len(netlist.voltage_sources) :],
                *lowered.current_sources[len(netlist.current_sources) :],
            ),
            template=replace(template, head=f"{template.head}.options keepopinfo\n"),
        )


def _with_ac_sources(circuit: Circuit, voltage: Indices, current: Indices) -> Circuit:
    """Return a circuit with a source of zero in series with some voltage sources, and one beside some current sources.

    Their directions are those of the drives, so that the AC value of each is the change of its drive.
    """
    v, i = circuit.voltage_sources, circuit.current_sources
    between = circuit.n_nodes + np.arange(len(voltage))
    minus = v.minus.copy()
    minus[voltage] = between
    names = tuple(f"ac_drive_{k}" for k in range(len(voltage)))
    return replace(
        circuit,
        nodes=(*circuit.nodes, *names),
        labels=(*circuit.labels, *names),
        voltage_sources=replace(
            v,
            names=(*v.names, *names),
            plus=np.concatenate([v.plus, between]),
            minus=np.concatenate([minus, v.minus[voltage]]),
            voltage_v=np.concatenate([v.voltage_v, np.zeros(len(voltage))]),
            driven=np.concatenate([v.driven, np.zeros(len(voltage), dtype=np.bool_)]),
        ),
        current_sources=replace(
            i,
            names=(*i.names, *(f"ac_drive_{k}" for k in range(len(current)))),
            start=np.concatenate([i.start, i.start[current]]),
            end=np.concatenate([i.end, i.end[current]]),
            current_a=np.concatenate([i.current_a, np.zeros(len(current))]),
            driven=np.concatenate([i.driven, np.zeros(len(current), dtype=np.bool_)]),
        ),
    )
