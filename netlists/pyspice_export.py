"""Hand a circuit to PySpice, for users who go on with it there."""

import math

from PySpice.Spice.Netlist import Circuit as PySpiceCircuit

from circuits.circuit import Circuit
from circuits.diode import NOMINAL_TEMPERATURE_K
from circuits.piecewise_linear_diode import PiecewiseLinearDiode

from .lowering import lower
from .netlist import active_elements
from .spice_amplifier import sense_name, sense_node
from .spice_writer import OPEN_OHM, ZERO_CELSIUS_K, abstol_a, cubic_law, diode_values


def to_pyspice(circuit: Circuit) -> PySpiceCircuit:
    """Return a circuit as a PySpice circuit with the same operating point, in a deck or in PySpice's simulator.

    The circuit's temperature stands on each level-1 diode: `.simulator()` of PySpice sets its own (27 C) for the whole
    deck, and a temperature given to it does not reach the diodes.

    On Debian and Ubuntu PySpice 1.5 does not find libngspice by itself. Call `ngspice_library()` (from
    `cosim.simulators.ngspice.library`) once before `.simulator()`: it loads the library that PySpice then uses, too.

    Args:
        circuit: any circuit; driven sources get the values they have in it.

    Returns:
        a `PySpice.Spice.Netlist.Circuit`; device and node names as in the standalone deck, tolerances included in the
        text through `raw_spice`.

    Raises:
        CircuitError, NetlistError: as `lower`.
    """
    netlist, _ = lower(circuit)
    nodes, options = netlist.nodes, netlist.options
    temperature_c = circuit.temperature_k - ZERO_CELSIUS_K
    target = PySpiceCircuit(" ".join(circuit.name.split()))  # a line feed in a title would be a SPICE line
    target.raw_spice = (
        f".options reltol={options.reltol!r} abstol={abstol_a(netlist)!r} vntol={options.vntol_v!r} "
        f"gmin={circuit.gmin_s!r} temp={temperature_c!r}\n"
    )
    for name, model in zip(netlist.models, circuit.diodes.models, strict=True):
        if isinstance(model, PiecewiseLinearDiode):
            continue
        target.model(
            name,
            "D",
            IS=model.saturation_current_a,
            N=model.emission_coefficient,
            RS=model.series_resistance_ohm,
            EG=model.activation_energy_ev,
            XTI=model.saturation_exponent,
            TNOM=NOMINAL_TEMPERATURE_K - ZERO_CELSIUS_K,
        )
    r, d, c = circuit.resistors, circuit.diodes, circuit.capacitors
    v, i = circuit.voltage_sources, circuit.current_sources
    active, cubic = set(active_elements(circuit, r.conductance_s).tolist()), set(r.cubic.tolist())
    for k, name in enumerate(netlist.resistors):
        g = float(r.conductance_s[k])
        if k in active:
            ends = nodes[r.a[k]], nodes[r.b[k]]
            target.VCCS(name[1:], *ends, *ends, transconductance=g)
            continue
        if k in cubic:
            law = cubic_law(netlist, k, r.conductance_s).removeprefix("i=")
            target.B(name[1:], nodes[r.a[k]], nodes[r.b[k]], current_expression=law)
            continue
        target.R(name[1:], nodes[r.a[k]], nodes[r.b[k]], OPEN_OHM if math.isclose(g, 0.0, abs_tol=0.0) else 1.0 / g)
    for k, (name, value) in enumerate(zip(netlist.diodes, diode_values(netlist), strict=True)):
        anode, cathode = nodes[d.anode[k]], nodes[d.cathode[k]]
        if isinstance(d.models[d.model[k]], PiecewiseLinearDiode):
            kind = "current_expression" if value.startswith("i=") else "voltage_expression"
            target.B(name[1:], anode, cathode, **{kind: value[2:]})
            continue
        target.D(name[1:], anode, cathode, model=value, temperature=temperature_c)
    for k, name in enumerate(netlist.voltage_sources):
        target.V(name[1:], nodes[v.plus[k]], nodes[v.minus[k]], float(v.voltage_v[k]))
    for k, name in enumerate(netlist.current_sources):
        target.I(name[1:], nodes[i.start[k]], nodes[i.end[k]], float(i.current_a[k]))
    for k, name in enumerate(netlist.capacitors):
        target.C(name[1:], nodes[c.a[k]], nodes[c.b[k]], float(c.capacitance_f[k]))
    a = circuit.amplifiers
    for k, name in enumerate(netlist.amplifiers):
        gain, between = float(a.gain[k]), sense_node(name)
        target.VCVS(name, between, 0, nodes[a.start[k]], 0, voltage_gain=gain)
        target.V(sense_name(name)[1:], between, nodes[a.end[k]], 0.0)
        target.F(name, nodes[a.start[k]], 0, source=f"V{sense_name(name)[1:]}", current_gain=1.0 / gain)
    return target
