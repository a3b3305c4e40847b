"""The circuit of an energy block, and the maps between its devices and the block's weights, inputs and states.

Everything is laid out from index arrays, never device by device in Python but for the names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import numpy as np

from .arrays import Floats, Indices, frozen_floats, frozen_indices
from .circuit import Circuit
from .crossbar import Crossbar, UnitNodes
from .diode import DiodeModel
from .elements import CurrentSources, Diodes, Resistors, VoltageSources
from .energy_block import Drive, EnergyBlock, Polarity
from .errors import CircuitError


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BlockCircuit:
    """An energy block as a circuit.

    Args:
        block: the description it was built from.
        circuit: all devices; conductances are those at G = g_min until programmed.
        layers: nodes of each layer.
        inputs: nodes of the input rows; None with current drive.
        crossbars: trainable crossbars in order: w1 (voltage drive), w2, ..., then b1, b2, ...
        leak_devices: [n] resistor index of the leaks.
        image: [n_nodes] mirror image of each node; empty with single polarity.
    """

    block: EnergyBlock
    circuit: Circuit
    layers: tuple[UnitNodes, ...]
    inputs: UnitNodes | None
    crossbars: tuple[Crossbar, ...]
    leak_devices: Indices
    image: Indices

    def program(self, plus: Mapping[str, Floats], minus: Mapping[str, Floats]) -> Floats:
        """Return the conductance of every device.

        Args:
            plus: G+ of each crossbar by name, [n_rows, n_columns] in units of g_unit.
            minus: G- likewise; empty with single polarity.

        Returns:
            [n_resistors] S.

        Raises:
            CircuitError: for a missing crossbar or a wrong shape.
        """
        conductance_s = self.circuit.resistors.conductance_s.copy()
        for crossbar in self.crossbars:
            for devices, values, sign in ((crossbar.plus, plus, "+"), (crossbar.minus, minus, "-")):
                if devices is None:
                    continue
                if crossbar.name not in values or values[crossbar.name].shape != crossbar.shape:
                    found = values[crossbar.name].shape if crossbar.name in values else "nothing"
                    raise CircuitError(
                        f"block '{self.block.name}': G{sign} of crossbar '{crossbar.name}' must have shape "
                        f"{crossbar.shape}, got {found}"
                    )
                conductance_s[devices] = values[crossbar.name] * self.block.g_unit_s
        return conductance_s

    def drives(self, x: Floats, nudge: Floats | None = None) -> Floats:
        """Return the values of the driven sources.

        Equation: inputs +-v_unit x (or +-g_unit v_unit x as currents into p and n); nudge g_unit v_unit beta ds drawn
        from p and pushed into n.

        Args:
            x: [batch, n_inputs] dimensionless input.
            nudge: [batch, n_outputs] beta ds, dimensionless; None in the free phase.

        Returns:
            [batch, n_drives] V then A, p before n.

        Raises:
            CircuitError: for a wrong shape.
        """
        block = self.block
        if x.ndim != 2 or x.shape[1] != block.n_inputs:
            raise CircuitError(
                f"block '{block.name}': input of shape {x.shape}; give [batch, {block.n_inputs}], one row a sample"
            )
        if nudge is not None and nudge.shape != (len(x), block.n_outputs):
            raise CircuitError(
                f"block '{block.name}': nudge of shape {nudge.shape} for {len(x)} samples; "
                f"give [{len(x)}, {block.n_outputs}]"
            )
        signs = (1.0, -1.0) if block.polarity is Polarity.DIFFERENTIAL else (1.0,)
        nudge = np.zeros((len(x), block.n_outputs)) if nudge is None else nudge
        current_unit_a = block.g_unit_s * block.v_unit_v
        input_unit = block.v_unit_v if block.drive is Drive.VOLTAGE else current_unit_a
        columns = [sign * input_unit * x for sign in signs]
        columns += [-sign * current_unit_a * nudge for sign in signs]
        return np.concatenate(columns, axis=1)

    def outputs(self, voltage_v: Floats) -> Floats:
        """Return the states of the output layers, [batch, n_outputs] dimensionless."""
        states = [self.layers[k].state(voltage_v, self.block.v_unit_v) for k in self.block.output_layers]
        return np.concatenate(states, axis=1)

    def input_currents(self, conductance_s: Floats, voltage_v: Floats) -> Floats:
        """Return what the input sources deliver, i = (i_p - i_n) / (2 g_unit v_unit), [batch, n_inputs].

        Equation: i_k = sum over the row's devices of g (v_row - v_column); also where the row was folded away. With
        single polarity i / (g_unit v_unit). It is dE/dx of a voltage-driven input.

        Args:
            conductance_s: [n_resistors] S.
            voltage_v: [batch, n_nodes] V — or any change of it.

        Raises:
            CircuitError: if the block is not voltage-driven.
        """
        if self.inputs is None:
            raise CircuitError(f"block '{self.block.name}' is current-driven; it has no input sources to read")
        crossbar = next(crossbar for crossbar in self.crossbars if crossbar.rows is self.inputs)
        rows, columns = self.inputs, crossbar.columns
        plus, minus = crossbar.plus, crossbar.minus
        unit_a = self.block.g_unit_s * self.block.v_unit_v
        if rows.n is None or columns.n is None or minus is None:
            return _row_currents(voltage_v, rows.p, [(conductance_s[plus[0]], columns.p)]) / unit_a
        i_p = [(conductance_s[plus[0]], columns.p), (conductance_s[minus[0]], columns.n)]
        i_n = [(conductance_s[plus[1]], columns.n), (conductance_s[minus[1]], columns.p)]
        return (_row_currents(voltage_v, rows.p, i_p) - _row_currents(voltage_v, rows.n, i_n)) / (2.0 * unit_a)

    def mirrored_voltages(self, states: Sequence[Floats], x: Floats) -> Floats:
        """Return node voltages rebuilt from states, as the digital side knows them: v_p = v_unit s, v_n = -v_p.

        Args:
            states: one [batch, size] array a layer, dimensionless.
            x: [batch, n_inputs] dimensionless input; used with voltage drive only.

        Returns:
            [batch, n_nodes] V; rails stay at zero, no device that is trained touches them.
        """
        voltage_v = np.zeros((len(x), self.circuit.n_nodes))
        groups = list(zip(self.layers, states, strict=True))
        if self.inputs is not None:
            groups.append((self.inputs, x))
        bias = next((crossbar.rows for crossbar in self.crossbars if crossbar.name.startswith("b")), None)
        if bias is not None:
            groups.append((bias, np.ones((len(x), 1))))
        for nodes, values in groups:
            voltage_v[:, nodes.p] = self.block.v_unit_v * values
            if nodes.n is not None:
                voltage_v[:, nodes.n] = -self.block.v_unit_v * values
        return voltage_v

    def states(self, voltage_v: Floats) -> list[Floats]:
        """Return the states of every layer, [batch, size] dimensionless each."""
        return [nodes.state(voltage_v, self.block.v_unit_v) for nodes in self.layers]

    def clamped_share(self, voltage_v: Floats) -> float:
        """Return the share of all units whose p node is within n V_t of a clamp's limit, or beyond it."""
        clamped = 0
        for layer, nodes in zip(self.block.layers, self.layers, strict=True):
            if layer.clamp is not None:
                n_vt = layer.clamp.diode.thermal_voltage_v(self.block.temperature_k, self.block.k_over_q_v_per_k)
                v = voltage_v[:, nodes.p]
                clamped += int(((v > layer.clamp.high_v - n_vt) | (v < layer.clamp.low_v + n_vt)).sum())
        return clamped / max(1, len(voltage_v) * sum(layer.size for layer in self.block.layers))


