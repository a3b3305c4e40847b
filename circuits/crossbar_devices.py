"""What the crossbars of a block are made of: the kind of device, how it is written, and when it is read."""

from dataclasses import dataclass, replace
from enum import Enum
from numbers import Integral
from typing import final

from .choices import chosen
from .devices.device import Device
from .devices.program_and_verify import Verify
from .devices.pulse_counts import MOST_PULSES
from .devices.ranges import require_not_negative
from .devices.read_noise import FittedFlickerReadNoise, FlickerReadNoise
from .errors import CircuitError


class Write(Enum):
    """How a conductance that is asked for gets into a device."""

    IDEAL = "ideal"  # as it is asked for; what the device is (levels, stuck, spread) stays
    PROGRAM = "program"  # once, with the programming error of the device
    PROGRAM_AND_VERIFY = "program_and_verify"  # again and again until it is near enough
    PULSES = "pulses"  # each change by as many pulses as it asks for; nobody looks at what they do


class ReadDraw(Enum):
    """When read noise is drawn anew."""

    EACH_PHASE = "each_phase"  # free, first and second nudge see different noise
    EACH_BATCH = "each_batch"  # the same in all phases of a batch: noise that is slow


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class CrossbarDevices:
    """The devices of all crossbars of a block, drawn independently: a weight of a differential block has four.

    Args:
        device: the kind.
        write: how it is written.
        verify: of program-and-verify; None for its defaults.
        most_pulses: of one update by pulses.
        time_s: s — since they were written; None: at once, nothing has drifted.
        read_draw: when read noise is drawn anew.
        seed: of the construction, and of all noise.

    Raises:
        CircuitError: for what contradicts itself: pulses without a pulsed update, flicker noise without a time.
    """

    device: Device
    write: Write = Write.PROGRAM
    verify: Verify | None = None
    most_pulses: int = MOST_PULSES
    time_s: float | None = None
    read_draw: ReadDraw = ReadDraw.EACH_BATCH
    seed: int = 0

    def __post_init__(self) -> None:
        where = f"device '{self.device.name}'"
        object.__setattr__(self, "write", chosen(Write, self.write, f"{where}: write", CircuitError))
        object.__setattr__(self, "read_draw", chosen(ReadDraw, self.read_draw, f"{where}: read_draw", CircuitError))
        if self.time_s is not None:
            require_not_negative(where, time_s=self.time_s)
        if self.write is Write.PULSES and self.device.pulsed_update is None:
            raise CircuitError(
                f"{where}: write = 'pulses', but it has no pulsed update; give it one, take a preset that has one "
                "(as reram-es), or write another way"
            )
        if self.write is not Write.PROGRAM_AND_VERIFY and self.verify is not None:
            raise CircuitError(
                f"{where}: verify is of write = 'program_and_verify', not of '{self.write.value}'; leave it out"
            )
        flickers = isinstance(self.device.read_noise, FlickerReadNoise | FittedFlickerReadNoise)
        if flickers and self.time_s is None:
            raise CircuitError(f"{where}: flicker read noise grows with time: give time_s, the seconds since the write")
        most: object = self.most_pulses
        if isinstance(most, bool) or not isinstance(most, Integral) or most < 1:
            raise CircuitError(f"{where}: most_pulses = {most!r}; give a whole number, one or more")

    @property
    def written_device(self) -> Device:
        """The device as it is written: an ideal write has no programming error."""
        return replace(self.device, programming_error=None) if self.write is Write.IDEAL else self.device

    def moved_to(self, g_min_s: float, g_max_s: float) -> "CrossbarDevices":
        """Return the same devices with another window, S: for those whose source gives no conductances."""
        return replace(self, device=replace(self.device, g_min_s=g_min_s, g_max_s=g_max_s))

    def is_written_as(self, other: "CrossbarDevices | None") -> bool:
        """Return whether these devices hold what others do: they differ in nothing but what comes after a write."""
        return other is not None and self._as_written() == other._as_written()

    def _as_written(self) -> "CrossbarDevices":
        device = replace(self.device, read_noise=None, drift=None, temperature=None, cubic=None)
        return replace(self, device=device, time_s=None, read_draw=ReadDraw.EACH_BATCH)
