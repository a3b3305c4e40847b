"""The same network without a circuit, two ways: tanh layers in the blocks' place, and the blocks' relaxation computed.

Tanh layers of the same sizes (`gradient = "backprop"`) are another function, trained otherwise; relaxing the block's
own equations digitally gives the block's own answer. Both have as many couplings as the block.
"""

import math
from dataclasses import dataclass
from typing import final

import torch

from ..analog_block import AnalogBlock
from ..training.network import tanh_layers
from .digital_work import DigitalWork, StageWork, count_stage
from .equilibria import BlockStates
from .sweeps import SweepCount, count_sweeps


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Twin:
    """What stands digitally in an analog block's place.

    Args:
        work: of one sample.
        parameters: that are trained.
    """

    work: StageWork
    parameters: int


def tanh_twin(block: AnalogBlock, x: torch.Tensor, *, want_x: bool) -> Twin:
    """Return the tanh layers that `gradient = "backprop"` puts in a block's place.

    Args:
        block: the block.
        x: [n, ...] what enters it.
        want_x: whether stages before it are trained.
    """
    with torch.random.fork_rng(devices=[]):
        layers = tanh_layers(block.block)
    parameters = sum(p.numel() for p in layers.parameters())
    return Twin(work=count_stage(layers, x.float(), want_x=want_x), parameters=parameters)


def relaxed_twin(
    block: AnalogBlock, states: BlockStates, *, want_x: bool, free_tolerance_v: float, nudged_tolerance_v: float
) -> tuple[Twin, SweepCount]:
    """Return the block's relaxation as a digital processor computes it, to the accuracy that the circuit settles to.

    Equation: free: sweeps x 2 couplings + the input crossbar once; nudged likewise for each nudge; gradients: the
    products s_i r_j + r_i s_j of every coupling, and dL/dx = W^T r or r itself. Weights, states and results are moved
    once a phase, for a processor keeps a block's weights and states while it relaxes.

    Args:
        block: the block.
        states: its equilibria, with the drives.
        want_x: whether stages before it are trained, so that dL/dx is computed.
        free_tolerance_v: V — half a step of the ADC of the outputs.
        nudged_tolerance_v: V — half a step of the ADC that reads the nudged phases.

    Raises:
        ChipError: if it does not settle.
    """
    built = block.circuit.at_units
    resistors = states.conductance_s[: len(built.circuit.resistors)]
    count = count_sweeps(
        built,
        resistors,
        states.free.drives,
        tuple(phase.drives for phase in states.nudged),
        free_tolerance_v=free_tolerance_v,
        nudged_tolerance_v=nudged_tolerance_v,
    )
    weights = sum(math.prod(crossbar.shape) for crossbar in built.crossbars)
    units = sum(layer.size for layer in built.block.layers)
    moved = weights + built.block.n_inputs + units
    free = DigitalWork(
        macs=count.free * count.macs_per_sweep + count.macs_of_input, elementwise=count.free * units, values=moved
    )
    nudges = len(states.nudged)
    nudged = DigitalWork(
        macs=nudges * count.nudged * count.macs_per_sweep,
        elementwise=nudges * count.nudged * units,
        values=nudges * moved,
    )
    training = free + nudged + (gradient_work(block, want_x_products=want_x) if nudges else DigitalWork())
    return Twin(work=StageWork(inference=free, training=training), parameters=weights), count


def gradient_work(block: AnalogBlock, *, want_x_products: bool) -> DigitalWork:
    """Return the work of conductance gradients from states in digital: two products a coupling, one value a weight.

    Args:
        block: the block.
        want_x_products: whether dL/dx is computed, too, by W^T r; a circuit measures it.
    """
    built = block.circuit.at_units
    couplings = sum(crossbar.plus[0].size for crossbar in built.crossbars)
    weights = sum(math.prod(crossbar.shape) for crossbar in built.crossbars)
    inputs = [c for c in built.crossbars if built.inputs is not None and c.rows is built.inputs]
    entering = sum(c.plus[0].size for c in inputs) if want_x_products else 0
    units = sum(layer.size for layer in built.block.layers)
    return DigitalWork(macs=2 * couplings + entering, values=weights + 2 * units)