def _row_currents(voltage_v: Floats, rows: Indices, devices: list[tuple[Floats, Indices]]) -> Floats:
    """Return sum over the devices of g (v_row - v_column), [batch, n_rows]."""
    total = np.zeros((len(voltage_v), len(rows)))
    for g, columns in devices:
        total += voltage_v[:, rows] * g.sum(axis=1) - voltage_v[:, columns] @ g.T
    return total


@final
class _Layout:
    """Nodes and devices collected group by group while a block is laid out."""

    def __init__(self, block: EnergyBlock) -> None:
        self.block = block
        self.signs = "pn" if block.polarity is Polarity.DIFFERENTIAL else "p"
        self.nodes: list[str] = ["0"]
        self.labels: list[str] = ["ground"]
        self.image: list[int] = [0]
        self.resistor_names: list[str] = []
        self.resistor_ends: list[Indices] = []
        self.resistor_values: list[Floats] = []

    def units(self, names: list[str], labels: list[str]) -> UnitNodes:
        """Add a node, or a mirrored pair of nodes, for each unit."""
        start, size = len(self.nodes), len(names)
        for k, sign in enumerate(self.signs):
            self.nodes += [f"{name}{sign if len(self.signs) > 1 else ''}" for name in names]
            self.labels += [f"{label}{f' ({sign})' if len(self.signs) > 1 else ''}" for label in labels]
            other = start + (len(self.signs) - 1 - k) * size
            self.image += range(other, other + size)
        p = frozen_indices(np.arange(start, start + size))
        return UnitNodes(p=p, n=frozen_indices(p + size) if len(self.signs) > 1 else None)

    def resistors(self, names: list[str], a: Indices, b: Indices, value_s: float) -> Indices:
        """Add resistors and return their indices."""
        first = len(self.resistor_names)
        self.resistor_names += names
        self.resistor_ends.append(np.stack([a, b]))
        self.resistor_values.append(np.full(len(names), value_s))
        return np.arange(first, first + len(names))

    def crossbar(self, name: str, rows: UnitNodes, columns: UnitNodes) -> Crossbar:
        """Add the devices of a crossbar: one a weight, or the four of a differential weight."""
        shape = (len(rows), len(columns))
        labels = [f"{name}_{i}_{j}" for i in range(shape[0]) for j in range(shape[1])]

        def devices(suffix: str, row_nodes: Indices, column_nodes: Indices) -> Indices:
            a, b = np.repeat(row_nodes, shape[1]), np.tile(column_nodes, shape[0])
            return self.resistors([f"{label}{suffix}" for label in labels], a, b, self.block.g_min_s).reshape(shape)

        if rows.n is None or columns.n is None:
            plus, minus = np.stack([devices("", rows.p, columns.p)]), None
        else:
            plus = np.stack([devices("_pp", rows.p, columns.p), devices("_nn", rows.n, columns.n)])
            minus = frozen_indices(np.stack([devices("_pn", rows.p, columns.n), devices("_np", rows.n, columns.p)]))
        return Crossbar(name=name, rows=rows, columns=columns, plus=frozen_indices(plus), minus=minus)


