"""What the lines that ngspice prints mean.

ngspice's exit codes say nothing, so its words have to. The known harmless ones are listed rather than the known bad:
a warning that nobody has thought of must not pass for a solution.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, final


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ConsoleLine:
    """One line that ngspice printed, and how many points of the sweep it had solved by then."""

    points: int
    is_stderr: bool
    text: str


@final
class LineKind(Enum):
    """What a line on stderr says about the results."""

    NOTE = auto()
    """Nothing."""
    STEPPING = auto()
    """Plain Newton iteration failed, ngspice goes on by gmin stepping, source stepping or a transient."""
    SAMPLE_FAILED = auto()
    """The point in hand has no solution that can be believed."""
    DECK_REJECTED = auto()
    """The deck is not what its author meant, or something unknown: no result of it can be believed."""


# Searched anywhere in the line: "Trying gmin = ..." and "Supplies reduced ..." end without a line feed, so the next
# message stands behind them.
_SAMPLE_FAILED: Final = re.compile(
    r"singular matrix|simulation\(s\) aborted|Transient op failed|doAnalyses:|Timestep too small|"
    r"too many iterations|iteration limit|cause unrecorded|no DC convergence|internal timestep",
    re.IGNORECASE,
)
_DECK_REJECTED: Final = re.compile(
    r"Fatal error|no such|not parsed|aren't any circuits|unknown|could not find|can't find", re.IGNORECASE
)
_STEPPING: Final = re.compile(
    r"Trying gmin|Supplies reduced|(gmin|source) step|gmin increment|Transient op (started|finished)", re.IGNORECASE
)
_NOTE: Final = re.compile(
    r"\s*$|Note:|Using |No\. of Data Rows|Doing analysis|Reset re-loads circuit|Circuit:|Info:", re.IGNORECASE
)


_PROGRESS: Final = re.compile(
    r"Trying gmin =\s*\S+\s*|Supplies reduced to\s*\S+%\s*|Note: One successful (gmin|source) step|"
    r"Warning: Further gmin increment"
)


def summarise(lines: Iterable[str]) -> list[str]:
    """Keep each different line once, without the numbers of the stepping and the words of the start."""
    stripped = (_PROGRESS.sub("", line).strip() for line in lines)
    silent = ("Circuit:", "Note: No compatibility mode", "Doing analysis", "No. of Data Rows")
    return list(dict.fromkeys(line for line in stripped if line and not line.startswith(silent)))


def classify(line: ConsoleLine) -> LineKind:
    """Tell what a line says; what goes to stdout says nothing."""
    text = line.text
    if not line.is_stderr:
        return LineKind.NOTE
    if _DECK_REJECTED.search(text):
        return LineKind.DECK_REJECTED
    if _SAMPLE_FAILED.search(text):
        return LineKind.SAMPLE_FAILED
    if _STEPPING.search(text):
        return LineKind.STEPPING
    return LineKind.NOTE if _NOTE.match(text) else LineKind.DECK_REJECTED
