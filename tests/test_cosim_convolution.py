"""Convolutional energy blocks: torch's convolution, three ways to the gradient, every simulator, and training."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from analog_blocks import analog, check_simulators_agree, cosine, gradients, norm_ratio
from random_blocks import clamped_share, dense_twin, random_convolution
from test_circuits_convolution import GEOMETRIES
from test_cosim_equilibrium_propagation import check_three_ways
from torch.nn import functional

from circuits import Clamp, Convolution, Drive, EnergyBlock, NodeLayer, Polarity
from circuits.element_groups import block_groups
from circuits.reductions import fold
from circuits.tiles import TileSize, tile_crossbars
from circuits.topology import laplacian
from cosim.analog_block import AnalogBlock, Gradient
from cosim.errors import BlockError
from cosim.phase_settings import ParameterRead, PhaseSettings
from cosim.relaxation import Relaxation
from cosim.simulators.base import AbstractSimulator
from cosim.simulators.newton import NewtonSimulator
from cosim.simulators.ngspice import NgspiceSimulator
from netlists import lower

polarities = pytest.mark.parametrize("polarity", Polarity)
drives = pytest.mark.parametrize("drive", Drive)


@pytest.mark.parametrize("convolution", GEOMETRIES.values(), ids=GEOMETRIES)
def test_coupling_currents_are_torchs_convolution(convolution: Convolution) -> None:
    # What flows into a column unit because of the rows' states: sum_i w_ij s_i with w = G+ - G-, per g_unit v_unit.
    b = random_convolution(0, convolution, n_classes=0, bias=False, clamped=False)
    built, states = b.built, np.random.default_rng(1).normal(size=(2, *convolution.input_shape))
    voltage_v = built.mirrored_voltages([np.zeros((2, convolution.n_columns))], states.reshape(2, -1))
    leaving = (laplacian(built.circuit, b.conductance_s) @ voltage_v.T).T / built.block.g_unit_s
    found = -built.layers[0].state(leaving, 1.0)
    w = torch.from_numpy(b.plus["w1"] - b.minus["w1"])
    expected = functional.conv2d(
        torch.from_numpy(states), w, stride=convolution.stride, padding=convolution.padding
    ).flatten(1)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-12)


@pytest.mark.parametrize("name", ["3x3 padded", "stride 2", "left over"])
@drives
@polarities
def test_three_ways_agree(polarity: Polarity, drive: Drive, name: str) -> None:
    drawn = random_convolution(21, GEOMETRIES[name], polarity=polarity, drive=drive, batch=2)
    block = analog(drawn, settings=PhaseSettings(beta=1e-3))
    check_three_ways(block, drawn.x)
    assert clamped_share(drawn, block.free_phase(torch.from_numpy(drawn.x)).point.voltage_v) > 0.1


@drives
@polarities
def test_kernel_gradient_is_the_sum_over_the_dense_blocks(polarity: Polarity, drive: Drive) -> None:
    drawn = random_convolution(22, GEOMETRIES["stride 2"], polarity=polarity, drive=drive, batch=4)
    twin = dense_twin(drawn)
    settings = PhaseSettings(beta=1e-3)
    ours, theirs = (gradients(analog(b, settings=settings), b.x) for b in (drawn, twin))
    assert set(ours) == set(theirs)
    wiring_of = {c.name: c.wiring for c in drawn.built.crossbars}
    for name, found in ours.items():
        expected = theirs[name]
        if name != "input":
            wiring = wiring_of[name.rpartition(".")[2]]
            index = wiring.spread(np.arange(found.size, dtype=float).reshape(found.shape)).astype(int)
            expected = np.bincount(index.ravel(), expected[wiring.pairs()].ravel(), found.size).reshape(found.shape)
        assert cosine(found, expected) > 1 - 1e-12, name
        assert norm_ratio(found, expected) == pytest.approx(1.0, abs=1e-6), name


@drives
def test_digital_read_of_the_states_gives_the_same_gradient(drive: Drive) -> None:
    drawn = random_convolution(23, GEOMETRIES["3x3 padded"], drive=drive)
    local_read, digital_read = (
        gradients(analog(drawn, settings=PhaseSettings(beta=1e-3, parameter_read=read)), drawn.x)
        for read in (ParameterRead.LOCAL, ParameterRead.DIGITAL)
    )
    for name, found in digital_read.items():
        np.testing.assert_allclose(found, local_read[name], atol=1e-7 * np.abs(found).max(), err_msg=name)


@pytest.mark.ngspice
@pytest.mark.parametrize("drive", Drive)
@pytest.mark.parametrize("polarity", Polarity)
def test_simulators_and_reductions_agree(polarity: Polarity, drive: Drive) -> None:
    drawn = random_convolution(24, GEOMETRIES["stride 2"], polarity=polarity, drive=drive, batch=2)
    drives = drawn.built.drives(drawn.x, 0.01 * np.random.default_rng(0).normal(size=(2, 3)))
    check_simulators_agree(drawn.built, drawn.conductance_s, drives)


@pytest.mark.ngspice
def test_hierarchical_deck_of_a_convolution(tmp_path) -> None:
    from test_netlists_hierarchy import assert_same, run, write

    from cosim.simulators.ngspice.program import run_program
    from netlists import format_standalone
    from netlists.hierarchy import format_hierarchy

    drawn = random_convolution(25, GEOMETRIES["3x3 padded"])
    circuit = drawn.built.circuit.with_conductances(drawn.conductance_s).with_drives(drawn.drives[0])
    netlist, node_map = lower(circuit)
    groups = block_groups(drawn.built, tile_crossbars(drawn.built, TileSize(rows=8, columns=12)))
    top = write(format_hierarchy(netlist, groups), tmp_path)
    assert_same(top, circuit)
    tiled, flat = run(top), run_program(format_standalone(netlist))
    for name in node_map.vectors[: len(netlist.nodes) - 1]:
        assert abs(tiled[name][0] - flat[name][0]) <= 1e-9


def test_reductions_are_analysed_when_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of a large block each takes seconds and a gigabyte.
    folded: list[str] = []

    def counted(circuit):
        folded.append("half" if circuit.active else "full")
        return fold(circuit)

    monkeypatch.setattr("cosim.relaxation.fold", counted)
    drawn = random_convolution(26, GEOMETRIES["3x3"])
    relaxation = Relaxation(drawn.built.circuit, drawn.built.image, NewtonSimulator())
    assert folded == []
    mirrored = relaxation.solve(drawn.conductance_s, drawn.drives).voltage_v
    assert folded == ["half"]
    g = drawn.conductance_s.copy()
    g[0] *= 1 + 1e-12  # no longer matched
    np.testing.assert_allclose(relaxation.solve(g, drawn.drives).voltage_v, mirrored, atol=1e-9, rtol=0)
    assert folded == ["half", "full"]
    np.testing.assert_array_equal(relaxation.solve(drawn.conductance_s, drawn.drives).voltage_v, mirrored)
    assert folded == ["half", "full"]


def conv_block(**settings) -> EnergyBlock:
    """4x4x8 - 4x4x8: the input drives currents into one image, a 3x3 convolution couples another to it."""
    clamp = Clamp(low_v=-0.3, high_v=0.3)
    convolution = Convolution(input_shape=(8, 4, 4), channels=8, kernel=3, padding=1)
    layers = (
        NodeLayer(size=128, clamp=clamp, leak_s=2e-5),
        NodeLayer(coupling=convolution, clamp=clamp, leak_s=2e-5, bias=True),
    )
    return EnergyBlock(name="conv", n_inputs=128, layers=layers, drive=Drive.CURRENT, **settings)


def test_parameters_have_the_kernels_shape_and_variance() -> None:
    block = AnalogBlock(conv_block(), simulator=NewtonSimulator(), generator=torch.Generator().manual_seed(0))
    assert {name: tuple(p.shape) for name, p in block.named_parameters()} == {
        "g_plus.w2": (8, 8, 3, 3),
        "g_plus.b2": (1, 8),
        "g_minus.w2": (8, 8, 3, 3),
        "g_minus.b2": (1, 8),
    }
    w = block.g_plus["w2"] - block.g_minus["w2"]
    assert float(w.detach().std()) == pytest.approx((8 * 9) ** -0.5, rel=0.1)
    assert repr(block).startswith("AnalogBlock(\n  'conv', 8x4x4-128-8x4x4, current-driven, newton")
    with torch.no_grad():
        block.g_plus["w2"][1, 2, 0, 1] = 3.0
    with pytest.raises(BlockError, match=r"block 'conv': g_plus\.w2\[1, 2, 0, 1\] = 3, outside the window"):
        block(torch.zeros(1, 128))


def train(simulator: AbstractSimulator, gradient: Gradient, steps: int) -> list[float]:
    torch.manual_seed(0)
    block = AnalogBlock(
        conv_block(), simulator=simulator, gradient=gradient, generator=torch.Generator().manual_seed(1)
    )
    x, target = torch.randn(4, 128), 0.2 * torch.randn(4, 128).sign()
    optimiser = torch.optim.Adam(block.parameters(), lr=0.03)
    losses = []
    for _ in range(steps):
        loss = (block(x).flatten(1) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    "simulator", [NewtonSimulator, pytest.param(NgspiceSimulator, marks=pytest.mark.ngspice)], ids=["newton", "ngspice"]
)
def test_training_a_4x4x8_block_lowers_its_loss(simulator: Callable[[], AbstractSimulator]) -> None:
    losses = train(simulator(), Gradient.EP, 5)
    assert all(later < earlier for earlier, later in pairwise(losses)), losses
    assert losses[-1] < 0.9 * losses[0], losses


@pytest.mark.ngspice
def test_gradients_of_a_4x4x8_block_in_ngspice() -> None:
    block = AnalogBlock(
        conv_block(),
        simulator=NgspiceSimulator(),
        settings=PhaseSettings(beta=0.02),
        generator=torch.Generator().manual_seed(3),
    ).double()
    x = np.random.default_rng(0).normal(size=(3, 128))
    ours = gradients(block, x)
    exact = gradients(block.configured(gradient=Gradient.IMPLICIT, simulator=NewtonSimulator()), x)
    for name, reference in exact.items():
        assert cosine(ours[name], reference) > 1 - 1e-6, name
        assert norm_ratio(ours[name], reference) == pytest.approx(1.0, abs=2e-3), name
