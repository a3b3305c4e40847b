"""What the converters of a block remember: ranges found from data, and how much noise was drawn."""

from collections.abc import Mapping
from typing import Any, final

import numpy as np

from circuits.arrays import Floats

from .ranges import Crossing, Ranges

N_RANGES = len(Crossing)
BUFFER = "converter_ranges"  # of a block's module
DRAWS_WRAP = 1 << 24  # a module turned to float32 holds whole numbers up to here


@final
class ConverterState:
    """Ranges and the counter of noise, as one vector that a block keeps in a buffer.

    Noise is drawn from a seed and a counter, without a generator whose state would have to be kept. In training the
    counter is part of the vector, so that a run goes on to the bit. In evaluation a second counter serves, which begins
    anew with each evaluation: that leaves no trace in the vector, its batches differ in their noise, and from the same
    checkpoint it gives the same numbers.

    Args:
        values: [8] the ranges of `Crossing`, and the number of draws of noise in training; copied.
    """

    def __init__(self, values: Floats | None = None) -> None:
        self.values = np.zeros(N_RANGES + 1) if values is None else np.array(values, dtype=np.float64)
        self.ranges = Ranges.viewing(self.values[:N_RANGES])
        self._evaluations = 0

    def begin_evaluation(self) -> None:
        """Begin the counter of evaluation anew."""
        self._evaluations = 0

    def begin_draw(self, *, learn: bool) -> tuple[int, int]:
        """Return what tells the next draw of noise from all others, and count it."""
        draws = int(self.values[N_RANGES])
        if learn:
            self.values[N_RANGES] = draws = (draws + 1) % DRAWS_WRAP
            return draws, 0
        self._evaluations += 1
        return draws, self._evaluations


def complete_state(tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return saved tensors with the counter of noise, which files from before there was noise do not have."""
    completed = dict(tensors)
    for name, tensor in tensors.items():
        if name.rpartition(".")[2] == BUFFER and tuple(tensor.shape) == (N_RANGES,):
            completed[name] = tensor.new_zeros(N_RANGES + 1)
            completed[name][:N_RANGES] = tensor
    return completed
