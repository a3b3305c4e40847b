"""The temperature coefficient of a conductance."""

from dataclasses import dataclass
from typing import final

import numpy as np

from ..arrays import Floats
from ..diode import NOMINAL_TEMPERATURE_K
from ..errors import CircuitError
from .ranges import require_finite, require_positive


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TemperatureCoefficient:
    """A conductance that changes in proportion to the temperature.

    Equation: g(T) = g [1 + a (T - T_ref)].

    Args:
        per_k: 1/K — a; negative for a metal.
        reference_k: K — T_ref, at which the conductance was written.

    Raises:
        CircuitError: unless both are finite and T_ref is above zero.
    """

    per_k: float
    reference_k: float = NOMINAL_TEMPERATURE_K

    def __post_init__(self) -> None:
        require_finite("temperature coefficient", per_k=self.per_k)
        require_positive("temperature coefficient", reference_k=self.reference_k)

    def at(self, g_s: Floats, temperature_k: float) -> Floats:
        """Return the conductances at a temperature, [...] S.

        Raises:
            CircuitError: if nothing or less would be left of them.
        """
        require_positive("temperature coefficient", temperature_k=temperature_k)
        factor = 1.0 + self.per_k * (temperature_k - self.reference_k)
        if factor <= 0:
            raise CircuitError(
                f"temperature coefficient: at {temperature_k:g} K a conductance would be {factor:.3g} of itself; the "
                f"straight line of {self.per_k:g} per kelvin from {self.reference_k:g} K ends before"
            )
        return np.asarray(g_s * factor)
