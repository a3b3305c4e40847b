"""Relaxation takes the largest reduction that holds for the numbers at hand, and gives back the full circuit."""

from __future__ import annotations

import numpy as np
import pytest
from analog_blocks import KIND_IDS, KINDS, draw_block
from random_blocks import RandomBlock

from circuits import BlockCircuit, Circuit, CircuitError, Drive, Polarity
from circuits.reductions.mirror import MirroredProgram
from cosim.errors import ConvergenceError
from cosim.relaxation import Reduce, Relaxation, RelaxationOptions
from cosim.simulators.base import AbstractSession, AbstractSimulator, OnFailure, OperatingPoint
from cosim.simulators.newton import NewtonSimulator
from netlists import Netlist, SolverOptions

kinds = pytest.mark.parametrize(("polarity", "drive", "n_layers"), KINDS, ids=KIND_IDS)


def relax_in(built: BlockCircuit, reduce: Reduce, simulator: AbstractSimulator | None = None) -> Relaxation:
    simulator = simulator or NewtonSimulator()
    return Relaxation(built.circuit, built.image, simulator, RelaxationOptions(reduce=reduce))


def describe(circuit: Circuit, full: Circuit) -> tuple[bool, bool]:
    """Return whether a circuit is folded, and whether it is mirrored."""
    n_nodes, n_rails = circuit.n_nodes, len(circuit.diodes)
    return len(circuit.driven_voltage_sources) == 0 and n_nodes < full.n_nodes, n_rails < len(full.diodes)


def perturbed(drawn: RandomBlock) -> np.ndarray:
    """One device of the four of one weight is not as its mate."""
    conductance_s = drawn.conductance_s.copy()
    conductance_s[drawn.built.crossbars[0].plus[1, 0, 0]] *= 1 + 1e-12
    return conductance_s


@pytest.mark.parametrize(
    ("polarity", "drive", "reduce", "expected"),
    [
        (Polarity.DIFFERENTIAL, Drive.VOLTAGE, Reduce.NONE, (False, False)),
        (Polarity.DIFFERENTIAL, Drive.VOLTAGE, Reduce.FOLD, (True, False)),
        (Polarity.DIFFERENTIAL, Drive.VOLTAGE, Reduce.MIRROR, (True, True)),
        (Polarity.DIFFERENTIAL, Drive.CURRENT, Reduce.NONE, (False, False)),
        (Polarity.DIFFERENTIAL, Drive.CURRENT, Reduce.FOLD, (True, False)),  # the bias row folds
        (Polarity.DIFFERENTIAL, Drive.CURRENT, Reduce.MIRROR, (True, True)),
        (Polarity.SINGLE, Drive.VOLTAGE, Reduce.MIRROR, (True, False)),
        (Polarity.SINGLE, Drive.CURRENT, Reduce.MIRROR, (True, False)),
    ],
)
def test_largest_reduction_is_chosen(
    polarity: Polarity, drive: Drive, reduce: Reduce, expected: tuple[bool, bool]
) -> None:
    drawn = draw_block(1, polarity, drive, 2)
    relaxation = relax_in(drawn.built, reduce)
    chosen = relaxation.route_circuit(drawn.conductance_s, drawn.drives)
    assert describe(chosen, drawn.built.circuit) == expected
    assert (chosen is drawn.built.circuit) == (reduce is Reduce.NONE)


def test_mirror_without_a_row_to_fold() -> None:
    drawn = draw_block(1, Polarity.DIFFERENTIAL, Drive.CURRENT, 2, bias=False)
    chosen = relax_in(drawn.built, Reduce.MIRROR).route_circuit(drawn.conductance_s, drawn.drives)
    assert len(chosen.diodes) == len(drawn.built.circuit.diodes) // 2
    folded = relax_in(drawn.built, Reduce.FOLD).route_circuit(drawn.conductance_s, drawn.drives)
    assert folded is drawn.built.circuit


@pytest.mark.parametrize("drive", Drive)
def test_unmatched_devices_switch_the_mirror_off(drive: Drive) -> None:
    drawn = draw_block(2, Polarity.DIFFERENTIAL, drive, 2)
    relaxation = relax_in(drawn.built, Reduce.MIRROR)
    full = drawn.built.circuit
    assert describe(relaxation.route_circuit(drawn.conductance_s, drawn.drives), full) == (True, True)
    assert describe(relaxation.route_circuit(perturbed(drawn), drawn.drives), full) == (True, False)
    assert describe(relaxation.route_circuit(drawn.conductance_s, drawn.drives), full) == (True, True)


