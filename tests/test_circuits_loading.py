"""How much devices load units: against a sum over the circuit's own resistors, device by device."""

from __future__ import annotations

import numpy as np
import pytest
from random_blocks import RandomBlock, random_block, random_convolution

from circuits import Convolution, Drive, Polarity
from circuits.arrays import Floats
from circuits.loading import unit_loads

CONVOLUTIONS = {
    "padded": Convolution(input_shape=(2, 3, 4), channels=3, kernel=3, padding=1),
    "left over": Convolution(input_shape=(2, 4, 5), channels=3, kernel=3, stride=2),
}

polarities = pytest.mark.parametrize("polarity", Polarity)
drives = pytest.mark.parametrize("drive", Drive)


def at_nodes(drawn: RandomBlock) -> Floats:
    """Sum of the trained conductances at each node, in units of g_unit."""
    built, found = drawn.built, np.zeros(drawn.built.circuit.n_nodes)
    r = built.circuit.resistors
    for crossbar in built.crossbars:
        for devices in (crossbar.plus, crossbar.minus):
            for k in [] if devices is None else devices.ravel():
                for node in (r.a[k], r.b[k]):
                    found[node] += drawn.conductance_s[k] / built.block.g_unit_s
    return found


def check(drawn: RandomBlock) -> None:
    both = {name: g + drawn.minus.get(name, 0.0) for name, g in drawn.plus.items()}
    loads, wanted = unit_loads(drawn.built.block, both), at_nodes(drawn)
    assert [len(load) for load in loads] == [layer.size for layer in drawn.built.block.layers]
    for load, units in zip(loads, drawn.built.layers, strict=True):
        for nodes in [units.p] if units.n is None else [units.p, units.n]:
            np.testing.assert_allclose(load, wanted[nodes], rtol=1e-12)
        assert load.max() > 1


@pytest.mark.parametrize("bias", [True, False])
@drives
@polarities
def test_loads_of_dense_layers(polarity: Polarity, drive: Drive, bias: bool) -> None:
    check(random_block(1, sizes=(5, 4, 3), polarity=polarity, drive=drive, bias=bias, clamped=False))


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("bias", [True, False])
@drives
@polarities
def test_loads_of_convolved_layers(polarity: Polarity, drive: Drive, bias: bool, name: str) -> None:
    check(random_convolution(2, CONVOLUTIONS[name], polarity=polarity, drive=drive, bias=bias, clamped=False))


def test_loads_by_hand() -> None:
    # Voltage-driven rows are no units: only the columns of w1 count. b2 is one weight a unit.
    block = random_block(3, sizes=(2, 1), n_inputs=2, clamped=False).built.block
    weights = {
        "w1": np.array([[1.0, 2.0], [4.0, 8.0]]),
        "w2": np.array([[16.0], [32.0]]),
        "b1": np.array([[64.0, 128.0]]),
        "b2": np.array([[256.0]]),
    }
    first, second = unit_loads(block, weights)
    assert first.tolist() == [1 + 4 + 16 + 64, 2 + 8 + 32 + 128]
    assert second.tolist() == [16 + 32 + 256]


def test_a_unit_that_no_device_meets_has_no_load() -> None:
    block = random_block(4, sizes=(3,), drive=Drive.CURRENT, bias=False, clamped=False).built.block
    (load,) = unit_loads(block, {})
    assert load.tolist() == [0, 0, 0]
