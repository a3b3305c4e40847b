"""Error class of pricing."""

from circuits.errors import TellegenError


class ChipError(TellegenError):
    """A chip that cannot be priced: a constant that is wrong, a network that says too little, a state not found."""
