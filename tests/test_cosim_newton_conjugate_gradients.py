"""Newton with conjugate gradients and no dense matrix: the same equilibria, and when it is taken."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from analog_blocks import gradients
from circuit_bank import BANK, RESISTIVE
from random_blocks import random_block, random_convolution

from circuits import Circuit, CircuitBuilder, Clamp, Convolution, DiodeModel, Drive, EnergyBlock, NodeLayer, Polarity
from circuits.reductions import mirror
from cosim.analog_block import AnalogBlock, Gradient
from cosim.errors import ConvergenceError, SimulationError
from cosim.phase_settings import PhaseSettings
from cosim.simulators.base import OnFailure
from cosim.simulators.newton import LinearSolver, NewtonSession, NewtonSimulator, simulator
from cosim.simulators.newton.conjugate_gradients import conjugate_gradients
from cosim.simulators.newton.dense import DenseEquations
from cosim.simulators.newton.sparse import SparseEquations
from netlists import lower

CG, ELIMINATION = LinearSolver.CONJUGATE_GRADIENTS, LinearSolver.ELIMINATION


def session(circuit: Circuit, linear: LinearSolver = CG, **settings) -> NewtonSession:
    return NewtonSimulator(linear=linear, **settings).prepare(lower(circuit)[0])


def definite(rng: np.random.Generator, n: int) -> np.ndarray:
    root = rng.normal(size=(n, n))
    return root @ root.T + n * np.eye(n)


class TestConjugateGradients:
    def test_each_column_is_solved_to_its_own_tolerance(self) -> None:
        rng = np.random.default_rng(0)
        common, own = definite(rng, 30), rng.uniform(0, 50, (30, 4))
        right = rng.normal(size=(30, 4)) * [1.0, 1e-9, 1e6, 0.0]
        tolerance = torch.tensor([1e-13, 1e-13, 1e-3, 1e-13])
        matrix, extra = torch.tensor(common), torch.tensor(own)
        diagonal = matrix.diagonal()[:, None] + extra
        x, iterations = conjugate_gradients(lambda p: matrix @ p + extra * p, diagonal, torch.tensor(right), tolerance)
        for k in range(4):
            expected = np.linalg.solve(common + np.diag(own[:, k]), right[:, k])
            error = np.abs(x[:, k].numpy() - expected).max()
            assert error <= (1e-2 if k == 2 else 1e-12) * np.abs(expected).max()
        assert iterations[2] < iterations[0]
        assert iterations[3] == 0
        assert (x[:, 3] == 0).all()

    def test_diagonal_is_solved_at_once(self) -> None:
        diagonal = torch.tensor([[1.0], [1e6], [1e-3]], dtype=torch.float64)
        x, iterations = conjugate_gradients(lambda p: diagonal * p, diagonal, torch.ones_like(diagonal), torch.ones(1))
        assert iterations[0] == 0  # no better than nothing was asked for
        assert (x == 0).all()
        x, iterations = conjugate_gradients(
            lambda p: diagonal * p, diagonal, torch.ones_like(diagonal), torch.tensor([1e-12])
        )
        assert iterations[0] == 1
        np.testing.assert_allclose(x, 1 / diagonal)

    def test_matrix_that_is_not_positive_definite_is_nan_alone(self) -> None:
        matrix = torch.tensor([[1.0, 2.0], [2.0, 1.0]], dtype=torch.float64)  # eigenvalues 3 and -1
        shift = torch.tensor([[0.0, 4.0, -3.0, 4.0]], dtype=torch.float64)
        right = torch.tensor([[1.0, 1.0, 1.0, torch.inf], [-1.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
        x, _ = conjugate_gradients(
            lambda p: matrix @ p + shift * p, (1.0 + shift).expand(2, 4), right, torch.full((4,), 1e-12)
        )
        assert x[:, [0, 2, 3]].isnan().all()
        np.testing.assert_allclose((matrix + 4 * torch.eye(2, dtype=torch.float64)) @ x[:, 1], right[:, 1], atol=1e-12)


@pytest.mark.parametrize("name", BANK)
def test_bank(name: str) -> None:
    case = BANK[name]
    point = session(case.circuit).solve(
        case.circuit.resistors.conductance_s, np.zeros((1, case.circuit.n_drives)), read_sources=True
    )
    found = {node: point.voltage_v[0, case.circuit.nodes.index(node)] for node in case.voltages}
    assert found == pytest.approx(case.voltages, abs=1e-9, rel=0)
    assert point.residual_a[0] <= point.tolerance_a[0]


@pytest.mark.parametrize("diode", [None, RESISTIVE], ids=["ideal", "with R_s"])
@pytest.mark.parametrize("polarity", Polarity)
@pytest.mark.parametrize("drive", Drive)
@pytest.mark.parametrize("sizes", [(5,), (5, 4), (4, 4, 3)], ids=["1 layer", "2 layers", "3 layers"])
def test_random_blocks(sizes: tuple[int, ...], drive: Drive, polarity: Polarity, diode: DiodeModel | None) -> None:
    b = random_block(51, sizes=sizes, drive=drive, polarity=polarity, diode=diode, batch=5)
    change = np.random.default_rng(0).normal(size=b.drives.shape)
    ours, theirs = session(b.built.circuit), session(b.built.circuit, ELIMINATION)
    found, expected = (s.solve(b.conductance_s, b.drives, read_sources=True) for s in (ours, theirs))
    np.testing.assert_allclose(found.voltage_v, expected.voltage_v, atol=1e-11, rtol=0)
    np.testing.assert_allclose(found.source_current_a, expected.source_current_a, atol=1e-14, rtol=0)
    assert (found.residual_a <= found.tolerance_a).all()
    responses = [s.small_signal(b.conductance_s, expected.voltage_v, change) for s in (ours, theirs)]
    np.testing.assert_allclose(*responses, atol=1e-9 * np.abs(responses[1]).max(), rtol=0)
    # Steps that are solved only as well as they need to be are few more; from a start nearby they are few, too.
    assert (found.iterations <= 2 * expected.iterations).all()
    found, again = (s.solve(b.conductance_s, b.drives, start_v=expected.voltage_v) for s in (ours, theirs))
    np.testing.assert_allclose(found.voltage_v, expected.voltage_v, atol=1e-11, rtol=0)
    assert (found.iterations <= again.iterations + 2).all()


def test_sharp_diodes_far_overdriven() -> None:
    sharp = DiodeModel(saturation_current_a=1e-14, emission_coefficient=0.04)
    b = random_block(33, sizes=(5, 4), diode=sharp, batch=8)
    found, expected = (session(b.built.circuit, k).solve(b.conductance_s, b.drives * 30) for k in (CG, ELIMINATION))
    np.testing.assert_allclose(found.voltage_v, expected.voltage_v, atol=1e-10, rtol=0)


def test_half_circuit_with_negative_conductances() -> None:
    b = random_convolution(52, Convolution(input_shape=(2, 4, 4), channels=3, padding=1), drive=Drive.CURRENT)
    half = mirror(b.built.circuit, b.built.image)
    program = half.program(b.conductance_s)
    assert (program.conductance_s < 0).any()
    found, expected = (
        session(half.reduced, k).solve(program.conductance_s, program.drives(b.drives)).voltage_v
        for k in (CG, ELIMINATION)
    )
    np.testing.assert_allclose(found, expected, atol=1e-11, rtol=0)


def test_diodes_between_unknowns() -> None:
    rng = np.random.default_rng(4)
    builder = CircuitBuilder("network")
    nodes = [f"n{k}" for k in range(8)]
    for k, node in enumerate(nodes):
        builder.resistor(f"g{k}", node, "0", 1e-5).current_source(f"i{k}", "0", node, 0.0, driven=True)
        builder.resistor(f"r{k}", node, nodes[k - 1], 2e-5).diode(f"d{k}", node, nodes[(k + 3) % 8], RESISTIVE)
    circuit = builder.build()
    drives, g = rng.normal(size=(6, 8)) * 3e-5, circuit.resistors.conductance_s
    ours, theirs = session(circuit), session(circuit, ELIMINATION)
    point = theirs.solve(g, drives)
    np.testing.assert_allclose(ours.solve(g, drives).voltage_v, point.voltage_v, atol=1e-11, rtol=0)
    responses = [s.small_signal(g, point.voltage_v, drives * 1e-3) for s in (ours, theirs)]
    np.testing.assert_allclose(*responses, rtol=1e-8, atol=1e-15)


def test_internal_chunks_and_new_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    b = random_block(35, sizes=(5, 4), batch=6)
    prepared = session(b.built.circuit)
    whole = prepared.solve(b.conductance_s, b.drives)
    monkeypatch.setattr("cosim.simulators.newton.sparse.VECTOR_BYTES", 4 * 8 * prepared._system.n_unknowns)
    assert prepared._equations.chunk_size == 4
    parts = prepared.solve(b.conductance_s, b.drives)
    np.testing.assert_allclose(parts.voltage_v, whole.voltage_v, atol=1e-12, rtol=0)
    g = b.conductance_s * np.random.default_rng(0).uniform(0.5, 1.5, len(b.conductance_s))
    expected = session(b.built.circuit, ELIMINATION).solve(g, b.drives).voltage_v
    np.testing.assert_allclose(prepared.solve(g, b.drives).voltage_v, expected, atol=1e-11, rtol=0)
    assert prepared.solve(g, b.drives[:0]).voltage_v.shape == (0, b.built.circuit.n_nodes)


def test_linear_circuit_takes_two_steps() -> None:
    b = random_block(39, clamped=False)
    assert session(b.built.circuit).solve(b.conductance_s, b.drives).iterations.max() <= 2


@pytest.mark.parametrize("diode", [False, True])
def test_hessian_that_is_not_positive_definite(diode: bool) -> None:
    builder = CircuitBuilder("active").resistor("r1", "a", "b", 1e-4).resistor("r2", "b", "0", 1e-4)
    builder.resistor("r3", "a", "0", 1e-4).current_source("i", "0", "a", 1e-5, driven=True)
    if diode:
        builder.diode("d", "b", "0", DiodeModel())
    circuit = builder.build()
    half = Circuit(**{name: getattr(circuit, name) for name in circuit.__slots__ if name != "active"}, active=True)
    g, drives = np.array([1e-4, 1e-4, -9e-5]), np.array([[1e-5]])
    with pytest.raises(ConvergenceError, match=r"its Hessian is not positive definite in 1 of 1 samples"):
        session(half).solve(g, drives)
    assert not session(half).solve(g, drives, on_failure=OnFailure.RECORD).converged[0]


def test_failures_are_told_as_with_elimination() -> None:
    b = random_block(3)
    drives = b.drives.copy()
    drives[1] *= 1e200
    with pytest.raises(ConvergenceError, match=r"newton found no equilibrium for 1 of \d+ samples; first is sample 1"):
        session(b.built.circuit).solve(b.conductance_s, drives)
    with pytest.raises(ConvergenceError, match=r"newton found no equilibrium"):
        session(b.built.circuit, max_iterations=2).solve(b.conductance_s, b.drives)


def equations(circuit: Circuit, linear: LinearSolver = LinearSolver.AUTO) -> type:
    return type(session(circuit, linear)._equations)


def big_block(size: int = 6, channels: int = 12) -> EnergyBlock:
    clamp = Clamp(low_v=-0.3, high_v=0.3)
    c = Convolution(input_shape=(channels, size, size), channels=channels, kernel=3, padding=1)
    layers = (
        NodeLayer(size=c.n_rows, clamp=clamp, leak_s=2e-5),
        NodeLayer(coupling=c, clamp=clamp, leak_s=2e-5, bias=True),
    )
    return EnergyBlock(name="big", n_inputs=c.n_rows, layers=layers, drive=Drive.CURRENT)


def test_conjugate_gradients_are_taken_where_elimination_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    dense = random_block(1, sizes=(64, 32, 10), n_inputs=3, clamped=False).built.circuit
    assert equations(dense) is DenseEquations
    assert equations(dense, CG) is SparseEquations
    big = AnalogBlock(big_block(), simulator=NewtonSimulator())
    half = mirror(big.circuit.circuit, big.circuit.image).reduced
    assert equations(half) is SparseEquations
    assert equations(half, ELIMINATION) is DenseEquations
    monkeypatch.setattr(simulator, "DENSE_UNKNOWNS", 50)
    monkeypatch.setattr(simulator, "order", None)  # not even asked for: its graph would be too large as well
    assert equations(dense) is SparseEquations


def test_gradient_of_a_larger_convolution() -> None:
    block = AnalogBlock(
        big_block(),
        simulator=NewtonSimulator(),
        settings=PhaseSettings(beta=1e-3),
        generator=torch.Generator().manual_seed(0),
    ).double()
    x = 2.0 * np.random.default_rng(0).normal(size=(4, 432))
    nudged, implicit = gradients(block, x), gradients(block.configured(gradient=Gradient.IMPLICIT), x)
    by_elimination = gradients(
        block.configured(gradient=Gradient.IMPLICIT, simulator=NewtonSimulator(linear=ELIMINATION)), x
    )
    assert 0.05 < block.clamped_share < 0.6
    for name, expected in by_elimination.items():
        size = np.abs(expected).max()
        np.testing.assert_allclose(implicit[name], expected, atol=1e-9 * size, rtol=0, err_msg=name)
        np.testing.assert_allclose(nudged[name], expected, atol=1e-4 * size, rtol=0, err_msg=name)


def test_linear_by_word_or_refused() -> None:
    assert equations(BANK["ladder"].circuit, LinearSolver("conjugate_gradients")) is SparseEquations
    with pytest.raises(SimulationError, match=r"newton: linear = 'lu'"):
        NewtonSimulator(linear="lu")
