"""Choices given by name: a member of an enum, or the word that stands for it in a file."""

from enum import Enum
from typing import TypeVar

from .errors import TellegenError

E = TypeVar("E", bound=Enum)


def chosen(kind: type[E], value: object, where: str, error: type[TellegenError]) -> E:
    """Return the member that a value names.

    Args:
        kind: the enum.
        value: a member, or its value.
        where: the field, for the message.
        error: class to raise.

    Raises:
        TellegenError: of the given class, with what is allowed.
    """
    try:
        return kind(value)
    except ValueError:
        allowed = ", ".join(repr(member.value) for member in kind)
        raise error(f"{where} = {value!r}; allowed are {allowed}") from None
