"""Port reduction: the conductances between the ports, the way back to the inside, and when it does not act."""

from __future__ import annotations

import numpy as np
import pytest
from cubic_blocks import cubic_block
from random_blocks import random_block, session
from wired_blocks import on_wires

from circuits import Circuit, CircuitBuilder, CircuitError, DiodeModel, Drive, Polarity, validate
from circuits.arrays import Floats, Indices
from circuits.reductions import Chain, fold, ports
from circuits.topology import laplacian


def star(*, k3_per_v2: float | None = None) -> CircuitBuilder:
    """Return three nodes that meet in a fourth, with 1, 2 and 3 S; a path to ground at one of them."""
    b = CircuitBuilder("star").resistor("ra", "a", "middle", 1.0).resistor("rb", "b", "middle", 2.0)
    return b.resistor("rc", "c", "middle", 3.0, k3_per_v2=k3_per_v2).resistor("path", "a", "0", 1.0)


def place(circuit: Circuit, *names: str) -> Indices:
    return np.array([circuit.nodes.index(name) for name in names])


def edges(circuit: Circuit) -> dict[tuple[str, str], float]:
    """Return the conductance between every two nodes."""
    found: dict[tuple[str, str], float] = {}
    r = circuit.resistors
    for a, b, g in zip(r.a, r.b, r.conductance_s, strict=True):
        key = tuple(sorted((circuit.nodes[a], circuit.nodes[b])))
        found[key] = found.get(key, 0.0) + g
    return found


def test_star_becomes_a_triangle() -> None:
    circuit = star().build()
    reduction = ports(circuit, place(circuit, "middle"))
    assert reduction is not None
    # Kennelly 1899: g_ab = g_a g_b / (g_a + g_b + g_c).
    expected = {("a", "b"): 2 / 6, ("a", "c"): 3 / 6, ("b", "c"): 6 / 6, ("0", "a"): 1.0}
    found = edges(reduction.reduced)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-14)
    assert reduction.reduced.equivalent
    assert reduction.reduced.active
    program = reduction.program(circuit.resistors.conductance_s)
    voltage_v = program.expand(np.zeros((2, 0)), np.array([[0.0, 1.0, 2.0, 4.0], [0.0, 1.0, 0.0, 0.0]]))
    np.testing.assert_allclose(voltage_v[:, circuit.nodes.index("middle")], [17 / 6, 1 / 6], rtol=1e-14)


def test_ground_may_be_a_port() -> None:
    circuit = star().resistor("rd", "middle", "0", 4.0).build()
    found = edges(ports(circuit, place(circuit, "middle")).reduced)
    np.testing.assert_allclose(found["0", "b"], 8 / 10, rtol=1e-14)
    np.testing.assert_allclose(found["0", "a"], 1 + 4 / 10, rtol=1e-14)


def test_parts_that_share_ports_add_up() -> None:
    b = CircuitBuilder("ladder").resistor("path", "a", "0", 1.0)
    for k, g in enumerate((2.0, 4.0)):
        b.resistor(f"in{k}", "a", f"m{k}", g).resistor(f"out{k}", f"m{k}", "b", g)
    circuit = b.build()
    reduction = ports(circuit, place(circuit, "m0", "m1"))
    assert len(reduction.parts) == 2
    assert len(reduction.reduced.resistors) == 2
    np.testing.assert_allclose(edges(reduction.reduced)["a", "b"], 1.0 + 2.0, rtol=1e-14)


def random_network(seed: int, n: int = 40, n_resistors: int = 120) -> tuple[Circuit, Floats]:
    """Return a connected network with conductances of a wide range, a drive at two nodes, and other conductances."""
    rng = np.random.default_rng(seed)
    b = CircuitBuilder("net")
    for k in range(n):
        b.resistor(f"tree{k}", f"v{k}", f"v{rng.integers(0, k)}" if k else "0", 10.0 ** rng.uniform(-6, 0))
    for k in range(n_resistors):
        i, j = rng.choice(n, 2, replace=False)
        b.resistor(f"r{k}", f"v{i}", f"v{j}", 10.0 ** rng.uniform(-6, 0))
    b.voltage_source("s", "v3", "0", 0.0, driven=True).current_source("i", "0", "v5", 0.0, driven=True)
    circuit = b.build()
    return circuit, 10.0 ** rng.uniform(-6, 0, len(circuit.resistors))


