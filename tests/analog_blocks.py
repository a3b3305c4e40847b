"""Analog blocks from random blocks, and their gradients for a smooth loss, for tests of every way to get them."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from random_blocks import RandomBlock, random_block
from torch import Tensor

from circuits import BlockCircuit, Clamp, Drive, EnergyBlock, NodeLayer, Polarity, build
from circuits.arrays import Floats
from cosim.analog_block import AnalogBlock
from cosim.relaxation import Reduce, Relaxation, RelaxationOptions
from cosim.simulators.base import AbstractSimulator
from cosim.simulators.newton import NewtonSimulator
from netlists import lower

SIZES = {1: (4,), 2: (5, 4), 3: (5, 4, 3)}  # units of blocks with one to three layers

# Every kind of block: polarity, drive and number of layers.
KINDS = list(itertools.product(Polarity, Drive, SIZES))
KIND_IDS = [f"{polarity.value}-{drive.value}-{n}" for polarity, drive, n in KINDS]


def draw_block(seed: int, polarity: Polarity, drive: Drive, n_layers: int, **settings) -> RandomBlock:
    """Draw a block of one kind."""
    return random_block(seed, sizes=SIZES[n_layers], n_inputs=4, polarity=polarity, drive=drive, **settings)


def analog(drawn: RandomBlock, simulator: AbstractSimulator | None = None, **options) -> AnalogBlock:
    """Return a float64 module with the weights of a random block."""
    block = AnalogBlock(drawn.built.block, simulator=simulator or NewtonSimulator(), **options).double()
    with torch.no_grad():
        for group, values in ((block.g_plus, drawn.plus), (block.g_minus, drawn.minus)):
            for name, parameter in group.items():
                parameter.copy_(torch.from_numpy(values[name]))
    return block


def smooth_loss(s: Tensor) -> Tensor:
    """Return a loss whose gradient is of another size and sign for each sample and unit."""
    unit, sample = torch.arange(s.shape[1], dtype=s.dtype), torch.arange(len(s), dtype=s.dtype)[:, None]
    return (torch.sin(2.0 * s + unit) + 0.4 * (1.0 + sample) * (s - 0.1 * unit) ** 2).sum()


def gradients(block: AnalogBlock, x: Floats) -> dict[str, Floats]:
    """Return the gradient of the smooth loss for every tensor; the block's input is "input"."""
    leaf = torch.from_numpy(x).requires_grad_()
    block.zero_grad()
    smooth_loss(block(leaf).flatten(1)).backward()
    named = {"input": leaf, **dict(block.named_parameters())}
    assert all(tensor.grad is not None for tensor in named.values())
    return {name: tensor.grad.numpy().copy() for name, tensor in named.items()}


Differences = dict[str, tuple[Floats, Floats]]


def differences(block: AnalogBlock, x: Floats, seed: int = 0) -> Differences:
    """Return central differences of the smooth loss for every tensor: three entries, then one random direction.

    As [n, *shape] directions and [n] slopes.
    """
    leaf = torch.from_numpy(x.copy())
    rng, step, found = np.random.default_rng(seed), 1e-5, {}
    for name, tensor in {"input": leaf, **dict(block.named_parameters())}.items():
        directions = np.zeros((min(3, tensor.numel()) + 1, *tensor.shape))
        for k, entry in enumerate(rng.choice(tensor.numel(), len(directions) - 1, replace=False)):
            directions[k].flat[entry] = 1.0
        directions[-1] = rng.normal(size=tensor.shape)
        slopes = []
        with torch.no_grad():
            before = tensor.clone()
            for direction in directions:
                losses = []
                for sign in (1, -1):
                    tensor.copy_(before + sign * step * torch.from_numpy(direction))
                    losses.append(float(smooth_loss(block(leaf).flatten(1))))
                slopes.append((losses[0] - losses[1]) / (2 * step))
            tensor.copy_(before)
        found[name] = (directions, np.array(slopes))
    return found


