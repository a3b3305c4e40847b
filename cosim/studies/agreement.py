"""How far one gradient is from another: the angle between them, and their lengths."""

import math

import numpy as np

from circuits.arrays import Floats


def cosine_and_norm_ratio(value: Floats, reference: Floats) -> tuple[float, float]:
    """Return the cosine of two arrays and the ratio of their norms; two zeros agree, NaN agrees with nothing.

    Equation: a . b / (|a| |b|) and |a| / |b|.

    Args:
        value: of any shape.
        reference: of the same shape.

    Returns:
        1 and 1 for two zeros; for one zero a cosine of 0, and a ratio of 0 or infinity.
    """
    norm, norm_reference = float(np.linalg.norm(value)), float(np.linalg.norm(reference))
    if norm == 0.0 and norm_reference == 0.0:
        return 1.0, 1.0
    if norm == 0.0 or norm_reference == 0.0:
        return 0.0, 0.0 if norm == 0.0 else math.inf
    return float((value * reference).sum() / (norm * norm_reference)), norm / norm_reference
