"""Any torch module as a stage, by its dotted name and the arguments that make it.

Takes: a name such as "torch.nn.GELU", arguments, and the shape of one sample. Gives: `Stage`, the shape that comes out
found by trying. Must not know: circuits, configurations.
"""

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .errors import StageError
from .stages import Shape, Stage


def module(shape: Shape, *, name: str, arguments: Mapping[str, Any] | None = None) -> Stage:
    """Return an instance of any `nn.Module` class that maps [batch, ...] to [batch, ...].

    Its weights are drawn from torch's global generator. It is tried on zeros, two samples, in eval mode; random numbers
    drawn there are given back, so that later stages do not depend on it.

    Args:
        shape: of one sample.
        name: where Python finds the class, "torch.nn.GELU" or one of your own.
        arguments: that make it.

    Raises:
        StageError: if there is no such class, the arguments are not its own, or the samples do not fit.
    """
    made = _make(_find_class(name), name, arguments or {})
    return Stage(module=made, shape=_try_out(made, name, shape))


def _find_class(name: str) -> type[nn.Module]:
    """Import a class by its dotted name."""
    path, _, last = name.rpartition(".")
    home = _import(path, name)
    found = getattr(home, last, None)
    if isinstance(found, type) and issubclass(found, nn.Module):
        return found
    near = _nearest(last, _list_classes(home), f"{path}.") or _nearest(last, _list_classes(nn), "torch.nn.")
    if found is None:
        raise StageError(f"module stage: there is no '{last}' in {path}{near or '; name a class of it'}")
    raise StageError(
        f"module stage: {name} is no torch.nn.Module class{near or '; name one, or derive from torch.nn.Module'}"
    )


def _list_classes(home: ModuleType) -> list[str]:
    return [key for key, value in vars(home).items() if isinstance(value, type) and issubclass(value, nn.Module)]


def _import(path: str, name: str) -> ModuleType:
    """Import the Python module that holds a class."""
    if not path:
        raise StageError(f"module stage: '{name}' has no dot; write where Python finds the class, as torch.nn.{name}")
    try:
        return importlib.import_module(path)
    except Exception as error:
        missing = (error.name or "") if isinstance(error, ModuleNotFoundError) else ""
        if not missing or not f"{path}.".startswith(f"{missing}."):  # the module is there, and fails
            raise StageError(
                f"module stage: importing {path} fails: {_said(error)}; install what it needs, or mend it"
            ) from error
        parent, _, last = missing.rpartition(".")
        places = getattr(importlib.import_module(parent), "__path__", ()) if parent else None
        near = _nearest(last, {found.name for found in pkgutil.iter_modules(places)}, f"{parent}." if parent else "")
        raise StageError(
            f"module stage: {name} cannot be imported: there is no Python module '{missing}'"
            f"{near or '; install it, or put its folder on PYTHONPATH'}"
        ) from error


def _make(kind: type[nn.Module], name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Make an instance."""
    try:
        return kind(**arguments)
    except Exception as error:
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        try:
            signature = inspect.signature(kind)
        except ValueError:  # a class made in C
            takes, unknown = "other arguments", []
        else:
            takes = "(" + ", ".join(str(parameter) for parameter in signature.parameters.values()) + ")"
            unknown = [key for key in arguments if key not in signature.parameters]
        near = _nearest(unknown[0], signature.parameters, "") if unknown else ""
        raise StageError(f"module stage: {name}({given}) fails: {_said(error)}; it takes {takes}{near}") from error


def _try_out(made: nn.Module, name: str, shape: Shape) -> Shape:
    """Return the shape of one sample that comes out."""
    # A lazy module draws its weights here; given back, they would be drawn again by the next stage.
    draws = any(is_lazy(tensor) for tensor in (*made.parameters(), *made.buffers()))
    was_training = made.training
    made.eval()
    try:
        with torch.no_grad(), nullcontext() if draws else torch.random.fork_rng(devices=[]):
            y = made(torch.zeros(2, *shape))
    except Exception as error:
        raise StageError(
            f"module stage: {name} does not take samples of shape {shape}: {_said(error)}; change its arguments or the "
            "stage before it"
        ) from error
    finally:
        made.train(was_training)
    if not isinstance(y, Tensor):
        raise StageError(f"module stage: {name} gives a {type(y).__name__}; a stage gives one tensor, [batch, ...]")
    if y.ndim < 2 or len(y) != 2:
        raise StageError(
            f"module stage: {name} gives shape {tuple(y.shape)} for 2 samples of shape {shape}; a stage gives "
            "one row a sample, [batch, ...]"
        )
    return tuple(y.shape[1:])


def _said(error: Exception) -> str:
    """Return the first line of an error, with its class where that says something."""
    text, kind = str(error).strip().partition("\n")[0].removesuffix("."), type(error).__name__
    return text if text and isinstance(error, TypeError | RuntimeError | ValueError) else f"{kind} {text}".strip()


def _nearest(name: str, allowed: Iterable[str], prefix: str) -> str:
    """Name what was meant, whatever its capitals; nothing where nothing is near."""
    names = {key.lower(): key for key in allowed}
    found = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.6)
    return f"; did you mean '{prefix}{names[found[0]]}'?" if found else ""
