"""The diode: ngspice's level-1 DC law, its derivative and its co-content.

Two simulators are compared to 1e-8 V, so this copies ngspice to the last branch: temperature scaling, the
cubic reverse region, gmin across the junction and the series resistance. The junction functions take an array
namespace `xp` (numpy or torch), so that both simulators and the Kirchhoff check share one law.
"""

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from .arrays import Floats
from .errors import CircuitError

# Boltzmann's constant over the elementary charge as compiled into ngspice 39 (CODATA 2014); newer versions may
# differ in the seventh digit, so a circuit carries the value and `tellegen doctor` measures it.
K_OVER_Q_V_PER_K = 1.38064852e-23 / 1.6021766208e-19
NOMINAL_TEMPERATURE_K = 300.15


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DiodeModel:
    """Parameters of a level-1 SPICE diode.

    Args:
        saturation_current_a: A — I_s at the nominal temperature 300.15 K.
        emission_coefficient: n.
        series_resistance_ohm: ohm — R_s; zero means no internal node.
        activation_energy_ev: eV — EG of the temperature law.
        saturation_exponent: XTI of the temperature law.

    Raises:
        CircuitError: if a parameter is not finite or has the wrong sign.
    """

    saturation_current_a: float = 1e-14
    emission_coefficient: float = 1.0
    series_resistance_ohm: float = 0.0
    activation_energy_ev: float = 1.11
    saturation_exponent: float = 3.0

    def __post_init__(self) -> None:
        positive = {
            "saturation_current_a": self.saturation_current_a,
            "emission_coefficient": self.emission_coefficient,
            "activation_energy_ev": self.activation_energy_ev,
        }
        for field, value in positive.items():
            if not (np.isfinite(value) and value > 0):
                raise CircuitError(f"diode model: {field} = {value!r}; give a finite number above zero")
        if not (np.isfinite(self.series_resistance_ohm) and self.series_resistance_ohm >= 0):
            raise CircuitError(
                f"diode model: series_resistance_ohm = {self.series_resistance_ohm!r}; give zero or more"
            )
        if not np.isfinite(self.saturation_exponent):
            raise CircuitError(f"diode model: saturation_exponent = {self.saturation_exponent!r} is not finite")

    def thermal_voltage_v(self, temperature_k: float, k_over_q_v_per_k: float = K_OVER_Q_V_PER_K) -> float:
        """Return n k T / q in volts."""
        return self.emission_coefficient * k_over_q_v_per_k * temperature_k

    def saturation_current_at_a(self, temperature_k: float, k_over_q_v_per_k: float = K_OVER_Q_V_PER_K) -> float:
        """Scale I_s to a temperature.

        Equation: I_s(T) = I_s exp[(r - 1) EG / (n V_t) + (XTI / n) ln r], r = T / 300.15 K.
        Source: ngspice diotemp.c, level 1.
        """
        ratio = temperature_k / NOMINAL_TEMPERATURE_K
        n_vt = self.thermal_voltage_v(temperature_k, k_over_q_v_per_k)
        exponent = (ratio - 1) * self.activation_energy_ev / n_vt
        exponent += self.saturation_exponent / self.emission_coefficient * np.log(ratio)
        return float(self.saturation_current_a * np.exp(exponent))

    def forward_voltage_v(
        self, current_a: float, temperature_k: float, k_over_q_v_per_k: float = K_OVER_Q_V_PER_K
    ) -> float:
        """Return the voltage across the diode at a forward current, gmin neglected.

        Equation: n V_t ln(1 + I / I_s(T)) + R_s I.
        """
        n_vt = self.thermal_voltage_v(temperature_k, k_over_q_v_per_k)
        i_s = self.saturation_current_at_a(temperature_k, k_over_q_v_per_k)
        return float(n_vt * np.log1p(current_a / i_s) + self.series_resistance_ohm * current_a)


# The junction law below runs on numpy arrays and torch tensors alike; `Any` is the price of one law for both.


def junction_current(v: Any, i_s: Any, n_vt: Any, gmin_s: float, xp: Any = np) -> tuple[Any, Any]:
    """Return a junction's current and its derivative.

    Equation: v >= -3 n V_t: I = I_s [exp(v / n V_t) - 1] + gmin v; below: I = -I_s [1 + (3 n V_t / (e v))^3] + gmin v.

    Args:
        v: [...] V — junction voltage, anode minus cathode.
        i_s: [...] A — saturation current at the circuit's temperature.
        n_vt: [...] V — n k T / q.
        gmin_s: S — conductance that ngspice puts across every junction.
        xp: array namespace, numpy or torch.

    Returns:
        [...] A current and [...] S conductance dI/dv.

    Source: ngspice dioload.c (level 1, no breakdown, no recombination).
    """
    reverse = v < -3.0 * n_vt
    exponential = xp.exp(xp.where(reverse, xp.zeros_like(v), v) / n_vt)
    v_reverse = xp.where(reverse, v, -3.0 * n_vt + xp.zeros_like(v))
    cube = (3.0 * n_vt / (v_reverse * np.e)) ** 3
    current = xp.where(reverse, -i_s * (1.0 + cube), i_s * (exponential - 1.0)) + gmin_s * v
    conductance = xp.where(reverse, i_s * 3.0 * cube / v_reverse, i_s * exponential / n_vt) + gmin_s
    return current, conductance


