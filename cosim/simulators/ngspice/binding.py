"""PySpice's binding of libngspice with its callbacks replaced: compiled where speed counts, tolerant where notes are.

Takes: the path of libngspice, commands, the text of decks. Gives: console lines with the sample they belong to,
vectors. Must not know: which circuits are loaded, and sweeps (`shared`).

PySpice 1.5 takes every line on stderr for an error, and newer versions of ngspice print notes there; it answers each
source value and each solved point with a Python function, which costs more than the solve itself; and a second
instance in one process cannot be made. Hence `_init_ngspice` and `_load_library` are replaced as a whole.
"""

import locale
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...errors import SimulatorNotFound, WorkerError
from .callbacks import N_CONTROL_WORDS, ControlWord, current_value, receive_point, voltage_value
from .console import ConsoleLine, LineKind, classify

# Any: PySpice ships no types.
_pyspice: Final[Any] = import_module("PySpice.Spice.NgSpice.Shared")
_simulation_types: Final[Any] = import_module("PySpice.Spice.NgSpice.SimulationType")
_ffi: Final[Any] = _pyspice.ffi
_NgSpiceShared: Any = _pyspice.NgSpiceShared
_CDefError: Any = import_module("cffi").CDefError

_N_CONSOLE_LINES: Final = 400  # a stubborn sample prints some 100 lines of stepping; from here on only what is serious
_N_SERIOUS_LINES: Final = 800
_N_COMMANDS_BETWEEN_RELEASES: Final = 1000  # ngspice keeps each command's parse tree until it is told to let go


@contextmanager
def _interrupt_delayed() -> Iterator[None]:
    """Keep Ctrl-C until ngspice returns: raised inside one of its callbacks, the interrupt would be lost."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    arrived: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda number, frame: arrived.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if arrived:
        handler(*arrived[0])


def _bare_name(name: str) -> str:
    """Return a node's own name: ngspice reports one that starts with a digit, "1", as "v(1)"."""
    return name[2:-1] if name.startswith("v(") and name.endswith(")") else name