@pytest.mark.parametrize("drive", Drive)
def test_drives_that_are_not_antisymmetric_switch_the_mirror_off(drive: Drive) -> None:
    drawn = draw_block(2, Polarity.DIFFERENTIAL, drive, 2)
    relaxation = relax_in(drawn.built, Reduce.MIRROR)
    full = drawn.built.circuit
    skewed = drawn.drives.copy()
    skewed[1, 0] *= 1 + 1e-12  # one sample of the batch is enough
    assert describe(relaxation.route_circuit(drawn.conductance_s, skewed), full) == (True, False)
    assert describe(relaxation.route_circuit(drawn.conductance_s, drawn.drives), full) == (True, True)


@kinds
def test_every_route_gives_the_full_circuits_voltages(polarity: Polarity, drive: Drive, n_layers: int) -> None:
    drawn = draw_block(30 + n_layers, polarity, drive, n_layers)
    full, *others = (relax_in(drawn.built, r).solve(drawn.conductance_s, drawn.drives) for r in Reduce)
    assert full.voltage_v.shape == (3, drawn.built.circuit.n_nodes)
    for point in others:
        np.testing.assert_allclose(point.voltage_v, full.voltage_v, atol=1e-11, rtol=0)
        assert point.converged.all()
        assert (point.residual_a <= point.tolerance_a).all()


def test_mismatch_is_really_solved() -> None:
    # With a mismatch of 20 % p and n are no mirror images, and the fall-back shows it.
    drawn = draw_block(4, Polarity.DIFFERENTIAL, Drive.VOLTAGE, 2)
    conductance_s = drawn.conductance_s.copy()
    conductance_s[drawn.built.crossbars[0].plus[1]] *= 1.2
    mirrored, full = (
        relax_in(drawn.built, r).solve(conductance_s, drawn.drives).voltage_v for r in (Reduce.MIRROR, Reduce.NONE)
    )
    np.testing.assert_allclose(mirrored, full, atol=1e-11, rtol=0)
    units = drawn.built.layers[0]
    assert units.n is not None
    assert np.abs(full[:, units.p] + full[:, units.n]).max() > 1e-3


@pytest.mark.parametrize("reduce", Reduce)
def test_a_start_near_the_solution_saves_iterations_on_every_route(reduce: Reduce) -> None:
    drawn = draw_block(5, Polarity.DIFFERENTIAL, Drive.VOLTAGE, 2)
    relaxation = relax_in(drawn.built, reduce)
    cold = relaxation.solve(drawn.conductance_s, drawn.drives)
    warm = relaxation.solve(drawn.conductance_s, drawn.drives, start_v=cold.voltage_v)
    assert warm.iterations.max() <= 2 < cold.iterations.min()
    np.testing.assert_allclose(warm.voltage_v, cold.voltage_v, atol=1e-12, rtol=0)


@kinds
def test_small_signal_is_the_slope_on_every_route(polarity: Polarity, drive: Drive, n_layers: int) -> None:
    drawn = draw_block(50 + n_layers, polarity, drive, n_layers)
    built, g, rng = drawn.built, drawn.conductance_s, np.random.default_rng(0)
    # A direction that the mirror allows: inputs and nudges together.
    n_outputs = built.block.n_outputs
    change = built.drives(rng.normal(size=drawn.x.shape), rng.normal(size=(len(drawn.x), n_outputs)))
    step = 1e-5
    above, below = (
        relax_in(built, Reduce.NONE).solve(g, drawn.drives + sign * step * change).voltage_v for sign in (1, -1)
    )
    slope = (above - below) / (2 * step)
    for reduce in Reduce:
        relaxation = relax_in(built, reduce)
        voltage_v = relaxation.solve(g, drawn.drives).voltage_v
        found = relaxation.small_signal(g, drawn.drives, voltage_v, change)
        np.testing.assert_allclose(found, slope, rtol=0, atol=1e-5 * np.abs(slope).max(), err_msg=reduce.value)


