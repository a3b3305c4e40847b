"""The digital stages of a configuration file: `[[network.stages]]` of torch's own modules."""

from typing import Annotated, Literal, final

from pydantic import Field, JsonValue

from .section import Count, Margin, Positive, Section


@final
class FlattenStage(Section):
    """An image laid out as one row."""

    kind: Literal["flatten"]


@final
class LinearStage(Section):
    """A dense layer of `size` outputs."""

    kind: Literal["linear"]
    size: Count
    bias: bool = True


@final
class ConvStage(Section):
    """A 2-D convolution to `channels` channels, its square kernel, stride and zero padding as in torch.

    Without `goe_variance` its weights start as torch's do, with it as the paper's, the bias at zero.
    """

    kind: Literal["conv"]
    channels: Count
    kernel: Count
    stride: Count = 1
    padding: Margin = 0
    bias: bool = True
    goe_variance: Positive | None = None


@final
class MaxPoolStage(Section):
    """The largest of each window; without a stride the windows do not overlap."""

    kind: Literal["max_pool"]
    kernel: Count
    stride: Count | None = None


@final
class AveragePoolStage(Section):
    """The mean of each window; without a stride the windows do not overlap."""

    kind: Literal["average_pool"]
    kernel: Count
    stride: Count | None = None


@final
class TanhStage(Section):
    """A hyperbolic tangent."""

    kind: Literal["tanh"]


@final
class ModuleStage(Section):
    """Any torch module by its name, "torch.nn.GELU" or your own, with the arguments that make it."""

    kind: Literal["module"]
    module: Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$", examples=["torch.nn.GELU"])]
    arguments: dict[str, JsonValue] = {}  # noqa: RUF012  pydantic copies it; what a run folder can hold


@final
class BatchNormStage(Section):
    """Batch normalisation, of units or of channels; `affine` for a trained scale and shift."""

    kind: Literal["batch_norm"]
    affine: bool = True
    momentum: Annotated[float, Field(gt=0, le=1)] = 0.1


@final
class ReluStage(Section):
    """A rectifier."""

    kind: Literal["relu"]


@final
class GainStage(Section):
    """A factor: how far the next block is driven."""

    kind: Literal["gain"]
    value: float
    trainable: bool = False


@final
class StandardiseStage(Section):
    """A fixed shift and scale, (x - mean) / std."""

    kind: Literal["standardise"]
    mean: float
    std: Positive


DigitalStage = (
    FlattenStage
    | LinearStage
    | ConvStage
    | MaxPoolStage
    | AveragePoolStage
    | BatchNormStage
    | ReluStage
    | TanhStage
    | GainStage
    | StandardiseStage
    | ModuleStage
)
