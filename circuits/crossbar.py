"""A crossbar: which devices of a circuit make up each weight between two groups of units, dense or convolutional."""

from dataclasses import dataclass
from typing import final

import numpy as np

from .arrays import Floats, Indices
from .wiring import AbstractWiring


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

    @property
    def nodes(self) -> Indices:
        """All nodes, those of p first."""
        return self.p if self.n is None else np.concatenate([self.p, self.n])

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
        wiring: which row unit meets which column unit, and by which weight.
        plus: [2, *pairs] resistor index of G+ at p-p and n-n ([1, ...] with single polarity); pairs as the wiring has
            them, [n_rows, n_columns] in a dense crossbar.
        minus: [2, *pairs] resistor index of G- at p-n and n-p; None with single polarity.
    """

    name: str
    rows: UnitNodes
    columns: UnitNodes
    wiring: AbstractWiring
    plus: Indices
    minus: Indices | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weights: (n_rows, n_columns), or a kernel's."""
        return self.wiring.shape

    def response_gradient(self, mean_v: Floats, response_v: Floats, v_unit_v: float) -> tuple[Floats, Floats | None]:
        """Return dL/dG+ and dL/dG- in units of loss per g_unit, summed over the batch.

        Equation: dL/dG = sum over the weight's pairs of the mean over the two devices of (ma - mb)(ra - rb) / v_unit^2,
        which is D[1/2 (dv/v_unit)^2] over beta2 - beta1; of the two devices the mean, not the sum, because
        F = 2 g_unit v_unit^2 E.

        Args:
            mean_v: [batch, n_nodes] V — mean of the two phases.
            response_v: [batch, n_nodes] V — difference of the phases over beta2 - beta1.
            v_unit_v: V.

        Returns:
            two of the shape of the weights; the second is None with single polarity.

        Source: Kendall 2020; the sign and the factor of two follow from F, tested against finite differences.
        """
        m, r = mean_v / v_unit_v, response_v / v_unit_v

        def product(rows: Indices, columns: Indices) -> Floats:
            return self.wiring.product(m[:, rows], r[:, rows], m[:, columns], r[:, columns])

        if self.rows.n is None or self.columns.n is None:
            return product(self.rows.p, self.columns.p), None
        plus = product(self.rows.p, self.columns.p) + product(self.rows.n, self.columns.n)
        minus = product(self.rows.p, self.columns.n) + product(self.rows.n, self.columns.p)
        return plus / 2.0, minus / 2.0

    def row_currents(self, conductance_s: Floats, voltage_v: Floats) -> tuple[Floats, Floats | None]:
        """Return the currents that leave the rows' p and n nodes through the crossbar, [batch, n_rows] A each.

        Args:
            conductance_s: [n_resistors] S.
            voltage_v: [batch, n_nodes] V.
        """

        def currents(rows: Indices, devices: list[tuple[Indices, Indices]]) -> Floats:
            total = np.zeros((len(voltage_v), len(rows)))
            for resistors, columns in devices:
                total += self.wiring.row_currents(conductance_s[resistors], voltage_v[:, rows], voltage_v[:, columns])
            return total

        rows, columns, plus, minus = self.rows, self.columns, self.plus, self.minus
        if rows.n is None or columns.n is None or minus is None:
            return currents(rows.p, [(plus[0], columns.p)]), None
        i_p = currents(rows.p, [(plus[0], columns.p), (minus[0], columns.n)])
        return i_p, currents(rows.n, [(plus[1], columns.n), (minus[1], columns.p)])
