"""Names of many devices, computed when they are asked for: ten million strings would take a gigabyte and seconds.

Each behaves as the tuple of its names does.
"""

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import final, overload

from .arrays import Indices


class AbstractNames(Sequence[str]):
    """A sequence of names that keeps none of them."""

    __slots__ = ()

    @abstractmethod
    def name(self, k: int) -> str:
        """Return the name of place k, from 0 on."""

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...

    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        places = range(len(self))[place]  # counts from the end, and raises IndexError, as a tuple does
        return self.name(places) if isinstance(places, int) else tuple(self.name(k) for k in places)

    def __iter__(self) -> Iterator[str]:
        return (self.name(k) for k in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, tuple | AbstractNames):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as of any mutable sequence: hashing would make them all


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PairNames(AbstractNames):
    """Names of a crossbar's devices, "w1_3_5_pn": prefix_row_column and suffix.

    Args:
        prefix: the crossbar's name.
        row, column: [n] units.
        suffix: which device of the pair.
    """

    prefix: str
    row: Indices
    column: Indices
    suffix: str

    def __len__(self) -> int:
        return len(self.row)

    def name(self, k: int) -> str:
        """Return prefix_row_column and suffix."""
        return f"{self.prefix}_{self.row[k]}_{self.column[k]}{self.suffix}"

    def __iter__(self) -> Iterator[str]:
        pairs = zip(self.row.tolist(), self.column.tolist(), strict=True)
        return (f"{self.prefix}_{row}_{column}{self.suffix}" for row, column in pairs)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NumberedNames(AbstractNames):
    """Names "net_0", "net_1", ..."""

    prefix: str
    n: int

    def __len__(self) -> int:
        return self.n

    def name(self, k: int) -> str:
        """Return prefix and k."""
        return f"{self.prefix}{k}"


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ChosenNames(AbstractNames):
    """The names at some places of others.

    Args:
        names: all of them.
        places: [n] which.
    """

    names: Sequence[str]
    places: Indices

    def __len__(self) -> int:
        return len(self.places)

    def name(self, k: int) -> str:
        """Return the name at the k-th place."""
        return self.names[int(self.places[k])]

    def __iter__(self) -> Iterator[str]:
        one = self.names.name if isinstance(self.names, AbstractNames) else self.names.__getitem__
        return map(one, self.places.tolist())


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PrefixedNames(AbstractNames):
    """Other names with a prefix.

    Args:
        prefix: before each.
        names: of what they are named after.
    """

    prefix: str
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    def name(self, k: int) -> str:
        """Return prefix and name."""
        return self.prefix + self.names[k]

    def __iter__(self) -> Iterator[str]:
        return (self.prefix + name for name in self.names)


@final
class JoinedNames(AbstractNames):
    """Several sequences of names one after the other.

    Args:
        parts: the sequences.
    """

    __slots__ = ("_ends", "_parts")

    def __init__(self, parts: Sequence[Sequence[str]]) -> None:
        self._parts = tuple(part for part in parts if len(part))
        self._ends = tuple(accumulate(len(part) for part in self._parts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def name(self, k: int) -> str:
        """Return the name in the part that holds place k."""
        part = bisect_right(self._ends, k)
        return self._parts[part][k - (self._ends[part - 1] if part else 0)]

    def __iter__(self) -> Iterator[str]:
        return (name for part in self._parts for name in part)
