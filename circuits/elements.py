"""Elements of a circuit as arrays: one structure of arrays per kind, one entry per device."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np

from .arrays import (
    Flags,
    Floats,
    Indices,
    frozen_flags,
    frozen_floats,
    frozen_indices,
    no_flags,
    no_floats,
    no_indices,
)
from .diode import DiodeModel
from .errors import CircuitError
from .names import AbstractNames
from .piecewise_linear_diode import PiecewiseLinearDiode


def _check_lengths(kind: str, **columns: int) -> None:
    if len(set(columns.values())) > 1:
        sizes = ", ".join(f"{name} has {size}" for name, size in columns.items())
        raise CircuitError(f"{kind}: every column needs one entry per device, but {sizes}")


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Resistors:
    """Conductances, linear or with a cubic current law.

    Equation: I = g (V + k3 V^3).

    Args:
        names: [n] device names: a tuple, or names computed when they are asked for (circuits.names).
        a: [n] index of the first node.
        b: [n] index of the second node.
        conductance_s: [n] S — g.
        k3_per_v2: [n] 1/V^2 — k3; empty where every resistor is linear, and a column of zeros becomes empty.
    """

    names: Sequence[str] = ()
    a: Indices = field(default_factory=no_indices)
    b: Indices = field(default_factory=no_indices)
    conductance_s: Floats = field(default_factory=no_floats)
    k3_per_v2: Floats = field(default_factory=no_floats)

    def __post_init__(self) -> None:
        if not isinstance(self.names, AbstractNames):
            object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "a", frozen_indices(self.a))
        object.__setattr__(self, "b", frozen_indices(self.b))
        object.__setattr__(self, "conductance_s", frozen_floats(self.conductance_s))
        columns = {"names": len(self.names), "a": len(self.a), "b": len(self.b), "value": len(self.conductance_s)}
        if len(self.k3_per_v2):
            columns["k3_per_v2"] = len(self.k3_per_v2)
        _check_lengths("resistors", **columns)
        object.__setattr__(self, "k3_per_v2", frozen_floats(self.k3_per_v2) if np.any(self.k3_per_v2) else no_floats())

    def __len__(self) -> int:
        return len(self.names)

    @property
    def cubic(self) -> Indices:
        """[n] index of the resistors that are not linear."""
        return np.flatnonzero(self.k3_per_v2)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Diodes:
    """Diodes, level-1 or piecewise-linear, each pointing into a short table of models.

    Args:
        names: [n] device names.
        anode: [n] node index.
        cathode: [n] node index.
        model: [n] index into models.
        models: the distinct parameter sets.
    """

    names: tuple[str, ...] = ()
    anode: Indices = field(default_factory=no_indices)
    cathode: Indices = field(default_factory=no_indices)
    model: Indices = field(default_factory=no_indices)
    models: tuple[DiodeModel | PiecewiseLinearDiode, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "anode", frozen_indices(self.anode))
        object.__setattr__(self, "cathode", frozen_indices(self.cathode))
        object.__setattr__(self, "model", frozen_indices(self.model))
        _check_lengths(
            "diodes", names=len(self.names), anode=len(self.anode), cathode=len(self.cathode), model=len(self.model)
        )
        if len(self.model) and not (self.model.min() >= 0 and self.model.max() < len(self.models)):
            raise CircuitError(f"diodes: a device points to a model outside the table of {len(self.models)}")

    def __len__(self) -> int:
        return len(self.names)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class VoltageSources:
    """Ideal voltage sources, v(plus) - v(minus) = voltage_v.

    Args:
        names: [n] device names.
        plus: [n] node index.
        minus: [n] node index.
        voltage_v: [n] V; for a driven source the value that a standalone deck gets.
        driven: [n] True where the value comes with each sample.
    """

    names: tuple[str, ...] = ()
    plus: Indices = field(default_factory=no_indices)
    minus: Indices = field(default_factory=no_indices)
    voltage_v: Floats = field(default_factory=no_floats)
    driven: Flags = field(default_factory=no_flags)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "plus", frozen_indices(self.plus))
        object.__setattr__(self, "minus", frozen_indices(self.minus))
        object.__setattr__(self, "voltage_v", frozen_floats(self.voltage_v))
        object.__setattr__(self, "driven", frozen_flags(self.driven))
        _check_lengths(
            "voltage sources",
            names=len(self.names),
            plus=len(self.plus),
            minus=len(self.minus),
            value=len(self.voltage_v),
            driven=len(self.driven),
        )

    def __len__(self) -> int:
        return len(self.names)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class CurrentSources:
    """Ideal current sources that push current_a through themselves from node `start` into node `end`.

    Args:
        names: [n] device names.
        start: [n] node index that the current leaves.
        end: [n] node index that the current enters.
        current_a: [n] A; for a driven source the value that a standalone deck gets.
        driven: [n] True where the value comes with each sample.
    """

    names: tuple[str, ...] = ()
    start: Indices = field(default_factory=no_indices)
    end: Indices = field(default_factory=no_indices)
    current_a: Floats = field(default_factory=no_floats)
    driven: Flags = field(default_factory=no_flags)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "start", frozen_indices(self.start))
        object.__setattr__(self, "end", frozen_indices(self.end))
        object.__setattr__(self, "current_a", frozen_floats(self.current_a))
        object.__setattr__(self, "driven", frozen_flags(self.driven))
        _check_lengths(
            "current sources",
            names=len(self.names),
            start=len(self.start),
            end=len(self.end),
            value=len(self.current_a),
            driven=len(self.driven),
        )

    def __len__(self) -> int:
        return len(self.names)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Capacitors:
    """Linear capacitors; open at the operating point.

    Args:
        names: [n] device names.
        a: [n] node index.
        b: [n] node index.
        capacitance_f: [n] F.
    """

    names: tuple[str, ...] = ()
    a: Indices = field(default_factory=no_indices)
    b: Indices = field(default_factory=no_indices)
    capacitance_f: Floats = field(default_factory=no_floats)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "a", frozen_indices(self.a))
        object.__setattr__(self, "b", frozen_indices(self.b))
        object.__setattr__(self, "capacitance_f", frozen_floats(self.capacitance_f))
        _check_lengths("capacitors", names=len(self.names), a=len(self.a), b=len(self.b), value=len(self.capacitance_f))

    def __len__(self) -> int:
        return len(self.names)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Amplifiers:
    """Bidirectional amplifiers: voltages go forward times A, currents go back times 1/A.

    Equation: v(end) = A v(start) against ground; of the current i delivered at `end`, i / A is drawn out of `start`.

    Args:
        names: [n] device names.
        start: [n] node index of the input.
        end: [n] node index of the output.
        gain: [n] A, finite and above zero.

    Source: Kendall et al. 2020, arXiv 2006.01981.
    """

    names: tuple[str, ...] = ()
    start: Indices = field(default_factory=no_indices)
    end: Indices = field(default_factory=no_indices)
    gain: Floats = field(default_factory=no_floats)

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "start", frozen_indices(self.start))
        object.__setattr__(self, "end", frozen_indices(self.end))
        object.__setattr__(self, "gain", frozen_floats(self.gain))
        _check_lengths(
            "amplifiers", names=len(self.names), start=len(self.start), end=len(self.end), gain=len(self.gain)
        )

    def __len__(self) -> int:
        return len(self.names)


Elements = Resistors | Diodes | VoltageSources | CurrentSources | Capacitors | Amplifiers


def terminals(elements: Elements) -> tuple[Indices, Indices]:
    """Return the two node columns of a group of elements, in its own order of terminals."""
    match elements:
        case Resistors() | Capacitors():
            return elements.a, elements.b
        case Diodes():
            return elements.anode, elements.cathode
        case VoltageSources():
            return elements.plus, elements.minus
        case CurrentSources() | Amplifiers():
            return elements.start, elements.end
