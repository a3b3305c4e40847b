"""A device of a crossbar: its window, and what it does to a conductance beyond holding it."""

from dataclasses import dataclass, fields
from numbers import Integral
from typing import final

from ..errors import CircuitError
from .cubic import CubicCurrent
from .drift import Drift
from .programming_error import ProgrammingError
from .pulsed_update import PulsedUpdate
from .ranges import require_not_negative, require_positive
from .read_noise import FittedFlickerReadNoise, FlickerReadNoise, ReadNoise, RelativeReadNoise
from .relaxation import Relaxation
from .spread import Spread
from .stuck import Stuck
from .temperature import TemperatureCoefficient

EFFECTS: dict[str, tuple[type, ...]] = {
    "programming_error": (ProgrammingError,),
    "read_noise": (RelativeReadNoise, FlickerReadNoise, FittedFlickerReadNoise),
    "drift": (Drift, Relaxation),
    "stuck": (Stuck,),
    "spread": (Spread,),
    "cubic": (CubicCurrent,),
    "temperature": (TemperatureCoefficient,),
    "pulsed_update": (PulsedUpdate,),
}


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One kind of device; every effect is its own config, or None where it is off.

    Cycle-to-cycle effects (drawn anew at each write, pulse or read): `programming_error`, `read_noise`, the noise of
    `pulsed_update`. Device-to-device effects (drawn once, see `DeviceArray`): `stuck`, `spread`, the spread of `drift`
    and of `pulsed_update`. Neither: `levels`, `cubic`, `temperature`.

    Args:
        name: of the device, for messages.
        g_min_s, g_max_s: S — window of what can be written.
        levels: number of conductances that a device can hold, evenly spaced; None for any.
        programming_error: by how much a write misses.
        read_noise: what a read sees beside the conductance.
        drift: what time does to the conductance: a power law, or a relaxation.
        stuck: devices that hold an end of the window, whatever is written.
        spread: relative spread between devices.
        cubic: nonlinear current law.
        temperature: coefficient of the conductance.
        pulsed_update: how it answers to pulses.

    Raises:
        CircuitError: if the window is upside down, or a number is not what its field says.
    """

    name: str
    g_min_s: float
    g_max_s: float
    levels: int | None = None
    programming_error: ProgrammingError | None = None
    read_noise: ReadNoise | None = None
    drift: Drift | Relaxation | None = None
    stuck: Stuck | None = None
    spread: Spread | None = None
    cubic: CubicCurrent | None = None
    temperature: TemperatureCoefficient | None = None
    pulsed_update: PulsedUpdate | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise CircuitError(f"device: name = {self.name!r}; give it a name, for messages")
        where = f"device '{self.name}'"
        require_not_negative(where, g_min_s=self.g_min_s)
        require_positive(where, g_max_s=self.g_max_s)
        if self.g_min_s >= self.g_max_s:
            raise CircuitError(f"{where}: window upside down: g_min_s = {self.g_min_s:g}, g_max_s = {self.g_max_s:g}")
        if self.levels is not None:
            whole = isinstance(self.levels, Integral) and not isinstance(self.levels, bool)
            if not whole or self.levels < 2:
                raise CircuitError(f"{where}: levels = {self.levels!r}; give a whole number of 2 or more, or None")
        for field, kinds in EFFECTS.items():
            value = getattr(self, field)
            if value is not None and not isinstance(value, kinds):
                expected = " or ".join(kind.__name__ for kind in kinds)
                raise CircuitError(f"{where}: {field} = {value!r}; give {expected}, or None for off")

    @property
    def window_s(self) -> float:
        """Width of the window, S."""
        return self.g_max_s - self.g_min_s

    @property
    def effects(self) -> tuple[str, ...]:
        """Names of the effects that are on, in the order of the fields."""
        return tuple(
            field.name
            for field in fields(self)
            if (field.name in EFFECTS or field.name == "levels") and getattr(self, field.name) is not None
        )
