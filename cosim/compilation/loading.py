"""Load a bundle: the circuits from its SPICE text, bit for bit, and the digital side from its tensors.

The conductances of the manifest are for people and for checks; what runs is what the decks say.
"""

import copy
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import nn

from circuits.block_circuit import BlockCircuit
from circuits.block_layout import build
from circuits.convolution import Convolution
from circuits.energy_block import Drive, EnergyBlock
from digital.hopfield import ConvCoupling, HopfieldConfig
from netlists.netlist import SolverOptions
from netlists.reordering import reordered_like
from netlists.spice_reader import read_deck

from ..analog_block import AnalogBlock
from ..errors import ConfigError
from ..relaxation import RelaxationOptions
from ..simulators.base import AbstractSimulator
from ..training.config import Config
from ..training.config_file import config_from_json
from ..training.network import build_network
from .block_entry import BlockEntry
from .bundle import MANIFEST, Bundle, open_bundle
from .compiled_block import CompiledBlock
from .description import converters, energy_block
from .digital_side import EnergyModule, load_tensors, with_blocks_replaced
from .errors import BundleError
from .manifest import RunEntry


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ReadBlock:
    """A block as its deck has it.

    Args:
        circuit: maps of the block, with the circuit that was read.
        options: the deck's tolerances.
    """

    circuit: BlockCircuit
    options: SolverOptions


def read_block(bundle: Bundle, entry: BlockEntry, *, k_over_q_v_per_k: float | None = None) -> ReadBlock:
    """Read a block's deck, as a circuit in the order of the block.

    Args:
        bundle: the bundle.
        entry: the block.
        k_over_q_v_per_k: V/K — as the simulator has it, which a deck does not say; by default as compiled.

    Raises:
        NetlistError: with file and line, for what cannot be read; or if nodes or elements are not the block's.
        BundleError: if other sources are driven than an input drives.
    """
    built = build(energy_block(entry))
    deck = read_deck(bundle.path / entry.top)
    circuit = reordered_like(deck.circuit, built.circuit)
    for kind in ("voltage_sources", "current_sources"):
        found, wanted = getattr(circuit, kind), getattr(built.circuit, kind)
        different = np.flatnonzero(found.driven != wanted.driven)
        if len(different):
            name = wanted.names[different[0]]
            raise BundleError(
                f"{bundle.path / entry.top}: source '{name}' must {'' if wanted.driven[different[0]] else 'not '}take "
                "its value from a sample's parameter; compile the network anew"
            )
    circuit = replace(circuit, k_over_q_v_per_k=k_over_q_v_per_k or entry.k_over_q_v_per_k)
    return ReadBlock(circuit=replace(built, circuit=circuit), options=deck.options)


def load_bundle(
    folder: Path,
    simulator: AbstractSimulator,
    *,
    into: nn.Module | None = None,
    k_over_q_v_per_k: float | None = None,
) -> nn.Module:
    """Load a bundle as a network that is ready to run, in evaluation mode and without gradients.

    Args:
        folder: the bundle.
        simulator: relaxes its circuits.
        into: a network like the one that was compiled, for a bundle that does not come from a run: its modules are
            copied, its weights replaced. Hopfield blocks in it may have other weights too.
        k_over_q_v_per_k: V/K — as the simulator has it; by default as compiled.

    Returns:
        the network, an `FfEbm` where it comes from a run; its energy blocks are `CompiledBlock`s.

    Raises:
        BundleError: if this is no whole bundle, or its digital side cannot be built or does not fit.
        NetlistError: with file and line, for a deck that cannot be read.
        ConfigError: if the configuration in it is none of this version.
    """
    bundle = open_bundle(folder)
    if into is not None:
        network = copy.deepcopy(into)
    elif bundle.manifest.run is not None:
        network = _build(bundle, bundle.manifest.run, simulator)
    else:
        raise BundleError(
            f"{folder}: was compiled from a torch module, whose code no bundle holds; load it from Python with "
            "load_bundle(folder, simulator, into=YourNetwork(...)), a network like that one"
        )
    network = _with_decks(bundle, network, simulator, k_over_q_v_per_k)
    digital = bundle.manifest.digital.file
    load_tensors(network, bundle.read(digital), str(folder / digital))
    return network.requires_grad_(requires_grad=False).eval()


