"""Compiled callbacks that ngspice calls during a sweep: source values in, solutions out.

Takes: the address of a control block (`ControlWord` names its words), which ngspice hands to every callback.
Gives: the native addresses of three functions. Must not know: decks, plots, Python objects.

A Python callback costs more than ngspice's own solve. The functions below close over nothing, all they know stands in
the control block, so numba keeps their machine code on disk and a new worker need not compile it.
"""

from enum import IntEnum
from importlib import import_module
from typing import Any, Final

import numpy as np

# Any: numba's own annotations do not cover what is used here.
_numba: Final[Any] = import_module("numba")
_cgutils: Final[Any] = import_module("numba.core.cgutils")
_extending: Final[Any] = import_module("numba.extending")
_types: Final[Any] = _numba.types
_carray: Final[Any] = _numba.carray


class ControlWord(IntEnum):
    """Words of the control block (int64 each): what the callbacks share with Python during one sweep."""

    DRIVES = 0
    """Address of the drive table, float64 [batch, n_drives]: voltages first, then currents."""
    N_VOLTAGE_DRIVES = 1
    N_CURRENT_DRIVES = 2
    BATCH = 3
    POINT = 4
    """Points that ngspice has reported in this sweep = index of the sample it is solving."""
    VALUES = 5
    """Address of the output table, float64 [batch, n_columns]."""
    N_COLUMNS = 6
    COLUMNS = 7
    """Address of int64 [n_reported]: the output column of each reported vector, -1 for one that nobody asked for."""
    N_REPORTED = 8
    N_UNKNOWN_ROWS = 9
    """Questions for a source whose row is not in the drive table."""


N_CONTROL_WORDS: Final = len(ControlWord)

# numba freezes module-level integers, not enum members.
_DRIVES: Final = int(ControlWord.DRIVES)
_N_VOLTAGE: Final = int(ControlWord.N_VOLTAGE_DRIVES)
_N_CURRENT: Final = int(ControlWord.N_CURRENT_DRIVES)
_BATCH: Final = int(ControlWord.BATCH)
_POINT: Final = int(ControlWord.POINT)
_VALUES: Final = int(ControlWord.VALUES)
_N_COLUMNS: Final = int(ControlWord.N_COLUMNS)
_COLUMNS: Final = int(ControlWord.COLUMNS)
_N_REPORTED: Final = int(ControlWord.N_REPORTED)
_N_UNKNOWN: Final = int(ControlWord.N_UNKNOWN_ROWS)
_N_WORDS: Final = N_CONTROL_WORDS
_DIGIT_0: Final = ord("0")
_DIGIT_9: Final = ord("9")


def _pointer_rule(_typing_context: Any, address: Any) -> Any:
    """Turn an int64 address into a pointer."""

    def codegen(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], _cgutils.voidptr_t)

    return _types.voidptr(address), codegen


_as_pointer: Final[Any] = _extending.intrinsic(_pointer_rule)


def _read_drive_rule(name: Any, control: Any, first: Any, n_rows: Any) -> Any:
    """Look up the drive of the sample in hand for the source whose name ends in its row number."""
    row, c = 0, 0
    while name[c] != 0:  # the last digits count: "vdrive12" and "v.xq.vdrive12" -> 12
        row = row * 10 + (name[c] - _DIGIT_0) if _DIGIT_0 <= name[c] <= _DIGIT_9 else 0
        c += 1
    if row >= n_rows or control[_BATCH] <= 0:
        control[_N_UNKNOWN] += 1
        return 0.0
    n_drives = control[_N_VOLTAGE] + control[_N_CURRENT]
    drives = _carray(_as_pointer(control[_DRIVES]), (control[_BATCH], n_drives), np.float64)
    return drives[min(control[_POINT], control[_BATCH] - 1), first + row]


_read_drive: Final[Any] = _numba.njit(_read_drive_rule)


def _voltage_value(value: Any, _time: Any, name: Any, _identity: Any, control_address: Any) -> Any:
    """Answer ngspice's question for the value of the external voltage source `vdrive<row>`."""
    control = _carray(control_address, (_N_WORDS,), np.int64)
    value[0] = _read_drive(name, control, 0, control[_N_VOLTAGE])
    return 0


def _current_value(value: Any, _time: Any, name: Any, _identity: Any, control_address: Any) -> Any:
    """Answer ngspice's question for the value of the external current source `idrive<row>`."""
    control = _carray(control_address, (_N_WORDS,), np.int64)
    value[0] = _read_drive(name, control, control[_N_VOLTAGE], control[_N_CURRENT])
    return 0


def _receive_point(data: Any, count: Any, _identity: Any, control_address: Any) -> Any:
    """Take one solved point: count it and copy its vectors into the output table; never write past the table."""
    control = _carray(control_address, (_N_WORDS,), np.int64)
    point = control[_POINT]
    control[_POINT] = point + 1
    if point >= control[_BATCH] or count != control[_N_REPORTED]:
        return 0
    columns = _carray(_as_pointer(control[_COLUMNS]), (count,), np.int64)
    values = _carray(_as_pointer(control[_VALUES]), (control[_BATCH], control[_N_COLUMNS]), np.float64)
    # struct vecvaluesall {int veccount, vecindex; vecvalues **vecsa}, struct vecvalues {char *name; double creal; ...}
    vectors = _carray(_as_pointer(_carray(data, (2,), np.int64)[1]), (count,), np.int64)
    for k in range(count):
        column = columns[k]
        if 0 <= column < control[_N_COLUMNS]:
            values[point, column] = _carray(_as_pointer(vectors[k]), (2,), np.float64)[1]
    return 0


def _compile(function: Any, signature: Any) -> Any:
    """Compile a callback, with its machine code kept on disk where a folder for it can be written."""
    try:
        return _numba.cfunc(signature, cache=True)(function)
    except RuntimeError:  # numba's "cannot cache function: no locator available": read-only installation and home
        return _numba.cfunc(signature)(function)


_SOURCE = _types.int32(
    _types.CPointer(_types.float64), _types.float64, _types.CPointer(_types.uint8), _types.int32, _types.voidptr
)
_SEND_DATA = _types.int32(_types.voidptr, _types.int32, _types.int32, _types.voidptr)

voltage_value: Final = _compile(_voltage_value, _SOURCE)
current_value: Final = _compile(_current_value, _SOURCE)
receive_point: Final = _compile(_receive_point, _SEND_DATA)
