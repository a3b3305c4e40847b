"""Error classes of sweeps."""

from circuits.errors import TellegenError


class SweepError(TellegenError):
    """A sweep file with a wrong key, axis or value, or a base that it cannot be done with."""


class StoreError(SweepError):
    """A sweep's folder or store that is damaged, taken, or holds another sweep."""