def _clamp_layers(layout: _Layout, layers: tuple[UnitNodes, ...]) -> tuple[Diodes, list[tuple[str, int, float]]]:
    """Lay out the clamp diodes and return them with the rails as (name, node, voltage)."""
    block = layout.block
    names: list[str] = []
    anodes, cathodes, models = [], [], []
    table: dict[DiodeModel, int] = {}
    rails: list[tuple[str, int, float]] = []
    for index, (layer, nodes) in enumerate(zip(block.layers, layers, strict=True), start=1):
        if layer.clamp is None:
            continue
        model = table.setdefault(layer.clamp.diode, len(table))
        low_v, high_v = layer.clamp.rails_v(block.temperature_k, block.k_over_q_v_per_k)
        # The mirror image of the p side's upper rail is the n side's lower rail.
        high = layout.units([f"rail{index}_h"], [f"layer {index} rail, upper p, lower n"])
        low = layout.units([f"rail{index}_l"], [f"layer {index} rail, lower p, upper n"])
        sides = [(nodes.p, high.p, low.p, high_v, low_v, "p")]
        if nodes.n is not None and high.n is not None and low.n is not None:
            sides.append((nodes.n, low.n, high.n, -low_v, -high_v, "n"))
        for node, upper, lower, upper_v, lower_v, sign in sides:
            side = sign if len(layout.signs) > 1 else ""
            rails += [
                (f"rail{index}_u{side}", int(upper[0]), upper_v),
                (f"rail{index}_d{side}", int(lower[0]), lower_v),
            ]
            n = len(node)
            names += [f"clamp{index}_{j}{side}_u" for j in range(n)] + [f"clamp{index}_{j}{side}_d" for j in range(n)]
            anodes += [node, np.repeat(lower, n)]
            cathodes += [np.repeat(upper, n), node]
            models.append(np.full(2 * n, model))
    if not names:
        return Diodes(), rails
    diodes = Diodes(
        names=tuple(names),
        anode=np.concatenate(anodes),
        cathode=np.concatenate(cathodes),
        model=np.concatenate(models),
        models=tuple(table),
    )
    return diodes, rails


