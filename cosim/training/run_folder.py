"""The run folder: where a run keeps its configuration, measurements, checkpoint, result and plots.

```
RUN/config.json             the whole configuration, defaults and --set included
RUN/metrics.jsonl           one line an epoch
RUN/checkpoint.safetensors  the last state; previous.safetensors: the one before it; best.safetensors: the best epoch's
RUN/progress.json           how far the last checkpoint is, and the time it took
RUN/result.json             what `tellegen train --json` prints
RUN/programming.json        of a run that began with another one's: how its blocks were programmed
RUN/training.png            loss and accuracy
RUN/blocks.png              voltages, conductances, clamped units and nudge response of each analog block
RUN/run.lock                taken while a process trains here
RUN/evaluation.json, gradcheck.json, gradcheck.png, gradcheck_betas.png    of `tellegen demo` and `tellegen gradcheck`
```
"""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from filelock import FileLock, Timeout

from ..errors import ConfigError, RunError
from ..files import PART, append_line, explained, format_json, format_json_line, make_folder, write_atomically
from ..programming.report import ProgrammingReport
from .checkpoints import FILE_NAMES, Checkpoints
from .config import Config
from .config_file import config_from_json

Metrics = dict[str, float]  # "epoch", "train_loss", ... by name; NaN is null in the file

