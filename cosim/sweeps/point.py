"""One point of a sweep: a configuration, what is done with it, and what came of it; plain values for a worker."""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from pydantic import JsonValue

from ..training.checkpoints import Which
from ..training.config import Config
from ..training.config_file import Tables
from .sweep_file import Do

KEY_LENGTH: Final = 16  # hexadecimal digits: 64 bits, far more than points
# What may change without the result: where images are, how a simulator is run, how often a checkpoint is written.
_FREE: Final[Any] = {
    "data": {"path", "url"},
    "simulator": {"workers", "timeout_s", "dask"},
    "training": {"checkpoint_every_s"},
}

Measurement = float | int | tuple[float, ...] | None


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """The network that points begin with.

    Args:
        run: its run folder.
        which: the checkpoint.
        config: as the run was trained; where it is still to be trained, how.
        fingerprint: of weights and configuration.
    """

    run: Path
    which: Which
    config: Config
    fingerprint: str


@final
@dataclass(frozen=True, kw_only=True)  # no slots: the key is worked out once, and kept
class Point:
    """A configuration with one seed.

    Args:
        position: in the sweep, from 0.
        setting: number of the combination of values that it shares with its other seeds.
        label: its name, of one given by hand.
        values: by axis, as the sweep file has them; of `[[points]]` by key.
        seed: which of the seeds, from 0.
        do: what is done.
        config: whole, seeds and all.
        base: what it begins with; None for a training from the seed.
        evaluate_with: the configuration that a trained network is evaluated with; None for its own.
        probe_images: training images that gradients are measured on.
        check_in_ngspice: whether it is evaluated in ngspice as well.
    """

    position: int
    setting: int
    label: str | None
    values: Mapping[str, JsonValue]
    seed: int
    do: Do
    config: Config
    base: Base | None
    evaluate_with: Config | None = None
    probe_images: int = 64
    check_in_ngspice: bool = False

    @functools.cached_property
    def key(self) -> str:
        """What the result depends on, as a hash: points with the same key are computed once."""
        return digest(
            {
                "do": self.do.value,
                "config": result_tables(self.config),
                "base": None if self.base is None else self.base.fingerprint,
                "evaluate_with": None if self.evaluate_with is None else result_tables(self.evaluate_with),
                "probe_images": self.probe_images if self.do is Do.EVALUATE else None,
            }
        )


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of a point.

    Args:
        key: of the point.
        measured: by name; of a failed point none.
        error: why it failed; None if it did not.
        wall_s, cpu_s: s it took in its worker.
    """

    key: str
    measured: Mapping[str, Measurement]
    error: str | None
    wall_s: float
    cpu_s: float


def result_tables(config: Config) -> Tables:
    """Return the tables of a configuration that a result depends on."""
    return config.model_dump(mode="json", exclude=_FREE)


def digest(value: Any) -> str:
    """Return a hash of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:KEY_LENGTH]
