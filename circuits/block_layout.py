"""Lay out the circuit of an energy block: nodes and devices group by group, from index arrays.

Only the names of nodes are made one by one; everything else is an array per group, for a block has up to 1e7 devices.
"""

from collections.abc import Sequence
from typing import NamedTuple, final

import numpy as np

from .arrays import Floats, Indices, frozen_floats, frozen_indices
from .block_circuit import BlockCircuit
from .circuit import Circuit
from .convolution import convolution_wiring
from .crossbar import Crossbar, UnitNodes
from .diode import DiodeModel
from .elements import CurrentSources, Diodes, Resistors, VoltageSources
from .energy_block import Drive, EnergyBlock, NodeLayer, Polarity
from .names import JoinedNames, PairNames
from .wiring import AbstractWiring, DenseWiring, SharedBiasWiring


@final
class _Layout:
    """Nodes and devices collected group by group while a block is laid out."""

    def __init__(self, block: EnergyBlock) -> None:
        self.block = block
        self.signs = "pn" if block.polarity is Polarity.DIFFERENTIAL else "p"
        self.nodes: list[str] = ["0"]
        self.labels: list[str] = ["ground"]
        self.image: list[int] = [0]
        self.resistor_names: list[Sequence[str]] = []
        self.n_resistors = 0
        self.resistor_ends: list[tuple[Indices, Indices]] = []
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

    def resistors(self, names: Sequence[str], a: Indices, b: Indices, value_s: float | Floats) -> Indices:
        """Add resistors and return their indices."""
        first = self.n_resistors
        self.n_resistors += len(names)
        self.resistor_names.append(names)
        self.resistor_ends.append((a, b))
        self.resistor_values.append(np.array(np.broadcast_to(value_s, len(names)), dtype=np.float64))
        return np.arange(first, self.n_resistors)

    def crossbar(self, name: str, rows: UnitNodes, columns: UnitNodes, wiring: AbstractWiring) -> Crossbar:
        """Add the devices of a crossbar: one a pair of units, or four where units are differential."""
        row, column = wiring.pairs()
        i, j = row.ravel(), column.ravel()

        def devices(suffix: str, row_nodes: Indices, column_nodes: Indices) -> Indices:
            names = PairNames(prefix=name, row=i, column=j, suffix=suffix)
            return self.resistors(names, row_nodes[i], column_nodes[j], self.block.g_min_s).reshape(row.shape)

        if rows.n is None or columns.n is None:
            plus, minus = np.stack([devices("", rows.p, columns.p)]), None
        else:
            plus = np.stack([devices("_pp", rows.p, columns.p), devices("_nn", rows.n, columns.n)])
            minus = frozen_indices(np.stack([devices("_pn", rows.p, columns.n), devices("_np", rows.n, columns.p)]))
        return Crossbar(name=name, rows=rows, columns=columns, wiring=wiring, plus=frozen_indices(plus), minus=minus)


@final
class Coupling(NamedTuple):
    """A crossbar to be: name, layer of its rows (None: the input or the bias row), layer of its columns, wiring."""

    name: str
    rows: int | None
    columns: int
    wiring: AbstractWiring


def _wiring(layer: NodeLayer, n_rows: int) -> AbstractWiring:
    """Return how a layer is joined to the units before it."""
    if layer.coupling is None:
        return DenseWiring(n_rows=n_rows, n_columns=layer.size)
    return convolution_wiring(layer.coupling)


