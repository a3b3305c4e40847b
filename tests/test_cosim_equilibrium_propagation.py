"""Equilibrium propagation against implicit differentiation and finite differences: direction, size, order in beta."""

from __future__ import annotations

import numpy as np
import pytest
from analog_blocks import (
    KIND_IDS,
    KINDS,
    analog,
    check_slopes,
    cosine,
    differences,
    draw_block,
    gradients,
    norm_ratio,
    relative_error,
)
from random_blocks import clamped_share, random_block

from circuits import Drive, Polarity
from cosim.analog_block import AnalogBlock, Gradient
from cosim.equilibrium_propagation import conductance_gradients, input_gradient, response
from cosim.phase_settings import NudgeScaling, Nudging, PhaseSettings
from cosim.relaxation import Reduce, RelaxationOptions

kinds = pytest.mark.parametrize(("polarity", "drive", "n_layers"), KINDS, ids=KIND_IDS)


def check_three_ways(block: AnalogBlock, x: np.ndarray) -> None:
    """EP, implicit and finite differences agree in direction and in size, for every tensor by itself."""
    implicit = gradients(block.configured(gradient=Gradient.IMPLICIT), x)
    nudged = gradients(block, x)
    assert set(nudged) == set(implicit) == {"input", *dict(block.named_parameters())}
    measured = differences(block, x)
    check_slopes(implicit, measured, 1e-6)
    check_slopes(nudged, measured, 5e-5)
    for name, reference in implicit.items():
        assert cosine(nudged[name], reference) > 1 - 1e-9, name
        assert norm_ratio(nudged[name], reference) == pytest.approx(1.0, abs=5e-5), name


@kinds
def test_three_ways_agree(polarity: Polarity, drive: Drive, n_layers: int) -> None:
    drawn = draw_block(100 + n_layers, polarity, drive, n_layers)
    block = analog(drawn, settings=PhaseSettings(beta=1e-3))
    check_three_ways(block, drawn.x)
    assert clamped_share(drawn, block.free_phase(block.g_plus["b1"].new_tensor(drawn.x)).point.voltage_v) > 0.1


@pytest.mark.parametrize(
    ("polarity", "drive"), [(Polarity.DIFFERENTIAL, Drive.VOLTAGE), (Polarity.SINGLE, Drive.CURRENT)]
)
@pytest.mark.parametrize(("n_layers", "output_layers"), [(2, (0,)), (2, (0, -1)), (3, (2, 1))])
def test_three_ways_agree_for_other_output_layers(
    polarity: Polarity, drive: Drive, n_layers: int, output_layers: tuple[int, ...]
) -> None:
    drawn = draw_block(7, polarity, drive, n_layers, output_layers=output_layers)
    check_three_ways(analog(drawn, settings=PhaseSettings(beta=1e-3)), drawn.x)


@pytest.mark.parametrize("drive", Drive)
@pytest.mark.parametrize("polarity", Polarity)
def test_three_ways_agree_without_bias_and_in_other_units(polarity: Polarity, drive: Drive) -> None:
    units = {"v_unit_v": 0.5, "g_unit_s": 2e-5, "g_min_s": 1e-6, "g_max_s": 4e-5}
    drawn = draw_block(3, polarity, drive, 2, bias=False, **units)
    check_three_ways(analog(drawn, settings=PhaseSettings(beta=1e-3)), drawn.x)


@pytest.mark.parametrize("reduce", Reduce)
@pytest.mark.parametrize("drive", Drive)
def test_reductions_leave_the_gradient_alone(drive: Drive, reduce: Reduce) -> None:
    drawn = draw_block(11, Polarity.DIFFERENTIAL, drive, 2)
    reference = gradients(analog(drawn, gradient=Gradient.IMPLICIT), drawn.x)
    options = RelaxationOptions(reduce=reduce)
    for gradient, limit in ((Gradient.IMPLICIT, 1e-9), (Gradient.EP, 1e-4)):
        block = analog(drawn, gradient=gradient, relaxation=options, settings=PhaseSettings(beta=1e-3))
        assert relative_error(gradients(block, drawn.x), reference) < limit


@pytest.mark.parametrize("scaling", NudgeScaling)
@pytest.mark.parametrize(("nudging", "order"), [("centered", 2), ("positive", 1), ("negative", 1)])
@pytest.mark.parametrize("polarity", Polarity)
def test_error_falls_with_the_right_power_of_beta(
    polarity: Polarity, nudging: str, order: int, scaling: NudgeScaling
) -> None:
    drawn = random_block(5, sizes=(6, 4), n_inputs=5, polarity=polarity, batch=6)
    block = analog(drawn, gradient=Gradient.IMPLICIT)
    reference = gradients(block, drawn.x)
    betas = 4e-3 * 0.4 ** np.arange(4) / (1.0 if scaling is NudgeScaling.PER_SAMPLE else 4.0)
    errors = []
    for beta in betas:
        settings = PhaseSettings(beta=float(beta), nudging=Nudging(nudging), scaling=scaling)
        errors.append(
            relative_error(gradients(block.configured(gradient=Gradient.EP, settings=settings), drawn.x), reference)
        )
    slope = np.polyfit(np.log(betas), np.log(errors), 1)[0]
    assert slope == pytest.approx(order, abs=0.1)
    assert errors[0] < 0.1  # in the regime that the power is about
    assert clamped_share(drawn, block.free_phase(block.g_plus["b1"].new_tensor(drawn.x)).point.voltage_v) > 0.2


def test_formulas_on_a_single_weight_by_hand() -> None:
    # One current-driven unit with a leak a: s = x / a. Nudged by beta ds it is (x - beta ds) / a, linear in beta, so
    # dL/dx = ds / a and dL/da = -ds s / a for any beta. The leak here is the weight to a unit that a bias holds at 0.
    drawn = random_block(0, sizes=(1,), polarity=Polarity.SINGLE, drive=Drive.CURRENT, clamped=False, batch=1)
    circuit, unit = drawn.built, int(drawn.built.layers[0].p[0])
    b, leak = float(drawn.plus["b1"][0, 0]), 2e-6 / 1e-4
    x, ds, beta = 0.6, 0.3, 0.5

    def voltages(nudge: float) -> np.ndarray:
        v = np.zeros((1, circuit.circuit.n_nodes))
        v[0, circuit.circuit.nodes.index("bias")] = 1.0
        v[0, unit] = (x - nudge + b) / (b + leak)
        return v

    r = response(voltages(-beta * ds), voltages(beta * ds), -beta, beta, np.ones(1))
    assert r.mean_v[0, unit] == pytest.approx((x + b) / (b + leak))
    assert r.response_v[0, unit] == pytest.approx(-ds / (b + leak))
    assert input_gradient(circuit, drawn.conductance_s, r)[0, 0] == pytest.approx(ds / (b + leak))
    (found, none) = conductance_gradients(circuit, r)["b1"]
    assert none is None
    s = (x + b) / (b + leak)
    assert found[0, 0] == pytest.approx(ds * (1.0 - s) / (b + leak))
    # The scale of the nudge multiplies the response and leaves the mean.
    scaled = response(voltages(-beta * ds), voltages(beta * ds), -beta, beta, np.full(1, 3.0))
    np.testing.assert_allclose(scaled.response_v, 3 * r.response_v)
    np.testing.assert_array_equal(scaled.mean_v, r.mean_v)
