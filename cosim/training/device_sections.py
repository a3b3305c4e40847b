"""`[devices]` of a configuration file: what the crossbars are made of, a preset or numbers of one's own.

What is written wins over the preset, key by key, and "off" switches an effect of the preset off; so a file is saved as
it was written.
"""

from dataclasses import replace
from enum import Enum
from typing import Annotated, Any, ClassVar, final

from pydantic import Field, model_validator

from circuits.crossbar_devices import CrossbarDevices, ReadDraw, Write
from circuits.devices import (
    CubicCurrent,
    Device,
    Drift,
    ExponentialStep,
    LinearStep,
    ProgrammingError,
    PulsedUpdate,
    PulseStep,
    RelativeReadNoise,
    SoftBoundsStep,
    Spread,
    SpreadDistribution,
    Stuck,
    TemperatureCoefficient,
    Verify,
    VerifyBy,
    preset,
)
from circuits.devices.preset import BLOCK_WINDOW_S
from circuits.devices.pulse_counts import MOST_PULSES
from circuits.devices.pulsed_update import STANDARD_DEVIATIONS
from circuits.diode import NOMINAL_TEMPERATURE_K
from circuits.errors import CircuitError

from .section import OFF, READ_LOOSELY, AsWritten, Count, NotNegative, Positive, Section, Seed, known_by

KNOWN = known_by(preset)
Number = Annotated[float | None, OFF]
Size = Annotated[NotNegative | None, OFF]
Share = Annotated[Annotated[float, Field(ge=0, le=1)] | None, OFF]


class PulseKind(Enum):
    """How the step of a pulse depends on the conductance."""

    LINEAR = "linear"
    SOFT_BOUNDS = "soft_bounds"
    EXPONENTIAL = "exponential"


@final
class PulsesSection(Section):
    """`[devices.pulses]`: what a pulse does, as fractions of the window; see `circuits.devices.PulsedUpdate`.

    Linear: an up step at the low end is up_step, gamma_up smaller at the high end; down steps mirrored. Soft bounds: a
    step is up_step or down_step of what is left to the bound. Exponential: see `circuits.devices.ExponentialStep`.
    """

    kind: Annotated[PulseKind, READ_LOOSELY]
    up_step: Positive
    down_step: Positive
    gamma_up: float = 0.0
    gamma_down: float = 0.0
    a_up: float = 0.0
    a_down: float = 0.0
    scale: float = 1.0
    shift: float = 0.0
    cycle_relative_std: Size = None
    cycle_additive_std: Size = None
    up_down: Number = None
    device_relative_std: Size = None
    up_down_device_std: Size = None
    bound_device_std: Size = None
    low_bound_device_std: Size = None
    nominal_step: Annotated[Positive | None, OFF] = None

    @model_validator(mode="after")
    def _check(self) -> "PulsesSection":
        exponential = {"a_up", "a_down", "scale", "shift"}
        idle = {
            PulseKind.LINEAR: exponential,
            PulseKind.SOFT_BOUNDS: exponential | {"gamma_up", "gamma_down"},
            PulseKind.EXPONENTIAL: set(),
        }[self.kind]
        for name in sorted(idle):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f'{name} is not of kind = "{self.kind.value}"; leave it out, or set another kind')
        return self

    def update(self) -> PulsedUpdate:
        """Return how devices answer to pulses."""
        names = (*STANDARD_DEVIATIONS, "up_down", "nominal_step")
        return PulsedUpdate(step=self._step(), **{name: getattr(self, name) for name in names})

    def _step(self) -> PulseStep:
        match self.kind:
            case PulseKind.LINEAR:
                return LinearStep(
                    up_at_low=self.up_step,
                    up_at_high=self.up_step * (1.0 - self.gamma_up),
                    down_at_low=self.down_step * (1.0 - self.gamma_down),
                    down_at_high=self.down_step,
                )
            case PulseKind.SOFT_BOUNDS:
                return SoftBoundsStep(up_rate=self.up_step, down_rate=self.down_step)
            case PulseKind.EXPONENTIAL:
                names = ("up_step", "down_step", "a_up", "a_down", "gamma_up", "gamma_down", "scale", "shift")
                return ExponentialStep(**{name: getattr(self, name) for name in names})


@final
class VerifySection(Section):
    """Of write = "program_and_verify": how near is near enough, in units of g_max, and when to stop."""

    tolerance_relative: Positive = 0.01
    max_cycles: Count = 20
    by: Annotated[VerifyBy, READ_LOOSELY] = VerifyBy.WRITES


