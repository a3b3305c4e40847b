"""Blocks on wires: every route and simulator agrees, and equilibrium propagation sees every device's own voltage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from analog_blocks import cosine, norm_ratio
from cubic_blocks import cubic_block
from random_blocks import RandomBlock, clamped_share, random_block, random_convolution
from wired_blocks import COARSE, loss_gradient, on_wires, phases_of, relax, smooth_loss

from circuits import BlockCircuit, Clamp, Convolution, Drive, EnergyBlock, NodeLayer, Polarity, build
from circuits.arrays import Floats
from circuits.cocontent import response_gradient
from circuits.tiles import TileSize
from circuits.wires import Wires
from cosim.phase_settings import Nudging, ParameterRead, PhaseSettings
from cosim.relaxation import Reduce, Relaxation, RelaxationOptions
from cosim.simulators.newton import LinearSolver, NewtonSimulator
from cosim.simulators.ngspice.program import solve_standalone
from cosim.simulators.ngspice.simulator import NgspiceSimulator
from netlists import lower

KINDS = pytest.mark.parametrize(("polarity", "drive"), [(p, d) for p in Polarity for d in Drive])
CONVOLUTION = Convolution(input_shape=(1, 3, 3), channels=2, kernel=2)


def network_block(n_units: int, drive: Drive, *, batch: int = 3) -> RandomBlock:
    """Draw a block of weights as in training, its layers clamped, on wires of 2 ohm in one tile a crossbar."""
    rng = np.random.default_rng(0)
    clamp = Clamp(low_v=-0.05, high_v=0.05)
    layers = (
        NodeLayer(size=n_units, clamp=clamp, leak_s=1e-6, bias=True),
        NodeLayer(size=n_units, leak_s=5e-5),
    )
    built = build(EnergyBlock(name="network", n_inputs=n_units, layers=layers, drive=drive))
    low, high = built.block.window
    plus, minus = {}, {}
    for crossbar in built.crossbars:
        w = rng.normal(size=crossbar.shape) / n_units**0.5
        plus[crossbar.name] = np.clip(low + np.maximum(w, 0), low, high)
        minus[crossbar.name] = np.clip(low + np.maximum(-w, 0), low, high)
    x = rng.uniform(-1, 1, (batch, n_units))
    nudge = 0.05 * rng.normal(size=(batch, n_units))
    drawn = RandomBlock(
        built=built,
        conductance_s=built.program(plus, minus),
        x=x,
        drives=built.drives(x, nudge),
        plus=plus,
        minus=minus,
    )
    tile = TileSize(rows=2 * n_units, columns=2 * n_units)
    return on_wires(drawn, Wires(row_ohm=2.0, column_ohm=2.0, driver_ohm=50.0, tile=tile))


def draw_any(kind: str, polarity: Polarity, drive: Drive) -> RandomBlock:
    if kind == "convolved":
        return random_convolution(0, CONVOLUTION, polarity=polarity, drive=drive)
    return random_block(0, polarity=polarity, drive=drive)


@KINDS
@pytest.mark.parametrize("kind", ["dense", "convolved"])
def test_every_reduction_gives_the_same_in_newton(kind: str, polarity: Polarity, drive: Drive) -> None:
    wired = on_wires(draw_any(kind, polarity, drive))
    full = relax(wired.built, wired.conductance_s, wired.drives, Reduce.NONE)
    for reduce in (Reduce.FOLD, Reduce.PORTS, Reduce.MIRROR):
        found = relax(wired.built, wired.conductance_s, wired.drives, reduce)
        np.testing.assert_allclose(found, full, atol=1e-11, rtol=0)


@pytest.mark.ngspice
@KINDS
@pytest.mark.parametrize("kind", ["dense", "convolved"])
def test_newton_agrees_with_ngspice_and_the_plain_deck(kind: str, polarity: Polarity, drive: Drive) -> None:
    wired = on_wires(draw_any(kind, polarity, drive))
    newton = relax(wired.built, wired.conductance_s, wired.drives)
    for reduce in (Reduce.NONE, Reduce.PORTS):
        found = relax(wired.built, wired.conductance_s, wired.drives, reduce, NgspiceSimulator())
        np.testing.assert_allclose(found, newton, atol=1e-9, rtol=0)
    deck, _ = lower(wired.built.circuit.with_conductances(wired.conductance_s).with_drives(wired.drives[0]))
    np.testing.assert_allclose(solve_standalone(deck)[0], newton[0], atol=1e-9, rtol=0)


@pytest.mark.ngspice
@pytest.mark.parametrize(("n_units", "drive"), [(32, Drive.CURRENT), (16, Drive.VOLTAGE)])
def test_32x32_against_the_full_deck_with_diodes_and_nudges(n_units: int, drive: Drive) -> None:
    # 32x32 weights, which are 64x64 cells; voltage drive has a second such crossbar, so there 32x32 cells each.
    wired = network_block(n_units, drive)
    assert wired.built.circuit.n_nodes > 2 * (2 * n_units) ** 2
    reduced = relax(wired.built, wired.conductance_s, wired.drives)
    assert 0.05 < clamped_share(wired, reduced) < 0.9
    full = relax(wired.built, wired.conductance_s, wired.drives, Reduce.NONE, NgspiceSimulator())
    np.testing.assert_allclose(reduced, full, atol=1e-9, rtol=0)
    in_ngspice = relax(wired.built, wired.conductance_s, wired.drives, Reduce.PORTS, NgspiceSimulator())
    np.testing.assert_allclose(in_ngspice, full, atol=1e-9, rtol=0)
    assert np.abs(reduced[:, wired.built.wire_nodes]).max() > 0.1


def test_newton_solves_8k_nodes_unreduced_by_conjugate_gradients() -> None:
    wired = network_block(32, Drive.CURRENT, batch=2)
    assert wired.built.circuit.n_nodes > 8000
    reduced = relax(wired.built, wired.conductance_s, wired.drives)
    full = relax(wired.built, wired.conductance_s, wired.drives, Reduce.NONE)
    np.testing.assert_allclose(full, reduced, atol=1e-9, rtol=0)


def test_conjugate_gradients_solve_a_port_circuit() -> None:
    wired = on_wires(random_block(3))
    simulator = NewtonSimulator(linear=LinearSolver.CONJUGATE_GRADIENTS)
    found = relax(wired.built, wired.conductance_s, wired.drives, Reduce.PORTS, simulator)
    np.testing.assert_allclose(found, relax(wired.built, wired.conductance_s, wired.drives), atol=1e-9, rtol=0)


def test_the_mirror_is_off_with_wires() -> None:
    drawn = random_block(4)
    wired = on_wires(drawn)
    mirrored = Relaxation.of_block(drawn.built, NewtonSimulator()).route_circuit(drawn.conductance_s, drawn.drives)
    ported = Relaxation.of_block(wired.built, NewtonSimulator()).route_circuit(wired.conductance_s, wired.drives)
    units = sum(len(layer) for layer in drawn.built.layers)
    # Half of the units' nodes, rails and ground against all of them.
    assert len([name for name in mirrored.nodes if name.startswith("l")]) == units
    assert len([name for name in ported.nodes if name.startswith("l")]) == 2 * units
    voltage_v = relax(wired.built, wired.conductance_s, wired.drives)
    layer = wired.built.layers[-1]
    assert np.abs(voltage_v[:, layer.p] + voltage_v[:, layer.n]).max() > 1e-5


def test_cubic_devices_on_wires_take_the_full_circuit() -> None:
    wired = on_wires(cubic_block(0))
    relaxation = Relaxation.of_block(wired.built, NewtonSimulator())
    route = relaxation.route_circuit(wired.conductance_s, wired.drives)
    assert set(route.nodes) >= {wired.built.circuit.nodes[k] for k in wired.built.wire_nodes}
    full = relax(wired.built, wired.conductance_s, wired.drives, Reduce.NONE)
    np.testing.assert_allclose(relax(wired.built, wired.conductance_s, wired.drives), full, atol=1e-10, rtol=0)


def test_the_inside_is_recovered_when_it_is_asked_for() -> None:
    wired = on_wires(random_block(5))
    relaxation = Relaxation.of_block(wired.built, NewtonSimulator())
    full = relaxation.solve(wired.conductance_s, wired.drives)
    outside = relaxation.solve(wired.conductance_s, wired.drives, recover=False)
    wire_nodes = wired.built.wire_nodes
    assert np.isnan(outside.voltage_v[:, wire_nodes]).all()
    kept = np.setdiff1d(np.arange(wired.built.circuit.n_nodes), wire_nodes)
    np.testing.assert_array_equal(outside.voltage_v[:, kept], full.voltage_v[:, kept])
    assert outside.converged.all()
    assert set(outside.worst_node) <= set(kept)
    recovered = relaxation.recovered(wired.conductance_s, wired.drives, outside)
    np.testing.assert_array_equal(recovered.voltage_v, full.voltage_v)
    np.testing.assert_array_equal(recovered.residual_a, full.residual_a)
    assert relaxation.recovered(wired.conductance_s, wired.drives, full) is full
    # Nothing is left out where nothing was reduced to ports.
    unreduced = Relaxation.of_block(wired.built, NewtonSimulator(), RelaxationOptions(reduce=Reduce.FOLD))
    point = unreduced.solve(wired.conductance_s, wired.drives, recover=False)
    np.testing.assert_allclose(point.voltage_v, full.voltage_v, atol=1e-11, rtol=0)


def loss(built: BlockCircuit, conductance_s: Floats, x: Floats, relaxation: Relaxation) -> float:
    """Return the loss of a block's outputs."""
    return smooth_loss(built.outputs(relaxation.solve(conductance_s, built.drives(x), recover=False).voltage_v))


