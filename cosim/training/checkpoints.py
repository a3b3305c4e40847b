"""The checkpoints of a run: the last, the one before it, and the best; a damaged one is named and another offered.

```
RUN/checkpoint.safetensors   the last
RUN/previous.safetensors     the one before it
RUN/best.safetensors         of the epoch with the highest accuracy on the images held out
```
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import final

from torch import nn

from ..errors import RunError
from ..files import explained, write_atomically
from .checkpoint import Progress, Tally, check_checkpoint, format_checkpoint, load_checkpoint, load_model


class Which(Enum):
    """One of a run's checkpoints."""

    LAST = "last"
    PREVIOUS = "previous"
    BEST = "best"


FILE_NAMES = {
    Which.LAST: "checkpoint.safetensors",
    Which.PREVIOUS: "previous.safetensors",
    Which.BEST: "best.safetensors",
}


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoints:
    """The checkpoints in a run folder."""

    folder: Path

    def path(self, which: Which) -> Path:
        """Return a checkpoint's file, whether it is there or not."""
        return self.folder / FILE_NAMES[which]

    @property
    def exist(self) -> bool:
        """Whether the run got as far as a checkpoint."""
        return self.path(Which.LAST).exists() or self.path(Which.PREVIOUS).exists()

    def save(self, progress: Progress, tally: Tally, *, is_best: bool = False) -> None:
        """Write the last checkpoint and keep the one before it; the best first, if this is it.

        Raises:
            RunError: if one cannot be written; those that were there are then still there.
        """
        content = format_checkpoint(progress, tally)
        if is_best:
            write_atomically(self.path(Which.BEST), content)
        write_atomically(self.path(Which.LAST), content, previous=self.path(Which.PREVIOUS))

    def load(self, which: Which, progress: Progress) -> Tally:
        """Put a checkpoint's state into a run that was just set up.

        Raises:
            RunError: if it cannot be used, with what else there is.
        """
        path = self._whole(which)
        with self._offering_others(which):
            return load_checkpoint(path, progress)

    def load_model(self, which: Which, model: nn.Module) -> Tally:
        """Put only a checkpoint's weights into a network.

        Raises:
            RunError: likewise.
        """
        path = self._whole(which)
        with self._offering_others(which):
            return load_model(path, model)

    def go_back_to(self, which: Which) -> None:
        """Make a checkpoint the last one, so that a damaged one never takes the place of the one before it.

        Raises:
            RunError: if it cannot be used or written.
        """
        path = self._whole(which)
        if path != self.path(Which.LAST):
            with explained(path):
                content = path.read_bytes()
            write_atomically(self.path(Which.LAST), content)

    def _whole(self, which: Which) -> Path:
        """Return a checkpoint's file after reading all of it; a crash may have left the one before as the last."""
        path = self.path(which)
        if which is Which.LAST and not path.exists() and self.path(Which.PREVIOUS).exists():
            path = self.path(Which.PREVIOUS)
        if not path.exists():
            raise RunError(f"{self.folder}: there is no {which.value} checkpoint ({path.name}){self._others(which)}")
        with self._offering_others(which):
            check_checkpoint(path)
        return path

    @contextmanager
    def _offering_others(self, which: Which) -> Iterator[None]:
        """Say of a checkpoint that cannot be used what else there is."""
        try:
            yield
        except RunError as error:
            raise RunError(f"{error}{self._others(which)}") from error

    def _others(self, which: Which) -> str:
        """Say which other checkpoints are whole, and what to do."""
        for other in (Which.LAST, Which.PREVIOUS, Which.BEST):
            if other is not which and self.path(other).exists():
                try:
                    tally = check_checkpoint(self.path(other))
                except RunError:
                    continue
                name = {Which.PREVIOUS: "The one before it", Which.BEST: "The best"}.get(other, "The last")
                within = f" and {tally.batch} batches" if tally.batch else ""
                return (
                    f". {name}, {self.path(other).name}, is whole, after epoch {tally.epoch}{within}: "
                    f"take it with --from {other.value} (to go on: --resume --from {other.value})"
                )
        return ". No other is whole: restore the file, or start anew with --force"
