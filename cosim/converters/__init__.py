"""DACs and ADCs on the crossings between digital and analog: resolution, range, noise and nonlinearity.

All values here are dimensionless: in units of v_unit for voltages and of g_unit v_unit for currents.
"""

from .bank import Bank, ConverterBanks
from .calibration import RANGE_DECAY, Calibration, MaximumRange, MovingAverageRange, PercentileRange
from .converter import Adc, Dac
from .converter_set import Converters, NoiseDraw
from .error_model import ConverterErrors
from .linearity import Elements, InlCurve, UnitElementMismatch, dnl_lsb, inl_lsb
from .presets import ConverterPreset, converter_preset, converter_preset_names
from .ranges import Crossing, Ranges
from .staircase import lsb, quantise
from .state import ConverterState, complete_state

__all__ = [
    "RANGE_DECAY",
    "Adc",
    "Bank",
    "Calibration",
    "ConverterBanks",
    "ConverterErrors",
    "ConverterPreset",
    "ConverterState",
    "Converters",
    "Crossing",
    "Dac",
    "Elements",
    "InlCurve",
    "MaximumRange",
    "MovingAverageRange",
    "NoiseDraw",
    "PercentileRange",
    "Ranges",
    "UnitElementMismatch",
    "complete_state",
    "converter_preset",
    "converter_preset_names",
    "dnl_lsb",
    "inl_lsb",
    "lsb",
    "quantise",
]
