"""A block with the numbers to be programmed into it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from circuits.arrays import Floats
from circuits.energy_block import EnergyBlock

from .report import ProgrammingReport

Weights = dict[str, Floats]  # of each crossbar by name


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ProgrammedBlock:
    """An energy block, its conductances and how they came about.

    Args:
        block: the description, leaks included.
        plus, minus: G+ and G- of each crossbar by name, in units of g_unit; no minus with single polarity.
        report: what was done.
    """

    block: EnergyBlock
    plus: Mapping[str, Floats]
    minus: Mapping[str, Floats]
    report: ProgrammingReport


def parameter_dtype(tensor: Tensor) -> np.dtype:
    """Return the type in which conductances are kept for a network with such a tensor: float64, or else float32."""
    return np.dtype(np.float64 if tensor.dtype == torch.float64 else np.float32)


def in_window(values: Floats, window: tuple[float, float], dtype: np.dtype) -> Floats:
    """Return conductances as a parameter of a type will hold them, rounded to what is in the window."""
    low, high = (np.asarray(edge).astype(dtype) for edge in window)
    low = np.nextafter(low, dtype.type(np.inf)) if low < window[0] else low
    high = np.nextafter(high, dtype.type(0)) if high > window[1] else high
    return np.asarray(np.clip(values.astype(dtype), low, high).astype(np.float64))
