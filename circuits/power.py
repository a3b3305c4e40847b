"""Power of every element of a circuit from its node voltages: what is drawn, and where it goes.

At an operating point Tellegen's theorem makes the powers of all elements sum to zero. It holds of the circuit that is
built, not of a reduced one: folding replaces a row's own current by a Norton source, whose power nobody delivers.
"""

from dataclasses import dataclass
from typing import Final, final

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import spsolve

from .arrays import Floats
from .circuit import Circuit
from .cocontent import branch_voltages
from .kirchhoff import diode_currents, leaving_currents
from .topology import Topology, incidence_matrix

MOST_VALUES: Final = 1 << 22  # of one kind of element at a time: a block has up to 1e7 devices


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ElementPowers:
    """The power that every element absorbs; negative where it delivers.

    Args:
        resistor_w: [batch, n_resistors] W — g (dv^2 + k3 dv^4); negative of an active leak, g < 0.
        diode_w: [batch, n_diodes] W — I V at the terminals, series resistance and gmin included.
        voltage_source_w: [batch, n_voltage_sources] W.
        current_source_w: [batch, n_current_sources] W.
        amplifier_w: [batch, n_amplifiers] W — v_in i / A - v_out i, i what it delivers at its output.
    """

    resistor_w: Floats
    diode_w: Floats
    voltage_source_w: Floats
    current_source_w: Floats
    amplifier_w: Floats


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PowerBalance:
    """The power of each kind of element, none of them negative, [batch] W each.

    Args:
        voltage_sources_w: delivered by those voltage sources that deliver.
        current_sources_w: delivered by those current sources that deliver.
        active_w: delivered by active leaks, which take it from a supply.
        amplifiers_w: delivered by amplifiers, likewise.
        resistors_w: dissipated in resistors.
        diodes_w: dissipated in diodes.
        absorbed_w: absorbed by sources, rails that sink clamp currents above all: it is not given back, so it is heat.
    """

    voltage_sources_w: Floats
    current_sources_w: Floats
    active_w: Floats
    amplifiers_w: Floats
    resistors_w: Floats
    diodes_w: Floats
    absorbed_w: Floats

    @property
    def delivered_w(self) -> Floats:
        """[batch] W — all that is drawn from supplies."""
        return self.voltage_sources_w + self.current_sources_w + self.active_w + self.amplifiers_w

    @property
    def dissipated_w(self) -> Floats:
        """[batch] W — all that becomes heat, in sources that absorb too."""
        return self.resistors_w + self.diodes_w + self.absorbed_w

    @property
    def relative_error(self) -> Floats:
        """[batch] |delivered - dissipated| over the larger of both; 0 where no power flows."""
        larger = np.maximum(self.delivered_w, self.dissipated_w)
        difference = np.abs(self.delivered_w - self.dissipated_w)
        return np.asarray(difference / np.where(larger > 0, larger, 1.0))


def element_powers(topology: Topology, conductance_s: Floats, drives: Floats, voltage_v: Floats) -> ElementPowers:
    """Return the power that every element absorbs.

    Equation: P = v i in the passive sign convention; the current of a voltage source is what Kirchhoff's law leaves for
    it at its nodes. Capacitors carry no current at an operating point and are left out.

    Args:
        topology: the analysed circuit, unreduced.
        conductance_s: [n_resistors] S.
        drives: [batch, n_drives] V then A.
        voltage_v: [batch, n_nodes] V — the operating point, or any other state: capacitors then make up the difference.

    Source: Tellegen 1952.
    """
    circuit = topology.circuit
    r, d, i = circuit.resistors, circuit.diodes, circuit.current_sources
    source_v, source_a = circuit.source_values(drives)
    square = branch_voltages(r.a, r.b, voltage_v) ** 2
    resistor_w = square * conductance_s
    if circuit.has_cubic:
        resistor_w = resistor_w + square**2 * (conductance_s * r.k3_per_v2)
    diode_w = np.zeros((len(voltage_v), 0))
    if len(d):
        diode_a, _ = diode_currents(circuit, voltage_v)
        diode_w = diode_a * branch_voltages(d.anode, d.cathode, voltage_v)
    leaving = leaving_currents(circuit, conductance_s, drives, voltage_v)
    delivered_a = np.asarray((topology.current_path_matrix() @ leaving.T).T)
    return ElementPowers(
        resistor_w=resistor_w,
        diode_w=diode_w,
        voltage_source_w=-delivered_a * source_v,
        current_source_w=source_a * branch_voltages(i.start, i.end, voltage_v),
        amplifier_w=_amplifier_powers(circuit, leaving, delivered_a, voltage_v),
    )


