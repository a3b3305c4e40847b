"""Devices that were made: what differs from one to the next for life, drawn once from a construction seed."""

from dataclasses import dataclass
from typing import Self, final

import numpy as np

from ..arrays import Flags, Floats
from .device import Device


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DeviceArray:
    """Device-to-device draws of an array of devices, all of one kind and independent of one another.

    Each effect has a random stream of its own, so that switching one on leaves the draws of the others as they were.

    Args:
        device: the kind.
        shape: of the array, one entry a device.
        factor: [shape] — spread of the conductance; None where it is off.
        stuck_at_g_min, stuck_at_g_max: [shape] — masks; None where off.
        nu_xi: [shape] — standard normal draw of the drift exponent, or of the relaxation; None where off.
        pulse_factor_up, pulse_factor_down: [shape] — of the steps; None where off.
        bound_low_s, bound_high_s: [shape] S — between which pulses move it, before `factor`; None for the window.
    """

    device: Device
    shape: tuple[int, ...]
    factor: Floats | None
    stuck_at_g_min: Flags | None
    stuck_at_g_max: Flags | None
    nu_xi: Floats | None
    pulse_factor_up: Floats | None
    pulse_factor_down: Floats | None
    bound_low_s: Floats | None
    bound_high_s: Floats | None

    def __post_init__(self) -> None:
        for value in (getattr(self, name) for name in self.__slots__):
            if isinstance(value, np.ndarray):
                value.setflags(write=False)

    @classmethod
    def draw(cls, device: Device, shape: tuple[int, ...], generator: np.random.Generator) -> Self:
        """Make devices.

        Args:
            device: the kind.
            shape: one entry a device; the four devices of a weight are four entries.
            generator: of the construction; its seed is the chip.

        Returns:
            what differs between the devices.
        """
        streams = generator.spawn(5)
        spread, stuck, drift, pulses = device.spread, device.stuck, device.drift, device.pulsed_update
        masks = None if stuck is None else stuck.draw(shape, streams[1])
        factors = None if pulses is None else pulses.draw_factors(shape, streams[3])
        bounds = None if pulses is None else pulses.draw_bounds(shape, device.g_min_s, device.g_max_s, streams[4])
        drifts_apart = drift is not None and drift.devices_differ
        return cls(
            device=device,
            shape=shape,
            factor=None if spread is None else spread.draw(shape, streams[0]),
            stuck_at_g_min=None if masks is None else masks[0],
            stuck_at_g_max=None if masks is None else masks[1],
            nu_xi=streams[2].standard_normal(shape) if drifts_apart else None,
            pulse_factor_up=None if factors is None else factors[0],
            pulse_factor_down=None if factors is None else factors[1],
            bound_low_s=None if bounds is None else bounds[0],
            bound_high_s=None if bounds is None else bounds[1],
        )

    def bounds_s(self) -> tuple[Floats, Floats]:
        """Return the lowest and the highest conductance of each device, [shape] S, spread included."""
        low = np.full(self.shape, self.device.g_min_s) if self.bound_low_s is None else self.bound_low_s
        high = np.full(self.shape, self.device.g_max_s) if self.bound_high_s is None else self.bound_high_s
        return (low, high) if self.factor is None else (low * self.factor, high * self.factor)

    def with_stuck(self, g_s: Floats) -> Floats:
        """Put the stuck devices where they are stuck, [shape] S; the same array if there can be none."""
        if self.stuck_at_g_min is None or self.stuck_at_g_max is None:
            return g_s
        return np.where(
            self.stuck_at_g_min, self.device.g_min_s, np.where(self.stuck_at_g_max, self.device.g_max_s, g_s)
        )
