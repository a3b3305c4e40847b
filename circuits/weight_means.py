"""The weights that devices amount to: the mean over the devices that a weight is made of."""

import numpy as np

from .arrays import Floats, Indices
from .block_circuit import BlockCircuit
from .wiring import AbstractWiring


def mean_weights(block_circuit: BlockCircuit, conductance_s: Floats) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Return the mean conductance of each weight's devices, in units of g_unit: the inverse of `BlockCircuit.program`.

    Args:
        block_circuit: the block.
        conductance_s: [n_resistors] S.

    Returns:
        G+ and G- of each crossbar by name, of the shape of its weights; the second is empty with single polarity.
    """
    g = conductance_s / block_circuit.block.g_unit_s
    plus, minus = {}, {}
    for crossbar in block_circuit.crossbars:
        plus[crossbar.name] = _means(crossbar.wiring, crossbar.plus, g)
        if crossbar.minus is not None:
            minus[crossbar.name] = _means(crossbar.wiring, crossbar.minus, g)
    return plus, minus


def _means(wiring: AbstractWiring, devices: Indices, g: Floats) -> Floats:
    """Return the mean over the two devices of a pair, and over the pairs of a weight."""
    total = wiring.gather(np.asarray(g[devices].mean(axis=0)))
    return np.asarray(total / np.maximum(wiring.pairs_per_weight, 1.0))