def check_direction(found: Floats, expected: Floats) -> None:
    assert cosine(found, expected) >= 0.9999
    assert abs(norm_ratio(found, expected) - 1.0) <= 1e-3


def measured_by_device(wired: RandomBlock, devices: Floats, step: float = 1e-4) -> Floats:
    """Return central differences of the loss by the conductance of some devices, per g_unit."""
    relaxation, g_unit_s = Relaxation.of_block(wired.built, NewtonSimulator()), wired.built.block.g_unit_s
    slopes = []
    for device in devices:
        losses = []
        for sign in (1, -1):
            conductance_s = wired.conductance_s.copy()
            conductance_s[device] += sign * step * g_unit_s
            losses.append(loss(wired.built, conductance_s, wired.x, relaxation))
        slopes.append((losses[0] - losses[1]) / (2 * step))
    return np.array(slopes)


@KINDS
def test_gradient_of_each_device_against_finite_differences(polarity: Polarity, drive: Drive) -> None:
    wired = on_wires(random_block(6, polarity=polarity, drive=drive))
    built, block = wired.built, wired.built.block
    phases = phases_of(built)
    free = phases.free(wired.conductance_s, wired.x, learn=True)
    assert np.isnan(free.point.voltage_v[:, built.wire_nodes]).all()
    ds = loss_gradient(free.outputs)
    found = phases.nudged(free, ds, want_x=False, learn=True).conductances
    devices = np.concatenate([side.ravel() for c in built.crossbars for side in (c.plus, c.minus) if side is not None])
    sample = np.random.default_rng(0).choice(devices, 24, replace=False)
    # F = 2 g_unit v_unit^2 E with differential polarity, g_unit v_unit^2 E with single: of one device of two, half.
    n_devices = 2.0 if polarity is Polarity.DIFFERENTIAL else 1.0
    exact = phases.relaxation.small_signal(
        wired.conductance_s, built.drives(wired.x), free.point.voltage_v, built.drive_change(ds)
    )
    voltage_v = phases.relaxation.recovered(wired.conductance_s, built.drives(wired.x), free.point).voltage_v
    by_device = response_gradient(built.circuit, voltage_v, exact) / (n_devices * block.v_unit_v**2)
    check_direction(by_device[sample], measured_by_device(wired, sample))
    # A weight's gradient is the sum over its devices, whose voltages differ: mirror images do not see the same wires.
    for crossbar in built.crossbars:
        for values, side in zip(found[crossbar.name], (crossbar.plus, crossbar.minus), strict=True):
            if side is not None:
                check_direction(values, by_device[side].sum(axis=0))
    if polarity is Polarity.DIFFERENTIAL:
        plus = by_device[built.crossbars[-1].plus]
        assert np.abs(plus[0] - plus[1]).max() > 1e-3 * np.abs(plus).max()


