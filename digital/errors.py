"""Error class of the digital side; its base, `TellegenError`, is all that this package takes from the others."""

from circuits.errors import TellegenError


class StageError(TellegenError):
    """A digital stage, a chain of stages or a data set asked for a shape or number that it cannot have."""
