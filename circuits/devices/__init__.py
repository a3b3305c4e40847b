"""What a real device does to a conductance: one frozen config an effect, `None` for an effect that is off."""

from .cubic import CubicCurrent
from .device import Device
from .device_array import DeviceArray
from .drift import ClippedLogarithm, Drift
from .levels import quantised
from .pipeline import at_temperature, drifted, program, pulsed, read
from .presets import Preset, preset, preset_names
from .programming_error import ErrorDistribution, ProgrammingError
from .pulse_steps import ExponentialStep, LinearStep, PulseStep, SoftBoundsStep
from .pulsed_update import PulsedUpdate
from .read_noise import FlickerReadNoise, RelativeReadNoise
from .spread import Spread, SpreadDistribution
from .stuck import Stuck
from .temperature import TemperatureCoefficient

__all__ = [
    "ClippedLogarithm",
    "CubicCurrent",
    "Device",
    "DeviceArray",
    "Drift",
    "ErrorDistribution",
    "ExponentialStep",
    "FlickerReadNoise",
    "LinearStep",
    "Preset",
    "ProgrammingError",
    "PulseStep",
    "PulsedUpdate",
    "RelativeReadNoise",
    "SoftBoundsStep",
    "Spread",
    "SpreadDistribution",
    "Stuck",
    "TemperatureCoefficient",
    "at_temperature",
    "drifted",
    "preset",
    "preset_names",
    "program",
    "pulsed",
    "quantised",
    "read",
]
