"""Which units of two groups a crossbar joins, and which weight each pair of them carries.

Takes: values of one side of a pair of nodes, never nodes themselves. Must not know: polarity, devices, units of volt.
A weight may belong to many pairs; its gradient is then the sum over them.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np

from .arrays import Floats, Indices


class AbstractWiring(ABC):
    """The pairs of a crossbar, each a row unit and a column unit, in the order of its devices."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of the weights."""

    @property
    @abstractmethod
    def fan_in(self) -> int:
        """Largest number of row units that a column unit is joined to."""

    @abstractmethod
    def pairs(self) -> tuple[Indices, Indices]:
        """Return row unit and column unit of every pair, both of the shape that device arrays have."""

    @abstractmethod
    def spread(self, weights: Floats) -> Floats:
        """Return the weight of every pair, of the shape of `pairs`, from weights of `shape`."""

    @abstractmethod
    def gather(self, pairs: Floats) -> Floats:
        """Return the sum over the pairs of each weight, of `shape`, from values of the shape of `pairs`."""

    @property
    @abstractmethod
    def pairs_per_weight(self) -> Floats:
        """Number of pairs of each weight, of `shape`."""

    @abstractmethod
    def product(self, m_i: Floats, r_i: Floats, m_j: Floats, r_j: Floats) -> Floats:
        """Return sum over the batch and a weight's pairs of (m_i - m_j)(r_i - r_j), of the shape of the weights.

        Expanded, so that no array of one entry per device and sample is made.

        Args:
            m_i: [batch, n_rows].
            r_i: [batch, n_rows].
            m_j: [batch, n_columns].
            r_j: [batch, n_columns].
        """

    @abstractmethod
    def row_currents(self, g: Floats, v_i: Floats, v_j: Floats) -> Floats:
        """Return sum over a row's pairs of g (v_i - v_j), [batch, n_rows].

        Args:
            g: conductance of every pair, of the shape of `pairs`; pairs of one weight may differ.
            v_i: [batch, n_rows].
            v_j: [batch, n_columns].
        """


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class DenseWiring(AbstractWiring):
    """Every row unit with every column unit, a weight each, [n_rows, n_columns]."""

    n_rows: int
    n_columns: int

    @property
    def shape(self) -> tuple[int, int]:
        """(n_rows, n_columns)."""
        return self.n_rows, self.n_columns

    @property
    def fan_in(self) -> int:
        """All rows."""
        return self.n_rows

    def pairs(self) -> tuple[Indices, Indices]:
        """Return the pairs row by row, [n_rows, n_columns] each."""
        row, column = np.indices(self.shape)
        return row, column

    def spread(self, weights: Floats) -> Floats:
        """Return the weights: each has one pair."""
        return weights

    def gather(self, pairs: Floats) -> Floats:
        """Return the values: each weight has one pair."""
        return pairs

    @property
    def pairs_per_weight(self) -> Floats:
        """One each."""
        return np.ones(self.shape)

    def product(self, m_i: Floats, r_i: Floats, m_j: Floats, r_j: Floats) -> Floats:
        """Return the sum over the batch, [n_rows, n_columns]."""
        own_i = (m_i * r_i).sum(axis=0)[:, np.newaxis]
        own_j = (m_j * r_j).sum(axis=0)[np.newaxis, :]
        return np.asarray(own_i + own_j - m_i.T @ r_j - r_i.T @ m_j)

    def row_currents(self, g: Floats, v_i: Floats, v_j: Floats) -> Floats:
        """Return the currents that leave the rows, [batch, n_rows]."""
        return np.asarray(v_i * g.sum(axis=1) - v_j @ g.T)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SharedBiasWiring(AbstractWiring):
    """One row unit with every unit of an image; a weight for each channel, [1, channels].

    Args:
        channels: of the image.
        positions: units of a channel, side by side.
    """

    channels: int
    positions: int

    @property
    def shape(self) -> tuple[int, int]:
        """(1, channels)."""
        return 1, self.channels

    @property
    def fan_in(self) -> int:
        """The one bias row."""
        return 1

    @property
    def _devices(self) -> DenseWiring:
        return DenseWiring(n_rows=1, n_columns=self.channels * self.positions)

    def pairs(self) -> tuple[Indices, Indices]:
        """Return the pairs, [1, channels * positions] each."""
        return self._devices.pairs()

    def spread(self, weights: Floats) -> Floats:
        """Return each channel's weight at all its positions, [1, channels * positions]."""
        return np.repeat(weights, self.positions, axis=1)

    def gather(self, pairs: Floats) -> Floats:
        """Return the sum over each channel's positions, [1, channels]."""
        return np.asarray(pairs.reshape(1, self.channels, self.positions).sum(axis=2))

    @property
    def pairs_per_weight(self) -> Floats:
        """As many as a channel has positions."""
        return np.full(self.shape, float(self.positions))

    def product(self, m_i: Floats, r_i: Floats, m_j: Floats, r_j: Floats) -> Floats:
        """Return the sum over the batch and each channel's positions, [1, channels]."""
        each = self._devices.product(m_i, r_i, m_j, r_j)
        return self.gather(each)

    def row_currents(self, g: Floats, v_i: Floats, v_j: Floats) -> Floats:
        """Return the current that leaves the row, [batch, 1]."""
        return self._devices.row_currents(g, v_i, v_j)
