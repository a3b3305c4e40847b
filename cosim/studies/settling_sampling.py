"""A network's circuits with their time constants, and the same network sampled before it has settled."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import final

import numpy as np
from torch import nn

from circuits.arrays import Floats
from circuits.capacitance import Capacitance, node_capacitances
from circuits.topology import analyse

from ..analog_block import AnalogBlock
from ..reduce import Reduce
from ..relaxation import Relaxation
from ..simulators.newton import NewtonSimulator
from ..simulators.newton.transient import NewtonIntegrator
from ..simulators.ngspice.transient import NgspiceIntegrator
from ..training.network import list_analog_blocks
from ..transients.integrator import Step
from ..transients.linearised import linearise, slowest_of_pairs_s
from ..transients.reduced import follow
from ..transients.sampling import SampledSimulator
from ..twin import replace_blocks

ACCURACY_V = 1e-6  # of a step in time: far below the step of any ADC


class Modes(Enum):
    """Which movements of the nodes the slowest one is taken of."""

    DIFFERENTIAL = "differential"  # p and n oppositely: what differential drives excite and converters read
    ALL = "all"  # p and n together, too, which often only leaks discharge


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TimedBlock:
    """A block with its capacitances.

    Args:
        name: of the block.
        capacitance_f: [n_nodes] F — of each node to ground.
        time_constant_s: s — 1 / smallest eigenvalue of C^-1 H at rest, with all drives zero, of the movements that were
            asked for. No clamp conducts at rest, and clamps only add to H, so the block is slower in no other state.
    """

    name: str
    capacitance_f: Floats
    time_constant_s: float


def time_block(block: AnalogBlock, capacitance: Capacitance, modes: Modes = Modes.DIFFERENTIAL) -> TimedBlock:
    """Find the time constant of a block at rest."""
    circuit, conductance_s = block.circuit.circuit, block.conductances()
    capacitance_f = node_capacitances(circuit, capacitance, on_wires=block.circuit.wire_nodes)
    relaxation = Relaxation.of_block(block.circuit, NewtonSimulator(), block.relaxation_options)
    rest_v = relaxation.solve(conductance_s, np.zeros((1, circuit.n_drives))).voltage_v
    relaxation.close()
    topology = analyse(circuit)
    if modes is Modes.ALL:
        slowest_s = linearise(topology, conductance_s, rest_v, capacitance_f).slowest_s
    else:
        slowest_s = slowest_of_pairs_s(topology, conductance_s, rest_v, capacitance_f, block.circuit.layers)
    return TimedBlock(name=block.block.name, capacitance_f=capacitance_f, time_constant_s=float(slowest_s[0]))


def sampled_network(
    network: nn.Module, blocks: Mapping[str, TimedBlock], *, free: float | None, nudged: float | None
) -> nn.Module:
    """Return a copy of a network whose phases are sampled a number of time constants after their drives stepped.

    Args:
        network: with analog blocks.
        blocks: of the network, by name.
        free: time constants after the input stepped from zero; None: settled.
        nudged: time constants after the nudge stepped in; None: settled.
    """

    def change(block: AnalogBlock) -> AnalogBlock:
        timed, names = blocks[block.block.name], block.circuit.circuit.nodes
        simulator = SampledSimulator(
            dict(zip(names, timed.capacitance_f.tolist(), strict=True)),
            from_rest_s=None if free is None else free * timed.time_constant_s,
            from_state_s=None if nudged is None else nudged * timed.time_constant_s,
            accuracy_v=ACCURACY_V,
        )
        options = block.relaxation_options
        if options.reduce is Reduce.PORTS or len(block.circuit.wire_nodes):  # nodes on wires take time, too
            options = replace(options, reduce=Reduce.FOLD)
        return block.configured(simulator=simulator, relaxation=options)

    return replace_blocks(network, change)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How far newton in time is from ngspice's `.tran` of the plain circuit.

    Args:
        block: its name.
        samples: compared.
        free_v: V — largest difference of any node at any sampling time after the input stepped.
        nudged_v: V — after a nudge stepped.
    """

    block: str
    samples: int
    free_v: float
    nudged_v: float


def compare_with_ngspice(
    block: AnalogBlock, timed: TimedBlock, x: Floats, nudge: Floats, multiples: tuple[float, ...]
) -> Agreement:
    """Follow some samples of a block in both simulators.

    Args:
        block: the block.
        timed: with its capacitances.
        x: [batch, n_inputs] dimensionless input.
        nudge: [batch, n_outputs] beta ds.
        multiples: sampling times in time constants.
    """
    circuit = block.circuit
    time_s = np.array(sorted(multiples)) * timed.time_constant_s
    rest, driven, nudged = np.zeros_like(circuit.drives(x)), circuit.drives(x), circuit.drives(x, nudge)
    found = []
    for before, after in ((rest, driven), (driven, nudged)):
        step = Step(
            circuit=circuit.circuit,
            conductance_s=block.conductances(),
            drives_before=before,
            drives_after=after,
            capacitance_f=timed.capacitance_f,
        )
        ngspice = follow(NgspiceIntegrator(), step, time_s).voltage_v
        newton = follow(
            NewtonIntegrator(accuracy_v=ACCURACY_V), step, time_s, reduce=Reduce.MIRROR, image=circuit.image
        ).voltage_v
        found.append(float(np.abs(ngspice - newton).max()))
    return Agreement(block=timed.name, samples=len(x), free_v=found[0], nudged_v=found[1])


def timed_blocks(network: nn.Module, capacitance: Capacitance, modes: Modes) -> dict[str, TimedBlock]:
    """Return the analog blocks of a network in order, by name, with their time constants."""
    return {block.block.name: time_block(block, capacitance, modes) for block in list_analog_blocks(network)}
