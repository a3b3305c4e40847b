"""Spell a piecewise-linear diode, and read it back, as one of two behavioural sources of the same law.

    Bname a c i=max(v(a,c)/R_off,(v(a,c)-V_th)/R_on)            R_on of 1 ohm or more, or V_th = 0
    Bname a c v=min(R_off*i(bname),V_th+R_on*i(bname))          the others

A voltage is rounded to 1e-16 of itself. Divided by milliohms that is more than the 1e-15 A to which ngspice is asked to
settle, which it then never does; and its answer is rounded by as much. The second form, a voltage by the source's own
current, has neither fault, but more unknowns, and takes two to three times as long. With V_th = 0 it does not always
settle, so there the first one stands, and a deck's abstol is at least what rounding explains (`current_rounding_a`).
ngspice 39 differentiates the branch of `max` and `min` that is in force, so a Newton step is exact. Numbers are as in
the expressions of cubic devices: eleven digits, or the sum of two.
"""

import math
import re
from typing import Final

from circuits.circuit import Circuit
from circuits.errors import CircuitError
from circuits.piecewise_linear_diode import PiecewiseLinearDiode

from .errors import NetlistError
from .spice_cubic import ACROSS, VALUE, format_in_expression, value_in_expression

STARTS: Final = ("i=max(", "v=min(")
CURRENT_FORM_OHM: Final = 1.0  # smallest R_on of a diode whose current the deck computes from its voltage
FORMS: Final = "Bname a c i=max(v(a,c)/R_off,(v(a,c)-V_th)/R_on), or v=min(R_off*i(bname),V_th+R_on*i(bname))"
ROUNDING_V: Final = 1e-14  # of node voltages of 10 V, four times over; with once 10 V some samples do not settle
_CURRENT: Final = re.compile(rf"i=max\({ACROSS}/{VALUE},\({ACROSS}-{VALUE}\)/{VALUE}\)", re.ASCII)
_OWN: Final = r"i\(([^\s(),]+)\)"
_VOLTAGE: Final = re.compile(rf"v=min\({VALUE}\*{_OWN},{VALUE}\+{VALUE}\*{_OWN}\)", re.ASCII)


def _is_voltage(model: PiecewiseLinearDiode) -> bool:
    """Return whether the deck computes the diode's voltage from its current."""
    return model.on_resistance_ohm < CURRENT_FORM_OHM and model.threshold_v > 0.0


def current_rounding_a(circuit: Circuit) -> float:
    """Return what the rounding of a voltage makes of a current that a deck computes from it, in A.

    Equation: 1e-14 V / R_on of the stiffest such diode; zero where there is none.
    """
    own = [m for m in circuit.diodes.models if isinstance(m, PiecewiseLinearDiode) and not _is_voltage(m)]
    return ROUNDING_V / min((m.on_resistance_ohm for m in own), default=math.inf)


def format_diode(name: str, anode: str, cathode: str, model: PiecewiseLinearDiode) -> str:
    """Return the expression of a diode with its SPICE name, between two nodes."""
    threshold, on, off = map(
        format_in_expression, (model.threshold_v, model.on_resistance_ohm, model.off_resistance_ohm)
    )
    if _is_voltage(model):
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
