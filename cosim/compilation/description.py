"""An energy block in the manifest's words, and back."""

from dataclasses import asdict
from typing import Any

import numpy as np

from circuits.arrays import Floats
from circuits.block_circuit import BlockCircuit
from circuits.circuit import Circuit
from circuits.clamp import Clamp
from circuits.convolution import Convolution
from circuits.crossbar import Crossbar, UnitNodes
from circuits.diode import DiodeModel
from circuits.energy_block import Drive, EnergyBlock, NodeLayer, Polarity
from circuits.piecewise_linear_diode import PiecewiseLinearDiode
from circuits.tiles import Tile, TileSize, tile_table
from circuits.wiring import DenseWiring, SharedBiasWiring
from netlists.netlist import Netlist

from ..analog_block import AnalogBlock
from ..converters import Adc, Converters, Crossing, Dac
from ..programming.report import LayerLeaks, Passivity, ProgrammingReport, WindowFit
from .block_entry import (
    AnyClampEntry,
    BlockEntry,
    ClampEntry,
    ConverterEntry,
    ConvertersEntry,
    ConvolutionEntry,
    CrossbarEntry,
    Joins,
    LayerEntry,
    PiecewiseLinearClampEntry,
    ProgrammingEntry,
    SampleEntry,
    TileEntry,
    UnitsEntry,
)
from .converter_description import converter_settings, describe_settings
from .errors import CompileError


def describe_block(
    module: str,
    analog: AnalogBlock,
    netlist: Netlist,
    tiles: tuple[Tile, ...],
    size: TileSize,
    samples: tuple[SampleEntry, ...],
) -> BlockEntry:
    """Return a block's entry.

    Args:
        module: path of the torch module.
        analog: the block.
        netlist: its circuit as it is written, conductances included.
        tiles: from `tile_crossbars`.
        size: the largest tile.
        samples: its samples.

    Raises:
        CompileError: if a device is not named as the manifest says.
    """
    built, block = analog.circuit, analog.block
    folder = f"blocks/{block.name}"
    first = built.layers[0] if built.inputs is None else built.inputs
    outputs = [built.layers[k] for k in block.output_layers]
    rest = {name: getattr(block, name) for name in _PLAIN}
    return BlockEntry(
        name=block.name,
        module=module,
        folder=folder,
        top=f"{folder}/top.cir",
        drive=block.drive.value,
        polarity=block.polarity.value,
        **rest,
        inputs=_units(netlist, first),
        input_sources=_input_sources(netlist, built),
        layers=tuple(_layer(netlist, *each) for each in zip(block.layers, built.layers, built.amplified, strict=True)),
        output_layers=tuple(k % len(block.layers) for k in block.output_layers),
        outputs=_joined([_units(netlist, nodes) for nodes in outputs]),
        bias=None if built.bias is None else _units(netlist, built.bias),
        crossbars=tuple(_crossbar(analog, netlist, crossbar, folder) for crossbar in built.crossbars),
        tiles=_tiles(tiles, size),
        converters=_converters(analog),
        counts=_counts(netlist.circuit, block),
        programming=None if analog.report is None else describe_programming(analog.report),
        samples=samples,
    )


# Numbers of `EnergyBlock` that the manifest has under the same name.
_PLAIN = ("v_unit_v", "g_unit_s", "g_min_s", "g_max_s", "temperature_k", "k_over_q_v_per_k", "gmin_s")


def energy_block(entry: BlockEntry) -> EnergyBlock:
    """Return the block that an entry describes.

    Raises:
        CircuitError: if it cannot be.
    """
    plain: dict[str, Any] = {name: getattr(entry, name) for name in _PLAIN}
    layers = []
    for layer in entry.layers:
        clamp, coupling = layer.clamp, layer.coupling
        layers.append(
            NodeLayer(
                size=layer.size,
                clamp=tuple(map(_clamp, clamp)) if isinstance(clamp, tuple) else _clamp(clamp),
                leak_s=layer.leak_s,
                bias=layer.bias,
                coupling=None if coupling is None else Convolution(**coupling.model_dump()),
                amplification=layer.amplification,
            )
        )
    return EnergyBlock(
        name=entry.name,
        n_inputs=len(entry.inputs.p),
        layers=tuple(layers),
        drive=Drive(entry.drive),
        polarity=Polarity(entry.polarity),
        output_layers=entry.output_layers,
        **plain,
    )


def describe_programming(report: ProgrammingReport) -> ProgrammingEntry:
    """Return what programming did, as the manifest has it."""
    return ProgrammingEntry.model_validate(report.to_json())