def test_small_signal_where_the_mirror_is_off() -> None:
    drawn = draw_block(6, Polarity.DIFFERENTIAL, Drive.VOLTAGE, 2)
    built, rng = drawn.built, np.random.default_rng(1)
    change = rng.normal(size=drawn.drives.shape) * np.abs(drawn.drives).max()  # in no way antisymmetric
    found = []
    for reduce, g in ((Reduce.MIRROR, drawn.conductance_s), (Reduce.NONE, drawn.conductance_s)):
        relaxation = relax_in(built, reduce)
        voltage_v = relaxation.solve(g, drawn.drives).voltage_v
        found.append(relaxation.small_signal(g, drawn.drives, voltage_v, change))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-7, atol=1e-8 * np.abs(found[1]).max())


class CountingSimulator(AbstractSimulator):
    """newton, with a count of what was prepared and closed."""

    def __init__(self) -> None:
        self.prepared: list[Netlist] = []

    @property
    def name(self) -> str:
        return "counting"

    def prepare(self, netlist: Netlist) -> AbstractSession:
        self.prepared.append(netlist)
        return NewtonSimulator().prepare(netlist)


def test_new_parameters_do_not_prepare_again() -> None:
    drawn = draw_block(7, Polarity.DIFFERENTIAL, Drive.VOLTAGE, 2)
    simulator = CountingSimulator()
    options = RelaxationOptions(solver=SolverOptions(reltol=1e-9))
    relaxation = Relaxation(drawn.built.circuit, drawn.built.image, simulator, options)
    assert simulator.prepared == []  # only when it is needed
    for scale in (1.0, 0.9, 0.8):
        relaxation.solve(drawn.conductance_s * scale, drawn.drives)
    assert len(simulator.prepared) == 1
    assert simulator.prepared[0].options == options.solver
    relaxation.solve(perturbed(drawn), drawn.drives)
    relaxation.solve(drawn.conductance_s, drawn.drives)
    assert len(simulator.prepared) == 2  # one session a route
    relaxation.close()
    relaxation.solve(drawn.conductance_s, drawn.drives)
    assert len(simulator.prepared) == 3


def test_parameters_changed_in_place_are_noticed() -> None:
    drawn = draw_block(7, Polarity.DIFFERENTIAL, Drive.VOLTAGE, 2)
    relaxation = relax_in(drawn.built, Reduce.MIRROR)
    g = drawn.conductance_s.copy()
    first = relaxation.solve(g, drawn.drives).voltage_v
    g[drawn.built.crossbars[1].plus] *= 0.5
    second = relaxation.solve(g, drawn.drives).voltage_v
    assert np.abs(first - second).max() > 1e-3
    np.testing.assert_array_equal(second, relax_in(drawn.built, Reduce.MIRROR).solve(g, drawn.drives).voltage_v)


@pytest.mark.parametrize("reduce", Reduce)
def test_failures_are_recorded_in_the_full_circuits_terms(reduce: Reduce) -> None:
    drawn = draw_block(8, Polarity.DIFFERENTIAL, Drive.CURRENT, 2, batch=5)
    relaxation = relax_in(drawn.built, reduce)
    clean = relaxation.solve(drawn.conductance_s, drawn.drives)
    x = drawn.x.copy()
    x[2, 1] = 1e300
    bad = drawn.built.drives(x)
    point = relaxation.solve(drawn.conductance_s, bad, on_failure=OnFailure.RECORD)
    assert point.converged.tolist() == [True, True, False, True, True]
    others = np.array([0, 1, 3, 4])
    np.testing.assert_allclose(point.voltage_v[others], clean.voltage_v[others], atol=1e-12, rtol=0)
    assert np.isnan(point.voltage_v[2, drawn.built.layers[0].p]).all()
    assert 0 <= point.worst_node.min() <= point.worst_node.max() < drawn.built.circuit.n_nodes
    with pytest.raises(ConvergenceError, match=r"block 'random': .* 1 of 5 samples"):
        relaxation.solve(drawn.conductance_s, bad)


