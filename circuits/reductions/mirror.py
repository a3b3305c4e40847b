"""Mirror (c): a circuit that maps to itself under p <-> n with all voltages negated needs only its p half.

With devices matched in pairs, mirrored rails and antisymmetric drives v_n = -v_p. A resistor g between p and another
unit's n then acts on the p half as a resistor -g between the two p nodes and a leak 2 g at both ends, so a weight
becomes G+ - G- (which may be negative) and leaks of 2 G-. Any mismatch breaks it, and then it says so. A cubic law
between p and n' acts on v + v', not on v - v', which no resistor of the half does: with one there is no mirror.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from scipy import sparse

from ..arrays import Flags, Floats, Indices, frozen_indices
from ..circuit import GROUND, Circuit
from ..elements import Amplifiers, CurrentSources, Diodes, Resistors, VoltageSources
from ..names import JoinedNames, NumberedNames
from .base import AbstractProgram, AbstractReduction


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Mirror(AbstractReduction):
    """The wiring of the p half.

    Args:
        circuit: the full circuit.
        half: the reduced circuit.
        sign: [n_nodes] +1 for a kept node, -1 for its image, 0 for ground.
        representative: [n_nodes] index of the node's representative in the half circuit.
        kept: [n_half_nodes] index of each half node in the full circuit.
        resistor_mate: [n_resistors] the image of each resistor; a matched pair has equal conductances.
        conductance_map: [n_half_resistors, n_resistors] half conductances from full ones.
        kept_drives, drive_mate: [n_half_drives] driven sources of the half, and their images, as drive columns.
    """

    circuit: Circuit
    half: Circuit
    sign: Indices
    representative: Indices
    kept: Indices
    resistor_mate: Indices
    conductance_map: sparse.csr_array
    kept_drives: Indices
    drive_mate: Indices

    @property
    def reduced(self) -> Circuit:
        """The p half."""
        return self.half

    @property
    def kept_nodes(self) -> Indices:
        """The p nodes, and ground."""
        return self.kept

    def program(self, conductance_s: Floats) -> "MirroredProgram | None":
        """Combine pairs of conductances; None where a pair is not matched exactly."""
        if not np.array_equal(conductance_s, conductance_s[self.resistor_mate]):
            return None
        return MirroredProgram(mirror=self, half_conductance_s=self.conductance_map @ conductance_s)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class MirroredProgram(AbstractProgram):
    """A mirror with its conductances."""

    mirror: Mirror
    half_conductance_s: Floats

    @property
    def conductance_s(self) -> Floats:
        """[n_half_resistors] S; may be negative."""
        return self.half_conductance_s

    def applies_to(self, drives: Floats) -> bool:
        """Return whether each driven pair has opposite values in every sample."""
        return bool(np.array_equal(drives[:, self.mirror.kept_drives], -drives[:, self.mirror.drive_mate]))

    def drives(self, drives: Floats) -> Floats:
        """Return the p half's drives."""
        return drives[:, self.mirror.kept_drives]

    def expand(self, drives: Floats, voltage_v: Floats) -> Floats:  # noqa: ARG002  folding needs the drives
        """Return v_p and v_n = -v_p."""
        return voltage_v[:, self.mirror.representative] * self.mirror.sign

    def restrict(self, voltage_v: Floats) -> Floats:
        """Return v_p."""
        return voltage_v[:, self.mirror.kept]


Keys = Sequence[Indices | Flags]  # columns that together tell a device's place


def _one_number(keys: Keys, sizes: list[int]) -> Indices:
    """Return key columns as digits of one number, which sorts faster and in less memory."""
    number = np.zeros(len(keys[0]), dtype=np.int64)
    for column, size in zip(keys, sizes, strict=True):
        number = number * size + column
    return number


def _mates(keys: Keys, image_keys: Keys) -> Indices | None:
    """Match each row of key columns with the row whose keys equal its image; None where one has no match."""
    sizes = [int(max(k.max(initial=0), i.max(initial=0))) + 1 for k, i in zip(keys, image_keys, strict=True)]
    key, image_key = _one_number(keys, sizes), _one_number(image_keys, sizes)
    order, image_order = np.argsort(key, kind="stable"), np.argsort(image_key, kind="stable")
    if not np.array_equal(key[order], image_key[image_order]):
        return None
    mates = np.empty(len(key), dtype=np.int64)
    mates[image_order] = order
    return mates


