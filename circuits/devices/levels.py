"""Finite levels: a device that can hold only so many conductances, evenly spaced."""

import numpy as np

from ..arrays import Floats


def quantised(g_s: Floats, levels: int, g_min_s: float, g_max_s: float) -> Floats:
    """Move each conductance to the nearest of the device's levels.

    Equation: g = g_min + d round((g - g_min) / d), d = (g_max - g_min) / (levels - 1).

    Args:
        g_s: [...] S — within the window.
        levels: number of conductances that a device can hold, both ends of the window among them.
        g_min_s: S — low end of the window.
        g_max_s: S — its high end.

    Returns:
        [...] S.
    """
    distance_s = (g_max_s - g_min_s) / (levels - 1)
    # The last level is g_max itself, not what the sum rounds to.
    return np.minimum(g_min_s + distance_s * np.round((g_s - g_min_s) / distance_s), g_max_s)
