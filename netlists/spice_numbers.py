"""Numbers of a deck: as ngspice means them, and written so that they read back as the same double.

SPICE writes a resistance where a circuit has a conductance, and celsius where it has kelvin. 1 / (1 / g) is not g for
12 % of all doubles, so both are exact decimals here: the conductance is the double nearest to the reciprocal of the
decimal that is written. Eighteen digits suffice: their error is below 5e-18, half a step of a double above 5.5e-17.
Where the shortest text of the double 1 / g reads back, that is written, as in the standalone deck.

What ngspice 39 does with a number was tried out, not taken from its manual: letters after a scale factor mean nothing,
"1milli" is a mil, and of "4k7" it reads 4k. What another version, or `.param`, reads in another way is refused.
"""

import math
import re
from decimal import Context, Decimal

from circuits.arrays import Floats
from circuits.diode import NOMINAL_TEMPERATURE_K

from .errors import NetlistError
from .spice_writer import OPEN_OHM, ZERO_CELSIUS_K

_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([ed])([+-]?\d{1,4}))?([a-z]*)", re.ASCII)
_POWERS = {"t": 12, "g": 9, "k": 3, "m": -3, "u": -6, "n": -9, "p": -12, "f": -15}
_MIL = Decimal("25.4e-6")
_ONE = Decimal(1)
_ZERO_CELSIUS = Decimal(repr(ZERO_CELSIUS_K))
_EXACT = Context(prec=60)  # more than any double or any sum of two here needs
_RECIPROCAL = Context(prec=30)
_WRITTEN = Context(prec=18)


def format_double(value: float) -> str:
    """Return Python's shortest text that reads back as the same double, the sign of a zero kept."""
    return repr(float(value))


def parse_number(text: str, *, parameter: bool = False) -> Decimal:
    """Return the value that ngspice takes from a number.

    Args:
        text: lower case, without space.
        parameter: True for the value of a `.param`, which ngspice reads by other rules.

    Raises:
        NetlistError: without a place, for what is no number or not the same number in every ngspice.
    """
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise NetlistError(f"'{text}' is no number; write digits, an exponent like e-3 or one scale factor")
    digits, letter, exponent, suffix = found.groups()
    if suffix[:1] in {"a", "d", "e"}:  # atto in later versions, nothing in 39; an exponent without digits
        raise NetlistError(
            f"'{text}': not every ngspice reads '{suffix[0]}' in one way here; write an exponent like e-3"
        )
    if parameter and (letter == "d" or suffix.startswith("mil")):
        raise NetlistError(f"'{text}': ngspice reads this differently in .param; write an exponent like e-3")
    value = Decimal(f"{digits}e{exponent or 0}")
    if suffix.startswith("meg"):
        value = value.scaleb(6, _EXACT)
    elif suffix.startswith("mil"):
        value = _EXACT.multiply(value, _MIL)
    elif suffix[:1] in _POWERS:
        value = value.scaleb(_POWERS[suffix[0]], _EXACT)
    if not math.isfinite(float(value)):
        raise NetlistError(f"'{text}' is larger than any double")
    return value


def conductance_of(resistance: Decimal) -> float:
    """Return the double nearest to 1 / R, S; zero at the writer's resistance of an open device.

    Raises:
        NetlistError: without a place, for a resistance of zero, or so small that its conductance is no double.
    """
    conductance_s = float(_RECIPROCAL.divide(_ONE, resistance)) if resistance else math.inf
    if not math.isfinite(conductance_s):
        raise NetlistError(f"a resistance of {resistance} ohm; give one whose conductance is finite")
    return conductance_s if abs(conductance_s) > 1.0 / OPEN_OHM else 0.0


def format_resistances(conductance_s: Floats) -> list[str]:
    """Return the resistance of each device as text from which `conductance_of` makes the same conductance.

    Args:
        conductance_s: [n_resistors] S — finite, and zero or above 1e-99 in size.
    """
    divide = _RECIPROCAL.divide
    texts = []
    for g in conductance_s.tolist():
        if g == 0.0:
            texts.append(repr(OPEN_OHM))
            continue
        text = repr(1.0 / g)
        if float(divide(_ONE, Decimal(text))) != g:
            text = str(_WRITTEN.divide(_ONE, Decimal(g))).lower()
        texts.append(text)
    return texts


def kelvin_of(celsius: Decimal) -> float:
    """Return the double nearest to a temperature in K."""
    return float(_EXACT.add(celsius, _ZERO_CELSIUS))


def format_celsius(kelvin: float) -> str:
    """Return a temperature in celsius as text from which `kelvin_of` makes the same double."""
    text = repr(kelvin - ZERO_CELSIUS_K)
    if kelvin_of(Decimal(text)) == kelvin:
        return text
    return str(_EXACT.subtract(Decimal(kelvin), _ZERO_CELSIUS)).lower()


NOMINAL_CELSIUS = format_celsius(NOMINAL_TEMPERATURE_K)