def _ends(a: Indices, b: Indices) -> tuple[Indices, Indices]:
    """Return the ends of devices that may be turned round, the smaller one first."""
    return np.minimum(a, b), np.maximum(a, b)


def _half_side(sign: Indices, *columns: Indices) -> Indices | None:
    """Return which two-terminal devices lie in the p half; None where one spans both halves."""
    sides = np.stack([sign[column] for column in columns])
    positive, negative = (sides > 0).any(axis=0), (sides < 0).any(axis=0)
    return None if (positive & negative).any() else np.flatnonzero(positive)


def _half_conductances(
    circuit: Circuit, sign: Indices, representative: Indices, mate: Indices
) -> tuple[Resistors, sparse.csr_array]:
    """Return the half circuit's resistors and the map of their conductances."""
    r = circuit.resistors
    chosen = np.flatnonzero(np.arange(len(r)) <= mate)
    a, b = representative[r.a[chosen]], representative[r.b[chosen]]
    relation = sign[r.a[chosen]] * sign[r.b[chosen]]
    joins = (relation != 0) & (a != b)
    crossed = relation < 0
    n_half = int(representative.max()) + 1
    edge_keys, edge = np.unique(
        np.minimum(a[joins], b[joins]) * n_half + np.maximum(a[joins], b[joins]), return_inverse=True
    )
    leak_end = np.concatenate([np.where(a == GROUND, b, a)[relation == 0], a[crossed], b[crossed & joins]])
    leak_from = np.concatenate([chosen[relation == 0], chosen[crossed], chosen[crossed & joins]])
    leak_factor = np.concatenate(
        [np.ones((relation == 0).sum()), np.full(crossed.sum() + (crossed & joins).sum(), 2.0)]
    )
    leak_nodes, leak = np.unique(leak_end, return_inverse=True)
    n_edges, n_leaks = len(edge_keys), len(leak_nodes)
    matrix = sparse.coo_array(
        (
            np.concatenate([relation[joins].astype(float), leak_factor]),
            (np.concatenate([edge, n_edges + leak]), np.concatenate([chosen[joins], leak_from])),
        ),
        shape=(n_edges + n_leaks, len(r)),
    ).tocsr()
    start, end = edge_keys // n_half, edge_keys % n_half
    resistors = Resistors(
        names=JoinedNames([NumberedNames(prefix="net_", n=n_edges), NumberedNames(prefix="leak_", n=n_leaks)]),
        a=np.concatenate([start, leak_nodes]),
        b=np.concatenate([end, np.zeros(n_leaks, dtype=np.int64)]),
        conductance_s=matrix @ r.conductance_s,
    )
    return resistors, matrix


