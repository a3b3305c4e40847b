"""Clamp diodes: the nonlinearity of a node layer, a box with the softness of a real junction."""

from dataclasses import dataclass, field
from typing import final

import numpy as np

from .diode import K_OVER_Q_V_PER_K, DiodeModel
from .errors import CircuitError


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Clamp:
    """Two diodes a node that hold it between two voltages.

    The rails are set so that the node sits exactly at its limit when the diode carries the reference current.

    Args:
        low_v: V — lower limit of a p node (an n node gets [-high_v, -low_v]).
        high_v: V — upper limit.
        diode: the diodes' model.
        reference_current_a: A — clamp current expected; the overshoot is n V_t ln(I / I_ref).
    """

    low_v: float
    high_v: float
    diode: DiodeModel = field(default_factory=DiodeModel)
    reference_current_a: float = 1e-5

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low_v) and np.isfinite(self.high_v) and self.low_v < self.high_v):
            raise CircuitError(f"clamp: low_v = {self.low_v!r} must lie below high_v = {self.high_v!r}")
        if not (np.isfinite(self.reference_current_a) and self.reference_current_a > 0):
            raise CircuitError(f"clamp: reference_current_a = {self.reference_current_a!r}; give a value above zero")

    def rails_v(self, temperature_k: float, k_over_q_v_per_k: float = K_OVER_Q_V_PER_K) -> tuple[float, float]:
        """Return the rail voltages of the lower and the upper diode.

        Equation: upper rail = V_hi - n V_t ln(1 + I_ref / I_s) - R_s I_ref; lower rail = V_lo + the same drop.

        Args:
            temperature_k: K.
            k_over_q_v_per_k: V/K.

        Returns:
            lower and upper rail in V.
        """
        drop = self.diode.forward_voltage_v(self.reference_current_a, temperature_k, k_over_q_v_per_k)
        return self.low_v + drop, self.high_v - drop
