"""The losses: their values by hand, and the size of their gradients, which a lost factor would change."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from digital.losses import cross_entropy, mse

LOGITS = torch.tensor([[0.5, -1.0, 2.0], [0.0, 0.0, 0.0], [1.0, 3.0, -2.0], [0.1, 0.2, 0.3]], dtype=torch.float64)
Y = torch.tensor([2, 0, 0, 1])
ONE_HOT = torch.eye(3, dtype=torch.float64)[Y]


def gradient(loss, logits: Tensor, y: Tensor) -> Tensor:
    leaf = logits.clone().requires_grad_()
    loss(leaf, y).backward()
    assert leaf.grad is not None
    return leaf.grad


def test_mse_is_half_the_squared_distance_by_hand() -> None:
    # (0.5, -1, 1), (-1, 0, 0), (0, 3, -2), (0.1, -0.8, 0.3) away from the one-hot vectors
    expected = 0.5 * (2.25 + 1.0 + 13.0 + 0.74) / 4
    assert float(mse(LOGITS, Y)) == pytest.approx(expected, rel=1e-15)


def test_cross_entropy_is_the_mean_of_the_log_of_the_class() -> None:
    expected = -torch.log(torch.exp(LOGITS) / torch.exp(LOGITS).sum(dim=1, keepdim=True))[range(4), Y].mean()
    torch.testing.assert_close(cross_entropy(LOGITS, Y), expected, rtol=1e-14, atol=0)
    assert float(cross_entropy(torch.zeros(5, 3), torch.zeros(5, dtype=torch.int64))) == pytest.approx(1.0986, abs=1e-4)


@pytest.mark.parametrize(("loss", "output"), [(mse, LOGITS), (cross_entropy, LOGITS.softmax(dim=1))])
def test_gradients_have_the_size_of_their_equation(loss, output: Tensor) -> None:
    found, expected = gradient(loss, LOGITS, Y), (output - ONE_HOT) / len(Y)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)
    assert float(found.norm()) == pytest.approx(float((output - ONE_HOT).norm()) / 4, rel=1e-12)
    # Twice the batch, half of each sample's gradient.
    doubled = gradient(loss, torch.cat([LOGITS, LOGITS]), torch.cat([Y, Y]))
    assert float(doubled[:4].norm()) == pytest.approx(float(found.norm()) / 2, rel=1e-12)


@pytest.mark.parametrize("loss", [mse, cross_entropy])
def test_losses_are_scalars_of_the_logits_precision(loss) -> None:
    for dtype in (torch.float32, torch.float64):
        value = loss(LOGITS.to(dtype), Y)
        assert value.shape == ()
        assert value.dtype == dtype


def test_mse_vanishes_at_the_one_hot_vectors() -> None:
    assert float(mse(ONE_HOT, Y)) == 0.0