def mirror(circuit: Circuit, image: Indices) -> Mirror | None:
    """Reduce a circuit to one half of its mirror symmetry.

    Args:
        circuit: the full circuit.
        image: [n_nodes] index of each node's mirror image; ground is its own.

    Returns:
        the mirror, or None where the wiring, the diodes, the amplifiers or the constant sources are not symmetric, or
        where a resistor is not linear.
    """
    if circuit.has_cubic:
        return None
    n = circuit.n_nodes
    nodes = np.arange(n)
    if not np.array_equal(image[image], nodes) or (image[1:] == nodes[1:]).any() or image[GROUND] != GROUND:
        return None
    sign = np.where(nodes == GROUND, 0, np.where(nodes < image, 1, -1))
    kept = np.flatnonzero(sign >= 0)
    half_index = np.full(n, -1)
    half_index[kept] = np.arange(len(kept))
    representative = half_index[np.minimum(nodes, image)]
    r, d, v, i = circuit.resistors, circuit.diodes, circuit.voltage_sources, circuit.current_sources
    resistor_mate = _mates(_ends(r.a, r.b), _ends(image[r.a], image[r.b]))
    diode_mate = _mates((d.anode, d.cathode, d.model), (image[d.cathode], image[d.anode], d.model))
    source_mate = _mates((v.plus, v.minus, v.driven), (image[v.plus], image[v.minus], v.driven))
    current_mate = _mates((i.start, i.end, i.driven), (image[i.start], image[i.end], i.driven))
    amplifiers = circuit.amplifiers
    gains = np.unique(amplifiers.gain, return_inverse=True)[1]
    amplifier_ends = amplifiers.start, amplifiers.end
    amplifier_mate = _mates((*amplifier_ends, gains), (*(image[end] for end in amplifier_ends), gains))
    half_amplifiers = _half_side(sign, *amplifier_ends)
    half_diodes = _half_side(sign, d.anode, d.cathode)
    half_sources = _half_side(sign, v.plus, v.minus)
    half_currents = _half_side(sign, i.start, i.end)
    if resistor_mate is None or diode_mate is None or source_mate is None or current_mate is None:
        return None
    if amplifier_mate is None or half_amplifiers is None:
        return None
    if half_diodes is None or half_sources is None or half_currents is None or len(circuit.capacitors):
        return None
    constant_v, constant_i = ~v.driven, ~i.driven
    if not np.array_equal(v.voltage_v[constant_v], -v.voltage_v[source_mate][constant_v]):
        return None
    if not np.array_equal(i.current_a[constant_i], -i.current_a[current_mate][constant_i]):
        return None
    resistors, conductance_map = _half_conductances(circuit, sign, representative, resistor_mate)
    half = Circuit(
        name=circuit.name,
        nodes=tuple(circuit.nodes[k] for k in kept),
        labels=tuple(circuit.labels[k] for k in kept),
        resistors=resistors,
        diodes=Diodes(
            names=tuple(d.names[k] for k in half_diodes),
            anode=representative[d.anode[half_diodes]],
            cathode=representative[d.cathode[half_diodes]],
            model=d.model[half_diodes],
            models=d.models,
        ),
        voltage_sources=VoltageSources(
            names=tuple(v.names[k] for k in half_sources),
            plus=representative[v.plus[half_sources]],
            minus=representative[v.minus[half_sources]],
            voltage_v=v.voltage_v[half_sources],
            driven=v.driven[half_sources],
        ),
        current_sources=CurrentSources(
            names=tuple(i.names[k] for k in half_currents),
            start=representative[i.start[half_currents]],
            end=representative[i.end[half_currents]],
            current_a=i.current_a[half_currents],
            driven=i.driven[half_currents],
        ),
        amplifiers=Amplifiers(
            names=tuple(amplifiers.names[k] for k in half_amplifiers),
            start=representative[amplifiers.start[half_amplifiers]],
            end=representative[amplifiers.end[half_amplifiers]],
            gain=amplifiers.gain[half_amplifiers],
        ),
        temperature_k=circuit.temperature_k,
        gmin_s=circuit.gmin_s,
        k_over_q_v_per_k=circuit.k_over_q_v_per_k,
        active=True,
        equivalent=True,
    )
    kept_drives, drive_mate = _drive_columns(circuit, half_sources, source_mate, half_currents, current_mate)
    return Mirror(
        circuit=circuit,
        half=half,
        sign=frozen_indices(sign),
        representative=frozen_indices(representative),
        kept=frozen_indices(kept),
        resistor_mate=frozen_indices(resistor_mate),
        conductance_map=conductance_map,
        kept_drives=frozen_indices(kept_drives),
        drive_mate=frozen_indices(drive_mate),
    )


def _drive_columns(
    circuit: Circuit, half_sources: Indices, source_mate: Indices, half_currents: Indices, current_mate: Indices
) -> tuple[Indices, Indices]:
    """Return the drive columns of the half circuit and of their images."""
    v_column = np.full(len(circuit.voltage_sources), -1)
    v_column[circuit.driven_voltage_sources] = np.arange(len(circuit.driven_voltage_sources))
    i_column = np.full(len(circuit.current_sources), -1)
    i_column[circuit.driven_current_sources] = len(circuit.driven_voltage_sources) + np.arange(
        len(circuit.driven_current_sources)
    )
    kept = np.concatenate([v_column[half_sources], i_column[half_currents]])
    mates = np.concatenate([v_column[source_mate[half_sources]], i_column[current_mate[half_currents]]])
    return kept[kept >= 0], mates[kept >= 0]