def check_slopes(found: dict[str, Floats], measured: Differences, limit: float) -> None:
    """Compare gradients with finite differences, relative to the largest slope of each tensor."""
    for name, (directions, slopes) in measured.items():
        expected = (directions * found[name]).reshape(len(slopes), -1).sum(axis=1)
        np.testing.assert_allclose(slopes, expected, rtol=0, atol=limit * np.abs(slopes).max(), err_msg=name)


def cosine(a: Floats, b: Floats) -> float:
    return float((a * b).sum() / (np.linalg.norm(a) * np.linalg.norm(b)))


def norm_ratio(a: Floats, b: Floats) -> float:
    return float(np.linalg.norm(a) / np.linalg.norm(b))


def relative_error(found: dict[str, Floats], reference: dict[str, Floats]) -> float:
    """Return the relative L2 error over all tensors together."""
    error = sum(float(((found[name] - reference[name]) ** 2).sum()) for name in reference)
    return (error / sum(float((value**2).sum()) for value in reference.values())) ** 0.5


def small_block(name: str, n_inputs: int, *sizes: int, drive: Drive = Drive.VOLTAGE, **settings) -> EnergyBlock:
    """Return a block with clamped hidden layers and a leaky last one."""
    hidden = [NodeLayer(size=n, clamp=Clamp(low_v=-0.3, high_v=0.3), leak_s=1e-6, bias=True) for n in sizes[:-1]]
    layers = (*hidden, NodeLayer(size=sizes[-1], leak_s=5e-5))
    return EnergyBlock(name=name, n_inputs=n_inputs, layers=layers, drive=drive, **settings)


def mild_block(seed: int, polarity: Polarity, drive: Drive, n_layers: int = 2, batch: int = 5) -> RandomBlock:
    """Draw a block as in a network at the start of training: weights of variance 1 / n_rows, inputs of size 1."""
    rng = np.random.default_rng(seed)
    sizes = {1: (6,), 2: (6, 4), 3: (6, 5, 4)}[n_layers]
    built = build(small_block("mild", 6, *sizes, drive=drive, polarity=polarity))
    low, high = built.block.window
    plus, minus = {}, {}
    for crossbar in built.crossbars:
        w = rng.normal(size=crossbar.shape) / crossbar.shape[0] ** 0.5
        w = w if polarity is Polarity.DIFFERENTIAL else np.abs(w)
        plus[crossbar.name] = np.clip(low + np.maximum(w, 0), low, high)
        if crossbar.minus is not None:
            minus[crossbar.name] = np.clip(low + np.maximum(-w, 0), low, high)
    x = rng.uniform(-1, 1, (batch, 6))
    conductance_s, drives = built.program(plus, minus), built.drives(x)
    return RandomBlock(built=built, conductance_s=conductance_s, x=x, drives=drives, plus=plus, minus=minus)


def check_simulators_agree(built: BlockCircuit, conductance_s: Floats, drives: Floats) -> Floats:
    """Compare newton, ngspice streamed, both in every reduction, and the plain unreduced deck; return the voltages."""
    from cosim.simulators.ngspice.program import solve_standalone
    from cosim.simulators.ngspice.simulator import NgspiceSimulator

    def solve(simulator: AbstractSimulator, reduce: Reduce) -> Floats:
        relaxation = Relaxation(built.circuit, built.image, simulator, RelaxationOptions(reduce=reduce))
        point = relaxation.solve(conductance_s, drives)
        relaxation.close()
        assert (point.residual_a <= point.tolerance_a).all()
        return point.voltage_v

    full = solve(NewtonSimulator(), Reduce.NONE)
    for k in range(len(drives)):
        deck, _ = lower(built.circuit.with_conductances(conductance_s).with_drives(drives[k]))
        np.testing.assert_allclose(full[k], solve_standalone(deck)[0], atol=1e-8, rtol=0)
    for reduce in Reduce:
        np.testing.assert_allclose(solve(NewtonSimulator(), reduce), full, atol=1e-9, rtol=0)
        np.testing.assert_allclose(solve(NgspiceSimulator(), reduce), full, atol=1e-8, rtol=0)
    return full