@KINDS
@pytest.mark.parametrize("kind", ["dense", "convolved"])
def test_gradient_of_weights_and_inputs_against_finite_differences(kind: str, polarity: Polarity, drive: Drive) -> None:
    drawn = draw_any(kind, polarity, drive)
    drawn = replace(drawn, x=0.3 * drawn.x)
    wired = on_wires(drawn)
    built, step, rng = wired.built, 1e-4, np.random.default_rng(1)
    phases = phases_of(built)
    free = phases.free(wired.conductance_s, wired.x, learn=True)
    ds = loss_gradient(free.outputs)
    gradients = phases.nudged(free, ds, want_x=True, learn=True)
    implicit = phases.implicit(free, ds, want_x=True)
    relaxation = Relaxation.of_block(built, NewtonSimulator())
    found, exact, measured = [], [], []
    for name, sides in gradients.conductances.items():
        for k, (values, group) in enumerate(zip(sides, (wired.plus, wired.minus), strict=True)):
            if values is None:
                continue
            for entry in rng.choice(values.size, min(3, values.size), replace=False):
                losses = []
                for sign in (1, -1):
                    changed = {**group, name: group[name].copy()}
                    changed[name].flat[entry] += sign * step
                    groups = (changed, wired.minus) if k == 0 else (wired.plus, changed)
                    losses.append(loss(built, built.program(*groups), wired.x, relaxation))
                measured.append((losses[0] - losses[1]) / (2 * step))
                found.append(values.flat[entry])
                exact.append(implicit.conductances[name][k].flat[entry])
    check_direction(np.array(found), np.array(measured))
    check_direction(np.array(exact), np.array(measured))
    slopes = np.zeros_like(wired.x)
    for entry in range(wired.x.size):
        changed = [wired.x.copy(), wired.x.copy()]
        for sign, x in zip((1, -1), changed, strict=True):
            x.flat[entry] += sign * step
        slopes.flat[entry] = (
            loss(built, wired.conductance_s, changed[0], relaxation)
            - loss(built, wired.conductance_s, changed[1], relaxation)
        ) / (2 * step)
    check_direction(gradients.x, slopes)
    check_direction(implicit.x, slopes)