# All that --force may remove.
RUN_FILES = frozenset(
    {
        "config.json",
        "metrics.jsonl",
        *FILE_NAMES.values(),
        "progress.json",
        "result.json",
        "programming.json",
        "training.png",
        "blocks.png",
        "run.lock",
        "evaluation.json",
        "gradcheck.json",
        "gradcheck.png",
        "gradcheck_betas.png",
    }
)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class RunFolder:
    """A run's folder and the names in it."""

    path: Path

    @property
    def config(self) -> Path:
        """The configuration."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """The measurements, one line an epoch."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Checkpoints:
        """The last, the one before it, and the best."""
        return Checkpoints(folder=self.path)

    @property
    def progress(self) -> Path:
        """How far the last checkpoint is."""
        return self.path / "progress.json"

    @property
    def result(self) -> Path:
        """The result."""
        return self.path / "result.json"

    @property
    def training_plot(self) -> Path:
        """Loss and accuracy over the epochs."""
        return self.path / "training.png"

    @property
    def blocks_plot(self) -> Path:
        """What the analog blocks showed."""
        return self.path / "blocks.png"

    @property
    def lock(self) -> Path:
        """Taken while a process trains here."""
        return self.path / "run.lock"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training in this folder at the same time.

        Raises:
            RunError: if another one does.
        """
        lock = FileLock(self.lock)
        with explained(self.lock):
            try:
                lock.acquire(timeout=0)
            except Timeout:  # an OSError, which says that a file is locked
                raise RunError(
                    f"{self.path}: another process is training here; wait for it, stop it, or choose another --out"
                ) from None
        try:
            yield
        finally:
            lock.release()

    def read_config(self) -> Config:
        """Read the configuration.

        Raises:
            RunError: if this is no run folder or its configuration cannot be read.
        """
        if self.path.is_file():
            raise RunError(f"{self.path}: is a file, no run folder; name the --out of a `tellegen train`")
        try:
            tables = json.loads(self.config.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(
                f"{self.path}: no run folder (there is no config.json in it); name the --out of a `tellegen train`"
            ) from None
        except (OSError, ValueError) as error:
            raise RunError(f"{self.config}: cannot be read ({error}); restore the file, or train anew") from error
        return config_from_json(tables, str(self.config))

    def append_metrics(self, metrics: Metrics) -> None:
        """Add an epoch's line."""
        append_line(self.metrics, format_json_line(metrics))

    def read_metrics(self, last_epoch: int) -> list[Metrics]:
        """Read the lines up to an epoch; a line that a crash cut short is later than any checkpoint."""
        if not self.metrics.is_file():
            return []
        kept: list[Metrics] = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                metrics = json.loads(line)
                if metrics["epoch"] > last_epoch:
                    break
            except (ValueError, KeyError, TypeError):
                break
            kept.append({name: math.nan if value is None else value for name, value in metrics.items()})
        return kept

    def keep_metrics(self, last_epoch: int) -> list[Metrics]:
        """Drop the lines after an epoch, which a resumed run will write again, and return the others."""
        kept = self.read_metrics(last_epoch)
        write_atomically(self.metrics, "".join(format_json_line(metrics) + "\n" for metrics in kept).encode())
        return kept

    def remove_parts(self) -> None:
        """Remove what killed runs did not finish writing; call it while the folder is locked."""
        with explained(self.path):
            for entry in self.path.iterdir():
                if entry.name.endswith(PART) and _is_of_a_run(entry):
                    entry.unlink()

    def write_progress(self, epoch: int, batch: int, wall_s: float) -> None:
        """Write how far the last checkpoint is, and the time it took over all sittings."""
        content = format_json({"epoch": epoch, "batch": batch, "wall_s": wall_s})
        write_atomically(self.progress, content.encode())

    def read_wall_s(self, epoch: int, batch: int) -> float:
        """Return the time that a checkpoint took, s; that of the last whole epoch where it was not written."""
        try:
            progress = json.loads(self.progress.read_text(encoding="utf-8"))
            if (progress["epoch"], progress["batch"]) == (epoch, batch):
                return float(progress["wall_s"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # only the time would be lost
        metrics = self.read_metrics(epoch)
        return metrics[-1]["wall_s"] if metrics else 0.0

    def read_result(self) -> dict[str, Any] | None:
        """Return the result; None if the run is not finished.

        Raises:
            RunError: if the file cannot be read.
        """
        try:
            result = json.loads(self.result.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise RunError(f"{self.result}: cannot be read ({error}); remove it and go on with --resume") from error
        return dict(result)

    def write_programming(self, reports: Sequence[ProgrammingReport]) -> None:
        """Write how the blocks were programmed."""
        content = format_json({"blocks": [report.to_json() for report in reports]})
        write_atomically(self.path / "programming.json", content.encode())

    def write_result(self, result: dict[str, Any]) -> None:
        """Write the result."""
        write_atomically(self.result, format_json(result).encode())


def create_run_folder(path: Path, config: Config, *, force: bool) -> RunFolder:
    """Make a new run folder with its configuration.

    Args:
        path: where.
        config: what will be trained.
        force: True to replace a run that is there already; nothing but a run is ever removed.

    Returns:
        the folder.

    Raises:
        RunError: if the place is taken or cannot be written.
    """
    check_place(path, force=force)
    folder = RunFolder(path=path)
    make_folder(path)
    with explained(path):
        for entry in path.iterdir():
            if _is_of_a_run(entry) and entry not in (folder.config, folder.lock):
                entry.unlink()
    write_atomically(folder.config, format_json(config.model_dump(mode="json")).encode())
    return folder


def check_place(path: Path, *, force: bool) -> None:
    """Refuse a place where no run folder may be made; nothing is changed.

    Args:
        path: where.
        force: True to allow a run that is there, all of whose files are known; an empty folder is always allowed.

    Raises:
        RunError: if the place is taken.
    """
    with explained(path):
        if not (path.exists() or path.is_symlink()):
            return
    kept = "so --force does not replace it; choose another --out" if force else "so choose another --out"
    if path.is_symlink():
        raise RunError(f"{path}: is a link, no folder, {kept}")
    if not path.is_dir():
        raise RunError(f"{path}: is no folder, {kept}")
    with explained(path):
        entries = [entry for entry in sorted(path.iterdir()) if not _is_left_behind(entry)]
    here = Path.cwd().resolve()
    above = "is the working directory or lies above it" if path.resolve() in (here, *here.parents) else ""
    if force and above:
        raise RunError(f"{path}: {above}, {kept}")
    if not entries:
        return
    folder = RunFolder(path=path)
    if folder.config not in entries:
        raise RunError(f"{path}: holds files but no run, {kept}")
    try:
        folder.read_config()
    except (RunError, ConfigError) as error:
        raise RunError(f"{path}: its config.json is none that this version of tellegen wrote, {kept}") from error
    foreign = [entry.name for entry in entries if not _is_of_a_run(entry)]
    more = f" and {len(foreign) - 3} more" if len(foreign) > 3 else ""
    named = f"holds what no run writes ({', '.join(foreign[:3])}{more})" if foreign else ""
    if force and foreign:
        raise RunError(f"{path}: {named}, {kept}, or move them away")
    if not force:
        replace = "" if above or foreign else "replace it by --force, "
        raise RunError(
            f"{path}: exists already{' and ' if named else ''}{named}. Go on with it by `tellegen train --resume`, "
            f"{replace}or choose another --out"
        )


def _is_left_behind(entry: Path) -> bool:
    """Whether a run was killed while it wrote a file, or before it wrote any."""
    return _is_of_a_run(entry) and (entry.name.endswith(PART) or entry.name == "run.lock")


def _is_of_a_run(entry: Path) -> bool:
    """Whether a run wrote a file, or was killed while it did."""
    name = entry.name
    if name.startswith(".") and name.endswith(PART):
        name = name.removesuffix(PART).rpartition(".")[0].removeprefix(".")
    return name in RUN_FILES and entry.is_file() and not entry.is_symlink()


def open_run_folder(path: Path, config: Config) -> RunFolder:
    """Return the folder of a run that is to go on.

    Raises:
        RunError: if there is none.
        ConfigError: if it was started with another configuration; where the images are, how often a checkpoint is
            written, the simulator and the device may differ.
    """
    folder = RunFolder(path=path)
    free: Any = {"simulator": True, "data": {"path", "url"}, "training": {"checkpoint_every_s", "device"}}
    saved, wanted = (c.model_dump(mode="json", exclude=free) for c in (folder.read_config(), config))
    different = _list_differences(saved, wanted)
    if different:
        raise ConfigError(
            f"{path} was started with another configuration: {'; '.join(different[:5])}. Resume with the same one, or "
            "start anew with --force"
        )
    return folder


def _list_differences(saved: Any, wanted: Any, path: str = "") -> list[str]:
    """Name the values that two configurations do not share."""
    if isinstance(saved, dict) and isinstance(wanted, dict) and saved.keys() == wanted.keys():
        return [line for key in saved for line in _list_differences(saved[key], wanted[key], f"{path}.{key}")]
    if isinstance(saved, list) and isinstance(wanted, list) and len(saved) == len(wanted):
        pairs = enumerate(zip(saved, wanted, strict=True))
        return [line for k, (a, b) in pairs for line in _list_differences(a, b, f"{path}[{k}]")]
    return [] if saved == wanted else [f"{path.removeprefix('.')} is {saved!r} there and {wanted!r} now"]
