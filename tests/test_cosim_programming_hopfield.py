"""A deep Hopfield network on crossbars: the same energy, the same equilibrium but for the diodes, and what it costs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from analog_blocks import check_simulators_agree, check_slopes, cosine, differences, gradients, norm_ratio, smooth_loss
from hopfield_blocks import (
    CHAIN,
    IMAGE,
    V_T,
    bias_constant,
    by_hand,
    circuit_states,
    convex,
    linear_energy,
    network_states,
    on_circuit,
    program,
    scaled,
)
from test_digital_hopfield_energy import CONV, DENSE, STRIDED, draw

from circuits import DiodeModel, build
from circuits.arrays import Floats
from circuits.loading import unit_loads
from circuits.topology import laplacian
from cosim.analog_block import AnalogBlock, Gradient
from cosim.phase_settings import PhaseSettings
from cosim.programming.errors import ProgrammingError
from cosim.programming.programmed import ProgrammedBlock
from cosim.relaxation import Reduce, RelaxationOptions
from cosim.simulators.newton import NewtonSimulator
from digital.hopfield import DenseCoupling, HopfieldBlock, HopfieldConfig

NETWORKS = {
    "dense": DENSE,
    "two layers": HopfieldConfig(input_shape=(4,), couplings=(DenseCoupling(size=3),), slope=1.3),
    "four layers": CHAIN,
    "strided": STRIDED,
    "convolutions": CONV,
    "image with an input bias": IMAGE,
}
WINDOWS = {
    "wide": {"g_max_s": 1e-3},
    "high floor": {"g_min_s": 5e-6, "g_max_s": 1e-3},
    "odd units": {"v_unit_v": 0.37, "g_unit_s": 2.3e-5, "g_min_s": 1.1e-6, "g_max_s": 1e-3},
    "rescaled": {"g_min_s": 1e-6, "g_max_s": 2e-5},
}
MARGIN = 0.05  # of full scale: nearer to the kink than this a unit is left out
SHARP = DiodeModel(emission_coefficient=1e-3 / V_T)


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_circuits_energy_is_the_networks(name: str, window: str) -> None:
    config = NETWORKS[name]
    parameters, x, states = draw(config)
    for k in range(len(states)):
        states[k] = states[k] + 0.3 * torch.randn_like(states[k])  # not only inside the box: both are quadratic
    block = HopfieldBlock(config).double()
    with torch.no_grad():
        for p, value in zip(block.parameter_tensors().flatten(), parameters.flatten(), strict=True):
            p.copy_(value)
    programmed = program(block, **WINDOWS[window], allow_several_equilibria=True)
    assert (programmed.report.window.scale < 1) == (window == "rescaled")
    found = linear_energy(programmed, x.flatten(1).numpy(), [s.flatten(1).numpy() for s in states])
    wanted = block.energy(x, tuple(states)).detach().numpy()
    largest = np.abs(wanted).max()
    assert np.ptp(wanted) > 0.1 * largest > 0.1
    np.testing.assert_allclose(found - found[0], wanted - wanted[0], rtol=0, atol=1e-12 * np.abs(found).max())
    np.testing.assert_allclose(found - wanted, bias_constant(programmed), rtol=0, atol=1e-12 * np.abs(found).max())


def test_conductances_and_leaks_by_hand() -> None:
    # g_min = 0.01 g_unit; a leak is 2 (or 1) less what meets at the unit.
    programmed = program(by_hand(), g_min_s=1e-6, g_max_s=1e-4)
    np.testing.assert_allclose(programmed.plus["w2"], [[0.51, 0.31], [0.01, 0.81]], rtol=1e-14)
    np.testing.assert_allclose(programmed.minus["w2"], [[0.01, 0.01], [0.26, 0.01]], rtol=1e-14)
    np.testing.assert_allclose(programmed.plus["b2"], [[0.11, 0.01]], rtol=1e-14)
    np.testing.assert_allclose(programmed.minus["b2"], [[0.01, 0.21]], rtol=1e-14)
    first, second = programmed.block.layers
    np.testing.assert_allclose(first.leak_s, [1.16e-4, 0.91e-4], rtol=1e-12)
    np.testing.assert_allclose(second.leak_s, [0.09e-4, -0.36e-4], rtol=1e-12)
    assert first.clamp is not None
    assert (first.clamp.low_v, first.clamp.high_v) == (0, 1)
    assert second.clamp is None
    assert (first.bias, second.bias) == (False, True)


def kept(block: HopfieldBlock, unboxed: list[Floats]) -> list[Floats]:
    """Which units are away from the kinks; of a layer without a box all are."""
    return [
        (np.abs(u) > MARGIN) & (np.abs(u - 1) > MARGIN) if box else np.full(u.shape, fill_value=True)
        for u, box in zip(unboxed, block.config.boxes, strict=True)
    ]


def worst(found: list[Floats], wanted: list[Floats], mask: list[Floats] | None = None) -> float:
    """Largest difference of any unit."""
    change = [np.abs(f - w) for f, w in zip(found, wanted, strict=True)]
    return max(float(np.max(c if mask is None else c[m])) for c, m in zip(change, mask or change, strict=True))


@pytest.mark.parametrize("config", [CHAIN, IMAGE], ids=["dense", "image"])
def test_distance_to_the_network_falls_with_the_sharpness_of_the_diodes(config: HopfieldConfig) -> None:
    block, x = convex(config)
    states, unboxed = network_states(block, x)
    away = kept(block, unboxed)
    sides = [
        sum(int((m & side(u)).sum()) for m, u, box in zip(away, unboxed, config.boxes, strict=True) if box)
        for side in (lambda u: u < 0, lambda u: u > 1, lambda u: (u > 0) & (u < 1))
    ]
    boxed = sum(u.size for u, box in zip(unboxed, config.boxes, strict=True) if box)
    assert min(sides) >= 0.08 * boxed  # at the lower limit, at the upper, between them
    assert sum(sides) >= 0.8 * boxed
    coefficients = np.geomspace(1e-3 / V_T, 1.0, 5)  # n V_t / v_unit from 1e-3 to 2.6e-2
    for g_min_s in (1e-7, 5e-6):
        distances = []
        for n in coefficients:
            analog = on_circuit(block, g_min_s=g_min_s, diode=DiodeModel(emission_coefficient=float(n)))
            distances.append(worst(circuit_states(analog, x), states, away))
        assert distances[0] <= 5e-3
        slope = np.polyfit(np.log(coefficients), np.log(distances), 1)[0]
        assert 0.8 <= slope <= 1.05


def without_floor(programmed: ProgrammedBlock) -> AnalogBlock:
    """The circuit with leaks that forget the two devices at g_min of each weight."""
    block = programmed.block
    floor = {name: np.full(g.shape, 2 * block.g_min_s) for name, g in programmed.plus.items()}
    loads_s = unit_loads(block, floor)
    layers = tuple(
        replace(layer, leak_s=tuple(layer.leaks_s + s)) for layer, s in zip(block.layers, loads_s, strict=True)
    )
    analog = AnalogBlock(replace(block, layers=layers), simulator=NewtonSimulator()).double()
    analog.load_conductances(programmed.plus, programmed.minus)
    return analog


@pytest.mark.parametrize("config", [CHAIN, IMAGE], ids=["dense", "image"])
def test_the_floor_of_g_min_counts_and_is_made_up_for(config: HopfieldConfig) -> None:
    block, x = convex(config)
    high = {"g_min_s": 5e-6, "diode": SHARP}
    found, low = (circuit_states(on_circuit(block, **s), x) for s in (high, high | {"g_min_s": 1e-7}))
    assert worst(found, low) < 1e-9
    forgotten = circuit_states(without_floor(program(block, **high)), x)
    assert worst(forgotten, found) > 0.03


def test_a_state_is_a_share_of_v_unit() -> None:
    # All voltages times 0.4, all currents times 0.4 * 0.5: only reverse currents stay behind.
    block, x = convex(CHAIN)
    plain = circuit_states(on_circuit(block, diode=DiodeModel(emission_coefficient=0.1)), x)
    small = on_circuit(
        block,
        v_unit_v=0.4,
        g_unit_s=5e-5,
        g_max_s=1e-4,
        g_min_s=5e-8,
        reference_current_a=2e-6,
        diode=DiodeModel(emission_coefficient=0.04),
    )
    assert worst(circuit_states(small, x), plain) < 1e-8
    top = small.last_voltages()[0].max()
    assert top == pytest.approx(0.4, abs=0.02)


@pytest.mark.ngspice
@pytest.mark.parametrize("emission_coefficient", [1e-3 / V_T, 1.0], ids=["sharp", "soft"])
@pytest.mark.parametrize("config", [CHAIN, IMAGE], ids=["dense", "image"])
def test_ngspice_finds_the_same_equilibrium_in_every_deck(config: HopfieldConfig, emission_coefficient: float) -> None:
    block, x = convex(config, 2)
    programmed = program(block, g_min_s=5e-6, diode=DiodeModel(emission_coefficient=emission_coefficient))
    built = build(programmed.block)
    assert built.circuit.active
    conductance_s = built.program(programmed.plus, programmed.minus)
    check_simulators_agree(built, conductance_s, built.drives(x.flatten(1).numpy()))


def curvatures(programmed: ProgrammedBlock) -> tuple[float, float]:
    """Smallest eigenvalues without clamps, in units of g_unit: of p and n against each other, and of both together."""
    built = build(programmed.block)
    hessian = laplacian(built.circuit, built.program(programmed.plus, programmed.minus)).toarray()
    p, n = (np.concatenate([getattr(units, side) for units in built.layers]) for side in "pn")
    own, other = (hessian[np.ix_(p, column)] / programmed.block.g_unit_s for column in (p, n))
    return tuple(float(np.linalg.eigvalsh(h)[0]) for h in (own - other, own + other))


@pytest.mark.parametrize("config", [CHAIN, IMAGE], ids=["dense", "image"])
def test_p_and_n_together_are_stable_with_active_leaks_too(config: HopfieldConfig) -> None:
    # Together they see |w| + 2 g_min in place of w: with an active leak from each node to ground, 1 / a - (G+ + G-) may
    # be below zero and the circuit latches. Between p and n it does not act on both together.
    block, x = convex(config, 2)
    passive = program(block, active_leaks="clip")
    against, together = curvatures(passive)
    assert against == pytest.approx(passive.report.smallest_eigenvalue, abs=1e-9)
    assert against > together > 0
    active = on_circuit(block, g_min_s=5e-6)
    assert active.report.passivity.active > 0
    against, together = curvatures(program(block, g_min_s=5e-6))
    assert against == pytest.approx(active.report.smallest_eigenvalue, abs=1e-9)
    assert min(against, together) > 0
    full = active.configured(relaxation=RelaxationOptions(reduce=Reduce.NONE))  # both modes, device by device
    mirrored, every = (b.free_phase(x.flatten(1)).point.voltage_v for b in (active, full))
    np.testing.assert_allclose(every, mirrored, atol=1e-9, rtol=0)


def with_room(analog: AnalogBlock) -> AnalogBlock:
    """Return a copy in a wider window, so that devices at g_min may be moved both ways."""
    wide = AnalogBlock(replace(analog.block, g_min_s=analog.block.g_min_s / 2), simulator=analog.simulator).double()
    wide.load_state_dict(analog.state_dict())
    return wide


@pytest.mark.parametrize("config", [CHAIN, IMAGE], ids=["dense", "image"])
def test_equilibrium_propagation_through_a_programmed_block(config: HopfieldConfig) -> None:
    block, x = convex(config, 4)
    diode = DiodeModel(emission_coefficient=0.2)
    analog = with_room(on_circuit(block, g_min_s=1e-6, diode=diode)).configured(settings=PhaseSettings(beta=1e-3))
    flat = x.flatten(1).numpy()
    nudged, exact = (gradients(analog.configured(gradient=gradient), flat) for gradient in Gradient)
    assert set(nudged) == {"input", *dict(analog.named_parameters())}
    for name, reference in exact.items():
        assert cosine(nudged[name], reference) >= 0.9999, name
        assert norm_ratio(nudged[name], reference) == pytest.approx(1, abs=1e-3), name
    check_slopes(nudged, differences(analog, flat), 1e-3)


@pytest.mark.parametrize("config", [CHAIN, IMAGE], ids=["dense", "image"])
def test_gradients_of_sharp_clamps_are_the_networks(config: HopfieldConfig) -> None:
    # dE/dG+ = (s - s')^2 / 2 and dE/dG- = (s + s')^2 / 2, so half their difference is dE/dw = -s s' and dE/db = -s.
    block, x = convex(config, 24)
    _, unboxed = network_states(block, x)
    boxed = [u for u, box in zip(unboxed, config.boxes, strict=True) if box]
    distance = np.min([np.minimum(np.abs(u), np.abs(u - 1)).min(axis=1) for u in boxed], axis=0)
    x = x[torch.from_numpy(distance > 4e-3)]  # samples without a unit in the kink
    assert len(x) >= 10
    diode = DiodeModel(emission_coefficient=1e-4 / V_T)
    analog = on_circuit(block, diode=diode).configured(gradient=Gradient.IMPLICIT)
    found, leaf = gradients(analog, x.flatten(1).numpy()), x.clone().requires_grad_()
    smooth_loss(block(leaf).flatten(1)).backward()
    wanted = {"input": leaf.grad.flatten(1).numpy()}
    for k, weight in block.weights.items():
        gradient = weight.grad.numpy()
        wanted[f"w{int(k) + 2}"] = gradient if gradient.ndim == 4 else gradient.T
    for k, bias in block.biases.items():
        wanted[f"b{int(k) + 1}"] = bias.grad.numpy()
    for name, reference in wanted.items():
        ours = found["input"] if name == "input" else (found[f"g_plus.{name}"] - found[f"g_minus.{name}"]) / 2
        if ours.size > reference.size:  # an image's input bias: one a unit in the circuit, one a channel in the network
            ours = ours.reshape(len(reference), -1).sum(axis=1)
        assert cosine(ours.reshape(reference.shape), reference) > 0.9999, name
        assert norm_ratio(ours, reference) == pytest.approx(1, abs=5e-3), name


def test_passivity_by_hand() -> None:
    # Layer 1: 2 - 0.84 and 2 - 1.09; layer 2: 1 - 0.91 and 1 - 1.36. Without floors (1 - 0.06) / 1.3 is the least.
    passivity = program(by_hand(), g_min_s=1e-6, g_max_s=1e-4).report.passivity
    assert passivity is not None
    assert [(layer.layer, layer.units, layer.active) for layer in passivity.layers] == [(1, 2, 0), (2, 2, 1)]
    assert [layer.lowest_s for layer in passivity.layers] == pytest.approx([0.91e-4, -0.36e-4])
    assert [layer.highest_s for layer in passivity.layers] == pytest.approx([1.16e-4, 0.09e-4])
    assert (passivity.units, passivity.active) == (4, 1)
    assert passivity.lowest_s == pytest.approx(-0.36e-4)
    assert passivity.own_s == pytest.approx(1e-4)
    assert passivity.factor == pytest.approx(0.94 / 1.3)
    assert passivity.applied is None


@pytest.mark.parametrize("block", [by_hand(), convex(CHAIN)[0], convex(IMAGE)[0]], ids=["hand", "dense", "image"])
def test_the_factor_is_the_largest_that_needs_no_active_leak(block: HopfieldBlock) -> None:
    factor = program(block).report.passivity.factor
    assert 0 < factor < 1
    for share, is_active in ((1 - 1e-6, False), (1 + 1e-4, True)):
        programmed = program(scaled(block, factor * share))
        assert bool(programmed.report.passivity.active) == is_active
        assert build(programmed.block).circuit.active == is_active
        assert programmed.report.passivity.factor == pytest.approx(1 / share)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_clipping_leaks_shrinks_the_weights_and_leaves_none_active(dtype: torch.dtype) -> None:
    for block in (by_hand(dtype), convex(CHAIN)[0].to(dtype), convex(IMAGE)[0].to(dtype)):
        factor = program(block).report.passivity.factor
        programmed = program(block, active_leaks="clip")
        passivity = programmed.report.passivity
        assert passivity.active == 0
        assert 0 <= passivity.lowest_s < 1e-3 * passivity.own_s
        assert passivity.applied == pytest.approx(factor, rel=1e-4)
        assert passivity.factor == pytest.approx(1, rel=1e-4)
        assert not build(programmed.block).circuit.active
        own = program(scaled(block, passivity.applied), active_leaks="refuse")
        for name, g in own.plus.items():
            np.testing.assert_allclose(programmed.plus[name] - programmed.minus[name], g - own.minus[name], atol=1e-6)
        assert programmed.report.smallest_eigenvalue == pytest.approx(own.report.smallest_eigenvalue, abs=1e-6)


def test_weights_that_need_no_active_leak_are_not_clipped() -> None:
    block = scaled(by_hand(), 0.5)
    clipped, plain = program(block, active_leaks="clip"), program(block)
    assert clipped.report == plain.report
    assert all(np.array_equal(clipped.plus[name], g) for name, g in plain.plus.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_clipping_where_the_floor_leaves_little_room(dtype: torch.dtype) -> None:
    # The floor takes 0.06 g_unit at g_min = 0.01 g_unit: here all but a hundred-thousandth of what layer 2 has.
    programmed = program(by_hand(dtype), g_min_s=1e-4 / 6 * (1 - 1e-5), g_max_s=2e-4, active_leaks="clip")
    assert programmed.report.passivity.active == 0
    assert 0 < programmed.report.passivity.applied < 1e-4


def test_active_leaks_are_refused_with_the_numbers() -> None:
    text = (
        r"hopfield block 'hand': 1 of 4 units need an active leak \(layer 2: 1\), the largest -3\.6e-05 S where the "
        r"unit's own is 0\.0001 S; passive up to weights times 0\.7231; allow active leaks, shrink its "
        r"weights \(--clip-passive, or active_leaks = .clip. in \[circuit\]\), or train it with weight decay or a "
        r"smaller slope$"
    )
    with pytest.raises(ProgrammingError, match=text):
        program(by_hand(), g_min_s=1e-6, g_max_s=1e-4, active_leaks="refuse")
    assert program(scaled(by_hand(), 0.7), g_min_s=1e-6, g_max_s=1e-4, active_leaks="refuse").report.window.outside == 0


def test_a_floor_too_high_for_any_weights_has_its_own_message() -> None:
    high = {"g_min_s": 2e-5, "g_max_s": 2e-4}
    passivity = program(by_hand(), **high).report.passivity  # 3 weights meet at a unit of layer 2: 1 - 6 * 0.2 < 0
    assert passivity.factor == 0
    assert passivity.text().endswith("; devices at g_min alone are too much for a leak")
    text = r"'hand': devices at g_min = 0\.2 g_unit alone load a unit by more than its own leak, whatever its weights"
    with pytest.raises(ProgrammingError, match=text):
        program(by_hand(), **high, active_leaks="clip")
    with pytest.raises(ProgrammingError, match="devices at g_min alone are too much for a leak; allow active leaks"):
        program(by_hand(), **high, active_leaks="refuse")


def test_without_weights_there_is_no_factor() -> None:
    passivity = program(scaled(by_hand(), 0.0)).report.passivity
    assert passivity.factor is None
    assert passivity.active == 0
    assert program(scaled(by_hand(), 0.0), active_leaks="clip").report.passivity == passivity


def norm_block(product: float) -> HopfieldBlock:
    """Two layers with a_1 a_2 |W|^2 as given."""
    config = HopfieldConfig(
        input_shape=(4,), couplings=(DenseCoupling(size=3),), slope=(0.5, 0.8), last_layer="clamped", name="norm"
    )
    block = HopfieldBlock(config).double()
    with torch.no_grad():
        w = block.weights["0"]
        w.mul_(math.sqrt(product / (0.5 * 0.8)) / torch.linalg.matrix_norm(w, 2))
    return block


def test_a_network_of_several_equilibria_is_refused_unless_allowed() -> None:
    assert program(norm_block(0.999)).report.smallest_eigenvalue > 0
    text = (
        r"hopfield block 'norm': the smallest eigenvalue of its unclamped Hessian is -\d\.\d+e?.*, so it may have "
        r"several equilibria, .*; train it with weight decay or a smaller slope, or allow that \(--allow-several"
    )
    with pytest.raises(ProgrammingError, match=text):
        program(norm_block(1.001))
    programmed = program(norm_block(1.001), allow_several_equilibria=True)
    assert programmed.report.smallest_eigenvalue < 0
    assert programmed.report.texts()[-1].endswith(": there may be several equilibria")
    analog = on_circuit(norm_block(1.5), allow_several_equilibria=True, diode=SHARP)
    low = analog(torch.full((1, 4), -9.0, dtype=torch.float64))  # with all units at their limits there is one
    assert float(low.detach().abs().max()) < 0.01
    # Clipped to be passive it has one: with passive leaks the energy is convex.
    assert program(norm_block(1.5), active_leaks="clip").report.smallest_eigenvalue > 0


def inner_input(block: HopfieldBlock) -> torch.Tensor:
    """An input at which every unit of two layers is well inside its box, by hand: s^1 first, then what drives it."""
    (w,), (_, b) = block.parameter_tensors()
    s1 = torch.tensor([[0.4, 0.6], [0.7, 0.3]], dtype=w.dtype)
    return (s1 / 0.5 - (s1 @ w.T + b) @ w).detach()


def test_rescaling_leaves_the_states_alone() -> None:
    block, x = by_hand(), inner_input(by_hand())
    ample, tight = {"g_min_s": 1e-7, "g_max_s": 2e-4}, {"g_min_s": 2e-7, "g_max_s": 3e-5}
    found = [circuit_states(on_circuit(block, diode=SHARP, **window), x) for window in (ample, tight)]
    assert worst(found[0], network_states(block, x)[0]) < 1e-9  # no unit clamps
    assert worst(found[1], found[0]) < 1e-9
    fit = program(block, **tight).report.window
    assert (fit.outside, fit.clipped, fit.raised) == (3, 0, 0)  # 0.5, 0.3 and 0.8 of 0.298
    assert fit.scale == pytest.approx(0.298 / 0.8, rel=2e-6)
    assert fit.g_unit_s == fit.scale * 1e-4
    programmed = program(block, **tight)
    w, floor = np.array([[0.5, 0.3], [-0.25, 0.8]]), 2e-7 / fit.g_unit_s
    np.testing.assert_allclose(programmed.plus["w2"] - programmed.minus["w2"], w, atol=1e-15)
    np.testing.assert_allclose(np.minimum(programmed.plus["w2"], programmed.minus["w2"]), floor, rtol=1e-15)
    assert programmed.block.window == (floor, pytest.approx(0.8 + floor, rel=2e-6))


def test_rescaling_leaves_clamped_states_where_they_are() -> None:
    # The clamps' reference current scales along with all other currents.
    block, x = convex(CHAIN)
    ample, tight = (circuit_states(on_circuit(block, diode=SHARP, g_max_s=g), x) for g in (2e-4, 7e-7))
    assert program(block, g_max_s=7e-7).report.window.scale == pytest.approx(0.01, rel=0.2)
    assert worst(tight, ample) < 1e-8


def test_clipping_weights_is_counted() -> None:
    programmed = program(by_hand(), g_min_s=1e-6, g_max_s=6.1e-5, out_of_window="clip")
    fit = programmed.report.window
    assert (fit.weights, fit.outside, fit.clipped, fit.scale) == (6, 1, 1, 1)
    assert fit.largest_change_s == pytest.approx(0.2e-4)
    w = programmed.plus["w2"] - programmed.minus["w2"]
    np.testing.assert_allclose(w, [[0.5, 0.3], [-0.25, 0.6]], atol=1e-15)
    # The leak is that of the weights as they are now, and so is the eigenvalue.
    np.testing.assert_allclose(programmed.block.layers[1].leaks_s, [0.09e-4, -0.16e-4], rtol=1e-12)
    clipped = by_hand()
    with torch.no_grad():
        clipped.weights["0"].clamp_(max=0.6)
    assert programmed.report.smallest_eigenvalue == pytest.approx(clipped.smallest_eigenvalue(), abs=1e-14)


def test_weights_outside_the_window_are_refused_with_the_numbers() -> None:
    text = (
        r"hopfield block 'hand': 1 of 6 weights need more than g_max = 6\.1e-05 S, the largest 8\.1e-05 S; widen the "
        r"window, or have them rescaled or clipped \(--window, or window in \[circuit\]\)$"
    )
    with pytest.raises(ProgrammingError, match=text):
        program(by_hand(), g_min_s=1e-6, g_max_s=6.1e-5, out_of_window="refuse")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("room", [0.6, 0.7, 0.9, 0.999, 1.999])
def test_weights_exactly_at_the_edge_are_inside(room: float, dtype: torch.dtype) -> None:
    block = by_hand(dtype)
    with torch.no_grad():
        block.weights["0"].clamp_(-room, room)
        block.weights["0"][0, 0], block.weights["0"][0, 1] = room, -room
    settings = {"g_min_s": 1e-7, "g_max_s": room * 1e-4 + 1e-7}
    programmed = program(block, **settings, out_of_window="refuse", allow_several_equilibria=True)
    assert programmed.report.window.outside == 0
    analog = on_circuit(block, **settings, allow_several_equilibria=True)
    assert analog.report.window.scale == 1
    assert len(analog.conductances()) > 0  # or it raises
    assert float(analog.g_plus["w2"].detach().max()) * 1e-4 == pytest.approx(settings["g_max_s"], rel=1e-6)


@pytest.mark.parametrize("window", [(1e-7, 2e-4), (3e-6, 1.23e-5), (7.77e-8, 9.9e-7)])
def test_float32_weights_stay_inside_the_window(window: tuple[float, float]) -> None:
    for config in (CHAIN, IMAGE):
        block = convex(config)[0].float()
        analog = on_circuit(block, g_min_s=window[0], g_max_s=window[1])
        low, high = (torch.tensor(edge, dtype=torch.float32) for edge in analog.block.window)
        for name, p in analog.named_parameters():
            assert p.dtype == torch.float32, name
            assert low <= p.min() <= p.max() <= high, name
        analog.conductances()  # or it raises
        weights = {f"w{k + 2}": w for k, w in enumerate(block.parameter_tensors().weights)}
        for name, w in weights.items():
            found = (analog.g_plus[name] - analog.g_minus[name]).detach()
            wanted = w.detach() if w.ndim == 4 else w.detach().T
            torch.testing.assert_close(found, wanted, rtol=0, atol=2e-7 * float(high))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_leaks_make_up_for_devices_as_they_are_held(dtype: torch.dtype) -> None:
    for config in (CHAIN, IMAGE):
        analog = on_circuit(convex(config)[0].to(dtype), g_min_s=3e-6)
        pairs = {name: (g + analog.g_minus[name].double()).detach().numpy() for name, g in analog.g_plus.items()}
        loads = unit_loads(analog.block, pairs)
        for layer, load, slope in zip(analog.block.layers, loads, config.slopes, strict=True):
            np.testing.assert_allclose(layer.leaks_s / analog.block.g_unit_s + load, 1 / slope, rtol=1e-12)


@pytest.mark.parametrize(("name", "text"), [("weights", "weights of layer 3"), ("biases", "biases of layer 2")])
@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_weights_that_are_no_numbers_are_refused_by_layer(name: str, text: str, value: float) -> None:
    block, _ = convex(CHAIN)
    with torch.no_grad():
        getattr(block, name)["1"].flatten()[3] = value
    with pytest.raises(ProgrammingError, match=rf"hopfield block 'chain': {text} hold {value}; train it anew, or take"):
        program(block)
