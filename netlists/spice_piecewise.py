"""Spell a piecewise-linear diode, and read it back, as one of two behavioural sources of the same law.

    Bname a c i=max(v(a,c)/R_off,(v(a,c)-V_th)/R_on)            R_on of 1 ohm or more
    Bname a c v=min(R_off*i(bname),V_th+R_on*i(bname))          below

ngspice wants currents to 1e-15 A, but v - V_th is rounded to 1e-17 V and more: divided by milliohms that never settles.
The second form, a voltage by the source's own current, settles for any R_on; it has more unknowns, and takes two to
three times as long. ngspice 39 differentiates the branch of `max` and `min` that is in force, so each Newton step is
exact. Numbers are as in the expressions of cubic devices: eleven digits, or the sum of two.
"""

import re
from typing import Final

from circuits.errors import CircuitError
from circuits.piecewise_linear_diode import PiecewiseLinearDiode

from .errors import NetlistError
from .spice_cubic import ACROSS, VALUE, format_in_expression, value_in_expression

STARTS: Final = ("i=max(", "v=min(")
CURRENT_FORM_OHM: Final = 1.0  # smallest R_on of a diode whose current the deck computes from its voltage
FORMS: Final = "Bname a c i=max(v(a,c)/R_off,(v(a,c)-V_th)/R_on), or v=min(R_off*i(bname),V_th+R_on*i(bname))"
_CURRENT: Final = re.compile(rf"i=max\({ACROSS}/{VALUE},\({ACROSS}-{VALUE}\)/{VALUE}\)", re.ASCII)
_OWN: Final = r"i\(([^\s(),]+)\)"
_VOLTAGE: Final = re.compile(rf"v=min\({VALUE}\*{_OWN},{VALUE}\+{VALUE}\*{_OWN}\)", re.ASCII)


def format_diode(name: str, anode: str, cathode: str, model: PiecewiseLinearDiode) -> str:
    """Return the expression of a diode with its SPICE name, between two nodes."""
    threshold, on, off = map(
        format_in_expression, (model.threshold_v, model.on_resistance_ohm, model.off_resistance_ohm)
    )
    if model.on_resistance_ohm < CURRENT_FORM_OHM:
        return f"v=min({off}*i({name}),{threshold}+{on}*i({name}))"
    across = f"v({anode},{cathode})"
    return f"i=max({across}/{off},({across}-{threshold})/{on})"


def parse_diode(name: str, anode: str, cathode: str, expression: str) -> PiecewiseLinearDiode:
    """Return the parameters of a diode.

    Args:
        name: its SPICE name, b included; a law of a current has to be of its own.
        anode: its first node; a law of a voltage has to be of that between its own nodes.
        cathode: its second node.
        expression: small letters, without space.

    Raises:
        NetlistError: without a place, for another expression, a number of which ngspice does not keep all digits, or a
            value that cannot be.
    """
    by_voltage, by_current = _CURRENT.fullmatch(expression), _VOLTAGE.fullmatch(expression)
    if by_voltage is not None:
        parts = by_voltage.groups()
        is_own = (anode, cathode) == parts[0:2] == parts[5:7]
        off_ohm, threshold_v, on_ohm = (value_in_expression(parts[k : k + 3]) for k in (2, 7, 10))
    elif by_current is not None:
        parts = by_current.groups()
        is_own = name == parts[3] == parts[10]
        off_ohm, threshold_v, on_ohm = (value_in_expression(parts[k : k + 3]) for k in (0, 4, 7))
    else:
        raise NetlistError(f"a behavioural source with max or min is read where it is a diode; write '{FORMS}'")
    if not is_own:
        raise NetlistError(f"this diode joins '{anode}' and '{cathode}', its law is of something else; write '{FORMS}'")
    try:
        return PiecewiseLinearDiode(threshold_v=threshold_v, on_resistance_ohm=on_ohm, off_resistance_ohm=off_ohm)
    except CircuitError as error:
        raise NetlistError(str(error)) from None
