"""Prove that the netlists are the network: every sample's deck through the plain ngspice program, a process each.

Three checks: each device of the deck, leaks included, has the conductance that the manifest says, to the bit; ngspice
finds the voltages that the network has, at every node; and those voltages obey Kirchhoff's law by our own element laws.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
from rich.console import Console

from circuits.arrays import Floats, Indices
from circuits.block_layout import build
from circuits.crossbar import Crossbar
from circuits.kirchhoff import kirchhoff_residual
from netlists.lowering import lower
from netlists.netlist import Netlist

from ..files import format_json, write_atomically
from ..progress import counting_bar
from ..simulators.base import residual_tolerance_v
from ..simulators.ngspice.program import find_ngspice_program, read_voltages, run_deck
from .block_entry import BlockEntry, CrossbarEntry, SampleEntry
from .bundle import VERIFICATION, Bundle, open_bundle
from .description import energy_block
from .errors import BundleError
from .loading import read_block
from .samples import parse_voltages, read_drives

LIMIT_V: Final = 1e-6


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyReport:
    """What the decks of a bundle came to.

    Args:
        bundle: the folder.
        samples: inputs of the network.
        decks: decks that were run, one a sample and block.
        max_abs_error_v: V — largest difference of a node's voltage from the network's.
        worst: deck and node of it.
        kirchhoff_ratio: largest net current at a node over what the deck's tolerances allow.
        problems: a sentence for each device whose conductance is not the manifest's, one a crossbar at most, and one
            leak.
    """

    bundle: Path
    samples: int
    decks: int
    max_abs_error_v: float
    worst: str
    kirchhoff_ratio: float
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the netlists are the network."""
        return self.max_abs_error_v <= LIMIT_V and self.kirchhoff_ratio <= 1.0 and not self.problems

    def to_json(self) -> dict[str, Any]:
        """Return what verify.json holds."""
        return {
            "pass": self.passed,
            "max_abs_error_v": self.max_abs_error_v,
            "limit_v": LIMIT_V,
            "samples": self.samples,
            "decks": self.decks,
            "worst": self.worst,
            "kirchhoff_ratio": self.kirchhoff_ratio,
            "problems": list(self.problems),
        }

    def lines(self) -> tuple[str, ...]:
        """Return the report for people."""
        verdict = "pass" if self.passed else "FAIL"
        head = (
            f"{verdict}: {self.decks} decks in ngspice -b, {self.samples} samples; largest error "
            f"{self.max_abs_error_v:.2g} V of {LIMIT_V:g} V, at {self.worst}"
        )
        law = f"Kirchhoff's law is violated: {self.kirchhoff_ratio:.3g} times what the tolerances allow"
        return (head, *self.problems, *((law,) if not self.kirchhoff_ratio <= 1.0 else ()))


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Block:
    """A block whose decks are run."""

    entry: BlockEntry
    netlist: Netlist
    problems: tuple[str, ...]


def verify_bundle(folder: Path, *, console: Console | None = None, workers: int = 2) -> VerifyReport:
    """Run every sample's deck in the ngspice program, compare, and write verify.json.

    Args:
        folder: the bundle.
        console: shows a progress bar where it is a terminal.
        workers: decks at a time.

    Returns:
        the report; where it did not pass, verify.json says so too.

    Raises:
        BundleError: if this is no whole bundle, or one without samples.
        NetlistError: for a deck that cannot be read.
        SimulatorNotFound: if ngspice is not installed.
        SimulationError: if a deck does not run.
    """
    bundle = open_bundle(folder)
    if not any(entry.samples for entry in bundle.manifest.blocks):
        raise BundleError(f"{folder}: holds no samples to compare with; compile it with --samples N")
    find_ngspice_program()
    blocks = [_read(bundle, entry) for entry in bundle.manifest.blocks]
    work = [(block, sample) for block in blocks for sample in block.entry.samples]
    with counting_bar(console) as progress, ThreadPoolExecutor(max_workers=workers) as pool:
        task = progress.add_task("ngspice -b", total=len(work))
        found = []
        try:
            for voltage_v in pool.map(lambda item: _run(bundle, *item), work):
                found.append(voltage_v)
                progress.advance(task)
        except BaseException:  # decks that wait are not begun any more
            pool.shutdown(cancel_futures=True)
            raise
    report = _judge(bundle, blocks, work, found)
    write_atomically(folder / VERIFICATION, format_json(report.to_json()).encode())
    return report


