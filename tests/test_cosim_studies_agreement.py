"""Cosine and norm ratio of two gradients, zeros and NaN among them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cosim.studies.agreement import cosine_and_norm_ratio


@pytest.mark.parametrize(
    ("value", "reference", "cosine", "ratio"),
    [
        ([3.0, 4.0], [4.0, 3.0], 24 / 25, 1.0),
        ([-6.0, -8.0], [3.0, 4.0], -1.0, 2.0),
        ([0.0, 0.0], [0.0, 0.0], 1.0, 1.0),
        ([0.0, 0.0], [0.0, 1.0], 0.0, 0.0),
        ([0.0, 1.0], [0.0, 0.0], 0.0, math.inf),
        ([], [], 1.0, 1.0),
    ],
)
def test_angle_and_length(value: list[float], reference: list[float], cosine: float, ratio: float) -> None:
    found = cosine_and_norm_ratio(np.array(value), np.array(reference))
    assert found == pytest.approx((cosine, ratio))


def test_a_matrix_is_one_long_vector_and_nan_agrees_with_nothing() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 3, 4))
    assert cosine_and_norm_ratio(a, b) == pytest.approx(cosine_and_norm_ratio(a.ravel(), b.ravel()))
    a[0, 0] = np.nan
    assert np.isnan(cosine_and_norm_ratio(a, b)).all()
