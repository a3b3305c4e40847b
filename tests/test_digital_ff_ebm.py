from __future__ import annotations

import pytest
import torch
from torch import nn

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


def test_a_chain_without_energy_blocks_is_refused() -> None:
    with pytest.raises(StageError, match="no energy block"):
        FfEbm([], nn.Linear(3, 2))
