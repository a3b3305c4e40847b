"""Real inputs of a network as decks, each with the voltages that the network has there.

Takes: a network and a batch of its inputs. Gives: what enters each block behind its DAC, and every node's voltage by
newton; then, for each, a deck that runs alone and a table of the voltages.
"""

import copy
import csv
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from torch import Tensor, nn

from circuits.arrays import Floats
from netlists.hierarchy import SAMPLE, TOP, format_sample
from netlists.netlist import Netlist
from netlists.spice_lexer import read_cards
from netlists.spice_reader import DRIVE
from netlists.spice_settings import parse_assignments, parse_value

from ..analog_block import AnalogBlock
from ..errors import BlockError, SimulationError
from ..simulators.newton import NewtonSimulator
from .block_deck import BlockDeck
from .block_entry import SampleEntry
from .digital_side import find_analog_blocks, with_blocks_replaced
from .errors import BundleError, CompileError

_INCLUDE: Final = re.compile(r'^\.include "(.*)"$', re.MULTILINE)
_COLUMNS: Final = ("node", "voltage_v", "meaning")


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BlockSamples:
    """Free equilibria of a block.

    Args:
        x: [n, n_inputs] what the DAC gives, dimensionless.
        voltage_v: [n, n_nodes] V.
    """

    x: Floats
    voltage_v: Floats


def relax_samples(network: nn.Module, inputs: Tensor) -> dict[str, BlockSamples]:
    """Run a network's inputs through it, in newton and in evaluation mode, and return each block's equilibria.

    Args:
        network: any module with analog blocks; it stays as it is.
        inputs: [n, ...] what it takes.

    Returns:
        by module path; a block that is run twice has all of its samples, one run after the other.

    Raises:
        CompileError: if the inputs do not go through it, or do not reach a block.
        SimulationError: if a sample has no equilibrium.
    """
    if inputs.ndim < 1 or not len(inputs):
        raise CompileError(f"inputs of shape {tuple(inputs.shape)}: no samples; give [n, ...], n of them")
    newton = NewtonSimulator()

    def in_newton(_path: str, block: nn.Module) -> nn.Module:
        return block.configured(simulator=newton) if isinstance(block, AnalogBlock) else block

    copied = with_blocks_replaced(copy.deepcopy(network), in_newton).eval()
    blocks = find_analog_blocks(copied)
    seen: dict[str, list[Tensor]] = {path: [] for path in blocks}

    def watch(path: str) -> Any:
        def note(_module: nn.Module, arguments: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
            x = arguments[0] if arguments else named["x"]
            seen[path].append(x.detach().flatten(1).clone())

        return note

    for path, block in blocks.items():
        block.register_forward_pre_hook(watch(path), with_kwargs=True)
    with torch.no_grad():
        try:
            copied(inputs)
        except (BlockError, SimulationError):
            raise
        except (RuntimeError, ValueError, TypeError) as error:  # what torch's own modules say of a wrong shape
            raise CompileError(
                f"inputs of shape {tuple(inputs.shape)} and type {inputs.dtype} do not go through "
                f"{type(network).__name__}: {' '.join(str(error).split())}"
            ) from error
    found = {}
    for path, block in blocks.items():
        if not seen[path]:
            raise CompileError(f"module '{path}': no input reaches this block; give inputs that do, or leave them out")
        free = block.free_phase(torch.cat(seen[path]))
        found[path] = BlockSamples(x=free.x, voltage_v=free.point.voltage_v)
    return found


def format_samples(deck: BlockDeck, samples: BlockSamples) -> tuple[tuple[SampleEntry, ...], dict[str, str]]:
    """Return the samples of a block for the manifest, and their files by name."""
    entries, files = [], {}
    top = deck.texts(deck.netlist)[TOP]
    for number, (x, voltage_v) in enumerate(zip(samples.x, samples.voltage_v, strict=True)):
        stem = f"sample-{number:04d}"
        names = {kind: f"{deck.folder}/samples/{stem}.{kind}" for kind in ("cir", "inc", "csv")}
        entries.append(SampleEntry(number=number, deck=names["cir"], drives=names["inc"], voltages=names["csv"]))
        files[names["cir"]] = _with_sample(top, f"{stem}.inc")
        files[names["inc"]] = format_sample(deck.with_input(x))
        files[names["csv"]] = format_voltages(deck.netlist, voltage_v)
    return tuple(entries), files


def _with_sample(top: str, name: str) -> str:
    """Return a block's deck as one in the folder below, with another sample."""

    def included(found: re.Match[str]) -> str:
        return f'.include "{name if found[1] == SAMPLE else f"../{found[1]}"}"'

    return _INCLUDE.sub(included, top)


def format_voltages(netlist: Netlist, voltage_v: Floats) -> str:
    """Return node voltages, [n_nodes] V, as CSV: node, voltage, and the node in words."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    rows = zip(netlist.nodes, map(repr, voltage_v.tolist()), netlist.circuit.labels, strict=True)
    writer.writerows(list(rows)[1:])  # without ground
    return text.getvalue()


def parse_voltages(content: bytes, netlist: Netlist, source: Path) -> Floats:
    """Return [n_nodes] V, ground first, from what `format_voltages` wrote.

    Raises:
        BundleError: with file and line, for anything else.
    """
    found: dict[str, float] = {}
    rows = csv.reader(io.StringIO(content.decode("utf-8", "replace")))
    for row in rows:
        if rows.line_num == 1 and tuple(row) == _COLUMNS:
            continue
        value = _parse_number(row[1]) if len(row) == len(_COLUMNS) else None
        if value is None or rows.line_num == 1 or row[0] in found:
            raise BundleError(
                f"{source}, line {rows.line_num}: '{','.join(row)[:60]}' is no '{','.join(_COLUMNS)}', or is there "
                "twice; compile the network anew"
            )
        found[row[0]] = value
    missing = [name for name in netlist.nodes[1:] if name not in found]
    if missing or len(found) != len(netlist.nodes) - 1:
        what = f"has no voltage of '{missing[0]}'" if missing else "has voltages of other nodes than the deck"
        raise BundleError(f"{source}: {what}; compile anew")
    return np.array([0.0, *(found[name] for name in netlist.nodes[1:])])


def _parse_number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def read_drives(path: Path, netlist: Netlist) -> Floats:
    """Return the drives of a sample's file, [n_drives] V then A, in the order of the circuit.

    Raises:
        NetlistError: with file and line, for what is no parameter.
        BundleError: if it does not set exactly the driven sources of the netlist.
    """
    values = {}
    _, cards = read_cards(path)
    for card in cards:
        for name, value in parse_assignments(card, card.text.removeprefix(".param")):
            values[name] = float(parse_value(card, value, parameter=True))
    v, i = netlist.circuit.driven_voltage_sources, netlist.circuit.driven_current_sources
    names = [netlist.voltage_sources[k] for k in v.tolist()] + [netlist.current_sources[k] for k in i.tolist()]
    wanted = [f"{DRIVE}{name}" for name in names]
    if set(wanted) != set(values):
        different = sorted(set(wanted) ^ set(values))
        raise BundleError(f"{path}: sets other sources than the deck drives, such as {different[0]}; compile anew")
    return np.array([values[name] for name in wanted])
