"""What the numbers of a device may be: each check names the config, the field, its value and what to give."""

import math
from numbers import Real

from ..errors import CircuitError


def require_finite(where: str, **fields: float) -> None:
    """Refuse what is not a finite number.

    Args:
        where: the config, for the message.
        fields: values by field name.

    Raises:
        CircuitError: naming the first bad field.
    """
    for field, value in fields.items():
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise CircuitError(f"{where}: {field} = {value!r}; give a finite number")


def require_positive(where: str, **fields: float) -> None:
    """Refuse what is not a finite number above zero. Raises: CircuitError."""
    require_finite(where, **fields)
    for field, value in fields.items():
        if value <= 0:
            raise CircuitError(f"{where}: {field} = {value!r}; give a number above zero")


def require_not_negative(where: str, **fields: float) -> None:
    """Refuse what is not a finite number, zero or more. Raises: CircuitError."""
    require_finite(where, **fields)
    for field, value in fields.items():
        if value < 0:
            raise CircuitError(f"{where}: {field} = {value!r} is negative; give zero or more")


def require_probability(where: str, **fields: float) -> None:
    """Refuse what is not a probability. Raises: CircuitError."""
    require_finite(where, **fields)
    for field, value in fields.items():
        if not 0 <= value <= 1:
            raise CircuitError(f"{where}: {field} = {value!r}; a probability lies between 0 and 1")
