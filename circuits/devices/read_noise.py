"""Read noise: what a read sees beside the conductance, anew at each read."""

from dataclasses import dataclass
from typing import final

import numpy as np

from ..arrays import Floats
from ..errors import CircuitError
from .ranges import require_not_negative, require_positive

LEAST_RELATIVE = 1e-12  # of g_max: where a conductance is none, the power law still has a value (and the cap holds)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class RelativeReadNoise:
    """Noise in proportion to the conductance: sigma = relative_std g.

    Args:
        relative_std: standard deviation as a fraction of the conductance.

    Raises:
        CircuitError: if it is negative.
    """

    relative_std: float

    def __post_init__(self) -> None:
        require_not_negative("relative read noise", relative_std=self.relative_std)

    def std_s(self, g_s: Floats, written_s: Floats, g_max_s: float, time_s: float | None) -> Floats:
        """Return sigma of each device, [...] S."""
        del written_s, g_max_s, time_s
        return np.asarray(self.relative_std * g_s)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class FlickerReadNoise:
    """1/f noise, which grows with the time since programming.

    Equation: sigma = g Q_s sqrt(ln((t + t_read) / (2 t_read))), Q_s = min(Q_1 / (g_written / g_max)^p, Q_highest); zero
    before t = t_read.

    Args:
        q_at_g_max: Q_1.
        exponent: p.
        q_highest: cap of Q_s.
        t_read_s: s — length of a read.

    Raises:
        CircuitError: if a number has the wrong sign.

    Source: V. Joshi et al., Nature Communications 11, 2473, 2020; S. R. Nandakumar et al., ICECS 2019.
    """

    q_at_g_max: float
    exponent: float
    q_highest: float
    t_read_s: float

    def __post_init__(self) -> None:
        where = "flicker read noise"
        require_not_negative(where, q_at_g_max=self.q_at_g_max, q_highest=self.q_highest, exponent=self.exponent)
        require_positive(where, t_read_s=self.t_read_s)

    def std_s(self, g_s: Floats, written_s: Floats, g_max_s: float, time_s: float | None) -> Floats:
        """Return sigma of each device.

        Args:
            g_s: [...] S — conductance now, drifted.
            written_s: [...] S — conductance as it was written, which Q_s belongs to.
            g_max_s: S.
            time_s: s — since programming.

        Raises:
            CircuitError: without a time.
        """
        if time_s is None:
            raise CircuitError("flicker read noise grows with time: give time_s, the seconds since programming")
        require_not_negative("flicker read noise", time_s=time_s)
        relative = np.maximum(np.asarray(written_s) / g_max_s, LEAST_RELATIVE)
        q_s = np.minimum(self.q_at_g_max / relative**self.exponent, self.q_highest)
        growth = np.sqrt(np.log(max(1.0, (time_s + self.t_read_s) / (2.0 * self.t_read_s))))
        return np.asarray(g_s * q_s * growth)