def programming_report(entry: ProgrammingEntry) -> ProgrammingReport:
    """Return what programming did, as it was."""
    passivity = None
    if entry.passivity is not None:
        p = entry.passivity
        layers = tuple(LayerLeaks(**layer.model_dump()) for layer in p.layers)
        passivity = Passivity(layers=layers, own_s=p.own_s, factor=p.factor, applied=p.applied)
    return ProgrammingReport(
        block=entry.block,
        source=entry.source,
        window=WindowFit(**entry.window.model_dump()),
        passivity=passivity,
        smallest_eigenvalue=entry.smallest_eigenvalue,
    )


def converters(entry: BlockEntry) -> Converters:
    """Return the converters of a block that inference needs."""
    c = entry.converters
    return Converters(input=Dac(**converter_settings(c.input)), output=Adc(**converter_settings(c.output)), seed=c.seed)


def _clamp(entry: AnyClampEntry | None) -> Clamp | None:
    if entry is None:
        return None
    model = entry.model_dump(exclude={"low_v", "high_v", "reference_current_a"})
    return Clamp(
        low_v=entry.low_v,
        high_v=entry.high_v,
        diode=DiodeModel(**model) if isinstance(entry, ClampEntry) else PiecewiseLinearDiode(**model),
        reference_current_a=entry.reference_current_a,
    )


def _clamp_entry(clamp: Clamp | None) -> AnyClampEntry | None:
    if clamp is None:
        return None
    model = {name: float(value) for name, value in asdict(clamp.diode).items()}
    limits = {"low_v": clamp.low_v, "high_v": clamp.high_v}
    given = {name: None if limit is None else float(limit) for name, limit in limits.items()}
    kind = ClampEntry if isinstance(clamp.diode, DiodeModel) else PiecewiseLinearClampEntry
    return kind.model_validate(given | {"reference_current_a": float(clamp.reference_current_a)} | model)


def _units(netlist: Netlist, units: UnitNodes) -> UnitsEntry:
    p, n = (None if nodes is None else tuple(netlist.nodes[k] for k in nodes.tolist()) for nodes in (units.p, units.n))
    return UnitsEntry(p=p or (), n=n)


def _joined(entries: list[UnitsEntry]) -> UnitsEntry:
    p = tuple(name for entry in entries for name in entry.p)
    n = tuple(name for entry in entries for name in entry.n or ())
    return UnitsEntry(p=p, n=n or None)


def _input_sources(netlist: Netlist, built: BlockCircuit) -> UnitsEntry:
    """Return the sources that the input sets: those driven first, p before n, as in `BlockCircuit.drives`."""
    circuit, block = netlist.circuit, built.block
    if block.drive is Drive.VOLTAGE:
        names = [netlist.voltage_sources[k] for k in circuit.driven_voltage_sources.tolist()]
    else:
        names = [netlist.current_sources[k] for k in circuit.driven_current_sources.tolist()]
    p, n = names[: block.n_inputs], names[block.n_inputs : 2 * block.n_inputs]
    return UnitsEntry(p=tuple(p), n=tuple(n) if block.polarity is Polarity.DIFFERENTIAL else None)


def _layer(netlist: Netlist, layer: NodeLayer, nodes: UnitNodes, amplified: UnitNodes | None) -> LayerEntry:
    given = layer.clamp
    clamp = tuple(map(_clamp_entry, given)) if isinstance(given, tuple) else _clamp_entry(given)
    coupling = None if layer.coupling is None else ConvolutionEntry(**asdict(layer.coupling))
    return LayerEntry(
        size=int(layer.size),
        leak_s=layer.leak_s if isinstance(layer.leak_s, tuple) else float(layer.leak_s),
        bias=bool(layer.bias),
        clamp=clamp,
        coupling=coupling,
        units=_units(netlist, nodes),
        amplification=None if layer.amplification is None else float(layer.amplification),
        amplified=None if amplified is None else _units(netlist, amplified),
    )


def _crossbar(analog: AnalogBlock, netlist: Netlist, crossbar: Crossbar, folder: str) -> CrossbarEntry:
    built = analog.circuit
    called = [("inputs", built.inputs), ("bias", built.bias)]
    called += [(f"layer {k}", nodes) for k, nodes in enumerate(built.layers, start=1)]
    called += [(f"layer {k}, amplified", nodes) for k, nodes in enumerate(built.amplified, start=1)]
    rows, columns = (
        next(name for name, nodes in called if nodes is units) for units in (crossbar.rows, crossbar.columns)
    )
    stem = f"r{crossbar.name}_{{row}}_{{column}}"
    differential = crossbar.minus is not None
    plus, minus = siemens(analog, crossbar)
    entry = CrossbarEntry(
        name=crossbar.name,
        rows=rows,
        columns=columns,
        joins=_joins(crossbar),
        shape=tuple(int(n) for n in crossbar.shape),
        plus_devices=(f"{stem}_pp", f"{stem}_nn") if differential else (stem,),
        minus_devices=(f"{stem}_pn", f"{stem}_np") if differential else (),
        plus_s=_rows(plus),
        minus_s=None if minus is None else _rows(minus),
        conductance_map=f"{folder}/{crossbar.name}.png",
    )
    _check_names(entry, crossbar, netlist)
    return entry