def _bias_wiring(layer: NodeLayer) -> AbstractWiring:
    """Return how a layer is joined to the bias row: a weight a unit, or a channel of a convolved image."""
    if layer.coupling is None:
        return DenseWiring(n_rows=1, n_columns=layer.size)
    channels = layer.coupling.channels
    return SharedBiasWiring(channels=channels, positions=layer.size // channels)


def _leaks(layout: _Layout, layers: tuple[UnitNodes, ...]) -> Indices:
    """Add the leaks of each layer, of p nodes, of n nodes, then the active ones, and return their indices.

    An active leak of a differential unit lies between p and n: to ground it would act on both moving together too,
    which the crossbars load with G+ + G- in place of G+ - G-, and could make them latch. So with a resistor r from each
    node to ground and c between them, r + 2 c is the leak; r is g_min, a path to ground.
    """
    block, leaks = layout.block, []
    for layer, nodes in zip(block.layers, layers, strict=True):
        values_s = layer.leaks_s
        if not len(values_s):
            continue
        active = np.flatnonzero(values_s < 0) if nodes.n is not None else np.zeros(0, dtype=np.int64)
        to_ground_s = values_s.copy()
        to_ground_s[active] = block.g_min_s
        sides = [nodes.p] if nodes.n is None else [nodes.p, nodes.n]
        ends = np.concatenate(sides)
        names = [f"leak_{layout.nodes[k]}" for k in ends]
        ground = np.zeros(len(ends), dtype=np.int64)
        leaks.append(layout.resistors(names, ends, ground, np.tile(to_ground_s, len(sides))))
        if len(active) and nodes.n is not None:
            p, n = nodes.p[active], nodes.n[active]
            names = [f"active_{layout.nodes[k].removesuffix('p')}" for k in p]
            leaks.append(layout.resistors(names, p, n, (values_s[active] - block.g_min_s) / 2.0))
    return frozen_indices(np.concatenate(leaks) if leaks else ())


def list_couplings(block: EnergyBlock) -> list[Coupling]:
    """Return the crossbars of a block in order, before any node is there: w1 (voltage drive), w2, ..., b1, b2, ..."""
    couplings = []
    n_before, before = block.n_inputs, -1
    for k, layer in enumerate(block.layers):
        if k or block.drive is Drive.VOLTAGE:
            couplings.append(Coupling(f"w{k + 1}", before if k else None, k, _wiring(layer, n_before)))
        n_before, before = layer.size, k
    biased = [(k, layer) for k, layer in enumerate(block.layers) if layer.bias]
    return couplings + [Coupling(f"b{k + 1}", None, k, _bias_wiring(layer)) for k, layer in biased]


def _clamp_layers(layout: _Layout, layers: tuple[UnitNodes, ...]) -> tuple[Diodes, list[tuple[int, float]]]:
    """Lay out the clamp diodes and return them with the rails as (node, voltage)."""
    block = layout.block
    names: list[str] = []
    anodes, cathodes, models = [], [], []
    table: dict[DiodeModel, int] = {}
    rails: list[tuple[int, float]] = []
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
            rails += [(int(upper[0]), upper_v), (int(lower[0]), lower_v)]
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
    layout: _Layout, inputs: UnitNodes | None, bias: UnitNodes | None, rails: list[tuple[int, float]]
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
    names += [layout.nodes[node] for node, _ in rails]
    plus += [node for node, _ in rails]
    values += [value for _, value in rails]
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
    crossbars = []
    for coupling in list_couplings(block):
        rows = layers[coupling.rows] if coupling.rows is not None else bias if coupling.name[0] == "b" else inputs
        if rows is not None:
            crossbars.append(layout.crossbar(coupling.name, rows, layers[coupling.columns], coupling.wiring))
    leaks = _leaks(layout, layers)
    diodes, rails = _clamp_layers(layout, layers)
    circuit = Circuit(
        name=block.name,
        nodes=tuple(layout.nodes),
        labels=tuple(layout.labels),
        resistors=Resistors(
            names=JoinedNames(layout.resistor_names),
            a=np.concatenate([a for a, _ in layout.resistor_ends]) if layout.resistor_ends else frozen_indices(()),
            b=np.concatenate([b for _, b in layout.resistor_ends]) if layout.resistor_ends else frozen_indices(()),
            conductance_s=np.concatenate(layout.resistor_values) if layout.resistor_values else np.zeros(0),
        ),
        diodes=diodes,
        voltage_sources=_voltage_sources(layout, inputs, bias, rails),
        current_sources=_current_sources(layout, layers),
        temperature_k=block.temperature_k,
        gmin_s=block.gmin_s,
        k_over_q_v_per_k=block.k_over_q_v_per_k,
        active=any((layer.leaks_s <= 0).any() for layer in block.layers),
    )
    return BlockCircuit(
        block=block,
        circuit=circuit,
        layers=layers,
        inputs=inputs,
        bias=bias,
        crossbars=tuple(crossbars),
        leak_devices=leaks,
        image=frozen_indices(layout.image if len(layout.signs) > 1 else ()),
    )
