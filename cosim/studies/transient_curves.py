"""Two estimates of one gradient while a nudged circuit settles, and how far apart they are."""

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from circuits.arrays import Floats

from .agreement import cosine_and_norm_ratio

ERROR_LIMIT = 1e-3  # of max_relative_error
COSINE_LIMIT = 0.9999
NORM_LIMIT = 1e-3  # of |norm ratio - 1|


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Curves:
    """The gradient by one tensor in time.

    Args:
        time: [n_t] — s after the nudge of a circuit, steps of a hopfield block.
        values: tensor name -> [n_t, n] gradient of each device, weight or input.
    """

    time: Floats
    values: dict[str, Floats]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class BlockTimes:
    """The nudge and the time of a block.

    Args:
        block: its name.
        beta: nudge.
        window: s of a circuit, steps of a hopfield block: how long it was followed after the nudge.
        slowest_s, fastest_s: s — largest and smallest time constant of a circuit; None of a hopfield block.
    """

    block: str
    beta: float
    window: float
    slowest_s: float | None = None
    fastest_s: float | None = None

    @property
    def unit(self) -> float:
        """What plots count in: the slowest time constant of a circuit in s, one step."""
        return self.slowest_s or 1.0

    def to_json(self) -> dict[str, Any]:
        """Return what `tellegen transient --json` writes."""
        if self.slowest_s is None:
            return {"block": self.block, "beta": self.beta, "window_steps": round(self.window)}
        return {
            "block": self.block,
            "beta": self.beta,
            "window_s": self.window,
            "slowest_s": self.slowest_s,
            "fastest_s": self.fastest_s,
        }


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LayerCurves:
    """One tensor of a block: what equilibrium propagation reads in time, against implicit differentiation.

    Args:
        block: name of the block.
        tensor: "w1", "b1", ... of a circuit, "weights.0", ... of a hopfield block; "input" of either.
        time: [n_t] — s after the nudge, or steps.
        estimated: [n_t, n] EP(t) of each device, weight or input of a sample.
        exact: [n_t, n] ID(t) likewise.
        clamped_share: of the block's units in the free phase.
        times: of the block.
    """

    block: str
    tensor: str
    time: Floats
    estimated: Floats
    exact: Floats
    clamped_share: float
    times: BlockTimes

    @property
    def max_relative_error(self) -> float:
        """Largest |EP(t) - ID(t)| over time, relative to |ID| at the end; norms over the tensor."""
        worst = float(np.linalg.norm(self.estimated - self.exact, axis=1).max())
        final_norm = float(np.linalg.norm(self.exact[-1]))
        return 0.0 if worst == 0 else worst / final_norm if final_norm > 0 else math.inf

    @property
    def cosine(self) -> float:
        """Cosine of EP and ID at the end; two zeros agree."""
        return cosine_and_norm_ratio(self.estimated[-1], self.exact[-1])[0]

    @property
    def norm_ratio(self) -> float:
        """|EP| over |ID| at the end; two zeros agree."""
        return cosine_and_norm_ratio(self.estimated[-1], self.exact[-1])[1]

    @property
    def passed(self) -> bool:
        """Whether all three are within limits; NaN is not."""
        within = self.max_relative_error <= ERROR_LIMIT, self.cosine >= COSINE_LIMIT
        return all(within) and abs(self.norm_ratio - 1.0) <= NORM_LIMIT

    def to_json(self) -> dict[str, Any]:
        """Return the numbers, without the curves."""
        return {
            "block": self.block,
            "tensor": self.tensor,
            "devices": self.exact.shape[1],
            "max_relative_error": self.max_relative_error,
            "cosine": self.cosine,
            "norm_ratio": self.norm_ratio,
            "clamped_share": self.clamped_share,
        }
