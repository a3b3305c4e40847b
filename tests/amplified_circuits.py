"""Tiny circuits with amplifiers, with answers by hand from v(end) = A v(start) and i(start) = i(end) / A."""

from __future__ import annotations

from circuit_bank import PLAIN, Case, forward_v

from circuits import CircuitBuilder


def _divider() -> Case:
    # A load of 1 mS behind the amplifier is one of (1 / A) A mS before it: 1 mS.
    b = CircuitBuilder("amplified divider").voltage_source("s", "in", "0", 3.0).resistor("top", "in", "a", 1e-3)
    b.amplifier("amp", "a", "b", 4.0).resistor("load", "b", "0", 1e-3)
    return Case(b.build(), {"a": 1.5, "b": 6.0}, {"s": 1.5e-3})


def _pair() -> Case:
    # a = 1, c = 1 chosen: 1 mA flows from b = 2 to c, half of it out of a; 3 mA out of d = 3, a third of it out of c.
    b = CircuitBuilder("amplifier pair").voltage_source("s", "in", "0", 1.5).resistor("r0", "in", "a", 1e-3)
    b.amplifier("first", "a", "b", 2.0).resistor("r1", "b", "c", 1e-3).amplifier("second", "c", "d", 3.0)
    b.resistor("r2", "d", "w", 2e-3).voltage_source("w", "w", "0", 1.5)
    return Case(b.build(), {"a": 1.0, "b": 2.0, "c": 1.0, "d": 3.0}, {"s": 0.5e-3, "w": -3e-3})


def _on_a_source() -> Case:
    # Both ends are known; of the 3 mA at the output the source before the amplifier delivers a quarter.
    b = CircuitBuilder("amplifier on a source").voltage_source("s", "a", "0", 0.5).amplifier("amp", "a", "b", 4.0)
    b.resistor("load", "b", "0", 1e-3).resistor("r", "b", "c", 1e-3).resistor("q", "c", "0", 1e-3)
    return Case(b.build(), {"b": 2.0, "c": 1.0}, {"s": 0.75e-3})


def _source_behind() -> Case:
    # x = 2 a + 1; (4 - a) mA arrives at a, and half of x mA leaves it.
    b = CircuitBuilder("source behind an amplifier").voltage_source("s", "in", "0", 4.0).resistor("r", "in", "a", 1e-3)
    b.amplifier("amp", "a", "b", 2.0).voltage_source("f", "x", "b", 1.0).resistor("load", "x", "0", 1e-3)
    return Case(b.build(), {"a": 1.75, "b": 3.5, "x": 4.5}, {"s": 2.25e-3, "f": 4.5e-3})


def _clamp_behind() -> Case:
    # The clamp's current goes back divided by four.
    current = 1e-4
    node = 0.2 + forward_v(PLAIN, current)
    b = CircuitBuilder("clamp behind an amplifier").amplifier("amp", "a", "b", 4.0)
    b.voltage_source("s", "in", "0", node / 4 + current / 4 / 1e-4).resistor("r", "in", "a", 1e-4)
    b.diode("d", "b", "rail", PLAIN).voltage_source("rail", "rail", "0", 0.2)
    return Case(b.build(), {"a": node / 4, "b": node}, {"s": current / 4, "rail": -current})


def _attenuator() -> Case:
    # A below one, and a current source at the output: half of the load is reflected fourfold against it.
    b = CircuitBuilder("attenuator").voltage_source("s", "in", "0", 3.0).resistor("r", "in", "a", 1e-3)
    b.amplifier("amp", "a", "b", 0.5).resistor("load", "b", "0", 1e-3).current_source("i", "0", "b", 1e-3)
    # (3 - a) mA = 2 (a / 2 - 1) mA
    return Case(b.build(), {"a": 2.5, "b": 1.25}, {"s": 0.5e-3})


AMPLIFIED = {
    case.circuit.name: case
    for case in (_divider(), _pair(), _on_a_source(), _source_behind(), _clamp_behind(), _attenuator())
}