def test_gradients_at_the_nets_would_be_wrong() -> None:
    wired = on_wires(random_block(7))
    phases = phases_of(wired.built)
    free = phases.free(wired.conductance_s, wired.x, learn=True)
    ds = loss_gradient(free.outputs)
    local = phases.nudged(free, ds, want_x=False, learn=True).conductances["w1"][0]
    digital = phases_of(wired.built, PhaseSettings(parameter_read=ParameterRead.DIGITAL))
    at_units = digital.nudged(free, ds, want_x=False, learn=True).conductances["w1"][0]
    # What the digital side makes of states alone is off by what the wires do; it is no derivative.
    assert np.isfinite(at_units).all()
    assert not np.allclose(at_units, local, rtol=0.05, atol=0.05 * np.abs(local).max())
    assert cosine(at_units, local) > 0.5


def test_digital_gradients_are_those_of_the_states() -> None:
    wired = on_wires(random_block(8))
    built, v = wired.built, wired.built.block.v_unit_v
    phases = phases_of(built, PhaseSettings(parameter_read=ParameterRead.DIGITAL, beta=0.05))
    free = phases.free(wired.conductance_s, wired.x, learn=True)
    ds = loss_gradient(free.outputs)
    found = phases.nudged(free, ds, want_x=True, learn=True).conductances["w2"][0]
    scale = np.abs(ds).max(axis=1)
    drives = np.concatenate([built.drives(wired.x, sign * 0.05 * ds / scale[:, None]) for sign in (-1, 1)])
    voltage_v = relax(built, wired.conductance_s, drives)
    s1, s2 = built.layers[0].state(voltage_v, v), built.layers[1].state(voltage_v, v)
    energy = 0.5 * (s1[:, :, None] - s2[:, None, :]) ** 2
    first, second = np.split(energy, 2)
    expected = ((second - first) * (scale / 0.1)[:, None, None]).sum(axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_cubic_devices_on_wires() -> None:
    wired = on_wires(cubic_block(1))
    sample = np.random.default_rng(0).choice(wired.built.crossbars[0].plus.ravel(), 8, replace=False)
    phases = phases_of(wired.built)
    free = phases.free(wired.conductance_s, wired.x, learn=True)
    found = phases.nudged(free, loss_gradient(free.outputs), want_x=True, learn=True)
    # A weight's two devices, both perturbed, against the sum of their differences.
    first, second = (side.ravel() for side in wired.built.crossbars[0].plus)
    places = [int(np.flatnonzero((first == k) | (second == k))[0]) for k in sample]
    pairs = np.concatenate([first[places], second[places]])
    slopes = measured_by_device(wired, pairs).reshape(2, -1).sum(axis=0)
    check_direction(found.conductances["w1"][0].ravel()[places], slopes)


@pytest.mark.parametrize("nudging", [Nudging.POSITIVE, Nudging.NEGATIVE])
def test_one_sided_nudging_recovers_the_free_phase(nudging: Nudging) -> None:
    wired = on_wires(random_block(9))
    phases = phases_of(wired.built, PhaseSettings(nudging=nudging, beta=1e-4))
    free = phases.free(wired.conductance_s, wired.x, learn=True)
    ds = loss_gradient(free.outputs)
    found = phases.nudged(free, ds, want_x=True, learn=True)
    exact = phases.implicit(free, ds, want_x=True)
    check_direction(found.conductances["w1"][0], exact.conductances["w1"][0])
    check_direction(found.x, exact.x)


def test_no_loss_gradient_gives_zeros() -> None:
    wired = on_wires(random_block(10))
    phases = phases_of(wired.built)
    free = phases.free(wired.conductance_s, wired.x, learn=True)
    gradients = phases.nudged(free, np.zeros_like(free.outputs), want_x=True, learn=True)
    for sides in gradients.conductances.values():
        for values in sides:
            np.testing.assert_array_equal(values, np.zeros_like(values))
    np.testing.assert_array_equal(gradients.x, np.zeros_like(wired.x))


def test_zero_ohm_is_the_block_without_wires() -> None:
    drawn = random_block(11)
    merged = on_wires(drawn, replace(COARSE, row_ohm=0.0, column_ohm=0.0, driver_ohm=0.0, sense_ohm=0.0))
    a = relax(merged.built, merged.conductance_s, merged.drives)
    np.testing.assert_array_equal(a, relax(drawn.built, drawn.conductance_s, drawn.drives))
    # Rows without resistance: the devices hang on the rows' nets themselves, and input currents are those of all.
    rows_ideal = on_wires(drawn, Wires(row_ohm=0.0, column_ohm=1e-3))
    b = relax(rows_ideal.built, rows_ideal.conductance_s, rows_ideal.drives)
    np.testing.assert_allclose(b[:, : a.shape[1]], a, atol=2e-6, rtol=0)
    np.testing.assert_allclose(
        rows_ideal.built.input_currents(rows_ideal.conductance_s, b),
        drawn.built.input_currents(drawn.conductance_s, a),
        atol=2e-5,
        rtol=0,
    )
