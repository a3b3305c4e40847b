"""Random blocks on wires, their phases, and gradients of a smooth loss, for tests of wires with resistance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from random_blocks import RandomBlock

from circuits import BlockCircuit
from circuits.arrays import Floats
from circuits.tiles import TileSize
from circuits.wired_layout import lay_wires
from circuits.wires import Wires
from cosim.converters import Converters, ConverterState
from cosim.phase_settings import PhaseSettings
from cosim.phases import Phases
from cosim.relaxation import Reduce, Relaxation, RelaxationOptions
from cosim.simulators.base import AbstractSimulator
from cosim.simulators.newton import NewtonSimulator
from netlists.netlist import SolverOptions

# So large that a wire takes a good part of the voltage; no two numbers alike.
COARSE = Wires(row_ohm=60.0, column_ohm=90.0, driver_ohm=150.0, sense_ohm=210.0, tile=TileSize(rows=6, columns=4))


def on_wires(drawn: RandomBlock, wires: Wires = COARSE) -> RandomBlock:
    """Return a block with its devices on wires, and its conductances as they were."""
    built = lay_wires(drawn.built, wires)
    return replace(drawn, built=built, conductance_s=built.program(drawn.plus, drawn.minus))


def relax(
    built: BlockCircuit,
    conductance_s: Floats,
    drives: Floats,
    reduce: Reduce = Reduce.MIRROR,
    simulator: AbstractSimulator | None = None,
) -> Floats:
    """Return the voltages of all nodes."""
    relaxation = Relaxation.of_block(built, simulator or NewtonSimulator(), RelaxationOptions(reduce=reduce))
    point = relaxation.solve(conductance_s, drives)
    relaxation.close()
    assert (point.residual_a <= point.tolerance_a).all()
    return point.voltage_v


def phases_of(built: BlockCircuit, settings: PhaseSettings | None = None) -> Phases:
    """Return the phases of a block in newton with ideal converters."""
    relaxation = Relaxation.of_block(built, NewtonSimulator())
    settings = settings or PhaseSettings()
    return Phases(built, relaxation, settings, Converters(), ConverterState(), SolverOptions())


def smooth_loss(s: Floats) -> float:
    """Return a loss whose gradient is of another size and sign for each sample and unit."""
    unit, sample = np.arange(s.shape[1]), np.arange(len(s))[:, None]
    return float((np.sin(2.0 * s + unit) + 0.4 * (1.0 + sample) * (s - 0.1 * unit) ** 2).sum())


def loss_gradient(s: Floats) -> Floats:
    """Return its derivative."""
    unit, sample = np.arange(s.shape[1]), np.arange(len(s))[:, None]
    return 2.0 * np.cos(2.0 * s + unit) + 0.8 * (1.0 + sample) * (s - 0.1 * unit)
