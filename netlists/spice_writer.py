"""Spell a netlist as SPICE text, in two ways that differ only in the cards of the driven sources.

Standalone: every value in the deck, an `.op`, runs in plain `ngspice -b`. Streamed: driven sources are `external`
(libngspice asks for their value, point by point) and a dummy source is swept, one point a sample. A driven source is
named after its row in the table of drives, so that a compiled callback can tell which one it is.
An active leak, a negative conductance, is no resistor, so it is spelt as a VCCS across its own nodes; a cubic device
and a piecewise-linear diode as behavioural sources. An amplifier is a VCVS and a CCCS with a source that measures.
"""

from dataclasses import dataclass
from itertools import chain
from typing import final

import numpy as np

from circuits.arrays import Floats
from circuits.diode import NOMINAL_TEMPERATURE_K, DiodeModel
from circuits.elements import terminals
from circuits.piecewise_linear_diode import PiecewiseLinearDiode
from circuits.validation import check_conductances

from .netlist import Netlist, active_elements
from .spice_amplifier import amplifier_cards
from .spice_cubic import format_law
from .spice_piecewise import current_rounding_a, format_diode

ZERO_CELSIUS_K = 273.15
OPEN_OHM = 1e99  # a reduced circuit may have a net conductance of exactly zero


def format_number(value: float) -> str:
    """Return Python's shortest text that reads back as the same double; never a suffix letter (1M is milli)."""
    return repr(float(value) + 0.0)  # no -0.0


def _title(netlist: Netlist) -> str:
    name = " ".join(netlist.circuit.name.split())
    return f"* {name}"


def _resistor_prefixes(netlist: Netlist) -> tuple[str, ...]:
    nodes, r = netlist.nodes, netlist.circuit.resistors
    return tuple(
        f"{name} {nodes[a]} {nodes[b]} "
        for name, a, b in zip(netlist.resistors, r.a.tolist(), r.b.tolist(), strict=True)
    )


def _resistor_lines(netlist: Netlist, prefixes: tuple[str, ...], conductance_s: Floats) -> list[str]:
    with np.errstate(divide="ignore"):
        resistance = np.where(conductance_s == 0.0, OPEN_OHM, 1.0 / conductance_s)
    lines = [prefix + value for prefix, value in zip(prefixes, map(repr, resistance.tolist()), strict=True)]
    for k in active_elements(netlist.circuit, conductance_s).tolist():
        lines[k] = active_line(netlist, k, format_number(conductance_s[k]))
    for k in netlist.circuit.resistors.cubic.tolist():
        lines[k] = prefixes[k] + cubic_law(netlist, k, conductance_s)
    return lines


def active_line(netlist: Netlist, k: int, value: str) -> str:
    """Return the card of an active element: a VCCS that its own voltage controls, `gname a b a b siemens`."""
    a, b = (netlist.nodes[int(column[k])] for column in terminals(netlist.circuit.resistors))
    return f"g{netlist.resistors[k][1:]} {a} {b} {a} {b} {value}"


def cubic_law(netlist: Netlist, k: int, conductance_s: Floats) -> str:
    """Return the expression that stands on the card of a cubic device, with its conductance in [n_resistors] S."""
    r = netlist.circuit.resistors
    a, b = netlist.nodes[int(r.a[k])], netlist.nodes[int(r.b[k])]
    return format_law(a, b, float(conductance_s[k]), float(r.k3_per_v2[k]))


def _diode_lines(netlist: Netlist) -> list[str]:
    nodes, d = netlist.nodes, netlist.circuit.diodes
    lines = [
        f".model {name} d(is={format_number(m.saturation_current_a)} n={format_number(m.emission_coefficient)} "
        f"rs={format_number(m.series_resistance_ohm)} eg={format_number(m.activation_energy_ev)} "
        f"xti={format_number(m.saturation_exponent)})"
        for name, m in zip(netlist.models, d.models, strict=True)
        if isinstance(m, DiodeModel)
    ]
    columns = zip(netlist.diodes, d.anode.tolist(), d.cathode.tolist(), diode_values(netlist), strict=True)
    return lines + [f"{name} {nodes[a]} {nodes[c]} {value}" for name, a, c, value in columns]


def diode_values(netlist: Netlist) -> list[str]:
    """Return what stands on each diode's card behind its nodes: its model, or a piecewise-linear one's expression."""
    nodes, d = netlist.nodes, netlist.circuit.diodes
    columns = zip(netlist.diodes, d.anode.tolist(), d.cathode.tolist(), d.model.tolist(), strict=True)
    return [
        format_diode(name, nodes[a], nodes[c], model)
        if isinstance(model := d.models[m], PiecewiseLinearDiode)
        else netlist.models[m]
        for name, a, c, m in columns
    ]


