"""Deep Hopfield networks to program into circuits, and circuits held against them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from test_digital_hopfield_block import SETTLED, draw_input, make
from torch import Tensor

from circuits import build
from circuits.arrays import Floats
from circuits.cocontent import cocontent
from circuits.diode import K_OVER_Q_V_PER_K, NOMINAL_TEMPERATURE_K
from cosim.analog_block import AnalogBlock
from cosim.programming.hopfield import program_hopfield
from cosim.programming.programmed import ProgrammedBlock
from cosim.programming.settings import ProgrammingSettings
from cosim.simulators.newton import NewtonSimulator
from digital.hopfield import ConvCoupling, DenseCoupling, HopfieldBlock, HopfieldConfig, compute_energy

V_T = K_OVER_Q_V_PER_K * NOMINAL_TEMPERATURE_K

CHAIN = HopfieldConfig(
    input_shape=(8,),
    couplings=(DenseCoupling(size=7), DenseCoupling(size=6), DenseCoupling(size=5)),
    slope=(0.5, 0.8, 0.6, 0.7),
    last_layer="clamped",
    input_bias=True,
    name="chain",
)
# A column of the image is left over by the stride; its bias is one a channel, its circuit's one a unit.
IMAGE = HopfieldConfig(
    input_shape=(2, 5, 6),
    couplings=(ConvCoupling(channels=3, stride=2), DenseCoupling(size=4)),
    slope=(0.5, 0.8),
    input_bias=True,
    name="image",
)
# Convex, with units at both limits and between them.
SIZES = {CHAIN: 0.2, IMAGE: 0.15}


def convex(config: HopfieldConfig, n: int = 6) -> tuple[HopfieldBlock, Tensor]:
    """Return a block of one equilibrium in float64, and inputs for it."""
    block = make(config, replace(SETTLED, free_steps=400), size=SIZES[config])
    with torch.no_grad():
        for bias in block.biases.values():
            bias.add_(0.2)  # or deep layers would rest at their lower limit
    return block, 2.0 * draw_input(config, n)


def by_hand(dtype: torch.dtype = torch.float64) -> HopfieldBlock:
    """Return two layers of two units: w = (0.5, -0.25; 0.3, 0.8), b = (0.1, -0.2), leaks 2 and 1."""
    config = HopfieldConfig(input_shape=(2,), couplings=(DenseCoupling(size=2),), slope=0.5, name="hand")
    block = HopfieldBlock(config, phases=SETTLED).to(dtype)
    with torch.no_grad():
        block.weights["0"].copy_(torch.tensor([[0.5, -0.25], [0.3, 0.8]], dtype=torch.float64))
        block.biases["1"].copy_(torch.tensor([0.1, -0.2], dtype=torch.float64))
    return block


def scaled(block: HopfieldBlock, factor: float) -> HopfieldBlock:
    """Return a copy with weights and biases multiplied."""
    copied = block.configured(block.phases)
    with torch.no_grad():
        for p in copied.parameters():
            p.mul_(factor)
    return copied


def program(block: HopfieldBlock, **settings) -> ProgrammedBlock:
    return program_hopfield(block, ProgrammingSettings(**settings))


def on_circuit(block: HopfieldBlock, **settings) -> AnalogBlock:
    """Return the block's circuit in newton."""
    return AnalogBlock.from_digital(block, simulator=NewtonSimulator(), programming=ProgrammingSettings(**settings))


def circuit_states(analog: AnalogBlock, x: Tensor) -> list[Floats]:
    """Return the free states of every layer, [batch, size] each."""
    return analog.circuit.states(analog.free_phase(x.flatten(1)).point.voltage_v)


def network_states(block: HopfieldBlock, x: Tensor) -> tuple[list[Floats], list[Floats]]:
    """Return the network's free states of every layer, and what they would be without their own box."""
    relaxed, parameters = block.relax(x), block.parameter_tensors()
    assert relaxed.change < 1e-13
    states, unboxed = [], []
    for layer, slope in enumerate(block.config.slopes):
        leaves = [s.clone() for s in relaxed.states]
        leaves[layer].requires_grad_()
        energy = compute_energy(block.config, parameters, x, leaves).sum()
        (gradient,) = torch.autograd.grad(energy, leaves[layer])
        states.append(relaxed.states[layer].flatten(1).numpy())
        unboxed.append((relaxed.states[layer] - slope * gradient).flatten(1).numpy())
    return states, unboxed


def linear_energy(programmed: ProgrammedBlock, x: Floats, states: list[Floats]) -> Floats:
    """Return the circuit's energy without its clamps, F / (2 g_unit v_unit^2), [batch]."""
    block = programmed.block
    built = build(replace(block, layers=tuple(replace(layer, clamp=None) for layer in block.layers)))
    g = built.program(programmed.plus, programmed.minus)
    f = cocontent(built.circuit, g, built.drives(x), built.mirrored_voltages(states, x))
    return f / (2 * block.g_unit_s * block.v_unit_v**2)


def bias_constant(programmed: ProgrammedBlock) -> float:
    """Return what the bias row adds to the energy at every state: sum of (G+ + G-) / 2, since the row is at 1."""
    crossbars = [c for c in build(programmed.block).crossbars if c.name.startswith("b")]
    return sum(
        float(np.sum(c.wiring.spread(programmed.plus[c.name] + programmed.minus[c.name]))) / 2 for c in crossbars
    )
