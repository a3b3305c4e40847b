"""What no simulator may see: floating nodes, source loops, values that are not physical, names that SPICE confuses."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from circuits import (
    Circuit,
    CircuitBuilder,
    CircuitError,
    Clamp,
    DiodeModel,
    Diodes,
    Drive,
    EnergyBlock,
    NodeLayer,
    Resistors,
    build,
    validate,
)
from circuits.validation import check_conductances, check_drives


def start() -> CircuitBuilder:
    return CircuitBuilder("amp").voltage_source("s", "in", "0", 1.0).resistor("r", "in", "out", 1e-3)


def test_sound_circuit_gives_its_topology() -> None:
    topology = validate(start().resistor("q", "out", "0", 1e-3).build())
    assert topology.n_unknowns == 1


def test_floating_unit_is_named_by_layer_and_unit() -> None:
    # Current drive without leak or bias: only the nudge and the clamps reach the units.
    layers = (NodeLayer(size=2, clamp=Clamp(low_v=-1, high_v=1)), NodeLayer(size=1))
    circuit = build(EnergyBlock(name="dense1", n_inputs=2, layers=layers, drive=Drive.CURRENT)).circuit
    message = (
        r"circuit 'dense1': no conducting path to ground from 'layer 1 unit 0 \(p\)', 'layer 1 unit 1 \(p\)', "
        r"'layer 1 unit 0 \(n\)' and 3 more \(only diodes reach it\); add a leak or bias conductance"
    )
    with pytest.raises(CircuitError, match=message):
        validate(circuit)


def test_floating_pieces() -> None:
    with pytest.raises(CircuitError, match=r"no conducting path to ground from 'a', 'b'; add"):
        validate(start().resistor("island", "a", "b", 1.0).build())
    with pytest.raises(CircuitError, match=r"no conducting path to ground from 'a'; add"):
        validate(start().capacitor("c", "a", "0", 1e-12).build())
    with pytest.raises(CircuitError, match=r"no conducting path to ground from 'a'; add"):
        validate(start().current_source("i", "0", "a", 1e-3).build())
    with pytest.raises(CircuitError, match=r"from 'a', 'b'; add"):
        validate(start().voltage_source("v", "a", "b", 1.0).build())
    with pytest.raises(CircuitError, match=r"from 'a' \(only diodes reach it\)"):
        validate(start().diode("d", "a", "0", DiodeModel()).build())


def test_diodes_elsewhere_are_not_blamed() -> None:
    b = start().diode("d", "out", "0", DiodeModel()).resistor("island", "a", "b", 1.0)
    with pytest.raises(CircuitError, match=r"from 'a', 'b'; add"):
        validate(b.build())


def test_node_that_nothing_touches() -> None:
    with pytest.raises(CircuitError, match=r"no conducting path to ground from 'lonely'"):
        validate(Circuit(name="c", nodes=("0", "lonely")))


@pytest.mark.parametrize(
    "sources",
    [
        [("v1", "a", "0"), ("v2", "a", "0")],
        [("v1", "a", "0"), ("v2", "b", "a"), ("v3", "0", "b")],
        [("v1", "b", "a"), ("v2", "c", "b"), ("v3", "c", "a")],
        [("v1", "a", "a")],
    ],
    ids=["parallel", "through ground", "floating", "shorted"],
)
def test_loop_of_voltage_sources(sources: list[tuple[str, str, str]]) -> None:
    b = start()
    for name, plus, minus in sources:
        b.voltage_source(name, plus, minus, 0.0).resistor(f"r{name}", plus, "0", 1e-3)
    with pytest.raises(
        CircuitError, match=r"circuit 'amp': voltage source 'v\d' closes a loop of voltage sources at node"
    ):
        validate(b.build())


@pytest.mark.parametrize("value", [0.0, -1e-3, math.nan, math.inf])
def test_conductance_that_is_no_resistor(value: float) -> None:
    circuit = start().resistor("bad", "out", "0", value).build()
    message = (
        rf"circuit 'amp': conductance of 'bad' \(out to 0\) is {value:g} S \(1 such\); give a finite value above zero"
    )
    with pytest.raises(CircuitError, match=message):
        validate(circuit)


def test_reduced_circuits_may_have_zero_and_negative_conductances_but_no_nan() -> None:
    circuit = replace(start().resistor("q", "out", "0", 1e-3).build(), active=True)
    check_conductances(circuit, np.array([-1e-3, 0.0]))
    with pytest.raises(CircuitError, match=r"is nan S"):
        check_conductances(circuit, np.array([1e-3, math.nan]))


def test_worst_conductance_is_named_in_the_users_words() -> None:
    built = build(EnergyBlock(name="dense1", n_inputs=2, layers=(NodeLayer(size=2),)))
    g = built.circuit.resistors.conductance_s.copy()
    g[built.crossbars[0].minus[0, 1, 0]] = -1.0
    with pytest.raises(CircuitError, match=r"'w1_1_0_pn' \(input 1 \(p\) to layer 1 unit 0 \(n\)\) is -1 S"):
        check_conductances(built.circuit, g)
    with pytest.raises(
        CircuitError, match=r"conductances of shape \(3,\); it has 16 resistors, so give \[16\] in siemens"
    ):
        check_conductances(built.circuit, np.ones(3))


@pytest.mark.parametrize(
    ("circuit", "message"),
    [
        (start().voltage_source("v", "out", "0", math.nan), r"source 'v' \(out to 0\) is nan"),
        (start().current_source("i", "0", "out", math.inf), r"source 'i' \(0 to out\) is inf"),
        (start().capacitor("c", "out", "0", 0.0), r"capacitor 'c' \(out to 0\) is 0 F"),
        (start().capacitor("c", "out", "0", math.nan), r"capacitor 'c' \(out to 0\) is nan F"),
        (CircuitBuilder("amp", temperature_k=-1.0), r"circuit 'amp': temperature -1.0 K is not above zero"),
    ],
)
def test_other_values(circuit: CircuitBuilder, message: str) -> None:
    with pytest.raises(CircuitError, match=message):
        validate(circuit.build())


def test_names_that_differ_only_in_case() -> None:
    with pytest.raises(CircuitError, match=r"circuit 'amp': nodes named twice: 'out' \(SPICE does not tell capital"):
        validate(start().resistor("q", "OUT", "0", 1e-3).build())
    with pytest.raises(CircuitError, match=r"resistors named twice: 'r'"):
        validate(start().resistor("R", "out", "0", 1e-3).build())
    # Two kinds do not disturb each other: SPICE puts a letter in front.
    validate(start().resistor("q", "out", "0", 1e-3).diode("r", "out", "0", DiodeModel()).build())


def test_drives() -> None:
    built = build(EnergyBlock(name="dense1", n_inputs=2, layers=(NodeLayer(size=1),)))
    check_drives(built.circuit, np.zeros((0, 6)))
    with pytest.raises(CircuitError, match=r"drives of shape \(3, 5\); it has 6 driven sources, so give \[batch, 6\]"):
        check_drives(built.circuit, np.zeros((3, 5)))
    with pytest.raises(CircuitError, match=r"drives of shape \(6,\)"):
        check_drives(built.circuit, np.zeros(6))
    bad = np.zeros((3, 6))
    bad[2, 1] = math.nan
    with pytest.raises(CircuitError, match=r"drive of 'x1p' \(input 1 \(p\) to ground\) is nan in sample 2; check"):
        check_drives(built.circuit, bad)
    bad = np.zeros((3, 6))
    bad[1, 5] = math.inf
    with pytest.raises(
        CircuitError, match=r"drive of 'nudge_l1_0n' \(ground to layer 1 unit 0 \(n\)\) is inf in sample 1"
    ):
        check_drives(built.circuit, bad)


def test_circuit_refuses_inconsistent_tables() -> None:
    with pytest.raises(CircuitError, match=r"circuit 'c': the first node must be ground, named '0'"):
        Circuit(name="c", nodes=("a", "0"))
    with pytest.raises(CircuitError, match=r"circuit 'c': the first node must be ground"):
        Circuit(name="c", nodes=())
    with pytest.raises(CircuitError, match=r"circuit 'c': 1 labels for 2 nodes"):
        Circuit(name="c", nodes=("0", "a"), labels=("ground",))
    lone = Resistors(names=("r",), a=np.array([0]), b=np.array([2]), conductance_s=np.ones(1))
    with pytest.raises(CircuitError, match=r"circuit 'c': Resistors use a node outside 0..1"):
        Circuit(name="c", nodes=("0", "a"), resistors=lone)
    with pytest.raises(
        CircuitError, match=r"resistors: every column needs one entry per device, but names has 1, a has 2"
    ):
        Resistors(names=("r",), a=np.array([0, 0]), b=np.array([1]), conductance_s=np.ones(1))
    with pytest.raises(CircuitError, match=r"diodes: a device points to a model outside the table of 0"):
        Diodes(names=("d",), anode=np.array([0]), cathode=np.array([1]), model=np.array([0]))


@pytest.mark.parametrize("name", ["", " a", "a\n"])
def test_builder_refuses_names_that_are_none(name: str) -> None:
    with pytest.raises(CircuitError, match=r"circuit 'amp': '.*\n?' cannot name a node"):
        start().resistor("x", name, "0", 1.0)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("gmin_s", math.nan, "gmin_s = nan; give a finite value"),
        ("gmin_s", -1.0, "gmin_s = -1.0; give a finite value"),
        ("k_over_q_v_per_k", math.nan, "k_over_q_v_per_k = nan; it is near 8.617e-5"),
    ],
)
def test_constants_of_the_diodes(field: str, value: float, message: str) -> None:
    circuit = start().resistor("q", "out", "0", 1.0).build()
    with pytest.raises(CircuitError, match=message):
        validate(replace(circuit, **{field: value}))
