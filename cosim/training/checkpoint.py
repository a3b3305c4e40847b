"""The checkpoint: everything that a run needs to go on, in one safetensors file.

Tensors (weights, optimiser moments, random generators) are safetensors entries; the rest (epoch and batch, learning
rates, schedule, counts) is JSON in the same file's header, so one atomic move replaces both together. A SHA-256 over
all of it tells a damaged file. Nothing is pickled: loading a checkpoint from a stranger runs no code of theirs.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ..converters import complete_state
from ..device_state import is_device_state
from ..errors import RunError
from .placement import DEVICE_GENERATOR

FORMAT = 2
HEADER_KEY = "tellegen"  # "<SHA-256> <JSON>"; a single key, for safetensors writes several in any order


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Progress:
    """What a run is made of while it goes on, and how far it is.

    Args:
        model: the network.
        optimizer: torch's.
        scheduler: of the learning rate.
        generators: random generators by name, besides torch's global one.
    """

    model: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler
    generators: dict[str, torch.Generator]


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Best:
    """The epoch with the highest accuracy on the images held out; the first of several."""

    epoch: int
    accuracy: float


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """How far a run is; no times, so that the same run writes the same checkpoint to the bit.

    Args:
        images: fingerprint of the data set.
        epoch: epochs finished.
        batch: batches finished of the next epoch.
        counts: relaxations and conversions by name.
        average: sums of loss and accuracy over those batches.
        observed: sums of what the blocks showed in them.
        best: of the finished epochs.
    """

    images: str
    epoch: int = 0
    batch: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    average: Mapping[str, Any] | None = None
    observed: Mapping[str, Any] | None = None
    best: Best | None = None


def format_checkpoint(progress: Progress, tally: Tally) -> bytes:
    """Return the content of a checkpoint file."""
    tensors = {f"model/{name}": _detached(name, value) for name, value in progress.model.state_dict().items()}
    optimizer = progress.optimizer.state_dict()
    scalars: dict[str, dict[str, Any]] = {}
    for index, entries in optimizer["state"].items():
        for name, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{name}"] = value.detach().cpu().contiguous()
            else:
                scalars.setdefault(str(index), {})[name] = value
    for name, generator in progress.generators.items():
        tensors[f"generator/{name}"] = generator.get_state()
    tensors["generator/global"] = torch.get_rng_state()
    header = {
        "format": FORMAT,
        **asdict(tally),
        "optimizer_scalars": scalars,
        "parameter_groups": optimizer["param_groups"],
        "scheduler": progress.scheduler.state_dict(),
    }
    # A tensor that shares memory with another is refused by safetensors, so each is its own copy.
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    text = json.dumps(header)
    return save(tensors, {HEADER_KEY: f"{_digest(tensors, text)} {text}"})


def load_checkpoint(path: Path, progress: Progress) -> Tally:
    """Put a checkpoint's state into a run that was just set up.

    Raises:
        RunError: if the file is missing, cut short or altered, or belongs to another network.
    """
    tensors, header = _read(path)
    _load_weights(path, progress.model, _state_of_model(tensors))
    try:
        state: dict[int, dict[str, Any]] = {int(k): dict(v) for k, v in header["optimizer_scalars"].items()}
        for key, tensor in tensors.items():
            kind, _, rest = key.partition("/")
            if kind == "optimizer":
                index, _, name = rest.partition("/")
                state.setdefault(int(index), {})[name] = tensor
            elif key == "generator/global":
                torch.set_rng_state(tensor)
            elif kind == "generator" and (rest in progress.generators or rest != DEVICE_GENERATOR):
                progress.generators[rest].set_state(tensor)  # that of a device that the run goes on without has no use
        progress.optimizer.load_state_dict({"state": state, "param_groups": header["parameter_groups"]})
        progress.scheduler.load_state_dict(header["scheduler"])
        return read_tally(path, header)
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise _corrupt(path, f"its training state does not fit this configuration ({error})") from error


def load_model(path: Path, model: nn.Module) -> Tally:
    """Put only a checkpoint's weights into a network.

    What the devices of its circuits hold is taken too, where both have the same; devices of another kind are written
    anew, and a network without any takes the weights alone.

    Returns:
        how far they were trained.

    Raises:
        RunError: likewise.
    """
    tensors, header = _read(path)
    own = {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
    _load_weights(path, model, with_own_devices(own, _state_of_model(tensors)))
    return read_tally(path, header)


def _state_of_model(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix("model/"): value for key, value in tensors.items() if key.startswith("model/")}


def with_own_devices(own: dict[str, Tensor], theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of another network, but for devices that only one of both has: those are as they are here."""
    devices = {name for name in own.keys() ^ theirs.keys() if is_device_state(name)}
    kept = {name: value for name, value in theirs.items() if name not in devices}
    return {**kept, **{name: own[name] for name in devices & own.keys()}}


