"""`[converters]` of a configuration file: a published set, or each converter's bits, range and errors.

What is written of a converter wins over the preset, key by key; so a file is saved as it was written.
"""

from enum import Enum
from typing import Annotated, Any, ClassVar, final

from pydantic import Field, model_validator

from ..converters import (
    RANGE_DECAY,
    Adc,
    Calibration,
    ConverterErrors,
    Converters,
    Dac,
    Elements,
    InlCurve,
    MaximumRange,
    MovingAverageRange,
    NoiseDraw,
    PercentileRange,
    UnitElementMismatch,
    converter_preset,
)
from ..errors import BlockError
from .section import OFF, READ_LOOSELY, AsWritten, Count, NotNegative, Positive, Section, Seed, known_by, none_for

ERRORS = ("gain_error", "offset_error", "gain_relative_std", "offset_relative_std", "noise_relative_std")
CROSSINGS = ("input", "output", "nudge", "phase", "current")


class CalibrationKind(Enum):
    """How a full scale that is ranged from the data follows it."""

    MAX = "max"
    PERCENTILE = "percentile"
    MOVING_AVERAGE = "moving_average"


@final
class ConverterSection(AsWritten):
    """One converter: bits or "ideal"; full scale in units, or "data" to range it from what passes; its errors."""

    words_for_none: ClassVar = {"bits": "ideal", "full_scale": "data"}

    bits: Annotated[Annotated[int, Field(ge=1, le=32)] | None, none_for("ideal")] = None
    full_scale: Annotated[Positive | None, none_for("data")] = None
    clip: bool = False
    calibration: Annotated[CalibrationKind, READ_LOOSELY] = CalibrationKind.MAX
    decay: Annotated[float, Field(gt=0, le=1)] = RANGE_DECAY
    percent: Annotated[Annotated[float, Field(gt=0, le=100)] | None, OFF] = None
    std_multiple: Annotated[Positive | None, OFF] = None
    gain_error: Annotated[Annotated[float, Field(gt=-1)] | None, OFF] = None
    offset_error: Annotated[float | None, OFF] = None
    gain_relative_std: Annotated[NotNegative | None, OFF] = None
    offset_relative_std: Annotated[NotNegative | None, OFF] = None
    noise_relative_std: Annotated[NotNegative | None, OFF] = None
    inl_lsb: Annotated[tuple[float, ...] | None, READ_LOOSELY, OFF] = None
    unit_element_relative_std: Annotated[NotNegative | None, OFF] = None
    unit_elements: Annotated[Elements, READ_LOOSELY] = Elements.BINARY
    channels_per_converter: Count = 1

    @model_validator(mode="after")
    def _check(self) -> "ConverterSection":
        for key, kind in (("percent", CalibrationKind.PERCENTILE), ("std_multiple", CalibrationKind.MOVING_AVERAGE)):
            value = getattr(self, key)
            if value is not None and self.calibration is not kind:
                raise ValueError(
                    f'{key} = {value:g} is for calibration = "{kind.value}", but it is "{self.calibration.value}"; '
                    "set that, or leave it out"
                )
        if self.inl_lsb is not None and self.unit_element_relative_std is not None:
            raise ValueError("inl_lsb gives the curve that unit_element_relative_std would draw; leave one of them out")
        return self

    def over(self, base: "ConverterSection") -> "ConverterSection":
        """Return this section with what it does not write as in another."""
        return base.model_copy(update={key: getattr(self, key) for key in self.model_fields_set})

    @property
    def range_calibration(self) -> Calibration | None:
        """How the range follows the data; None is the default."""
        match self.calibration:
            case CalibrationKind.MAX:
                return None if self.decay == RANGE_DECAY else MaximumRange(decay=self.decay)
            case CalibrationKind.PERCENTILE:
                percent = PercentileRange().percent if self.percent is None else self.percent
                return PercentileRange(percent=percent, decay=self.decay)
            case CalibrationKind.MOVING_AVERAGE:
                return MovingAverageRange(decay=self.decay, std_multiple=self.std_multiple)

    @property
    def errors(self) -> ConverterErrors | None:
        """What the converter does wrong; None is nothing."""
        linearity: InlCurve | UnitElementMismatch | None = None
        if self.inl_lsb is not None:
            linearity = InlCurve(inl_lsb=self.inl_lsb)
        elif self.unit_element_relative_std is not None:
            linearity = UnitElementMismatch(relative_std=self.unit_element_relative_std, elements=self.unit_elements)
        numbers = {name: getattr(self, name) for name in ERRORS}
        if linearity is None and all(value is None for value in numbers.values()):
            return None
        return ConverterErrors(**numbers, linearity=linearity)

    @staticmethod
    def of(converter: Dac | Adc) -> "ConverterSection":
        """Return the section that makes a converter of a preset: bits, range, noise, gain and offset."""
        errors = converter.errors or ConverterErrors()
        return ConverterSection(
            bits=converter.bits,
            full_scale=converter.full_scale,
            clip=converter.clip,
            channels_per_converter=converter.channels_per_converter,
            **{name: getattr(errors, name) for name in ERRORS},
        )


@final
class ConvertersSection(Section):
    """`[converters]`: DACs on inputs and nudges, ADCs on outputs, on the phases' voltages and source currents."""

    preset: Annotated[str | None, known_by(converter_preset), OFF] = None
    seed: Seed = 0
    noise_draw: Annotated[NoiseDraw, READ_LOOSELY] = NoiseDraw.ANEW
    input: ConverterSection = ConverterSection()
    output: ConverterSection = ConverterSection()
    nudge: ConverterSection = ConverterSection()
    phase: ConverterSection = ConverterSection()
    current: ConverterSection | None = None

    @model_validator(mode="after")
    def _check(self) -> "ConvertersSection":
        self.made()
        return self

    def made(self) -> Converters:
        """Return the converters.

        Raises:
            ValueError: for what they cannot be together, with the converter's key.
        """
        base = Converters() if self.preset is None else converter_preset(self.preset).converters
        made: dict[str, Any] = {}
        for name in CROSSINGS:
            section, of_preset = getattr(self, name), getattr(base, name)
            if section is not None:
                section = section.over(ConverterSection.of(of_preset or base.source_current))
            kind = Dac if name in {"input", "nudge"} else Adc
            try:
                made[name] = of_preset if section is None else _converter(kind, section)
            except BlockError as error:
                raise ValueError(f"{name}: {error}") from None
        return Converters(**made, seed=self.seed, noise_draw=self.noise_draw)


def _converter(kind: type[Dac | Adc], section: ConverterSection) -> Dac | Adc:
    return kind(
        bits=section.bits,
        full_scale=section.full_scale,
        clip=section.clip,
        calibration=section.range_calibration,
        errors=section.errors,
        channels_per_converter=section.channels_per_converter,
    )
