"""The choices of a deep Hopfield block, each an enum whose values are the words of a file."""

from enum import Enum
from typing import TypeVar

from ..errors import StageError

E = TypeVar("E", bound=Enum)


class LastLayer(Enum):
    """What the last layer does with the current that it gets."""

    LINEAR = "linear"  # s = c: no box, slope 1
    CLAMPED = "clamped"  # s = clamp(a c, 0, 1), as in the other layers


class Gradient(Enum):
    """Where a block's gradient comes from."""

    EP = "ep"  # nudged phases
    ID = "id"  # backprop through steps that go on from the free state


class Nudging(Enum):
    """Which two states are compared."""

    CENTERED = "centered"  # -beta and +beta
    POSITIVE = "positive"  # free and +beta: error of order beta
    NEGATIVE = "negative"  # -beta and free: likewise


class NudgeScaling(Enum):
    """By what a sample's loss gradient ds is multiplied before it nudges; the estimate is divided by the same."""

    BATCH = "batch"  # the batch size: ds is then the sample's own, as the loss is a mean over the batch
    PER_SAMPLE = "per_sample"  # 1 / max |ds|: the strongest nudge of each sample is beta
    NONE = "none"  # 1


def chosen(kind: type[E], value: object, where: str) -> E:
    """Return the member that a value names, being it or its word.

    Raises:
        StageError: with what is allowed.
    """
    try:
        return kind(value)
    except ValueError:
        allowed = ", ".join(repr(member.value) for member in kind)
        raise StageError(f"{where} = {value!r}; allowed are {allowed}") from None
