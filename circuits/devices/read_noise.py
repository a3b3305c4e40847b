"""Read noise: what a read sees beside the conductance, anew at each read."""

from dataclasses import dataclass
from typing import final

import numpy as np

from ..arrays import Floats
from ..errors import CircuitError
from .conductance_laws import ConductanceLaw
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
        relative = np.maximum(np.asarray(written_s) / g_max_s, LEAST_RELATIVE)
        q_s = np.minimum(self.q_at_g_max / relative**self.exponent, self.q_highest)
        return np.asarray(g_s * q_s * _growth(time_s, self.t_read_s))


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class FittedFlickerReadNoise:
    """1/f noise, which grows with the time since programming, of a size that was fitted over the conductance.

    Equation: sigma = g Q_s sqrt(ln((t + t_read) / (2 t_read))), Q_s a law of g_written / g_max; zero before t = t_read.

    Args:
        q: Q_s.
        t_read_s: s — length of a read.

    Raises:
        CircuitError: unless t_read is above zero.

    Source: as `FlickerReadNoise`.
    """

    q: ConductanceLaw
    t_read_s: float

    def __post_init__(self) -> None:
        require_positive("flicker read noise", t_read_s=self.t_read_s)

    def std_s(self, g_s: Floats, written_s: Floats, g_max_s: float, time_s: float | None) -> Floats:
        """Return sigma of each device; as `FlickerReadNoise.std_s`."""
        return np.asarray(g_s * self.q.at(np.asarray(written_s) / g_max_s) * _growth(time_s, self.t_read_s))


def _growth(time_s: float | None, t_read_s: float) -> float:
    """Return by how much 1/f noise has grown at a time, sqrt(ln((t + t_read) / (2 t_read)))."""
    if time_s is None:
        raise CircuitError("flicker read noise grows with time: give time_s, the seconds since programming")
    require_not_negative("flicker read noise", time_s=time_s)
    return float(np.sqrt(np.log(max(1.0, (time_s + t_read_s) / (2.0 * t_read_s)))))


ReadNoise = RelativeReadNoise | FlickerReadNoise | FittedFlickerReadNoise
