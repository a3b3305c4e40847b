"""What a converter does wrong: gain, offset, noise and nonlinearity; the same words for a DAC and an ADC."""

from dataclasses import dataclass
from typing import final

from ..errors import BlockError
from .linearity import InlCurve, Linearity, UnitElementMismatch
from .staircase import require_number


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ConverterErrors:
    """Errors of a converter, on its analog side; None is off.

    Equation: a DAC gives, and an ADC sees in place of v, (1 + gain) v + full_scale (offset + noise), where gain is
    gain_error + gain_relative_std xi_c, offset is offset_error + offset_relative_std xi_c, and noise is
    noise_relative_std xi: xi_c is drawn once for each converter of a bank, xi at each conversion.

    Args:
        gain_error: relative, of all converters alike.
        offset_error: of the full scale, of all converters alike.
        gain_relative_std: spread between the converters of a bank.
        offset_relative_std: likewise, of the full scale.
        noise_relative_std: of the full scale; input-referred of an ADC.
        linearity: INL, a curve or drawn.

    Raises:
        BlockError: for a spread or noise below zero, or what is not finite; for a gain of zero or less.
    """

    gain_error: float | None = None
    offset_error: float | None = None
    gain_relative_std: float | None = None
    offset_relative_std: float | None = None
    noise_relative_std: float | None = None
    linearity: Linearity | None = None

    def __post_init__(self) -> None:
        where = "converter errors"
        require_number(where, gain_error=self.gain_error, offset_error=self.offset_error)
        require_number(
            where,
            lowest=0.0,
            gain_relative_std=self.gain_relative_std,
            offset_relative_std=self.offset_relative_std,
            noise_relative_std=self.noise_relative_std,
        )
        if self.gain_error is not None and self.gain_error <= -1:
            raise BlockError(f"{where}: gain_error = {self.gain_error!r} leaves no gain; give a number above -1")
        if self.linearity is not None and not isinstance(self.linearity, InlCurve | UnitElementMismatch):
            raise BlockError(f"{where}: linearity = {self.linearity!r}; give an InlCurve or a UnitElementMismatch")
