"""Scellier 2024: a deep resistive network against exact coordinate descent, as its diodes become ideal.

                        +-- 0 V -->|-- v    excitatory half: v >= 0 --+
    +-100 V x --[ w1 ]--+                                             +--[ w2 ]-- ... --[ w3 ]-- 10 outputs, linear
                        +-- v -->|-- 0 V    inhibitory half: v <= 0 --+

With ideal diodes the power is a quadratic function with one bound a node, so a layer's voltages follow from those
beside it: v = clip(sum g v / sum g). A few lines of that, without a circuit, are the reference. A diode that conducts
takes R_on I: the difference falls with R_on.

Expected: the largest difference of all nodes is 9.3e-7 V at 1 ohm, in newton and in ngspice, in proportion to R_on.
Digits, 128-100-10, after 5 epochs of equilibrium propagation in newton: test accuracy 0.969 (half a minute).

Run: python examples/peers/scellier2024.py [--epochs 1] [--plot FILE]
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from circuits import Clamp, EnergyBlock, Floats, NodeLayer, PiecewiseLinearDiode, Polarity
from cosim.analog_block import AnalogBlock
from cosim.relaxation import Reduce, RelaxationOptions
from cosim.simulators.base import AbstractSimulator
from cosim.simulators.newton import NewtonSimulator
from cosim.simulators.ngspice import NgspiceSimulator
from digital.datasets import load_digits
from digital.losses import mse

INPUT_GAIN = 100.0  # V a pixel of 1: the published gain for 100 hidden units
RESISTANCES_OHM = (1e5, 1e4, 1e3, 1e2, 10.0, 1.0)


def build_block(pixels: int, hidden: Sequence[int], classes: int, on_resistance_ohm: float) -> EnergyBlock:
    """Return the circuit's description."""
    diode = PiecewiseLinearDiode(threshold_v=0.0, on_resistance_ohm=on_resistance_ohm)
    # With next to no current expected the rails are the limits themselves.
    excitatory = Clamp(low_v=0.0, diode=diode, reference_current_a=1e-15)
    inhibitory = Clamp(high_v=0.0, diode=diode, reference_current_a=1e-15)
    return EnergyBlock(
        name="scellier2024",
        n_inputs=2 * pixels,
        layers=(
            *(NodeLayer(size=size, clamp=(excitatory, inhibitory)) for size in hidden),
            NodeLayer(size=classes),
        ),
        polarity=Polarity.SINGLE,
        g_unit_s=1e-8,  # only R_on g counts, and 1 ohm against 50 Mohm is next to ideal
        g_min_s=1e-12,
        g_max_s=2e-8,
    )


def input_voltages(x: Tensor) -> Tensor:
    """Return the voltages of the rows, two a pixel."""
    return INPUT_GAIN * torch.cat([x, -x], dim=1)


def coordinate_descent(weights: Sequence[Floats], x: Floats, tolerance_v: float = 1e-11) -> list[Floats]:
    """Return the voltages of every layer with ideal diodes, [batch, size] V each.

    Equation: v_i = clip(sum_j g_ij v_j / sum_j g_ij), layer after layer until no node moves.
    """
    v = [np.zeros((len(x), g.shape[1])) for g in weights]
    moved = np.inf
    while moved > tolerance_v:
        moved = 0.0
        for k, g in enumerate(weights):
            current, conductance = (v[k - 1] if k else x) @ g, g.sum(axis=0)
            if k + 1 < len(weights):
                current, conductance = current + v[k + 1] @ weights[k + 1].T, conductance + weights[k + 1].sum(axis=1)
            new = current / conductance
            if k + 1 < len(weights):
                excitatory, inhibitory = np.split(new, 2, axis=1)
                new = np.concatenate([excitatory.clip(min=0.0), inhibitory.clip(max=0.0)], axis=1)
            moved = max(moved, float(np.abs(new - v[k]).max()))
            v[k] = new
    return v


class Comparison(NamedTuple):
    """Of a circuit with coordinate descent."""

    on_resistance_ohm: float
    largest_difference_v: float
    on_share: float  # of all hidden nodes: held by their diode


