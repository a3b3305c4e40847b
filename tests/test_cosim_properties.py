"""Properties that hold for any circuit: names and order mean nothing, power balances, scale does not move voltages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_blocks import session

from circuits import Circuit, CircuitBuilder, DiodeModel, validate
from circuits.arrays import Floats
from circuits.kirchhoff import diode_currents, kirchhoff_residual
from cosim.simulators.base import OperatingPoint

MODELS = (
    DiodeModel(),
    DiodeModel(saturation_current_a=1e-9),
    DiodeModel(saturation_current_a=1e-12, emission_coefficient=1.5, series_resistance_ohm=300.0),
)


@dataclass(frozen=True)
class Part:
    """One device of a random circuit: its kind, its two nodes (numbers, 0 is ground) and its value."""

    kind: str
    start: int
    end: int
    value: float


def assemble(parts: list[Part], name_of: dict[int, str]) -> Circuit:
    """Build a circuit; the k-th part is called p<k> by its place in the original list."""
    b = CircuitBuilder("property")
    for k, part in enumerate(parts):
        a, c, name = name_of[part.start], name_of[part.end], f"p{k}"
        match part.kind:
            case "resistor":
                b.resistor(name, a, c, part.value)
            case "diode":
                b.diode(name, a, c, MODELS[int(part.value)])
            case "voltage":
                b.voltage_source(name, a, c, part.value)
            case _:
                b.current_source(name, a, c, part.value)
    return b.build()


def plain_names(n: int) -> dict[int, str]:
    return {0: "0", **{k: f"n{k}" for k in range(1, n + 1)}}


@st.composite
def circuits(draw: st.DrawFn, *, linear: bool = False) -> tuple[int, list[Part]]:
    """Draw a sound circuit: every node leaks to ground, no loop of voltage sources.

    Sources are so small that diodes in a row across all of them stay within the range of a double.
    """
    n = draw(st.integers(1, 6))
    node = st.integers(0, n)
    g = st.floats(-6, -3).map(lambda exponent: 10.0**exponent)
    parts = [Part("resistor", k, 0, draw(g)) for k in range(1, n + 1)]
    parts += [Part("resistor", draw(node), draw(node), draw(g)) for _ in range(draw(st.integers(0, 6)))]
    tied = list(range(n + 1))  # union of the nodes that sources join
    for _ in range(draw(st.integers(1, 3))):
        plus, minus = draw(node), draw(node)
        if tied[plus] != tied[minus]:
            tied = [tied[minus] if root == tied[plus] else root for root in tied]
            parts.append(Part("voltage", plus, minus, draw(st.floats(-0.4, 0.4))))
    if not linear:
        for _ in range(draw(st.integers(0, 3))):
            anode, cathode = draw(node), draw(node)
            # Straight across a source a diode's current has no bound.
            if tied[anode] != tied[cathode]:
                parts.append(Part("diode", anode, cathode, draw(st.integers(0, 2))))
        for _ in range(draw(st.integers(0, 2))):
            parts.append(Part("current", draw(node), draw(node), draw(st.floats(-1e-3, 1e-3))))
    return n, parts


def relax(circuit: Circuit, g: Floats | None = None) -> OperatingPoint:
    conductance_s = circuit.resistors.conductance_s if g is None else g
    return session(circuit).solve(conductance_s, np.zeros((1, 0)), read_sources=True)


def by_name(circuit: Circuit, point: OperatingPoint) -> dict[str, float]:
    return dict(zip(circuit.nodes, point.voltage_v[0], strict=True))


# A microsiemens node beside a millisiemens one: 1e-9 V is what double precision leaves.
TOLERANCE_V = 1e-9


@settings(max_examples=60)
@given(data=st.data(), drawn=circuits())
def test_renaming_nodes_and_reordering_elements_changes_no_voltage(data: st.DataObject, drawn) -> None:
    n, parts = drawn
    names = plain_names(n)
    first = by_name(circuit := assemble(parts, names), relax(circuit))
    order = data.draw(st.permutations(range(n)))
    other_names = {0: "0", **{k: f"Other {order[k - 1]}" for k in range(1, n + 1)}}
    shuffled = data.draw(st.permutations(parts))
    second = by_name(circuit := assemble(shuffled, other_names), relax(circuit))
    assert {name: second[other_names[k]] for k, name in names.items()} == pytest.approx(first, abs=TOLERANCE_V, rel=0)


@settings(max_examples=60)
@given(drawn=circuits())
def test_power_balances_and_kirchhoff_holds(drawn) -> None:
    n, parts = drawn
    circuit = assemble(parts, plain_names(n))
    point = relax(circuit)
    v = point.voltage_v
    assert point.source_current_a is not None
    r, d, e, i = circuit.resistors, circuit.diodes, circuit.voltage_sources, circuit.current_sources
    dissipated = (v[0, r.a] - v[0, r.b]) ** 2 @ r.conductance_s
    if len(d):
        dissipated += diode_currents(circuit, v)[0][0] @ (v[0, d.anode] - v[0, d.cathode])
    delivered = point.source_current_a[0] @ e.voltage_v + i.current_a @ (v[0, i.end] - v[0, i.start])
    assert delivered == pytest.approx(dissipated, rel=1e-6, abs=1e-12)
    residual = kirchhoff_residual(
        validate(circuit), r.conductance_s, np.zeros((1, 0)), v, voltage_tolerance_v=TOLERANCE_V
    )
    assert residual.residual_a[0] <= residual.tolerance_a[0]


@settings(max_examples=60)
@given(drawn=circuits(linear=True), scale=st.floats(1e-3, 1e3))
def test_scaling_every_conductance_leaves_voltages_alone(drawn, scale: float) -> None:
    n, parts = drawn
    circuit = assemble(parts, plain_names(n))
    one, other = relax(circuit), relax(circuit, circuit.resistors.conductance_s * scale)
    np.testing.assert_allclose(other.voltage_v, one.voltage_v, atol=TOLERANCE_V, rtol=0)
    assert one.source_current_a is not None
    assert other.source_current_a is not None
    np.testing.assert_allclose(other.source_current_a, scale * one.source_current_a, rtol=1e-6, atol=1e-12 * scale)
