"""Relaxation: a conductance that wanders away from what was written, measured at a few times."""

from dataclasses import dataclass
from itertools import pairwise
from typing import final

import numpy as np

from ..arrays import Floats
from ..errors import CircuitError
from .ranges import require_finite, require_not_negative, require_positive

WHERE = "relaxation"
Polynomial = tuple[float, ...]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Relaxation:
    """A shift and a growing spread, of which each device has its own share.

    Equation: g(t) = max(0, g + m(t) + sqrt(max(0, s(t)^2 - s_0^2)) xi), s = max(0, sum_k c_k (g / g_ref)^k) of g as
    written, xi standard normal, one a device. Between two times m and s are straight lines over ln t; before the first
    nothing moves, after the last nothing moves any more.

    Args:
        times_s: s — of the measurements, rising; the first is t_0.
        std_coefficients_s: S — (c_0, c_1, ...) of s, lowest power first, one tuple a time.
        reference_s: S — g_ref.
        written_std_coefficients_s: S — of s_0: what of s is there already as the programming error; None for nothing.
        shift_s: S — m at each time; None for none.

    Raises:
        CircuitError: if the times do not rise, or tables do not fit one another.
    """

    times_s: tuple[float, ...]
    std_coefficients_s: tuple[Polynomial, ...]
    reference_s: float
    written_std_coefficients_s: Polynomial | None = None
    shift_s: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.times_s) < 2 or any(later <= earlier for earlier, later in pairwise(self.times_s)):
            raise CircuitError(f"{WHERE}: times_s = {self.times_s!r}; give two times or more, rising")
        require_positive(WHERE, **{"times_s[0]": self.times_s[0], "reference_s": self.reference_s})
        for field in ("std_coefficients_s", "shift_s"):
            table = getattr(self, field)
            if table is not None and len(table) != len(self.times_s):
                raise CircuitError(f"{WHERE}: {field} has {len(table)} entries, times_s {len(self.times_s)}")
        polynomials = [*self.std_coefficients_s, self.shift_s or (0.0,), self.written_std_coefficients_s or (0.0,)]
        for polynomial in polynomials:
            if not polynomial:
                raise CircuitError(f"{WHERE}: std_coefficients_s has an empty entry; give (c_0, c_1, ...) in siemens")
            for value in polynomial:
                require_finite(WHERE, coefficient=value)

    @property
    def t_0_s(self) -> float:
        """When the conductance was measured as written, s."""
        return self.times_s[0]

    @property
    def devices_differ(self) -> bool:
        """Whether two devices of one conductance move differently."""
        return True

    def drifted_s(self, written_s: Floats, g_max_s: float, xi: Floats | None, time_s: float) -> Floats:
        """Return what is left at a time.

        Args:
            written_s: [...] S — conductance as written.
            g_max_s: S.
            xi: [...] standard normal, the device's own; None for the shift alone.
            time_s: s — since it was written.

        Returns:
            [...] S.
        """
        del g_max_s
        require_not_negative(WHERE, time_s=time_s)
        if time_s < self.t_0_s:
            return np.asarray(written_s)
        place = float(np.interp(np.log(time_s), np.log(self.times_s), np.arange(len(self.times_s))))
        low = min(int(place), len(self.times_s) - 2)
        share = place - low
        shift_s = 0.0 if self.shift_s is None else (1.0 - share) * self.shift_s[low] + share * self.shift_s[low + 1]
        if xi is None:
            return np.maximum(written_s + shift_s, 0.0)
        earlier, later = (self._std_s(written_s, self.std_coefficients_s[k]) for k in (low, low + 1))
        variance = ((1.0 - share) * earlier + share * later) ** 2
        if self.written_std_coefficients_s is not None:
            variance = variance - self._std_s(written_s, self.written_std_coefficients_s) ** 2
        return np.maximum(written_s + shift_s + np.sqrt(np.maximum(variance, 0.0)) * xi, 0.0)

    def _std_s(self, written_s: Floats, coefficients_s: Polynomial) -> Floats:
        """Return a polynomial of what was written, never negative, [...] S."""
        relative = np.asarray(written_s) / self.reference_s
        return np.maximum(np.polynomial.polynomial.polyval(relative, coefficients_s), 0.0)
