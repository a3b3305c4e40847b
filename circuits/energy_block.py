"""An energy block in the designer's terms: node layers, how they are driven, polarity, window and scale.

One convention for numbers joins a block to the dimensionless network around it: s = (v_p - v_n) / (2 v_unit), G in
units of g_unit, current drive +-g_unit v_unit x, voltage drive +-v_unit x. Then F = 2 g_unit v_unit^2 E with
E = sum over weights of 1/2 G+ (s - s')^2 + 1/2 G- (s + s')^2, leaks and clamps likewise. With single polarity
s = v / v_unit and F = g_unit v_unit^2 E.
"""

from dataclasses import dataclass
from enum import Enum
from numbers import Integral
from typing import final

import numpy as np

from .arrays import Floats
from .choices import chosen
from .clamp import Clamp
from .convolution import Convolution, format_shape
from .diode import K_OVER_Q_V_PER_K, NOMINAL_TEMPERATURE_K
from .errors import CircuitError


class Polarity(Enum):
    """How a unit and a weight are made of nodes and devices."""

    DIFFERENTIAL = "differential"  # node pair (p, n), four devices a weight: w = G+ - G-
    SINGLE = "single"  # one node, one non-negative conductance a weight


class Drive(Enum):
    """How the block's input enters."""

    VOLTAGE = "voltage"  # ideal sources on the rows of a trainable input crossbar
    CURRENT = "current"  # currents into the units of the first layer


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class NodeLayer:
    """One layer of units.

    Args:
        size: number of units; may be left out where a convolution says it, and is its size then.
        clamp: diodes to one rail or two, or None for a linear layer; or several, of which each holds an equal run of
            consecutive units: (Clamp(low_v=0), Clamp(high_v=0)) makes half of them excitatory, half inhibitory.
        leak_s: S — conductance from each node to ground, zero for none; or one a unit, which may be negative: an
            active element, as a deep Hopfield network needs where its devices load a unit by more than its own leak.
            That of a differential unit lies between p and n, and acts on their difference as one to ground would.
        bias: True for a trainable bias: a pair of devices from each unit to a row at +-v_unit. The units of a convolved
            layer's channel share one value.
        coupling: a convolution of the layer before, or of a voltage-driven input; None for a dense crossbar. A first
            layer that the input drives by currents has neither.
        amplification: gain of a bidirectional amplifier a node, through which the units drive the next layer; None
            where they drive it themselves. The layer's state stays that of the units.
    """

    size: int = 0
    clamp: Clamp | tuple[Clamp | None, ...] | None = None
    leak_s: float | tuple[float, ...] = 0.0
    bias: bool = False
    coupling: Convolution | None = None
    amplification: float | None = None

    def __post_init__(self) -> None:
        if self.coupling is not None:
            self._take_size(self.coupling)
        if isinstance(self.size, bool) or not isinstance(self.size, Integral) or self.size < 1:
            raise CircuitError(f"node layer: size = {self.size!r}; give a whole number of units, one or more")
        self._check_clamp(self.clamp)
        if self.amplification is not None and not (np.isfinite(self.amplification) and self.amplification > 0):
            raise CircuitError(
                f"node layer: amplification = {self.amplification!r}; give a finite gain above zero, or None"
            )
        if isinstance(self.leak_s, int | float | np.number):
            if not (np.isfinite(self.leak_s) and self.leak_s >= 0):
                raise CircuitError(f"node layer: leak_s = {self.leak_s!r}; give zero or more")
        else:
            self._take_leaks(self.leak_s)

    def _check_clamp(self, clamp: object) -> None:
        """Raise CircuitError for what is no clamp, or several that do not divide the units."""
        each = clamp if isinstance(clamp, tuple) else (clamp,)
        for given in each:
            if given is not None and not isinstance(given, Clamp):
                raise CircuitError(f"node layer: clamp = {clamp!r}; give Clamp(low_v=..., high_v=...) or None")
        if not each or self.size % len(each):
            raise CircuitError(
                f"node layer: {len(each)} clamps for {self.size} units; give a number that divides them into equal runs"
            )

    def _take_leaks(self, leak_s: object) -> None:
        """Take a leak a unit."""
        values = np.asarray(leak_s, dtype=np.float64)
        if values.shape != (self.size,):
            raise CircuitError(
                f"node layer: {values.size} leaks for {self.size} units; give one a unit, or one for all"
            )
        if not np.isfinite(values).all():
            unit = int(np.flatnonzero(~np.isfinite(values))[0])
            raise CircuitError(f"node layer: leak_s of unit {unit} is {values[unit]}; give finite values")
        object.__setattr__(self, "leak_s", tuple(values.tolist()))

    def _take_size(self, coupling: object) -> None:
        """Take the size from the convolution."""
        if not isinstance(coupling, Convolution):
            raise CircuitError(f"node layer: coupling = {coupling!r}; give Convolution(...), or None for a dense one")
        if self.size not in {0, coupling.n_columns}:
            raise CircuitError(
                f"node layer: size = {self.size!r}, but the convolution gives {format_shape(coupling.output_shape)} = "
                f"{coupling.n_columns} units; leave size out"
            )
        object.__setattr__(self, "size", coupling.n_columns)

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, height, width) of a convolved image, (size,) of other layers."""
        return (self.size,) if self.coupling is None else self.coupling.output_shape

    @property
    def clamp_runs(self) -> tuple[tuple[slice, Clamp], ...]:
        """Each clamp with the units that it holds; none where the layer is linear."""
        clamps = self.clamp if isinstance(self.clamp, tuple) else (self.clamp,)
        n = self.size // len(clamps)
        runs = ((slice(k * n, (k + 1) * n), clamp) for k, clamp in enumerate(clamps))
        return tuple((units, clamp) for units, clamp in runs if clamp is not None)

    @property
    def is_clamped(self) -> bool:
        """Whether any of its units has a clamp."""
        return bool(self.clamp_runs)

    @property
    def leaks_s(self) -> Floats:
        """[size] S — leak of each unit; empty where the layer has none."""
        if isinstance(self.leak_s, tuple):
            return np.array(self.leak_s)
        return np.full(self.size, self.leak_s) if self.leak_s > 0 else np.zeros(0)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class EnergyBlock:
    """A resistive energy block.

    Args:
        name: what errors call the block.
        n_inputs: size of the input; with current drive the size of the first layer.
        layers: node layers, from the input on; each is joined to the one before, densely or by a convolution.
        drive: how the input enters.
        polarity: differential (default) or single.
        output_layers: layers (from 0, negative from the end) that are read and nudged; their states are concatenated.
        v_unit_v: V — voltage of the dimensionless 1.
        g_unit_s: S — conductance of the dimensionless 1.
        g_min_s, g_max_s: S — window of the trainable conductances.
        temperature_k: K — of the diodes.
        k_over_q_v_per_k: V/K — the simulator's k/q.
        gmin_s: S — conductance across each junction.
    """

    name: str
    n_inputs: int
    layers: tuple[NodeLayer, ...]
    drive: Drive = Drive.VOLTAGE
    polarity: Polarity = Polarity.DIFFERENTIAL
    output_layers: tuple[int, ...] = (-1,)
    v_unit_v: float = 1.0
    g_unit_s: float = 1e-4
    g_min_s: float = 1e-7
    g_max_s: float = 2e-4
    temperature_k: float = NOMINAL_TEMPERATURE_K
    k_over_q_v_per_k: float = K_OVER_Q_V_PER_K
    gmin_s: float = 1e-15

    def __post_init__(self) -> None:
        given: object = self.layers
        object.__setattr__(self, "layers", (given,) if isinstance(given, NodeLayer) else tuple(self.layers))
        object.__setattr__(self, "output_layers", tuple(self.output_layers))
        where = f"block '{self.name}'"
        object.__setattr__(self, "drive", chosen(Drive, self.drive, f"{where}: drive", CircuitError))
        object.__setattr__(self, "polarity", chosen(Polarity, self.polarity, f"{where}: polarity", CircuitError))
        for layer in self.layers:
            if not isinstance(layer, NodeLayer):
                raise CircuitError(f"{where}: layers holds {layer!r}; give NodeLayer(size=...)")
        if not self.layers:
            raise CircuitError(f"{where}: no node layers; give at least one")
        if self.n_inputs < 1:
            raise CircuitError(f"{where}: n_inputs = {self.n_inputs}; give one or more")
        if self.drive is Drive.CURRENT and self.n_inputs != self.layers[0].size:
            raise CircuitError(
                f"{where}: {self.n_inputs} inputs drive currents into a first layer of {self.layers[0].size} units; "
                "give it as many units as inputs, or use voltage drive"
            )
        self._check_couplings(where)
        if self.layers[-1].amplification is not None:
            raise CircuitError(
                f"{where}: layer {len(self.layers)}, the last, has amplification = {self.layers[-1].amplification:g}, "
                "but drives no other; leave it out"
            )
        for field in ("v_unit_v", "g_unit_s", "g_min_s", "temperature_k", "k_over_q_v_per_k"):
            value = getattr(self, field)
            if not (np.isfinite(value) and value > 0):
                raise CircuitError(f"{where}: {field} = {value!r}; give a finite value above zero")
        if not (np.isfinite(self.gmin_s) and self.gmin_s >= 0):
            raise CircuitError(f"{where}: gmin_s = {self.gmin_s!r}; give zero or more")
        if not (np.isfinite(self.g_max_s) and self.g_max_s > self.g_min_s):
            raise CircuitError(f"{where}: window upside down: g_min_s = {self.g_min_s:g}, g_max_s = {self.g_max_s:g}")
        n_layers = len(self.layers)
        if not self.output_layers or any(not -n_layers <= k < n_layers for k in self.output_layers):
            raise CircuitError(
                f"{where}: output_layers = {self.output_layers} but the block has layers 0..{n_layers - 1}"
            )
        if len({k % n_layers for k in self.output_layers}) != len(self.output_layers):
            raise CircuitError(f"{where}: output_layers = {self.output_layers} names a layer twice")

    def _check_couplings(self, where: str) -> None:
        """Raise CircuitError for a convolution of an image that the layer before it is not."""
        before: tuple[int, ...] = (self.n_inputs,)
        called = "the input"
        for k, layer in enumerate(self.layers, start=1):
            coupling = layer.coupling
            if coupling is not None and k == 1 and self.drive is Drive.CURRENT:
                raise CircuitError(
                    f"{where}: layer 1 has a coupling, but the input enters it as currents; give "
                    f"NodeLayer(size={self.n_inputs}), or use voltage drive"
                )
            shape = () if coupling is None else coupling.input_shape
            if coupling is not None and before != (shape if len(before) > 1 else (coupling.n_rows,)):
                raise CircuitError(
                    f"{where}: layer {k} convolves {format_shape(shape)} = {coupling.n_rows} units, but {called} has "
                    f"{format_shape(before)}; give that as input_shape"
                )
            before, called = layer.shape, f"layer {k}"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(channels, height, width) of an input that is an image, (n_inputs,) of another.

        It is one where a convolution takes it, or the first layer that currents drive.
        """
        first = 0 if self.drive is Drive.VOLTAGE else 1
        coupling = self.layers[first].coupling if first < len(self.layers) else None
        return (self.n_inputs,) if coupling is None else coupling.input_shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        """(channels, height, width) where the one layer read is an image, (n_outputs,) otherwise."""
        if len(self.output_layers) > 1:
            return (self.n_outputs,)
        place = self.output_layers[0] % len(self.layers)
        is_driven_image = place == 0 and self.drive is Drive.CURRENT
        return self.input_shape if is_driven_image else self.layers[place].shape

    @property
    def energy_weights(self) -> tuple[float, ...]:
        """Weight of each layer's share of the energy, with its crossbar, bias, leaks and clamps.

        Equation: E = sum_l c_l F_l, c_1 = 1, c_(l+1) = c_l / A_l^2.
        """
        weights = [1.0]
        for layer in self.layers[:-1]:
            weights.append(weights[-1] if layer.amplification is None else weights[-1] / layer.amplification**2)
        return tuple(weights)

    @property
    def output_weight(self) -> float:
        """Energy weight of the last layer that is nudged; a nudge of 1 adds so much of the loss to the energy."""
        return self.energy_weights[max(k % len(self.layers) for k in self.output_layers)]

    @property
    def nudge_shares(self) -> Floats:
        """[n_outputs] by which nudges are scaled, so that those of all layers count alike: A^-2 for each amplifier."""
        weights, n = self.energy_weights, len(self.layers)
        shares = [np.full(self.layers[k].size, self.output_weight / weights[k % n]) for k in self.output_layers]
        return np.concatenate(shares)

    @property
    def n_outputs(self) -> int:
        """Size of the block's output."""
        return sum(self.layers[k].size for k in self.output_layers)

    @property
    def window(self) -> tuple[float, float]:
        """The window of the conductances in units of g_unit."""
        return self.g_min_s / self.g_unit_s, self.g_max_s / self.g_unit_s
