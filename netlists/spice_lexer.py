"""Read the cards of a deck: logical lines without comments, continuations joined and includes opened in place.

A card knows its file and line, so that every complaint can name them. Comments are `*` at the start of a line, `;` and
`//` anywhere, and `$` after a space; all of it as in ngspice 39, which also resolves an include against the folder of
the file that has it. What ngspice would read in a surprising way (a backslash at the end of a line, a line after
`.end`) is refused.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from .errors import NetlistError

DEEPEST_INCLUDE: Final = 40
MOST_INCLUDES: Final = 10_000
_COMMENT: Final = re.compile(r";|//|(?:^|(?<=[\s,]))\$")
_INCLUDE: Final = re.compile(r"""\.inc(?:lude)?\s+(?:"([^"]+)"|'([^']+)'|(\S+))\s*""", re.IGNORECASE)
_PRINTABLE: Final = re.compile(r"[\t -~]*", re.ASCII)


class Card(NamedTuple):
    """One logical line: lower case, no comment, continuation lines joined by spaces."""

    file: str
    line: int
    text: str

    @property
    def place(self) -> str:
        """File and line."""
        return f"{self.file}, line {self.line}"

    def error(self, message: str) -> NetlistError:
        """Return an error that names the card's file and line."""
        return NetlistError(f"{self.place}: {message}")


def read_cards(path: str | os.PathLike[str]) -> tuple[str, Iterator[Card]]:
    """Read a deck and what it includes.

    Args:
        path: the deck; its first line is its title.

    Returns:
        the title without a leading `*`, and the cards in order; the files behind it are read as the cards are taken.

    Raises:
        NetlistError: for a file that is missing or unreadable, a cycle of includes, or a line that no card can hold;
            some of these only as the cards are taken.
    """
    top = Path(path)
    lines = _read_lines(top, None)
    title = " ".join(lines[0].strip().removeprefix("*").split()) if lines else ""
    return title, _cards(top, lines, 1, (os.path.realpath(top),), iter(range(MOST_INCLUDES)))


def _read_lines(path: Path, card: Card | None) -> list[str]:
    """Return the lines of a file, or name the card that asks for it."""
    asked = f"{card.place}: included file " if card else "deck "
    if not path.is_file():  # nor a device or pipe, that might never end
        raise NetlistError(f"{asked}'{path}' is missing or no file; give the path of a SPICE file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NetlistError(f"{asked}'{path}' cannot be read: {error.strerror or error}") from error
    return content.decode("utf-8", "replace").split("\n")  # ngspice ends lines at a line feed only


def _logical_lines(file: str, lines: list[str], skipped: int) -> Iterator[tuple[int, str]]:
    """Return number of the first line and text of each logical line, comments dropped and continuations joined."""
    start = 0
    parts: list[str] = []
    for number, raw in enumerate(lines[skipped:], start=skipped + 1):
        line = raw.strip(" \t\r")
        if ";" in line or "$" in line or "//" in line:
            line = _without_comment(line)
        if not line or line[0] == "*":
            continue
        if line[0] != "+":
            if parts:
                yield start, " ".join(parts) if len(parts) > 1 else parts[0]
            start, parts = number, [line]
        elif parts:
            parts.append(line[1:])
        else:
            raise NetlistError(f"{file}, line {number}: nothing stands before this continuation line")
    if parts:
        yield start, " ".join(parts)


def _cards(path: Path, lines: list[str], skipped: int, opened: tuple[str, ...], left: Iterator[int]) -> Iterator[Card]:
    """Return the cards of one file and of its includes; `opened` leads to it, `left` counts what may be opened."""
    file, ended = str(path), False
    for number, text in _logical_lines(file, lines, skipped):
        if ended:
            raise Card(file, number, text).error("a line after .end, which ngspice would still read; remove one")
        if text[0] == ".":
            word = text.split(maxsplit=1)[0].lower()
            if word.startswith(".inc"):
                yield from _included(Card(file, number, text), path, opened, left)
                continue
            ended = word == ".end"
            if ended and len(opened) > 1:
                raise Card(file, number, text).error(".end in an included file; it belongs at the end of the deck")
        yield Card(file, number, text.lower())


def _included(card: Card, path: Path, opened: tuple[str, ...], left: Iterator[int]) -> Iterator[Card]:
    """Return the cards of the file that an include card names."""
    require_printable(card)
    found = _INCLUDE.fullmatch(card.text)
    if found is None:
        raise card.error("write '.include \"file\"'")
    name = next(group for group in found.groups() if group)
    target = path.parent / name
    identity = os.path.realpath(target)
    if identity in opened:
        raise card.error(f"'{name}' includes itself, by way of {len(opened) - opened.index(identity)} file(s)")
    if len(opened) >= DEEPEST_INCLUDE or next(left, None) is None:
        raise card.error(
            f"more than {DEEPEST_INCLUDE} files deep, or more than {MOST_INCLUDES} included; include fewer"
        )
    yield from _cards(target, _read_lines(target, card), 0, (*opened, identity), left)


def _without_comment(line: str) -> str:
    found = _COMMENT.search(line)
    return line if found is None else line[: found.start()].rstrip(" \t")


def require_printable(card: Card) -> None:
    """Raise NetlistError for characters that SPICE files should not have, and for a backslash at the end."""
    if not _PRINTABLE.fullmatch(card.text):
        raise card.error(f"characters that are not printable ASCII in {card.text[:40]!r}; remove them")
    if card.text.endswith("\\"):
        raise card.error("a backslash joins the next line in ngspice; use a continuation line with + instead")
