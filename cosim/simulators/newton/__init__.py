"""newton: the same circuits and the same element laws, batched in torch float64, on CPU or CUDA."""

from .simulator import NewtonSession, NewtonSimulator

__all__ = ["NewtonSession", "NewtonSimulator"]
