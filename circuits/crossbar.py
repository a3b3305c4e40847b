"""A crossbar: which devices of a circuit make up each weight between two groups of units."""

from dataclasses import dataclass
from typing import final

import numpy as np

from .arrays import Floats, Indices


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UnitNodes:
    """The nodes of a group of units.

    Args:
        p: [n_units] node index.
        n: [n_units] node index of the mirrored node; None with single polarity.
    """

    p: Indices
    n: Indices | None

    def __len__(self) -> int:
        return len(self.p)

    def state(self, voltage_v: Floats, v_unit_v: float) -> Floats:
        """Return s = (v_p - v_n) / (2 v_unit), or v / v_unit with single polarity: [batch, n_units]."""
        if self.n is None:
            return voltage_v[:, self.p] / v_unit_v
        return (voltage_v[:, self.p] - voltage_v[:, self.n]) / (2.0 * v_unit_v)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Crossbar:
    """Weights between two groups of units, w = G+ - G- (or the one conductance G+ with single polarity).

    Args:
        name: "w1" for the crossbar into the first layer, "b1" for its bias row.
        rows, columns: the units it joins.
        plus: [2, n_rows, n_columns] resistor index of G+ at p-p and n-n ([1, ...] with single polarity).
        minus: [2, n_rows, n_columns] resistor index of G- at p-n and n-p; None with single polarity.
    """

    name: str
    rows: UnitNodes
    columns: UnitNodes
    plus: Indices
    minus: Indices | None

    @property
    def shape(self) -> tuple[int, int]:
        """(n_rows, n_columns)."""
        return len(self.rows), len(self.columns)

    def response_gradient(self, mean_v: Floats, response_v: Floats, v_unit_v: float) -> tuple[Floats, Floats | None]:
        """Return dL/dG+ and dL/dG- in units of loss per g_unit, summed over the batch.

        Equation: dL/dG = mean over the two devices of (ma - mb)(ra - rb) / v_unit^2, which is D[1/2 (dv/v_unit)^2] over
        beta2 - beta1; the mean, not the sum, because F = 2 g_unit v_unit^2 E. Expanded, so that no array of one entry
        per device and sample is made.

        Args:
            mean_v: [batch, n_nodes] V — mean of the two phases.
            response_v: [batch, n_nodes] V — difference of the phases over beta2 - beta1.
            v_unit_v: V.

        Returns:
            [n_rows, n_columns] each; the second is None with single polarity.

        Source: Kendall 2020; the sign and the factor of two follow from F, tested against finite differences.
        """
        m, r = mean_v / v_unit_v, response_v / v_unit_v
        if self.rows.n is None or self.columns.n is None:
            return _pair_product(m, r, self.rows.p, self.columns.p), None
        plus = _pair_product(m, r, self.rows.p, self.columns.p) + _pair_product(m, r, self.rows.n, self.columns.n)
        minus = _pair_product(m, r, self.rows.p, self.columns.n) + _pair_product(m, r, self.rows.n, self.columns.p)
        return plus / 2.0, minus / 2.0


def _pair_product(m: Floats, r: Floats, rows: Indices, columns: Indices) -> Floats:
    """Return sum over the batch of (m_i - m_j)(r_i - r_j), [n_rows, n_columns]."""
    m_i, m_j, r_i, r_j = m[:, rows], m[:, columns], r[:, rows], r[:, columns]
    own_i = (m_i * r_i).sum(axis=0)[:, np.newaxis]
    own_j = (m_j * r_j).sum(axis=0)[np.newaxis, :]
    return np.asarray(own_i + own_j - m_i.T @ r_j - r_i.T @ m_j)
