"""Clamp diodes: the nonlinearity of a node layer, a box with the softness of a real junction, or one side of it."""

from dataclasses import dataclass, field
from typing import final

import numpy as np

from .diode import K_OVER_Q_V_PER_K, DiodeModel
from .errors import CircuitError
from .piecewise_linear_diode import PiecewiseLinearDiode


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Clamp:
    """Diodes that hold a node between two voltages, or on one side of one: a diode a limit.

    The rails are set so that the node sits exactly at its limit when the diode carries the reference current.

    Args:
        low_v: V — lower limit of a p node (an n node gets [-high_v, -low_v]); None for no lower limit and no diode.
        high_v: V — upper limit, likewise.
        diode: the diodes' model.
        reference_current_a: A — clamp current expected; the overshoot is n V_t ln(I / I_ref), or R_on (I - I_ref) of
            piecewise-linear diodes.
    """

    low_v: float | None = None
    high_v: float | None = None
    diode: DiodeModel | PiecewiseLinearDiode = field(default_factory=DiodeModel)
    reference_current_a: float = 1e-5

    def __post_init__(self) -> None:
        if self.low_v is None and self.high_v is None:
            raise CircuitError("clamp: neither low_v nor high_v; give one limit or both, or no clamp")
        for name in ("low_v", "high_v"):
            value = getattr(self, name)
            if value is not None and not np.isfinite(value):
                raise CircuitError(f"clamp: {name} = {value!r} is not finite; give a voltage, or None for no limit")
        if self.low_v is not None and self.high_v is not None and not self.low_v < self.high_v:
            raise CircuitError(f"clamp: low_v = {self.low_v!r} must lie below high_v = {self.high_v!r}")
        if not (np.isfinite(self.reference_current_a) and self.reference_current_a > 0):
            raise CircuitError(f"clamp: reference_current_a = {self.reference_current_a!r}; give a value above zero")

    @property
    def limits_v(self) -> tuple[float, ...]:
        """V — its limits, the lower one first."""
        return tuple(limit for limit in (self.low_v, self.high_v) if limit is not None)

    def drop_v(self, temperature_k: float, k_over_q_v_per_k: float = K_OVER_Q_V_PER_K) -> float:
        """Return the voltage across a diode at the reference current, in V.

        Equation: n V_t ln(1 + I_ref / I_s) + R_s I_ref; piecewise-linear: V_th + R_on I_ref.
        """
        match self.diode:
            case DiodeModel():
                return self.diode.forward_voltage_v(self.reference_current_a, temperature_k, k_over_q_v_per_k)
            case PiecewiseLinearDiode():
                return self.diode.forward_voltage_v(self.reference_current_a)

    def rails_v(
        self, temperature_k: float, k_over_q_v_per_k: float = K_OVER_Q_V_PER_K
    ) -> tuple[float | None, float | None]:
        """Return the rail voltages of the lower and the upper diode.

        Equation: upper rail = V_hi - drop; lower rail = V_lo + drop, with the diode's voltage at the reference current.

        Args:
            temperature_k: K.
            k_over_q_v_per_k: V/K.

        Returns:
            lower and upper rail in V; None where there is no such diode.
        """
        drop = self.drop_v(temperature_k, k_over_q_v_per_k)
        low_v = None if self.low_v is None else self.low_v + drop
        return low_v, None if self.high_v is None else self.high_v - drop

    def margin_v(self, temperature_k: float, k_over_q_v_per_k: float = K_OVER_Q_V_PER_K) -> float:
        """Return how near to its limit a node is one that is clamped, in V.

        Equation: n V_t; piecewise-linear: R_on I_ref, within which the diode is on.
        """
        match self.diode:
            case DiodeModel():
                return self.diode.thermal_voltage_v(temperature_k, k_over_q_v_per_k)
            case PiecewiseLinearDiode():
                return self.diode.on_resistance_ohm * self.reference_current_a
