"""Cubic resistors in the circuit: the column, co-content and Kirchhoff's law, gradients, and what reductions do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cubic_blocks import cubic_block, two_phases
from random_blocks import random_block, random_convolution

from circuits import CircuitBuilder, CircuitError, Convolution, Drive, Polarity, Resistors
from circuits import cubic_branches as cubic_branches_module
from circuits.cocontent import cocontent, conductance_derivative, response_gradient
from circuits.cubic_branches import cubic_branches
from circuits.device_gradients import device_response_gradients
from circuits.devices.cubic import CubicCurrent
from circuits.graph import to_networkx
from circuits.kirchhoff import kirchhoff_residual, leaving_currents, source_currents
from circuits.reductions import fold, mirror
from circuits.topology import analyse
from circuits.validation import check_conductances, validate

kinds = pytest.mark.parametrize(("polarity", "drive"), [(p, d) for p in Polarity for d in Drive])


def device(k3_per_v2: float | None, conductance_s: float = 1e-3):
    """Return a source of 0.5 V across one device, and a node that hangs on to it."""
    b = CircuitBuilder("one").voltage_source("s", "in", "0", 0.5)
    b.resistor("r", "in", "0", conductance_s, k3_per_v2=k3_per_v2)
    return b.resistor("top", "in", "out", 1e-3).resistor("q", "0", "out", 1e-3, k3_per_v2=k3_per_v2).build()


def test_a_column_of_zeros_is_no_column() -> None:
    linear, cubic = device(None), device(2.0)
    assert not linear.has_cubic
    assert cubic.has_cubic
    assert linear.resistors.k3_per_v2.shape == (0,)
    np.testing.assert_array_equal(cubic.resistors.k3_per_v2, [2.0, 0.0, 2.0])
    np.testing.assert_array_equal(cubic.resistors.cubic, [0, 2])
    assert not device(0.0).has_cubic
    assert not cubic.with_cubic(0.0).has_cubic
    assert not cubic.with_cubic(np.zeros(3)).has_cubic
    np.testing.assert_array_equal(linear.with_cubic(0.5).resistors.k3_per_v2, [0.5, 0.5, 0.5])
    assert not cubic.resistors.k3_per_v2.flags.writeable


def test_other_conductances_and_drives_leave_the_law_alone() -> None:
    cubic = device(2.0)
    again = cubic.with_conductances([1e-3, 2e-3, 3e-3]).with_drives(np.zeros(0))
    np.testing.assert_array_equal(again.resistors.k3_per_v2, [2.0, 0.0, 2.0])
    np.testing.assert_array_equal(again.resistors.conductance_s, [1e-3, 2e-3, 3e-3])
    assert again.resistors.names == cubic.resistors.names


def test_a_wrong_k3_is_refused() -> None:
    with pytest.raises(CircuitError, match=r"circuit 'one': k3 of shape \(2,\); give one number, or \[3\] in 1/V\^2"):
        device(2.0).with_cubic(np.ones(2))
    with pytest.raises(CircuitError, match="every column needs one entry per device"):
        Resistors(names=("r",), a=np.zeros(1), b=np.ones(1), conductance_s=np.ones(1), k3_per_v2=np.ones(2))
    for value, text in ((-0.5, "-0.5"), (np.nan, "nan"), (np.inf, "inf")):
        with pytest.raises(CircuitError, match=rf"k3 of 'r' \(in to 0\) is {text} /V\^2; give a finite value, zero"):
            validate(device(2.0).with_cubic([value, 0.0, 0.0]))
    active = replace(device(2.0), active=True)
    check_conductances(active, np.array([1e-3, -1e-3, 1e-3]))  # the linear one
    with pytest.raises(
        CircuitError, match=r"'q' \(0 to out\) has k3 = 2 /V\^2 and a conductance of -0.001 S; an active"
    ):
        check_conductances(active, np.array([1e-3, 1e-3, -1e-3]))


def test_currents_by_hand() -> None:
    # r at 0.5 V: 1 mS (0.5 + 2 * 0.125) = 0.75 mA. q at 0.4 V: 1 mS (0.4 + 2 * 0.064) = 0.528 mA, top 0.1 mA.
    circuit = device(2.0)
    voltage_v, none = np.array([[0.0, 0.5, 0.4]]), np.zeros((1, 0))
    g = circuit.resistors.conductance_s
    leaving = leaving_currents(circuit, g, none, voltage_v)
    np.testing.assert_allclose(leaving, [[-1.278e-3, 0.85e-3, 0.428e-3]], rtol=1e-13)
    found = kirchhoff_residual(analyse(circuit), g, none, voltage_v, voltage_tolerance_v=1e-9)
    assert found.residual_a[0] == pytest.approx(0.428e-3, rel=1e-13)
    # Slope of q: 1 mS (1 + 3 * 2 * 0.16) = 1.96 mS, beside 1 mS of top.
    assert found.tolerance_a[0] == pytest.approx(1e-9 * 2.96e-3, rel=1e-12)
    assert found.node[0] == 2
    assert source_currents(analyse(circuit), g, none, voltage_v)[0] == pytest.approx(0.85e-3, rel=1e-13)


def test_the_law_is_that_of_the_device() -> None:
    law, circuit = CubicCurrent(k3_per_v2=0.7), device(0.7)
    g, v = np.array([2e-4]), np.array([-0.9])
    voltage_v = np.array([[0.0, -0.9, -0.9]])  # top carries nothing, r and q the same
    both = circuit.with_conductances([2e-4, 1e-3, 2e-4])
    found = cocontent(both, both.resistors.conductance_s, np.zeros((1, 0)), voltage_v)
    assert found[0] == pytest.approx(2 * law.cocontent_w(g, v)[0], rel=1e-13)
    leaving = leaving_currents(both, both.resistors.conductance_s, np.zeros((1, 0)), voltage_v)
    assert leaving[0, 1] == pytest.approx(law.current_a(g, v)[0], rel=1e-13)
    assert conductance_derivative(both, voltage_v)[0, 0] == pytest.approx(law.cocontent_per_g_v2(v)[0], rel=1e-13)


@kinds
def test_current_is_the_derivative_of_the_cocontent(polarity: Polarity, drive: Drive) -> None:
    b = cubic_block(1, polarity, drive)
    circuit, rng = b.built.circuit, np.random.default_rng(2)
    voltage_v = rng.normal(size=(len(b.x), circuit.n_nodes)) * 0.4
    voltage_v[:, 0] = 0.0
    leaving = leaving_currents(circuit, b.conductance_s, b.drives, voltage_v)
    for node in range(1, circuit.n_nodes):
        step = np.zeros(circuit.n_nodes)
        step[node] = 1e-6
        up, down = (cocontent(circuit, b.conductance_s, b.drives, voltage_v + sign * step) for sign in (1, -1))
        np.testing.assert_allclose((up - down) / 2e-6, leaving[:, node], rtol=1e-5, atol=1e-5 * np.abs(leaving).max())


@kinds
def test_dfdg_is_the_derivative_of_the_cocontent_by_each_conductance(polarity: Polarity, drive: Drive) -> None:
    b = cubic_block(2, polarity, drive, clamped=False)
    circuit, rng = b.built.circuit, np.random.default_rng(3)
    voltage_v = rng.normal(size=(2, circuit.n_nodes)) * 0.9
    drives, found = b.drives[:2], conductance_derivative(circuit, voltage_v)
    resistors = circuit.resistors
    across = voltage_v[:, resistors.a] - voltage_v[:, resistors.b]
    np.testing.assert_allclose(found, across**2 / 2 + resistors.k3_per_v2 * across**4 / 4, rtol=1e-13)
    for k in range(len(resistors)):
        step = np.zeros(len(resistors))
        step[k] = 0.5  # S: F is linear in g
        up, down = (cocontent(circuit, b.conductance_s + sign * step, drives, voltage_v) for sign in (1, -1))
        np.testing.assert_allclose(up - down, found[:, k], rtol=1e-9, atol=1e-12)


@kinds
@pytest.mark.parametrize("beta", [0.02, 0.6])
def test_response_gradient_is_the_difference_of_dfdg(polarity: Polarity, drive: Drive, beta: float) -> None:
    # At a finite beta too, for every device and for the mean over the devices of a weight.
    b = cubic_block(3, polarity, drive)
    circuit, v_unit_v = b.built.circuit, b.built.block.v_unit_v
    _, first, second = two_phases(b, beta)
    change_v, mean_v = second - first, (first + second) / 2
    local = conductance_derivative(circuit, second) - conductance_derivative(circuit, first)
    local = local.sum(axis=0) / (2 * beta)
    found = response_gradient(circuit, mean_v, change_v / (2 * beta), change_v)
    scale = np.abs(local).max()
    # What `local` loses in the subtraction of volts squared is of the order of the tolerance.
    np.testing.assert_allclose(found, local, rtol=0, atol=1e-9 * scale)
    # The difference itself counts: without it something is missing.
    without = response_gradient(circuit, mean_v, change_v / (2 * beta))
    assert np.abs(without - local).max() > 1e-4 * beta**2 * scale
    of_weights = device_response_gradients(b.built, mean_v, change_v / (2 * beta), change_v)
    assert list(of_weights) == [crossbar.name for crossbar in b.built.crossbars]
    for crossbar in b.built.crossbars:
        for devices, gradient in zip((crossbar.plus, crossbar.minus), of_weights[crossbar.name], strict=True):
            assert (gradient is None) == (devices is None)
            if devices is not None:
                expected = local[devices].mean(axis=0) / v_unit_v**2
                np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("polarity", Polarity)
def test_gradients_by_device_are_those_of_the_crossbars_where_devices_are_linear(
    polarity: Polarity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("circuits.device_gradients.DEVICE_BYTES", 8 * 100)  # a batch in several parts
    convolution = Convolution(input_shape=(2, 4, 4), channels=3, kernel=3, padding=1)
    for b in (random_block(4, polarity=polarity, v_unit_v=0.5), random_convolution(5, convolution, polarity=polarity)):
        rng, n = np.random.default_rng(0), b.built.circuit.n_nodes
        mean_v, response_v = rng.normal(size=(2, 5, n))
        found = device_response_gradients(b.built, mean_v, response_v, None)
        for crossbar in b.built.crossbars:
            expected = crossbar.response_gradient(mean_v, response_v, b.built.block.v_unit_v)
            for ours, theirs in zip(found[crossbar.name], expected, strict=True):
                if theirs is None:
                    assert ours is None
                else:
                    assert ours is not None
                    np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("polarity", Polarity)
def test_input_currents_are_those_of_the_sources(polarity: Polarity) -> None:
    b = cubic_block(6, polarity)
    circuit, unit_a = b.built.circuit, b.built.block.g_unit_s * b.built.block.v_unit_v
    _, first, second = two_phases(b, 0.3)
    inputs, plus = b.built.inputs, circuit.voltage_sources.plus.tolist()
    assert inputs is not None

    def currents(voltage_v: np.ndarray) -> np.ndarray:
        delivered = source_currents(analyse(circuit), b.conductance_s, b.drives, voltage_v)
        p = delivered[:, [plus.index(node) for node in inputs.p]]
        if inputs.n is None:
            return p / unit_a
        return (p - delivered[:, [plus.index(node) for node in inputs.n]]) / (2 * unit_a)

    for voltage_v in (first, second):
        np.testing.assert_allclose(b.built.input_currents(b.conductance_s, voltage_v), currents(voltage_v), rtol=1e-10)
    change_v, mean_v = second - first, (first + second) / 2
    found = b.built.input_current_response(b.conductance_s, mean_v, change_v / 0.6, change_v)
    expected = (currents(second) - currents(first)) / 0.6
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())
    # An infinitely small change: the slope of the current.
    small = b.built.input_current_response(b.conductance_s, mean_v, change_v, None)
    h = 0.1  # of a change of some millivolts
    up, down = (b.built.input_currents(b.conductance_s, mean_v + sign * h * change_v) for sign in (1, -1))
    np.testing.assert_allclose(small, (up - down) / (2 * h), rtol=0, atol=1e-7 * np.abs(small).max())


def test_input_current_response_of_linear_devices_is_linear() -> None:
    b = random_block(7)
    response_v = np.random.default_rng(0).normal(size=(3, b.built.circuit.n_nodes))
    found = b.built.input_current_response(b.conductance_s, 5.0 * response_v, response_v, 3.0 * response_v)
    np.testing.assert_array_equal(found, b.built.input_currents(b.conductance_s, response_v))
    current_driven = cubic_block(8, drive=Drive.CURRENT).built
    with pytest.raises(CircuitError, match="it has no input sources to read"):
        current_driven.input_currents(np.zeros(1), response_v)


def test_parts_of_a_batch_give_the_bits_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    b = cubic_block(9, batch=7)
    branches = cubic_branches(b.built.circuit)
    assert branches is not None
    voltage_v = np.random.default_rng(0).normal(size=(7, b.built.circuit.n_nodes))

    def all_of_it() -> list[np.ndarray]:
        g = b.conductance_s
        response = branches.leaving_response(g, voltage_v, 2 * voltage_v, voltage_v)
        return [branches.leaving(g, voltage_v), branches.slope(g, voltage_v), response]

    whole = all_of_it()
    monkeypatch.setattr(cubic_branches_module, "DEVICE_BYTES", 8 * 2 * len(branches.device))
    for one, other in zip(whole, all_of_it(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_folding_leaves_rows_with_a_cubic_device_alone() -> None:
    b = CircuitBuilder("rows").voltage_source("s1", "x1", "0", 0.0, driven=True)
    b.voltage_source("s2", "x2", "0", 0.0, driven=True)
    b.resistor("l1", "x1", "y", 1e-3).resistor("c1", "x2", "y", 2e-3, k3_per_v2=0.5).resistor("l2", "x2", "y", 3e-3)
    circuit = b.resistor("leak", "y", "0", 1e-4, k3_per_v2=0.25).build()
    folding = fold(circuit)
    assert folding is not None
    reduced = folding.reduced
    assert set(reduced.nodes) == {"0", "y", "x2"}
    assert list(reduced.resistors.names) == ["c1", "l2", "leak", "fold_y"]
    np.testing.assert_array_equal(reduced.resistors.k3_per_v2, [0.5, 0.0, 0.25, 0.0])
    assert fold(circuit.with_cubic(0.5)) is None
    linear = fold(circuit.with_cubic(0.0))
    assert linear is not None
    assert not linear.reduced.has_cubic
    assert list(linear.reduced.resistors.names) == ["leak", "fold_y"]


def test_one_cubic_device_switches_the_mirror_off() -> None:
    b = random_block(10)
    assert mirror(b.built.circuit, b.built.image) is not None
    k3 = np.zeros(len(b.built.circuit.resistors))
    assert mirror(b.built.circuit.with_cubic(k3), b.built.image) is not None
    k3[b.built.leak_devices[0]] = 1e-3
    assert mirror(b.built.circuit.with_cubic(k3), b.built.image) is None


def test_graph_says_which_resistors_are_cubic() -> None:
    graph = to_networkx(device(2.0))
    edges = {name: data for _, _, (_, name), data in graph.edges(keys=True, data=True)}
    assert edges["q"]["k3_per_v2"] == 2.0
    assert edges["q"]["value"] == 1e-3
    assert "k3_per_v2" not in edges["top"]
