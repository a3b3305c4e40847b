"""Array types of the circuit layer, and how arrays become part of an immutable value."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]


def frozen_floats(values: ArrayLike) -> Floats:
    """Copy values into a read-only float64 array."""
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array


def frozen_indices(values: ArrayLike) -> Indices:
    """Copy values into a read-only int64 array."""
    array = np.array(values, dtype=np.int64)
    array.setflags(write=False)
    return array


def frozen_flags(values: ArrayLike) -> Flags:
    """Copy values into a read-only boolean array."""
    array = np.array(values, dtype=np.bool_)
    array.setflags(write=False)
    return array


def no_floats() -> Floats:
    """Return the empty column of an empty group."""
    return frozen_floats(())


def no_indices() -> Indices:
    """Return the empty column of an empty group."""
    return frozen_indices(())


def no_flags() -> Flags:
    """Return the empty column of an empty group."""
    return frozen_flags(())
