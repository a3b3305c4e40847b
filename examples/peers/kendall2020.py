"""Kendall et al. 2020: one conductance a weight, real diodes and bidirectional amplifiers, trained in ngspice.

    x, -x --[ w1 ]--+-- v --|> 4 >-- 4 v --[ w2 ]-- 20 outputs; class k is output 2k minus output 2k + 1
    1 V ----[ b1 ]--+       < 1/4 <|                    ^ nudge: a current into each, opposite in a pair
                    +-->|-- +0.3 V
                    +--|<-- +0.7 V                  1N4148: v stays between about 0 and 1 V

A conductance cannot be negative, so each pixel drives two rows and each class is read from two outputs. Resistors only
divide voltages; the amplifier makes up for it forward, and passes the outputs' current back divided by 4. With it the
equilibrium minimises F1 + F2 / 16, and what a nudge changes at w1 and b1 counts 16 times as much as at w2.

Expected: gradients against finite differences in both simulators: cosine above 0.9999, norm ratio within 1e-3 of 1.
Digits, 128-100-20 in ngspice: test accuracy 0.982, mean of three seeds, in 6 minutes of processor time (two workers).

Run: python examples/peers/kendall2020.py [--simulator newton] [--seeds 1] [--epochs 2]
"""

import time
from collections.abc import Iterator
from typing import NamedTuple, final

import click
import torch
from torch import Tensor, nn

from circuits import Clamp, EnergyBlock, NodeLayer, Polarity
from circuits.diode_presets import diode_preset
from cosim.analog_block import AnalogBlock
from cosim.simulators.base import AbstractSimulator
from cosim.simulators.newton import NewtonSimulator
from cosim.simulators.ngspice import NgspiceSimulator
from digital.datasets import load_digits
from digital.losses import cross_entropy

AMPLIFICATION = 4.0
G_UNIT_S = 1e-3  # 1 S in the original, where the 1N4148 could not hold a node: README.md
BATCH, LEARNING_RATE = 64, 0.01


@final
class Doubled(nn.Module):
    """Each input and its negative, [batch, n] to [batch, 2 n]."""

    def forward(self, x: Tensor) -> Tensor:
        """Return both."""
        return torch.cat([x, -x], dim=1)


@final
class PairDifference(nn.Module):
    """Even minus odd outputs times a gain, [batch, 2 n] to [batch, n]; its gradient nudges a pair by +-I."""

    def forward(self, s: Tensor) -> Tensor:
        """Return the logits."""
        return 10.0 * (s[:, 0::2] - s[:, 1::2])


def build_block(pixels: int, hidden: int, classes: int) -> EnergyBlock:
    """Return the circuit's description: window, rails and amplifier as published, in milli for siemens."""
    # A diode drops 0.7 V at 5.9 mA, so limits of 0 and 1 V are rails of 0.7 and 0.3 V.
    diode = diode_preset("1N4148").model
    clamp = Clamp(low_v=0.0, high_v=1.0, diode=diode, reference_current_a=5.9e-3)
    return EnergyBlock(
        name="kendall2020",
        n_inputs=2 * pixels,
        layers=(
            NodeLayer(size=hidden, clamp=clamp, bias=True, amplification=AMPLIFICATION),
            NodeLayer(size=2 * classes),
        ),
        polarity=Polarity.SINGLE,
        g_unit_s=G_UNIT_S,
        g_min_s=1e-7,
        g_max_s=2.8 / (hidden + 2 * classes) ** 0.5 * G_UNIT_S,
    )


def build_network(block: EnergyBlock, simulator: AbstractSimulator, seed: int) -> nn.Sequential:
    """Return the network: all of it is analog but the sign of an input and the difference of a pair."""
    generator = torch.Generator().manual_seed(seed)
    return nn.Sequential(Doubled(), AnalogBlock(block, simulator=simulator, generator=generator), PairDifference())


class Agreement(NamedTuple):
    """Of the gradient of one crossbar with finite differences."""

    crossbar: str
    n_devices: int
    cosine: float
    norm_ratio: float


