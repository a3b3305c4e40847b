"""Work of digital stages: multiply-adds by their formulas, forward and backward, and the sweeps of a relaxation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from analog_blocks import analog
from hopfield_blocks import by_hand, on_circuit
from random_blocks import random_block, session
from torch import nn

from circuits import Drive
from cosim.chip.all_digital import gradient_work, relaxed_twin, tanh_twin
from cosim.chip.digital_work import count_stage
from cosim.chip.equilibria import block_states
from cosim.chip.sweeps import DigitalRelaxation
from digital.hopfield import DenseCoupling, HopfieldBlock, HopfieldConfig, HopfieldPhases


def test_linear_layer() -> None:
    work = count_stage(nn.Linear(7, 4), torch.randn(1, 7), want_x=True)
    assert work.inference.macs == 28
    assert work.inference.values == 7 + 28 + 4 + 4  # input, weights, biases, output
    assert work.training.macs == 3 * 28  # forward, dL/dx, dL/dW
    assert count_stage(nn.Linear(7, 4), torch.randn(1, 7), want_x=False).training.macs == 2 * 28


def test_convolution_with_batch_norm_and_rectifier() -> None:
    stage = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(5), nn.ReLU())
    work = count_stage(stage, torch.randn(2, 3, 8, 8), want_x=False)
    outputs = 5 * 4 * 4
    assert work.inference.macs == 27 * outputs + outputs  # a batch norm scales and shifts
    assert work.inference.elementwise == outputs
    assert work.inference.values == 3 * 64 + 135 + outputs
    assert work.training.macs == 2 * 27 * outputs + (3 + 4) * outputs


def test_module_and_random_numbers_stay_as_they_are() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    count_stage(module, torch.randn(4, 3, generator=torch.Generator().manual_seed(1)), want_x=True)
    assert torch.rand(1) == expected
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_hopfield_block_costs_its_steps() -> None:
    config = HopfieldConfig(input_shape=(6,), couplings=(DenseCoupling(size=4),))
    block = HopfieldBlock(config, phases=HopfieldPhases(free_steps=5, nudged_steps=3))
    work = count_stage(block, torch.rand(2, 6), want_x=False)
    per_step = 2 * 24  # the coupling, both ways
    gradient = 2 * (24 + 24)  # the energy and its derivative by W, at both nudges
    assert work.inference.macs == 5 * per_step
    assert work.training.macs == 5 * per_step + 2 * 3 * per_step + gradient


def test_tanh_twin_has_the_couplings_of_the_block() -> None:
    drawn = random_block(0, sizes=(5, 4), n_inputs=6)
    twin = tanh_twin(analog(drawn), torch.from_numpy(drawn.x), want_x=False)
    assert twin.work.inference.macs == 6 * 5 + 5 * 4
    assert twin.work.training.macs == 2 * 30 + 3 * 20
    assert twin.parameters == 30 + 20 + 5 + 4


@pytest.mark.parametrize("drive", Drive)
def test_sweeps_end_at_the_equilibrium_of_the_circuit(drive: Drive) -> None:
    drawn = random_block(4, sizes=(5, 4, 3), drive=drive, clamped=False)
    built = drawn.built
    voltage_v = session(built.circuit).solve(drawn.conductance_s, drawn.drives).voltage_v
    relaxation = DigitalRelaxation(built, drawn.conductance_s)
    current_a = relaxation.currents(drawn.drives)
    sweeps, fixed_v = relaxation.sweeps_until(current_a, np.zeros_like(current_a), 1e-6)
    p = np.concatenate([layer.p for layer in built.layers])
    np.testing.assert_allclose(fixed_v, voltage_v[:, p], rtol=0, atol=1e-9)
    assert sweeps > 1
    fewer, _ = relaxation.sweeps_until(current_a, np.zeros_like(current_a), 1e-2)
    assert fewer < sweeps
    assert relaxation.sweeps_until(current_a, fixed_v, 1e-6)[0] == 0


def test_relaxed_twin_of_a_block_with_active_leaks() -> None:
    analog_block = on_circuit(by_hand())
    x = torch.tensor([[1.5, -0.4], [0.3, 0.9]], dtype=torch.float64)
    states = block_states(analog_block, x, torch.tensor([[0.3, -1.0], [1.0, 0.2]]))
    twin, count = relaxed_twin(analog_block, states, want_x=True, free_tolerance_v=1e-3, nudged_tolerance_v=1e-6)
    assert (count.macs_per_sweep, count.macs_of_input) == (2 * 4, 2)  # two layers of two; the bias row of layer 2
    assert twin.parameters == 4 + 2
    assert twin.work.inference.macs == count.free * 8 + 2
    products = 2 * (4 + 2)  # of weights and biases; dL/dx of a current-driven block is its response
    assert twin.work.training.macs == count.free * 8 + 2 + 2 * count.nudged * 8 + products


def test_gradient_of_a_voltage_driven_block_goes_back_through_its_input_crossbar() -> None:
    block = analog(random_block(0, sizes=(5, 4), n_inputs=6))
    couplings = 6 * 5 + 5 * 4 + 5 + 4
    assert gradient_work(block, want_x_products=False).macs == 2 * couplings
    assert gradient_work(block, want_x_products=True).macs == 2 * couplings + 6 * 5
