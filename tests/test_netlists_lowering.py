"""Lowering decides every SPICE name and keeps the way back; what SPICE would confuse is refused."""

from __future__ import annotations

import numpy as np
import pytest
from circuit_bank import BANK
from hypothesis import given
from hypothesis import strategies as st

from circuits import CircuitBuilder, CircuitError, DiodeModel
from netlists import NetlistError, SolverOptions, format_standalone, lower
from netlists.lowering import spell


def simple(node: str = "out", resistor: str = "r", title: str = "c", **devices: str) -> CircuitBuilder:
    b = CircuitBuilder(title).voltage_source(devices.get("source", "s"), "in", "0", 1.0)
    return b.resistor(resistor, "in", node, 1e-3).resistor("leak", node, "0", 1e-3)


def test_names_by_hand() -> None:
    b = simple("Layer 1/Unit[0]", "W.1").diode("up", "in", "0", DiodeModel()).capacitor("c", "in", "0", 1e-12)
    netlist, node_map = lower(b.current_source("i", "0", "in", 0.0).build())
    assert netlist.nodes == ("0", "in", "layer_1_unit_0_")
    assert netlist.resistors == ("rw_1", "rleak")
    assert (netlist.diodes, netlist.voltage_sources, netlist.current_sources, netlist.capacitors) == (
        ("dup",),
        ("vs",),
        ("ii",),
        ("cc",),
    )
    assert netlist.models == ("diode0",)
    assert node_map.vectors == ("in", "layer_1_unit_0_", "vs#branch")
    assert node_map.node("LAYER_1_unit_0_") == 2
    assert node_map.node("0") == 0
    with pytest.raises(NetlistError, match=r"no node 'nowhere' in this netlist; it has 0, in, layer_1_unit_0_"):
        node_map.node("nowhere")


def test_map_back_by_hand() -> None:
    _, node_map = lower(BANK["floating source"].circuit)
    # a, b, then i(V): ngspice counts what flows into the plus terminal, so the sign turns.
    values = np.array([[1.0, -2.0, -1e-3], [3.0, 4.0, 5.0]])
    np.testing.assert_array_equal(node_map.voltages(values), [[0, 1, -2], [0, 3, 4]])
    np.testing.assert_array_equal(node_map.source_currents(values), [[1e-3], [-5]])


RESERVED = {"0", "gnd", "sweep", *(f"drive{k}" for k in range(1000))}
names = st.text(min_size=1, max_size=8).filter(lambda name: name.strip() == name and spell(name) not in RESERVED)


@given(names=st.lists(names, min_size=1, max_size=6, unique_by=spell))
def test_lower_then_map_back_is_the_identity(names: list[str]) -> None:
    b = CircuitBuilder("property")
    for k, name in enumerate(names):
        b.resistor(f"r{k}", name, "0", 1e-3).voltage_source(f"s{k}", name, "0", float(k))
    circuit = b.build()
    netlist, node_map = lower(circuit)
    # The simulator knows SPICE names only: whatever order it uses, every node and source gets its own value.
    by_name = {name: float(k) for k, name in enumerate(node_map.vectors)}
    values = np.array([[by_name[name] for name in node_map.vectors]])
    voltage_v = node_map.voltages(values)[0]
    for k, name in enumerate(circuit.nodes[1:], start=1):
        assert voltage_v[k] == by_name[spell(name)]
        assert node_map.node(spell(name)) == k
    currents = node_map.source_currents(values)[0]
    assert currents.tolist() == [-by_name[f"vs{k}#branch"] for k in range(len(names))]
    # One line for each device, whatever is in a name.
    lines = format_standalone(netlist).splitlines()
    assert len(lines) == 1 + 3 + 2 * len(names) + 2
    assert all(line.isascii() and line.isprintable() for line in lines)


@pytest.mark.parametrize(
    "name",
    [
        "x\n.include /etc/passwd",
        "x\nv9 out 0 5",
        "x ; comment",
        "x$y",
        "+ 5",
        ".end",
        "*r",
        "x\r\nq",
        "{a}",
        "'a+1'",
        "x=1",
    ],
)
def test_names_cannot_smuggle_lines_or_values(name: str) -> None:
    clean = format_standalone(lower(simple().build())[0]).splitlines()
    for circuit in (simple(node=name), simple(resistor=name), simple(source=name), simple(title=name)):
        lines = format_standalone(lower(circuit.build())[0]).splitlines()
        assert len(lines) == len(clean)
        for line, expected in zip(lines[1:], clean[1:], strict=True):
            assert len(line.split()) == len(expected.split())
            assert line[0] == expected[0]
        assert lines[0].startswith("* ")


@pytest.mark.parametrize("node", ["gnd", "GND", "sweep", "Sweep", "drive0"])
def test_reserved_nodes(node: str) -> None:
    with pytest.raises(NetlistError, match=rf"circuit 'c': .*cannot be named '{node.lower()}'.*; rename"):
        lower(simple(node).build())


@pytest.mark.parametrize("name", ["drive0", "DRIVE12", "sweep"])
def test_reserved_devices(name: str) -> None:
    with pytest.raises(NetlistError, match=r"circuit 'c': voltage sources cannot be named '.*', a name the deck needs"):
        lower(simple(source=name).build())
    with pytest.raises(NetlistError, match=r"circuit 'c': resistors cannot be named"):
        lower(simple(resistor=name).build())


def test_nameless_device() -> None:
    with pytest.raises(NetlistError, match=r"resistors cannot be named ''"):
        lower(simple(resistor="").build())


def test_names_that_are_spelt_alike() -> None:
    with pytest.raises(NetlistError, match=r"circuit 'c': nodes 'a.b', 'a b' are all spelt 'a_b' in SPICE; rename"):
        lower(simple("a.b").resistor("q", "a b", "0", 1.0).build())
    with pytest.raises(NetlistError, match=r"resistors 'w\[1\]', 'w\(1\)' are all spelt 'w_1_' in SPICE"):
        lower(simple(resistor="w[1]").resistor("w(1)", "out", "0", 1.0).build())


def test_unphysical_circuits_are_refused_first() -> None:
    with pytest.raises(CircuitError, match=r"no conducting path to ground from 'island'"):
        lower(simple().current_source("i", "0", "island", 1e-3).build())


def test_options() -> None:
    options = SolverOptions(reltol=1e-6, vntol_v=1e-9)
    assert options.voltage_tolerance_v(2.0) == pytest.approx(2e-6 + 1e-9)
    assert lower(simple().build(), options)[0].options is options
    assert SolverOptions().voltage_tolerance_v(1.0) < 1e-9  # the bound on two simulators' difference needs it


@pytest.mark.parametrize("name", ["reltol", "abstol_a", "vntol_v"])
@pytest.mark.parametrize("value", [-1.0, 0.0, float("nan"), float("inf")])
def test_tolerance_that_cannot_be(name: str, value: float) -> None:
    with pytest.raises(NetlistError, match=rf"solver options: {name} = {value}; give a finite number above zero"):
        SolverOptions(**{name: value})


@pytest.mark.parametrize("name", ["max_iterations", "max_sweep_iterations"])
@pytest.mark.parametrize("value", [0, -3, 2.5, float("nan"), float("inf")])
def test_iteration_limit_that_cannot_be(name: str, value: float) -> None:
    with pytest.raises(NetlistError, match=rf"solver options: {name} = {value}; give a whole number, 1 or more"):
        SolverOptions(**{name: value})
