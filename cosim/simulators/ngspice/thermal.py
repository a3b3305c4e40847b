"""The thermal constant k/q as this libngspice has it compiled in.

Takes: the loaded library. Gives: k/q in V/K. Must not know: the user's circuits.
"""

import math
from typing import Final

from ...errors import ResultError
from .library import ngspice_library

_TEMPERATURE_K: Final = 300.15
_SATURATION_A: Final = 1e-14
_GMIN_S: Final = 1e-15
# Large currents: gmin's share is then 1e-12 of the smaller one, and is taken out below all the same. With reltol 1e-10
# ngspice stops one step early in the second point of the sweep, which costs 4e-12 of the answer.
_CURRENTS_A: Final = (1e-3, 1.0)

_THERMAL_DECK: Final = f"""* k/q of this ngspice from one ideal diode at two currents
iforward 0 a 1e-3
djunction a 0 ideal
.model ideal d(is={_SATURATION_A!r} n=1 rs=0 tnom=27)
.options temp=27 reltol=1e-13 abstol=1e-15 vntol=1e-13 gmin={_GMIN_S!r}
.save all
.end
"""


def measure_k_over_q() -> float:
    """Measure the Boltzmann constant over the electron charge as this ngspice has them compiled in.

    Equation: `I = I_s [exp(v/V_t) - 1] + gmin v`, so
    `V_t = (v2 - v1) / ln[(I2 - gmin v2 + I_s) / (I1 - gmin v1 + I_s)]`, and k/q is V_t at 300.15 K over 300.15 K.

    Returns: V/K, good to about 1e-14 relative (the constants of two versions differ by 1e-6).
    Raises: ResultError when ngspice does not solve one diode.
    """
    library = ngspice_library()
    low, high = _CURRENTS_A
    with library.lock:
        try:
            library.unload_all()
            library.load_deck(_THERMAL_DECK)
            library.command(f"dc iforward {low!r} {high!r} {high - low!r}")
            voltages = library.read_vector("a")
        finally:
            library.unload_all()
    if voltages is None or voltages.shape != (2,):
        raise ResultError(
            "ngspice did not solve a single diode at two currents; its last lines: "
            + " | ".join(library.console_tail())
        )
    v1, v2 = float(voltages[0]), float(voltages[1])
    ratio = (high - _GMIN_S * v2 + _SATURATION_A) / (low - _GMIN_S * v1 + _SATURATION_A)
    return (v2 - v1) / math.log(ratio) / _TEMPERATURE_K
