"""The ideal staircase of a converter, and what the numbers of a converter may be.

code  ^            _|        levels k * lsb, k = -(2^(bits-1) - 1) ... 2^(bits-1) - 1,
      |          _|          lsb = full_scale / (2^(bits-1) - 1): symmetric; with two bits or more there is a zero,
      |        _|            so that a differential pair stays mirrored and no nudge is no current
      +------_|-------> value
"""

from numbers import Integral, Real

import numpy as np

from circuits.arrays import Floats

from ..errors import BlockError


def lsb(bits: int, full_scale: float) -> float:
    """Return the step of a converter: full_scale / (2^(bits-1) - 1), or full_scale for a single bit."""
    return full_scale / max(1, (1 << (bits - 1)) - 1)


def count_steps(bits: int) -> int:
    """Return the number of steps of two bits or more: 2^bits - 2 between as many levels and one."""
    return (1 << bits) - 2


def quantise(values: Floats, bits: int | None, full_scale: float) -> Floats:
    """Clip to the full scale and round to the nearest level.

    Args:
        values: [...] dimensionless.
        bits: resolution; None returns the values unchanged, unclipped.
        full_scale: largest magnitude that has a code. A single bit has the two levels +-full_scale / 2.

    Returns:
        [...] the converter's level for each value.
    """
    if bits is None:
        return values
    if bits == 1:
        return np.where(values >= 0, full_scale / 2, -full_scale / 2)
    step = lsb(bits, full_scale)
    return np.round(np.clip(values, -full_scale, full_scale) / step) * step


def require_number(where: str, *, lowest: float | None = None, optional: bool = True, **fields: object) -> None:
    """Refuse what is not a finite number of at least `lowest`, nor None where that is off.

    Raises:
        BlockError: naming the first bad field.
    """
    off = ", or None for off" if optional else ""
    for field, value in fields.items():
        if value is None and optional:
            continue
        if isinstance(value, bool) or not isinstance(value, Real) or not np.isfinite(float(value)):
            raise BlockError(f"{where}: {field} = {value!r}; give a finite number{off}")
        if lowest is not None and value < lowest:
            raise BlockError(f"{where}: {field} = {value!r}; give {lowest:g} or more{off}")


def require_whole(where: str, field: str, value: object, lowest: int) -> None:
    """Refuse what is no whole number of at least `lowest`.

    Raises:
        BlockError: naming the field.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < lowest:
        raise BlockError(f"{where}: {field} = {value!r}; give a whole number of {lowest} or more")
