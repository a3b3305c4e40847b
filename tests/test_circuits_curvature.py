"""The unclamped Hessian of a block: against the Laplacian of its circuit, and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from random_blocks import RandomBlock, random_block, random_convolution

from circuits import Convolution, Drive, EnergyBlock, NodeLayer, Polarity, build
from circuits import curvature as curvature_module
from circuits.curvature import smallest_eigenvalue, unclamped_hessian
from circuits.topology import laplacian

CONVOLUTION = Convolution(input_shape=(2, 4, 4), channels=3, kernel=3, stride=2, padding=1)


def of_circuit(drawn: RandomBlock) -> np.ndarray:
    """Return dE/ds_i ds_j from the currents that leave each unit per volt of another, in units of g_unit."""
    built = drawn.built
    full = laplacian(built.circuit, drawn.conductance_s).toarray()
    units = [(layer.p[k], None if layer.n is None else layer.n[k]) for layer in built.layers for k in range(len(layer))]
    # A unit's state of 1 is v_unit at p and -v_unit at n; F = 2 g_unit v_unit^2 E, or one of them with one node.
    directions = np.zeros((len(units), len(full)))
    for row, (p, n) in enumerate(units):
        directions[row, p] = 1.0
        if n is not None:
            directions[row, n] = -1.0
    factor = 1.0 if built.block.polarity is Polarity.SINGLE else 2.0
    return directions @ full @ directions.T / (factor * built.block.g_unit_s)


@pytest.mark.parametrize("drive", Drive)
@pytest.mark.parametrize("polarity", Polarity)
def test_hessian_is_that_of_the_circuit(polarity: Polarity, drive: Drive) -> None:
    for drawn in (
        random_block(1, sizes=(5, 4, 3), polarity=polarity, drive=drive),
        random_convolution(2, CONVOLUTION, polarity=polarity, drive=drive),
    ):
        hessian = unclamped_hessian(drawn.built.block, drawn.plus, drawn.minus).toarray()
        np.testing.assert_allclose(hessian, of_circuit(drawn), rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(
            smallest_eigenvalue(drawn.built.block, drawn.plus, drawn.minus), np.linalg.eigvalsh(hessian)[0], rtol=1e-9
        )


def test_two_layers_by_hand() -> None:
    # H = [[1, -w], [-w, 1]] in g_unit: eigenvalues 1 - w and 1 + w; leaks make up for the devices, 1 - 2 g_min - w.
    g_min, w = 0.001, 1.25
    leak_s = ((1 - 2 * g_min - w) * 1e-4,)
    layers = (NodeLayer(size=1, leak_s=leak_s), NodeLayer(size=1, leak_s=leak_s))
    block = EnergyBlock(name="pair", n_inputs=1, layers=layers, drive=Drive.CURRENT)
    plus, minus = {"w2": np.array([[g_min + w]])}, {"w2": np.array([[g_min]])}
    assert smallest_eigenvalue(block, plus, minus) == pytest.approx(1 - w, rel=1e-12)
    np.testing.assert_allclose(unclamped_hessian(block, plus, minus).toarray(), [[1, -w], [-w, 1]], rtol=1e-12)


def test_large_blocks_by_lanczos_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = random_convolution(3, CONVOLUTION, drive=Drive.CURRENT)
    layers = tuple(replace(layer, leak_s=(-1e-6,) * layer.size) for layer in drawn.built.block.layers)
    block = build(replace(drawn.built.block, layers=layers)).block
    dense = smallest_eigenvalue(block, drawn.plus, drawn.minus)
    monkeypatch.setattr(curvature_module, "DENSE_UP_TO", 10)
    assert smallest_eigenvalue(block, drawn.plus, drawn.minus) == pytest.approx(dense, rel=1e-6, abs=1e-9)
