"""What newton asks of whoever solves its linear part: the matrices of one topology, and of one parameter set.

With v = T u + P e (circuits.topology): r(u) = H u + N e - J i + D^T i_d(v_d) + C^T i_c(v), H = T^T L T, N = T^T L P and
i_c the excess of cubic devices over Ohm's law. With amplifiers diag(weight) S stands for T^T throughout: r is then the
derivative of the weighted energy, and H symmetric as before.
"""

from abc import ABC, abstractmethod
from enum import Enum

from torch import Tensor

from circuits.arrays import Floats


class LinearSolver(Enum):
    """How newton solves its linear equations."""

    AUTO = "auto"  # elimination, and conjugate gradients where it would be too large
    ELIMINATION = "elimination"  # dense: eliminate every other layer, factor the rest
    CONJUGATE_GRADIENTS = "conjugate_gradients"  # sparse: no matrix of more entries than the circuit has devices


class AbstractMatrices(ABC):
    """The linear equations of one parameter set."""

    @abstractmethod
    def multiply(self, u: Tensor) -> Tensor:
        """Return H u, [batch, n_unknowns] A."""

    @abstractmethod
    def coupled(self, source_v: Tensor) -> Tensor:
        """Return N e, [batch, n_unknowns] A, for [batch, n_voltage_sources] V."""

    @abstractmethod
    def solve(self, g_d: Tensor, slope: Tensor | None, right: Tensor, tolerance: Tensor) -> Tensor:
        """Solve (H + D^T diag(g_d) D + C^T diag(slope) C) x = right for each sample.

        Args:
            g_d: [batch, n_diodes] S.
            slope: [n_cubic, batch] S — 3 g k3 V^2; None where every resistor is linear.
            right: [batch, n_unknowns] A.
            tolerance: [batch] largest residual relative to `right`; an exact solver does better.

        Returns:
            [batch, n_unknowns] V; NaN for a sample whose matrix is not positive definite.
        """


class AbstractEquations(ABC):
    """The linear equations of one topology."""

    @property
    @abstractmethod
    def is_exact(self) -> bool:
        """Whether solutions are exact to rounding, whatever the tolerance."""

    @property
    @abstractmethod
    def chunk_size(self) -> int:
        """Number of samples to solve at a time."""

    @abstractmethod
    def known(self, source_v: Tensor) -> Tensor:
        """Return P e, [batch, n_nodes] V."""

    @abstractmethod
    def injected(self, current_a: Tensor) -> Tensor:
        """Return J i, [batch, n_unknowns] A, for [batch, n_current_sources] A."""

    @abstractmethod
    def program(self, conductance_s: Floats) -> AbstractMatrices:
        """Return the matrices of one parameter set, [n_resistors] S."""
