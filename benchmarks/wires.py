"""Blocks on wires with resistance: what preparing, relaxing and recovering every device's voltage take on one core.

Run: python benchmarks/wires.py
Asked: a tile of 64x64 differential weights (128x128 cells, 33k nodes) prepared in at most 2 s, one of 128x128 weights
(131k nodes) in at most 15 s; relaxation then at most 1.5 times as long as of a complete graph of as many ports; every
voltage recovered and judged in at most 25 ms a sample at 128x128 weights. Exit status 1 if one is missed.

Times are of the processor, the least of several; one thread. Preparing is all from the block without wires to its first
relaxed sample; of that, a further parameter set takes what the column "again" says. Takes half a minute.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from circuits import BlockCircuit, Clamp, Drive, EnergyBlock, NodeLayer, build
from circuits.arrays import Floats, no_indices
from circuits.reductions import ports
from circuits.tiles import TileSize
from circuits.wired_layout import lay_wires
from circuits.wires import Wires
from cosim.relaxation import Reduce, Relaxation, RelaxationOptions
from cosim.simulators.newton import NewtonSimulator

MOST_PREPARE_S = {64: 2.0, 128: 15.0}  # by units on either side
MOST_RECOVER_MS = {128: 25.0}
MOST_RATIO = 1.5  # relaxation against a complete graph of as many ports
BATCH = 64
REPEATS = 5
WIRE_OHM = 1.0


@final
@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured on one tile."""

    units: int
    nodes: int
    n_ports: int
    prepare_s: float
    again_s: float
    relax_ms: float  # a sample
    complete_ms: float  # a sample, on the complete graph
    recover_ms: float  # a sample


def make_block(units: int) -> BlockCircuit:
    """Return a block of two layers, driven by currents so that every port of its one tile is an unknown."""
    layers = (
        NodeLayer(size=units, clamp=Clamp(low_v=-0.3, high_v=0.3), leak_s=1e-6),
        NodeLayer(size=units, clamp=Clamp(low_v=-0.3, high_v=0.3), leak_s=1e-5),
    )
    return build(EnergyBlock(name=f"{units}x{units}", n_inputs=units, layers=layers, drive=Drive.CURRENT))


def draw_weights(block: BlockCircuit, rng: np.random.Generator) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Draw weights as at the start of training."""
    low, high = block.block.window
    plus, minus = {}, {}
    for crossbar in block.crossbars:
        w = rng.normal(size=crossbar.shape) / crossbar.shape[0] ** 0.5
        plus[crossbar.name] = np.clip(low + np.maximum(w, 0), low, high)
        minus[crossbar.name] = np.clip(low + np.maximum(-w, 0), low, high)
    return plus, minus


def least_s(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Return the least processor time that work took."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def measure(units: int) -> Row:
    """Measure one tile."""
    rng = np.random.default_rng(0)
    block = make_block(units)
    first, second = draw_weights(block, rng), draw_weights(block, rng)
    tile = TileSize(rows=2 * units, columns=2 * units)
    drives = block.drives(rng.uniform(-1.0, 1.0, (BATCH, units)))

    def prepare() -> tuple[BlockCircuit, Relaxation]:
        wired = lay_wires(block, Wires(row_ohm=WIRE_OHM, column_ohm=WIRE_OHM, tile=tile))
        relaxation = Relaxation.of_block(wired, NewtonSimulator())
        relaxation.solve(wired.program(*first), drives[:1], recover=False)
        return wired, relaxation

    prepare_s = least_s(prepare, 2)
    wired, relaxation = prepare()
    sets = [wired.program(*second), wired.program(*first)]
    again_s = least_s(lambda: [relaxation.solve(g, drives[:1], recover=False) for g in sets], 2) / len(sets)
    conductance_s = sets[-1]
    relax_s = least_s(lambda: relaxation.solve(conductance_s, drives, recover=False))
    point = relaxation.solve(conductance_s, drives, recover=False)
    recover_s = least_s(lambda: relaxation.recovered(conductance_s, drives, point))
    n_ports, complete_s = measure_complete_graph(wired, conductance_s, drives, rng)
    return Row(
        units=units,
        nodes=wired.circuit.n_nodes,
        n_ports=n_ports,
        prepare_s=prepare_s,
        again_s=again_s,
        relax_ms=1e3 * relax_s / BATCH,
        complete_ms=1e3 * complete_s / BATCH,
        recover_ms=1e3 * recover_s / BATCH,
    )


def measure_complete_graph(
    wired: BlockCircuit, conductance_s: Floats, drives: Floats, rng: np.random.Generator
) -> tuple[int, float]:
    """Return the number of ports, and the time that random conductances between all of them take, same diodes."""
    reduction = ports(wired.circuit, wired.wire_nodes)
    program = None if reduction is None else reduction.program(conductance_s)
    if reduction is None or program is None:
        sys.exit("wires: a block on wires has no ports")
    n_kept = len(reduction.kept_resistors)
    random_s = program.conductance_s.copy()
    random_s[n_kept:] = random_s[n_kept:].mean() * rng.uniform(0.0, 2.0, reduction.n_edges)
    options = RelaxationOptions(reduce=Reduce.NONE)
    graph = Relaxation(reduction.reduced, no_indices(), NewtonSimulator(), options)
    return len(program.parts[0].part.ports), least_s(lambda: graph.solve(random_s, drives))


def find_misses(row: Row) -> list[str]:
    """Return a line for each limit that is missed."""
    limits = [("relaxation against a complete graph", row.relax_ms / row.complete_ms, MOST_RATIO, "times")]
    if row.units in MOST_PREPARE_S:
        limits.append(("preparing", row.prepare_s, MOST_PREPARE_S[row.units], "s"))
    if row.units in MOST_RECOVER_MS:
        limits.append(("recovering a sample", row.recover_ms, MOST_RECOVER_MS[row.units], "ms"))
    return [
        f"{row.units}x{row.units}: {what} takes {value:.3g} {unit}, at most {most:g} asked"
        for what, value, most, unit in limits
        if not value <= most
    ]


def main() -> None:
    """Measure, print the table, and end with 1 if a limit is missed."""
    torch.set_num_threads(1)
    table = Table("weights", "nodes", "ports", "prepare s", "again s", "relax ms", "complete ms", "recover ms")
    misses = []
    with threadpool_limits(1):
        for units in sorted(MOST_PREPARE_S):
            row = measure(units)
            misses += find_misses(row)
            numbers = (row.prepare_s, row.again_s, row.relax_ms, row.complete_ms, row.recover_ms)
            cells = (f"{units}x{units}", str(row.nodes), str(row.n_ports), *(f"{number:.3g}" for number in numbers))
            table.add_row(*cells)
    Console(width=100).print(table)
    if misses:
        sys.exit("\n".join(f"wires: MISSED: {line}" for line in misses))
    print("wires: every limit is kept")


if __name__ == "__main__":
    main()
