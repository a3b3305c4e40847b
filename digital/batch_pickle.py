"""The official files of images that are pickles, read without running what a pickle asks for.

Takes: an open file. Gives: its dictionary, arrays as `StoredArray`. Must not know: data sets.
A pickle names functions to call. This unpickler knows the names that an array needs, and answers even these with
stand-ins of its own: numpy's dtype takes any state from a pickle, and a damaged one ends the process (segfault).
"""

import pickle
from collections.abc import Callable
from typing import IO, Any, Final, final

import numpy as np
from numpy.typing import NDArray

from .errors import DataError

_WHOLE: Final = frozenset({"i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"})


def read_batch_pickle(file: IO[bytes], *, where: str, title: str, again: str) -> dict[str, Any]:
    """Read a file that is a pickle of one dictionary.

    Args:
        file: opened; read from where it is.
        where: file and batch, for error messages.
        title: of the data set, for these.
        again: what to do about a damaged file.

    Returns:
        its entries by name, whichever Python wrote it; arrays are `StoredArray`.

    Raises:
        DataError: if the pickle is damaged, or wants to call anything but what rebuilds an array.
    """
    try:
        content = _BatchUnpickler(file, where=where, title=title, again=again).load()
        if not isinstance(content, dict):
            return {}
        return {key.decode("latin-1") if isinstance(key, bytes) else str(key): value for key, value in content.items()}
    except DAMAGED as error:
        raise damaged(error, where=where, again=again) from error


def damaged(error: Exception, *, where: str, again: str) -> DataError:
    """Return what to raise for a pickle that cannot be read."""
    return DataError(f"{where}: damaged, no pickle of Python 2 or 3 with images ({error}); {again}")


@final
class StoredArray:
    """Stands in for numpy's array, and for the function that makes one: version, shape, dtype, order and bytes."""

    def __init__(self, *_: object) -> None:
        self._state: tuple[Any, ...] = ()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._state = state

    def read_bytes(self) -> NDArray[np.uint8]:
        """Return the array without a copy, or raise one of `DAMAGED` if it is not one of bytes."""
        kind = self._state[2]
        if kind.name != "u1":
            raise ValueError(f"array of type {kind.code!r}, 'u1' wanted")
        return self._read(np.dtype(np.uint8))

    def read_whole(self) -> NDArray[np.int64]:
        """Return an array of whole numbers, or raise one of `DAMAGED`."""
        kind = self._state[2]
        if kind.name not in _WHOLE:
            raise ValueError(f"array of type {kind.code!r}, whole numbers wanted")
        order = ">" if kind.order == ">" else "<"
        return self._read(np.dtype(f"{order}{kind.name}")).astype(np.int64)

    def _read(self, dtype: np.dtype[Any]) -> NDArray[Any]:
        _, shape, _, is_fortran, content = self._state
        return np.frombuffer(content, dtype=dtype).reshape(shape, order="F" if is_fortran else "C")


@final
class _Dtype:
    """Stands in for numpy's dtype: the type's code and byte order, and nothing else of its state."""

    def __init__(self, code: bytes | str, *_: object) -> None:
        self.code, self.order = code, "<"
        self.name = code.decode("latin-1") if isinstance(code, bytes) else str(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]
        self.order = order.decode("latin-1") if isinstance(order, bytes) else str(order)


def _encode(text: str, _: object) -> bytes:
    """Return bytes that Python 3 wrote as text; it does so in Latin 1."""
    return text.encode("latin-1")


_ALLOWED: Final[dict[tuple[str, str], Callable[..., Any]]] = {
    ("numpy.core.multiarray", "_reconstruct"): StoredArray,
    ("numpy._core.multiarray", "_reconstruct"): StoredArray,
    ("numpy", "ndarray"): StoredArray,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}
# What a damaged pickle makes the unpickler, or the stand-ins, raise.
DAMAGED: Final = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    SystemError,
    TypeError,
    ValueError,
)


@final
class _BatchUnpickler(pickle.Unpickler):
    """An unpickler that finds nothing but what rebuilds an array."""

    def __init__(self, file: IO[bytes], *, where: str, title: str, again: str) -> None:
        super().__init__(file, encoding="bytes")
        self._where, self._title, self._again = where, title, again

    def find_class(self, module: str, name: str) -> Any:
        """Return a function of the short list; every other name ends the reading."""
        if (module, name) not in _ALLOWED:
            raise DataError(
                f"{self._where}: wants to call {module}.{name}, which no {self._title} batch does; nothing was run; "
                f"do not trust this file, {self._again}"
            )
        return _ALLOWED[module, name]
