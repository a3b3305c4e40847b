"""newton against a slow oracle and against the unreduced deck in plain ngspice; and how it fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from circuit_bank import BANK, RESISTIVE
from random_blocks import RandomBlock, clamped_share, random_block, session
from scipy.optimize import root

from circuits import Circuit, CircuitBuilder, CircuitError, DiodeModel, Drive, Polarity, Resistors, validate
from circuits.arrays import Floats
from circuits.kirchhoff import kirchhoff_residual, leaving_currents
from circuits.topology import Topology
from cosim.errors import ConvergenceError
from cosim.simulators.base import OnFailure
from cosim.simulators.newton import NewtonSession, NewtonSimulator, dense
from cosim.simulators.newton.elimination import Additions, cut, order, solve_batch
from cosim.simulators.ngspice.program import solve_standalone
from netlists import lower

SHARP = DiodeModel(saturation_current_a=1e-14, emission_coefficient=0.04)
LAYERS = [(5,), (5, 4), (4, 4, 3)]
shapes = pytest.mark.parametrize("sizes", LAYERS, ids=["1 layer", "2 layers", "3 layers"])
drives = pytest.mark.parametrize("drive", Drive)
polarities = pytest.mark.parametrize("polarity", Polarity)


def accepted(circuit: Circuit, g: Floats, drives: Floats, voltage_v: Floats) -> bool:
    """Kirchhoff's law by the circuit's own element laws, to what 1e-9 V explains."""
    residual = kirchhoff_residual(validate(circuit), g, drives, voltage_v, voltage_tolerance_v=1e-9)
    return bool((residual.residual_a <= residual.tolerance_a).all())


def oracle(topology: Topology, g: Floats, drives: Floats, near_v: Floats) -> Floats:
    """Solve Kirchhoff's law for one sample with scipy and a Jacobian by differences: nothing shared with newton.

    It starts 20 mV off, as a general method is lost in an exponential.
    """
    circuit = topology.circuit
    source_v, _ = circuit.source_values(drives[None])
    spread, known = topology.unknown_matrix(), topology.path_matrix() @ source_v[0]

    def currents(u: Floats) -> Floats:
        leaving = leaving_currents(circuit, g, drives[None], (spread @ u + known)[None])
        return 1e4 * (spread.T @ leaving[0])  # in units of the conductances, so that scipy's tolerances bite

    start = near_v[topology.node_of_unknown] + 0.02 * np.sin(np.arange(topology.n_unknowns))
    found = root(currents, start, method="hybr", options={"xtol": 1e-14})
    assert np.abs(currents(found.x)).max() < 1e-11
    return spread @ found.x + known


@polarities
@drives
@shapes
def test_random_blocks_against_an_oracle(sizes: tuple[int, ...], drive: Drive, polarity: Polarity) -> None:
    b = random_block(31, sizes=sizes, n_inputs=4, drive=drive, polarity=polarity, diode=RESISTIVE, batch=2)
    circuit = b.built.circuit
    point = session(circuit).solve(b.conductance_s, b.drives)
    assert point.converged.all()
    assert accepted(circuit, b.conductance_s, b.drives, point.voltage_v)
    expected = oracle(validate(circuit), b.conductance_s, b.drives[0], point.voltage_v[0])
    np.testing.assert_allclose(point.voltage_v[0], expected, atol=1e-9, rtol=0)


@pytest.mark.ngspice
@pytest.mark.parametrize("temperature_k", [300.15, 350.15])
@polarities
@drives
@shapes
def test_random_blocks_against_the_full_deck_in_ngspice(
    sizes: tuple[int, ...], drive: Drive, polarity: Polarity, temperature_k: float
) -> None:
    b = random_block(32, sizes=sizes, drive=drive, polarity=polarity, temperature_k=temperature_k)
    circuit = b.built.circuit
    point = session(circuit).solve(b.conductance_s, b.drives, read_sources=True)
    assert 0.2 <= clamped_share(b, point.voltage_v) <= 0.5
    for k in range(len(b.drives)):
        deck, _ = lower(circuit.with_conductances(b.conductance_s).with_drives(b.drives[k]))
        voltage_v, source_a = solve_standalone(deck)
        np.testing.assert_allclose(point.voltage_v[k], voltage_v, atol=1e-8, rtol=0)
        np.testing.assert_allclose(point.source_current_a[k], source_a, atol=1e-11, rtol=1e-6)


@pytest.mark.parametrize("gain", [1.0, 30.0, 1000.0])
def test_sharp_diodes_far_overdriven(gain: float) -> None:
    b = random_block(33, sizes=(5, 4), diode=SHARP, batch=8)
    point = session(b.built.circuit).solve(b.conductance_s, b.drives * gain)
    assert point.converged.all()
    assert point.iterations.max() <= 63
    assert accepted(b.built.circuit, b.conductance_s, b.drives * gain, point.voltage_v)


@pytest.mark.ngspice
def test_sharp_diodes_against_ngspice() -> None:
    b = random_block(34, sizes=(5, 4), diode=SHARP, batch=1)
    drives = b.drives * 10
    point = session(b.built.circuit).solve(b.conductance_s, drives)
    deck, _ = lower(b.built.circuit.with_conductances(b.conductance_s).with_drives(drives[0]))
    np.testing.assert_allclose(point.voltage_v[0], solve_standalone(deck)[0], atol=1e-8, rtol=0)


def test_diodes_between_unknowns_in_a_random_network() -> None:
    # Not a layered block: a triangle-rich graph, diodes between free nodes, floating sources, all in one.
    rng = np.random.default_rng(0)
    b = CircuitBuilder("tangle")
    names = [f"n{k}" for k in range(8)]
    for i, one in enumerate(names):
        b.resistor(f"g{i}", one, "0", 1e-5)
        for other in names[i + 1 :]:
            if rng.uniform() < 0.6:
                b.resistor(f"r{one}{other}", one, other, float(rng.uniform(1e-5, 1e-4)))
    for k, (anode, cathode) in enumerate([(0, 1), (2, 3), (3, 4), (5, 0), (6, 7)]):
        b.diode(f"d{k}", names[anode], names[cathode], RESISTIVE if k % 2 else DiodeModel())
    b.voltage_source("float", "n2", "n6", 0.7, driven=True).voltage_source("tie", "n7", "n5", -0.2)
    b.current_source("i", "n1", "n3", 1e-4, driven=True).voltage_source("s", "n4", "0", 1.5)
    circuit = b.build()
    g, drives = circuit.resistors.conductance_s, np.array([[0.7, 1e-4], [-2.0, 3e-4], [5.0, -1e-3]])
    point = session(circuit).solve(g, drives)
    assert point.converged.all()
    topology = validate(circuit)
    for k in range(3):
        expected = oracle(topology, g, drives[k], point.voltage_v[k])
        np.testing.assert_allclose(point.voltage_v[k], expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize("voltage_v", [0.6, 2.0, -1.0])
def test_diode_across_a_floating_source_moves_nothing(voltage_v: float) -> None:
    # At 2 V it carries 1e19 A, all of it through the source. The rest of the circuit must not notice.
    def solve(*, diode: bool) -> Floats:
        b = CircuitBuilder("shorted").voltage_source("s", "a", "b", voltage_v).resistor("ra", "a", "0", 1e-3)
        b.resistor("rb", "b", "c", 1e-3).resistor("rc", "c", "0", 1e-3).diode("clamp", "c", "0", DiodeModel())
        if diode:
            b.diode("d", "a", "b", DiodeModel())
        circuit = b.build()
        return session(circuit).solve(circuit.resistors.conductance_s, np.zeros((1, 0))).voltage_v

    np.testing.assert_allclose(solve(diode=True), solve(diode=False), atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ["bridge", "free diode", "ladder"])
def test_elimination_is_a_linear_solve(name: str) -> None:
    topology = validate(BANK[name].circuit)
    n = topology.n_unknowns
    ordering = order(topology, torch.device("cpu"))
    assert sorted([*ordering.eliminated.tolist(), *ordering.factored.tolist()]) == list(range(n))
    spread = topology.unknown_matrix().toarray()
    r = topology.circuit.resistors
    branches = (np.eye(topology.circuit.n_nodes)[r.a] - np.eye(topology.circuit.n_nodes)[r.b]) @ spread
    hessian = branches.T @ (r.conductance_s[:, None] * branches)
    # Eliminated unknowns see no other eliminated one.
    inner = hessian[np.ix_(ordering.eliminated, ordering.eliminated)]
    np.testing.assert_array_equal(inner, np.diag(np.diag(inner)))
    right = np.random.default_rng(0).normal(size=(3, n))
    blocks = cut(ordering, torch.tensor(hessian), is_linear=True)
    if ordering.eliminated_varies:
        found = solve_batch(blocks, Additions(diagonal=torch.zeros(3, n, dtype=torch.float64)), torch.tensor(right))
    else:
        found = solve_batch(blocks, None, torch.tensor(right))
    np.testing.assert_allclose(found.numpy(), np.linalg.solve(hessian, right.T).T, rtol=1e-10)


@pytest.fixture(scope="module")
def block() -> RandomBlock:
    return random_block(35, sizes=(5, 4), batch=6)


@pytest.fixture
def prepared(block: RandomBlock) -> NewtonSession:
    return session(block.built.circuit)


def test_samples_do_not_see_each_other(block: RandomBlock, prepared: NewtonSession) -> None:
    together = prepared.solve(block.conductance_s, block.drives).voltage_v
    alone = [prepared.solve(block.conductance_s, block.drives[k : k + 1]).voltage_v[0] for k in range(len(block.x))]
    np.testing.assert_allclose(together, alone, atol=1e-12, rtol=0)


def test_internal_chunks_do_not_show(
    block: RandomBlock, prepared: NewtonSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = prepared.solve(block.conductance_s, block.drives)
    n_factored = len(prepared._equations.ordering.factored)
    monkeypatch.setattr("cosim.simulators.newton.dense.BATCH_BYTES", 4 * 8 * n_factored**2)
    parts = prepared.solve(block.conductance_s, block.drives)
    np.testing.assert_allclose(parts.voltage_v, whole.voltage_v, atol=1e-12, rtol=0)
    np.testing.assert_array_equal(parts.iterations, whole.iterations)
    change = np.ones_like(block.drives)
    np.testing.assert_allclose(
        prepared.small_signal(block.conductance_s, whole.voltage_v, change)[5],
        prepared.small_signal(block.conductance_s, whole.voltage_v[5:], change[5:])[0],
        rtol=1e-10,
        atol=1e-15,
    )


def test_new_parameters_are_seen(block: RandomBlock, prepared: NewtonSession) -> None:
    first = prepared.solve(block.conductance_s, block.drives).voltage_v
    g = block.conductance_s * np.random.default_rng(0).uniform(0.5, 1.5, len(block.conductance_s))
    changed = prepared.solve(g, block.drives).voltage_v
    assert np.abs(changed - first).max() > 1e-3
    np.testing.assert_array_equal(changed, session(block.built.circuit).solve(g, block.drives).voltage_v)
    # An array changed in place is another parameter set.
    g[:] = block.conductance_s
    np.testing.assert_array_equal(prepared.solve(g, block.drives).voltage_v, first)


def test_start_near_the_solution_saves_iterations(block: RandomBlock, prepared: NewtonSession) -> None:
    cold = prepared.solve(block.conductance_s, block.drives)
    warm = prepared.solve(block.conductance_s, block.drives, start_v=cold.voltage_v)
    assert (warm.iterations <= 2).all()
    assert cold.iterations.min() > 2
    np.testing.assert_allclose(warm.voltage_v, cold.voltage_v, atol=1e-10, rtol=0)
    # A failed sample's NaN, or a far start, must not spread.
    start = cold.voltage_v.copy()
    start[0], start[1] = np.nan, 50.0
    again = prepared.solve(block.conductance_s, block.drives, start_v=start)
    np.testing.assert_allclose(again.voltage_v, cold.voltage_v, atol=1e-9, rtol=0)


@pytest.mark.parametrize("diode", [None, RESISTIVE], ids=["ideal", "with R_s"])
@polarities
@drives
def test_small_signal_is_the_derivative_of_the_relaxation(
    drive: Drive, polarity: Polarity, diode: DiodeModel | None
) -> None:
    b = random_block(36, sizes=(4, 3), n_inputs=4, drive=drive, polarity=polarity, diode=diode)
    prepared = session(b.built.circuit)
    voltage_v = prepared.solve(b.conductance_s, b.drives).voltage_v
    n_voltage = len(b.built.circuit.driven_voltage_sources)
    unit = np.where(np.arange(b.built.circuit.n_drives) < n_voltage, 1.0, 1e-4)
    change = unit * np.random.default_rng(0).normal(size=b.drives.shape)
    response = prepared.small_signal(b.conductance_s, voltage_v, change)
    h = 1e-4
    up = prepared.solve(b.conductance_s, b.drives + h * change).voltage_v
    down = prepared.solve(b.conductance_s, b.drives - h * change).voltage_v
    np.testing.assert_allclose(response, (up - down) / (2 * h), atol=2e-4 * np.abs(response).max(), rtol=0)
    # Sources that are not driven stand still.
    rails = b.built.circuit.voltage_sources.plus[~b.built.circuit.voltage_sources.driven]
    assert (response[:, rails] == 0).all()


def test_small_signal_through_a_diode_between_unknowns() -> None:
    # r in series with the diode's n V_t / I: both ends of it move.
    case = BANK["free diode"]
    sources = case.circuit.voltage_sources
    circuit = replace(case.circuit, voltage_sources=replace(sources, driven=np.array([True])))
    g, drives = circuit.resistors.conductance_s, sources.voltage_v[None]
    prepared = session(circuit)
    response = prepared.small_signal(g, prepared.solve(g, drives).voltage_v, np.ones((1, 1)))[0]
    r_d = circuit.k_over_q_v_per_k * 300.15 / 1e-4
    expected = {"0": 0.0, "in": 1.0, "a": (r_d + 2e4) / (3e4 + r_d), "b": 2e4 / (3e4 + r_d)}
    assert dict(zip(circuit.nodes, response, strict=True)) == pytest.approx(expected, rel=1e-8)


def negative_leak(*, diode: bool) -> Circuit:
    """One node with 1 mS to a source and -2 mS to ground: F has no minimum."""
    b = CircuitBuilder("active").voltage_source("s", "in", "0", 1.0, driven=True).resistor("w", "in", "out", 1e-3)
    b.resistor("leak", "out", "0", 1e-3)
    if diode:
        b.diode("d", "out", "0", DiodeModel())
    circuit = b.build()
    r = circuit.resistors
    active = Resistors(names=r.names, a=r.a, b=r.b, conductance_s=np.array([1e-3, -2e-3]))
    return replace(circuit, resistors=active, active=True)


@pytest.mark.parametrize("diode", [False, True])
def test_hessian_that_is_not_positive_definite(diode: bool) -> None:
    circuit = negative_leak(diode=diode)
    g = circuit.resistors.conductance_s
    prepared = session(circuit)
    message = r"block 'active': its Hessian is not positive definite in 1 of 1 samples, so it has no unique equilibrium"
    with pytest.raises(ConvergenceError, match=message):
        prepared.solve(g, np.array([[-1.0]]))
    recorded = prepared.solve(g, np.array([[-1.0]]), on_failure=OnFailure.RECORD)
    assert not recorded.converged.any()
    assert np.isnan(recorded.voltage_v).all()
    with pytest.raises(ConvergenceError, match=r"not positive definite"):
        prepared.small_signal(g, np.array([[0.0, 1.0, -1.0]]), np.array([[1.0]]))


def test_active_circuit_larger_than_one_node() -> None:
    # A chain with one strong negative leak: the Schur complement or the eliminated part has to notice, wherever it is.
    for bad in range(4):
        b = CircuitBuilder("active chain").voltage_source("s", "n0", "0", 1.0)
        for k in range(4):
            b.resistor(f"w{k}", f"n{k}", f"n{k + 1}", 1e-3).resistor(f"leak{k}", f"n{k + 1}", "0", 1e-4)
        circuit = replace(b.build(), active=True)
        g = circuit.resistors.conductance_s.copy()
        g[circuit.resistors.names.index(f"leak{bad}")] = -0.9e-3 if bad == 0 else -5e-3
        if bad == 0:  # still positive definite: only a leak
            assert session(circuit).solve(g, np.zeros((1, 0))).converged.all()
        else:
            with pytest.raises(ConvergenceError, match=r"not positive definite"):
                session(circuit).solve(g, np.zeros((1, 0)))


def test_bad_input_is_refused(block: RandomBlock, prepared: NewtonSession) -> None:
    bad = block.drives.copy()
    bad[3, 1] = np.nan
    with pytest.raises(CircuitError, match=r"drive of 'x1p' \(input 1 \(p\) to ground\) is nan in sample 3"):
        prepared.solve(block.conductance_s, bad)
    with pytest.raises(CircuitError, match=r"drives of shape \(6, 3\)"):
        prepared.solve(block.conductance_s, block.drives[:, :3])
    with pytest.raises(CircuitError, match=r"conductances of shape \(4,\)"):
        prepared.solve(block.conductance_s[:4], block.drives)
    g = block.conductance_s.copy()
    g[5] = np.nan
    with pytest.raises(CircuitError, match=r"conductance of 'w1_\d_\d_pp' \(input .* to layer 1 unit .*\) is nan S"):
        prepared.solve(g, block.drives)
    with pytest.raises(CircuitError, match=r"block 'random': start_v of shape \(1, 3\); give one voltage"):
        prepared.solve(block.conductance_s, block.drives, start_v=np.zeros((1, 3)))
    with pytest.raises(CircuitError, match=r"operating point of shape \(6, 3\); give finite voltages"):
        prepared.small_signal(block.conductance_s, np.zeros((6, 3)), block.drives)
    with pytest.raises(CircuitError, match=r"drives of shape"):
        prepared.small_signal(block.conductance_s, np.zeros((6, 3)), block.drives[:, :2])
    # The session is unharmed.
    assert prepared.solve(block.conductance_s, block.drives).converged.all()


@pytest.mark.parametrize("name", ["bridge", "upper clamp", "free diode", "source and load"])
def test_empty_batch(name: str) -> None:
    circuit = BANK[name].circuit
    prepared = session(circuit)
    point = prepared.solve(circuit.resistors.conductance_s, np.zeros((0, 0)), read_sources=True)
    assert len(point) == 0
    assert point.voltage_v.shape == (0, circuit.n_nodes)
    assert point.source_current_a is not None
    assert point.source_current_a.shape == (0, len(circuit.voltage_sources))
    assert point.converged.shape == (0,)
    change = prepared.small_signal(circuit.resistors.conductance_s, point.voltage_v, np.zeros((0, 0)))
    assert change.shape == (0, circuit.n_nodes)


def test_too_few_iterations_raise_or_are_recorded() -> None:
    b = random_block(37, sizes=(4, 3), batch=4)
    circuit = b.built.circuit
    drives = b.drives.copy()
    drives[1] = 0.0
    good = session(circuit).solve(b.conductance_s, drives)
    few = int(good.iterations.min())
    assert few < good.iterations.max()
    prepared = NewtonSimulator(max_iterations=few).prepare(lower(circuit)[0])
    with pytest.raises(
        ConvergenceError, match=r"block 'random': newton found no equilibrium for \d of 4 samples; first"
    ):
        prepared.solve(b.conductance_s, drives)
    point = prepared.solve(b.conductance_s, drives, on_failure=OnFailure.RECORD, read_sources=True)
    assert point.converged.any()
    assert not point.converged.all()
    # The others are unharmed, the failed ones say so in every number.
    np.testing.assert_array_equal(point.voltage_v[point.converged], good.voltage_v[point.converged])
    assert np.isnan(point.voltage_v[~point.converged]).all()
    assert point.source_current_a is not None
    assert np.isnan(point.source_current_a[~point.converged]).all()
    assert np.isfinite(point.source_current_a[point.converged]).all()
    assert (point.residual_a[~point.converged] > 0).all()
    assert (point.iterations[~point.converged] == few).all()


def test_failure_names_layer_unit_and_residual() -> None:
    b = random_block(38, sizes=(4, 3), batch=2)
    prepared = NewtonSimulator(max_iterations=1).prepare(lower(b.built.circuit)[0])
    message = r"first is sample 0, worst at layer \d unit \d \([pn]\): net current \S+ A, allowed \S+ A"
    with pytest.raises(ConvergenceError, match=message):
        prepared.solve(b.conductance_s, b.drives)


def test_result_carries_its_checks(block: RandomBlock, prepared: NewtonSession) -> None:
    point = prepared.solve(block.conductance_s, block.drives)
    assert point.source_current_a is None
    assert (point.residual_a <= point.tolerance_a).all()
    assert (point.residual_a < 1e-12).all()
    labels = {block.built.circuit.labels[k] for k in point.worst_node}
    assert all(label.startswith("layer") for label in labels)
    assert not point.stepping
    assert prepared.netlist.circuit is block.built.circuit
    assert NewtonSimulator().name == "newton"


def test_linear_circuit_takes_two_iterations_at_most() -> None:
    b = random_block(39, clamped=False)
    point = session(b.built.circuit).solve(b.conductance_s, b.drives)
    assert point.iterations.max() <= 2


def test_a_wrong_system_of_equations_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    # The iteration converges to the solution of its own matrices; Kirchhoff's law is asked of the circuit's arrays.
    block, entries = random_block(3), dense._coupling_entries

    def flipped(topology: Topology):
        index, sign, resistor = entries(topology)
        return index, -sign, resistor

    monkeypatch.setattr(dense, "_coupling_entries", flipped)
    prepared = NewtonSimulator().prepare(lower(block.built.circuit)[0])
    with pytest.raises(ConvergenceError, match=r"newton found no equilibrium .* net current"):
        prepared.solve(block.conductance_s, block.drives)


def test_overflow_is_no_lack_of_a_unique_equilibrium() -> None:
    block = random_block(3)
    prepared = NewtonSimulator().prepare(lower(block.built.circuit)[0])
    drives = block.drives.copy()
    drives[1] *= 1e200
    with pytest.raises(ConvergenceError, match=r"newton found no equilibrium for 1 of \d+ samples; first is sample 1"):
        prepared.solve(block.conductance_s, drives)
