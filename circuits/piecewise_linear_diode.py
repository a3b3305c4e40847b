"""The piecewise-linear diode: a resistance that changes at a threshold. Peers put it where a real junction is.

Temperature does not act on it, and ngspice's gmin is not across it: R_off is all that it leaks. The functions of the
law take an array namespace `xp` (numpy or torch), so that both simulators and the Kirchhoff check share one law.
"""

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from .arrays import Floats
from .errors import CircuitError


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PiecewiseLinearDiode:
    """Parameters of a piecewise-linear diode; as the on-resistance falls it becomes an ideal one.

    Equation: I = max(v / R_off, (v - V_th) / R_on).

    Args:
        threshold_v: V — V_th.
        on_resistance_ohm: ohm — R_on.
        off_resistance_ohm: ohm — R_off.

    Raises:
        CircuitError: if a parameter is not finite or has the wrong sign, or R_off is not above R_on.

    Source: EBANA (github.com/mawatfa/ebana, Watfa et al. 2023), behavioural diode: 0.15 V, 1 ohm, 1e20 ohm.
    """

    threshold_v: float = 0.15
    on_resistance_ohm: float = 1.0
    off_resistance_ohm: float = 1e20

    def __post_init__(self) -> None:
        if not (np.isfinite(self.threshold_v) and self.threshold_v >= 0):
            raise CircuitError(f"piecewise-linear diode: threshold_v = {self.threshold_v!r}; give zero or more")
        for field in ("on_resistance_ohm", "off_resistance_ohm"):
            value = getattr(self, field)
            if not (np.isfinite(value) and value > 0):
                raise CircuitError(f"piecewise-linear diode: {field} = {value!r}; give a finite number above zero")
        if not self.off_resistance_ohm > self.on_resistance_ohm:
            raise CircuitError(
                f"piecewise-linear diode: off_resistance_ohm = {self.off_resistance_ohm:g} must lie above "
                f"on_resistance_ohm = {self.on_resistance_ohm:g}"
            )

    @property
    def bend_v(self) -> float:
        """V — where both branches meet: V_th R_off / (R_off - R_on)."""
        return self.threshold_v / (1.0 - self.on_resistance_ohm / self.off_resistance_ohm)

    def forward_voltage_v(self, current_a: float) -> float:
        """Return the voltage across the diode at a forward current: min(R_off I, V_th + R_on I)."""
        return float(min(self.off_resistance_ohm * current_a, self.threshold_v + self.on_resistance_ohm * current_a))


# As with the junction law, `Any` is the price of one law for numpy and torch.


def piecewise_linear_current(
    v: Any, threshold_v: Any, on_ohm: Any, off_ohm: Any, bend_v: Any, xp: Any = np
) -> tuple[Any, Any]:
    """Return the current of piecewise-linear diodes and its derivative.

    Equation: v > bend: (v - V_th) / R_on; below: v / R_off.

    Args:
        v: [...] V — anode minus cathode.
        threshold_v: [...] V.
        on_ohm: [...] ohm.
        off_ohm: [...] ohm.
        bend_v: [...] V — `PiecewiseLinearDiode.bend_v`.
        xp: array namespace, numpy or torch.

    Returns:
        [...] A current and [...] S conductance dI/dv.
    """
    on = v > bend_v
    current = xp.where(on, (v - threshold_v) / on_ohm, v / off_ohm)
    return current, xp.where(on, 1.0 / on_ohm, 1.0 / off_ohm)


def piecewise_linear_cocontent(
    v: Floats, threshold_v: Floats, on_ohm: Floats, off_ohm: Floats, bend_v: Floats
) -> Floats:
    """Return the integral of the current from 0 to v, [...] W.

    Equation: v^2 / (2 R_off) up to the bend b; above it b^2 / (2 R_off) + [(v - V_th)^2 - (b - V_th)^2] / (2 R_on).
    """
    off_v, on_v = np.minimum(v, bend_v), np.maximum(v, bend_v)
    # (x - a)^2 - (b - a)^2 as a product: near the bend the squares would cancel.
    above = (on_v - bend_v) * (on_v + bend_v - 2.0 * threshold_v)
    return np.asarray(off_v**2 / (2.0 * off_ohm) + above / (2.0 * on_ohm))
