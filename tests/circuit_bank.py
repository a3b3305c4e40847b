"""Tiny circuits with answers worked out by hand; every simulator has to find them.

The diodes' answers come from the forward law alone (V = n V_t ln(1 + I / I_s) + R_s I), turned around: a current is
chosen first, and the sources are set so that it flows. gmin is 1e-15 S; where it shows, the answer counts it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from circuits import Circuit, CircuitBuilder, DiodeModel, PiecewiseLinearDiode

V_T = 1.38064852e-23 / 1.6021766208e-19 * 300.15
PLAIN = DiodeModel()
LEAKY = DiodeModel(saturation_current_a=1e-6)
RESISTIVE = DiodeModel(saturation_current_a=1e-12, emission_coefficient=1.5, series_resistance_ohm=200.0)
SHARP = DiodeModel(saturation_current_a=1e-14, emission_coefficient=0.04)


def forward_v(model: DiodeModel, current_a: float) -> float:
    """Return the forward voltage at 27 C."""
    junction = model.emission_coefficient * V_T * math.log1p(current_a / model.saturation_current_a)
    return junction + model.series_resistance_ohm * current_a


@dataclass(frozen=True)
class Case:
    """A circuit, its node voltages and the currents that its voltage sources deliver."""

    circuit: Circuit
    voltages: dict[str, float]
    currents: dict[str, float] = field(default_factory=dict)


def _divider() -> Case:
    b = CircuitBuilder("divider").voltage_source("s", "in", "0", 3.0)
    b.resistor("top", "in", "out", 1e-3).resistor("bottom", "out", "0", 2e-3)
    return Case(b.build(), {"in": 3.0, "out": 1.0}, {"s": 2e-3})


def _source_and_load() -> Case:
    # No unknown at all: every node is set by the source.
    b = CircuitBuilder("source and load").voltage_source("s", "in", "0", 2.0).resistor("load", "in", "0", 1e-3)
    return Case(b.build(), {"in": 2.0}, {"s": 2e-3})


def _bridge() -> Case:
    # Left 1/3 of 6 V, right 2/3; the detector of 1 mS pulls them together. Thevenin: 2 V and 4 V, each behind 2/3 kohm.
    b = CircuitBuilder("bridge").voltage_source("s", "top", "0", 6.0)
    b.resistor("a", "top", "left", 0.5e-3).resistor("b", "left", "0", 1e-3)
    b.resistor("c", "top", "right", 1e-3).resistor("d", "right", "0", 0.5e-3)
    b.resistor("meter", "left", "right", 1e-3)
    flow = 2.0 / (2000 / 3 * 2 + 1000)
    left, right = 2 + flow * 2000 / 3, 4 - flow * 2000 / 3
    delivered = (6 - left) * 0.5e-3 + (6 - right) * 1e-3
    return Case(b.build(), {"left": left, "right": right}, {"s": delivered})


def _balanced_bridge() -> Case:
    b = CircuitBuilder("balanced bridge").voltage_source("s", "top", "0", 6.0)
    b.resistor("a", "top", "left", 1e-3).resistor("b", "left", "0", 2e-3)
    b.resistor("c", "top", "right", 3e-3).resistor("d", "right", "0", 6e-3)
    b.resistor("meter", "left", "right", 1e-2)
    return Case(b.build(), {"left": 2.0, "right": 2.0}, {"s": 16e-3})


def _current_into_resistor() -> Case:
    b = CircuitBuilder("current into resistor").current_source("s", "0", "out", 2e-3).resistor("r", "out", "0", 1e-3)
    return Case(b.build(), {"out": 2.0})


def _negative_current() -> Case:
    b = CircuitBuilder("negative current").current_source("s", "0", "out", -2e-3).resistor("r", "out", "0", 1e-3)
    return Case(b.build(), {"out": -2.0})


def _current_between_nodes() -> Case:
    b = CircuitBuilder("current between nodes").current_source("s", "a", "b", 1e-3)
    b.resistor("ra", "a", "0", 1e-3).resistor("rb", "b", "0", 0.5e-3)
    return Case(b.build(), {"a": -1.0, "b": 2.0})


def _floating_source() -> Case:
    # 3 V between two nodes with 1 and 2 kohm to ground: 1 mA round the loop.
    b = CircuitBuilder("floating source").voltage_source("s", "a", "b", 3.0)
    b.resistor("ra", "a", "0", 1e-3).resistor("rb", "b", "0", 0.5e-3)
    return Case(b.build(), {"a": 1.0, "b": -2.0}, {"s": 1e-3})


def _floating_chain() -> Case:
    # Two floating sources in series, the second the other way round: b = a + 1, c = b - 4.
    b = CircuitBuilder("floating chain").voltage_source("s1", "b", "a", 1.0).voltage_source("s2", "b", "c", 4.0)
    b.resistor("ra", "a", "0", 1e-3).resistor("rb", "b", "0", 1e-3).resistor("rc", "c", "0", 1e-3)
    a = 2.0 / 3.0
    return Case(b.build(), {"a": a, "b": a + 1, "c": a - 3}, {"s1": -a * 1e-3, "s2": -(a - 3) * 1e-3})


def _stacked_sources() -> Case:
    b = CircuitBuilder("stacked sources").voltage_source("low", "a", "0", 1.0).voltage_source("high", "0", "b", 2.0)
    b.voltage_source("top", "c", "a", 0.5).resistor("r", "c", "b", 1e-3).resistor("q", "c", "0", 2e-3)
    top = 3.5e-3 + 3e-3
    return Case(b.build(), {"a": 1.0, "b": -2.0, "c": 1.5}, {"low": top, "high": 3.5e-3, "top": top})


def _ladder() -> Case:
    # R-2R ladder of three cells, each node half of the one before.
    b = CircuitBuilder("ladder").voltage_source("s", "n0", "0", 8.0)
    for k in range(3):
        b.resistor(f"series{k}", f"n{k}", f"n{k + 1}", 1e-3).resistor(f"shunt{k}", f"n{k + 1}", "0", 0.5e-3)
    b.resistor("end", "n3", "0", 0.5e-3)
    voltages = {"n1": 4.0, "n2": 2.0, "n3": 1.0}
    return Case(b.build(), voltages, {"s": 4e-3})


def _upper_clamp() -> Case:
    current, rail = 1e-4, 0.3
    node = rail + forward_v(PLAIN, current)
    b = CircuitBuilder("upper clamp").voltage_source("s", "in", "0", node + current / 1e-4)
    b.resistor("r", "in", "node", 1e-4).diode("up", "node", "rail", PLAIN).voltage_source("rail", "rail", "0", rail)
    b.diode("down", "low", "node", PLAIN).voltage_source("low", "low", "0", -5.0)
    return Case(b.build(), {"node": node}, {"s": current, "rail": -current, "low": 0.0})


def _lower_clamp() -> Case:
    current, rail = 1e-4, -0.3
    node = rail - forward_v(PLAIN, current)
    b = CircuitBuilder("lower clamp").voltage_source("s", "in", "0", node - current / 1e-4)
    b.resistor("r", "in", "node", 1e-4).diode("down", "rail", "node", PLAIN)
    b.voltage_source("rail", "rail", "0", rail)
    return Case(b.build(), {"node": node}, {"s": -current, "rail": current})


def _resistive_diode() -> Case:
    current = 1e-3
    node = forward_v(RESISTIVE, current)
    b = CircuitBuilder("diode with R_s").voltage_source("s", "in", "0", node + current / 1e-3)
    b.resistor("r", "in", "node", 1e-3).diode("d", "node", "0", RESISTIVE)
    return Case(b.build(), {"node": node}, {"s": current})


def _free_diode() -> Case:
    # A diode between two unknown nodes: both ends move.
    current = 1e-4
    drop = forward_v(PLAIN, current)
    b = CircuitBuilder("free diode").voltage_source("s", "in", "0", current * (1e4 + 2e4) + drop)
    b.resistor("r1", "in", "a", 1e-4).diode("d", "a", "b", PLAIN).resistor("r2", "b", "0", 0.5e-4)
    return Case(b.build(), {"a": 2.0 + drop, "b": 2.0}, {"s": current})


def _two_free_diodes() -> Case:
    # Two of them in parallel share the current, a third the other way takes I_s of LEAKY only far in reverse.
    current = 1e-4
    drop = forward_v(PLAIN, current / 2)
    b = CircuitBuilder("two free diodes").voltage_source("s", "in", "0", current * (1e4 + 2e4) + drop)
    b.resistor("r1", "in", "a", 1e-4).diode("d1", "a", "b", PLAIN).diode("d2", "a", "b", PLAIN)
    b.resistor("r2", "b", "0", 0.5e-4)
    return Case(b.build(), {"a": 2.0 + drop, "b": 2.0}, {"s": current})


def _reverse_diode() -> Case:
    # Far in reverse the current is I_s [1 - (3 n V_t / (e |v|))^3], and through 1 Mohm even gmin shows: 2e-9 V.
    node = -2.0
    current = 1e-6 * (1 - (3 * V_T / (math.e * 2.0)) ** 3) + 1e-15 * 2.0
    b = CircuitBuilder("reverse diode").voltage_source("s", "in", "0", node - current / 1e-6)
    b.resistor("r", "in", "node", 1e-6).diode("d", "node", "0", LEAKY)
    return Case(b.build(), {"node": node}, {"s": -current})


def _sharp_overdriven() -> Case:
    current = 0.01
    node = 0.5 + forward_v(SHARP, current)
    b = CircuitBuilder("sharp, overdriven").current_source("s", "0", "node", current + node * 1e-4)
    b.resistor("r", "node", "0", 1e-4).diode("d", "node", "rail", SHARP).voltage_source("rail", "rail", "0", 0.5)
    return Case(b.build(), {"node": node}, {"rail": -current})


def _piecewise_linear_clamp() -> Case:
    # 0.15 V and 0.1 mV across 1 ohm above the rail; the lower diode is off, and its 1 Mohm take 2.8 uA.
    current = 1e-4
    node = 0.3 + 0.15 + 1.0 * current
    low = (node + 2.35) / 1e6
    b = CircuitBuilder("piecewise-linear clamp").voltage_source("s", "in", "0", node + (current + low) / 1e-4)
    b.resistor("r", "in", "node", 1e-4).diode("up", "node", "rail", PiecewiseLinearDiode())
    b.voltage_source("rail", "rail", "0", 0.3).voltage_source("low", "low", "0", -2.35)
    b.diode("down", "low", "node", PiecewiseLinearDiode(threshold_v=0.5, off_resistance_ohm=1e6))
    return Case(b.build(), {"node": node}, {"s": current + low, "rail": -current, "low": -low})


def _stiff_piecewise_linear() -> Case:
    # A milliohm to a rail, and a tenth of one between two nodes that are free.
    current = 1e-3
    b = CircuitBuilder("stiff piecewise-linear").current_source("s", "0", "a", current + (2.0 + 0.2 + 1e-7) * 1e-4)
    b.resistor("ra", "a", "0", 1e-4)
    b.diode("d", "a", "b", PiecewiseLinearDiode(threshold_v=0.2, on_resistance_ohm=1e-4))
    b.resistor("rb", "b", "0", 0.25e-3).diode("e", "b", "rail", PiecewiseLinearDiode(on_resistance_ohm=1e-3))
    b.voltage_source("rail", "rail", "0", 2.0 - 0.15 - 1e-3 * 0.5e-3)
    return Case(b.build(), {"a": 2.2 + 1e-7, "b": 2.0}, {"rail": -0.5e-3})


def _open_capacitor() -> Case:
    b = CircuitBuilder("open capacitor").voltage_source("s", "in", "0", 1.0).resistor("r", "in", "out", 1e-3)
    b.capacitor("c", "out", "0", 1e-12).resistor("q", "out", "0", 1e-3)
    return Case(b.build(), {"out": 0.5}, {"s": 0.5e-3})


def _parallel_and_shorted() -> Case:
    # Two resistors in parallel, and one from a node to itself, which carries nothing.
    b = CircuitBuilder("parallel").voltage_source("s", "in", "0", 3.0).resistor("a", "in", "out", 1e-3)
    b.resistor("b", "out", "in", 1e-3).resistor("c", "out", "0", 1e-3).resistor("loop", "out", "out", 1e-2)
    return Case(b.build(), {"out": 2.0}, {"s": 2e-3})


def _numbered_nodes() -> Case:
    # The usual names in SPICE; libngspice reports them in another way than other names.
    b = CircuitBuilder("numbered nodes").voltage_source("1", "1", "0", 6.0).resistor("1", "1", "2", 1e-3)
    b.resistor("2", "2", "0", 1e-3).resistor("3", "2", "3x", 1e-3).resistor("4", "3x", "1e3", 1e-3)
    b.resistor("5", "1e3", "0", 0.5e-3)
    # From the far end: 2 + 1 + 1 kohm beside 1 kohm is 0.8 kohm, behind 1 kohm.
    second = 6.0 * 0.8 / 1.8
    voltages = {"1": 6.0, "2": second, "3x": second * 3 / 4, "1e3": second / 2}
    return Case(b.build(), voltages, {"1": (6.0 - second) * 1e-3})


BANK = {
    case.circuit.name: case
    for case in (
        _divider(),
        _source_and_load(),
        _bridge(),
        _balanced_bridge(),
        _current_into_resistor(),
        _negative_current(),
        _current_between_nodes(),
        _floating_source(),
        _floating_chain(),
        _stacked_sources(),
        _ladder(),
        _upper_clamp(),
        _lower_clamp(),
        _resistive_diode(),
        _free_diode(),
        _two_free_diodes(),
        _reverse_diode(),
        _sharp_overdriven(),
        _piecewise_linear_clamp(),
        _stiff_piecewise_linear(),
        _open_capacitor(),
        _parallel_and_shorted(),
        _numbered_nodes(),
    )
}