def _amplifier_powers(circuit: Circuit, leaving_a: Floats, delivered_a: Floats, voltage_v: Floats) -> Floats:
    """Return the power that each amplifier absorbs, [batch, n_amplifiers] W.

    Equation: its output's current i_k is what leaves the node through everything else: resistors, diodes and sources,
    and i_j / A_j into each amplifier j whose input is there; (1 - M) i = the rest.

    Args:
        circuit: the circuit.
        leaving_a: [batch, n_nodes] A — through all but voltage sources and amplifiers.
        delivered_a: [batch, n_voltage_sources] A — by each voltage source at its plus node.
        voltage_v: [batch, n_nodes] V.
    """
    amplifiers, sources = circuit.amplifiers, circuit.voltage_sources
    if not len(amplifiers):
        return np.zeros((len(voltage_v), 0))
    rest = leaving_a - delivered_a @ incidence_matrix(circuit, sources.plus, sources.minus)
    n = len(amplifiers)
    output_at = np.full(circuit.n_nodes, -1)
    output_at[amplifiers.end] = np.arange(n)
    before = output_at[amplifiers.start]
    chained = np.flatnonzero(before >= 0)
    into = sparse.csc_array((1.0 / amplifiers.gain[chained], (before[chained], chained)), shape=(n, n))
    own = sparse.csc_array(sparse.eye_array(n, format="csc") - into)
    current_a = np.reshape(spsolve(own, rest[:, amplifiers.end].T), (n, -1)).T
    forward = voltage_v[:, amplifiers.end] * current_a
    return np.asarray(voltage_v[:, amplifiers.start] * current_a / amplifiers.gain - forward)


def power_balance(topology: Topology, conductance_s: Floats, drives: Floats, voltage_v: Floats) -> PowerBalance:
    """Return what is delivered and where it goes, each kind of element summed, sample by sample.

    Args:
        topology: the analysed circuit, unreduced.
        conductance_s: [n_resistors] S.
        drives: [batch, n_drives] V then A.
        voltage_v: [batch, n_nodes] V.
    """
    size = max(1, MOST_VALUES // max(1, len(topology.circuit.resistors)))
    parts = []
    for k in range(0, max(1, len(voltage_v)), size):
        p = element_powers(topology, conductance_s, drives[k : k + size], voltage_v[k : k + size])
        parts.append(
            (
                _delivered(p.voltage_source_w),
                _delivered(p.current_source_w),
                _delivered(p.resistor_w),
                _delivered(p.amplifier_w),
                _absorbed(p.resistor_w),
                p.diode_w.sum(axis=1),
                _absorbed(p.voltage_source_w) + _absorbed(p.current_source_w) + _absorbed(p.amplifier_w),
            )
        )
    table = np.concatenate([np.stack(part) for part in parts], axis=1)
    return PowerBalance(
        voltage_sources_w=table[0],
        current_sources_w=table[1],
        active_w=table[2],
        amplifiers_w=table[3],
        resistors_w=table[4],
        diodes_w=table[5],
        absorbed_w=table[6],
    )


def _delivered(power_w: Floats) -> Floats:
    return np.asarray(np.maximum(-power_w, 0.0).sum(axis=1))


def _absorbed(power_w: Floats) -> Floats:
    return np.asarray(np.maximum(power_w, 0.0).sum(axis=1))
