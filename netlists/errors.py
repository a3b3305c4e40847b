"""Error class of the netlist layer."""

from circuits.errors import TellegenError


class NetlistError(TellegenError):
    """A circuit that cannot be spelt as a SPICE netlist."""
