"""Capacitances count every end of every device once, and reach the deck."""

from __future__ import annotations

import numpy as np
import pytest
from random_blocks import random_block

from circuits import CircuitBuilder, CircuitError, DiodeModel
from circuits.capacitance import Capacitance, node_capacitances, with_capacitors
from netlists import lower
from netlists.spice_writer import format_standalone


def bridge():
    """Return a node `a` with two resistors and a diode, and `b` with one resistor."""
    return (
        CircuitBuilder("bridge")
        .voltage_source("in", "x", "0", 1.0)
        .resistor("1", "x", "a", 1e-4)
        .resistor("2", "a", "b", 1e-4)
        .resistor("3", "b", "0", 1e-4)
        .diode("1", "a", "0", DiodeModel())
        .build()
    )


def test_each_end_counts_once() -> None:
    found = node_capacitances(bridge(), Capacitance(node_f=10e-15, device_f=2e-15, junction_f=1e-15))
    # ground, x with one resistor, a with two and a diode, b with two
    np.testing.assert_allclose(found, [0.0, 12e-15, 15e-15, 14e-15], rtol=1e-12)
    settings = Capacitance(node_f=10e-15, device_f=2e-15, junction_f=0.0)
    on_wires = node_capacitances(bridge(), settings, on_wires=np.array([3]))
    np.testing.assert_allclose(on_wires, [0.0, 12e-15, 14e-15, 4e-15], rtol=1e-12)


def test_a_unit_carries_its_devices() -> None:
    drawn = random_block(0, sizes=(5, 4), n_inputs=6, bias=False, leak_s=0.0, clamped=False)
    found = node_capacitances(drawn.built.circuit, Capacitance(node_f=0.0, device_f=1e-15, junction_f=0.0))
    first, last = drawn.built.layers
    # Differential: two devices a weight at each node; 6 inputs and 4 units, 5 units.
    np.testing.assert_allclose(found[first.nodes], 2 * (6 + 4) * 1e-15)
    np.testing.assert_allclose(found[last.nodes], 2 * 5 * 1e-15)


def test_capacitors_reach_the_deck() -> None:
    circuit = bridge()
    made = with_capacitors(circuit, np.array([0.0, 0.0, 3e-15, 4e-15]))
    text = format_standalone(lower(made)[0])
    assert [line for line in text.splitlines() if line.startswith("c")] == [
        "cnode_a a 0 3e-15",
        "cnode_b b 0 4e-15",
    ]


@pytest.mark.parametrize("field", ["node_f", "device_f", "junction_f"])
@pytest.mark.parametrize("value", [-1e-15, np.nan, np.inf])
def test_settings_refuse_nonsense(field: str, value: float) -> None:
    with pytest.raises(CircuitError, match=field):
        Capacitance(**{field: value})


def test_settings_refuse_no_capacitance_at_all() -> None:
    with pytest.raises(CircuitError, match="everything is zero"):
        Capacitance(node_f=0.0, device_f=0.0, junction_f=0.0)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ([0.0, 1e-15], r"shape \(2,\)"),
        ([0.0, 0.0, -1e-15, 0.0], "capacitance of a"),
        ([1e-15, 0.0, 0.0, 0.0], "ground has"),
    ],
)
def test_circuits_refuse_nonsense(values: list[float], match: str) -> None:
    with pytest.raises(CircuitError, match=match):
        with_capacitors(bridge(), np.array(values))
