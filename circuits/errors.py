"""Error classes of the circuit layer; every error of the project derives from `TellegenError`."""


class TellegenError(Exception):
    """Base class of every failure that the project reports to its user."""


class CircuitError(TellegenError):
    """A circuit, or a number given to one, that cannot be a physical circuit with one equilibrium."""