@pytest.mark.parametrize("seed", range(4))
def test_random_networks(seed: int) -> None:
    circuit, conductance_s = random_network(seed)
    rng = np.random.default_rng(seed)
    asked = rng.choice(np.arange(circuit.n_nodes), 28, replace=False)  # ground and nodes with sources may be among them
    reduction = ports(circuit, asked)
    inside = np.setdiff1d(np.arange(circuit.n_nodes), reduction.kept_nodes)
    sources = {0, *place(circuit, "v3", "v5").tolist()}
    assert set(inside) == set(asked) - sources
    program = reduction.program(conductance_s)
    whole = laplacian(circuit, conductance_s).toarray()
    kept = reduction.kept_nodes
    expected = whole[np.ix_(kept, kept)] - whole[np.ix_(kept, inside)] @ np.linalg.solve(
        whole[np.ix_(inside, inside)], whole[np.ix_(inside, kept)]
    )
    found = laplacian(reduction.reduced, program.conductance_s).toarray()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * np.abs(whole).max())
    drives = rng.normal(size=(3, 2))
    full = session(circuit).solve(conductance_s, drives).voltage_v
    assert program.applies_to(drives)
    reduced = session(reduction.reduced).solve(program.conductance_s, program.drives(drives)).voltage_v
    np.testing.assert_allclose(program.expand(drives, reduced), full, rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(program.restrict(program.expand(drives, reduced)), reduced)
    outside = program.expand_ports(drives, reduced)
    assert np.isnan(outside[:, inside]).all()
    np.testing.assert_array_equal(outside[:, kept], reduced)


def test_the_reduced_circuit_has_the_values_of_the_full_one() -> None:
    circuit, _ = random_network(0)
    reduction = ports(circuit, place(circuit, "v1", "v2"))
    own = reduction.program(circuit.resistors.conductance_s)
    np.testing.assert_array_equal(reduction.reduced.resistors.conductance_s, own.conductance_s)
    validate(reduction.reduced)


def test_what_touches_more_than_resistors_stays() -> None:
    b = star().diode("d", "middle", "0", DiodeModel())
    circuit = b.build()
    assert ports(circuit, place(circuit, "middle")) is None
    circuit = star().capacitor("c", "middle", "0", 1e-12).build()
    assert ports(circuit, place(circuit, "middle")) is None
    circuit = star().current_source("i", "0", "middle", 1e-3).build()
    assert ports(circuit, place(circuit, "middle")) is None
    assert ports(circuit, np.zeros(0, dtype=np.int64)) is None
    assert ports(circuit, place(circuit, "0")) is None


def test_a_nonlinear_device_inside_voids_it() -> None:
    circuit = star(k3_per_v2=0.5).build()
    assert ports(circuit, place(circuit, "middle")) is None
    elsewhere = star().resistor("q", "a", "0", 1.0, k3_per_v2=0.5).build()
    reduction = ports(elsewhere, place(elsewhere, "middle"))
    np.testing.assert_array_equal(reduction.reduced.resistors.k3_per_v2, [0.0, 0.5, 0.0, 0.0, 0.0])
    wired = on_wires(cubic_block(0))
    assert ports(wired.built.circuit, wired.built.wire_nodes) is None


@pytest.mark.parametrize("bad", [0.0, -1e-6, np.nan])
def test_conductances_inside_must_be_above_zero(bad: float) -> None:
    circuit = star().build()
    reduction = ports(circuit, place(circuit, "middle"))
    assert reduction.program(np.array([1.0, 2.0, bad, 1.0])) is None
    # Outside anything may be: an active leak, for one.
    np.testing.assert_array_equal(reduction.program(np.array([1.0, 2.0, 3.0, -0.5])).conductance_s[:1], [-0.5])


def test_what_floats_is_left_for_validation_to_name() -> None:
    circuit = star().resistor("island", "x", "y", 1.0).build()
    reduction = ports(circuit, place(circuit, "middle", "x", "y"))
    assert {"x", "y"} <= set(reduction.reduced.nodes)
    with pytest.raises(CircuitError, match="no conducting path to ground from 'x', 'y'"):
        validate(reduction.reduced)
    assert ports(circuit, place(circuit, "x", "y")) is None


@pytest.mark.parametrize("polarity", Polarity)
@pytest.mark.parametrize("drive", Drive)
def test_a_block_on_wires_is_left_with_its_nets(polarity: Polarity, drive: Drive) -> None:
    drawn = random_block(1, polarity=polarity, drive=drive)
    wired = on_wires(drawn)
    reduction = ports(wired.built.circuit, wired.built.wire_nodes)
    assert reduction.reduced.nodes == drawn.built.circuit.nodes
    folded = fold(reduction.reduced)
    assert (folded is not None) == (len(drawn.built.circuit.voltage_sources) > 0 and drawn.built.bias is not None)
    chain = Chain(first=reduction, second=folded)
    program = chain.program(wired.conductance_s)
    assert program.applies_to(wired.drives)
    solved = session(chain.reduced).solve(program.conductance_s, program.drives(wired.drives)).voltage_v
    full = session(wired.built.circuit).solve(wired.conductance_s, wired.drives).voltage_v
    np.testing.assert_allclose(program.expand(wired.drives, solved), full, atol=1e-11, rtol=0)
    outside = program.expand_ports(wired.drives, solved)
    n = drawn.built.circuit.n_nodes
    np.testing.assert_allclose(outside[:, :n], full[:, :n], atol=1e-11, rtol=0)
    assert np.isnan(outside[:, n:]).all()
    np.testing.assert_array_equal(chain.kept_nodes, reduction.kept_nodes[folded.kept_nodes])