def check_gradient(
    simulator: AbstractSimulator, *, pixels: int, hidden: int, classes: int, devices: int, step: float = 1e-4
) -> Iterator[Agreement]:
    """Compare equilibrium propagation with central differences of the loss, on some devices of each crossbar."""
    generator = torch.Generator().manual_seed(0)
    network = build_network(build_block(pixels, hidden, classes), simulator, seed=0).double()
    x = 2 * torch.rand(4, pixels, generator=generator, dtype=torch.float64) - 1
    y = torch.arange(4) % classes
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.clamp_(min=0.01)  # off the edge of the window, to have room for a difference
    cross_entropy(network(x), y).backward()
    for name, parameter in network.named_parameters():
        values, gradient = parameter.data.view(-1), parameter.grad
        chosen = torch.randperm(len(values), generator=generator)[:devices]
        differences = torch.zeros(len(chosen), dtype=torch.float64)
        for k, device in enumerate(chosen):
            for sign in (1, -1):
                values[device] += sign * step
                with torch.no_grad():
                    differences[k] += sign * cross_entropy(network(x), y) / (2 * step)
                values[device] -= sign * step
        assert gradient is not None
        ep = gradient.view(-1)[chosen]
        cosine = nn.functional.cosine_similarity(ep, differences, dim=0)
        yield Agreement(name.rpartition(".")[2], len(chosen), cosine.item(), (ep.norm() / differences.norm()).item())


def train(simulator: AbstractSimulator, *, seed: int, epochs: int, samples: int | None = None) -> float:
    """Train on 1,437 digits, or the first of them, and return the accuracy on the 360 held out."""
    digits = load_digits(test_size=360, seed=0)
    x, x_test = (digits.scaled(part.pixels).flatten(1) for part in (digits.train, digits.test))
    x = x[:samples]
    network = build_network(build_block(x.shape[1], 100, digits.n_classes), simulator, seed)
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    generator = torch.Generator().manual_seed(seed)
    accuracy = 0.0
    for epoch in range(1, epochs + 1):
        start, losses = time.perf_counter(), []
        for batch in torch.randperm(len(x), generator=generator).split(BATCH):
            loss = cross_entropy(network(x[batch]), digits.train.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        schedule.step()
        with torch.no_grad():
            accuracy = (network(x_test).argmax(1) == digits.test.labels).float().mean().item()
        seconds = time.perf_counter() - start
        loss_mean = sum(losses) / len(losses)
        print(f"seed {seed}, epoch {epoch}: loss {loss_mean:.4f}, test accuracy {accuracy:.4f}, {seconds:.1f} s")
    return accuracy


@click.command()
@click.option("--simulator", "name", type=click.Choice(["ngspice", "newton"]), default="ngspice")
@click.option("--seeds", type=click.IntRange(min=1), default=3, help="How many networks are trained.")
@click.option("--epochs", type=click.IntRange(min=1), default=5, help="How long each is trained.")
@click.option("--samples", type=click.IntRange(min=1), help="How many digits it is trained on; all if left out.")
def main(name: str, seeds: int, epochs: int, samples: int | None) -> None:
    """Check the gradient in both simulators, then train on the digits in one."""
    for simulator in (NewtonSimulator(), NgspiceSimulator()):
        for agreed in check_gradient(simulator, pixels=64, hidden=100, classes=10, devices=20):
            print(
                f"gradient in {simulator.name}: {agreed.crossbar}, {agreed.n_devices} devices, "
                f"cosine {agreed.cosine:.7f}, norm ratio {agreed.norm_ratio:.6f}"
            )
    chosen = NgspiceSimulator(workers=2) if name == "ngspice" else NewtonSimulator()
    start = time.perf_counter()
    accuracies = [train(chosen, seed=seed, epochs=epochs, samples=samples) for seed in range(seeds)]
    chosen.close()
    print("seed  test accuracy")
    for seed, accuracy in enumerate(accuracies):
        print(f"{seed:4}  {accuracy:.4f}")
    print(f"mean  {sum(accuracies) / seeds:.4f}  in {name}, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
