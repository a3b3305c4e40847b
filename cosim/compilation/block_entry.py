"""An energy block in the manifest of a bundle: its description, its nodes and devices, converters and files."""

from enum import Enum
from typing import Annotated, Literal, final

from pydantic import Field

from .entry import Count, Entry, FilePath

Names = Annotated[tuple[str, ...], Field(description="SPICE names, one a unit, in the order of the units")]
Siemens = Annotated[
    tuple[tuple[float, ...], ...],
    Field(description="S, of every weight: [i][j]; of a convolution [channel][channel before, ky, kx laid out]"),
]


class Joins(Enum):
    """Which units a crossbar's weights join."""

    DENSE = "dense"  # weight (i, j): row unit i and column unit j
    CONVOLUTION = "convolution"  # a weight, one tap of a kernel, is repeated at every place of the image
    CHANNEL = "channel"  # weight (0, c): the bias row and every unit of channel c


@final
class UnitsEntry(Entry):
    """Units and their nodes: a pair (p, n) a unit, or one node p with single polarity."""

    p: Names
    n: Names | None = None


@final
class ConvolutionEntry(Entry):
    """A 2-D convolution of the layer before, as torch.nn.Conv2d."""

    input_shape: tuple[int, int, int]
    channels: int
    kernel: int
    stride: int
    padding: int


Limit = Annotated[float | None, Field(description="V of the p node; null: no such limit, and no diode")]


@final
class ClampEntry(Entry):
    """Diodes to a rail each: limits in V of the p node; the diode is ngspice's level 1."""

    low_v: Limit
    high_v: Limit
    reference_current_a: float
    saturation_current_a: float
    emission_coefficient: float
    series_resistance_ohm: float
    activation_energy_ev: float
    saturation_exponent: float


@final
class PiecewiseLinearClampEntry(Entry):
    """Diodes to a rail each, I = max(v / R_off, (v - V_th) / R_on)."""

    low_v: Limit
    high_v: Limit
    reference_current_a: float
    threshold_v: float
    on_resistance_ohm: float
    off_resistance_ohm: float


AnyClampEntry = ClampEntry | PiecewiseLinearClampEntry


@final
class LayerEntry(Entry):
    """A layer of units."""

    size: Count
    leak_s: Annotated[
        float | tuple[float, ...],
        Field(
            description="S, from each node to ground; a list has one a unit, and a negative one is an active element"
        ),
    ]
    bias: bool
    clamp: Annotated[
        AnyClampEntry | tuple[AnyClampEntry | None, ...] | None,
        Field(description="null: none; a list cuts the units into equal consecutive runs, a clamp each"),
    ]
    coupling: Annotated[ConvolutionEntry | None, Field(description="null: dense")]
    units: UnitsEntry
    amplification: Annotated[
        float | None, Field(description="gain of the amplifiers through which the units drive the next layer")
    ] = None
    amplified: Annotated[UnitsEntry | None, Field(description="nodes behind the amplifiers")] = None


@final
class CrossbarEntry(Entry):
    """Weights w = G+ - G- between two groups of units, and the devices that they are made of."""

    name: str
    rows: Annotated[str, Field(description="'inputs', 'bias', 'layer 1' or 'layer 1, amplified'")]
    columns: str
    joins: Annotated[Joins, Field(strict=False)]
    shape: Annotated[tuple[int, ...], Field(description="of the weights")]
    plus_devices: Annotated[
        tuple[str, ...],
        Field(description="SPICE names of the devices at row unit {row} and column unit {column} that have G+"),
    ]
    minus_devices: Annotated[tuple[str, ...], Field(description="likewise for G-; none with single polarity")]
    plus_s: Siemens
    minus_s: Siemens | None
    conductance_map: FilePath

    def devices(self, row: int, column: int) -> tuple[str, ...]:
        """Return the names of the devices between a row unit and a column unit, those of G+ first."""
        patterns = (*self.plus_devices, *self.minus_devices)
        return tuple(pattern.format(row=row, column=column) for pattern in patterns)


@final
class TileEntry(Entry):
    """One tile of a crossbar: the subcircuit of that name in crossbars.inc, called as x<name>."""

    name: str
    crossbar: str
    index: tuple[int, int]
    row_units: Annotated[tuple[int, int], Field(description="first, and one behind the last")]
    column_units: tuple[int, int]
    rows: Annotated[Count, Field(description="row wires used")]
    columns: Annotated[Count, Field(description="column wires used")]
    devices: Count
    utilisation: Annotated[float, Field(description="devices over the places of a full tile")]


@final
class CalibrationEntry(Entry):
    """How a range follows the data; none but the running maximum has an entry."""

    kind: Literal["maximum", "percentile", "moving_average"]
    decay: float
    percent: float | None = None
    std_multiple: float | None = None


@final
class MismatchEntry(Entry):
    """INL that is drawn from unit elements."""

    relative_std: float
    elements: Literal["binary", "thermometer"]


@final
class ConverterErrorsEntry(Entry):
    """What a converter does wrong, see `ConverterErrors`; null: nothing of the kind."""

    gain_error: float | None = None
    offset_error: Annotated[float | None, Field(description="of the full scale")] = None
    gain_relative_std: float | None = None
    offset_relative_std: Annotated[float | None, Field(description="of the full scale")] = None
    noise_relative_std: Annotated[float | None, Field(description="of the full scale")] = None
    inl_lsb: Annotated[tuple[float, ...] | None, Field(description="from the lowest code to the highest")] = None
    mismatch: MismatchEntry | None = None