def junction_cocontent(v: Floats, i_s: Floats, n_vt: Floats, gmin_s: float) -> Floats:
    """Return the integral of the junction current from 0 to v.

    Equation: I_s [n V_t (exp(v / n V_t) - 1) - v] + gmin v^2 / 2 above -3 n V_t; continued by the cubic law below.

    Args:
        v: [...] V — junction voltage.
        i_s: [...] A — saturation current at temperature.
        n_vt: [...] V.
        gmin_s: S.

    Returns:
        [...] W co-content.
    """
    edge = -3.0 * n_vt
    v_forward = np.maximum(v, edge)
    forward = i_s * (n_vt * np.expm1(v_forward / n_vt) - v_forward)
    v_reverse = np.minimum(v, edge)
    scale = (3.0 * n_vt / np.e) ** 3
    reverse = -i_s * ((v_reverse - edge) - scale / 2 * (v_reverse**-2.0 - edge**-2.0))
    return np.asarray(forward + np.where(v < edge, reverse, 0.0) + gmin_s * v**2 / 2)


def junction_voltage(v: Floats, i_s: Floats, n_vt: Floats, r_s: Floats, gmin_s: float) -> Floats:
    """Return the junction voltage of a diode with series resistance from its terminal voltage.

    Equation: u + R_s I(u) = v, solved by Newton from above, where it converges monotonically because I is convex.
    Above zero u < n V_t ln(1 + v / R_s I_s), below zero u < v + R_s I_s (a leaky diode may drop volts there).

    Args:
        v: [...] V — terminal voltage.
        i_s: [...] A.
        n_vt: [...] V.
        r_s: [...] ohm; where it is zero, u = v.
        gmin_s: S.

    Returns:
        [...] V junction voltage u.
    """
    has_resistance = r_s > 0
    scale = np.where(has_resistance, r_s, 1.0) * i_s
    above = np.where(v > 0, np.minimum(v, n_vt * np.log1p(np.maximum(v, 0.0) / scale)), np.minimum(v + scale, 0.0))
    u = np.where(has_resistance, above, v)
    if not np.any(has_resistance):
        return np.asarray(u)
    for _ in range(60):  # monotone: a handful suffices; the bound only guards against non-finite input
        current, conductance = junction_current(u, i_s, n_vt, gmin_s)
        step = (u + r_s * current - v) / (1.0 + r_s * conductance)
        u = u - step
        if not np.any(np.abs(step) > 1e-15 + 1e-15 * np.abs(u)):
            break
    return np.asarray(u)


def limit_junction_step(v_new: Any, v_old: Any, n_vt: Any, v_critical: Any, xp: Any = np) -> tuple[Any, Any]:
    """Limit a Newton step of a junction voltage as SPICE does (pnjlim).

    Equation: for v_new > v_critical and a step above 2 n V_t: v_old + n V_t ln(1 + (v_new - v_old) / n V_t) when
    v_old > 0, else n V_t ln(v_new / n V_t).

    Args:
        v_new: [...] V — voltage that the linear solve asks for.
        v_old: [...] V — voltage at which the junction was last linearised.
        n_vt: [...] V.
        v_critical: [...] V — n V_t ln(n V_t / (sqrt(2) I_s)).
        xp: array namespace, numpy or torch.

    Returns:
        [...] V limited voltage, and a boolean mask of the limited junctions.

    Source: Nagel, SPICE2 (ERL-M520), pnjlim.
    """
    limited = (v_new > v_critical) & (xp.abs(v_new - v_old) > 2.0 * n_vt)
    one = xp.ones_like(v_new)
    argument = one + (v_new - v_old) / n_vt
    from_old = xp.where(
        argument > 0,
        v_old + n_vt * xp.log(xp.where(argument > 0, argument, one)),
        v_critical + xp.zeros_like(v_new),
    )
    from_zero = n_vt * xp.log(xp.where(limited, v_new / n_vt, one))
    return xp.where(limited, xp.where(v_old > 0, from_old, from_zero), v_new), limited


def critical_voltage(i_s: Floats, n_vt: Floats) -> Floats:
    """Return SPICE's critical junction voltage n V_t ln(n V_t / (sqrt(2) I_s))."""
    return np.asarray(n_vt * np.log(n_vt / (np.sqrt(2.0) * i_s)))
