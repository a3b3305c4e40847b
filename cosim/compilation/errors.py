"""Error classes of compiling."""

from circuits.errors import TellegenError


class CompileError(TellegenError):
    """A network that cannot be made into netlists."""


class BundleError(TellegenError):
    """A bundle that cannot be written, or is not what was written."""
