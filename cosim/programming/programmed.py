"""A block with the numbers to be programmed into it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from circuits.arrays import Floats
from circuits.energy_block import EnergyBlock

from .report import ProgrammingReport


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


def in_window(values: Floats, window: tuple[float, float], dtype: np.dtype) -> Floats:
    """Return conductances as a parameter of a type will hold them, rounded but not out of the window."""
    return np.asarray(np.clip(values, *window).astype(dtype).astype(np.float64))
