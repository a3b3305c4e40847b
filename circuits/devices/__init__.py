"""What a real device does to a conductance: one frozen config an effect, `None` for an effect that is off."""

from .conductance_laws import ClippedLogarithm, ConductanceLaw, LogarithmThenPolynomial
from .cubic import CubicCurrent
from .device import Device
from .device_array import DeviceArray
from .drift import Drift
from .levels import quantised
from .pipeline import at_temperature, drifted, program, pulsed, read
from .preset import Preset
from .presets import preset, preset_names
from .program_and_verify import Verify, VerifyBy, VerifyReport, program_and_verify
from .programming_error import ErrorDistribution, ProgrammingError
from .pulse_counts import pulses_for
from .pulse_steps import ExponentialStep, LinearStep, PulseStep, SoftBoundsStep
from .pulsed_update import PulsedUpdate
from .read_noise import FittedFlickerReadNoise, FlickerReadNoise, RelativeReadNoise
from .relaxation import Relaxation
from .spread import Spread, SpreadDistribution
from .stuck import Stuck
from .temperature import TemperatureCoefficient

__all__ = [
    "ClippedLogarithm",
    "ConductanceLaw",
    "CubicCurrent",
    "Device",
    "DeviceArray",
    "Drift",
    "ErrorDistribution",
    "ExponentialStep",
    "FittedFlickerReadNoise",
    "FlickerReadNoise",
    "LinearStep",
    "LogarithmThenPolynomial",
    "Preset",
    "ProgrammingError",
    "PulseStep",
    "PulsedUpdate",
    "RelativeReadNoise",
    "Relaxation",
    "SoftBoundsStep",
    "Spread",
    "SpreadDistribution",
    "Stuck",
    "TemperatureCoefficient",
    "Verify",
    "VerifyBy",
    "VerifyReport",
    "at_temperature",
    "drifted",
    "preset",
    "preset_names",
    "program",
    "program_and_verify",
    "pulsed",
    "pulses_for",
    "quantised",
    "read",
]