def _voltage_sources(
    layout: _Layout, inputs: UnitNodes | None, bias: UnitNodes | None, rails: list[tuple[str, int, float]]
) -> VoltageSources:
    """Lay out the sources: driven input rows (p, then n), then the bias row, then the rails."""
    names: list[str] = []
    plus: list[int] = []
    values: list[float] = []
    n_driven = 0
    if inputs is not None:
        columns = [inputs.p] if inputs.n is None else [inputs.p, inputs.n]
        for column in columns:
            plus += column.tolist()
        names += [layout.nodes[k] for k in plus]
        values += [0.0] * len(plus)
        n_driven = len(plus)
    if bias is not None:
        rows = [(int(bias.p[0]), layout.block.v_unit_v)]
        rows += [] if bias.n is None else [(int(bias.n[0]), -layout.block.v_unit_v)]
        names += [layout.nodes[node] for node, _ in rows]
        plus += [node for node, _ in rows]
        values += [value for _, value in rows]
    names += [name for name, _, _ in rails]
    plus += [node for _, node, _ in rails]
    values += [value for _, _, value in rails]
    driven = np.arange(len(plus)) < n_driven
    return VoltageSources(
        names=tuple(names),
        plus=frozen_indices(plus),
        minus=frozen_indices(np.zeros(len(plus))),
        voltage_v=frozen_floats(values),
        driven=driven,
    )


def _current_sources(layout: _Layout, layers: tuple[UnitNodes, ...]) -> CurrentSources:
    """Lay out the driven current sources from ground: inputs (p, then n), then nudges (p, then n)."""
    block = layout.block
    names: list[str] = []
    ends: list[int] = []
    groups = [("nudge", tuple(layers[k] for k in block.output_layers))]
    if block.drive is Drive.CURRENT:
        groups.insert(0, ("input", (layers[0],)))
    for kind, units in groups:
        for side in range(len(layout.signs)):
            for layer in units:
                column = layer.p if side == 0 or layer.n is None else layer.n
                names += [f"{kind}_{layout.nodes[k]}" for k in column]
                ends += column.tolist()
    n = len(ends)
    return CurrentSources(
        names=tuple(names),
        start=frozen_indices(np.zeros(n)),
        end=frozen_indices(ends),
        current_a=np.zeros(n),
        driven=np.ones(n, dtype=bool),
    )


def build(block: EnergyBlock) -> BlockCircuit:
    """Build the circuit of an energy block, with every trainable conductance at g_min.

    Args:
        block: the description.

    Returns:
        the circuit and its maps.
    """
    layout = _Layout(block)
    inputs = None
    if block.drive is Drive.VOLTAGE:
        n = block.n_inputs
        inputs = layout.units([f"x{i}" for i in range(n)], [f"input {i}" for i in range(n)])
    layers = tuple(
        layout.units([f"l{k}_{j}" for j in range(layer.size)], [f"layer {k} unit {j}" for j in range(layer.size)])
        for k, layer in enumerate(block.layers, start=1)
    )
    has_bias = any(layer.bias for layer in block.layers)
    bias = layout.units(["bias"], ["bias row"]) if has_bias else None
    chain = layers if inputs is None else (inputs, *layers)
    first = 2 if inputs is None else 1
    crossbars = [
        layout.crossbar(f"w{k}", rows, columns) for k, (rows, columns) in enumerate(pairwise(chain), start=first)
    ]
    for k, (layer, nodes) in enumerate(zip(block.layers, layers, strict=True), start=1):
        if layer.bias and bias is not None:
            crossbars.append(layout.crossbar(f"b{k}", bias, nodes))
    leaks = []
    for layer, nodes in zip(block.layers, layers, strict=True):
        if layer.leak_s > 0:
            ends = nodes.p if nodes.n is None else np.concatenate([nodes.p, nodes.n])
            names = [f"leak_{layout.nodes[k]}" for k in ends]
            leaks.append(layout.resistors(names, ends, np.zeros(len(ends), dtype=np.int64), layer.leak_s))
    diodes, rails = _clamp_layers(layout, layers)
    ends = np.concatenate(layout.resistor_ends, axis=1) if layout.resistor_ends else np.zeros((2, 0))
    circuit = Circuit(
        name=block.name,
        nodes=tuple(layout.nodes),
        labels=tuple(layout.labels),
        resistors=Resistors(
            names=tuple(layout.resistor_names),
            a=ends[0],
            b=ends[1],
            conductance_s=np.concatenate(layout.resistor_values) if layout.resistor_values else np.zeros(0),
        ),
        diodes=diodes,
        voltage_sources=_voltage_sources(layout, inputs, bias, rails),
        current_sources=_current_sources(layout, layers),
        temperature_k=block.temperature_k,
        gmin_s=block.gmin_s,
        k_over_q_v_per_k=block.k_over_q_v_per_k,
    )
    return BlockCircuit(
        block=block,
        circuit=circuit,
        layers=layers,
        inputs=inputs,
        crossbars=tuple(crossbars),
        leak_devices=frozen_indices(np.concatenate(leaks) if leaks else ()),
        image=frozen_indices(layout.image if len(layout.signs) > 1 else ()),
    )