@final
class DevicesSection(AsWritten):
    """`[devices]`: the kind of device, how it is written, and how long ago.

    Standard deviations are fractions: of the spread and of read noise of the conductance, of the programming error of
    g_max. Without g_min_s and g_max_s the window is the preset's, or the stage's own.
    """

    words_for_none: ClassVar = {"verify": None, "pulses": None}  # tables have no "off"

    preset: Annotated[str | None, KNOWN, OFF] = None
    write: Annotated[Write, READ_LOOSELY] = Write.PROGRAM
    seed: Seed = 0
    time_s: Size = None
    read_draw: Annotated[ReadDraw, READ_LOOSELY] = ReadDraw.EACH_BATCH
    verify: VerifySection | None = None
    most_pulses: Count = MOST_PULSES
    g_min_s: Size = None
    g_max_s: Annotated[Positive | None, OFF] = None
    levels: Annotated[Annotated[int, Field(ge=2)] | None, OFF] = None
    programming_error_relative_std: Size = None
    read_noise_relative_std: Size = None
    drift_nu: Size = None
    drift_nu_std: Size = None
    drift_t_0_s: Positive = 20.0
    stuck_at_g_min: Share = None
    stuck_at_g_max: Share = None
    spread_relative_std: Size = None
    spread_distribution: Annotated[SpreadDistribution, READ_LOOSELY] = SpreadDistribution.NORMAL
    k3_per_v2: Size = None
    temperature_per_k: Number = None
    temperature_reference_k: Positive = NOMINAL_TEMPERATURE_K
    pulses: PulsesSection | None = None

    @model_validator(mode="after")
    def _check(self) -> "DevicesSection":
        if (self.g_min_s is None) != (self.g_max_s is None):
            raise ValueError("g_min_s and g_max_s are the ends of one window; write both, or neither")
        for key, main in _PARTS.items():
            if key in self.model_fields_set and main not in self.model_fields_set:
                raise ValueError(f"{key} is of {main}; write that, too, or leave both out")
        try:
            self.crossbar_devices(*(self.window_s or BLOCK_WINDOW_S))
        except CircuitError as error:
            raise ValueError(str(error)) from None
        return self

    def is_written_as(self, other: "DevicesSection | None") -> bool:
        """Return whether devices hold what those of another section do; see `CrossbarDevices.is_written_as`."""
        if other is None or self.window_s != other.window_s:
            return False
        ours, theirs = (section.crossbar_devices(*(self.window_s or BLOCK_WINDOW_S)) for section in (self, other))
        return ours.is_written_as(theirs)

    @property
    def window_s(self) -> tuple[float, float] | None:
        """Lowest and highest conductance of the devices in S; None for that of the stage."""
        if self.g_min_s is not None and self.g_max_s is not None:
            return self.g_min_s, self.g_max_s
        found = None if self.preset is None else preset(self.preset)
        return (found.device.g_min_s, found.device.g_max_s) if found is not None and found.has_window else None

    def crossbar_devices(self, g_min_s: float, g_max_s: float) -> CrossbarDevices:
        """Return the devices with a window, S.

        Raises:
            CircuitError: for what they cannot be together.
        """
        base = Device(name="own", g_min_s=g_min_s, g_max_s=g_max_s)
        if self.preset is not None:
            base = replace(preset(self.preset).device, g_min_s=g_min_s, g_max_s=g_max_s)
        effects = {
            name: value for name, (keys, value) in self._effects(g_max_s).items() if keys & self.model_fields_set
        }
        verify = self.verify or VerifySection()
        return CrossbarDevices(
            device=replace(base, **effects),
            write=self.write,
            verify=Verify(**dict(verify)) if self.verify or self.write is Write.PROGRAM_AND_VERIFY else None,
            most_pulses=self.most_pulses,
            time_s=self.time_s,
            read_draw=self.read_draw,
            seed=self.seed,
        )

    def _effects(self, g_max_s: float) -> dict[str, tuple[set[str], Any]]:
        """Return each effect of a device with the keys that say it."""
        error, noise, spread = (
            self.programming_error_relative_std,
            self.read_noise_relative_std,
            self.spread_relative_std,
        )
        stuck = None
        if self.stuck_at_g_min is not None or self.stuck_at_g_max is not None:
            stuck = Stuck(
                probability_at_g_min=self.stuck_at_g_min or 0.0, probability_at_g_max=self.stuck_at_g_max or 0.0
            )
        drift = None
        if self.drift_nu is not None:
            drift = Drift.constant(self.drift_nu, nu_std=self.drift_nu_std, t_0_s=self.drift_t_0_s)
        coefficient = None
        if self.temperature_per_k is not None:
            coefficient = TemperatureCoefficient(per_k=self.temperature_per_k, reference_k=self.temperature_reference_k)
        return {
            "levels": ({"levels"}, self.levels),
            "programming_error": (
                {"programming_error_relative_std"},
                None if error is None else ProgrammingError(coefficients_s=(error * g_max_s,), reference_s=g_max_s),
            ),
            "read_noise": (
                {"read_noise_relative_std"},
                None if noise is None else RelativeReadNoise(relative_std=noise),
            ),
            "drift": ({"drift_nu"}, drift),
            "stuck": ({"stuck_at_g_min", "stuck_at_g_max"}, stuck),
            "spread": (
                {"spread_relative_std"},
                None if spread is None else Spread(relative_std=spread, distribution=self.spread_distribution),
            ),
            "cubic": ({"k3_per_v2"}, None if self.k3_per_v2 is None else CubicCurrent(k3_per_v2=self.k3_per_v2)),
            "temperature": ({"temperature_per_k"}, coefficient),
            "pulsed_update": ({"pulses"}, None if self.pulses is None else self.pulses.update()),
        }


# Keys that say more of an effect, by the key that switches it on; with "off" there, they may stay.
_PARTS = {
    "drift_nu_std": "drift_nu",
    "drift_t_0_s": "drift_nu",
    "spread_distribution": "spread_relative_std",
    "temperature_reference_k": "temperature_per_k",
}
