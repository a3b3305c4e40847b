"""The converters of a block, one kind on each crossing."""

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import final

from circuits.choices import chosen

from ..errors import BlockError
from .converter import Adc, Dac
from .staircase import require_whole


class NoiseDraw(Enum):
    """Whether the two phases that are compared get noise of their own, where each is converted.

    It is of the nudge DAC with centered nudging, and of the ADCs with difference_read = each_phase. A difference that
    was held in analog is converted once, as are inputs, which a DAC holds through all phases, and outputs.
    """

    ANEW = "anew"  # at each conversion
    SAME = "same"  # one draw for both phases, as of noise that is slower than they: it cancels in their difference


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Converters:
    """The converters of one block.

    Args:
        input: DAC of x; converts once a sample, and holds it through all phases.
        output: ADC of the free phase's outputs.
        nudge: DAC of the nudge currents; with per-sample scaling its full scale is 1, the largest |ds| of a sample.
        phase: ADC of node voltages in the nudged phases.
        current: ADC of source currents in the nudged phases; None is one like `phase`, ranged from the data.
        seed: of spread, mismatch and noise; blocks differ by their name.
        noise_draw: whether both nudged phases get noise of their own.

    Raises:
        BlockError: for what cannot be.
    """

    input: Dac = field(default_factory=Dac)
    output: Adc = field(default_factory=Adc)
    nudge: Dac = field(default_factory=Dac)
    phase: Adc = field(default_factory=Adc)
    current: Adc | None = None
    seed: int = 0
    noise_draw: NoiseDraw = NoiseDraw.ANEW

    def __post_init__(self) -> None:
        kind = chosen(NoiseDraw, self.noise_draw, "converters: noise_draw", BlockError)
        object.__setattr__(self, "noise_draw", kind)
        require_whole("converters", "seed", self.seed, 0)

    @staticmethod
    def ideal() -> "Converters":
        """Return converters without resolution limits."""
        return Converters()

    @staticmethod
    def uniform(bits: int) -> "Converters":
        """Return converters of one resolution everywhere, ranged from the data."""
        return Converters(input=Dac(bits=bits), output=Adc(bits=bits), nudge=Dac(bits=bits), phase=Adc(bits=bits))

    @property
    def source_current(self) -> Adc:
        """The ADC of source currents."""
        return self.current or replace(self.phase, full_scale=None)
