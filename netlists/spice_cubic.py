"""Spell the cubic law I = g (V + k3 V^3) of a device, and read it back: `Bname a b i=g*v(a,b)*(1+k3*v(a,b)*v(a,b))`.

What ngspice 39 does with a behavioural source was tried out. It keeps 11 digits of each number in an expression, so a
number with more is written as the sum of two; it takes the absolute value of what is raised to a power, so there is
none; and of this form it finds the derivative itself, to the last digit. No XSPICE code model is needed.
"""

import math
import re
from decimal import Decimal
from typing import Final

from .errors import NetlistError

FORM: Final = "Bname a b i=g*v(a,b)*(1+k3*v(a,b)*v(a,b))"
_DIGITS: Final = 11
_NUMBER: Final = r"(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,4})?"
VALUE: Final = rf"(?:({_NUMBER})|\(({_NUMBER})([+-]{_NUMBER})\))"
ACROSS: Final = r"v\(([^\s(),]+),([^\s(),]+)\)"
_LAW: Final = re.compile(rf"i={VALUE}\*{ACROSS}\*\(1\+{VALUE}\*{ACROSS}\*{ACROSS}\)", re.ASCII)


def format_in_expression(value: float) -> str:
    """Return text that is the same double in ngspice's expressions: a number, or the sum of two in brackets."""
    first = _rounded(value)
    if first == value:
        return repr(first)
    second = _rounded(value - first)
    return f"({first!r}{second!r})" if second < 0 else f"({first!r}+{second!r})"


def _rounded(value: float) -> float:
    """Return the double of the decimal that ngspice makes of a number."""
    return float(f"{value:.{_DIGITS - 1}e}")


def format_law(a: str, b: str, conductance_s: float, k3_per_v2: float) -> str:
    """Return the expression of a device between nodes a and b."""
    across = f"v({a},{b})"
    g, k3 = format_in_expression(conductance_s), format_in_expression(k3_per_v2)
    return f"i={g}*{across}*(1+{k3}*{across}*{across})"


def parse_law(a: str, b: str, expression: str) -> tuple[float, float]:
    """Return conductance in S and k3 in 1/V^2 of a cubic device.

    Args:
        a: its first node; the law has to be of the voltage between its own nodes.
        b: its second node.
        expression: small letters, without space.

    Raises:
        NetlistError: without a place, for another expression, or a number of which ngspice does not keep all digits.
    """
    found = _LAW.fullmatch(expression)
    if found is None:
        raise NetlistError(f"a behavioural source is read where it is a cubic device; write '{FORM}'")
    parts = found.groups()
    if not (a, b) == parts[3:5] == parts[8:10] == parts[10:12]:
        raise NetlistError(f"this cubic device joins '{a}' and '{b}', its law other nodes; write '{FORM}'")
    return value_in_expression(parts[:3]), value_in_expression(parts[5:8])


def value_in_expression(parts: tuple[str | None, ...]) -> float:
    """Return a number, or the sum of two, from the groups that VALUE finds."""
    texts = [text for text in parts if text is not None]
    for text in texts:
        if len(Decimal(text).normalize().as_tuple().digits) > _DIGITS:
            raise NetlistError(f"'{text}': ngspice keeps {_DIGITS} digits of a number in an expression; write (a+b)")
    value = sum(map(float, texts))
    if not math.isfinite(value):
        raise NetlistError(f"'{'+'.join(texts)}' is larger than any double")
    return value
