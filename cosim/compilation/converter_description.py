"""What a converter has beside bits and full scale, in the manifest's words, and back."""

from typing import Any

from ..converters import (
    Adc,
    Calibration,
    ConverterErrors,
    Dac,
    Elements,
    InlCurve,
    MaximumRange,
    MovingAverageRange,
    PercentileRange,
    UnitElementMismatch,
)
from .block_entry import CalibrationEntry, ConverterEntry, ConverterErrorsEntry, MismatchEntry

NUMBERS = ("gain_error", "offset_error", "gain_relative_std", "offset_relative_std", "noise_relative_std")


def describe_settings(converter: Dac | Adc) -> dict[str, Any]:
    """Return clipping, calibration, sharing and errors as a `ConverterEntry` has them."""
    return {
        "clip": converter.clip,
        "calibration": _describe_calibration(converter.calibration),
        "channels_per_converter": int(converter.channels_per_converter),
        "errors": None if converter.errors is None else _describe_errors(converter.errors),
    }


def converter_settings(entry: ConverterEntry) -> dict[str, Any]:
    """Return what a converter is made of."""
    return {
        "bits": entry.bits,
        "full_scale": entry.full_scale,
        "clip": entry.clip,
        "calibration": _calibration(entry.calibration),
        "channels_per_converter": entry.channels_per_converter,
        "errors": None if entry.errors is None else _errors(entry.errors),
    }


def _describe_calibration(calibration: Calibration | None) -> CalibrationEntry | None:
    match calibration:
        case None:
            return None
        case MaximumRange(decay=decay):
            return CalibrationEntry(kind="maximum", decay=decay)
        case PercentileRange(decay=decay, percent=percent):
            return CalibrationEntry(kind="percentile", decay=decay, percent=percent)
        case MovingAverageRange(decay=decay, std_multiple=multiple):
            return CalibrationEntry(kind="moving_average", decay=decay, std_multiple=multiple)


def _calibration(entry: CalibrationEntry | None) -> Calibration | None:
    if entry is None:
        return None
    if entry.kind == "percentile" and entry.percent is not None:
        return PercentileRange(percent=entry.percent, decay=entry.decay)
    if entry.kind == "moving_average":
        return MovingAverageRange(std_multiple=entry.std_multiple, decay=entry.decay)
    return MaximumRange(decay=entry.decay)


def _describe_errors(errors: ConverterErrors) -> ConverterErrorsEntry:
    numbers = {name: None if getattr(errors, name) is None else float(getattr(errors, name)) for name in NUMBERS}
    linearity, mismatch = errors.linearity, None
    if isinstance(linearity, UnitElementMismatch):
        mismatch = MismatchEntry(relative_std=float(linearity.relative_std), elements=linearity.elements.value)
    curve = linearity.inl_lsb if isinstance(linearity, InlCurve) else None
    return ConverterErrorsEntry(**numbers, inl_lsb=curve, mismatch=mismatch)


def _errors(entry: ConverterErrorsEntry) -> ConverterErrors:
    linearity: InlCurve | UnitElementMismatch | None = None
    if entry.inl_lsb is not None:
        linearity = InlCurve(inl_lsb=entry.inl_lsb)
    elif entry.mismatch is not None:
        elements = Elements(entry.mismatch.elements)
        linearity = UnitElementMismatch(relative_std=entry.mismatch.relative_std, elements=elements)
    return ConverterErrors(**{name: getattr(entry, name) for name in NUMBERS}, linearity=linearity)
