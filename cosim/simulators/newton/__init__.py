"""newton: the same circuits and the same element laws, batched in torch float64, on CPU or CUDA."""

from .linear import LinearSolver
from .simulator import NewtonSession, NewtonSimulator

__all__ = ["LinearSolver", "NewtonSession", "NewtonSimulator"]
