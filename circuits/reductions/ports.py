"""Ports (b): nodes that touch linear resistors only are eliminated; what is left of them joins their ports.

```
v_i = -G_ii^-1 G_ip v_p        G_eq = G_pp - G_pi G_ii^-1 G_ip        i: inside, p: ports
```
Each connected part of the inside is a network of its own, as is a tile of a crossbar with wires; between every two of
its ports lies the conductance -G_eq. Ground may be a port. Exact as long as everything inside is linear.

One sparse factorisation does both. With the ports last, the last block of L times that of U is G_eq, and a solution
for the currents [0, G_eq v_p] has v_i in it. A part by itself has no path to ground, so each port gets one of its own
size, which G_eq' = G_eq + shift has, too. Solving for each port in turn instead took ten times as long.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import SuperLU, splu

from ..arrays import Flags, Floats, Indices, frozen_indices
from ..circuit import GROUND, Circuit
from ..elements import Resistors, terminals
from ..names import ChosenNames, JoinedNames, NumberedNames
from .base import AbstractProgram, AbstractReduction

SOLVED_BYTES = 1 << 23  # of currents at a time: more no longer stays near the processor, and takes a quarter longer
SYMMETRIC = {"SymmetricMode": True}


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Part:
    """A connected part of the inside, with its ports.

    Args:
        inside: [n_inside] nodes, in the order in which they are eliminated.
        ports: [n_ports] nodes.
        resistors: [n] those that touch the inside.
        a, b: [n] their ends, as places among the inside and then the ports.
    """

    inside: Indices
    ports: Indices
    resistors: Indices
    a: Indices
    b: Indices

    @property
    def edges(self) -> tuple[Indices, Indices]:
        """Every pair of ports, the first before the second, as places among the ports."""
        return np.triu_indices(len(self.ports), k=1)

    def factor(self, conductance_s: Floats) -> "FactoredPart":
        """Factor the part's matrix, given the conductances of the whole circuit."""
        n, n_inside = len(self.inside) + len(self.ports), len(self.inside)
        g = conductance_s[self.resistors]
        diagonal = np.bincount(self.a, g, n) + np.bincount(self.b, g, n)
        shift = diagonal[n_inside:].copy()
        diagonal[n_inside:] += shift
        every = np.arange(n)
        rows, columns = np.concatenate([every, self.a, self.b]), np.concatenate([every, self.b, self.a])
        matrix = sparse.coo_array((np.concatenate([diagonal, -g, -g]), (rows, columns)), shape=(n, n)).tocsc()
        lu = splu(matrix, permc_spec="NATURAL", diag_pivot_thresh=0.0, options=SYMMETRIC)
        last = (lu.L[n_inside:, n_inside:] @ lu.U[n_inside:, n_inside:]).toarray()
        # SuperLU may swap nodes that do not depend on one another, ports never with the inside: all ports hang on it.
        equivalent = last[np.ix_(lu.perm_r[n_inside:] - n_inside, lu.perm_c[n_inside:] - n_inside)]
        return FactoredPart(part=self, lu=lu, shifted_s=(equivalent + equivalent.T) / 2.0)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class FactoredPart:
    """A part with its conductances.

    Args:
        part: its wiring.
        lu: factors of its matrix, with a conductance to ground at every port.
        shifted_s: [n_ports, n_ports] S — G_eq with those conductances.
    """

    part: Part
    lu: SuperLU
    shifted_s: Floats

    def joining(self) -> Floats:
        """Return the equivalent conductance of each edge, S; rounding may leave a tiny negative one."""
        return -self.shifted_s[self.part.edges]

    def inside(self, port_v: Floats) -> Floats:
        """Return the voltages inside, [n_inside, batch] V, for [n_ports, batch] V."""
        n_inside, batch = len(self.part.inside), port_v.shape[1]
        n = n_inside + len(port_v)
        size = max(1, SOLVED_BYTES // (8 * n))
        found = np.empty((n_inside, batch), order="F")
        for k in range(0, batch, size):
            chunk = port_v[:, k : k + size]
            currents = np.zeros((n, chunk.shape[1]), order="F")
            currents[n_inside:] = self.shifted_s @ chunk
            found[:, k : k + size] = self.lu.solve(currents)[:n_inside]
        return found


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ports(AbstractReduction):
    """The wiring of a circuit without its inside.

    Args:
        circuit: the full circuit.
        port_circuit: the reduced circuit.
        kept: [n_kept] index of the nodes that stay.
        kept_resistors: [n] index of the resistors that stay.
        parts: what is eliminated.
        edge: the reduced circuit's edge that each edge of a part adds to, part by part.
        n_edges: number of the reduced circuit's edges.
    """

    circuit: Circuit
    port_circuit: Circuit
    kept: Indices
    kept_resistors: Indices
    parts: tuple[Part, ...]
    edge: Indices
    n_edges: int

    @property
    def reduced(self) -> Circuit:
        """The circuit of the nodes that stay, with an equivalent conductance between every two ports of a part."""
        return self.port_circuit

    @property
    def kept_nodes(self) -> Indices:
        """The nodes that stay."""
        return self.kept

    def program(self, conductance_s: Floats) -> "PortProgram | None":
        """Factor every part; None where a conductance that touches the inside is not above zero."""
        touching = np.ones(len(self.circuit.resistors), dtype=bool)
        touching[self.kept_resistors] = False
        inside_s = conductance_s[touching]
        if not (np.isfinite(inside_s).all() and (inside_s > 0).all()):
            return None
        parts = tuple(part.factor(conductance_s) for part in self.parts)
        joining = np.concatenate([np.zeros(0), *(part.joining() for part in parts)])
        edges = np.bincount(self.edge, joining, self.n_edges)
        return PortProgram(
            reduction=self, parts=parts, port_conductance_s=np.concatenate([conductance_s[self.kept_resistors], edges])
        )


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PortProgram(AbstractProgram):
    """A port reduction with its conductances."""

    reduction: Ports
    parts: tuple[FactoredPart, ...]
    port_conductance_s: Floats

    @property
    def conductance_s(self) -> Floats:
        """[n_reduced_resistors] S: what stays, then one an edge."""
        return self.port_conductance_s

    def applies_to(self, drives: Floats) -> bool:
        """Return True: no drive acts inside."""
        return bool(drives.shape[1] == self.reduction.circuit.n_drives)

    def drives(self, drives: Floats) -> Floats:
        """Return the drives as they are."""
        return drives

    def expand(self, drives: Floats, voltage_v: Floats) -> Floats:
        """Recover the inside from the ports."""
        expanded = self.expand_ports(drives, voltage_v)
        for part in self.parts:
            expanded[:, part.part.inside] = part.inside(expanded[:, part.part.ports].T).T
        return expanded

    def expand_ports(self, drives: Floats, voltage_v: Floats) -> Floats:  # noqa: ARG002  folding needs the drives
        """Return the voltages of the nodes that stayed, and NaN inside."""
        expanded = np.full((len(voltage_v), self.reduction.circuit.n_nodes), np.nan)
        expanded[:, self.reduction.kept] = voltage_v
        return expanded

    def restrict(self, voltage_v: Floats) -> Floats:
        """Leave the inside out."""
        return voltage_v[:, self.reduction.kept]


def ports(circuit: Circuit, inside: Indices) -> Ports | None:
    """Reduce a circuit to the ports of networks of linear resistors.

    Args:
        circuit: the full circuit.
        inside: [n] nodes to eliminate; those that touch anything but resistors stay.

    Returns:
        the reduction, or None where no node can be eliminated or a resistor inside is not linear.
    """
    is_inside = _eliminable(circuit, inside)
    r = circuit.resistors
    touching = np.flatnonzero(is_inside[r.a] | is_inside[r.b])
    if not len(touching) or (circuit.has_cubic and r.k3_per_v2[touching].any()):
        return None
    parts = tuple(_split(circuit, is_inside, touching))
    if not parts:
        return None
    is_kept, is_kept_resistor = np.ones(circuit.n_nodes, dtype=bool), np.ones(len(r), dtype=bool)
    for part in parts:
        is_kept[part.inside] = False
        is_kept_resistor[part.resistors] = False
    kept, kept_resistors = np.flatnonzero(is_kept), np.flatnonzero(is_kept_resistor)
    edges = [part.ports[np.stack(part.edges)] for part in parts]
    ends = np.concatenate(edges, axis=1)
    keys, edge = np.unique(ends[0] * circuit.n_nodes + ends[1], return_inverse=True)
    reduction = Ports(
        circuit=circuit,
        port_circuit=_port_circuit(circuit, kept, kept_resistors, keys // circuit.n_nodes, keys % circuit.n_nodes),
        kept=frozen_indices(kept),
        kept_resistors=frozen_indices(kept_resistors),
        parts=parts,
        edge=frozen_indices(edge),
        n_edges=len(keys),
    )
    program = reduction.program(r.conductance_s)
    if program is None:
        return None
    return replace(reduction, port_circuit=reduction.port_circuit.with_conductances(program.conductance_s))


def _eliminable(circuit: Circuit, inside: Indices) -> Flags:
    """Return which of the given nodes touch nothing but resistors, [n_nodes]."""
    eliminable = np.zeros(circuit.n_nodes, dtype=bool)
    eliminable[inside] = True
    eliminable[GROUND] = False
    for group in circuit.groups:
        if not isinstance(group, Resistors):
            for column in terminals(group):
                eliminable[column] = False
    return eliminable


def _split(circuit: Circuit, is_inside: Flags, touching: Indices) -> Iterator[Part]:
    """Split the inside into its connected parts; one without a port floats, and is left for validation to name."""
    a, b = circuit.resistors.a[touching], circuit.resistors.b[touching]
    within = is_inside[a] & is_inside[b]
    graph = sparse.coo_array((np.ones(within.sum()), (a[within], b[within])), shape=(circuit.n_nodes,) * 2)
    _, label = connected_components(graph, directed=False)
    of_resistor = label[np.where(is_inside[a], a, b)]
    order = np.argsort(of_resistor, kind="stable")
    starts = np.flatnonzero(np.diff(of_resistor[order], prepend=-1))
    place = np.full(circuit.n_nodes, -1)
    for members in np.split(order, starts[1:]):
        nodes = np.unique(np.concatenate([a[members], b[members]]))
        inside, outside = nodes[is_inside[nodes]], nodes[~is_inside[nodes]]
        if not len(outside):
            continue
        place[inside], place[outside] = np.arange(len(inside)), len(inside) + np.arange(len(outside))
        rank = np.concatenate([_elimination_rank(place[a[members]], place[b[members]], len(inside)), place[outside]])
        ordered = np.empty_like(inside)
        ordered[rank[: len(inside)]] = inside
        yield Part(
            inside=frozen_indices(ordered),
            ports=frozen_indices(outside),
            resistors=frozen_indices(touching[members]),
            a=frozen_indices(rank[place[a[members]]]),
            b=frozen_indices(rank[place[b[members]]]),
        )


def _elimination_rank(a: Indices, b: Indices, n_inside: int) -> Indices:
    """Return the place of each inside node in an order that keeps factors sparse (multiple minimum degree).

    Args:
        a: [n] first end of the resistors; n_inside and beyond are ports.
        b: [n] second end, likewise.
        n_inside: number of inside nodes.
    """
    diagonal = np.bincount(a, minlength=n_inside)[:n_inside] + np.bincount(b, minlength=n_inside)[:n_inside]
    within = (a < n_inside) & (b < n_inside)
    one_way = sparse.coo_array((np.ones(within.sum()), (a[within], b[within])), shape=(n_inside, n_inside)).tocsc()
    matrix = (sparse.diags_array(diagonal.astype(float)) - one_way - one_way.T).tocsc()
    return np.asarray(splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options=SYMMETRIC).perm_c)


def _port_circuit(circuit: Circuit, kept: Indices, kept_resistors: Indices, start: Indices, end: Indices) -> Circuit:
    """Build the reduced circuit; its conductances are filled in by the caller."""
    new_index = np.full(circuit.n_nodes, -1)
    new_index[kept] = np.arange(len(kept))
    r, d, v = circuit.resistors, circuit.diodes, circuit.voltage_sources
    i, c, amplifiers = circuit.current_sources, circuit.capacitors, circuit.amplifiers
    n = len(start)
    return replace(
        circuit,
        nodes=tuple(circuit.nodes[k] for k in kept),
        labels=tuple(circuit.labels[k] for k in kept),
        resistors=Resistors(
            names=JoinedNames([ChosenNames(names=r.names, places=kept_resistors), NumberedNames(prefix="ports_", n=n)]),
            a=new_index[np.concatenate([r.a[kept_resistors], start])],
            b=new_index[np.concatenate([r.b[kept_resistors], end])],
            conductance_s=np.ones(len(kept_resistors) + n),
            k3_per_v2=np.concatenate([r.k3_per_v2[kept_resistors], np.zeros(n)]) if circuit.has_cubic else r.k3_per_v2,
        ),
        diodes=replace(d, anode=new_index[d.anode], cathode=new_index[d.cathode]),
        voltage_sources=replace(v, plus=new_index[v.plus], minus=new_index[v.minus]),
        current_sources=replace(i, start=new_index[i.start], end=new_index[i.end]),
        capacitors=replace(c, a=new_index[c.a], b=new_index[c.b]),
        amplifiers=replace(amplifiers, start=new_index[amplifiers.start], end=new_index[amplifiers.end]),
        active=True,
        equivalent=True,
    )
