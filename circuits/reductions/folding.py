"""Folding (a): an ideal voltage source's row is known, so it becomes a current and a leak at each column.

A row at voltage x joined by g to column j draws g (v_j - x) from the column: a conductance g to ground and a Norton
current g x. Exact as long as the row is an ideal source to ground that touches nothing but linear resistors; a row
with a cubic one stays as it is.
"""

from dataclasses import dataclass, replace
from typing import final

import numpy as np
from scipy import sparse

from ..arrays import Floats, Indices, frozen_indices, no_floats
from ..circuit import GROUND, Circuit
from ..elements import CurrentSources, Resistors, VoltageSources, terminals
from ..kirchhoff import dense_if_filled, times_rows
from ..names import ChosenNames, JoinedNames
from .base import AbstractProgram, AbstractReduction


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Folding(AbstractReduction):
    """The wiring of a folded circuit.

    Args:
        circuit: the full circuit.
        folded_circuit: the reduced circuit.
        kept: [n_kept] index of the nodes that stay.
        folded_sources: [n_folded] index of the voltage sources folded away.
        kept_resistors: [n] index of the resistors that stay.
        row_resistors, row_source, row_column: [m] each resistor of a folded row, its source, and its column as an
            index into the new leaks and Norton currents.
        column_nodes: [n_columns] node of each new leak, an index into the full circuit.
    """

    circuit: Circuit
    folded_circuit: Circuit
    kept: Indices
    folded_sources: Indices
    kept_resistors: Indices
    row_resistors: Indices
    row_source: Indices
    row_column: Indices
    column_nodes: Indices

    @property
    def reduced(self) -> Circuit:
        """The circuit without the folded rows."""
        return self.folded_circuit

    @property
    def kept_nodes(self) -> Indices:
        """The nodes that stay."""
        return self.kept

    def conductances(self, conductance_s: Floats) -> Floats:
        """Return [n_reduced_resistors] S: what stays, then one leak a column."""
        leaks = np.bincount(self.row_column, conductance_s[self.row_resistors], len(self.column_nodes))
        return np.concatenate([conductance_s[self.kept_resistors], leaks])

    def program(self, conductance_s: Floats) -> "FoldedProgram":
        """Sum the leaks and prepare the map from source voltages to Norton currents."""
        norton = sparse.coo_array(
            (conductance_s[self.row_resistors], (self.row_column, self.row_source)),
            shape=(len(self.column_nodes), len(self.circuit.voltage_sources)),
        ).tocsr()
        return FoldedProgram(
            folding=self, folded_conductance_s=self.conductances(conductance_s), norton_s=dense_if_filled(norton)
        )


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FoldedProgram(AbstractProgram):
    """Folding with its conductances; norton_s is [n_columns, n_voltage_sources] S."""

    folding: Folding
    folded_conductance_s: Floats
    norton_s: Floats | sparse.csr_array

    @property
    def conductance_s(self) -> Floats:
        """[n_reduced_resistors] S."""
        return self.folded_conductance_s

    def applies_to(self, drives: Floats) -> bool:
        """Return True: any drive can be folded."""
        return bool(drives.shape[1] == self.folding.circuit.n_drives)

    def drives(self, drives: Floats) -> Floats:
        """Return the driven sources that stay, then the Norton currents g x."""
        full = self.folding.circuit
        voltage_v, _ = full.source_values(drives)
        stays = ~np.isin(full.driven_voltage_sources, self.folding.folded_sources)
        columns = np.concatenate([stays, np.ones(len(full.driven_current_sources), dtype=bool)])
        return np.concatenate([drives[:, columns], times_rows(self.norton_s, voltage_v)], axis=1)

    def expand(self, drives: Floats, voltage_v: Floats) -> Floats:
        """Put the rows back at the voltages of their sources."""
        full = self.folding.circuit
        sources, _ = full.source_values(drives)
        expanded = np.zeros((len(voltage_v), full.n_nodes))
        expanded[:, self.folding.kept] = voltage_v
        folded = self.folding.folded_sources
        expanded[:, full.voltage_sources.plus[folded]] = sources[:, folded]
        return expanded

    def restrict(self, voltage_v: Floats) -> Floats:
        """Leave the rows out."""
        return voltage_v[:, self.folding.kept]


def _foldable_sources(circuit: Circuit) -> Indices:
    """Return the sources to ground whose node touches nothing but linear resistors."""
    sources = circuit.voltage_sources
    busy = np.zeros(circuit.n_nodes, dtype=np.int64)
    for group in circuit.groups:
        if not isinstance(group, Resistors):
            for column in terminals(group):
                busy += np.bincount(column, minlength=circuit.n_nodes)
    for column in terminals(circuit.resistors):
        busy += np.bincount(column[circuit.resistors.cubic], minlength=circuit.n_nodes)
    alone = (busy[sources.plus] == 1) & (sources.minus == GROUND) & (sources.plus != GROUND)
    return np.flatnonzero(alone)


