"""A convolution unrolled to devices: which units it joins, what shares a weight, and the dense block that it equals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from random_blocks import clamped_share, dense_twin, random_convolution, session
from test_circuits_reductions import PLANS, reduction

from circuits import CircuitError, Clamp, Convolution, Drive, EnergyBlock, NodeLayer, Polarity, build, validate
from circuits.convolution import ConvolutionWiring, convolution_wiring
from circuits.element_groups import block_groups
from circuits.tiles import TileSize, tile_crossbars, tile_table
from circuits.wiring import SharedBiasWiring

# Strides, paddings, channels, images that are not square; places that the stride leaves over, and units left alone.
GEOMETRIES = {
    "3x3": Convolution(input_shape=(1, 4, 3), channels=2, kernel=3),
    "3x3 padded": Convolution(input_shape=(2, 3, 4), channels=3, kernel=3, padding=1),
    "stride 2": Convolution(input_shape=(3, 5, 4), channels=2, kernel=3, stride=2, padding=1),
    "left over": Convolution(input_shape=(2, 4, 6), channels=1, kernel=3, stride=2),
    "1x1": Convolution(input_shape=(3, 2, 3), channels=2, kernel=1),
    "whole image": Convolution(input_shape=(2, 3, 3), channels=2, kernel=3),
    "stride over kernel": Convolution(input_shape=(1, 5, 5), channels=2, kernel=2, stride=3),
    "padding over kernel": Convolution(input_shape=(1, 3, 2), channels=1, kernel=2, padding=2),
}
geometries = pytest.mark.parametrize("convolution", GEOMETRIES.values(), ids=GEOMETRIES)
polarities = pytest.mark.parametrize("polarity", Polarity)
drives = pytest.mark.parametrize("drive", Drive)


def joined_by_hand(c: Convolution) -> list[tuple[int, int, int]]:
    """Row unit, column unit and kernel entry of every pair, by the definition, one at a time."""
    found = []
    channels, height, width = c.input_shape
    _, places_y, places_x = c.output_shape
    for i, y, x in np.ndindex(channels, height, width):
        for j, v, u in np.ndindex(c.channels, places_y, places_x):
            ky, kx = y + c.padding - v * c.stride, x + c.padding - u * c.stride
            if 0 <= ky < c.kernel and 0 <= kx < c.kernel:
                row, column = (i * height + y) * width + x, (j * places_y + v) * places_x + u
                found.append((row, column, ((j * channels + i) * c.kernel + ky) * c.kernel + kx))
    return found


@geometries
def test_pairs_are_those_that_a_kernel_joins(convolution: Convolution) -> None:
    wiring = convolution_wiring(convolution)
    assert list(zip(wiring.row, wiring.column, wiring.weight, strict=True)) == sorted(joined_by_hand(convolution))
    kernel = np.arange(np.prod(wiring.shape)).reshape(wiring.shape)
    np.testing.assert_array_equal(wiring.spread(kernel), wiring.weight)
    assert np.bincount(wiring.column).max() <= wiring.fan_in == np.prod(convolution.kernel_shape[1:])


@geometries
def test_wiring_sums_over_its_pairs(convolution: Convolution) -> None:
    rng = np.random.default_rng(0)
    wiring = convolution_wiring(convolution)
    m_i, r_i = rng.normal(size=(2, 3, convolution.n_rows))
    m_j, r_j = rng.normal(size=(2, 3, convolution.n_columns))
    row, column = wiring.pairs()
    each = ((m_i[:, row] - m_j[:, column]) * (r_i[:, row] - r_j[:, column])).sum(axis=0)
    expected = np.bincount(wiring.weight, each, np.prod(wiring.shape)).reshape(wiring.shape)
    np.testing.assert_allclose(wiring.product(m_i, r_i, m_j, r_j), expected, atol=1e-12)
    g = rng.uniform(size=len(row))  # devices that share a weight need not be alike
    expected = np.zeros_like(m_i)
    np.add.at(expected, (slice(None), row), g * (m_i[:, row] - m_j[:, column]))
    np.testing.assert_allclose(wiring.row_currents(g, m_i, m_j), expected, atol=1e-12)


def test_bias_of_a_convolved_layer_is_one_a_channel() -> None:
    wiring = SharedBiasWiring(channels=2, positions=3)
    assert wiring.shape == (1, 2)
    assert wiring.fan_in == 1
    np.testing.assert_array_equal(wiring.spread(np.array([[5.0, 7.0]])), [[5, 5, 5, 7, 7, 7]])
    rng = np.random.default_rng(0)
    (m_i, r_i), (m_j, r_j) = rng.normal(size=(2, 4, 1)), rng.normal(size=(2, 4, 6))
    each = ((m_i - m_j) * (r_i - r_j)).sum(axis=0)
    np.testing.assert_allclose(wiring.product(m_i, r_i, m_j, r_j), [[each[:3].sum(), each[3:].sum()]])
    g = rng.uniform(size=(1, 6))
    np.testing.assert_allclose(wiring.row_currents(g, m_i, m_j), ((m_i - m_j) * g).sum(axis=1, keepdims=True))


@polarities
def test_devices_names_and_shapes(polarity: Polarity) -> None:
    convolution = Convolution(input_shape=(2, 3, 3), channels=3, kernel=3, padding=1)
    layer = NodeLayer(coupling=convolution, bias=True, leak_s=1e-6)
    assert layer.size == 27
    assert layer.shape == (3, 3, 3)
    built = build(EnergyBlock(name="image", n_inputs=18, layers=(layer,), polarity=polarity))
    assert built.block.input_shape == (2, 3, 3)
    assert [c.name for c in built.crossbars] == ["w1", "b1"]
    assert [c.shape for c in built.crossbars] == [(3, 2, 3, 3), (1, 3)]
    # 7 x 7 = 49 places of a tap on 3 x 3 padded units, for each pair of channels; four devices a pair, or one.
    n_pairs, wires = 49 * 2 * 3, 4 if polarity is Polarity.DIFFERENTIAL else 1
    r = built.circuit.resistors
    assert len(r) == wires * (n_pairs + 27) + len(built.leak_devices)
    assert len(set(r.names)) == len(r)
    dense = build(EnergyBlock(name="image", n_inputs=18, layers=(NodeLayer(size=27, bias=True),), polarity=polarity))
    suffix = "_pp" if wires == 4 else ""
    ours = [name for name in r.names if name.startswith("w1") and name.endswith(suffix)]
    assert len(ours) == n_pairs
    theirs = [name for name in dense.circuit.resistors.names if name in set(ours)]
    assert ours == theirs  # a dense block has the same, in the same order
    w1 = built.crossbars[0]
    sides = [(w1.plus[0], w1.rows.p, w1.columns.p)]
    if w1.minus is not None:
        sides += [(w1.plus[1], w1.rows.n, w1.columns.n)]
        sides += [(w1.minus[0], w1.rows.p, w1.columns.n), (w1.minus[1], w1.rows.n, w1.columns.p)]
    row, column = w1.wiring.pairs()
    for devices, row_nodes, column_nodes in sides:
        np.testing.assert_array_equal(r.a[devices], row_nodes[row])
        np.testing.assert_array_equal(r.b[devices], column_nodes[column])
    validate(built.circuit)


@geometries
@polarities
@drives
def test_convolved_block_is_the_dense_block_of_the_unrolled_matrix(
    convolution: Convolution, polarity: Polarity, drive: Drive
) -> None:
    b = random_convolution(1, convolution, polarity=polarity, drive=drive)
    twin = dense_twin(b)
    assert len(b.built.circuit.resistors) <= len(twin.built.circuit.resistors)
    rng = np.random.default_rng(2)
    nudge = 0.1 * rng.normal(size=(len(b.x), 3))
    drives = b.built.drives(b.x, nudge)
    ours = session(b.built.circuit).solve(b.conductance_s, drives).voltage_v
    theirs = session(twin.built.circuit).solve(twin.conductance_s, drives).voltage_v
    assert 0.05 < clamped_share(b, ours) < 0.8
    assert b.built.circuit.nodes == twin.built.circuit.nodes
    np.testing.assert_allclose(ours, theirs, atol=1e-12 * max(1.0, np.abs(theirs).max()), rtol=0)
    # The gradient of a shared weight is the sum over its places; currents of the input sources are the same.
    response_v = rng.normal(size=ours.shape)
    for own, dense in zip(b.built.crossbars, twin.built.crossbars, strict=True):
        found, expected = (c.response_gradient(ours, response_v, 0.5) for c in (own, dense))
        for one, other in zip(found, expected, strict=True):
            if one is None or other is None:
                assert one is other is None
                continue
            assert one.shape == own.shape
            index = own.wiring.spread(np.arange(one.size, dtype=float).reshape(one.shape)).astype(int)
            summed = np.bincount(index.ravel(), other[own.wiring.pairs()].ravel(), one.size).reshape(one.shape)
            np.testing.assert_allclose(one, summed, rtol=1e-9, atol=1e-12 * np.abs(other).max())
    if drive is Drive.VOLTAGE:
        found = b.built.input_currents(b.conductance_s, ours)
        expected = twin.built.input_currents(twin.conductance_s, theirs)
        np.testing.assert_allclose(found, expected, atol=1e-11 * np.abs(expected).max(), rtol=0)


@pytest.mark.parametrize("plan", PLANS)
@drives
@pytest.mark.parametrize("name", ["3x3 padded", "stride 2", "stride over kernel"])
def test_reductions_hold(name: str, drive: Drive, plan: str) -> None:
    b = random_convolution(5, GEOMETRIES[name], drive=drive, batch=2)
    nudge = 0.1 * np.random.default_rng(1).normal(size=(2, b.built.block.n_outputs))
    circuit, g, drives = b.built.circuit, b.conductance_s, b.built.drives(b.x, nudge)
    full = session(circuit).solve(g, drives).voltage_v
    reduced = reduction(plan, circuit, b.built.image)
    assert reduced is not None
    program = reduced.program(g)
    assert program is not None
    assert program.applies_to(drives)
    small = session(reduced.reduced).solve(program.conductance_s, program.drives(drives)).voltage_v
    np.testing.assert_allclose(program.expand(drives, small), full, atol=1e-10, rtol=0)
    np.testing.assert_allclose(program.restrict(full), small, atol=1e-10, rtol=0)


@polarities
@pytest.mark.parametrize("text", ["4x4", "6x16", "400x400"])
def test_tiles_hold_every_device_once(polarity: Polarity, text: str) -> None:
    b = random_convolution(0, GEOMETRIES["stride 2"], polarity=polarity)
    size = TileSize.parse(text)
    tiles = tile_crossbars(b.built, size)
    r = b.built.circuit.resistors
    parts = [part.ravel() for c in b.built.crossbars for part in (c.plus, c.minus) if part is not None]
    assert sorted(np.concatenate([tile.resistors for tile in tiles])) == sorted(np.concatenate(parts))
    for tile, use in zip(tiles, tile_table(tiles, size), strict=True):
        assert 0 < use.utilisation <= 1
        assert use.devices <= use.rows * use.columns  # a convolution leaves crossings empty
        ends = np.concatenate([r.a[tile.resistors], r.b[tile.resistors]])
        assert len(np.unique(ends)) == use.rows + use.columns
    groups = block_groups(b.built, tiles)
    counts = np.bincount(np.concatenate([group.resistors for group in groups]), minlength=len(r))
    assert (counts == 1).all()


def test_tiles_that_a_convolution_leaves_empty_are_none() -> None:
    convolution = Convolution(input_shape=(1, 1, 8), channels=1, kernel=1)  # unit k to unit k
    built = build(EnergyBlock(name="b", n_inputs=8, layers=(NodeLayer(coupling=convolution),)))
    tiles = tile_crossbars(built, TileSize(rows=8, columns=8))
    assert [tile.name for tile in tiles] == ["w1_t0_0", "w1_t1_1"]
    assert tile_table(tiles, TileSize(rows=8, columns=8))[0].utilisation == 16 / 64


def test_layers_chain() -> None:
    first = Convolution(input_shape=(1, 6, 6), channels=2, kernel=3, padding=1)
    second = Convolution(input_shape=first.output_shape, channels=3, kernel=3, stride=2, padding=1)
    assert second.output_shape == (3, 3, 3)
    layers = (NodeLayer(coupling=first, leak_s=1e-6), NodeLayer(coupling=second, leak_s=1e-6), NodeLayer(size=4))
    built = build(EnergyBlock(name="deep", n_inputs=36, layers=layers))
    assert [c.shape for c in built.crossbars] == [(2, 1, 3, 3), (3, 2, 3, 3), (27, 4)]
    # A dense layer may stand before a convolution, which then says what image its units are.
    layers = (NodeLayer(size=72), NodeLayer(coupling=second))
    assert build(EnergyBlock(name="b", n_inputs=5, layers=layers)).crossbars[1].shape == (3, 2, 3, 3)


def test_program_takes_kernels() -> None:
    b = random_convolution(0, GEOMETRIES["3x3 padded"])
    w1 = b.built.crossbars[0]
    assert isinstance(w1.wiring, ConvolutionWiring)
    for devices, kernel in ((w1.plus, b.plus["w1"]), (w1.minus, b.minus["w1"])):
        for side in range(2):
            np.testing.assert_array_equal(b.conductance_s[devices[side]], kernel.ravel()[w1.wiring.weight] * 1e-4)
    with pytest.raises(CircuitError, match=r"G\+ of crossbar 'w1' must have shape \(3, 2, 3, 3\), got \(2, 3, 3, 3\)"):
        b.built.program({**b.plus, "w1": b.plus["w1"].swapaxes(0, 1)}, b.minus)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_shape": (2, 4)}, r"convolution: input_shape = \(2, 4\); give \(channels, height, width\)"),
        ({"input_shape": (2, 0, 4)}, r"input_shape = \(2, 0, 4\)"),
        ({"input_shape": 8}, r"input_shape = 8; give"),
        ({"channels": 0}, r"convolution: channels = 0; give a whole number, 1 or more"),
        ({"kernel": True}, r"kernel = True"),
        ({"stride": 1.5}, r"stride = 1.5"),
        ({"padding": -1}, r"convolution: padding = -1; give a whole number, 0 or more"),
        (
            {"input_shape": (2, 4, 3), "kernel": 6, "padding": 1},
            r"kernel = 6 is larger than the image, 4x3 and padding 1; give 5 or less, or more padding",
        ),
    ],
)
def test_convolution_refuses(settings: dict, message: str) -> None:
    with pytest.raises(CircuitError, match=message):
        Convolution(**{"input_shape": (2, 4, 4), "channels": 3, **settings})


def test_layer_refuses() -> None:
    convolution = Convolution(input_shape=(2, 4, 4), channels=3, padding=1)
    assert NodeLayer(size=48, coupling=convolution) == NodeLayer(coupling=convolution)
    assert replace(NodeLayer(coupling=convolution), clamp=Clamp(low_v=-1, high_v=1)).size == 48
    with pytest.raises(CircuitError, match=r"size = 12, but the convolution gives 3x4x4 = 48 units; leave size out"):
        NodeLayer(size=12, coupling=convolution)
    with pytest.raises(CircuitError, match=r"node layer: coupling = 3; give Convolution\(...\), or None for a dense"):
        NodeLayer(coupling=3)
    with pytest.raises(CircuitError, match=r"node layer: size = 0"):
        NodeLayer()


def test_block_refuses_images_that_do_not_fit() -> None:
    convolution = Convolution(input_shape=(2, 4, 4), channels=2, padding=1)
    other = Convolution(input_shape=(4, 4, 2), channels=2, kernel=1)  # as many units, another image
    layer = NodeLayer(coupling=convolution)

    def make(n_inputs: int, *layers: NodeLayer, drive: Drive = Drive.VOLTAGE) -> EnergyBlock:
        return EnergyBlock(name="b", n_inputs=n_inputs, layers=layers, drive=drive)

    with pytest.raises(
        CircuitError, match=r"block 'b': layer 1 convolves 2x4x4 = 32 units, but the input has 30; give that as"
    ):
        make(30, layer)
    with pytest.raises(CircuitError, match=r"layer 2 convolves 2x4x4 = 32 units, but layer 1 has 31"):
        make(5, NodeLayer(size=31), layer)
    with pytest.raises(CircuitError, match=r"layer 2 convolves 4x4x2 = 32 units, but layer 1 has 2x4x4; give that as"):
        make(32, layer, NodeLayer(coupling=other))
    with pytest.raises(
        CircuitError, match=r"layer 1 has a coupling, but the input enters it as currents; give NodeLayer\(size=32\)"
    ):
        make(32, layer, drive=Drive.CURRENT)


def test_shapes_that_enter_and_leave() -> None:
    """An image enters where a convolution takes it, first or behind the currents; an image leaves if it alone does."""
    convolution = Convolution(input_shape=(2, 4, 4), channels=3, kernel=2, stride=2)
    image, flat = NodeLayer(coupling=convolution), NodeLayer(size=5)

    def shapes(n_inputs: int, *layers: NodeLayer, **choices: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
        block = EnergyBlock(name="b", n_inputs=n_inputs, layers=layers, **choices)
        return block.input_shape, block.output_shape

    assert shapes(32, image) == ((2, 4, 4), (3, 2, 2))
    assert shapes(32, image, flat) == ((2, 4, 4), (5,))
    assert shapes(32, image, flat, output_layers=(0,)) == ((2, 4, 4), (3, 2, 2))
    assert shapes(32, image, flat, output_layers=(0, 1)) == ((2, 4, 4), (17,))
    assert shapes(32, NodeLayer(size=32), image, drive=Drive.CURRENT) == ((2, 4, 4), (3, 2, 2))
    driven = shapes(32, NodeLayer(size=32), image, drive=Drive.CURRENT, output_layers=(0,))
    assert driven == ((2, 4, 4), (2, 4, 4))
    assert shapes(5, flat, drive=Drive.CURRENT) == ((5,), (5,))
    assert shapes(32, NodeLayer(size=32), image) == ((32,), (3, 2, 2))
