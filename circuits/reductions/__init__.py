"""Exact reductions: a smaller circuit with the same equilibrium, and the way back to the full one."""

from .base import AbstractProgram, AbstractReduction
from .chain import Chain
from .folding import Folding, fold
from .mirror import Mirror, mirror
from .ports import Ports, ports

__all__ = ["AbstractProgram", "AbstractReduction", "Chain", "Folding", "Mirror", "Ports", "fold", "mirror", "ports"]
