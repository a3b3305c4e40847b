"""The diode's law: current, conductance and co-content belong together, in both regions and with series resistance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuits import CircuitError, DiodeModel
from circuits.diode import (
    K_OVER_Q_V_PER_K,
    NOMINAL_TEMPERATURE_K,
    critical_voltage,
    junction_cocontent,
    junction_current,
    junction_voltage,
    limit_junction_step,
)

GMIN_S = 1e-15
MODELS = (
    DiodeModel(saturation_current_a=1e-14),
    DiodeModel(saturation_current_a=1e-6),
    DiodeModel(saturation_current_a=1e-12, emission_coefficient=1.7),
    DiodeModel(saturation_current_a=1e-14, emission_coefficient=0.04),
)
models = pytest.mark.parametrize("model", MODELS, ids=["1e-14", "1e-6", "n1.7", "sharp"])
temperatures = pytest.mark.parametrize("temperature_k", [300.15, 350.15])


def law(model: DiodeModel, temperature_k: float) -> tuple[float, float]:
    return model.saturation_current_at_a(temperature_k), model.thermal_voltage_v(temperature_k)


def grid(n_vt: float) -> np.ndarray:
    # Both regions, the edge at -3 n V_t and its neighbourhood; the largest current is I_s e^20.
    return n_vt * np.array([-80, -20, -5, -3.2, -3 - 1e-9, -3, -3 + 1e-9, -2.5, -1, -1e-3, 1e-3, 0.5, 3, 10, 20])


@models
@temperatures
def test_current_is_the_derivative_of_the_cocontent(model: DiodeModel, temperature_k: float) -> None:
    i_s, n_vt = law(model, temperature_k)
    v, h = grid(n_vt), 1e-4 * n_vt
    current, _ = junction_current(v, i_s, n_vt, GMIN_S)
    slope = (junction_cocontent(v + h, i_s, n_vt, GMIN_S) - junction_cocontent(v - h, i_s, n_vt, GMIN_S)) / (2 * h)
    # The central difference is off by h^2 / 6 of the third derivative, 2e-9 of I_s near zero.
    np.testing.assert_allclose(slope, current, rtol=1e-7, atol=4e-9 * i_s)


@models
@temperatures
def test_conductance_is_the_derivative_of_the_current(model: DiodeModel, temperature_k: float) -> None:
    i_s, n_vt = law(model, temperature_k)
    v, h = grid(n_vt), 1e-5 * n_vt
    _, conductance = junction_current(v, i_s, n_vt, GMIN_S)
    above, below = (junction_current(v + sign * h, i_s, n_vt, GMIN_S)[0] for sign in (1, -1))
    # The second derivative jumps at the edge, so there the difference is only first order in h.
    np.testing.assert_allclose((above - below) / (2 * h), conductance, rtol=2e-5, atol=1e-9 * i_s / n_vt)


@models
def test_regions_join_at_minus_three_n_v_t(model: DiodeModel) -> None:
    i_s, n_vt = law(model, 300.15)
    edge = -3 * n_vt
    sides = np.array([np.nextafter(edge, -1), edge])
    (i_below, i_above), (g_below, g_above) = junction_current(sides, i_s, n_vt, GMIN_S)
    # e^-3 on both sides: the cubic law was made to join in value and slope.
    assert i_below == pytest.approx(i_above, rel=1e-12, abs=0)
    assert g_below == pytest.approx(g_above, rel=1e-12, abs=0)
    f_below, f_above = junction_cocontent(sides, i_s, n_vt, GMIN_S)
    assert f_below == pytest.approx(f_above, rel=1e-12, abs=0)


def test_current_by_hand() -> None:
    i_s, n_vt = 1e-6, 0.05
    v = np.array([0.05, 0.0, -0.05, -0.3])
    current, _ = junction_current(v, i_s, n_vt, 0.0)
    cubic = -1e-6 * (1 - (0.15 / (math.e * 0.3)) ** 3)
    np.testing.assert_allclose(current, [1e-6 * (math.e - 1), 0, 1e-6 * (1 / math.e - 1), cubic], rtol=1e-14)
    with_gmin, conductance = junction_current(v, i_s, n_vt, 1e-7)
    np.testing.assert_allclose(with_gmin - current, 1e-7 * v, rtol=1e-9, atol=1e-22)
    assert conductance[1] == pytest.approx(1e-6 / 0.05 + 1e-7, rel=1e-14, abs=0)


def test_cocontent_by_hand() -> None:
    # At zero it is zero; linear region: gmin/2 v^2 on top.
    assert junction_cocontent(np.array([0.0]), 1e-6, 0.05, 1e-7)[0] == 0.0
    value = junction_cocontent(np.array([0.1]), 1e-6, 0.05, 1e-7)[0]
    assert value == pytest.approx(1e-6 * (0.05 * (math.e**2 - 1) - 0.1) + 1e-7 * 0.1**2 / 2, rel=1e-14, abs=0)


def test_temperature_law() -> None:
    model = DiodeModel(saturation_current_a=1e-14, emission_coefficient=2.0, activation_energy_ev=1.2)
    assert model.saturation_current_at_a(NOMINAL_TEMPERATURE_K) == pytest.approx(1e-14, rel=1e-15, abs=0)
    ratio, n_vt = 350.15 / 300.15, 2 * K_OVER_Q_V_PER_K * 350.15
    expected = 1e-14 * math.exp((ratio - 1) * 1.2 / n_vt) * ratio ** (3 / 2)
    assert model.saturation_current_at_a(350.15) == pytest.approx(expected, rel=1e-13, abs=0)
    assert model.thermal_voltage_v(350.15) == pytest.approx(n_vt, rel=1e-15, abs=0)


def test_temperature_law_takes_the_simulators_constant() -> None:
    model = DiodeModel()
    assert model.thermal_voltage_v(300.0, 8.6e-5) == pytest.approx(300.0 * 8.6e-5, rel=1e-15, abs=0)
    assert model.saturation_current_at_a(350.15, 8.6e-5) > model.saturation_current_at_a(350.15, 8.7e-5)


def test_forward_voltage_is_the_inverse_of_the_law() -> None:
    model = DiodeModel(saturation_current_a=1e-12, emission_coefficient=1.5, series_resistance_ohm=100.0)
    i_s, n_vt = law(model, 350.15)
    v = model.forward_voltage_v(1e-4, 350.15)
    current, _ = junction_current(np.array([v - 100.0 * 1e-4]), i_s, n_vt, 0.0)
    assert current[0] == pytest.approx(1e-4, rel=1e-12, abs=0)


@given(
    v=st.floats(-20, 20),
    r_s=st.floats(1e-3, 1e6),
    log_i_s=st.floats(-16, -5),
    n=st.floats(0.04, 2.0),
)
def test_junction_voltage_inverts_the_series_resistance(v: float, r_s: float, log_i_s: float, n: float) -> None:
    i_s, n_vt = np.array([10.0**log_i_s]), np.array([n * K_OVER_Q_V_PER_K * 300.15])
    u = junction_voltage(np.array([v]), i_s, n_vt, np.array([r_s]), GMIN_S)
    current, conductance = junction_current(u, i_s, n_vt, GMIN_S)
    # What one rounding of u (and of v) leaves behind.
    slack = 4e-16 * (1 + r_s * conductance) * (1 + abs(v)) + 1e-15
    assert abs(u + r_s * current - v) <= slack
    assert (u >= 0) == (v >= 0) or abs(u) < 1e-14


def test_junction_voltage_of_a_leaky_diode_in_reverse() -> None:
    # R_s I_s is 2 V, more than the 1 V across it: Newton from the terminal voltage leaps to where exp overflows.
    i_s, n_vt, r_s = np.array([1e-5]), np.array([0.0016]), np.array([2e5])
    u = junction_voltage(np.array([-1.0]), i_s, n_vt, r_s, GMIN_S)
    assert u[0] == pytest.approx(0.0016 * math.log(0.5 + 0.0008), abs=1e-5)
    assert u[0] + 2e5 * junction_current(u, i_s, n_vt, GMIN_S)[0][0] == pytest.approx(-1.0, abs=1e-12, rel=0)


def test_junction_voltage_without_resistance_is_the_terminal_voltage() -> None:
    v = np.array([-3.0, 0.7, 0.2])
    u = junction_voltage(v, np.full(3, 1e-14), np.full(3, 0.0259), np.array([0.0, 0.0, 10.0]), GMIN_S)
    assert u[:2].tolist() == [-3.0, 0.7]
    assert u[2] < 0.2


def test_step_limit_as_in_spice() -> None:
    i_s, n_vt = np.array([1e-14]), np.array([0.025])
    v_critical = critical_voltage(i_s, n_vt)
    assert v_critical[0] == pytest.approx(0.025 * math.log(0.025 / (math.sqrt(2) * 1e-14)), rel=1e-14, abs=0)

    def step(new: float, old: float) -> tuple[float, bool]:
        v, limited = limit_junction_step(np.array([new]), np.array([old]), n_vt, v_critical)
        return float(v[0]), bool(limited[0])

    assert step(0.5, -3.0) == (0.5, False)  # below the critical voltage anything goes
    assert step(0.74, 0.72) == (0.74, False)  # a step below 2 n V_t, too
    assert step(5.0, 0.7) == (pytest.approx(0.7 + 0.025 * math.log(1 + 4.3 / 0.025)), True)
    assert step(5.0, -1.0) == (pytest.approx(0.025 * math.log(5.0 / 0.025)), True)
    # From far above: 1 + step / n V_t is below zero, so SPICE goes back to the critical voltage.
    assert step(0.8, 2.0) == (pytest.approx(v_critical[0]), True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("saturation_current_a", 0.0),
        ("saturation_current_a", math.nan),
        ("emission_coefficient", -1.0),
        ("activation_energy_ev", math.inf),
        ("series_resistance_ohm", -1.0),
        ("saturation_exponent", math.nan),
    ],
)
def test_model_refuses_what_is_no_diode(field: str, value: float) -> None:
    with pytest.raises(CircuitError, match=f"diode model: {field} = "):
        DiodeModel(**{field: value})
