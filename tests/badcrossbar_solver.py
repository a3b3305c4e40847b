"""badcrossbar without what its import does to the process: a root logger, and a warning that it cannot plot."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from circuits.arrays import Floats


def badcrossbar_solution(applied_v: Floats, conductance_s: Floats, row_ohm: float, column_ohm: float) -> Any:
    """Return currents and voltages of a crossbar whose columns end at ground.

    Args:
        applied_v: [n_rows, batch] V.
        conductance_s: [n_rows, n_columns] S.
        row_ohm: ohm, of a segment of a row wire.
        column_ohm: ohm.
    """
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        with warnings.catch_warnings(record=True):
            import badcrossbar
        root.setLevel(logging.WARNING)
        return badcrossbar.compute(applied_v, 1.0 / conductance_s, r_i_word_line=row_ohm, r_i_bit_line=column_ohm)
    finally:
        root.handlers[:], root.level = handlers, level
