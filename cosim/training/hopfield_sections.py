"""Hopfield stages in a configuration file, and how all of them are run: their couplings, and `[hopfield]`.

They have no circuit, and no units.
"""

import math
from enum import Enum
from typing import Annotated, Any, Literal, final

from pydantic import BeforeValidator, Field

from ..phase_settings import Nudging
from .section import READ_LOOSELY, Count, Margin, Name, Positive, Section


class LastLayerKind(Enum):
    """What the last layer of a hopfield stage does with its current."""

    LINEAR = "linear"  # s = c
    CLAMPED = "clamped"  # s = clamp(a c, 0, 1), as in the other layers


class HopfieldScaling(Enum):
    """By what a sample's loss gradient is multiplied before it nudges a hopfield stage."""

    BATCH = "batch"  # the batch size, as the loss is a mean: the sample's own gradient
    PER_SAMPLE = "per_sample"  # the largest of each sample gives beta
    NONE = "none"


@final
class ConvCouplingSection(Section):
    """A convolution from one layer of a hopfield stage to the next; `pool` is a max-pool inside the energy."""

    kind: Literal["conv"]
    channels: Count
    kernel: Count = 3
    stride: Count = 1
    padding: Margin = 1
    pool: Annotated[int, Field(ge=2)] | None = None
    bias: bool = True


@final
class DenseCouplingSection(Section):
    """A matrix from every unit of a layer of a hopfield stage to the `size` units of the next."""

    kind: Literal["dense"]
    size: Count
    bias: bool = True


CouplingSection = Annotated[ConvCouplingSection | DenseCouplingSection, Field(discriminator="kind")]


def _read_slope(value: Any) -> Any:
    """Take a number or a list of numbers; a union of both would report each mistake twice."""
    given = value if isinstance(value, list | tuple) else [value]
    is_right = all(isinstance(a, int | float) and not isinstance(a, bool) and 0 < a < math.inf for a in given)
    if not given or not is_right:
        raise ValueError(f"{value!r} is no slope; write a number above zero, or a list, one for each layer with a box")
    return tuple(map(float, given)) if isinstance(value, list | tuple) else float(value)


@final
class HopfieldStage(Section):
    """An energy block without a circuit: a deep Hopfield network, whose first layer the sample enters as currents.

    `slope` is of the layers in [0, 1], one number for all or one each. Without `goe_variance` convolutional weights
    start as torch's do, with it as the paper's.
    """

    kind: Literal["hopfield"]
    couplings: Annotated[tuple[CouplingSection, ...], Field(strict=False, min_length=1)]
    name: Name | None = None
    slope: Annotated[float | tuple[float, ...], BeforeValidator(_read_slope)] = 0.5
    last_layer: Annotated[LastLayerKind, READ_LOOSELY] = LastLayerKind.LINEAR
    input_bias: bool = False
    goe_variance: Positive | None = None


@final
class HopfieldSection(Section):
    """`[hopfield]`: how every hopfield stage is relaxed, and nudged or differentiated; the paper's numbers.

    `free_steps` is T1, at most if there is a `tolerance`, the largest change of a unit at which the free phase ends;
    `nudged_steps` is T2. With `gradient = "implicit"` there is no nudge: backprop goes through T2 more steps.
    """

    free_steps: Count = 60
    nudged_steps: Count = 20
    tolerance: Positive | None = None
    beta: Positive = 0.2
    nudging: Annotated[Nudging, READ_LOOSELY] = Nudging.CENTERED
    scaling: Annotated[HopfieldScaling, READ_LOOSELY] = HopfieldScaling.BATCH