def compare(
    simulator: AbstractSimulator, resistances_ohm: Sequence[float], *, hidden: Sequence[int], samples: int
) -> list[Comparison]:
    """Compare every node's voltage, on digits, with random conductances."""
    digits = load_digits(test_size=360, seed=0)
    x = input_voltages((digits.scaled(digits.test.pixels[:samples]).flatten(1) + 1) / 2)
    comparisons, whole = [], RelaxationOptions(reduce=Reduce.NONE)  # every source and device as drawn
    for resistance_ohm in resistances_ohm:
        block = build_block(x.shape[1] // 2, hidden, digits.n_classes, resistance_ohm)
        generator = torch.Generator().manual_seed(0)
        analog = AnalogBlock(block, simulator=simulator, generator=generator, relaxation=whole)
        with torch.no_grad():
            analog(x)
        weights = [parameter.detach().double().numpy() for parameter in analog.g_plus.values()]
        exact = coordinate_descent(weights, x.double().numpy())
        found = analog.last_voltages() or ()
        largest_v = max(float(np.abs(a - b).max()) for a, b in zip(found, exact, strict=True))
        on_share = float(np.mean([(v == 0).mean() for v in exact[:-1]]))
        comparisons.append(Comparison(resistance_ohm, largest_v, on_share))
    return comparisons


def train(simulator: AbstractSimulator, *, epochs: int, seed: int = 0, batch_size: int = 16) -> float:
    """Train on 1,437 digits by equilibrium propagation and return the accuracy on the 360 held out."""
    digits = load_digits(test_size=360, seed=0)
    x, x_test = (
        input_voltages((digits.scaled(part.pixels).flatten(1) + 1) / 2) for part in (digits.train, digits.test)
    )
    generator = torch.Generator().manual_seed(seed)
    analog = AnalogBlock(build_block(64, (100,), 10, on_resistance_ohm=1.0), simulator=simulator, generator=generator)
    optimizer = torch.optim.Adam(analog.parameters(), lr=0.006)
    accuracy = 0.0
    for epoch in range(1, epochs + 1):
        start, losses = time.perf_counter(), []
        for batch in torch.randperm(len(x), generator=generator).split(batch_size):
            loss = mse(analog(x[batch]), digits.train.labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        with torch.no_grad():
            accuracy = (analog(x_test).argmax(1) == digits.test.labels).float().mean().item()
        seconds = time.perf_counter() - start
        print(f"epoch {epoch}: loss {np.mean(losses):.4f}, test accuracy {accuracy:.4f}, {seconds:.1f} s")
    return accuracy


def plot(comparisons: dict[str, list[Comparison]], path: Path) -> None:
    """Draw the largest difference against the on-resistance."""
    figure = Figure(figsize=(5.5, 4), layout="constrained")
    axis = figure.subplots()
    for (name, points), marker in zip(comparisons.items(), "ox", strict=False):
        axis.loglog([p.on_resistance_ohm for p in points], [p.largest_difference_v for p in points], marker, label=name)
    reference = next(iter(comparisons.values()))[0]
    slope = [reference.largest_difference_v * r / reference.on_resistance_ohm for r in RESISTANCES_OHM]
    axis.loglog(RESISTANCES_OHM, slope, color="grey", linewidth=1, label="in proportion to $R_{on}$")
    axis.axhline(5e-6, color="black", linestyle="--", linewidth=1, label="5e-6 V")
    axis.set_xlabel("on-resistance of the diodes (ohm)")
    axis.set_ylabel("largest difference from\ncoordinate descent (V)")
    axis.grid(visible=True, alpha=0.3)
    axis.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


@click.command()
@click.option("--epochs", type=click.IntRange(min=1), default=5, help="How long the digits are trained.")
@click.option("--plot", "path", type=click.Path(path_type=Path), default=Path("runs/peers/scellier2024.png"))
def main(epochs: int, path: Path) -> None:
    """Compare both simulators with coordinate descent, then train on the digits."""
    comparisons = {
        simulator.name: compare(simulator, RESISTANCES_OHM, hidden=(64, 32), samples=64)
        for simulator in (NewtonSimulator(), NgspiceSimulator())
    }
    print("R_on (ohm)    nodes held   " + "   ".join(f"largest difference, {name}" for name in comparisons))
    for points in zip(*comparisons.values(), strict=True):
        row = "   ".join(f"{point.largest_difference_v:24.2e} V" for point in points)
        print(f"{points[0].on_resistance_ohm:10g} {points[0].on_share:13.0%} {row}")
    plot(comparisons, path)
    print(f"plot: {path}")
    start = time.perf_counter()
    accuracy = train(NewtonSimulator(), epochs=epochs)
    print(f"digits, newton, {epochs} epochs: test accuracy {accuracy:.4f}, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
