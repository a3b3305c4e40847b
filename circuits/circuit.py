"""The circuit: nodes and groups of elements, as an immutable value.

Node 0 is ground. Parameters (conductances) and drives (values of the driven sources) may be given anew for every
relaxation without building another circuit: the topology is what is analysed once.
"""

from dataclasses import dataclass, field, replace
from typing import final

import numpy as np
import numpy.typing as npt

from .arrays import Floats, Indices, frozen_floats
from .diode import K_OVER_Q_V_PER_K, NOMINAL_TEMPERATURE_K, DiodeModel
from .elements import Amplifiers, Capacitors, CurrentSources, Diodes, Elements, Resistors, VoltageSources, terminals
from .errors import CircuitError

GROUND = 0


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Circuit:
    """A network of resistors, diodes, sources, capacitors and amplifiers.

    Args:
        name: what the user calls it; errors begin with it.
        nodes: [n_nodes] unique node names; nodes[0] is ground, named "0".
        labels: [n_nodes] the same nodes in the user's words ("layer 1 unit 3, p"); names where left out.
        resistors, diodes, voltage_sources, current_sources, capacitors, amplifiers: the elements.
        temperature_k: K — of every diode.
        gmin_s: S — conductance across every junction, as in ngspice.
        k_over_q_v_per_k: V/K — the simulator's k/q.
        active: True where conductances may be zero or negative: of a reduced circuit, or of a block with active leaks.
        equivalent: True for a reduced circuit that nobody builds: its conductances stand for several devices.

    Raises:
        CircuitError: if nodes or node indices are inconsistent.
    """

    name: str
    nodes: tuple[str, ...]
    labels: tuple[str, ...] = ()
    resistors: Resistors = field(default_factory=Resistors)
    diodes: Diodes = field(default_factory=Diodes)
    voltage_sources: VoltageSources = field(default_factory=VoltageSources)
    current_sources: CurrentSources = field(default_factory=CurrentSources)
    capacitors: Capacitors = field(default_factory=Capacitors)
    amplifiers: Amplifiers = field(default_factory=Amplifiers)
    temperature_k: float = NOMINAL_TEMPERATURE_K
    gmin_s: float = 1e-15
    k_over_q_v_per_k: float = K_OVER_Q_V_PER_K
    active: bool = False
    equivalent: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", tuple(self.nodes))
        object.__setattr__(self, "labels", tuple(self.labels) or self.nodes)
        if not self.nodes or self.nodes[GROUND] != "0":
            raise CircuitError(f"circuit '{self.name}': the first node must be ground, named '0'")
        if len(self.labels) != len(self.nodes):
            raise CircuitError(f"circuit '{self.name}': {len(self.labels)} labels for {len(self.nodes)} nodes")
        for group in self.groups:
            for column in terminals(group):
                if len(column) and not (column.min() >= 0 and column.max() < self.n_nodes):
                    raise CircuitError(
                        f"circuit '{self.name}': {type(group).__name__} use a node outside 0..{self.n_nodes - 1}"
                    )

    @property
    def groups(self) -> tuple[Elements, ...]:
        """The six groups of elements."""
        return (
            self.resistors,
            self.diodes,
            self.voltage_sources,
            self.current_sources,
            self.capacitors,
            self.amplifiers,
        )

    @property
    def n_nodes(self) -> int:
        """Number of nodes, ground included."""
        return len(self.nodes)

    @property
    def driven_voltage_sources(self) -> Indices:
        """[n] index of the voltage sources whose value comes with each sample."""
        return np.flatnonzero(self.voltage_sources.driven)

    @property
    def driven_current_sources(self) -> Indices:
        """[n] index of the current sources whose value comes with each sample."""
        return np.flatnonzero(self.current_sources.driven)

    @property
    def n_drives(self) -> int:
        """Number of driven sources: voltage sources first, then current sources."""
        return len(self.driven_voltage_sources) + len(self.driven_current_sources)

    @property
    def has_cubic(self) -> bool:
        """Whether any resistor has a cubic current law, so that it is not linear."""
        return len(self.resistors.k3_per_v2) > 0

    def with_conductances(self, conductance_s: npt.ArrayLike) -> "Circuit":
        """Return the same circuit with other conductances ([n_resistors] S)."""
        return replace(self, resistors=replace(self.resistors, conductance_s=frozen_floats(conductance_s)))

    def with_cubic(self, k3_per_v2: npt.ArrayLike) -> "Circuit":
        """Return the same circuit with resistors of the law I = g (V + k3 V^3).

        Args:
            k3_per_v2: [n_resistors] 1/V^2, or one for all; zero for a linear device.

        Raises:
            CircuitError: for a wrong shape.
        """
        n, k3 = len(self.resistors), np.asarray(k3_per_v2, dtype=np.float64)
        if k3.shape not in {(), (n,)}:
            raise CircuitError(
                f"circuit '{self.name}': k3 of shape {k3.shape}; give one number, or [{n}] in 1/V^2, one a resistor"
            )
        return replace(self, resistors=replace(self.resistors, k3_per_v2=np.broadcast_to(k3, (n,))))

    def with_drives(self, drives: npt.ArrayLike) -> "Circuit":
        """Return the same circuit with one sample's drives ([n_drives] V then A) as its source values."""
        values = np.asarray(drives, dtype=np.float64)
        v, i = self.voltage_sources, self.current_sources
        n_voltage = len(self.driven_voltage_sources)
        voltage_v, current_a = v.voltage_v.copy(), i.current_a.copy()
        voltage_v[self.driven_voltage_sources] = values[:n_voltage]
        current_a[self.driven_current_sources] = values[n_voltage:]
        return replace(
            self,
            voltage_sources=replace(v, voltage_v=voltage_v),
            current_sources=replace(i, current_a=current_a),
        )

    def source_values(self, drives: Floats) -> tuple[Floats, Floats]:
        """Spread a batch of drives over all sources.

        Args:
            drives: [batch, n_drives] V then A — values of the driven sources.

        Returns:
            [batch, n_voltage_sources] V and [batch, n_current_sources] A.

        Raises:
            CircuitError: if the number of columns is not n_drives.
        """
        if drives.ndim != 2 or drives.shape[1] != self.n_drives:
            raise CircuitError(
                f"circuit '{self.name}': drives of shape {drives.shape}; it has {self.n_drives} driven sources, "
                f"so give [batch, {self.n_drives}]"
            )
        n_voltage = len(self.driven_voltage_sources)
        batch = len(drives)
        # Not np.tile: of an empty read-only column it returns a read-only view.
        voltage_v = np.repeat(self.voltage_sources.voltage_v[np.newaxis], batch, axis=0)
        current_a = np.repeat(self.current_sources.current_a[np.newaxis], batch, axis=0)
        voltage_v[:, self.driven_voltage_sources] = drives[:, :n_voltage]
        current_a[:, self.driven_current_sources] = drives[:, n_voltage:]
        return voltage_v, current_a


def diode_columns(circuit: Circuit) -> tuple[Floats, Floats, Floats]:
    """Return per diode its saturation current, n V_t and series resistance at the circuit's temperature.

    Returns:
        [n_diodes] A, [n_diodes] V, [n_diodes] ohm; of a piecewise-linear one 0 A, 1 V and 0 ohm, which mean nothing.
    """
    d, t, kq = circuit.diodes, circuit.temperature_k, circuit.k_over_q_v_per_k
    table = np.array(
        [
            (m.saturation_current_at_a(t, kq), m.thermal_voltage_v(t, kq), m.series_resistance_ohm)
            if isinstance(m, DiodeModel)
            else (0.0, 1.0, 0.0)
            for m in d.models
        ]
    ).reshape(-1, 3)
    return table[d.model, 0], table[d.model, 1], table[d.model, 2]
