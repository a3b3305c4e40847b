from __future__ import annotations

import pytest
import torch
from torch import nn

from circuits import TellegenError
from digital import stages
from digital.errors import StageError


def test_sizes_follow_from_the_stage_before() -> None:
    flat = stages.flatten((1, 8, 8))
    dense = stages.linear(flat.shape, size=5)
    normal = stages.batch_norm(dense.shape)
    chain = stages.chain([flat, dense, normal, stages.relu(normal.shape)])
    assert flat.shape == (64,)
    assert normal.shape == (5,)
    y = chain(torch.randn(7, 1, 8, 8))
    assert y.shape == (7, 5)
    assert (y >= 0).all()


def test_a_chain_of_nothing_is_the_identity() -> None:
    x = torch.randn(3, 4)
    assert torch.equal(stages.chain([])(x), x)


def test_a_chain_of_one_is_that_module() -> None:
    dense = stages.linear((3,), size=2)
    assert stages.chain([dense]) is dense.module


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gain_and_standardise_compute_their_equations(dtype: torch.dtype) -> None:
    x = torch.tensor([[-2.0, 4.0]], dtype=dtype)
    assert torch.equal(stages.gain((2,), value=0.5).module(x), torch.tensor([[-1.0, 2.0]], dtype=dtype))
    standard = stages.standardise((2,), mean=1.0, std=3.0).module(x)
    assert torch.equal(standard, torch.tensor([[-1.0, 1.0]], dtype=dtype))


def test_a_constant_gain_is_saved_but_not_trained() -> None:
    constant, trained = stages.Gain(2.0), stages.Gain(2.0, trainable=True)
    assert list(constant.state_dict()) == list(trained.state_dict()) == ["gain"]
    assert [list(module.parameters()) for module in (constant, trained)] == [[], [trained.gain]]


def test_batch_norm_without_affine_has_no_parameters() -> None:
    assert list(stages.batch_norm((4,), affine=False).module.parameters()) == []


@pytest.mark.parametrize("kind", ["linear", "batch_norm"])
def test_an_image_must_be_flattened_first(kind: str) -> None:
    make = {"linear": lambda: stages.linear((1, 8, 8), size=3), "batch_norm": lambda: stages.batch_norm((1, 8, 8))}
    with pytest.raises(
        StageError, match=rf"{kind} stage: needs a flat sample, gets shape \(1, 8, 8\); put a 'flatten'"
    ):
        make[kind]()


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_useless_gain_is_refused(value: float) -> None:
    with pytest.raises(StageError, match="other than zero"):
        stages.Gain(value)


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(StageError, match="std above zero"):
        stages.Standardise(mean=0.0, std=0.0)
    with pytest.raises(StageError, match="one output or more"):
        stages.linear((3,), size=0)


def test_stage_errors_are_the_projects() -> None:
    assert issubclass(StageError, TellegenError)


def test_stages_are_modules_that_a_sequential_takes() -> None:
    model = nn.Sequential(stages.gain((3,), value=2.0).module, stages.relu((3,)).module)
    assert torch.equal(model(torch.tensor([[-1.0, 0.0, 2.0]])), torch.tensor([[0.0, 0.0, 4.0]]))
