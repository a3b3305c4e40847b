"""What a transient study asks of an energy block, circuit or hopfield network alike."""

from abc import ABC, abstractmethod

from torch import Tensor

from .transient_curves import BlockTimes, Curves


class AbstractBlockInTime(ABC):
    """A block at its free equilibrium, whose gradients are followed while it settles under a nudge."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the block."""

    @property
    @abstractmethod
    def times(self) -> BlockTimes:
        """What its time is measured in, and how long it was followed, once it was relaxed."""

    @abstractmethod
    def relax(self, x: Tensor) -> Tensor:
        """Find the free equilibrium, which the other methods start from.

        Args:
            x: [batch, ...] input.

        Returns:
            [batch, ...] what the block gives to the next stage.
        """

    @property
    @abstractmethod
    def clamped_share(self) -> float:
        """Share of the units at a limit of theirs in the free equilibrium."""

    @abstractmethod
    def estimate(self, ds: Tensor) -> tuple[Curves, Tensor]:
        """Nudge by -beta and +beta and return EP(t).

        Args:
            ds: [batch, ...] dL/d(output).

        Returns:
            the curves, "input" among them, and dL/dx at their end in the shape of the input.
        """

    @abstractmethod
    def differentiate(self, ds: Tensor) -> tuple[Curves, Tensor]:
        """Return ID(t), of the linearised circuit or the unrolled network, at the same times as `estimate`."""
