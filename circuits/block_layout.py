"""Lay out the circuit of an energy block: nodes and devices group by group, from index arrays.

Only the names of nodes are made one by one; everything else is an array per group, for a block has up to 1e7 devices.
"""

from typing import NamedTuple, final

import numpy as np

from .arrays import Indices, frozen_floats, frozen_indices
from .block_circuit import BlockCircuit
from .circuit import Circuit
from .clamp_layout import lay_clamps
from .convolution import convolution_wiring
from .crossbar import UnitNodes
from .elements import Amplifiers, CurrentSources, Resistors, VoltageSources
from .energy_block import Drive, EnergyBlock, NodeLayer
from .layout import Layout
from .names import JoinedNames
from .wiring import AbstractWiring, DenseWiring, SharedBiasWiring


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


def _leaks(layout: Layout, layers: tuple[UnitNodes, ...]) -> Indices:
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


def _voltage_sources(
    layout: Layout, inputs: UnitNodes | None, bias: UnitNodes | None, rails: list[tuple[int, float]]
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


def _current_sources(layout: Layout, layers: tuple[UnitNodes, ...]) -> CurrentSources:
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


def _amplified(layout: Layout, number: int, layer: NodeLayer) -> UnitNodes | None:
    """Add the nodes behind the amplifiers of a layer, counted from 1; None where it has none."""
    if layer.amplification is None:
        return None
    names = [f"a{number}_{j}" for j in range(layer.size)]
    return layout.units(names, [f"layer {number} unit {j} amplified" for j in range(layer.size)])


def _amplifiers(layout: Layout, layers: tuple[UnitNodes, ...], amplified: tuple[UnitNodes | None, ...]) -> Amplifiers:
    """Lay out the amplifiers, layer by layer, those of p nodes before those of n nodes."""
    rows = [
        (nodes.nodes, behind.nodes, layer.amplification)
        for layer, nodes, behind in zip(layout.block.layers, layers, amplified, strict=True)
        if behind is not None and layer.amplification is not None
    ]
    if not rows:
        return Amplifiers()
    ends = np.concatenate([end for _, end, _ in rows])
    return Amplifiers(
        names=tuple(f"amp_{layout.nodes[k]}" for k in ends.tolist()),
        start=np.concatenate([start for start, _, _ in rows]),
        end=ends,
        gain=np.concatenate([np.full(len(end), gain) for _, end, gain in rows]),
    )


def build(block: EnergyBlock) -> BlockCircuit:
    """Build the circuit of an energy block, with every trainable conductance at g_min.

    Args:
        block: the description.

    Returns:
        the circuit and its maps.
    """
    layout = Layout(block)
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
    amplified = tuple(_amplified(layout, k, layer) for k, layer in enumerate(block.layers, start=1))
    crossbars = []
    for coupling in list_couplings(block):
        rows = bias if coupling.name[0] == "b" else inputs
        if coupling.rows is not None:
            rows = amplified[coupling.rows] or layers[coupling.rows]
        if rows is not None:
            crossbars.append(layout.crossbar(coupling.name, rows, layers[coupling.columns], coupling.wiring))
    leaks = _leaks(layout, layers)
    diodes, rails = lay_clamps(layout, layers)
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
        amplifiers=_amplifiers(layout, layers, amplified),
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
        amplified=amplified,
        image=frozen_indices(layout.image if len(layout.signs) > 1 else ()),
    )
