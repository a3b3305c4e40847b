"""The digital side of a network: its stages between the analog blocks, and their weights.

Takes: any `nn.Module`. Gives: the chain in the manifest's words, and a safetensors file. In a module that is no
`FfEbm` the order of the chain is that in which modules are registered, for no one can see what its forward does.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from digital.ff_ebm import FfEbm
from digital.hopfield import HopfieldBlock

from ..analog_block import AnalogBlock
from ..converters import complete_state
from ..programming.program import ACCEPTED
from .errors import BundleError, CompileError
from .manifest import AnalogStep, DigitalEntry, DigitalStep, LayerText, Step, TensorEntry

DIGITAL: Final = "digital.safetensors"

EnergyModule = AnalogBlock | HopfieldBlock


def find_analog_blocks(network: nn.Module) -> dict[str, AnalogBlock]:
    """Return a network's analog blocks by module path; one that is in two places counts once, at the first.

    Raises:
        CompileError: if there is none.
    """
    blocks = {path: module for path, module in network.named_modules() if isinstance(module, AnalogBlock)}
    if not blocks:
        raise CompileError(
            f"{type(network).__name__}: no energy block in it, so there is no circuit to compile; give a network with "
            f"{ACCEPTED}"
        )
    return blocks


def describe_chain(network: nn.Module, names: Mapping[AnalogBlock, str]) -> tuple[Step, ...]:
    """Return the digital stages and the blocks in order; neighbouring digital modules are one stage."""
    steps: list[Step] = []
    for path, module in _in_order(network, ""):
        if isinstance(module, AnalogBlock):
            steps.append(AnalogStep(kind="analog", module=path, block=names[module]))
            continue
        layers = tuple(_layers(module, path))
        if not layers:
            continue
        last = steps[-1] if steps else None
        if isinstance(last, DigitalStep):
            steps[-1] = DigitalStep(kind="digital", module=last.module, layers=(*last.layers, *layers))
        else:
            steps.append(DigitalStep(kind="digital", module=path, layers=layers))
    return tuple(steps)


def _in_order(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    """Return the analog blocks and the largest modules without one, in order."""
    if isinstance(module, AnalogBlock) or not any(isinstance(part, AnalogBlock) for part in module.modules()):
        yield path, module
        return
    if isinstance(module, FfEbm):
        names = [f"{kind}.{k}" for k in range(len(module.links)) for kind in ("feedforward", "energy")] + ["readout"]
    else:
        names = [name for name, child in module._modules.items() if child is not None]  # a child twice counts twice
    for name in names:
        yield from _in_order(module.get_submodule(name), f"{path}.{name}".removeprefix("."))


def _layers(module: nn.Module, path: str) -> Iterator[LayerText]:
    """Return the modules without children in a digital module; those that do nothing are left out."""
    if isinstance(module, nn.Identity):
        return
    children = list(module.named_children())
    if not children:
        yield LayerText(module=path, text=f"{type(module).__name__}({module.extra_repr()})")
    for name, child in children:
        yield from _layers(child, f"{path}.{name}".removeprefix("."))


def energy_paths(network: nn.Module) -> list[str]:
    """Return the path of every energy block, of one in two places both."""
    return [path for path, m in network.named_modules(remove_duplicate=False) if isinstance(m, EnergyModule)]


def with_blocks_replaced(network: nn.Module, change: Callable[[str, EnergyModule], nn.Module]) -> nn.Module:
    """Put in the place of each energy block what `change` makes of its path and the block.

    Args:
        network: is changed, but where it is an energy block itself.
        change: is called once for a block that is in several places.

    Returns:
        the network.
    """
    made: dict[EnergyModule, nn.Module] = {}
    for path in energy_paths(network):
        block = network.get_submodule(path)
        if not isinstance(block, EnergyModule):  # below a module that is in two places
            continue
        if block not in made:
            made[block] = change(path, block)
        if not path:
            return made[block]
        parent, _, name = path.rpartition(".")
        setattr(network.get_submodule(parent), name, made[block])
    return network


def digital_tensors(network: nn.Module) -> dict[str, Tensor]:
    """Return the state of a network without its conductances; converter ranges count as digital.

    Raises:
        CompileError: for a state that is no tensor, or not finite.
    """
    prefixes = tuple(
        f"{path}.{group}.".removeprefix(".") for path in energy_paths(network) for group in ("g_plus", "g_minus")
    )
    tensors = {}
    for name, value in network.state_dict().items():
        if name.startswith(prefixes):
            continue
        module = name.rpartition(".")[0] or type(network).__name__
        if not isinstance(value, Tensor):
            raise CompileError(f"module '{module}': its state '{name}' is no tensor; make it a buffer")
        check_finite(module, name, value)
        # A tensor that shares memory with another is refused by safetensors, so each is its own copy.
        tensors[name] = value.detach().cpu().contiguous().clone()
    return tensors


def check_finite(module: str, name: str, value: Tensor) -> None:
    """Refuse a tensor with NaN or infinity.

    Raises:
        CompileError: with module and name.
    """
    if (value.is_floating_point() or value.is_complex()) and not bool(torch.isfinite(value).all()):
        raise CompileError(
            f"module '{module}': '{name}' holds values that are not finite; train it anew, or take an earlier "
            "checkpoint"
        )


def format_tensors(tensors: Mapping[str, Tensor]) -> tuple[DigitalEntry, bytes]:
    """Return the manifest's entry and the safetensors file."""
    names = sorted(tensors)
    entries = {
        name: TensorEntry(shape=tuple(tensors[name].shape), dtype=str(tensors[name].dtype).removeprefix("torch."))
        for name in names
    }
    return DigitalEntry(file=DIGITAL, tensors=entries), save({name: tensors[name] for name in names})


def load_tensors(network: nn.Module, content: bytes, source: str) -> None:
    """Put the tensors of a safetensors file into a network.

    Args:
        network: its analog blocks replaced by such as have no weights.
        content: of the file.
        source: its name, for errors.

    Raises:
        BundleError: if it is no such file, or of another network.
    """
    try:
        tensors = complete_state(load(content))
    except SafetensorError as error:
        raise BundleError(f"{source}: cannot be read ({error}); restore it, or compile anew") from error
    wanted = cast("dict[str, Tensor]", network.state_dict())
    different = [f"it has no '{name}'" for name in wanted if name not in tensors]
    different += [f"the network has no '{name}'" for name in sorted(tensors) if name not in wanted]
    different += [
        f"'{name}' is {tuple(tensors[name].shape)} there and {tuple(wanted[name].shape)} in the network"
        for name in wanted
        if name in tensors and tensors[name].shape != wanted[name].shape
    ]
    if different:
        more = f" (and {len(different) - 1} more)" if len(different) > 1 else ""
        raise BundleError(f"{source}: its weights do not fit the network: {different[0]}{more}; give the one compiled")
    network.load_state_dict(tensors)