@final
class ConverterEntry(Entry):
    """A DAC or ADC; full scales are in units of `unit`."""

    kind: Literal["dac", "adc"]
    converts: str
    bits: Annotated[int | None, Field(description="null: ideal")]
    full_scale: Annotated[float | None, Field(description="null: ranged from the data")]
    in_force: Annotated[float | None, Field(description="the full scale in force; null: nothing was seen yet")]
    unit: str
    clip: Annotated[bool, Field(description="whether ideal resolution clips, too")] = False
    calibration: CalibrationEntry | None = None
    channels_per_converter: int = 1
    errors: Annotated[ConverterErrorsEntry | None, Field(description="null: none")] = None


@final
class ConvertersEntry(Entry):
    """The converters of a block; nudge, phase and current are for training only."""

    input: ConverterEntry
    output: ConverterEntry
    nudge: ConverterEntry
    phase: ConverterEntry
    current: ConverterEntry
    seed: Annotated[int, Field(description="of spread, mismatch and noise")] = 0


@final
class SampleEntry(Entry):
    """A deck for one real input, with the voltages that the network has there."""

    number: Count
    deck: FilePath
    drives: FilePath
    voltages: FilePath


@final
class WindowEntry(Entry):
    """How conductances came into the window, see `WindowFit`."""

    g_min_s: float
    g_max_s: float
    g_unit_s: Annotated[float, Field(description="S, the scale in force")]
    scale: Annotated[float, Field(description="by which conductances and currents were multiplied; 1: they fitted")]
    weights: Annotated[Count, Field(description="of the block, biases included; of a convolution the kernel's")]
    outside: Annotated[Count, Field(description="weights with a device outside the window at the scale asked for")]
    raised: Annotated[Count, Field(description="pairs raised to g_min, which leaks make up for")]
    clipped: Annotated[Count, Field(description="weights that are others now")]
    largest_change_s: Annotated[float, Field(description="S, of a weight by clipping")]


@final
class LayerLeaksEntry(Entry):
    """The leaks of a layer."""

    layer: Annotated[Count, Field(description="from 1")]
    units: Count
    active: Annotated[Count, Field(description="units whose leak is negative, an active element")]
    lowest_s: float
    highest_s: float


@final
class PassivityEntry(Entry):
    """Whether leaks are resistors, see `Passivity`."""

    layers: tuple[LayerLeaksEntry, ...]
    own_s: Annotated[
        float | None,
        Field(
            description="S, 1 / slope of the unit with the lowest leak; of a circuit its leak before, null: the same"
        ),
    ]
    factor: Annotated[
        float | None,
        Field(description="largest on all weights that leaves every leak passive; 0: devices at g_min are too much"),
    ]
    applied: Annotated[float | None, Field(description="factor that was applied to need no active leak")]
    units: Count
    active: Count
    lowest_s: float


@final
class ProgrammingEntry(Entry):
    """How a block came to its conductances; training afterwards changes them, but no leak."""

    block: str
    source: Annotated[str, Field(description="what it was: 'hopfield block' or 'analog block'")]
    window: WindowEntry
    passivity: Annotated[PassivityEntry | None, Field(description="null: leaks are as they were")]
    smallest_eigenvalue: Annotated[
        float | None,
        Field(description="of the unclamped Hessian in g_unit; above 0: one equilibrium; null: it is, as it was"),
    ]


@final
class BlockEntry(Entry):
    """An energy block: its description, its nodes and devices, and its files."""

    name: str
    module: Annotated[str, Field(description="path of the torch module; '' is the network itself")]
    folder: FilePath
    top: FilePath
    drive: Literal["voltage", "current"]
    polarity: Literal["differential", "single"]
    v_unit_v: Annotated[float, Field(description="V, voltage of the dimensionless 1")]
    g_unit_s: Annotated[float, Field(description="S, conductance of the dimensionless 1")]
    g_min_s: float
    g_max_s: float
    temperature_k: float
    k_over_q_v_per_k: float
    gmin_s: float
    inputs: Annotated[UnitsEntry, Field(description="in the order of the input; the nodes that the sources drive")]
    input_sources: Annotated[UnitsEntry, Field(description="sources that the input sets: its value is {drive_<name>}")]
    layers: tuple[LayerEntry, ...]
    output_layers: Annotated[tuple[int, ...], Field(description="numbers of the layers read, from 0")]
    outputs: Annotated[UnitsEntry, Field(description="in the order of the output")]
    bias: UnitsEntry | None
    crossbars: tuple[CrossbarEntry, ...]
    tiles: tuple[TileEntry, ...]
    converters: ConvertersEntry
    counts: Annotated[
        dict[str, Count], Field(description="nodes but ground, devices of each kind, and units with an active leak")
    ]
    programming: Annotated[ProgrammingEntry | None, Field(description="null: it is the circuit that was trained")]
    samples: tuple[SampleEntry, ...]

    def crossbar(self, name: str) -> CrossbarEntry:
        """Return a crossbar by its name."""
        return next(crossbar for crossbar in self.crossbars if crossbar.name == name)
