"""Analog stages in a configuration file, and how all of them are run: their layers and `[phases]`.

Inside a stage numbers are dimensionless, in units of its `v_unit_v` and `g_unit_s`.
"""

import math
from dataclasses import fields, replace
from typing import Annotated, Any, Literal, final

from pydantic import BeforeValidator, Field, model_validator

from circuits.diode import NOMINAL_TEMPERATURE_K, DiodeModel
from circuits.diode_presets import diode_preset
from circuits.energy_block import Drive, Polarity
from circuits.piecewise_linear_diode import PiecewiseLinearDiode

from ..phase_settings import DifferenceRead, NudgeScaling, Nudging, ParameterRead
from .section import OFF, READ_LOOSELY, AsWritten, Count, Margin, Name, NotNegative, Positive, Section, known_by


@final
class DiodeSection(AsWritten):
    """The clamp diodes: a level-1 SPICE model, or one that is piecewise-linear, and the clamp's reference current.

    That is the current at which the clamp holds its limit exactly. A threshold or a resistance on or off makes a diode
    piecewise-linear, and so does a preset that is. What is written of the model wins over the preset, key by key.
    """

    preset: Annotated[str | None, known_by(diode_preset), OFF] = None
    saturation_current_a: Positive = 1e-14
    emission_coefficient: Positive = 1.0
    series_resistance_ohm: NotNegative = 0.0
    activation_energy_ev: Positive = 1.11
    saturation_exponent: float = 3.0
    threshold_v: NotNegative = 0.15
    on_resistance_ohm: Positive = 1.0
    off_resistance_ohm: Positive = 1e20
    reference_current_a: Positive = 1e-5

    @model_validator(mode="after")
    def _check(self) -> "DiodeSection":
        base, other = self._base(), DiodeModel if self.is_piecewise_linear else PiecewiseLinearDiode
        wrong = [field.name for field in fields(other) if field.name in self.model_fields_set]
        if wrong:
            kind = "piecewise-linear" if self.is_piecewise_linear else "a level-1 model"
            own = ", ".join(field.name for field in fields(base))
            raise ValueError(f"{wrong[0]}: this diode is {kind}, with {own}; leave the others out")
        if self.is_piecewise_linear and self.on_resistance_ohm >= self.off_resistance_ohm:
            raise ValueError(
                f"on_resistance_ohm = {self.on_resistance_ohm:g} must lie below off_resistance_ohm = "
                f"{self.off_resistance_ohm:g}"
            )
        return self

    @property
    def is_piecewise_linear(self) -> bool:
        """Whether the diode is no junction."""
        return isinstance(self._base(), PiecewiseLinearDiode)

    def _base(self) -> DiodeModel | PiecewiseLinearDiode:
        """Return what the written keys are keys of."""
        if self.preset is not None:
            return diode_preset(self.preset).model
        own = {field.name for field in fields(PiecewiseLinearDiode)}
        return PiecewiseLinearDiode() if own & self.model_fields_set else DiodeModel()

    def model(self) -> DiodeModel | PiecewiseLinearDiode:
        """Return the diode."""
        base = self._base()
        written = [field.name for field in fields(base) if field.name in self.model_fields_set]
        return replace(base, **{name: getattr(self, name) for name in written})


@final
class ConvLayerSection(Section):
    """A convolution of the image before a layer; its square kernel, stride and padding as in torch."""

    channels: Count
    kernel: Count = 3
    stride: Count = 1
    padding: Margin = 0


def _read_leak(value: Any) -> Any:
    """Take a number or a list of numbers; a union of both would report each mistake twice."""
    if not isinstance(value, list | tuple):
        if not _is_finite(value) or value < 0:
            raise ValueError(f"{value!r} is no leak; write zero or more, or a list, one number for each unit")
        return float(value)
    wrong = next((k for k, entry in enumerate(value) if not _is_finite(entry)), None)
    if wrong is not None:
        raise ValueError(f"entry {wrong} is {value[wrong]!r}; write a finite number for each unit")
    return tuple(map(float, value))


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


Limits = tuple[float | Literal["off"], float | Literal["off"]]  # lower and upper; "off" where there is none
Clamps = tuple[Limits | Literal["off"], ...]  # a clamp for each equal run of units; "off" where there is none


