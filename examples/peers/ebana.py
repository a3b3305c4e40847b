"""EBANA (Watfa et al. 2023): its XOR and Iris networks with piecewise-linear diodes, trained in ngspice.

    x, -x --[ w1 ]--+-- v --|> 10 >-- 10 v --[ w2 ]--+-- two outputs a class; logit = their difference
    +-1 V --[ w1 ]--+       < 0.1 <|      1 V --[ b2 ]--+        ^ nudge: a current into each, opposite in a pair
     1 V ---[ b1 ]--+
                    |   diodes of V_th 0.15 V, R_on 1 ohm, R_off 1e20 ohm: v stays between -0.05 and 0.65 V

Conductances lie between 1e-7 and 1e-5 S; softmax and cross entropy are digital; each step compares the free phase with
one nudged phase, as EBANA does. EBANA rebuilds its netlist for each sample, an epoch of Iris takes it 3.6 s (measured
once on a machine of this kind); here a batch is one sweep of a circuit that is loaded once a step.

Expected: XOR solved by three seeds of three; Iris, 50 of 150 flowers held out: test accuracy 0.987, mean of three
seeds, with 0.03 s of processor time an epoch, and 15 s for everything.

Run: python examples/peers/ebana.py [--simulator newton] [--seeds 1] [--epochs 10]
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import click
import numpy as np
import torch
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from torch import Tensor

from circuits import Clamp, EnergyBlock, NodeLayer, PiecewiseLinearDiode, Polarity
from cosim.analog_block import AnalogBlock
from cosim.phase_settings import Nudging, PhaseSettings
from cosim.simulators.base import AbstractSimulator
from cosim.simulators.newton import NewtonSimulator
from cosim.simulators.ngspice import NgspiceSimulator
from cosim.threads import one_thread
from digital.losses import cross_entropy

HIDDEN = 10
EBANA_EPOCH_S = 3.6


class Neuron(NamedTuple):
    """Between which voltages diodes hold a hidden node, and what its amplifier makes of them."""

    low_v: float
    high_v: float
    amplification: float


NEURON = Neuron(low_v=-0.05, high_v=0.65, amplification=10.0)


class Data(NamedTuple):
    """Samples as voltages, [n, features] V, and their classes; XOR is tested on what it is trained on."""

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor


def xor() -> Data:
    """Return the four cases, a bit being 1 V or -1 V."""
    x = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    y = torch.tensor([0, 1, 1, 0])
    return Data(x, y, x, y)


def iris(seed: int) -> Data:
    """Return 100 flowers to train on and 50 held out, as many of each class; features span -1 to 1 V."""
    x, y = load_iris(return_X_y=True)
    x = 2.0 * (x - x.min(axis=0)) / (x.max(axis=0) - x.min(axis=0)) - 1.0
    parts = train_test_split(x, y, test_size=50, stratify=y, random_state=seed)
    x_train, x_test, y_train, y_test = (torch.from_numpy(part) for part in parts)
    return Data(x_train.float(), y_train, x_test.float(), y_test)


def build_network(features: int, classes: int, neuron: Neuron, simulator: AbstractSimulator, seed: int) -> AnalogBlock:
    """Return the circuit, ready to be trained."""
    diode = PiecewiseLinearDiode(threshold_v=0.15, on_resistance_ohm=1.0, off_resistance_ohm=1e20)
    # With next to no current expected a rail lies V_th inside of its limit.
    clamp = Clamp(low_v=neuron.low_v, high_v=neuron.high_v, diode=diode, reference_current_a=1e-15)
    block = EnergyBlock(
        name="ebana",
        n_inputs=2 * (features + 1),
        layers=(
            NodeLayer(size=HIDDEN, clamp=clamp, bias=True, amplification=neuron.amplification),
            NodeLayer(size=2 * classes, bias=True),
        ),
        polarity=Polarity.SINGLE,
        g_unit_s=1e-5,
        g_min_s=1e-7,
        g_max_s=1e-5,
    )
    settings = PhaseSettings(beta=0.01, nudging=Nudging.POSITIVE)
    return AnalogBlock(block, simulator=simulator, settings=settings, generator=torch.Generator().manual_seed(seed))


def logits(network: AnalogBlock, x: Tensor) -> Tensor:
    """Drive the rows with +-x and +-1 V, and read each class from its pair of outputs."""
    rows = torch.cat([x, torch.ones(len(x), 1)], dim=1)
    s: Tensor = network(torch.cat([rows, -rows], dim=1))
    return s[:, 0::2] - s[:, 1::2]


class Result(NamedTuple):
    """What training reached, and the processor time of its fastest and its median epoch."""

    accuracy: float
    fastest_s: float
    median_s: float


@one_thread()
def train(data: Data, simulator: AbstractSimulator, *, epochs: int, seed: int, neuron: Neuron = NEURON) -> Result:
    """Train; an epoch is each sample once, in batches of 34 or less: free phase, nudged phase and update."""
    network = build_network(data.x.shape[1], int(data.y.max()) + 1, neuron, simulator, seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    generator = torch.Generator().manual_seed(seed)
    seconds = []
    for _ in range(epochs):
        start = time.process_time()
        for batch in torch.randperm(len(data.x), generator=generator).split(34):
            loss = cross_entropy(logits(network, data.x[batch]), data.y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds.append(time.process_time() - start)
    with torch.no_grad():
        accuracy = (logits(network, data.x_test).argmax(1) == data.y_test).float().mean().item()
    return Result(accuracy, min(seconds), float(np.median(seconds)))


@click.command()
@click.option("--simulator", "name", type=click.Choice(["ngspice", "newton"]), default="ngspice")
@click.option("--seeds", type=click.IntRange(min=1), default=3, help="How many networks are trained on each task.")
@click.option("--epochs", type=click.IntRange(min=1), default=100, help="How long each is trained.")
@click.option("--limits", "limits_v", type=(float, float), default=NEURON[:2], help="Of a hidden node, in V.")
@click.option("--amplification", default=NEURON.amplification, help="Gain behind a hidden node.")
def main(name: str, seeds: int, epochs: int, limits_v: tuple[float, float], amplification: float) -> None:
    """Train on both tasks and print a table."""
    # A batch is one sweep, as the chunk is no smaller.
    simulator = NgspiceSimulator(chunk=64) if name == "ngspice" else NewtonSimulator()
    neuron = Neuron(*limits_v, amplification)
    tasks: dict[str, Callable[[int], Data]] = {"XOR": lambda _: xor(), "Iris": iris}
    print("task  seed  test accuracy  epoch (fastest)  epoch (median)")
    for task, load in tasks.items():
        results = []
        for seed in range(seeds):
            result = train(load(seed), simulator, epochs=epochs, seed=seed, neuron=neuron)
            results.append(result)
            print(f"{task:4} {seed:5} {result.accuracy:14.4f} {result.fastest_s:14.4f} s {result.median_s:13.4f} s")
        mean = np.mean([result.accuracy for result in results])
        fastest_s = min(result.fastest_s for result in results)
        print(f"{task:4}  mean {mean:14.4f} {fastest_s:14.4f} s")
        if task == "Iris":
            print(f"EBANA itself: {EBANA_EPOCH_S} s an epoch, {EBANA_EPOCH_S / fastest_s:.0f} times as long")


if __name__ == "__main__":
    main()
