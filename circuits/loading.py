"""How much the devices of a block's crossbars load its units: what a leak has to make up for."""

from collections.abc import Mapping

import numpy as np

from .arrays import Floats
from .block_layout import list_couplings
from .energy_block import EnergyBlock


def unit_loads(block: EnergyBlock, weights: Mapping[str, Floats]) -> tuple[Floats, ...]:
    """Return the sum over every device at a unit, of both neighbouring layers and the bias row.

    Equation: with the devices' conductances G+ + G- for weights, sum_j (G+_ij + G-_ij), which is the s_i^2 / 2 that the
    crossbars add to the energy; of a differential unit on each of its two nodes.

    Args:
        block: the description.
        weights: of each crossbar by name, of the shape of its weights: one number a weight, to be summed.

    Returns:
        [size] a layer, in the units of the weights.
    """
    loads = [np.zeros(layer.size) for layer in block.layers]
    for coupling in list_couplings(block):
        row, column = (units.ravel() for units in coupling.wiring.pairs())
        each = coupling.wiring.spread(weights[coupling.name]).ravel()
        loads[coupling.columns] += np.bincount(column, each, block.layers[coupling.columns].size)
        if coupling.rows is not None:
            loads[coupling.rows] += np.bincount(row, each, block.layers[coupling.rows].size)
    return tuple(loads)
