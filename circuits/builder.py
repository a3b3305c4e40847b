"""A circuit written by hand, element by element; energy blocks are built from arrays instead."""

from typing import final

from .arrays import frozen_flags, frozen_floats, frozen_indices
from .circuit import Circuit
from .diode import NOMINAL_TEMPERATURE_K, DiodeModel
from .elements import Amplifiers, Capacitors, CurrentSources, Diodes, Resistors, VoltageSources
from .errors import CircuitError
from .piecewise_linear_diode import PiecewiseLinearDiode


@final
class CircuitBuilder:
    """Collect elements between named nodes; `build` gives the immutable circuit.

    Args:
        name: what errors call the circuit.
        temperature_k: K — of the diodes.
        gmin_s: S — conductance across each junction.
    """

    def __init__(self, name: str, *, temperature_k: float = NOMINAL_TEMPERATURE_K, gmin_s: float = 1e-15) -> None:
        self._name = name
        self._temperature_k = temperature_k
        self._gmin_s = gmin_s
        self._nodes: dict[str, int] = {"0": 0}
        self._models: dict[DiodeModel | PiecewiseLinearDiode, int] = {}
        self._resistors: list[tuple[str, int, int, float, float]] = []
        self._diodes: list[tuple[str, int, int, int]] = []
        self._voltage: list[tuple[str, int, int, float, bool]] = []
        self._current: list[tuple[str, int, int, float, bool]] = []
        self._capacitors: list[tuple[str, int, int, float]] = []
        self._amplifiers: list[tuple[str, int, int, float]] = []

    def _node(self, name: str) -> int:
        if name.strip() != name or not name:
            raise CircuitError(f"circuit '{self._name}': '{name}' cannot name a node")
        return self._nodes.setdefault(name, len(self._nodes))

    def resistor(
        self, name: str, a: str, b: str, conductance_s: float, *, k3_per_v2: float | None = None
    ) -> "CircuitBuilder":
        """Add a conductance between two nodes; with k3 its current is g (V + k3 V^3)."""
        self._resistors.append((name, self._node(a), self._node(b), conductance_s, k3_per_v2 or 0.0))
        return self

    def diode(self, name: str, anode: str, cathode: str, model: DiodeModel | PiecewiseLinearDiode) -> "CircuitBuilder":
        """Add a diode that conducts from anode to cathode."""
        index = self._models.setdefault(model, len(self._models))
        self._diodes.append((name, self._node(anode), self._node(cathode), index))
        return self

    def voltage_source(
        self, name: str, plus: str, minus: str, voltage_v: float, *, driven: bool = False
    ) -> "CircuitBuilder":
        """Add an ideal voltage source; a driven one gets its value with each sample."""
        self._voltage.append((name, self._node(plus), self._node(minus), voltage_v, driven))
        return self

    def current_source(
        self, name: str, start: str, end: str, current_a: float, *, driven: bool = False
    ) -> "CircuitBuilder":
        """Add an ideal current source that takes current out of `start` and puts it into `end`."""
        self._current.append((name, self._node(start), self._node(end), current_a, driven))
        return self

    def capacitor(self, name: str, a: str, b: str, capacitance_f: float) -> "CircuitBuilder":
        """Add a capacitor."""
        self._capacitors.append((name, self._node(a), self._node(b), capacitance_f))
        return self

    def amplifier(self, name: str, start: str, end: str, gain: float) -> "CircuitBuilder":
        """Add a bidirectional amplifier: v(end) = gain v(start), and 1/gain of the current at `end` out of `start`."""
        self._amplifiers.append((name, self._node(start), self._node(end), gain))
        return self

    def build(self) -> Circuit:
        """Return the circuit."""
        kinds = (self._resistors, self._diodes, self._voltage, self._current, self._capacitors, self._amplifiers)
        r, d, v, i, c, a = (list(zip(*rows, strict=True)) if rows else [()] * 5 for rows in kinds)
        return Circuit(
            name=self._name,
            nodes=tuple(self._nodes),
            resistors=Resistors(
                names=r[0],
                a=frozen_indices(r[1]),
                b=frozen_indices(r[2]),
                conductance_s=frozen_floats(r[3]),
                k3_per_v2=frozen_floats(r[4]),
            ),
            diodes=Diodes(
                names=d[0],
                anode=frozen_indices(d[1]),
                cathode=frozen_indices(d[2]),
                model=frozen_indices(d[3]),
                models=tuple(self._models),
            ),
            voltage_sources=VoltageSources(
                names=v[0],
                plus=frozen_indices(v[1]),
                minus=frozen_indices(v[2]),
                voltage_v=frozen_floats(v[3]),
                driven=frozen_flags(v[4]),
            ),
            current_sources=CurrentSources(
                names=i[0],
                start=frozen_indices(i[1]),
                end=frozen_indices(i[2]),
                current_a=frozen_floats(i[3]),
                driven=frozen_flags(i[4]),
            ),
            capacitors=Capacitors(
                names=c[0], a=frozen_indices(c[1]), b=frozen_indices(c[2]), capacitance_f=frozen_floats(c[3])
            ),
            amplifiers=Amplifiers(
                names=a[0], start=frozen_indices(a[1]), end=frozen_indices(a[2]), gain=frozen_floats(a[3])
            ),
            temperature_k=self._temperature_k,
            gmin_s=self._gmin_s,
        )
