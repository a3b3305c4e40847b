"""Spell a piecewise-linear diode, and read it back, as a behavioural source.

    Bname a c i=max(v(a,c)/R_off,(v(a,c)-V_th)/R_on)

ngspice 39 differentiates the branch of `max` that is in force, so each Newton step is exact. Numbers are as in the
expressions of cubic devices: eleven digits, or the sum of two.

A voltage is rounded to 1e-16 of itself. Divided by milliohms that is more than the 1e-15 A to which ngspice is asked to
settle, which it then never does; so a deck's abstol is at least what rounding explains (`current_rounding_a`). A source
of a voltage in its place, v = min(R_off i, V_th + R_on i), does not always settle either where V_th = 0.
"""

import math
import re
from typing import Final

from circuits.circuit import Circuit
from circuits.errors import CircuitError
from circuits.piecewise_linear_diode import PiecewiseLinearDiode

from .errors import NetlistError
from .spice_cubic import ACROSS, VALUE, format_in_expression, value_in_expression

START: Final = "i=max("
FORM: Final = "Bname a c i=max(v(a,c)/R_off,(v(a,c)-V_th)/R_on)"
ROUNDING_V: Final = 1e-14  # of node voltages of 10 V, four times over; with once 10 V some samples do not settle
_LAW: Final = re.compile(rf"i=max\({ACROSS}/{VALUE},\({ACROSS}-{VALUE}\)/{VALUE}\)", re.ASCII)


def current_rounding_a(circuit: Circuit) -> float:
    """Return what the rounding of a voltage makes of a current through the stiffest piecewise-linear diode, in A.

    Equation: 1e-14 V / R_on; zero where there is no such diode.
    """
    stiffest = min(
        (m.on_resistance_ohm for m in circuit.diodes.models if isinstance(m, PiecewiseLinearDiode)), default=math.inf
    )
    return ROUNDING_V / stiffest


def format_diode(anode: str, cathode: str, model: PiecewiseLinearDiode) -> str:
    """Return the expression of a diode between two nodes."""
    threshold, on, off = map(
        format_in_expression, (model.threshold_v, model.on_resistance_ohm, model.off_resistance_ohm)
    )
    across = f"v({anode},{cathode})"
    return f"i=max({across}/{off},({across}-{threshold})/{on})"


def parse_diode(anode: str, cathode: str, expression: str) -> PiecewiseLinearDiode:
    """Return the parameters of a diode.

    Args:
        anode: its first node; the law has to be of the voltage between its own nodes.
        cathode: its second node.
        expression: small letters, without space.

    Raises:
        NetlistError: without a place, for another expression, a number of which ngspice does not keep all digits, or a
            value that cannot be.
    """
    found = _LAW.fullmatch(expression)
    if found is None:
        raise NetlistError(f"a behavioural source with max is read where it is a diode; write '{FORM}'")
    parts = found.groups()
    if not (anode, cathode) == parts[0:2] == parts[5:7]:
        raise NetlistError(f"this diode joins '{anode}' and '{cathode}', its law is of something else; write '{FORM}'")
    off_ohm, threshold_v, on_ohm = (value_in_expression(parts[k : k + 3]) for k in (2, 7, 10))
    try:
        return PiecewiseLinearDiode(threshold_v=threshold_v, on_resistance_ohm=on_ohm, off_resistance_ohm=off_ohm)
    except CircuitError as error:
        raise NetlistError(str(error)) from None