def test_worst_node_is_an_index_of_the_full_circuit() -> None:
    drawn = draw_block(9, Polarity.DIFFERENTIAL, Drive.VOLTAGE, 2)
    point = relax_in(drawn.built, Reduce.MIRROR).solve(drawn.conductance_s, drawn.drives)
    units = np.concatenate([side for nodes in drawn.built.layers for side in (nodes.p, nodes.n)])
    assert np.isin(point.worst_node, units).all()


class PlainSession(AbstractSession):
    """newton's equilibria without its small-signal analysis."""

    def __init__(self, netlist: Netlist) -> None:
        self._session = NewtonSimulator().prepare(netlist)
        self.n_closed = 0

    @property
    def netlist(self) -> Netlist:
        return self._session.netlist

    def solve(self, *args, **options) -> OperatingPoint:
        return self._session.solve(*args, **options)

    def close(self) -> None:
        self.n_closed += 1


class PlainSimulator(AbstractSimulator):
    def __init__(self) -> None:
        self.sessions: list[PlainSession] = []

    @property
    def name(self) -> str:
        return "plain"

    def prepare(self, netlist: Netlist) -> PlainSession:
        self.sessions.append(PlainSession(netlist))
        return self.sessions[-1]


@kinds
def test_a_simulator_without_small_signal_analysis_is_linearised_by_newton(
    polarity: Polarity, drive: Drive, n_layers: int
) -> None:
    drawn = draw_block(60 + n_layers, polarity, drive, n_layers)
    built, g, rng = drawn.built, drawn.conductance_s, np.random.default_rng(0)
    change = built.drives(rng.normal(size=drawn.x.shape), rng.normal(size=(len(drawn.x), built.block.n_outputs)))
    for reduce in Reduce:
        plain, newton = (relax_in(built, reduce, simulator) for simulator in (PlainSimulator(), NewtonSimulator()))
        voltage_v = plain.solve(g, drawn.drives).voltage_v
        np.testing.assert_array_equal(
            plain.small_signal(g, drawn.drives, voltage_v, change),
            newton.small_signal(g, drawn.drives, voltage_v, change),
        )


def test_an_equilibrium_is_linearised_where_it_is_said_to_be() -> None:
    # At voltages that are no equilibrium of these drives, it is still the slope there: nothing is solved again.
    drawn = draw_block(9, Polarity.SINGLE, Drive.VOLTAGE, 2)
    simulator = PlainSimulator()
    relaxation = relax_in(drawn.built, Reduce.MIRROR, simulator)
    here, elsewhere = drawn.drives, 0.3 * drawn.drives
    voltage_v = relaxation.solve(drawn.conductance_s, elsewhere).voltage_v
    found = relaxation.small_signal(drawn.conductance_s, here, voltage_v, here)
    newton = relax_in(drawn.built, Reduce.NONE)
    np.testing.assert_allclose(
        found, newton.small_signal(drawn.conductance_s, elsewhere, voltage_v, here), rtol=1e-9, atol=1e-12
    )
    at_here = newton.small_signal(drawn.conductance_s, here, newton.solve(drawn.conductance_s, here).voltage_v, here)
    assert np.abs(found - at_here).max() > 1e-3
    assert len(simulator.sessions) == 1  # newton's own session is not the simulator's
    relaxation.close()
    assert simulator.sessions[0].n_closed == 1
    with pytest.raises(CircuitError, match=r"give finite voltages .* from a relaxation that converged"):
        relaxation.small_signal(drawn.conductance_s, here, np.full_like(voltage_v, np.nan), here)
    assert len(simulator.sessions) == 1  # to linearise, the simulator is not asked at all


def test_a_wrong_way_back_to_the_full_circuit_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = draw_block(2, Polarity.DIFFERENTIAL, Drive.VOLTAGE, 2)
    relaxation = relax_in(drawn.built, Reduce.MIRROR)
    expand = MirroredProgram.expand
    monkeypatch.setattr(MirroredProgram, "expand", lambda self, d, v: expand(self, d, v) * (1 + 1e-6))
    with pytest.raises(ConvergenceError, match=r"worst at layer \d unit \d"):
        relaxation.solve(drawn.conductance_s, drawn.drives)
    point = relaxation.solve(drawn.conductance_s, drawn.drives, on_failure=OnFailure.RECORD)
    assert not point.converged.any()
    assert np.isnan(point.voltage_v).all()
