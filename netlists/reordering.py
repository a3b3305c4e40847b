"""Bring a circuit that was read into the order of the circuit that was written, and say where the two differ."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace

import numpy as np

from circuits.arrays import Indices, no_floats
from circuits.circuit import Circuit
from circuits.elements import Amplifiers, Capacitors, CurrentSources, Diodes, Elements, Resistors, VoltageSources

from .errors import NetlistError
from .lowering import spell


def reordered_like(circuit: Circuit, reference: Circuit) -> Circuit:
    """Return a circuit with the nodes, elements and models of a reference in its order, under its names.

    Values, wiring and the driven flags stay the circuit's own. What a deck does not say comes from the reference: the
    name of the circuit, the labels of the nodes, k/q, and whether it is a reduced (active) circuit.

    Args:
        circuit: from `read_deck`; its names are those of the reference as SPICE spells them.
        reference: what was written.

    Raises:
        NetlistError: if the two do not have the same nodes and elements.
    """

    def places(kind: str, names: Sequence[str], wanted: Sequence[str]) -> Indices:
        return _places(f"circuit '{reference.name}': {kind}", names, wanted)

    node = np.empty(circuit.n_nodes, dtype=np.int64)
    node[places("nodes", circuit.nodes, reference.nodes)] = np.arange(circuit.n_nodes)
    r, d, v, i, c = (
        circuit.resistors,
        circuit.diodes,
        circuit.voltage_sources,
        circuit.current_sources,
        circuit.capacitors,
    )
    amplifiers = circuit.amplifiers
    r_at, d_at, v_at, i_at, c_at, a_at = (
        places(_kind(group), group.names, wanted.names)
        for group, wanted in zip(circuit.groups, reference.groups, strict=True)
    )
    return replace(
        reference,
        resistors=Resistors(
            names=reference.resistors.names,
            a=node[r.a[r_at]],
            b=node[r.b[r_at]],
            conductance_s=r.conductance_s[r_at],
            k3_per_v2=r.k3_per_v2[r_at] if circuit.has_cubic else no_floats(),
        ),
        diodes=_with_models_of(
            Diodes(
                names=reference.diodes.names,
                anode=node[d.anode[d_at]],
                cathode=node[d.cathode[d_at]],
                model=d.model[d_at],
                models=d.models,
            ),
            reference.diodes,
        ),
        voltage_sources=VoltageSources(
            names=reference.voltage_sources.names,
            plus=node[v.plus[v_at]],
            minus=node[v.minus[v_at]],
            voltage_v=v.voltage_v[v_at],
            driven=v.driven[v_at],
        ),
        current_sources=CurrentSources(
            names=reference.current_sources.names,
            start=node[i.start[i_at]],
            end=node[i.end[i_at]],
            current_a=i.current_a[i_at],
            driven=i.driven[i_at],
        ),
        capacitors=Capacitors(
            names=reference.capacitors.names,
            a=node[c.a[c_at]],
            b=node[c.b[c_at]],
            capacitance_f=c.capacitance_f[c_at],
        ),
        amplifiers=Amplifiers(
            names=reference.amplifiers.names,
            start=node[amplifiers.start[a_at]],
            end=node[amplifiers.end[a_at]],
            gain=amplifiers.gain[a_at],
        ),
        temperature_k=circuit.temperature_k,
        gmin_s=circuit.gmin_s,
    )


def find_difference(circuit: Circuit, reference: Circuit) -> str | None:
    """Return the first difference of two circuits in the same order, bit by bit, in words; None where there is none.

    Args:
        circuit: from `reordered_like`.
        reference: what it is compared with.
    """
    return next(_differences(circuit, reference), None)


def _differences(circuit: Circuit, reference: Circuit) -> Iterator[str]:
    for name in ("nodes", "temperature_k", "gmin_s"):
        found, wanted = getattr(circuit, name), getattr(reference, name)
        if found != wanted:
            yield f"{name}: {found!r} instead of {wanted!r}"
    for group, other in zip(circuit.groups, reference.groups, strict=True):
        for column in (item.name for item in fields(group)):
            found, wanted = getattr(group, column), getattr(other, column)
            if isinstance(found, np.ndarray):
                yield from _differing_entries(group, other, column)
            elif found != wanted:
                yield f"{_kind(group)}: {column} differ"


def _differing_entries(group: Elements, reference: Elements, column: str) -> Iterator[str]:
    found, wanted = getattr(group, column), getattr(reference, column)
    if found.shape != wanted.shape:
        yield f"{_kind(group)}: {len(found)} instead of {len(wanted)}"
    elif found.tobytes() != wanted.tobytes():  # the sign of a zero counts
        differs = (found != wanted) | (np.signbit(found) != np.signbit(wanted))
        k = int(np.flatnonzero(differs)[0])
        yield f"{_kind(group)}: {column} of '{reference.names[k]}' is {found[k]!r} instead of {wanted[k]!r}"


def _kind(group: Elements) -> str:
    return {
        Resistors: "resistors",
        Diodes: "diodes",
        VoltageSources: "voltage sources",
        CurrentSources: "current sources",
        Capacitors: "capacitors",
        Amplifiers: "amplifiers",
    }[type(group)]


def _places(what: str, names: Sequence[str], wanted: Sequence[str]) -> Indices:
    """Return where each wanted name is among the names, as SPICE spells them."""
    at = {spell(name): k for k, name in enumerate(names)}
    places = [at.pop(spell(name), -1) for name in wanted]
    missing = [name for name, place in zip(wanted, places, strict=True) if place < 0]
    if missing or at:
        more = f"'{missing[0]}' is missing" if missing else f"'{next(iter(at))}' is too many"
        raise NetlistError(f"{what} differ from what was written: {more} ({len(missing)} missing, {len(at)} too many)")
    return np.array(places, dtype=np.int64)


def _with_models_of(diodes: Diodes, reference: Diodes) -> Diodes:
    """Return diodes that point into the reference's table of models, where it has theirs; others follow in it."""
    table = list(reference.models)
    wanted = reference.model.tolist()
    at = {model: k for k, model in reversed(list(enumerate(table)))}
    model = []
    for own, place in zip(diodes.model.tolist(), wanted, strict=True):
        parameters = diodes.models[own]
        if parameters == reference.models[place]:
            model.append(place)
            continue
        if parameters not in at:
            at[parameters] = len(table)
            table.append(parameters)
        model.append(at[parameters])
    return replace(diodes, model=np.array(model, dtype=np.int64), models=tuple(table))
