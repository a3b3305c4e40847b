"""A trained circuit moved into a window: by one scale, by raised pairs, and by clipping where neither will do."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from analog_blocks import analog
from hypothesis import given, settings
from hypothesis import strategies as st
from random_blocks import RandomBlock, draw_weights, random_block, random_convolution

from circuits import Convolution, Drive, EnergyBlock, NodeLayer, Polarity
from circuits.arrays import Floats
from cosim.analog_block import AnalogBlock
from cosim.programming.analog import program_analog
from cosim.programming.errors import ProgrammingError
from cosim.programming.programmed import ProgrammedBlock
from cosim.programming.settings import ProgrammingSettings
from cosim.simulators.newton import NewtonSimulator

drives = pytest.mark.parametrize("drive", Drive)
polarities = pytest.mark.parametrize("polarity", Polarity)

# Conductances of the drawn blocks are 1e-7 to 1e-4 S.
RESCALED = {"g_min_s": 1e-10, "g_max_s": 2e-5}
RAISED = {"g_min_s": 8e-6, "g_max_s": 2e-4}
BOTH = {"g_min_s": 3e-6, "g_max_s": 2e-5}
WINDOWS = {"rescaled": RESCALED, "raised": RAISED, "both": BOTH}


def program(block: AnalogBlock, **values) -> ProgrammedBlock:
    return program_analog(block, ProgrammingSettings(**values))


def moved(block: AnalogBlock, **values) -> AnalogBlock:
    return AnalogBlock.from_digital(block, simulator=NewtonSimulator(), programming=ProgrammingSettings(**values))


def voltages(block: AnalogBlock, x: Floats) -> Floats:
    """Voltages of every unit."""
    block.free_phase(torch.from_numpy(x))
    return np.concatenate(block.last_voltages(), axis=1)


def with_leaks(drawn: RandomBlock, seed: int = 0) -> RandomBlock:
    """Return the block without clamps and with a leak a unit, some of them zero."""
    rng, block = np.random.default_rng(seed), drawn.built.block
    layers = []
    for layer in block.layers:
        leaks = rng.uniform(1e-6, 4e-5, layer.size)
        leaks[0] = 0.0
        layers.append(replace(layer, clamp=None, leak_s=tuple(leaks)))
    return draw_weights(replace(block, layers=tuple(layers)), rng, batch=3, clamped=False)


def linear(drive: Drive) -> dict[str, RandomBlock]:
    """Blocks without clamps."""
    convolution = Convolution(input_shape=(2, 3, 4), channels=2, kernel=3, padding=1)
    dense = random_block(1, drive=drive, sizes=(5, 4, 3), clamped=False)
    return {
        "dense": dense,
        "leak a unit": with_leaks(dense),
        "no leak": random_block(2, drive=drive, leak_s=0.0, clamped=False),
        "convolved": random_convolution(3, convolution, drive=drive, clamped=False),
    }


@pytest.mark.parametrize("window", WINDOWS)
@drives
def test_a_linear_block_keeps_its_voltages(drive: Drive, window: str) -> None:
    for name, drawn in linear(drive).items():
        block = analog(drawn)
        programmed = program(block, **WINDOWS[window])
        fit = programmed.report.window
        assert (fit.scale < 1, fit.raised > 0) == (window != "raised", window != "rescaled"), name
        assert fit.clipped == 0
        after = moved(block, **WINDOWS[window])
        assert after.block == programmed.block
        found, wanted = voltages(after, drawn.x), voltages(block, drawn.x)
        assert np.abs(wanted).max() > 0.1
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-9, err_msg=name)
        if window == "raised":  # made up for by leaks, and not without
            bare = AnalogBlock(replace(after.block, layers=block.block.layers), simulator=NewtonSimulator()).double()
            bare.load_conductances(programmed.plus, programmed.minus)
            assert np.abs(voltages(bare, drawn.x) - wanted).max() > 1e-3, name


@pytest.mark.parametrize("window", WINDOWS)
@drives
def test_a_clamped_block_keeps_its_voltages_but_for_reverse_currents(drive: Drive, window: str) -> None:
    # I_ref scales along, so the rails move with the currents; I_s = 1e-14 A and gmin stay, 1e-9 of the currents here.
    drawn = random_block(4, drive=drive, sizes=(5, 4))
    block = analog(drawn)
    after = moved(block, **WINDOWS[window])
    wanted = voltages(block, drawn.x)
    assert block.clamped_share > 0.1
    np.testing.assert_allclose(voltages(after, drawn.x), wanted, rtol=0, atol=1e-8)
    scale = after.report.window.scale
    for layer, before in zip(after.block.layers, block.block.layers, strict=True):
        assert layer.clamp.reference_current_a == pytest.approx(before.clamp.reference_current_a * scale)
        assert replace(layer.clamp, reference_current_a=1.0) == replace(before.clamp, reference_current_a=1.0)


def by_hand(polarity: Polarity = Polarity.DIFFERENTIAL) -> AnalogBlock:
    """A unit on two inputs: G+ = (0.5, 0.04), G- = (0.02, 0.9) of 1e-4 S, leak 5e-5 S."""
    block = EnergyBlock(name="hand", n_inputs=2, layers=(NodeLayer(size=1, leak_s=5e-5),), polarity=polarity)
    made = AnalogBlock(block, simulator=NewtonSimulator()).double()
    minus = {"w1": np.array([[0.02], [0.9]])} if polarity is Polarity.DIFFERENTIAL else {}
    made.load_conductances({"w1": np.array([[0.5], [0.04]])}, minus)
    return made


def test_raised_pairs_by_hand() -> None:
    # g_min = 0.05: pairs are raised by 0.03 and 0.01, which loads the unit with 0.08 more; its leak was 0.5.
    programmed = program(by_hand(), g_min_s=5e-6)
    np.testing.assert_allclose(programmed.plus["w1"], [[0.53], [0.05]], rtol=1e-12)
    np.testing.assert_allclose(programmed.minus["w1"], [[0.05], [0.91]], rtol=1e-12)
    (layer,) = programmed.block.layers
    assert layer.leak_s == (pytest.approx(0.42e-4),)
    assert programmed.block.window == (pytest.approx(0.05), pytest.approx(2.0))
    assert programmed.block.g_unit_s == 1e-4
    fit, passivity = programmed.report.window, programmed.report.passivity
    assert (fit.weights, fit.outside, fit.raised, fit.clipped, fit.scale) == (2, 2, 2, 0, 1)
    assert (passivity.units, passivity.active, passivity.factor) == (1, 0, None)
    assert passivity.own_s == pytest.approx(5e-5)
    assert passivity.lowest_s == pytest.approx(4.2e-5)


def test_a_scale_by_hand() -> None:
    programmed = program(by_hand(), g_min_s=1e-9, g_max_s=4.5e-5)  # the largest, 9e-5 S, halves
    fit = programmed.report.window
    assert (fit.outside, fit.raised, fit.clipped) == (2, 0, 0)  # 0.5 and 0.9 of 0.45
    assert fit.scale == pytest.approx(0.5, rel=2e-6)
    assert fit.g_unit_s == programmed.block.g_unit_s == pytest.approx(0.5e-4, rel=2e-6)
    assert programmed.block.layers[0].leak_s == pytest.approx(2.5e-5, rel=2e-6)
    np.testing.assert_array_equal(programmed.plus["w1"], [[0.5], [0.04]])  # in units of g_unit
    assert programmed.report.passivity is None


def test_raising_may_need_a_smaller_scale() -> None:
    # All fit below g_max, but G- - G+ = 0.86 does not fit between 0.2 and 1: the room is 0.8.
    programmed = program(by_hand(), g_min_s=2e-5, g_max_s=1e-4)
    fit = programmed.report.window
    assert fit.scale == pytest.approx(0.8 / 0.86, rel=2e-6)
    assert (fit.outside, fit.raised, fit.clipped) == (2, 2, 0)
    low, high = programmed.block.window
    assert low == pytest.approx(0.2 * 0.86 / 0.8, rel=2e-6)
    np.testing.assert_allclose(programmed.plus["w1"] - programmed.minus["w1"], [[0.48], [-0.86]], rtol=1e-12)
    np.testing.assert_allclose(programmed.plus["w1"][1], low, rtol=1e-12)
    np.testing.assert_allclose(programmed.minus["w1"][1], high, rtol=2e-6)
    x = np.array([[1.0, -0.5]])
    np.testing.assert_allclose(voltages(moved(by_hand(), g_min_s=2e-5, g_max_s=1e-4), x), voltages(by_hand(), x))


def test_a_weight_at_g_max_stays_at_g_max_when_others_are_raised() -> None:
    block = by_hand()
    with torch.no_grad():
        block.g_plus["w1"][0], block.g_minus["w1"][0] = 2.0, 0.1  # at g_max, where training puts it
    fit = program(block, g_min_s=5e-6).report.window
    assert (fit.outside, fit.raised, fit.scale, fit.g_unit_s) == (1, 1, 1, 1e-4)
    assert "times" not in fit.text()


def test_clipping_by_hand() -> None:
    programmed = program(by_hand(), g_min_s=5e-6, g_max_s=6e-5, out_of_window="clip")
    np.testing.assert_allclose(programmed.plus["w1"], [[0.5], [0.05]], rtol=1e-12)
    np.testing.assert_allclose(programmed.minus["w1"], [[0.05], [0.6]], rtol=1e-12)
    fit = programmed.report.window  # from 0.48 to 0.45 and from -0.86 to -0.55
    assert (fit.outside, fit.clipped, fit.raised, fit.scale) == (2, 2, 0, 1)
    assert fit.largest_change_s == pytest.approx(0.31e-4)
    assert programmed.block.layers == by_hand().block.layers
    assert programmed.report.passivity is None


def test_a_weight_of_zero_below_the_window_is_clipped_too() -> None:
    block = by_hand()
    with torch.no_grad():
        block.g_plus["w1"][0] = 0.02  # like its G-: both move, and load the unit, but the weight stays
    programmed = program(block, g_min_s=3e-6, out_of_window="clip")
    np.testing.assert_allclose(programmed.plus["w1"][0], programmed.minus["w1"][0])
    fit = programmed.report.window
    assert (fit.outside, fit.clipped, fit.largest_change_s) == (1, 1, 0)


def test_refusing_says_how_many() -> None:
    text = (
        r"^block 'hand': 2 of 2 weights have a device outside 5e-06 to 0\.0002 S; widen the window, or rescale or clip$"
    )
    with pytest.raises(ProgrammingError, match=text):
        program(by_hand(), g_min_s=5e-6, out_of_window="refuse")
    assert program(by_hand(), g_min_s=2e-6, g_max_s=9e-5, out_of_window="refuse").report.window.outside == 0


def test_a_single_device_below_g_min_is_clipped_and_counted() -> None:
    block = by_hand(Polarity.SINGLE)
    programmed = program(block, g_min_s=5e-6)
    np.testing.assert_allclose(programmed.plus["w1"], [[0.5], [0.05]], rtol=1e-12)
    assert programmed.minus == {}
    fit = programmed.report.window
    assert (fit.outside, fit.raised, fit.clipped, fit.scale) == (1, 0, 1, 1)
    assert fit.largest_change_s == pytest.approx(1e-6)
    assert programmed.block.layers == block.block.layers
    both = program(block, g_min_s=5e-6, g_max_s=2.5e-5)  # 0.04 halves to 2e-6 S
    assert both.report.window.scale == pytest.approx(0.5, rel=2e-6)
    assert both.report.window.clipped == 1
    assert both.report.window.largest_change_s == pytest.approx(3e-6, rel=1e-4)
    np.testing.assert_allclose(both.plus["w1"] * both.block.g_unit_s, [[2.5e-5], [5e-6]], rtol=2e-6)


@drives
def test_a_single_polarity_block_is_rescaled(drive: Drive) -> None:
    drawn = random_block(5, polarity=Polarity.SINGLE, drive=drive, clamped=False)
    block = analog(drawn)
    after = moved(block, **RESCALED)
    assert after.report.window.clipped == after.report.window.raised == 0
    np.testing.assert_allclose(voltages(after, drawn.x), voltages(block, drawn.x), rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("out_of_window", ["rescale", "clip", "refuse"])
@polarities
def test_without_a_window_the_block_is_as_it_is(polarity: Polarity, out_of_window: str, dtype: torch.dtype) -> None:
    drawn = random_block(6, polarity=polarity, g_min_s=1e-6)
    block = AnalogBlock(drawn.built.block, simulator=NewtonSimulator(), generator=torch.Generator().manual_seed(0))
    block = block.to(dtype)  # float32 rounds 0.01 to less than that
    programmed = program(block, out_of_window=out_of_window, active_leaks="refuse")
    assert programmed.block == block.block
    for group, parameters in ((programmed.plus, block.g_plus), (programmed.minus, block.g_minus)):
        assert set(group) == set(parameters)
        for name, g in group.items():
            assert np.array_equal(g, parameters[name].detach().double().numpy()), name
    fit = programmed.report.window
    assert (fit.outside, fit.raised, fit.clipped, fit.scale) == (0, 0, 0, 1)
    assert (fit.g_min_s, fit.g_max_s, fit.g_unit_s) == (1e-6, 2e-4, 1e-4)
    assert programmed.report.passivity is None
    assert programmed.report.smallest_eigenvalue is None


def test_a_window_that_is_wide_enough_only_widens() -> None:
    block = by_hand()
    programmed = program(block, g_min_s=1e-8, g_max_s=1e-3, out_of_window="refuse")
    assert programmed.block == replace(block.block, g_min_s=1e-8, g_max_s=1e-3)
    np.testing.assert_array_equal(programmed.plus["w1"], [[0.5], [0.04]])


def test_active_leaks_that_result_are_reported_and_refused() -> None:
    # Raised by 0.38 and 0.36 the pairs load the unit with 1.48 more, its leak is 0.5.
    programmed = program(by_hand(), g_min_s=4e-5)
    passivity = programmed.report.passivity
    assert (passivity.active, passivity.units) == (1, 1)
    assert passivity.lowest_s == pytest.approx(-0.98e-4)
    assert programmed.block.layers[0].leak_s == (pytest.approx(-0.98e-4),)
    x = np.array([[1.0, -0.5]])
    np.testing.assert_allclose(voltages(moved(by_hand(), g_min_s=4e-5), x), voltages(by_hand(), x), atol=1e-9)
    text = (
        r"^block 'hand': 1 of 1 units need an active leak \(layer 1: 1\), the largest -9\.8e-05 S where the unit's own "
        r"is 5e-05 S, once pairs are raised to g_min; allow active leaks, widen the window, or clip \(--window clip\)$"
    )
    for choice in ("refuse", "clip"):
        with pytest.raises(ProgrammingError, match=text):
            program(by_hand(), g_min_s=4e-5, active_leaks=choice)
    allowed = program(by_hand(), g_min_s=4e-5, active_leaks="refuse", out_of_window="clip")
    assert allowed.report.window.clipped == 2


def test_active_leaks_that_a_block_has_already_are_refused_too() -> None:
    layers = (NodeLayer(size=2, leak_s=(-1e-6, 5e-5)),)
    block = AnalogBlock(EnergyBlock(name="active", n_inputs=2, layers=layers), simulator=NewtonSimulator())
    programmed = program(block)
    assert programmed.block == block.block
    # Said all the same, with the eigenvalue: the Hessian of one layer is its diagonal, leaks and loads.
    assert programmed.report.passivity.active == 1
    loads = (block.g_plus["w1"].double() + block.g_minus["w1"].double()).detach().sum(dim=0).numpy()
    assert programmed.report.smallest_eigenvalue == pytest.approx((loads + np.array([-0.01, 0.5])).min(), rel=1e-12)
    text = (
        r"^block 'active': 1 of 2 units need an active leak \(layer 1: 1\), the largest -1e-06 S; the weights of a "
        r"circuit are not shrunk: allow active leaks, or program the hopfield stage that it comes from without any"
    )
    with pytest.raises(ProgrammingError, match=text):
        program(block, active_leaks="refuse")


@pytest.mark.parametrize("group", ["g_plus", "g_minus"])
def test_weights_that_are_no_numbers_are_refused_by_crossbar(group: str) -> None:
    drawn = random_block(7)
    block = analog(drawn)
    with torch.no_grad():
        getattr(block, group)["b2"][0, 1] = math.nan
    with pytest.raises(ProgrammingError, match=r"block 'random': weights of crossbar b2 hold nan; train it anew, or"):
        program(block)


def test_a_window_upside_down_with_the_blocks_own_edge_is_refused() -> None:
    with pytest.raises(ProgrammingError, match=r"window upside down: g_min_s = 0\.0003, g_max_s = 0\.0002"):
        program(by_hand(), g_min_s=3e-4)


def test_a_block_without_crossbars_moves_too() -> None:
    block = EnergyBlock(name="bare", n_inputs=2, layers=(NodeLayer(size=2, leak_s=1e-5),), drive=Drive.CURRENT)
    programmed = program(AnalogBlock(block, simulator=NewtonSimulator()), g_min_s=1e-6, g_max_s=1e-5)
    assert programmed.block == replace(block, g_min_s=1e-6, g_max_s=1e-5)
    assert programmed.plus == programmed.minus == {}


@settings(max_examples=60)
@given(
    seed=st.integers(0, 3),
    polarity=st.sampled_from(Polarity),
    drive=st.sampled_from(Drive),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    low=st.floats(-8, -4.5),
    decades=st.floats(0.1, 4),
)
def test_any_window_holds_the_conductances_and_keeps_the_weights(
    seed: int, polarity: Polarity, drive: Drive, dtype: torch.dtype, low: float, decades: float
) -> None:
    drawn = random_block(seed, polarity=polarity, drive=drive, sizes=(4, 3), n_inputs=4, clamped=False)
    block = analog(drawn).to(dtype)
    g_min_s = 10.0**low
    after = moved(block, g_min_s=g_min_s, g_max_s=g_min_s * 10.0**decades)
    assert after.block.g_unit_s <= block.block.g_unit_s
    edges = torch.tensor(after.block.window, dtype=dtype)
    for p in after.parameters():
        assert p.dtype == dtype
        assert edges[0] <= p.min() <= p.max() <= edges[1]
    after.conductances()  # or it raises
    if polarity is Polarity.SINGLE:
        return
    rounding = 2 * float(torch.finfo(dtype).eps * edges[1])
    for name, g in block.g_plus.items():
        w, wanted = after.g_plus[name] - after.g_minus[name], g - block.g_minus[name]
        torch.testing.assert_close(w.detach(), wanted.detach(), rtol=0, atol=rounding)
    assert after.report.window.clipped == 0
    if dtype == torch.float64:
        np.testing.assert_allclose(voltages(after, drawn.x), voltages(block, drawn.x), rtol=0, atol=1e-9)
