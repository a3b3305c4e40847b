"""The answer to a name that does not exist: the ones it may have meant."""

import difflib
from collections.abc import Iterable


def nearest_names_hint(name: object, known: Iterable[str]) -> str:
    """Return what to say after a name that is not known.

    Args:
        name: as it was given.
        known: the names there are.

    Returns:
        "did you mean ...?", by part of the name or by likeness; all the names if none comes near.
    """
    by_folded = {_folded(text): text for text in known}
    text = _folded(str(name))
    parts = [folded for folded in by_folded if text and text in folded]
    near = parts or difflib.get_close_matches(text, by_folded, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(by_folded[folded] for folded in near)}?"
    return f"there are {', '.join(by_folded.values())}"


def _folded(name: str) -> str:
    """Return a name without what is easily mistyped: case and underscores."""
    return name.lower().replace("_", "-")
