"""Error classes of the digital side; their base, `TellegenError`, is all that this package takes from the others."""

from circuits.errors import TellegenError


class StageError(TellegenError):
    """A digital stage or a chain of stages asked for a shape or number that it cannot have."""


class DataError(TellegenError):
    """A data set that is missing, damaged or too small."""
