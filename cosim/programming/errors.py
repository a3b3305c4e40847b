"""Error classes of programming."""

from circuits.errors import TellegenError


class ProgrammingError(TellegenError):
    """A module that no circuit stands for, or not within what was asked."""