def _read(bundle: Bundle, entry: BlockEntry) -> _Block:
    read = read_block(bundle, entry)
    netlist, _ = lower(read.circuit.circuit, read.options)
    problems = []
    for crossbar in read.circuit.crossbars:
        problems += list(_different_devices(entry, entry.crossbar(crossbar.name), crossbar, netlist))[:1]
    leaks = read.circuit.leak_devices
    wanted = build(energy_block(entry)).circuit.resistors.conductance_s[leaks]
    problems += list(_different(entry, netlist, leaks, wanted))
    return _Block(entry=entry, netlist=netlist, problems=tuple(problems))


def _different_devices(entry: BlockEntry, listed: CrossbarEntry, crossbar: Crossbar, netlist: Netlist) -> Iterator[str]:
    """Name the devices of a crossbar whose conductance is not that of the manifest."""
    for devices, values in ((crossbar.plus, listed.plus_s), (crossbar.minus, listed.minus_s)):
        if devices is None or values is None:
            continue
        wanted = crossbar.wiring.spread(np.array(values).reshape(crossbar.shape))
        for side in devices:
            yield from _different(entry, netlist, side.ravel(), wanted.ravel())


def _different(entry: BlockEntry, netlist: Netlist, devices: Indices, wanted_s: Floats) -> Iterator[str]:
    """Name the first of some devices whose conductance is another than wanted, [n] S each."""
    found_s = netlist.circuit.resistors.conductance_s[devices]
    for k in np.flatnonzero(found_s != wanted_s)[:1]:
        yield (
            f"block '{entry.name}': device {netlist.resistors[int(devices[k])]} has {found_s[k]:.9g} S in the deck, "
            f"{wanted_s[k]:.9g} S in the manifest"
        )


def _run(bundle: Bundle, block: _Block, sample: SampleEntry) -> Floats:
    """Return the node voltages that the program finds for a sample, [n_nodes] V."""
    return read_voltages(block.netlist, run_deck(bundle.path / sample.deck))


def _judge(
    bundle: Bundle, blocks: list[_Block], work: list[tuple[_Block, SampleEntry]], found: list[Floats]
) -> VerifyReport:
    """Hold voltages against those expected, and against Kirchhoff's law."""
    largest, worst, ratio = 0.0, "", 0.0
    for (block, sample), voltage_v in zip(work, found, strict=True):
        netlist, path = block.netlist, bundle.path / sample.voltages
        error_v = np.abs(voltage_v - parse_voltages(bundle.read(sample.voltages), netlist, path))
        node = int(np.argmax(error_v))
        if error_v[node] > largest or not worst:
            largest, worst = float(error_v[node]), f"{sample.deck}, node {netlist.nodes[node or 1]}"
        residual = kirchhoff_residual(
            netlist.topology,
            netlist.circuit.resistors.conductance_s,
            read_drives(bundle.path / sample.drives, netlist)[np.newaxis],
            voltage_v[np.newaxis],
            voltage_tolerance_v=residual_tolerance_v(netlist.options, voltage_v[np.newaxis]),
        )
        ratio = max(ratio, float(residual.residual_a[0] / residual.tolerance_a[0]))
    return VerifyReport(
        bundle=bundle.path,
        samples=max(len(block.entry.samples) for block in blocks),
        decks=len(work),
        max_abs_error_v=largest,
        worst=worst,
        kirchhoff_ratio=ratio,
        problems=tuple(problem for block in blocks for problem in block.problems),
    )