def check_checkpoint(path: Path) -> Tally:
    """Read a whole checkpoint file and return how far it is.

    Raises:
        RunError: if the file is missing, cut short or altered.
    """
    return read_tally(path, _read(path)[1])


def _load_weights(path: Path, model: nn.Module, saved: dict[str, Tensor]) -> None:
    weights = complete_state(saved)
    _check_fit(path, {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}, weights)
    try:
        model.load_state_dict(weights)
    except (RuntimeError, KeyError, ValueError) as error:
        raise _corrupt(path, f"its weights do not fit the network of config.json ({error})") from error
    for name, value in weights.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise _corrupt(path, f"'{name}' holds values that are not finite")


def _check_fit(path: Path, wanted: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    """Refuse the weights of another network, by the first that does not fit; torch would list them all."""
    different = [f"it has no '{name}'" for name in wanted if name not in given]
    different += [f"the network has no '{name}'" for name in given if name not in wanted]
    shapes = ((name, *(tuple(t[name].shape) for t in (given, wanted))) for name in wanted if name in given)
    different += [f"'{name}' is {has} there and {needs} in the network" for name, has, needs in shapes if has != needs]
    if different:
        more = f" (and {len(different) - 1} more)" if len(different) > 1 else ""
        raise _corrupt(path, f"its weights do not fit the network of config.json: {different[0]}{more}")


def read_tally(path: Path, header: dict[str, Any]) -> Tally:
    """Return the tally that a checkpoint's header holds."""
    best = header.get("best")
    try:
        return Tally(
            images=str(header["images"]),
            epoch=int(header["epoch"]),
            batch=int(header["batch"]),
            counts=dict(header["counts"]),
            average=header["average"],
            observed=header["observed"],
            best=None if best is None else Best(epoch=int(best["epoch"]), accuracy=float(best["accuracy"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _corrupt(path, f"its header does not say how far the run is ({error!r})") from error


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read tensors and header of a checkpoint of ours."""
    if not path.is_file():
        raise RunError(f"{path}: there is no such checkpoint")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  it is no dict
        digest, _, text = metadata[HEADER_KEY].partition(" ")
        header = json.loads(text)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise _corrupt(path, f"{error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise _corrupt(path, "it was written by another version of tellegen, or is none of ours")
    if digest != _digest(tensors, text):
        raise _corrupt(path, "its content is not what was written (SHA-256 differs)")
    return tensors, header


def _digest(tensors: Mapping[str, Tensor], header: str) -> str:
    """Return the SHA-256 of everything in a checkpoint."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())  # a 0-d tensor has no other view
    return digest.hexdigest()


def _corrupt(path: Path, reason: str) -> RunError:
    one_line = " ".join(reason.split())  # torch's own messages have several
    return RunError(f"{path}: this checkpoint cannot be used: {one_line}")


def _detached(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise RunError(f"the network's state '{name}' is no tensor, which a checkpoint cannot hold; make it a buffer")
    return value.detach().cpu().contiguous()
