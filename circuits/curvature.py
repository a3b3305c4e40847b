"""Whether a block has one equilibrium: the smallest eigenvalue of its Hessian where no unit is clamped.

Passive circuits have one. With active leaks there is one if the Hessian is positive definite, since clamps only add to
its diagonal; otherwise there may be several. The states of differential units are what is looked at, p against n: of p
and n moving together the Hessian is positive, for active leaks lie between them.
"""

from collections.abc import Mapping

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import eigsh

from .arrays import Floats
from .block_layout import list_couplings
from .energy_block import EnergyBlock
from .loading import unit_loads

DENSE_UP_TO = 1500  # units; beyond, Lanczos iteration


def unclamped_hessian(block: EnergyBlock, plus: Mapping[str, Floats], minus: Mapping[str, Floats]) -> sparse.csr_array:
    """Return the second derivative of the energy with no unit clamped, [units, units] in units of g_unit.

    Equation: leak_i + sum_j (G+_ij + G-_ij) on the diagonal, -(G+_ij - G-_ij) between units of neighbouring layers.

    Args:
        block: the description.
        plus: G+ of each crossbar by name, in units of g_unit, of the shape of its weights.
        minus: G-, likewise; empty with single polarity.
    """
    loads = unit_loads(block, {name: g + minus[name] if name in minus else g for name, g in plus.items()})
    own = [layer.leaks_s / block.g_unit_s if len(layer.leaks_s) else np.zeros(layer.size) for layer in block.layers]
    starts = np.cumsum([0, *(layer.size for layer in block.layers)])
    diagonal = np.concatenate([leak + load for leak, load in zip(own, loads, strict=True)])
    rows, columns, values = [np.arange(len(diagonal))], [np.arange(len(diagonal))], [diagonal]
    for coupling in list_couplings(block):
        if coupling.rows is None:
            continue
        row, column = (units.ravel() for units in coupling.wiring.pairs())
        weight = plus[coupling.name] - minus[coupling.name] if coupling.name in minus else plus[coupling.name]
        i, j = row + starts[coupling.rows], column + starts[coupling.columns]
        w = -coupling.wiring.spread(weight).ravel()
        rows, columns, values = [*rows, i, j], [*columns, j, i], [*values, w, w]
    shape = (len(diagonal), len(diagonal))
    entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
    return sparse.coo_array(entries, shape=shape).tocsr()


def smallest_eigenvalue(block: EnergyBlock, plus: Mapping[str, Floats], minus: Mapping[str, Floats]) -> float:
    """Return the smallest eigenvalue of the unclamped Hessian, above zero if there is one equilibrium only.

    Args:
        block: the description.
        plus: G+ of each crossbar by name, in units of g_unit.
        minus: G-, likewise; empty with single polarity.
    """
    hessian = unclamped_hessian(block, plus, minus)
    if hessian.shape[0] <= DENSE_UP_TO:
        return float(np.linalg.eigvalsh(hessian.toarray())[0])
    start = np.random.default_rng(0).standard_normal(hessian.shape[0])  # the same digits on every call
    return float(eigsh(hessian, k=1, which="SA", v0=start, tol=1e-8, return_eigenvectors=False)[0])
