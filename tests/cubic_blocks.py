"""Energy blocks with cubic crossbar devices, for tests of the circuit, the simulators and the netlists."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from random_blocks import RandomBlock, random_block

from circuits import Drive, Polarity
from circuits.arrays import Floats


def cubic_block(
    seed: int,
    polarity: Polarity = Polarity.DIFFERENTIAL,
    drive: Drive = Drive.VOLTAGE,
    *,
    k3_per_v2: float = 0.8,
    sizes: tuple[int, ...] = (4, 3),
    n_inputs: int = 3,
    **settings,
) -> RandomBlock:
    """Draw a block whose crossbar devices are cubic, each with a k3 of its own, up to twice the mean."""
    drawn = random_block(seed, sizes=sizes, n_inputs=n_inputs, polarity=polarity, drive=drive, **settings)
    k3 = np.zeros(len(drawn.built.circuit.resistors))
    rng = np.random.default_rng(1000 + seed)
    for crossbar in drawn.built.crossbars:
        for devices in (crossbar.plus, crossbar.minus):
            if devices is not None:
                k3[devices] = k3_per_v2 * rng.uniform(0.0, 2.0, devices.shape)
    return replace(drawn, built=replace(drawn.built, circuit=drawn.built.circuit.with_cubic(k3)))


def two_phases(drawn: RandomBlock, beta: float, seed: int = 0) -> tuple[Floats, Floats, Floats]:
    """Return ds, [batch, n_outputs], and the voltages of the equilibria at -beta and +beta."""
    from random_blocks import session

    ds = np.random.default_rng(seed).normal(size=(len(drawn.x), drawn.built.block.n_outputs))
    prepared = session(drawn.built.circuit)
    first, second = (
        prepared.solve(drawn.conductance_s, drawn.built.drives(drawn.x, sign * beta * ds)).voltage_v
        for sign in (-1.0, 1.0)
    )
    return ds, first, second
