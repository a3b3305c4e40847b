"""Circuits in time: both simulators against the exact answer and each other, and every point against our own laws."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from random_blocks import RandomBlock, draw_weights, random_block
from scipy import linalg

from circuits import CircuitBuilder, EnergyBlock, NodeLayer
from circuits.capacitance import with_capacitors
from circuits.kirchhoff import kirchhoff_law
from circuits.topology import analyse
from cosim.errors import ConvergenceError, SimulationError
from cosim.reduce import Reduce
from cosim.simulators.newton import NewtonSimulator
from cosim.simulators.newton.transient import NewtonIntegrator
from cosim.simulators.ngspice.program import run_program
from cosim.simulators.ngspice.transient import NgspiceIntegrator
from cosim.transients.integrator import AbstractIntegrator, Step, Waveforms
from cosim.transients.linearised import hessian, linearise, slowest_of_pairs_s
from cosim.transients.reduced import follow, reduce_step
from cosim.transients.sampling import SampledSimulator
from cosim.transients.step_law import step_residual
from netlists import lower
from netlists.spice_writer import format_standalone

BOTH = [pytest.param(NgspiceIntegrator(), id="ngspice", marks=pytest.mark.ngspice), NewtonIntegrator(accuracy_v=1e-7)]
FINE = [
    pytest.param(NgspiceIntegrator(accuracy_v=1e-10), id="ngspice", marks=pytest.mark.ngspice),
    NewtonIntegrator(accuracy_v=1e-9),
]
BETA = 1e-3


def unequal(drawn: RandomBlock, seed: int = 0, *, without: int | None = None):
    """Return capacitances between 20 and 200 fF, alike at mirrored nodes; one pair of units may have none."""
    circuit, image = drawn.built.circuit, drawn.built.image
    capacitance_f = np.random.default_rng(seed).uniform(20e-15, 200e-15, circuit.n_nodes)
    capacitance_f[0] = 0.0
    if without is not None:
        capacitance_f[drawn.built.layers[0].nodes[[without, without + len(drawn.built.layers[0])]]] = 0.0
    return capacitance_f if not len(image) else np.minimum(capacitance_f, capacitance_f[image])


def step_of(drawn: RandomBlock, capacitance_f, before, after) -> Step:
    return Step(
        circuit=drawn.built.circuit,
        conductance_s=drawn.conductance_s,
        drives_before=before,
        drives_after=after,
        capacitance_f=capacitance_f,
    )


@pytest.fixture(scope="module")
def drawn() -> RandomBlock:
    """A block with clamped units."""
    return random_block(3, sizes=(6, 4), n_inputs=5, batch=2)


@pytest.mark.parametrize("integrator", BOTH)
def test_a_capacitor_charges_exponentially(integrator: AbstractIntegrator) -> None:
    # 1 V through 10 kohm, 10 kohm to ground, 1 pF: 0.5 V, 5 ns; node b has no capacitance and follows at once.
    circuit = (
        CircuitBuilder("divider")
        .voltage_source("in", "x", "0", 0.0, driven=True)
        .resistor("1", "x", "a", 1e-4)
        .resistor("2", "a", "b", 2e-4)
        .resistor("3", "b", "0", 2e-4)
        .build()
    )
    step = Step(
        circuit=circuit,
        conductance_s=circuit.resistors.conductance_s,
        drives_before=np.array([[0.2], [0.0]]),
        drives_after=np.array([[1.0], [-1.0]]),
        capacitance_f=np.array([0.0, 5e-13, 1e-12, 0.0]),
    )
    time_s = np.array([0.0, 1e-10, 5e-9, 1e-8, 4e-8])
    found = integrator.follow(step, time_s)
    left = np.exp(-time_s / 5e-9)
    a = np.stack([0.5 - 0.4 * left, -0.5 + 0.5 * left])
    np.testing.assert_allclose(found.voltage_v[:, :, 2], a, atol=6e-6)  # what a hundred steps add up to
    np.testing.assert_allclose(found.voltage_v[:, :, 3], a / 2, atol=6e-6)
    np.testing.assert_array_equal(found.voltage_v[:, :, 1], [[0.2, 1, 1, 1, 1], [0, -1, -1, -1, -1]])


@pytest.mark.parametrize("integrator", BOTH)
def test_what_hangs_on_an_amplifier_counts_once(integrator: AbstractIntegrator) -> None:
    # 3 pF before an amplifier of gain 4 and 1 pF behind it, 10 kohm to the source and 5 kohm at the output: of the
    # output's current a fourth comes back, so a sees 2e-4 S and 1 pF of it: 1/3 V, 4 pF / 3e-4 S.
    circuit = (
        CircuitBuilder("amplified")
        .voltage_source("in", "x", "0", 0.0, driven=True)
        .resistor("1", "x", "a", 1e-4)
        .amplifier("1", "a", "b", 4.0)
        .resistor("2", "b", "0", 2e-4)
        .build()
    )
    capacitance_f, tau_s = np.array([0.0, 0.0, 3e-12, 1e-12]), 4e-12 / 3e-4
    step = Step(
        circuit=circuit,
        conductance_s=circuit.resistors.conductance_s,
        drives_before=np.zeros((1, 1)),
        drives_after=np.ones((1, 1)),
        capacitance_f=capacitance_f,
    )
    time_s = np.array([0.3, 1.0, 3.0]) * tau_s
    found = integrator.follow(step, time_s).voltage_v
    a = (1 - np.exp(-time_s / tau_s)) / 3
    np.testing.assert_allclose(found[0, :, 2], a, atol=6e-6)
    np.testing.assert_allclose(found[0, :, 3], 4 * a, atol=2e-5)
    linear = linearise(analyse(circuit), step.conductance_s, np.zeros((1, 4)), capacitance_f)
    np.testing.assert_allclose(linear.time_constants_s, [[tau_s]])
    # 0.1 mA drawn from a does what a step of the source by -1 V does; of what is drawn from b a fourth comes back.
    drawn_a = np.array([[0.0, 0.0, 1e-4, 0.0], [0.0, 0.0, 0.0, 1e-4]])
    two = linearise(analyse(circuit), step.conductance_s, np.zeros((2, 4)), capacitance_f)
    np.testing.assert_allclose(two.response(drawn_a, time_s)[0, :, 2], a)
    np.testing.assert_allclose(two.response(drawn_a, time_s)[1, :, 3], a)


@pytest.mark.parametrize("integrator", BOTH)
def test_amplifiers_in_a_chain_hand_all_charge_back(integrator: AbstractIntegrator) -> None:
    # Gains of 4 and 1/2, the later one named first; 1, 2 and 3 pF count alike, and 5 kohm behind both as 5 kohm.
    circuit = (
        CircuitBuilder("chain")
        .voltage_source("in", "x", "0", 0.0, driven=True)
        .amplifier("late", "b", "c", 0.5)
        .amplifier("early", "a", "b", 4.0)
        .resistor("1", "x", "a", 1e-4)
        .resistor("2", "c", "0", 2e-4)
        .build()
    )
    farad = {"a": 1e-12, "b": 2e-12, "c": 3e-12}
    step = Step(
        circuit=circuit,
        conductance_s=circuit.resistors.conductance_s,
        drives_before=np.full((1, 1), 0.6),
        drives_after=np.full((1, 1), 0.9),
        capacitance_f=np.array([farad.get(name, 0.0) for name in circuit.nodes]),
    )
    tau_s, time_s = 6e-12 / 3e-4, np.array([0.0, 0.3, 1.0, 3.0]) * 6e-12 / 3e-4
    found = integrator.follow(step, time_s).voltage_v[0]
    a = 0.3 - 0.1 * np.exp(-time_s / tau_s)
    for name, gain in (("a", 1.0), ("b", 4.0), ("c", 2.0)):
        np.testing.assert_allclose(found[:, circuit.nodes.index(name)], gain * a, atol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def amplified() -> RandomBlock:
    """A block of clamped units with amplifiers between its layers."""
    layers = tuple(NodeLayer(size=n, leak_s=2e-6, bias=True, amplification=a) for n, a in ((6, 4.0), (4, None)))
    return draw_weights(EnergyBlock(name="amplified", n_inputs=6, layers=layers), np.random.default_rng(3), batch=1)


@pytest.mark.parametrize("integrator", FINE)
def test_an_amplified_block_is_nudged_where_it_is(integrator: AbstractIntegrator, amplified: RandomBlock) -> None:
    built, circuit = amplified.built, amplified.built.circuit
    capacitance_f, ds = unequal(amplified), np.random.default_rng(1).normal(size=(1, 4))
    rest = NewtonSimulator().prepare(lower(circuit)[0]).solve(amplified.conductance_s, amplified.drives).voltage_v
    linear = linearise(analyse(circuit), amplified.conductance_s, rest, capacitance_f)
    nudge_a = (built.drives(amplified.x, ds) - amplified.drives)[:, -len(circuit.current_sources) :]
    drawn_a = np.zeros_like(rest)
    np.add.at(drawn_a[0], circuit.current_sources.start, nudge_a[0])
    np.add.at(drawn_a[0], circuit.current_sources.end, -nudge_a[0])
    time_s = np.geomspace(0.01, 5.0, 6) * linear.slowest_s[0]
    first, second = (
        integrator.follow(
            step_of(amplified, capacitance_f, amplified.drives, built.drives(amplified.x, sign * BETA * ds)), time_s
        ).voltage_v
        for sign in (-1, 1)
    )
    exact = linear.response(drawn_a, time_s)
    assert np.abs(-(second - first) / (2 * BETA) - exact).max() < 1e-3 * np.abs(exact).max()


@pytest.mark.ngspice
def test_a_run_that_would_not_end_is_stopped(drawn: RandomBlock, monkeypatch: pytest.MonkeyPatch) -> None:
    step = step_of(drawn, unequal(drawn), np.zeros_like(drawn.drives), drawn.drives)
    time_s = np.array([1e-10])
    before_v = NgspiceIntegrator().follow(step, time_s).voltage_v
    monkeypatch.setattr("cosim.simulators.ngspice.transient.MOST_POINTS", 20)
    with pytest.raises(ConvergenceError, match=r"'random', sample 0: ngspice's \.tran has come to .* in 20 points"):
        NgspiceIntegrator().follow(step, time_s)
    monkeypatch.undo()
    np.testing.assert_array_equal(NgspiceIntegrator().follow(step, time_s).voltage_v, before_v)


@pytest.mark.ngspice
def test_both_simulators_agree_with_clamps_and_unequal_capacitances(drawn: RandomBlock) -> None:
    capacitance_f = unequal(drawn, without=1)
    step = step_of(drawn, capacitance_f, np.zeros_like(drawn.drives), drawn.drives)
    time_s = np.array([1e-12, 1e-11, 1e-10, 1e-9])
    one, other = NgspiceIntegrator().follow(step, time_s), NewtonIntegrator(accuracy_v=1e-6).follow(step, time_s)
    moved = np.abs(one.voltage_v[:, -1] - one.voltage_v[:, 0]).max()
    assert moved > 0.1
    np.testing.assert_allclose(one.voltage_v, other.voltage_v, atol=2e-5)


@pytest.mark.ngspice
@pytest.mark.parametrize("reduce", [Reduce.FOLD, Reduce.MIRROR])
def test_exact_reductions_change_nothing(drawn: RandomBlock, reduce: Reduce) -> None:
    step = step_of(drawn, unequal(drawn), np.zeros_like(drawn.drives), drawn.drives)
    time_s, image = np.array([0.0, 3e-11, 3e-10, 3e-9]), drawn.built.image
    reduced = reduce_step(step, reduce, image)
    assert reduced is not None
    assert reduced.step.circuit.n_nodes < step.circuit.n_nodes
    plain = follow(NgspiceIntegrator(), step, time_s)
    np.testing.assert_allclose(
        follow(NgspiceIntegrator(), step, time_s, reduce=reduce, image=image).voltage_v, plain.voltage_v, atol=1e-8
    )


def test_unequal_capacitances_of_a_pair_have_no_mirror(drawn: RandomBlock) -> None:
    capacitance_f = unequal(drawn)
    capacitance_f[drawn.built.layers[0].p[0]] *= 1.5
    step = step_of(drawn, capacitance_f, np.zeros_like(drawn.drives), drawn.drives)
    reduced = reduce_step(step, Reduce.MIRROR, drawn.built.image)
    folded = reduce_step(step, Reduce.FOLD)
    assert reduced is not None
    assert folded is not None
    assert reduced.step.circuit.n_nodes == folded.step.circuit.n_nodes


@pytest.mark.ngspice
def test_a_step_without_rise_is_what_a_plain_deck_gives(drawn: RandomBlock) -> None:
    capacitance_f, circuit = unequal(drawn), drawn.built.circuit
    step = step_of(drawn, capacitance_f, 0.3 * drawn.drives, drawn.drives)
    time_s = np.array([2e-11, 1e-10, 1e-9])
    found = NgspiceIntegrator().follow(step, time_s)
    capacitance_f[circuit.voltage_sources.plus] = 0.0
    made = with_capacitors(circuit.with_conductances(drawn.conductance_s), capacitance_f)
    netlist, _ = lower(made.with_drives(drawn.drives[0]))
    text = format_standalone(netlist)
    names = [name for name, yes in zip(netlist.voltage_sources, circuit.voltage_sources.driven, strict=True) if yes]
    for name, before, after in zip(names, 0.3 * drawn.drives[0], drawn.drives[0], strict=False):
        rise = f"pwl(0 {float(before)!r} 1e-16 {float(after)!r})"
        text = re.sub(rf"^({name} \S+ \S+) .*$", rf"\1 {rise}", text, flags=re.MULTILINE)
    text = text.replace("\n.op\n", "\n.options method=trap trtol=1e3 chgtol=2e-14\n.tran 1e-14 1e-9 0 2e-11\n")
    vectors = run_program(text)
    for k, name in enumerate(netlist.nodes[1:], start=1):
        np.testing.assert_allclose(
            np.interp(time_s, vectors["time"], vectors[name]), found.voltage_v[0, :, k], atol=2e-5, err_msg=name
        )


@pytest.mark.ngspice
def test_estimates_in_time_are_the_linearised_response(drawn: RandomBlock) -> None:
    capacitance_f = unequal(drawn, without=2)
    ds = np.random.default_rng(1).normal(size=(2, 4))
    free, nudged = drawn.drives, [drawn.built.drives(drawn.x, sign * BETA * ds) for sign in (-1, 1)]
    rest = NewtonSimulator().prepare(lower(drawn.built.circuit)[0]).solve(drawn.conductance_s, free)
    linear = linearise(analyse(drawn.built.circuit), drawn.conductance_s, rest.voltage_v, capacitance_f)
    drawn_a, units = np.zeros_like(rest.voltage_v), drawn.built.layers[-1]
    drawn_a[:, units.p], drawn_a[:, units.n] = 1e-4 * ds, -1e-4 * ds  # g_unit v_unit ds
    time_s = np.geomspace(1e-12, 3e-9, 30)
    first, second = (
        NgspiceIntegrator(accuracy_v=1e-10).follow(step_of(drawn, capacitance_f, free, after), time_s).voltage_v
        for after in nudged
    )
    exact = linear.response(drawn_a, time_s)
    error = np.abs(-(second - first) / (2 * BETA) - exact).max()
    assert error < 1e-4 * np.abs(exact).max()


def test_the_response_is_in_the_right_order(drawn: RandomBlock) -> None:
    topology, capacitance_f = analyse(drawn.built.circuit), unequal(drawn)
    voltage_v = NewtonSimulator().prepare(lower(drawn.built.circuit)[0]).solve(drawn.conductance_s, drawn.drives)
    linear = linearise(topology, drawn.conductance_s, voltage_v.voltage_v, capacitance_f)
    h = hessian(topology, drawn.conductance_s, voltage_v.voltage_v)[1]
    c, nodes = np.diag(capacitance_f[topology.node_of_unknown]), topology.node_of_unknown
    drawn_a = np.zeros((2, topology.circuit.n_nodes))
    drawn_a[:, nodes] = np.random.default_rng(0).normal(size=len(nodes)) * 1e-6
    t = 0.7 * linear.slowest_s[1]
    exact = linalg.solve(h, drawn_a[1, nodes])
    right = exact - linalg.expm(-linalg.solve(c, h) * t) @ exact
    wrong = exact - linalg.expm(-h @ linalg.inv(c) * t) @ exact
    found = linear.response(drawn_a, np.array([t]))[1, 0, nodes]
    np.testing.assert_allclose(found, right, rtol=1e-9, atol=1e-12)
    assert np.linalg.norm(found - wrong) > 1e-2 * np.linalg.norm(right)
    # What is left of a displacement: the same exponential.
    displaced = np.zeros((2, topology.circuit.n_nodes))
    displaced[:, nodes] = np.random.default_rng(1).normal(size=len(nodes))
    left = linalg.expm(-linalg.solve(c, h) * t) @ displaced[1, nodes]
    np.testing.assert_allclose(linear.decay(displaced, np.array([t]))[1, 0, nodes], left, rtol=1e-9, atol=1e-12)


def test_the_slowest_of_pairs_is_that_of_the_mirrored_half(drawn: RandomBlock) -> None:
    circuit, capacitance_f = drawn.built.circuit, unequal(drawn)
    voltage_v = NewtonSimulator().prepare(lower(circuit)[0]).solve(drawn.conductance_s, drawn.drives).voltage_v
    found = slowest_of_pairs_s(analyse(circuit), drawn.conductance_s, voltage_v, capacitance_f, drawn.built.layers)
    half = reduce_step(step_of(drawn, capacitance_f, drawn.drives, drawn.drives), Reduce.MIRROR, drawn.built.image)
    assert half is not None
    kept = half.program.restrict(voltage_v)
    linear = linearise(analyse(half.step.circuit), half.step.conductance_s, kept, half.step.capacitance_f)
    np.testing.assert_allclose(found, linear.slowest_s, rtol=1e-9)


@pytest.mark.ngspice
def test_every_point_is_held_against_our_laws(drawn: RandomBlock) -> None:
    capacitance_f = unequal(drawn)
    capacitance_f[drawn.built.circuit.voltage_sources.plus] = 0.0
    step = step_of(drawn, capacitance_f, np.zeros_like(drawn.drives), drawn.drives)
    program = kirchhoff_law(analyse(step.circuit)).program(step.conductance_s)
    time_s = np.linspace(0.0, 1e-11, 40)
    fine = NewtonIntegrator(accuracy_v=1e-9).follow(step, time_s).voltage_v[0]

    def judged(c, v):
        return step_residual(program, c, step.drives_after[0], time_s, v, voltage_tolerance_v=3e-5)

    assert judged(capacitance_f, fine).is_explained
    assert not judged(2.0 * capacitance_f, fine).is_explained
    moved = fine.copy()
    node = drawn.built.layers[0].p[2]
    moved[20, node] += 1e-3
    worst = judged(capacitance_f, moved)
    assert not worst.is_explained
    assert worst.node == node
    assert worst.time_s in {time_s[20], time_s[21]}
    moved[20, node] = np.nan
    assert not judged(capacitance_f, moved).is_explained


def test_sampling_is_early_or_late(drawn: RandomBlock) -> None:
    circuit = drawn.built.circuit
    by_name = dict(zip(circuit.nodes, unequal(drawn).tolist(), strict=True))
    netlist = lower(circuit)[0]
    settled = NewtonSimulator().prepare(netlist).solve(drawn.conductance_s, drawn.drives).voltage_v
    output = drawn.built.layers[-1].p

    def away(**times: float) -> float:
        session = SampledSimulator(by_name, **times, accuracy_v=1e-4).prepare(netlist)
        return float(np.abs(session.solve(drawn.conductance_s, drawn.drives).voltage_v - settled)[:, output].max())

    assert away() == 0.0
    assert away(from_rest_s=1e-13) > 0.5 * np.abs(settled[:, output]).max()
    assert away(from_rest_s=1e-8) < 1e-4
    session = SampledSimulator(by_name, from_state_s=1e-15, accuracy_v=1e-4).prepare(netlist)
    held = session.solve(drawn.conductance_s, np.zeros_like(drawn.drives), start_v=settled).voltage_v
    np.testing.assert_allclose(held[:, output], settled[:, output], atol=1e-3)
    with pytest.raises(SimulationError, match="no capacitance given for node"):
        SampledSimulator({}).prepare(netlist)
    with pytest.raises(SimulationError, match="from_rest_s"):
        SampledSimulator(by_name, from_rest_s=0.0)


def test_nonsense_is_refused_by_name(drawn: RandomBlock) -> None:
    step = step_of(drawn, unequal(drawn), drawn.drives, drawn.drives)
    for times in ([], [1e-9, 1e-9], [-1e-9, 1e-9], [np.nan], [0.0]):
        with pytest.raises(SimulationError, match="block 'random': asked for times"):
            NewtonIntegrator().follow(step, np.array(times))
    with pytest.raises(SimulationError, match="samples before the step"):
        replace(step, drives_before=drawn.drives[:1])
    with pytest.raises(SimulationError, match="capacitors of its own"):
        replace(step, circuit=with_capacitors(step.circuit, step.capacitance_f))
    for integrator in (NewtonIntegrator, NgspiceIntegrator):
        with pytest.raises(SimulationError, match="accuracy_v"):
            integrator(accuracy_v=0.0)
    topology, rest = analyse(step.circuit), np.zeros((1, step.circuit.n_nodes))
    with pytest.raises(SimulationError, match="no node whose voltage is not set"):
        linearise(topology, step.conductance_s, rest, np.zeros(step.circuit.n_nodes))
    with pytest.raises(SimulationError, match="waveforms"):
        Waveforms(time_s=np.array([0.0, 1.0]), voltage_v=np.zeros((1, 3, 2)))


def test_an_unstable_circuit_never_settles() -> None:
    circuit = replace(
        CircuitBuilder("latch")
        .resistor("1", "a", "0", 1e-4)
        .resistor("2", "a", "b", 1e-4)
        .resistor("3", "b", "0", 1.0)
        .build(),
        active=True,
    )
    conductance_s = np.array([1e-4, -2e-4, 1e-5])
    with pytest.raises(ConvergenceError, match="block 'latch': its Hessian is not positive definite"):
        linearise(analyse(circuit), conductance_s, np.zeros((1, 3)), np.array([0.0, 1e-15, 1e-15]))


def test_capacitance_behind_a_floating_source_is_refused() -> None:
    circuit = (
        CircuitBuilder("floating")
        .resistor("1", "a", "0", 1e-4)
        .voltage_source("between", "b", "a", 0.5, driven=True)
        .resistor("2", "b", "0", 1e-4)
        .build()
    )
    step = Step(
        circuit=circuit,
        conductance_s=circuit.resistors.conductance_s,
        drives_before=np.zeros((1, 1)),
        drives_after=np.ones((1, 1)),
        capacitance_f=np.array([0.0, 1e-15, 1e-15]),
    )
    with pytest.raises(SimulationError, match="driven voltage source that is not to ground"):
        NewtonIntegrator().follow(step, np.array([1e-9]))
