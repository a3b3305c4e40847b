"""Find libngspice and hold the one instance of it that a process may have.

Takes: the environment. Gives: `ngspice_library()`. Must not know: what is simulated. Importing this module loads
neither PySpice nor numba; both come with the first `ngspice_library()`, after libngspice itself has been found.
"""

import ctypes.util
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ...errors import SimulatorNotFound

if TYPE_CHECKING:
    from .shared import NgspiceLibrary

LIBRARY_PATH_VARIABLE: Final = "NGSPICE_LIBRARY_PATH"

_PYSPICE_PLACEHOLDER: Final = "{}"  # PySpice reads the same variable and puts the number of a second instance there

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
        path = named.replace(_PYSPICE_PLACEHOLDER, "")
        if not path or (os.sep in path and not Path(path).is_file()):
            raise SimulatorNotFound(
                f"{LIBRARY_PATH_VARIABLE} names {named!r}, which is no file. Unset it to search the system's folders, "
                "or set it to the full path of libngspice.so.0 (Linux) or libngspice.dylib (macOS)."
            )
        return path
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
