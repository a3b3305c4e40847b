"""The diodes of a circuit as columns: each one's current, conductance and co-content, whatever its law.

A circuit may have level-1 diodes and piecewise-linear ones side by side. Where it has one kind only, no column is
picked out and nothing is copied.
"""

from dataclasses import dataclass
from typing import final

import numpy as np

from .arrays import Floats, Indices
from .circuit import Circuit, diode_columns
from .diode import junction_cocontent, junction_current, junction_voltage
from .piecewise_linear_diode import PiecewiseLinearDiode, piecewise_linear_cocontent, piecewise_linear_current


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PiecewiseLinearColumns:
    """The piecewise-linear diodes of a circuit.

    Args:
        device: [n] diode index.
        threshold_v, on_ohm, off_ohm, bend_v: [n] of each.
    """

    device: Indices
    threshold_v: Floats
    on_ohm: Floats
    off_ohm: Floats
    bend_v: Floats

    def current(self, v: Floats) -> tuple[Floats, Floats]:
        """Return current and conductance at [batch, n] V."""
        return piecewise_linear_current(v, self.threshold_v, self.on_ohm, self.off_ohm, self.bend_v)


def piecewise_linear_columns(circuit: Circuit) -> PiecewiseLinearColumns:
    """Return the piecewise-linear diodes of a circuit."""
    d = circuit.diodes
    laws = [
        (m.threshold_v, m.on_resistance_ohm, m.off_resistance_ohm, m.bend_v)
        if isinstance(m, PiecewiseLinearDiode)
        else (np.nan,) * 4
        for m in d.models
    ]
    table = np.array(laws).reshape(-1, 4)
    device = np.flatnonzero(~np.isnan(table[d.model, 0]))
    threshold_v, on_ohm, off_ohm, bend_v = table[d.model[device]].T
    return PiecewiseLinearColumns(device=device, threshold_v=threshold_v, on_ohm=on_ohm, off_ohm=off_ohm, bend_v=bend_v)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Junctions:
    """The diodes of a circuit at its temperature.

    Args:
        level1: [n] index of the level-1 diodes; a slice where all are.
        i_s, n_vt, r_s: of those.
        piecewise: the others; None where there are none.
        gmin_s: S — across each level-1 junction.
    """

    level1: Indices | slice
    i_s: Floats
    n_vt: Floats
    r_s: Floats
    piecewise: PiecewiseLinearColumns | None
    gmin_s: float

    def current(self, v: Floats) -> tuple[Floats, Floats]:
        """Return current and small-signal conductance of every diode, series resistance included.

        Args:
            v: [batch, n_diodes] V — from anode to cathode.

        Returns:
            [batch, n_diodes] A and [batch, n_diodes] S.
        """
        own = v[:, self.level1]
        junction = junction_voltage(own, self.i_s, self.n_vt, self.r_s, self.gmin_s)
        current, slope = junction_current(junction, self.i_s, self.n_vt, self.gmin_s)
        conductance = slope / (1.0 + self.r_s * slope)
        if self.piecewise is None:
            return current, conductance
        all_current, all_conductance = np.empty_like(v), np.empty_like(v)
        all_current[:, self.level1], all_conductance[:, self.level1] = current, conductance
        device = self.piecewise.device
        all_current[:, device], all_conductance[:, device] = self.piecewise.current(v[:, device])
        return all_current, all_conductance

    def steepest(self, v: Floats, conductance: Floats, within_v: float | Floats) -> Floats:
        """Return the largest conductance that each diode has within a voltage error, [batch, n_diodes] S.

        A junction's is that at v. A piecewise-linear diode's jumps, so one that is just off counts as on.

        Args:
            v: [batch, n_diodes] V.
            conductance: [batch, n_diodes] S — at v.
            within_v: V — the error, one or [batch].
        """
        if self.piecewise is None:
            return conductance
        steepest, device = conductance.copy(), self.piecewise.device
        steepest[:, device] = self.piecewise.current(v[:, device] + np.reshape(within_v, (-1, 1)))[1]
        return steepest

    def cocontent(self, v: Floats) -> Floats:
        """Return the co-content of every diode, [batch, n_diodes] W.

        A diode with series resistance counts that of its junction plus R_s I^2 / 2: the minimum over its internal node.
        """
        own = v[:, self.level1]
        junction = junction_voltage(own, self.i_s, self.n_vt, self.r_s, self.gmin_s)
        current, _ = junction_current(junction, self.i_s, self.n_vt, self.gmin_s)
        each = junction_cocontent(junction, self.i_s, self.n_vt, self.gmin_s) + self.r_s * current**2 / 2
        if self.piecewise is None:
            return np.asarray(each)
        p, found = self.piecewise, np.empty_like(v)
        found[:, self.level1] = each
        found[:, p.device] = piecewise_linear_cocontent(v[:, p.device], p.threshold_v, p.on_ohm, p.off_ohm, p.bend_v)
        return found


def junctions(circuit: Circuit) -> Junctions:
    """Return the diodes of a circuit at its temperature."""
    i_s, n_vt, r_s = diode_columns(circuit)
    piecewise = piecewise_linear_columns(circuit)
    if not len(piecewise.device):
        return Junctions(level1=slice(None), i_s=i_s, n_vt=n_vt, r_s=r_s, piecewise=None, gmin_s=circuit.gmin_s)
    level1 = np.setdiff1d(np.arange(len(circuit.diodes)), piecewise.device)
    return Junctions(
        level1=level1,
        i_s=i_s[level1],
        n_vt=n_vt[level1],
        r_s=r_s[level1],
        piecewise=piecewise,
        gmin_s=circuit.gmin_s,
    )
