"""How the phases of equilibrium propagation are run: the choices, as one frozen value."""

from dataclasses import dataclass
from enum import Enum
from typing import final

import numpy as np

from circuits.choices import chosen

from .errors import BlockError


class Nudging(Enum):
    """Which two equilibria are compared."""

    CENTERED = "centered"  # -beta and +beta: error of order beta^2
    POSITIVE = "positive"  # free and +beta: error of order beta
    NEGATIVE = "negative"  # -beta and free

    @property
    def signs(self) -> tuple[int, ...]:
        """The signs of the nudges that are relaxed, in their order."""
        return {Nudging.CENTERED: (-1, 1), Nudging.POSITIVE: (1,), Nudging.NEGATIVE: (-1,)}[self]


class NudgeScaling(Enum):
    """What nudge current a loss gradient ds becomes."""

    PER_SAMPLE = "per_sample"  # the largest |ds| of each sample gives beta; undone in the estimate
    NONE = "none"  # beta ds as it comes


class DifferenceRead(Enum):
    """How the difference of two phases is read."""

    EACH_PHASE = "each_phase"  # each phase through the ADC, subtracted in digital
    SAMPLE_AND_HOLD = "sample_and_hold"  # subtracted in analog, then converted with a range of its own


class ParameterRead(Enum):
    """What the conductance gradients are computed from."""

    LOCAL = "local"  # the voltages at each device, no converter
    DIGITAL = "digital"  # digitised states of every layer


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class PhaseSettings:
    """How the phases of equilibrium propagation are run.

    Args:
        beta: nudge, dimensionless; with per-sample scaling the nudge current of the largest |ds| in g_unit v_unit.
        nudging: which equilibria are compared.
        scaling: whether each sample's ds is scaled to the nudge DAC's full scale.
        difference_read: how differences reach the digital side.
        parameter_read: what conductance gradients are computed from.
    """

    beta: float = 0.005  # the bias of order beta^2 stays below a permille, far above a simulator's tolerance
    nudging: Nudging = Nudging.CENTERED
    scaling: NudgeScaling = NudgeScaling.PER_SAMPLE
    difference_read: DifferenceRead = DifferenceRead.SAMPLE_AND_HOLD
    parameter_read: ParameterRead = ParameterRead.LOCAL

    def __post_init__(self) -> None:
        for field, kind in (
            ("nudging", Nudging),
            ("scaling", NudgeScaling),
            ("difference_read", DifferenceRead),
            ("parameter_read", ParameterRead),
        ):
            value = chosen(kind, getattr(self, field), f"phases: {field}", BlockError)
            object.__setattr__(self, field, value)
        if not (np.isfinite(self.beta) and self.beta > 0):
            raise BlockError(
                f"phases: beta = {self.beta!r}; equilibrium propagation divides by it, so give a finite value above "
                "zero (0.02 to 0.5 is usual)"
            )
