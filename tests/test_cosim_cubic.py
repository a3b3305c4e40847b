"""Cubic devices in both simulators, and equilibrium propagation through them: hand answers, each other, differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from analog_blocks import analog, check_slopes, differences, gradients
from circuit_bank import PLAIN, Case, forward_v
from cubic_blocks import cubic_block
from random_blocks import RandomBlock, random_block, session
from test_cosim_bank import SOLVERS, Solver

from circuits import CircuitBuilder, Drive, Polarity
from circuits.arrays import Floats
from circuits.cocontent import conductance_derivative, response_gradient
from circuits.cubic_branches import cubic_branches
from cosim.analog_block import AnalogBlock, Gradient
from cosim.equilibrium_propagation import Response, conductance_gradients, input_gradient, response
from cosim.phase_settings import ParameterRead, PhaseSettings
from cosim.relaxation import Reduce, Relaxation, RelaxationOptions
from cosim.simulators.newton import LinearSolver, NewtonSimulator
from cosim.simulators.newton.dense import DenseEquations
from netlists import lower

kinds = pytest.mark.parametrize(("polarity", "drive"), [(p, d) for p in Polarity for d in Drive])
LINEAR = (LinearSolver.ELIMINATION, LinearSolver.CONJUGATE_GRADIENTS)


def _divider() -> Case:
    # 2 mA flow at 1 V: 1 mS (1 + 1 * 1^3).
    b = CircuitBuilder("cubic divider").voltage_source("s", "in", "0", 3.0).resistor("top", "in", "out", 1e-3)
    b.resistor("bottom", "out", "0", 1e-3, k3_per_v2=1.0)
    return Case(b.build(), {"out": 1.0}, {"s": 2e-3})


def _root() -> Case:
    # v + 0.5 v^3 = 2 - v: with v^3 + 4 v - 4 = 0 by Cardano's formula; ground is its first node, and it is the row's.
    half, third = 2.0, 4.0 / 3.0
    inner = (half**2 + third**3) ** 0.5
    v = (half + inner) ** (1 / 3) - (inner - half) ** (1 / 3)
    b = CircuitBuilder("root of a cubic").voltage_source("s", "in", "0", -2.0).resistor("top", "in", "1", 1e-3)
    b.resistor("bottom", "0", "1", 1e-3, k3_per_v2=0.5)
    return Case(b.build(), {"1": -v}, {"s": -(2.0 - v) * 1e-3})


def _rows() -> Case:
    # Two rows, a column at 0.4 V: 1 mS (0.6 + 2 * 0.6^3) = 1.032 mA come, half a mS (0.4 + 0.4^3) = 0.232 mA go.
    b = CircuitBuilder("cubic rows").voltage_source("s1", "x1", "0", 1.0).voltage_source("s2", "x2", "0", 0.0)
    b.resistor("d1", "x1", "y", 1e-3, k3_per_v2=2.0).resistor("d2", "x2", "y", 0.5e-3, k3_per_v2=1.0)
    b.resistor("between", "x1", "x2", 1e-3, k3_per_v2=4.0)
    leaves = 1.032e-3 - 0.232e-3
    b.resistor("leak", "y", "0", leaves / 0.4)
    return Case(b.build(), {"y": 0.4}, {"s1": 1.032e-3 + 5e-3, "s2": -0.232e-3 - 5e-3})


def _current_driven() -> Case:
    b = CircuitBuilder("cubic chain").current_source("s", "0", "a", 5e-3).resistor("r1", "a", "b", 1e-3, k3_per_v2=0.25)
    b.resistor("r2", "b", "0", 0.5e-3, k3_per_v2=1.5).resistor("r3", "b", "b", 1e-2, k3_per_v2=3.0)
    # 5 mA = 0.5 mS (v + 1.5 v^3) at b: 10 = v + 1.5 v^3. And 5 = v + 0.25 v^3 across r1.
    b_v, across = _solve(1.5, 10.0), _solve(0.25, 5.0)
    return Case(b.build(), {"b": b_v, "a": b_v + across})


def _solve(k3: float, right: float) -> float:
    """Return the root of v + k3 v^3 = right by bisection."""
    low, high = 0.0, right
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if middle + k3 * middle**3 < right else (low, middle)
    return low


def _floating_source() -> Case:
    # 3 V between two nodes, a device across them and one to ground at each end: a = v, b = v - 3.
    # v + 0.5 v^3 = -(v - 3) - 0.5 (v - 3)^3 at v = 1.5; then 1 mS (1.5 + 0.5 * 3.375) at both.
    b = CircuitBuilder("floating, cubic").voltage_source("s", "a", "b", 3.0)
    b.resistor("ra", "a", "0", 1e-3, k3_per_v2=0.5).resistor("rb", "0", "b", 1e-3, k3_per_v2=0.5)
    b.resistor("across", "b", "a", 1e-3, k3_per_v2=1.0)
    to_ground = 1e-3 * (1.5 + 0.5 * 1.5**3)
    return Case(b.build(), {"a": 1.5, "b": -1.5}, {"s": to_ground + 1e-3 * 30.0})


def _clamped() -> Case:
    # A diode between two nodes that cubic devices hold: 0.1 mA through all three.
    current = 1e-4
    drop = forward_v(PLAIN, current)
    first, last = _solve(2.0, current / 1e-4), _solve(0.5, current / 0.5e-4)
    b = CircuitBuilder("diode between cubics").voltage_source("s", "in", "0", first + drop + last)
    b.resistor("r1", "in", "a", 1e-4, k3_per_v2=2.0).diode("d", "a", "b", PLAIN)
    b.resistor("r2", "b", "0", 0.5e-4, k3_per_v2=0.5)
    return Case(b.build(), {"a": last + drop, "b": last}, {"s": current})


def _parallel() -> Case:
    # Two in parallel between unknowns, the second turned round, beside a linear one: their currents add.
    b = CircuitBuilder("parallel cubics").voltage_source("s", "in", "0", 2.0).resistor("r", "in", "a", 1e-3)
    b.resistor("c1", "a", "b", 1e-3, k3_per_v2=1.0).resistor("c2", "b", "a", 0.25e-3, k3_per_v2=2.0)
    b.resistor("l", "a", "b", 0.5e-3)
    # 0.5 V across: 0.625 + 0.1875 + 0.25 mA.
    flow = 0.625e-3 + 0.25e-3 * (0.5 + 2 * 0.125) + 0.25e-3
    rest = 2.0 - flow / 1e-3 - 0.5
    b.resistor("end", "b", "0", flow / rest)
    return Case(b.build(), {"a": rest + 0.5, "b": rest}, {"s": flow})


CASES = (_divider(), _root(), _rows(), _current_driven(), _floating_source(), _clamped(), _parallel())


@pytest.mark.parametrize("solve", SOLVERS)
@pytest.mark.parametrize("case", CASES, ids=[case.circuit.name for case in CASES])
def test_answers_worked_out_by_hand(case: Case, solve: Solver) -> None:
    circuit = case.circuit
    voltage_v, current_a = solve(lower(circuit)[0])
    found = {name: voltage_v[circuit.nodes.index(name)] for name in case.voltages}
    assert found == pytest.approx(case.voltages, abs=1e-12, rel=0)
    found = {name: current_a[circuit.voltage_sources.names.index(name)] for name in case.currents}
    assert found == pytest.approx(case.currents, abs=1e-15, rel=1e-11)


@pytest.mark.parametrize("case", CASES, ids=[case.circuit.name for case in CASES])
def test_conjugate_gradients_find_them_too(case: Case) -> None:
    prepared = NewtonSimulator(linear=LinearSolver.CONJUGATE_GRADIENTS).prepare(lower(case.circuit)[0])
    g = case.circuit.resistors.conductance_s
    voltage_v = prepared.solve(g, np.zeros((1, case.circuit.n_drives))).voltage_v[0]
    found = {name: voltage_v[case.circuit.nodes.index(name)] for name in case.voltages}
    assert found == pytest.approx(case.voltages, abs=1e-12, rel=0)


def nudged_drives(drawn: RandomBlock) -> Floats:
    """Return the drives of the free samples, then of the same with a nudge."""
    nudge = np.random.default_rng(0).normal(size=(len(drawn.x), drawn.built.block.n_outputs))
    return np.concatenate([drawn.drives, drawn.built.drives(drawn.x, nudge)])


@pytest.mark.ngspice
@kinds
def test_simulators_agree_on_a_block(polarity: Polarity, drive: Drive) -> None:
    # Clamps, nudges, each device its own k3; in newton by both solvers, in streamed sweeps and in the plain program.
    from cosim.simulators.ngspice import NgspiceSimulator
    from cosim.simulators.ngspice.program import solve_standalone

    drawn = cubic_block(1, polarity, drive, sizes=(5, 4), n_inputs=4, batch=2)
    built, drives = drawn.built, nudged_drives(drawn)

    def solve(simulator, reduce: Reduce) -> Floats:
        relaxation = Relaxation(built.circuit, built.image, simulator, RelaxationOptions(reduce=reduce))
        point = relaxation.solve(drawn.conductance_s, drives)
        assert relaxation.route_circuit(drawn.conductance_s, drives).has_cubic
        return point.voltage_v

    full = solve(NewtonSimulator(linear=LinearSolver.ELIMINATION), Reduce.NONE)
    linear = session(built.circuit.with_cubic(0.0)).solve(drawn.conductance_s, drives).voltage_v
    assert np.abs(full - linear).max() > 1e-2
    for reduce in Reduce:
        for solver in LINEAR:
            np.testing.assert_allclose(solve(NewtonSimulator(linear=solver), reduce), full, atol=1e-10, rtol=0)
        np.testing.assert_allclose(solve(NgspiceSimulator(), reduce), full, atol=1e-9, rtol=0)
    for k in (0, len(drives) - 1):
        netlist, _ = lower(built.circuit.with_conductances(drawn.conductance_s).with_drives(drives[k]))
        np.testing.assert_allclose(solve_standalone(netlist)[0], full[k], atol=1e-9, rtol=0)


def test_linear_rows_of_a_cubic_block_are_folded() -> None:
    # Only the second crossbar is cubic: the input rows fold, and the answer stays.
    drawn = random_block(2, sizes=(5, 4), n_inputs=4)
    crossbar = next(c for c in drawn.built.crossbars if c.rows is drawn.built.layers[0])
    k3 = np.zeros(len(drawn.built.circuit.resistors))
    assert crossbar.minus is not None
    k3[crossbar.plus], k3[crossbar.minus] = 0.7, 0.4
    circuit, found, responses = drawn.built.circuit.with_cubic(k3), [], []
    ds = np.random.default_rng(0).normal(size=(len(drawn.x), drawn.built.block.n_outputs))
    change = drawn.built.drives(np.ones_like(drawn.x), ds)
    for reduce in (Reduce.NONE, Reduce.MIRROR):
        relaxation = Relaxation(circuit, drawn.built.image, NewtonSimulator(), RelaxationOptions(reduce=reduce))
        found.append(relaxation.solve(drawn.conductance_s, drawn.drives).voltage_v)
        responses.append(relaxation.small_signal(drawn.conductance_s, drawn.drives, found[-1], change))
    assert relaxation.route_circuit(drawn.conductance_s, drawn.drives).n_nodes < circuit.n_nodes
    np.testing.assert_allclose(found[1], found[0], atol=1e-12, rtol=0)
    np.testing.assert_allclose(responses[1], responses[0], atol=1e-10, rtol=0)


@kinds
def test_without_k3_the_bits_are_those_of_the_linear_circuit(polarity: Polarity, drive: Drive) -> None:
    drawn = random_block(3, polarity=polarity, drive=drive)
    circuit, zero = drawn.built.circuit, drawn.built.circuit.with_cubic(np.zeros(len(drawn.built.circuit.resistors)))
    for linear in LINEAR:
        one, other = (
            NewtonSimulator(linear=linear).prepare(lower(c)[0]).solve(drawn.conductance_s, drawn.drives)
            for c in (circuit, zero)
        )
        assert one.voltage_v.tobytes() == other.voltage_v.tobytes()
    # And a k3 too small to matter: every branch of the cubic code runs, and finds the linear voltages.
    tiny = session(circuit.with_cubic(1e-13)).solve(drawn.conductance_s, drawn.drives).voltage_v
    np.testing.assert_allclose(tiny, session(circuit).solve(drawn.conductance_s, drawn.drives).voltage_v, atol=1e-9)


@pytest.mark.parametrize("linear", LINEAR)
@kinds
def test_converges_far_overdriven(polarity: Polarity, drive: Drive, linear: LinearSolver) -> None:
    # Voltages of tens of volts, k3 up to 10 / V^2 and more: plain steps do, without a limit or a line search.
    for seed in range(2):
        for k3 in (0.01, 10.0, 100.0):
            drawn = cubic_block(seed, polarity, drive, k3_per_v2=k3, sizes=(5, 4), n_inputs=4, leak_s=1e-8)
            prepared = NewtonSimulator(linear=linear).prepare(lower(drawn.built.circuit)[0])
            drives = drawn.built.drives(30.0 * drawn.x)
            point = prepared.solve(drawn.conductance_s, drives)
            assert point.iterations.max() <= 40
            assert np.abs(drives).max() > 10.0 * (drive is Drive.VOLTAGE)


def test_batches_are_cut_to_the_memory_of_the_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = cubic_block(4, batch=5)
    netlist, _ = lower(drawn.built.circuit)
    branches = cubic_branches(drawn.built.circuit)
    assert branches is not None
    for linear, name in zip(LINEAR, ("dense.BATCH_BYTES", "sparse.VECTOR_BYTES"), strict=True):
        whole = NewtonSimulator(linear=linear).prepare(netlist).solve(drawn.conductance_s, drawn.drives).voltage_v
        monkeypatch.setattr(f"cosim.simulators.newton.{name}", 2 * 8 * len(branches.device))
        prepared = NewtonSimulator(linear=linear).prepare(netlist)
        assert prepared._equations.chunk_size == 2
        assert isinstance(prepared._equations, DenseEquations) == (linear is LinearSolver.ELIMINATION)
        parts = prepared.solve(drawn.conductance_s, drawn.drives).voltage_v
        np.testing.assert_allclose(parts, whole, atol=1e-13, rtol=0)


@pytest.mark.parametrize("linear", LINEAR)
def test_small_signal_is_the_slope_by_every_drive(linear: LinearSolver) -> None:
    # Of driven rows that cubic devices and a diode touch, and of currents.
    b = CircuitBuilder("slopes").voltage_source("x", "x", "0", 0.0, driven=True)
    b.voltage_source("f", "p", "q", 0.0, driven=True).current_source("i", "0", "y", 0.0, driven=True)
    b.resistor("d1", "x", "y", 1e-3, k3_per_v2=2.0).resistor("d2", "y", "p", 1e-3, k3_per_v2=1.0)
    b.resistor("d3", "q", "0", 1e-3, k3_per_v2=0.5).resistor("l", "y", "0", 1e-4).diode("d", "x", "y", PLAIN)
    circuit = b.build()
    prepared = NewtonSimulator(linear=linear).prepare(lower(circuit)[0])
    g, drives = circuit.resistors.conductance_s, np.array([[1.2, -0.4, 3e-4], [0.3, 0.6, -1e-3]])
    point = prepared.solve(g, drives).voltage_v
    for k, h in enumerate((1e-5, 1e-5, 1e-8)):
        change = np.zeros_like(drives)
        change[:, k] = 1.0
        found = prepared.small_signal(g, point, change)
        up, down = (prepared.solve(g, drives + sign * h * change).voltage_v for sign in (1, -1))
        expected = (up - down) / (2 * h)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


# ---------------------------------------------------------------- gradients


def ds_of(drawn: RandomBlock) -> Floats:
    """Return dL/ds of a loss that is linear in the outputs."""
    return np.random.default_rng(5).normal(size=(len(drawn.x), drawn.built.block.n_outputs))


def loss_of(drawn: RandomBlock) -> Callable[[Floats, Floats], float]:
    """Return L = sum ds . s at the free equilibrium, a function of conductances and x."""
    prepared, ds = session(drawn.built.circuit), ds_of(drawn)

    def loss(conductance_s: Floats, x: Floats) -> float:
        relaxed = prepared.solve(conductance_s, drawn.built.drives(x)).voltage_v
        return float((ds * drawn.built.outputs(relaxed)).sum())

    return loss


def phase(drawn: RandomBlock, beta: float) -> Floats:
    """Return the voltages at a nudge."""
    drives = drawn.built.drives(drawn.x, beta * ds_of(drawn))
    return session(drawn.built.circuit).solve(drawn.conductance_s, drives).voltage_v


def ep(drawn: RandomBlock, first: float, second: float) -> Response:
    """Return mean and response of the phases at two nudges."""
    return response(phase(drawn, first), phase(drawn, second), first, second, np.ones(len(drawn.x)))


def implicit(drawn: RandomBlock) -> Response:
    """Return the free equilibrium and its response."""
    change = drawn.built.drives(np.zeros_like(drawn.x), ds_of(drawn))
    free_v, prepared = phase(drawn, 0.0), session(drawn.built.circuit)
    return Response(mean_v=free_v, response_v=prepared.small_signal(drawn.conductance_s, free_v, change))


BOTH = [pytest.param(lambda drawn: ep(drawn, -1e-3, 1e-3), id="ep"), pytest.param(implicit, id="implicit")]
both = pytest.mark.parametrize("estimate", BOTH)
Estimate = Callable[[RandomBlock], Response]


def check(found: Floats, expected: Floats) -> None:
    cosine = (found * expected).sum() / (np.linalg.norm(found) * np.linalg.norm(expected))
    assert cosine >= 0.9999
    assert np.linalg.norm(found) / np.linalg.norm(expected) == pytest.approx(1.0, abs=1e-3)


@both
@kinds
def test_gradients_against_finite_differences(polarity: Polarity, drive: Drive, estimate: Estimate) -> None:
    drawn = cubic_block(6, polarity, drive, v_unit_v=0.5, n_inputs=2)
    built, loss, r = drawn.built, loss_of(drawn), estimate(drawn)
    gradients = conductance_gradients(built, r)
    for side, values in (("plus", drawn.plus), ("minus", drawn.minus)):
        for name, weights in values.items():
            expected = np.zeros(weights.shape)
            for at in np.ndindex(*weights.shape):
                losses = []
                for h in (1e-4, -1e-4):
                    moved = {"plus": dict(drawn.plus), "minus": dict(drawn.minus)}
                    moved[side][name] = weights.copy()
                    moved[side][name][at] += h
                    losses.append(loss(built.program(**moved), drawn.x))
                expected[at] = (losses[0] - losses[1]) / 2e-4
            found = gradients[name][side == "minus"]
            assert found is not None
            check(found, expected)
    expected = np.zeros(drawn.x.shape)
    for at in np.ndindex(*drawn.x.shape):
        dx = np.zeros(drawn.x.shape)
        dx[at] = 1e-4
        expected[at] = (loss(drawn.conductance_s, drawn.x + dx) - loss(drawn.conductance_s, drawn.x - dx)) / 2e-4
    check(input_gradient(built, drawn.conductance_s, r), expected)


@both
@kinds
def test_gradient_of_every_device_against_finite_differences(
    polarity: Polarity, drive: Drive, estimate: Estimate
) -> None:
    drawn = cubic_block(7, polarity, drive, n_inputs=2, sizes=(3, 2), v_unit_v=0.5)
    block, loss, r = drawn.built.block, loss_of(drawn), estimate(drawn)
    found = response_gradient(drawn.built.circuit, r.mean_v, r.response_v, r.change_v)
    expected = np.zeros(len(drawn.conductance_s))
    for k, g in enumerate(drawn.conductance_s):
        step = np.zeros_like(expected)
        step[k] = 1e-3 * g
        losses = [loss(drawn.conductance_s + sign * step, drawn.x) for sign in (1, -1)]
        expected[k] = (losses[0] - losses[1]) / (2 * step[k])
    # In siemens, the nudge being one of F = 2 g_unit v_unit^2 E; with one node a unit of half of that.
    factor = (2.0 if polarity is Polarity.DIFFERENTIAL else 1.0) * block.g_unit_s * block.v_unit_v**2
    check(found / factor, expected)


@pytest.mark.parametrize("betas", [(-0.5, 0.5), (0.0, 0.5), (-0.5, 0.0)], ids=["centered", "positive", "negative"])
@kinds
def test_ep_is_the_exact_difference_of_the_phases(polarity: Polarity, drive: Drive, betas: tuple[float, float]) -> None:
    # At a large beta: of dF/dG at every weight, and of the source currents or states at the inputs.
    drawn = cubic_block(8, polarity, drive)
    built, v_unit_v = drawn.built, drawn.built.block.v_unit_v
    first, second = (phase(drawn, beta) for beta in betas)
    r, distance = ep(drawn, *betas), betas[1] - betas[0]
    gradients = conductance_gradients(built, r)
    local = [conductance_derivative(built.circuit, v).sum(axis=0) for v in (first, second)]
    of_device = (local[1] - local[0]) / distance / v_unit_v**2
    for crossbar in built.crossbars:
        for devices, found in zip((crossbar.plus, crossbar.minus), gradients[crossbar.name], strict=True):
            if devices is not None and found is not None:
                expected = of_device[devices].mean(axis=0)
                np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())
    if drive is Drive.VOLTAGE:
        read = [built.input_currents(drawn.conductance_s, v) for v in (first, second)]
    else:
        read = [-built.layers[0].state(v, v_unit_v) for v in (first, second)]
    expected = (read[1] - read[0]) / distance
    found = input_gradient(built, drawn.conductance_s, r)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


def test_ep_approaches_implicit_differentiation_like_beta_squared() -> None:
    drawn = cubic_block(10, clamped=False)
    exact = conductance_gradients(drawn.built, implicit(drawn))
    errors = []
    for beta in (0.4, 0.2, 0.1):
        found = conductance_gradients(drawn.built, ep(drawn, -beta, beta))
        differences = [one - other for name in found for one, other in zip(found[name], exact[name], strict=True)]
        errors.append(float(np.linalg.norm(np.concatenate([part.ravel() for part in differences]))))
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.2)
    assert errors[1] / errors[2] == pytest.approx(4.0, rel=0.1)


# ---------------------------------------------------------------- the whole block


def module(monkeypatch: pytest.MonkeyPatch, drawn: RandomBlock, **options) -> AnalogBlock:
    """Return the torch module of a block, around its cubic circuit."""
    monkeypatch.setattr("cosim.analog_block.fabricate", lambda _block, *_args, **_kwargs: drawn.built)
    return analog(drawn, **options)


@pytest.mark.parametrize("gradient", Gradient)
@kinds
def test_backward_of_a_module(
    polarity: Polarity, drive: Drive, gradient: Gradient, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = cubic_block(12, polarity, drive)
    block = module(monkeypatch, drawn, gradient=gradient, settings=PhaseSettings(beta=1e-3))
    check_slopes(gradients(block, drawn.x), differences(block, drawn.x), 1e-3)


@kinds
def test_digitised_states_give_the_same_gradients_where_p_and_n_mirror(
    polarity: Polarity, drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One k3 for all devices: v_n = -v_p still holds, so states say all of a block. Ideal converters, a large beta.
    drawn = random_block(9, sizes=(4, 3), n_inputs=3, polarity=polarity, drive=drive)
    k3 = np.where(np.isin(np.arange(len(drawn.built.circuit.resistors)), drawn.built.leak_devices), 0.0, 0.6)
    drawn = replace(drawn, built=replace(drawn.built, circuit=drawn.built.circuit.with_cubic(k3)))
    local, digital = (
        gradients(module(monkeypatch, drawn, settings=PhaseSettings(beta=0.3, parameter_read=read)), drawn.x)
        for read in ParameterRead
    )
    for name, values in local.items():
        np.testing.assert_allclose(digital[name], values, rtol=0, atol=1e-8 * np.abs(values).max(), err_msg=name)