def fold(circuit: Circuit) -> Folding | None:
    """Fold every ideal voltage-driven row of a circuit.

    Args:
        circuit: the full circuit.

    Returns:
        the folding, or None where no row can be folded.
    """
    folded = _foldable_sources(circuit)
    r, sources = circuit.resistors, circuit.voltage_sources
    source_of_node = np.full(circuit.n_nodes, -1)
    source_of_node[sources.plus[folded]] = folded
    a_folded, b_folded = source_of_node[r.a] >= 0, source_of_node[r.b] >= 0
    row = np.where(a_folded, r.a, r.b)
    column = np.where(a_folded, r.b, r.a)
    acts = (a_folded ^ b_folded) & (column != GROUND)
    if not acts.any():
        return None
    row_resistors = np.flatnonzero(acts)
    column_nodes, row_column = np.unique(column[acts], return_inverse=True)
    kept_nodes = np.flatnonzero(source_of_node < 0)
    new_index = np.full(circuit.n_nodes, -1)
    new_index[kept_nodes] = np.arange(len(kept_nodes))
    kept_resistors = np.flatnonzero(~a_folded & ~b_folded)
    kept_sources = np.setdiff1d(np.arange(len(sources)), folded)
    folding = Folding(
        circuit=circuit,
        folded_circuit=_folded_circuit(circuit, kept_nodes, new_index, kept_resistors, kept_sources, column_nodes),
        kept=frozen_indices(kept_nodes),
        folded_sources=frozen_indices(folded),
        kept_resistors=frozen_indices(kept_resistors),
        row_resistors=frozen_indices(row_resistors),
        row_source=frozen_indices(source_of_node[row[acts]]),
        row_column=frozen_indices(row_column),
        column_nodes=frozen_indices(column_nodes),
    )
    program = folding.program(r.conductance_s)
    own = folding.folded_circuit.with_conductances(program.conductance_s)
    currents = own.current_sources
    norton_a = np.concatenate([circuit.current_sources.current_a, program.norton_s @ sources.voltage_v])
    return replace(folding, folded_circuit=replace(own, current_sources=replace(currents, current_a=norton_a)))


def _folded_circuit(
    circuit: Circuit,
    kept_nodes: Indices,
    new_index: Indices,
    kept_resistors: Indices,
    kept_sources: Indices,
    column_nodes: Indices,
) -> Circuit:
    """Build the reduced circuit; its conductances are filled in by the caller."""
    r, d, v = circuit.resistors, circuit.diodes, circuit.voltage_sources
    i, c, amplifiers = circuit.current_sources, circuit.capacitors, circuit.amplifiers
    columns = [circuit.nodes[k] for k in column_nodes]
    n_columns = len(columns)
    return Circuit(
        name=circuit.name,
        nodes=tuple(circuit.nodes[k] for k in kept_nodes),
        labels=tuple(circuit.labels[k] for k in kept_nodes),
        resistors=Resistors(
            names=JoinedNames(
                [ChosenNames(names=r.names, places=kept_resistors), tuple(f"fold_{name}" for name in columns)]
            ),
            a=np.concatenate([new_index[r.a[kept_resistors]], new_index[column_nodes]]),
            b=np.concatenate([new_index[r.b[kept_resistors]], np.zeros(n_columns, dtype=np.int64)]),
            conductance_s=np.ones(len(kept_resistors) + n_columns),
            k3_per_v2=np.concatenate([r.k3_per_v2[kept_resistors], np.zeros(n_columns)])
            if circuit.has_cubic
            else no_floats(),
        ),
        diodes=replace(d, anode=new_index[d.anode], cathode=new_index[d.cathode]),
        voltage_sources=VoltageSources(
            names=tuple(v.names[k] for k in kept_sources),
            plus=new_index[v.plus[kept_sources]],
            minus=new_index[v.minus[kept_sources]],
            voltage_v=v.voltage_v[kept_sources],
            driven=v.driven[kept_sources],
        ),
        current_sources=CurrentSources(
            names=(*i.names, *(f"norton_{name}" for name in columns)),
            start=np.concatenate([new_index[i.start], np.zeros(n_columns, dtype=np.int64)]),
            end=np.concatenate([new_index[i.end], new_index[column_nodes]]),
            current_a=np.concatenate([i.current_a, np.zeros(n_columns)]),
            driven=np.concatenate([i.driven, np.ones(n_columns, dtype=bool)]),
        ),
        capacitors=replace(c, a=new_index[c.a], b=new_index[c.b]),
        amplifiers=replace(amplifiers, start=new_index[amplifiers.start], end=new_index[amplifiers.end]),
        temperature_k=circuit.temperature_k,
        gmin_s=circuit.gmin_s,
        k_over_q_v_per_k=circuit.k_over_q_v_per_k,
        active=circuit.active,
        equivalent=circuit.equivalent,
    )