def siemens(analog: AnalogBlock, crossbar: Crossbar) -> tuple[Floats, Floats | None]:
    """Return G+ and G- of a crossbar in S, of the shape of its weights; the same products as in `program`."""
    found = []
    for group in (analog.g_plus, analog.g_minus):
        g = group[crossbar.name].detach().double().cpu().numpy() if crossbar.name in group else None
        found.append(None if g is None else g * analog.block.g_unit_s)
    plus, minus = found
    if plus is None:
        raise CompileError(f"block '{analog.block.name}': no weights for crossbar '{crossbar.name}'; make it anew")
    return plus, minus


def _rows(values: Floats) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, values.reshape(len(values), -1).tolist()))


def _joins(crossbar: Crossbar) -> Joins:
    if isinstance(crossbar.wiring, DenseWiring):
        return Joins.DENSE
    return Joins.CHANNEL if isinstance(crossbar.wiring, SharedBiasWiring) else Joins.CONVOLUTION


def _check_names(entry: CrossbarEntry, crossbar: Crossbar, netlist: Netlist) -> None:
    """Hold the names that the manifest promises against those of every device."""
    row, column = (units.ravel().tolist() for units in crossbar.wiring.pairs())
    groups = [*crossbar.plus, *(() if crossbar.minus is None else crossbar.minus)]
    for pattern, devices in zip((*entry.plus_devices, *entry.minus_devices), groups, strict=True):
        for i, j, k in zip(row, column, devices.ravel().tolist(), strict=True):
            if netlist.resistors[k] != pattern.format(row=i, column=j):
                raise CompileError(
                    f"circuit '{netlist.circuit.name}': device '{netlist.resistors[k]}' joins row {i} and column {j} "
                    f"of '{entry.name}', but the manifest would call it '{pattern}'; please report this"
                )


def _tiles(tiles: tuple[Tile, ...], size: TileSize) -> tuple[TileEntry, ...]:
    return tuple(
        TileEntry(
            name=tile.name,
            crossbar=tile.crossbar,
            index=tile.index,
            row_units=(tile.row_units.start, tile.row_units.stop),
            column_units=(tile.column_units.start, tile.column_units.stop),
            rows=use.rows,
            columns=use.columns,
            devices=use.devices,
            utilisation=use.utilisation,
        )
        for tile, use in zip(tiles, tile_table(tiles, size), strict=True)
    )


def _counts(circuit: Circuit, block: EnergyBlock) -> dict[str, int]:
    names = ("resistors", "diodes", "voltage_sources", "current_sources", "capacitors", "amplifiers")
    groups = {name: len(group) for name, group in zip(names, circuit.groups, strict=True) if len(group)}
    active = count_active_leaks(block)
    counts = {"nodes": circuit.n_nodes - 1, "resistors": 0, "diodes": 0} | groups
    return counts | {"active_leaks": active} if active else counts


def count_active_leaks(block: EnergyBlock) -> int:
    """Return the number of units whose leak is negative."""
    return sum(int((layer.leaks_s < 0).sum()) for layer in block.layers)


def _converters(analog: AnalogBlock) -> ConvertersEntry:
    c = analog.converters
    ranges = analog.get_buffer("converter_ranges").double().cpu().numpy()
    v, a = "v_unit_v", "g_unit_s * v_unit_v"
    x = v if analog.block.drive is Drive.VOLTAGE else a
    return ConvertersEntry(
        input=_converter(c.input, "input", x, ranges, Crossing.INPUT),
        output=_converter(c.output, "states of the output layers", v, ranges, Crossing.OUTPUT),
        nudge=_converter(c.nudge, "loss gradient, to nudge currents", a, ranges, Crossing.NUDGE),
        phase=_converter(c.phase, "node voltages in the nudged phases", v, ranges, Crossing.PHASE),
        current=_converter(c.source_current, "source currents in the nudged phases", a, ranges, Crossing.CURRENT),
        seed=c.seed,
    )


def _converter(converter: Dac | Adc, converts: str, unit: str, ranges: Floats, crossing: Crossing) -> ConverterEntry:
    seen = float(np.asarray(ranges)[crossing]) or None
    return ConverterEntry(
        kind="dac" if isinstance(converter, Dac) else "adc",
        converts=converts,
        bits=None if converter.bits is None else int(converter.bits),
        full_scale=None if converter.full_scale is None else float(converter.full_scale),
        in_force=seen if converter.full_scale is None else float(converter.full_scale),
        unit=unit,
        **describe_settings(converter),
    )
