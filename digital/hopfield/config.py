"""What a deep Hopfield network is: layers, slopes, boxes and couplings; and the tensors that go with it.

Takes: the user's numbers. Gives: shapes, layer by layer. Must not know: states, phases, training.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

from torch import Tensor

from ..errors import StageError
from ..stages import Shape
from .choices import LastLayer, chosen
from .couplings import ConvCoupling, Coupling, DenseCoupling


class HopfieldParameters(NamedTuple):
    """Weights and biases of a network of L layers.

    Args:
        weights: of the L - 1 couplings, each of the shape that its coupling says.
        biases: of the L layers, one a unit or, of an image, one a channel; None for no bias.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor | None, ...]

    def flatten(self) -> list[Tensor]:
        """Return all tensors in a row: weights, then the biases that there are."""
        return [*self.weights, *(bias for bias in self.biases if bias is not None)]

    def replace(self, tensors: Sequence[Tensor]) -> "HopfieldParameters":
        """Return the same with other tensors, in the order of `flatten`."""
        rest = iter(tensors)
        weights = tuple(next(rest) for _ in self.weights)
        return HopfieldParameters(weights, tuple(None if bias is None else next(rest) for bias in self.biases))


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class HopfieldConfig:
    """A deep Hopfield network, from the layer that the input drives to the layer that is read.

    Equation: at equilibrium s^l = clamp(a_l c^l, 0, 1), c^l the sum of all currents into layer l; s^L = c^L if linear.

    Args:
        input_shape: of the input x and so of the first layer: (units,) or (channels, height, width).
        couplings: from each layer to the next; the first starts at the first layer.
        slope: a of the layers with a box, one number for all or one a layer.
        last_layer: linear, as in the paper but for the inner blocks of a split network, or clamped like the others.
        input_bias: whether the first layer has a bias of its own; the stage before it can as well have it.
        name: of the block, for messages.

    Raises:
        StageError: if couplings do not fit the layers, or a slope is not a positive number.

    Source: Nest & Ernoult 2024, deep Hopfield networks; their code has slopes of 0.5 to 1.
    """

    input_shape: Shape
    couplings: tuple[Coupling, ...]
    slope: float | tuple[float, ...] = 0.5
    last_layer: LastLayer = LastLayer.LINEAR
    input_bias: bool = False
    name: str = "hopfield"

    def __post_init__(self) -> None:
        where = f"hopfield block '{self.name}'"
        object.__setattr__(self, "input_shape", tuple(self.input_shape))
        object.__setattr__(self, "couplings", tuple(self.couplings))
        object.__setattr__(self, "last_layer", chosen(LastLayer, self.last_layer, f"{where}: last_layer"))
        if not isinstance(self.slope, int | float):
            object.__setattr__(self, "slope", tuple(self.slope))
        if len(self.input_shape) not in {1, 3} or min(self.input_shape) < 1:
            raise StageError(
                f"{where}: input_shape = {self.input_shape}; give (units,) or (channels, height, width), each one or "
                "more"
            )
        if not self.couplings:
            raise StageError(f"{where}: no couplings; give one or more, each with the layer that it leads to")
        for number, coupling in enumerate(self.couplings, start=1):
            if not isinstance(coupling, DenseCoupling | ConvCoupling):
                raise StageError(f"{where}: coupling {number} is {coupling!r}; give a DenseCoupling or a ConvCoupling")
        n_layers, slopes = len(self.shapes), self._given_slopes()
        n_boxes = sum(self.boxes)
        if isinstance(self.slope, tuple) and len(self.slope) != n_boxes:
            raise StageError(
                f"{where}: {len(self.slope)} slopes for {n_boxes} of {n_layers} layers that have a box; give as many, "
                "or one number for all"
            )
        for slope in slopes:
            if not (math.isfinite(slope) and slope > 0):
                raise StageError(f"{where}: slope = {slope!r}; give a finite number above zero (0.5 to 1 is usual)")

    def _given_slopes(self) -> tuple[float, ...]:
        return self.slope if isinstance(self.slope, tuple) else (self.slope,) * sum(self.boxes)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Shape of each layer, of one sample."""
        shapes = [self.input_shape]
        for number, coupling in enumerate(self.couplings, start=1):
            shapes.append(coupling.next_shape(shapes[-1], f"hopfield block '{self.name}': coupling {number}"))
        return tuple(shapes)

    @property
    def output_shape(self) -> Shape:
        """Shape of the last layer, which is what leaves the block."""
        return self.shapes[-1]

    @property
    def boxes(self) -> tuple[bool, ...]:
        """Whether each layer is kept in [0, 1]."""
        return (True,) * len(self.couplings) + (self.last_layer is LastLayer.CLAMPED,)

    @property
    def slopes(self) -> tuple[float, ...]:
        """Slope of each layer, 1 for a linear one: the leak of its units is 1 / a."""
        given = tuple(float(slope) for slope in self._given_slopes())
        return given if self.last_layer is LastLayer.CLAMPED else (*given, 1.0)

    @property
    def has_max_pool(self) -> bool:
        """Whether the energy has a max-pool, for which there is no circuit."""
        return any(coupling.pool is not None for coupling in self.couplings)
