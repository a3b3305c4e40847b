"""What the analog blocks show while they are trained: means over an epoch, as flat numbers for the metrics.

Takes: a network's blocks, after each training step. Gives: "block1.clamped_share" and the like. Must not know: files.
"""

import math
from collections.abc import Sequence
from typing import Any, final

from ..analog_block import AnalogBlock
from ..errors import RunError

CLAMPED_SHARE = "clamped_share"  # of all units, at a clamp in the free phase
NUDGE_RESPONSE = "nudge_response_v"  # V: root mean square of what the nudge changes at the outputs
TOLERANCE = "tolerance_v"  # V: of the solver
ADC_STEP = "adc_step_v"  # V: of the ADC that reads the states; none where it is ideal or reads no voltage
QUANTITIES = (CLAMPED_SHARE, NUDGE_RESPONSE, TOLERANCE, ADC_STEP)


def observe_block(block: AnalogBlock) -> dict[str, float]:
    """Return what a block's last phases showed, by quantity; what it did not show is left out."""
    nudge = block.last_nudge
    shown = {
        CLAMPED_SHARE: block.clamped_share,
        NUDGE_RESPONSE: None if nudge is None else nudge.rms_v,
        TOLERANCE: None if nudge is None else nudge.tolerance_v,
        ADC_STEP: None if nudge is None else nudge.adc_step_v,
    }
    return {quantity: value for quantity, value in shown.items() if value is not None}


@final
class Observer:
    """The running means of an epoch; a few additions a step.

    Args:
        blocks: whose phases are observed, each under its own name; none is fine.
    """

    def __init__(self, blocks: Sequence[AnalogBlock]) -> None:
        self._blocks = tuple(blocks)
        self._sums: dict[str, tuple[float, int]] = {}  # of each name, with the number of steps that showed it

    def observe(self) -> None:
        """Take in what the blocks showed; call it after a training step, before anything is evaluated."""
        for block in self._blocks:
            for quantity, value in observe_block(block).items():
                name = f"{block.block.name}.{quantity}"
                total, count = self._sums.get(name, (0.0, 0))
                self._sums[name] = (total + value, count + 1)

    def metrics(self) -> dict[str, float]:
        """Return the mean of each name over the steps since the last reset."""
        return {name: total / count for name, (total, count) in self._sums.items()}

    def reset(self) -> None:
        """Forget what was observed: an epoch begins."""
        self._sums.clear()

    def to_json(self) -> dict[str, list[float]]:
        """Return the sums for a checkpoint; JSON keeps every bit of a finite number."""
        return {name: [total, count] for name, (total, count) in self._sums.items()}

    def from_json(self, value: Any) -> None:
        """Take the sums of a checkpoint in place of one's own.

        Args:
            value: as `to_json` returned it.

        Raises:
            RunError: if these are no sums of these blocks.
        """
        known = {f"{block.block.name}.{quantity}" for block in self._blocks for quantity in QUANTITIES}
        if not isinstance(value, dict) or not value.keys() <= known or not all(map(_is_sum, value.values())):
            raise RunError(f"the observations {value!r:.60} are none of this network's blocks; start anew with --force")
        self._sums = {name: (float(total), int(count)) for name, (total, count) in value.items()}


def _is_sum(value: Any) -> bool:
    """Whether a value is a finite sum and the number of its terms."""
    if not (isinstance(value, list | tuple) and len(value) == 2):
        return False
    total, count = value
    return isinstance(total, int | float) and math.isfinite(total) and type(count) is int and count >= 1
