"""Random energy blocks with a known share of clamped units, for tests that compare two answers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from circuits import BlockCircuit, Clamp, Convolution, DiodeModel, Drive, EnergyBlock, NodeLayer, Polarity, build
from circuits.arrays import Floats
from circuits.kirchhoff import diode_currents
from cosim.simulators.newton import NewtonSession, NewtonSimulator
from netlists import lower

MOST_CLAMPED = 0.5


@dataclass(frozen=True, kw_only=True)
class RandomBlock:
    """A block, one parameter set for it and a batch of drives."""

    built: BlockCircuit
    conductance_s: Floats
    x: Floats
    drives: Floats
    plus: dict[str, Floats]
    minus: dict[str, Floats]


def session(circuit) -> NewtonSession:
    """Prepare a circuit in newton."""
    return NewtonSimulator().prepare(lower(circuit)[0])


def random_block(
    seed: int,
    *,
    sizes: tuple[int, ...] = (5, 4),
    n_inputs: int = 6,
    polarity: Polarity = Polarity.DIFFERENTIAL,
    drive: Drive = Drive.VOLTAGE,
    diode: DiodeModel | None = None,
    bias: bool = True,
    leak_s: float = 2e-6,
    clamped: bool = True,
    batch: int = 3,
    **settings,
) -> RandomBlock:
    """Draw a block whose layers are clamped at a quantile of the linear block's states, so that at most half the units
    clamp; `clamped=False` leaves the clamps out.
    """
    rng = np.random.default_rng(seed)
    if drive is Drive.CURRENT:
        n_inputs = sizes[0]
    layers = tuple(NodeLayer(size=size, leak_s=leak_s, bias=bias) for size in sizes)
    block = EnergyBlock(name="random", n_inputs=n_inputs, layers=layers, drive=drive, polarity=polarity, **settings)
    return draw_weights(block, rng, diode=diode, clamped=clamped, batch=batch)


def random_convolution(
    seed: int,
    convolution: Convolution,
    *,
    polarity: Polarity = Polarity.DIFFERENTIAL,
    drive: Drive = Drive.VOLTAGE,
    bias: bool = True,
    batch: int = 3,
    leak_s: float = 2e-6,
    clamped: bool = True,
    n_classes: int = 3,
    **settings,
) -> RandomBlock:
    """Draw a block with a convolved layer: after the input, or after the layer that takes it as currents; then a dense
    layer if n_classes is not zero.
    """
    layers = [NodeLayer(coupling=convolution, leak_s=leak_s, bias=bias)]
    if drive is Drive.CURRENT:
        layers.insert(0, NodeLayer(size=convolution.n_rows, leak_s=leak_s, bias=bias))
    if n_classes:
        layers.append(NodeLayer(size=n_classes, leak_s=leak_s, bias=bias))
    settings = {"name": "convolved", "n_inputs": convolution.n_rows, "drive": drive, "polarity": polarity, **settings}
    return draw_weights(
        EnergyBlock(layers=layers, **settings), np.random.default_rng(seed), batch=batch, clamped=clamped
    )


def draw_weights(
    block: EnergyBlock,
    rng: np.random.Generator,
    *,
    batch: int,
    clamped: bool = True,
    diode: DiodeModel | None = None,
) -> RandomBlock:
    """Draw weights and inputs of a block without clamps, and clamp its layers as `random_block` says."""
    x = rng.normal(size=(batch, block.n_inputs)) * (4.0 if block.drive is Drive.VOLTAGE else 6.0)
    linear = build(block)
    low, high = block.window
    plus = {c.name: rng.uniform(low, high / 2, c.shape) for c in linear.crossbars}
    minus = {c.name: rng.uniform(low, high / 2, c.shape) for c in linear.crossbars if c.minus is not None}
    drives = linear.drives(x)
    if not clamped:
        return RandomBlock(
            built=linear, conductance_s=linear.program(plus, minus), x=x, drives=drives, plus=plus, minus=minus
        )
    free = session(linear.circuit).solve(linear.program(plus, minus), drives).voltage_v
    states = [np.abs(nodes.state(free, block.v_unit_v)) * block.v_unit_v for nodes in linear.layers]
    for quantile in (0.5, 0.6, 0.7, 0.8, 0.9):
        limits = [float(np.quantile(state, quantile)) for state in states]
        clamps = [Clamp(low_v=-limit, high_v=limit, diode=diode or DiodeModel()) for limit in limits]
        clamped_layers = tuple(replace(layer, clamp=clamp) for layer, clamp in zip(block.layers, clamps, strict=True))
        built = build(replace(block, layers=clamped_layers))
        drawn = RandomBlock(
            built=built, conductance_s=built.program(plus, minus), x=x, drives=drives, plus=plus, minus=minus
        )
        if clamped_share(drawn, session(built.circuit).solve(drawn.conductance_s, drives).voltage_v) <= MOST_CLAMPED:
            break
    return drawn


def clamped_share(block: RandomBlock, voltage_v: Floats) -> float:
    """Return the share of unit nodes whose clamps carry more than 1 % of g_unit v_unit."""
    circuit, units = block.built.circuit, block.built.layers
    current, _ = diode_currents(circuit, voltage_v)
    threshold = 0.01 * block.built.block.g_unit_s * block.built.block.v_unit_v
    nodes = np.concatenate([column for u in units for column in (u.p, u.n) if column is not None])
    loaded = np.zeros((len(voltage_v), circuit.n_nodes), dtype=bool)
    for column in (circuit.diodes.anode, circuit.diodes.cathode):
        for k, node in enumerate(column):
            loaded[:, node] |= current[:, k] > threshold
    return float(loaded[:, nodes].mean())


ABSENT = 1e-26  # of g_unit: what a dense block has where a convolution has no device


def dense_twin(drawn: RandomBlock) -> RandomBlock:
    """Return the dense block that has the unrolled matrices of a convolutional one."""
    block = drawn.built.block
    layers = tuple(replace(layer, coupling=None) for layer in block.layers)
    built = build(replace(block, layers=layers, g_min_s=ABSENT * block.g_unit_s))
    names = {c.name: c for c in drawn.built.crossbars}

    def unrolled(values: dict[str, Floats]) -> dict[str, Floats]:
        found = {}
        for dense in built.crossbars:
            if dense.name in values:
                wiring = names[dense.name].wiring
                found[dense.name] = np.full(dense.shape, ABSENT)
                found[dense.name][wiring.pairs()] = wiring.spread(values[dense.name])
        return found

    plus, minus = unrolled(drawn.plus), unrolled(drawn.minus)
    return RandomBlock(
        built=built,
        conductance_s=built.program(plus, minus),
        x=drawn.x,
        drives=built.drives(drawn.x),
        plus=plus,
        minus=minus,
    )
