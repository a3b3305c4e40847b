"""How a deep Hopfield block is relaxed and differentiated, as one frozen value."""

import math
from dataclasses import dataclass
from typing import final

from ..errors import StageError
from .choices import Gradient, NudgeScaling, Nudging, chosen


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class HopfieldPhases:
    """The phases of a deep Hopfield block; the defaults are the paper's of its small networks.

    Args:
        free_steps: T1, steps of the free phase; with a tolerance, at most.
        nudged_steps: T2, steps of each nudged phase, or steps to differentiate through.
        tolerance: largest change of a unit at which the free phase ends; None to do all steps. Nudged phases have none.
        gradient: equilibrium propagation, or the paper's implicit differentiation by unrolling.
        beta: how strongly the loss gradient nudges.
        nudging: which states are compared.
        scaling: what a sample's loss gradient is multiplied by before it nudges.

    Raises:
        StageError: for a number out of range, or a word that is no choice.
    """

    free_steps: int = 60
    nudged_steps: int = 20
    tolerance: float | None = None
    gradient: Gradient = Gradient.EP
    beta: float = 0.2
    nudging: Nudging = Nudging.CENTERED
    scaling: NudgeScaling = NudgeScaling.BATCH

    @property
    def n_nudged(self) -> int:
        """Nudged phases of a gradient."""
        return 2 if self.nudging is Nudging.CENTERED else 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "gradient", chosen(Gradient, self.gradient, "hopfield phases: gradient"))
        object.__setattr__(self, "nudging", chosen(Nudging, self.nudging, "hopfield phases: nudging"))
        object.__setattr__(self, "scaling", chosen(NudgeScaling, self.scaling, "hopfield phases: scaling"))
        for name in ("free_steps", "nudged_steps"):
            steps = getattr(self, name)
            if not isinstance(steps, int) or steps < 1:
                raise StageError(f"hopfield phases: {name} = {steps!r}; give a whole number, one or more")
        if not (math.isfinite(self.beta) and self.beta > 0):
            raise StageError(
                f"hopfield phases: beta = {self.beta!r}; equilibrium propagation divides by it, so give a finite value "
                "above zero (0.02 to 0.5 is usual)"
            )
        if self.tolerance is not None and not (math.isfinite(self.tolerance) and self.tolerance > 0):
            raise StageError(
                f"hopfield phases: tolerance = {self.tolerance!r}; give a finite value above zero, or None to do all "
                "steps"
            )