def _capacitor_lines(netlist: Netlist) -> list[str]:
    nodes, c = netlist.nodes, netlist.circuit.capacitors
    columns = zip(netlist.capacitors, c.a.tolist(), c.b.tolist(), c.capacitance_f.tolist(), strict=True)
    return [f"{name} {nodes[a]} {nodes[b]} {value!r}" for name, a, b, value in columns]


def _source_lines(netlist: Netlist, *, streamed: bool) -> list[str]:
    nodes, v, i = netlist.nodes, netlist.circuit.voltage_sources, netlist.circuit.current_sources
    lines: list[str] = []
    for letter, names, group, starts, ends, values in (
        ("v", netlist.voltage_sources, v, v.plus, v.minus, v.voltage_v),
        ("i", netlist.current_sources, i, i.start, i.end, i.current_a),
    ):
        row = 0
        for k, name in enumerate(names):
            between = f"{nodes[starts[k]]} {nodes[ends[k]]}"
            if streamed and group.driven[k]:
                lines.append(f"{letter}drive{row} {between} external")
                row += 1
            else:
                lines.append(f"{name} {between} {format_number(values[k])}")
    return lines


def abstol_a(netlist: Netlist) -> float:
    """Return the absolute tolerance of a current in a deck: as asked, but no finer than rounding allows."""
    return max(netlist.options.abstol_a, current_rounding_a(netlist.circuit))


def _option_lines(netlist: Netlist) -> list[str]:
    o, circuit = netlist.options, netlist.circuit
    reltol, abstol, vntol = (format_number(value) for value in (o.reltol, abstol_a(netlist), o.vntol_v))
    temperature_c = format_number(circuit.temperature_k - ZERO_CELSIUS_K)
    nominal_c = format_number(NOMINAL_TEMPERATURE_K - ZERO_CELSIUS_K)
    return [
        f".options reltol={reltol} abstol={abstol} vntol={vntol}",
        f".options gmin={format_number(circuit.gmin_s)} itl1={o.max_iterations} itl2={o.max_sweep_iterations}",
        f".options temp={temperature_c} tnom={nominal_c}",
    ]


def format_standalone(netlist: Netlist) -> str:
    """Return a deck with every value in it, for plain `ngspice -b`.

    Args:
        netlist: the netlist; values are those of its circuit (`with_conductances`, `with_drives`).

    Returns:
        SPICE text that ends with a newline.
    """
    lines = [
        _title(netlist),
        *_option_lines(netlist),
        *_source_lines(netlist, streamed=False),
        *_resistor_lines(netlist, _resistor_prefixes(netlist), netlist.circuit.resistors.conductance_s),
        *_diode_lines(netlist),
        *_capacitor_lines(netlist),
        *chain.from_iterable(amplifier_cards(netlist)),
        ".op",
        ".end",
    ]
    return "\n".join(lines) + "\n"


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class StreamedTemplate:
    """The streamed spelling of a topology, ready for many parameter sets.

    Args:
        netlist: the netlist.
        head, tail: text before and after the resistors.
        resistor_prefixes: [n_resistors] name and nodes of each resistor line.
        branches: [n_voltage_sources] vector name of each source's current.
    """

    netlist: Netlist
    head: str
    tail: str
    resistor_prefixes: tuple[str, ...]
    branches: tuple[str, ...]

    def text(self, conductance_s: Floats) -> str:
        """Return the deck for one parameter set ([n_resistors] S).

        Raises:
            CircuitError: for a conductance that is not finite or not above zero.
        """
        check_conductances(self.netlist.circuit, conductance_s)
        lines = _resistor_lines(self.netlist, self.resistor_prefixes, conductance_s)
        return self.head + "\n".join(lines) + self.tail


def streamed_template(netlist: Netlist) -> StreamedTemplate:
    """Spell everything of a streamed deck that does not change with its conductances.

    Args:
        netlist: the netlist.

    Returns:
        the template; driven sources are `vdrive<row>` and `idrive<row>`, rows counted from 0 for each kind.
    """
    head = [_title(netlist), *_option_lines(netlist), *_source_lines(netlist, streamed=True)]
    tail = [
        *_diode_lines(netlist),
        *_capacitor_lines(netlist),
        *chain.from_iterable(amplifier_cards(netlist)),
        "vsweep sweep 0 0.0",
        "rsweep sweep 0 1.0",
        ".save all",
        ".end",
    ]
    rows = iter(range(len(netlist.voltage_sources)))
    driven = netlist.circuit.voltage_sources.driven
    branches = tuple(
        f"vdrive{next(rows)}#branch" if is_driven else f"{name}#branch"
        for name, is_driven in zip(netlist.voltage_sources, driven.tolist(), strict=True)
    )
    return StreamedTemplate(
        netlist=netlist,
        head="\n".join(head) + "\n",
        tail="\n" + "\n".join(tail) + "\n",
        resistor_prefixes=_resistor_prefixes(netlist),
        branches=branches,
    )
