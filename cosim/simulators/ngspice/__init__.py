"""ngspice: streamed sweeps of real decks, in worker processes or in this one. Imports no torch."""

from .simulator import NgspiceSession, NgspiceSimulator

__all__ = ["NgspiceSession", "NgspiceSimulator"]