class AbstractNgspiceBinding(_NgSpiceShared):  # type: ignore[misc]  # PySpice is untyped: the base class is Any
    """libngspice loaded and its callbacks registered; `NgspiceLibrary` adds the circuits and is what is used.

    Vectors go by the names of the deck: "out", "1", and "v1#branch" for the current of v1.
    """

    _logger = logging.getLogger("PySpice.Spice.NgSpice.Shared.NgSpiceShared")

    def __init__(self, path: str) -> None:
        self.lock = threading.RLock()
        self.control: NDArray[np.int64] = np.zeros(N_CONTROL_WORDS, dtype=np.int64)
        self.control_address: int = self.control.ctypes.data
        self.on_vectors: Callable[[Sequence[str]], None] | None = None
        self.is_dead = False
        self._console: list[ConsoleLine] = []
        self._n_commands = 0
        self._callback_error: BaseException | None = None
        self._path = path
        super().__init__()
        _pyspice.NgSpiceShared._instances[0] = self

    # ------------------------------------------------------------------ start

    def _load_library(self, verbose: bool) -> None:  # noqa: ARG002  # PySpice's signature
        """Load libngspice, with decimal points whatever the user's locale."""
        locale.setlocale(locale.LC_NUMERIC, "C")
        try:
            _ffi.typeof("pvecvaluesall")
        except _CDefError:  # not declared yet: PySpice's own class has not been used in this process
            _ffi.cdef((Path(_pyspice.__file__).parent / "api.h").read_text(encoding="utf-8"))
        try:
            self._ngspice_shared = _ffi.dlopen(self._path)
        except OSError as error:
            raise SimulatorNotFound(f"libngspice at {self._path!r} cannot be loaded: {error}") from error

    def _init_ngspice(self, send_data: bool) -> None:  # noqa: ARG002  # PySpice's signature
        """Register the callbacks; every one of them gets the control block, none a Python object."""

        def guarded(function: Callable[..., None]) -> Callable[..., int]:
            def call(*arguments: Any) -> int:
                try:
                    function(*arguments)
                except BaseException as error:  # noqa: BLE001  # cffi would print and drop it; raised after the command
                    self._callback_error = error
                return 0

            return call

        @guarded
        def receive_text(message: Any, _identity: int, _control: Any) -> None:
            self._take_line(_ffi.string(message).decode("utf-8", errors="replace"))

        @guarded
        def receive_exit(_status: int, _now: bool, _is_quit: bool, _identity: int, _control: Any) -> None:
            self.is_dead = True

        @guarded
        def receive_names(info: Any, _identity: int, _control: Any) -> None:
            if self.on_vectors is not None:
                names = [_ffi.string(info.vecs[k].vecname).decode("utf-8").lower() for k in range(info.veccount)]
                self.on_vectors([_bare_name(name) for name in names])

        def ignore_state(_is_idle: bool, _identity: int, _control: Any) -> int:
            return 0

        self._kept = [  # cffi's callbacks die with their Python objects
            _ffi.callback("SendChar", receive_text),
            _ffi.callback("ControlledExit", receive_exit),
            _ffi.callback("SendInitData", receive_names),
            _ffi.callback("BGThreadRunning", ignore_state),
            _ffi.new("int *", 0),
        ]
        text, exit_asked, names, running, identity = self._kept
        control = _ffi.cast("void *", self.control_address)
        library = self._ngspice_shared
        interrupt = signal.getsignal(signal.SIGINT)
        library.ngSpice_Init(
            text, _ffi.NULL, exit_asked, _ffi.cast("SendData *", receive_point.address), names, running, control
        )
        # The user data of Init_Sync overwrites that of Init: both are the control block.
        library.ngSpice_Init_Sync(
            _ffi.cast("GetVSRCData *", voltage_value.address),
            _ffi.cast("GetISRCData *", current_value.address),
            _ffi.NULL,
            identity,
            control,
        )
        if threading.current_thread() is threading.main_thread() and interrupt is not None:
            signal.signal(signal.SIGINT, interrupt)
        self._get_version()
        self._name_types()
        self.command("set nomoremode")  # paging would wait for a key
        self.command("set num_threads=1")
        # No transient after failed source stepping: it makes up a voltage for a floating node where it succeeds, and
        # takes seconds to fail where there is no solution.
        self.command("optran 1 1 1 0 0 0")
        self.command("unset ngbehavior")  # a user's .spiceinit must not change how decks are read

    def _name_types(self) -> None:
        """Give PySpice's plots their units; its table ends at version 34, and later ones have the same types."""
        table = _simulation_types.SIMULATION_TYPE
        kinds = _pyspice.EnumFactory("SimulationType", table.get(self._ngspice_version, table["last"]))
        self._simulation_type = kinds
        self._type_to_unit = {
            kinds.time: _pyspice.u_s,
            kinds.voltage: _pyspice.u_V,
            kinds.current: _pyspice.u_A,
            kinds.frequency: _pyspice.u_Hz,
            kinds.capacitance: _pyspice.u_F,
            kinds.temperature: _pyspice.u_Degree,
        }

    # ------------------------------------------------------------------ console

    def _take_line(self, message: str) -> None:
        """Keep one line of ngspice's output, both for us and in the lists that PySpice's methods read."""
        stream, _, text = message.partition(" ")
        line = ConsoleLine(points=int(self.control[ControlWord.POINT]), is_stderr=stream == "stderr", text=text)
        is_serious = classify(line) in {LineKind.SAMPLE_FAILED, LineKind.DECK_REJECTED}
        if len(self._console) < (_N_SERIOUS_LINES if is_serious else _N_CONSOLE_LINES):
            self._console.append(line)
        if len(self._stdout) + len(self._stderr) < _N_SERIOUS_LINES:
            (self._stderr if line.is_stderr else self._stdout).append(text)
        # For PySpice's methods, which reject a command for it: `op` may print warnings and be right.
        if is_serious and not text.startswith("Warning:"):
            self._error_in_stderr = True
        if not line.is_stderr and "error" in text.lower():
            self._error_in_stdout = True

    def console_tail(self, n_lines: int = 12) -> tuple[str, ...]:
        """The last lines since the last command, blank ones left out."""
        return tuple(line.text.strip() for line in self._console if line.text.strip())[-n_lines:]

    # ------------------------------------------------------------------ commands

    @property
    def version(self) -> int:
        """Major version number of libngspice, 0 if it does not say."""
        return int(self._ngspice_version or 0)

    @property
    def path(self) -> str:
        """Full path of the library where the system tells (Linux), otherwise the name it was loaded by."""
        try:
            maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
        except OSError:
            return self._path
        found = {line.split(maxsplit=5)[5] for line in maps if "libngspice" in line}
        return found.pop() if len(found) == 1 else self._path

    def command(self, text: str) -> list[ConsoleLine]:
        """Run one command and return what it printed; judging the lines is the caller's business.

        Raises: WorkerError when ngspice gave up for good: this process cannot use it any more.
        """
        self._require_life()
        self._clear_console()
        self._n_commands += 1
        if self._n_commands % _N_COMMANDS_BETWEEN_RELEASES == 0:
            self._ngspice_shared.ngSpice_Command(_ffi.NULL)
        with _interrupt_delayed():
            self._ngspice_shared.ngSpice_Command(text.encode("ascii"))
        self._finish_call()
        return list(self._console)

    def _send_deck(self, text: str) -> list[ConsoleLine]:
        """Load a deck as the newest, current circuit and return what ngspice printed."""
        self._require_life()
        self._clear_console()
        lines = [_ffi.new("char[]", line.encode("utf-8")) for line in text.splitlines() if line.strip()]
        lines += [_ffi.new("char[]", b""), _ffi.NULL]
        with _interrupt_delayed():
            self._ngspice_shared.ngSpice_Circ(_ffi.new("char *[]", lines))
        self._finish_call()
        return list(self._console)

    def vector_length(self, name: str) -> int:
        """Length of a vector of the newest plot, 0 if there is none of that name."""
        info = self._ngspice_shared.ngGet_Vec_Info(name.encode("ascii"))
        return 0 if info == _ffi.NULL else int(info.v_length)

    def read_vector(self, name: str) -> NDArray[np.float64] | None:
        """Copy a real vector of the newest plot; None where there is none of that name."""
        info = self._ngspice_shared.ngGet_Vec_Info(name.encode("ascii"))
        if info == _ffi.NULL or info.v_realdata == _ffi.NULL:  # noqa: PLR1714  # the second only where the first is not
            return None
        return np.frombuffer(_ffi.buffer(info.v_realdata, info.v_length * 8), dtype=np.float64).copy()

    def _require_life(self) -> None:
        if self.is_dead:
            raise WorkerError(
                "ngspice asked to be unloaded after a fatal error and cannot be used again in this process. "
                "Start a new process, or use worker processes (workers >= 1), which are replaced by themselves."
            )

    def _clear_console(self) -> None:
        self._console.clear()
        self.clear_output()

    def _finish_call(self) -> None:
        """Raise what went wrong inside a callback, and notice that ngspice died."""
        error, self._callback_error = self._callback_error, None
        if error is not None:
            raise error
        self._require_life()