def run_config(bundle: Bundle, run: RunEntry) -> Config:
    """Return the configuration of the run that a bundle comes from.

    Raises:
        ConfigError: if it is none of this version.
    """
    return config_from_json(run.config, f"{bundle.path / MANIFEST}: run.config")


def _build(bundle: Bundle, run: RunEntry, simulator: AbstractSimulator) -> nn.Module:
    """Return the network of a run; torch's global generator is left alone."""
    config = run_config(bundle, run)
    with torch.random.fork_rng(devices=[]):
        try:
            return build_network(
                config,
                shape=run.shape,
                n_classes=run.n_classes,
                simulator=simulator,
                generator=torch.Generator(),
            )
        except ConfigError as error:
            raise BundleError(f"{bundle.path / MANIFEST}: its network cannot be built: {error}") from error


def _with_decks(
    bundle: Bundle, network: nn.Module, simulator: AbstractSimulator, k_over_q_v_per_k: float | None
) -> nn.Module:
    """Put the circuits of a bundle in the places of a network's energy blocks."""
    entries = {entry.module: entry for entry in bundle.manifest.blocks}

    def from_deck(path: str, block: EnergyModule) -> CompiledBlock:
        entry = entries.pop(path, None)
        if entry is None:
            raise BundleError(f"{bundle.path}: has no deck for the energy block at '{path}'; give the network compiled")
        reduce = RelaxationOptions().reduce
        if isinstance(block, AnalogBlock):
            _check_fit(bundle, entry, _description(energy_block(entry)), _description(block.block))
            reduce = block.relaxation_options.reduce
        else:
            _check_fit(bundle, entry, _hopfield_shape(energy_block(entry)), _hopfield_shape(block.config))
        read = read_block(bundle, entry, k_over_q_v_per_k=k_over_q_v_per_k)
        return CompiledBlock(
            read.circuit,
            simulator=simulator,
            converters=converters(entry),
            relaxation=RelaxationOptions(reduce=reduce, solver=read.options),
        )

    network = with_blocks_replaced(network, from_deck)
    if entries:
        path = next(iter(entries))
        raise BundleError(f"{bundle.path}: the network has no energy block at '{path}'; give the network compiled")
    return network


def _check_fit(bundle: Bundle, entry: BlockEntry, own: dict[str, Any], other: dict[str, Any]) -> None:
    """Refuse a network whose block is another than the one compiled."""
    different = [name for name in own if own[name] != other[name]]
    if different:
        name = different[0]
        raise BundleError(
            f"{bundle.path}: block '{entry.name}' at '{entry.module}' has {name} = {own[name]!r}, the network "
            f"{other[name]!r}; give a network like the one compiled"
        )


def _description(block: EnergyBlock) -> dict[str, Any]:
    """Return all that must be the same; k/q is the simulator's."""
    read_from = tuple(k % len(block.layers) for k in block.output_layers)
    names = [name for name in EnergyBlock.__dataclass_fields__ if name != "k_over_q_v_per_k"]
    return {name: getattr(block, name) for name in names} | {"output_layers": read_from}


def _hopfield_shape(block: EnergyBlock | HopfieldConfig) -> dict[str, Any]:
    """Return what a hopfield block and its circuit have in common, whatever the weights."""
    if isinstance(block, EnergyBlock):
        couplings = [layer.coupling for layer in block.layers[1:]]
        return {
            "drive": block.drive,
            "sizes": tuple(layer.size for layer in block.layers),
            "boxes": tuple(layer.clamp is not None for layer in block.layers),
            "biases": tuple(layer.bias for layer in block.layers),
            "kernels": tuple(None if c is None else _kernel(c, c.input_shape) for c in couplings),
        }
    return {
        "drive": Drive.CURRENT,
        "sizes": tuple(math.prod(shape) for shape in block.shapes),
        "boxes": block.boxes,
        "biases": (block.input_bias, *(coupling.bias for coupling in block.couplings)),
        "kernels": tuple(
            _kernel(c, shape) if isinstance(c, ConvCoupling) else None
            for c, shape in zip(block.couplings, block.shapes, strict=False)
        ),
    }


def _kernel(coupling: Convolution | ConvCoupling, shape: tuple[int, ...]) -> tuple[tuple[int, ...], int, int, int, int]:
    """Return shape of the layer before, channels, kernel, stride and padding."""
    return shape, coupling.channels, coupling.kernel, coupling.stride, coupling.padding
