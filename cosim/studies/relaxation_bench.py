"""How fast is a relaxation? The same block and the same samples, solved six ways on one core.

`.op` a sample on the full deck is what PySpice users do; folding, streaming and mirroring are then credited apart.
Loading and preparing is excluded everywhere, reading the voltages included.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.progress import track
from rich.table import Table

from circuits.arrays import Floats
from circuits.block_circuit import BlockCircuit
from circuits.block_layout import build
from circuits.circuit import Circuit
from circuits.clamp import Clamp
from circuits.energy_block import EnergyBlock, NodeLayer
from circuits.reductions import fold
from netlists.lowering import lower
from netlists.netlist import node_map
from netlists.spice_writer import format_standalone

from ..errors import ResultError
from ..relaxation import Reduce, Relaxation, RelaxationOptions
from ..simulators.base import AbstractSimulator
from ..simulators.newton import NewtonSimulator
from ..simulators.ngspice.library import find_ngspice_library, ngspice_library
from ..simulators.ngspice.pool import make_loky_executor
from ..simulators.ngspice.simulator import NgspiceSimulator
from ..threads import one_thread

DEFAULT_SIZES = ((64, 32, 10), (128, 64, 20), (256, 128, 10), (256, 128, 64))
BATCH = 64  # samples of a streamed batch
OP_SAMPLES = 3  # samples solved one by one: each takes seconds
REPEATS = 3  # of a batch; the fastest counts
CLAMP_V = 0.3
DRIVE = 3.0  # inputs in units of v_unit
COMMAND_LENGTH = 1000  # ngspice takes 1023 characters a command


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class BenchRow:
    """Times of one block, in ms a sample.

    Args:
        block: inputs and layers, as 256-128-10.
        naive_ms: `.op` a sample on the full deck, loaded once, sources altered.
        op_folded_ms: the same on the folded deck.
        ngspice_ms, ngspice_mirrored_ms: one streamed sweep a batch, folded; and mirrored.
        newton_ms, newton_mirrored_ms: newton, full; and mirrored.
        clamped: share of clamped units.
        max_abs_diff_v: V — largest difference of any node between any two ways.
    """

    block: str
    naive_ms: float
    op_folded_ms: float
    ngspice_ms: float
    ngspice_mirrored_ms: float
    newton_ms: float
    newton_mirrored_ms: float
    clamped: float
    max_abs_diff_v: float


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class BenchReport:
    """Times of several blocks."""

    rows: tuple[BenchRow, ...]

    def to_json(self) -> dict[str, Any]:
        """Return what `tellegen bench relaxation --json` writes."""
        return {"rows": [asdict(row) for row in self.rows]}

    def table(self) -> RenderableType:
        """Return the report as two tables for a terminal: times, then what each step is worth."""
        times = Table(title="one relaxation, ms a sample, one core", title_justify="left")
        for heading in (
            "block",
            ".op\nfull",
            ".op\nfolded",
            "ngspice\nfolded",
            "ngspice\nmirrored",
            "newton",
            "newton\nmirrored",
        ):
            times.add_column(heading, justify="right", no_wrap=True)
        worth = Table(title="what each step is worth: how many times faster", title_justify="left")
        steps = ("block", "fold", "stream", "both", "mirror", "newton", "clamped", "max diff")
        for heading in steps:
            worth.add_column(heading, justify="right", no_wrap=True)
        for r in self.rows:
            ways = (r.naive_ms, r.op_folded_ms, r.ngspice_ms, r.ngspice_mirrored_ms, r.newton_ms, r.newton_mirrored_ms)
            times.add_row(r.block, *(f"{ms:.3g}" if ms < 1000 else f"{ms:.0f}" for ms in ways))
            worth.add_row(
                r.block,
                f"{r.naive_ms / r.op_folded_ms:.1f}",
                f"{r.op_folded_ms / r.ngspice_ms:.1f}",
                f"{r.naive_ms / r.ngspice_ms:.0f}",
                f"{r.ngspice_ms / r.ngspice_mirrored_ms:.1f}",
                f"{r.ngspice_ms / r.newton_ms:.1f}",
                f"{r.clamped:.0%}",
                f"{r.max_abs_diff_v:.0e} V",
            )
        return Group(times, worth)


def relaxation_bench(sizes: Sequence[Sequence[int]] = DEFAULT_SIZES, *, seed: int = 0) -> BenchReport:
    """Time one relaxation of differential, voltage-driven blocks, each in a fresh process.

    Within one process the heap that one block leaves behind makes `.op` on the next up to twice as fast or slow.

    Args:
        sizes: inputs, then units of each layer; all layers but the last are clamped.
        seed: of weights and inputs.

    Returns:
        the times.

    Raises:
        SimulatorNotFound: if libngspice is not installed.
    """
    find_ngspice_library()  # before a process is started for it
    blocks = track(list(sizes), "relaxation", console=Console(stderr=True), transient=True)
    rows = []
    for size in blocks:
        with make_loky_executor(1) as executor:
            rows.append(executor.submit(bench_block, tuple(size), seed).result())
    return BenchReport(rows=tuple(rows))


def random_block(size: Sequence[int], seed: int) -> tuple[BlockCircuit, Floats, Floats]:
    """Return a block with random weights and inputs, as (circuit, conductances in S, drives of a batch).

    Inputs are uniform in +-DRIVE; how many units clamp is part of the report.
    """
    generator = np.random.default_rng(seed)
    hidden = [NodeLayer(size=n, clamp=Clamp(low_v=-CLAMP_V, high_v=CLAMP_V)) for n in size[1:-1]]
    name = "-".join(str(n) for n in size)
    block = EnergyBlock(name=name, n_inputs=size[0], layers=(*hidden, NodeLayer(size=size[-1], leak_s=5e-5)))
    circuit = build(block)
    plus, minus = {}, {}
    for crossbar in circuit.crossbars:
        w = generator.normal(size=crossbar.shape) / np.sqrt(crossbar.shape[0])
        plus[crossbar.name] = np.clip(np.maximum(w, 0) + block.window[0], *block.window)
        minus[crossbar.name] = np.clip(np.maximum(-w, 0) + block.window[0], *block.window)
    x = DRIVE * generator.uniform(-1, 1, (BATCH, size[0]))
    return circuit, circuit.program(plus, minus), circuit.drives(x)


@one_thread()
def bench_block(size: tuple[int, ...], seed: int) -> BenchRow:
    """Time one block six ways in this process."""
    block, conductance_s, drives = random_block(size, seed)
    newton, ngspice = NewtonSimulator(), NgspiceSimulator(chunk=BATCH)
    newton_ms, reference = _time_batch(newton, Reduce.NONE, block, conductance_s, drives)
    ways = [
        _time_batch(newton, Reduce.MIRROR, block, conductance_s, drives),
        _time_batch(ngspice, Reduce.FOLD, block, conductance_s, drives),
        _time_batch(ngspice, Reduce.MIRROR, block, conductance_s, drives),
        _time_op(block.circuit, conductance_s, drives[:OP_SAMPLES]),
        _time_folded_op(block.circuit, conductance_s, drives[:OP_SAMPLES]),
    ]
    newton_mirrored, streamed, mirrored, naive, folded = (way[0] for way in ways)
    return BenchRow(
        block="-".join(str(n) for n in size),
        naive_ms=naive,
        op_folded_ms=folded,
        ngspice_ms=streamed,
        ngspice_mirrored_ms=mirrored,
        newton_ms=newton_ms,
        newton_mirrored_ms=newton_mirrored,
        clamped=block.clamped_share(reference),
        max_abs_diff_v=max(float(np.abs(v - reference[: len(v)]).max()) for _, v in ways),
    )


def _time_batch(
    simulator: AbstractSimulator, reduce: Reduce, block: BlockCircuit, conductance_s: Floats, drives: Floats
) -> tuple[float, Floats]:
    """Return ms a sample of the fastest of some batches, after a first one that prepares, and the voltages."""
    relaxation = Relaxation(block.circuit, block.image, simulator, RelaxationOptions(reduce=reduce))
    return _fastest(lambda: relaxation.solve(conductance_s, drives).voltage_v, len(drives), REPEATS)


def _time_op(circuit: Circuit, conductance_s: Floats, drives: Floats) -> tuple[float, Floats]:
    """Return ms a sample of `.op` after altering the sources, deck loaded and solved once before, and the voltages."""
    netlist, _ = lower(circuit.with_conductances(conductance_s))
    names = [netlist.voltage_sources[k] for k in circuit.driven_voltage_sources]
    names += [netlist.current_sources[k] for k in circuit.driven_current_sources]
    vectors = node_map(netlist).vectors[: circuit.n_nodes - 1]
    library = ngspice_library()

    def solve() -> Floats:
        voltages = np.zeros((len(drives), circuit.n_nodes))
        for sample, values in enumerate(drives):
            for command in _alter_commands(names, values):
                library.command(command)
            library.command("op")
            for column, vector in enumerate(vectors, start=1):
                found = library.read_vector(vector)
                if found is None:
                    raise ResultError(f"ngspice has no vector '{vector}' after .op of block '{circuit.name}'")
                voltages[sample, column] = found[0]
            library.command("destroy all")
        return voltages

    with library.lock:
        try:
            library.unload_all()
            library.load_deck(format_standalone(netlist).replace(".end\n", ".save all\n.end\n"))
            return _fastest(solve, len(drives), 1)
        finally:
            library.unload_all()


def _time_folded_op(circuit: Circuit, conductance_s: Floats, drives: Floats) -> tuple[float, Floats]:
    """Return the same on the folded deck, with the voltages of the full circuit."""
    folding = fold(circuit)
    if folding is None:
        return _time_op(circuit, conductance_s, drives)
    program = folding.program(conductance_s)
    ms, voltage_v = _time_op(folding.reduced, program.conductance_s, program.drives(drives))
    return ms, program.expand(drives, voltage_v)


def _alter_commands(names: list[str], values: Floats) -> list[str]:
    """Return the commands that set the sources, several to a command."""
    commands, current = [], ""
    for name, value in zip(names, values.tolist(), strict=True):
        text = f"alter {name} = {value!r}"
        if len(current) + len(text) > COMMAND_LENGTH:
            commands.append(current)
            current = ""
        current = f"{current};{text}" if current else text
    return [*commands, current]


def _fastest(solve: Callable[[], Floats], batch: int, repeats: int) -> tuple[float, Floats]:
    """Return ms a sample of the fastest repeat after one that does not count, and its result."""
    result, best = solve(), np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        result = solve()
        best = min(best, time.perf_counter() - start)
    return best / batch * 1e3, result
