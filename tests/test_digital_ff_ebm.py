from __future__ import annotations

import pytest
import torch
from torch import nn

from circuits import EnergyBlock, NodeLayer
from cosim.analog_block import AnalogBlock, Gradient
from cosim.simulators.newton import NewtonSimulator
from digital.errors import StageError
from digital.ff_ebm import FfEbm


def make() -> FfEbm:
    return FfEbm([(nn.Linear(5, 4), nn.Tanh()), (nn.Linear(4, 3), nn.Sigmoid())], nn.Linear(3, 2))


def test_the_chain_is_the_composition_of_its_stages() -> None:
    model, x = make(), torch.randn(6, 5)
    s1 = torch.tanh(model.feedforward[0](x))
    s2 = torch.sigmoid(model.feedforward[1](s1))
    assert torch.equal(model(x), model.readout(s2))


def test_inputs_and_states_are_those_of_the_forward_pass() -> None:
    model, x = make(), torch.randn(6, 5)
    inputs, states = model.inputs_and_states(x)
    assert [tuple(t.shape) for t in inputs] == [(6, 4), (6, 3)]
    assert torch.equal(states[0], torch.tanh(inputs[0]))
    assert torch.equal(model.readout(states[-1]), model(x))


def test_gradients_reach_every_stage() -> None:
    model = make()
    model(torch.randn(6, 5)).square().sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in model.parameters())


def test_links_name_feedforward_and_energy() -> None:
    model = make()
    assert [type(link.energy) for link in model.links] == [nn.Tanh, nn.Sigmoid]
    assert [name for name, _ in model.named_children()] == ["feedforward", "energy", "readout"]


class Residual(nn.Module):
    """A residual block of convolutions with an energy block on its way: three stages in one module."""

    def __init__(self, gradient: Gradient) -> None:
        super().__init__()
        block = EnergyBlock(name="inside", n_inputs=8, layers=(NodeLayer(size=8, leak_s=5e-5),))
        self.down = nn.Sequential(nn.Conv2d(2, 2, 3, stride=2, padding=1), nn.Flatten())
        self.energy = AnalogBlock(block, simulator=NewtonSimulator(), gradient=gradient)
        self.up = nn.Linear(8, 32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = self.energy(self.down(x))
        return x + self.up(s).reshape(x.shape)


def make_residual(gradient: Gradient) -> FfEbm:
    torch.manual_seed(1)
    links = [(nn.BatchNorm2d(2), Residual(gradient)), (nn.Flatten(), nn.Sequential(nn.Linear(32, 4), nn.Tanh()))]
    return FfEbm(links, nn.Linear(4, 3)).double()


def test_a_residual_block_with_an_energy_block_inside_is_a_stage() -> None:
    x = torch.randn(5, 2, 4, 4, dtype=torch.float64)
    found = {}
    for gradient in Gradient:
        model = make_residual(gradient)
        assert model(x).shape == (5, 3)
        nn.functional.cross_entropy(model(x), torch.arange(5) % 3).backward()
        found[gradient] = {name: p.grad for name, p in model.named_parameters()}
    nudged, exact = found[Gradient.EP], found[Gradient.IMPLICIT]
    assert "energy.0.energy.g_plus.w1" in exact
    for name, reference in exact.items():  # through the energy block, beside it, and before it
        assert float(reference.norm()) > 0, name
        torch.testing.assert_close(nudged[name], reference, rtol=0, atol=1e-4 * float(reference.abs().max()), msg=name)
    before = list(model.inputs_and_states(x)[1][0].shape)
    assert before == [5, 2, 4, 4]


def test_a_part_that_is_no_module_is_refused() -> None:
    with pytest.raises(StageError, match=r"ff-EBM: <class .*Tanh'> is no torch module; give an instance"):
        FfEbm([(nn.Linear(5, 4), nn.Tanh)], nn.Linear(4, 2))
    with pytest.raises(StageError, match=r"ff-EBM: <built-in method tanh .* is no torch module"):
        FfEbm([(nn.Linear(5, 4), nn.Tanh())], torch.tanh)


def test_a_chain_without_energy_blocks_is_refused() -> None:
    with pytest.raises(StageError, match="no energy block"):
        FfEbm([], nn.Linear(3, 2))
