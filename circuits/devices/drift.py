"""Drift: a conductance that falls with a power of the time since it was written."""

from dataclasses import dataclass
from typing import Self, final

import numpy as np

from ..arrays import Floats
from .conductance_laws import ClippedLogarithm, ConductanceLaw
from .ranges import require_not_negative, require_positive


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """A power law of time, with an exponent for each device.

    Equation: g(t) = g (t / t_0)^-nu for t > t_0, nu = max(0, nu_mean + nu_std xi), xi standard normal, one a device.

    Args:
        nu_mean: mean of nu over the devices of one conductance.
        nu_std: its device-to-device standard deviation; None for none.
        t_0_s: s — when the conductance was measured as written; before it nothing drifts.

    Raises:
        CircuitError: unless t_0 is above zero.

    Source: S. R. Nandakumar et al., ICECS 2019.
    """

    nu_mean: ConductanceLaw
    nu_std: ConductanceLaw | None
    t_0_s: float

    def __post_init__(self) -> None:
        require_positive("drift", t_0_s=self.t_0_s)

    @classmethod
    def constant(cls, nu: float, *, nu_std: float | None, t_0_s: float) -> Self:
        """Return a drift whose exponent does not depend on the conductance."""
        require_not_negative("drift", nu=nu)
        mean = ClippedLogarithm(slope=0.0, offset=nu, lowest=nu, highest=nu)
        if nu_std is None:
            return cls(nu_mean=mean, nu_std=None, t_0_s=t_0_s)
        require_not_negative("drift", nu_std=nu_std)
        std = ClippedLogarithm(slope=0.0, offset=nu_std, lowest=nu_std, highest=nu_std)
        return cls(nu_mean=mean, nu_std=std, t_0_s=t_0_s)

    def nu(self, written_s: Floats, g_max_s: float, xi: Floats | None) -> Floats:
        """Return the exponent of each device, never negative.

        Args:
            written_s: [...] S — conductance as written.
            g_max_s: S.
            xi: [...] standard normal, the device's own; None for the mean alone.
        """
        relative = np.asarray(written_s) / g_max_s
        mean = self.nu_mean.at(relative)
        if self.nu_std is None or xi is None:
            return mean
        return np.maximum(mean + self.nu_std.at(relative) * xi, 0.0)

    def factor(self, nu: Floats, time_s: float) -> Floats:
        """Return g(t) / g, [...]; exactly one up to t_0."""
        require_not_negative("drift", time_s=time_s)
        return np.asarray(max(1.0, time_s / self.t_0_s) ** -nu)

    @property
    def devices_differ(self) -> bool:
        """Whether two devices of one conductance drift differently."""
        return self.nu_std is not None

    def drifted_s(self, written_s: Floats, g_max_s: float, xi: Floats | None, time_s: float) -> Floats:
        """Return what is left at a time, [...] S; arguments as `nu` and `factor`."""
        return np.asarray(written_s * self.factor(self.nu(written_s, g_max_s, xi), time_s))
