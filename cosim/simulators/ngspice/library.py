"""Find libngspice and hold the one instance of it that a process may have.

Takes: the environment. Gives: `ngspice_library()`. Must not know: what is simulated. Importing this module loads
neither PySpice nor numba; both come with the first `ngspice_library()`, after libngspice itself has been found.
"""

import ctypes.util
import math
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ...errors import ResultError, SimulatorNotFound

if TYPE_CHECKING:
    from .shared import NgspiceLibrary

LIBRARY_PATH_VARIABLE: Final = "NGSPICE_LIBRARY_PATH"

_INSTALL: Final = {
    "darwin": "brew install libngspice",
    "linux": "sudo apt-get install libngspice0",
}

# The exception to "no module-level state": libngspice itself is a pile of globals, so one per process is all there is.
_lock: Final = threading.Lock()
_instance: "NgspiceLibrary | None" = None


def find_ngspice_library() -> str:
    """Find libngspice, without loading it.

    Returns: a path or a bare library name that the dynamic linker knows.
    Raises: SimulatorNotFound when `NGSPICE_LIBRARY_PATH` names no file, or nothing is installed.
    """
    named = os.environ.get(LIBRARY_PATH_VARIABLE)
    if named:
        if os.sep in named and not Path(named).is_file():
            raise SimulatorNotFound(
                f"{LIBRARY_PATH_VARIABLE} names {named!r}, which is no file. Unset it to search the system's folders, "
                "or set it to the full path of libngspice.so.0 (Linux) or libngspice.dylib (macOS)."
            )
        return named
    found = ctypes.util.find_library("ngspice")
    if found is None:
        install = _INSTALL.get(sys.platform, _INSTALL["linux"])
        raise SimulatorNotFound(
            f"libngspice is not installed on this machine. Install it with `{install}`, or set {LIBRARY_PATH_VARIABLE} "
            "to the full path of the library if it stands elsewhere."
        )
    return found


def ngspice_library() -> "NgspiceLibrary":
    """Give this process's libngspice, loading it on the first call.

    Raises: SimulatorNotFound when it cannot be found or loaded.
    """
    global _instance  # noqa: PLW0603  # one libngspice per process, see above
    with _lock:
        if _instance is None:
            path = find_ngspice_library()
            # PySpice and numba take a second to import and are of no use where libngspice is missing.
            from .shared import NgspiceLibrary  # noqa: PLC0415

            _instance = NgspiceLibrary(path)
        return _instance


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