def _read_clamp(value: Any) -> Any:
    """Take a pair of limits or a list of such pairs; a union of both would report each mistake twice."""
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not value:
        raise ValueError(f"{value!r} is no clamp; write [low, high], or a list of such, one for each run of units")
    if all(entry == "off" or not isinstance(entry, list | tuple) for entry in value):
        return _read_limits(value)
    return tuple(entry if entry == "off" else _read_limits(entry) for entry in value)


def _read_limits(value: Any) -> Limits:
    is_pair = isinstance(value, list | tuple) and len(value) == 2
    if not is_pair or not all(limit == "off" or _is_finite(limit) for limit in value):
        raise ValueError(f'{value!r} are no limits; write [low, high], numbers or "off" for none')
    low, high = (limit if limit == "off" else float(limit) for limit in value)
    if low == high == "off":
        raise ValueError("a clamp without a limit; leave it out")
    if not isinstance(low, str) and not isinstance(high, str) and low >= high:
        raise ValueError(f"{[low, high]}: the lower limit must lie below the upper one")
    return low, high


@final
class NodeLayerSection(Section):
    """One layer of units, `size` of them or a `conv`: clamp in units of v_unit_v, leak in units of g_unit_s.

    A clamp is a pair of limits, of which one may be "off"; or a list of such, each for an equal run of the units. A
    leak is one number for all units or one each; a negative one is an active element. Units with an amplification
    drive the next layer through bidirectional amplifiers of that gain.
    """

    size: Count | None = None
    conv: ConvLayerSection | None = None
    clamp: Annotated[Limits | Clamps | None, BeforeValidator(_read_clamp)] = None
    leak: Annotated[float | tuple[float, ...], BeforeValidator(_read_leak)] = 0.0
    bias: bool = False
    amplification: Annotated[Positive | None, OFF] = None

    @model_validator(mode="after")
    def _check(self) -> "NodeLayerSection":
        if self.size is None and self.conv is None:
            raise ValueError("size: missing; write the number of units, or conv = { channels = ... }")
        if self.size is not None and self.conv is not None:
            raise ValueError(f"size = {self.size}, but a conv says how many units there are; leave one of them out")
        clamp = self.clamp or ()
        runs = len(clamp) if any(isinstance(entry, tuple) for entry in clamp) else 1
        if self.size is not None and self.size % runs:
            raise ValueError(f"clamp: {runs} clamps for {self.size} units; write a number that divides them equally")
        if self.size is not None and isinstance(self.leak, tuple) and len(self.leak) != self.size:
            raise ValueError(f"leak: {len(self.leak)} numbers for {self.size} units; write one for each, or one number")
        return self


@final
class AnalogStage(Section):
    """An energy block: a resistive network relaxed by the simulator."""

    kind: Literal["analog"]
    layers: Annotated[tuple[NodeLayerSection, ...], Field(strict=False, min_length=1)]
    name: Name | None = None
    drive: Annotated[Drive, READ_LOOSELY] = Drive.VOLTAGE
    polarity: Annotated[Polarity, READ_LOOSELY] = Polarity.DIFFERENTIAL
    output_layers: Annotated[tuple[int, ...], Field(strict=False, min_length=1)] = (-1,)
    g_min: Positive = 1e-3
    g_max: Positive = 2.0
    v_unit_v: Positive = 1.0
    g_unit_s: Positive = 1e-4
    temperature_k: Positive = NOMINAL_TEMPERATURE_K
    diode: DiodeSection = DiodeSection()

    @model_validator(mode="after")
    def _check(self) -> "AnalogStage":
        if self.g_min >= self.g_max:
            raise ValueError(f"g_min = {self.g_min:g} must lie below g_max = {self.g_max:g}")
        n_layers = len(self.layers)
        if self.layers[-1].amplification is not None:
            raise ValueError(f"layers[{n_layers - 1}].amplification: the last layer drives no other; leave it out")
        if any(not -n_layers <= k < n_layers for k in self.output_layers):
            raise ValueError(f"output_layers = {list(self.output_layers)}, but there are layers 0 to {n_layers - 1}")
        return self


@final
class PhasesSection(Section):
    """`[phases]`: how the nudged phases are driven and read."""

    beta: Positive = 0.005
    nudging: Annotated[Nudging, READ_LOOSELY] = Nudging.CENTERED
    scaling: Annotated[NudgeScaling, READ_LOOSELY] = NudgeScaling.PER_SAMPLE
    difference_read: Annotated[DifferenceRead, READ_LOOSELY] = DifferenceRead.SAMPLE_AND_HOLD
    parameter_read: Annotated[ParameterRead, READ_LOOSELY] = ParameterRead.LOCAL
