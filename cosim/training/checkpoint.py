"""The checkpoint: everything that a run needs to go on, in one safetensors file.

Tensors (weights, optimiser moments, random generators) are safetensors entries; the rest (epoch, learning rates,
schedule, counts) is JSON in the same file's header, so one atomic move replaces both together. Nothing is pickled:
loading a checkpoint from a stranger runs no code of theirs.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ..errors import RunError
from ..files import write_atomically

FORMAT = 1
HEADER_KEY = "tellegen"


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
class Tally:
    """How far a run is; no times, so that the same run writes the same checkpoint to the bit.

    Args:
        epoch: epochs finished.
        counts: relaxations and conversions by name.
    """

    epoch: int
    counts: dict[str, int]


def save_checkpoint(path: Path, progress: Progress, tally: Tally) -> None:
    """Write a checkpoint, replacing the last one in one step.

    Raises:
        RunError: if it cannot be written; the last one is then untouched.
    """
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
        "epoch": tally.epoch,
        "counts": tally.counts,
        "optimizer_scalars": scalars,
        "parameter_groups": optimizer["param_groups"],
        "scheduler": progress.scheduler.state_dict(),
    }
    # A tensor that shares memory with another is refused by safetensors, so each is its own copy.
    write_atomically(path, save({k: t.clone() for k, t in tensors.items()}, {HEADER_KEY: json.dumps(header)}))


def load_checkpoint(path: Path, progress: Progress) -> Tally:
    """Put a checkpoint's state into a run that was just set up.

    Raises:
        RunError: if the file is missing, cut short or altered, or belongs to another network.
    """
    tensors, header = _read(path)
    _load_weights(path, progress.model, tensors)
    try:
        state: dict[int, dict[str, Any]] = {int(k): dict(v) for k, v in header["optimizer_scalars"].items()}
        for key, tensor in tensors.items():
            kind, _, rest = key.partition("/")
            if kind == "optimizer":
                index, _, name = rest.partition("/")
                state.setdefault(int(index), {})[name] = tensor
            elif key == "generator/global":
                torch.set_rng_state(tensor)
            elif kind == "generator":
                progress.generators[rest].set_state(tensor)
        progress.optimizer.load_state_dict({"state": state, "param_groups": header["parameter_groups"]})
        progress.scheduler.load_state_dict(header["scheduler"])
        return Tally(epoch=_epoch(path, header), counts=dict(header["counts"]))
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise _corrupt(path, f"its training state does not fit this configuration ({error})") from error


def load_model(path: Path, model: nn.Module) -> int:
    """Put only a checkpoint's weights into a network.

    Returns:
        epochs that they were trained for.

    Raises:
        RunError: likewise.
    """
    tensors, header = _read(path)
    _load_weights(path, model, tensors)
    return _epoch(path, header)


def _load_weights(path: Path, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    weights = {key.removeprefix("model/"): value for key, value in tensors.items() if key.startswith("model/")}
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


def _epoch(path: Path, header: dict[str, Any]) -> int:
    epoch = header.get("epoch")
    if not isinstance(epoch, int):
        raise _corrupt(path, f"its header gives {epoch!r} as the epoch")
    return epoch


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read tensors and header of a checkpoint of ours."""
    if not path.is_file():
        raise RunError(f"{path}: there is no checkpoint; the run ended before its first epoch. Start it with --force")
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  it is no dict
        header = json.loads(metadata[HEADER_KEY])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise _corrupt(path, f"{error}") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise _corrupt(path, "it was written by another version of tellegen, or is none of ours")
    return tensors, header


def _corrupt(path: Path, reason: str) -> RunError:
    one_line = " ".join(reason.split())  # torch's own messages have several
    return RunError(f"{path}: this checkpoint cannot be used: {one_line}. Restore the file, or start anew with --force")


def _detached(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise RunError(f"the network's state '{name}' is no tensor, which a checkpoint cannot hold; make it a buffer")
    return value.detach().cpu().contiguous()
