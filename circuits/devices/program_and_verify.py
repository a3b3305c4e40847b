"""Write and verify: read what was written, and write again where it is not near enough."""

from dataclasses import dataclass, replace
from enum import Enum
from numbers import Integral
from typing import final

import numpy as np
from numpy.typing import ArrayLike

from ..arrays import Flags, Floats, Indices, frozen_flags, frozen_indices
from ..choices import chosen
from ..errors import CircuitError
from .device import Device
from .device_array import DeviceArray
from .pipeline import program, pulsed, read
from .pulse_counts import nearest_pulses
from .ranges import require_not_negative, require_positive


class VerifyBy(Enum):
    """What is done about a device that is not near enough."""

    WRITES = "writes"  # the same target is written once more, with a new programming error
    PULSES = "pulses"  # as many pulses as the error that was read asks for


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Verify:
    """When a device counts as written.

    Args:
        tolerance_relative: fraction of g_max by which a read may miss the target, either way.
        max_cycles: of writing and reading; a device that is still outside then is left as it is.
        by: what a cycle does.
        time_s: s — from a write to its read, which flicker noise needs; None: t_0 of the drift, when nothing has
            drifted yet.

    Raises:
        CircuitError: if the tolerance is not above zero, or there is less than one cycle.
    """

    tolerance_relative: float = 0.01
    max_cycles: int = 20
    by: VerifyBy = VerifyBy.WRITES
    time_s: float | None = None

    def __post_init__(self) -> None:
        require_positive("verify", tolerance_relative=self.tolerance_relative)
        whole = isinstance(self.max_cycles, Integral) and not isinstance(self.max_cycles, bool)
        if not whole or self.max_cycles < 1:
            raise CircuitError(f"verify: max_cycles = {self.max_cycles!r}; give a whole number, one or more")
        object.__setattr__(self, "by", chosen(VerifyBy, self.by, "verify: by", CircuitError))
        if self.time_s is not None:
            require_not_negative("verify", time_s=self.time_s)


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class VerifyReport:
    """What writing and verifying took.

    Args:
        cycles: [shape] — writes of each device, or trains of pulses sent to it.
        converged: [shape] — whether its last read was near enough.
        pulses: [shape] — sent to each device, up and down counted alike; all zero where it was written.
    """

    cycles: Indices
    converged: Flags
    pulses: Indices

    @property
    def mean_cycles(self) -> float:
        """Mean over the devices."""
        return float(np.mean(self.cycles))

    @property
    def not_converged(self) -> int:
        """Number of devices left outside of the tolerance."""
        return int(np.count_nonzero(~self.converged))


def program_and_verify(
    devices: DeviceArray,
    target_s: ArrayLike,
    generator: np.random.Generator,
    *,
    verify: Verify | None = None,
    start_s: ArrayLike | None = None,
) -> tuple[Floats, VerifyReport]:
    """Write conductances until what is read is near enough.

    By writes: all are written, then again those whose read misses by more than the tolerance. Where g is within the
    window, the programming error sigma xi that is left is a normal one cut off at the tolerance t, and the number of
    writes is geometric: a write succeeds with probability p = erf(t / (sqrt(2) sigma)). Writing the same target again
    cannot undo what a device always does (`spread`, levels finer than its own); pulses can.

    By pulses: all are read, then those outside get the pulses that their error asks for at the nominal step.

    A read is one with the read noise of the device: a device may pass by a lucky read. Stuck devices never converge,
    unless they are wanted where they are stuck.

    Args:
        devices: the devices.
        target_s: [shape] S — within the window; with levels, the nearest level is aimed at.
        generator: of the cycle-to-cycle noise.
        verify: tolerance, and how often; None for its defaults.
        start_s: [shape] S — what they hold before the pulses; None: their lowest conductance. Of no use to writes.

    Returns:
        [shape] S — what the devices hold, and what it took.

    Raises:
        CircuitError: as `program`; if by pulses and there is no pulsed update; if flicker noise has no time.
    """
    verify = verify or Verify()
    aim_s = _aim(devices, target_s, generator)
    if verify.by is VerifyBy.PULSES and devices.device.pulsed_update is None:
        raise CircuitError(f"device '{devices.device.name}' has no pulsed_update: verify by 'writes', or give it one")
    by_pulses = verify.by is VerifyBy.PULSES
    if not by_pulses:
        g_s = program(devices, aim_s, generator)
    elif start_s is None:
        g_s = devices.with_stuck(devices.bounds_s()[0])
    else:
        g_s = np.array(start_s, dtype=np.float64)
    cycles, pulses = np.full(devices.shape, 0 if by_pulses else 1), np.zeros(devices.shape, dtype=np.int64)
    outside, error_s = np.ones(devices.shape, dtype=np.bool_), _error_read(devices, g_s, aim_s, verify, generator)
    while True:
        outside &= np.abs(error_s) > verify.tolerance_relative * devices.device.g_max_s
        if not np.any(outside & (cycles < verify.max_cycles)):
            break
        if by_pulses:
            train = np.where(outside, nearest_pulses(error_s, devices.device), 0)
            g_s = pulsed(devices, g_s, train, generator)
            pulses += np.abs(train)
        else:
            g_s = np.where(outside, program(devices, aim_s, generator), g_s)
        cycles += outside
        error_s = _error_read(devices, g_s, aim_s, verify, generator)
    report = VerifyReport(
        cycles=frozen_indices(cycles), converged=frozen_flags(~outside), pulses=frozen_indices(pulses)
    )
    return g_s, report


def _aim(devices: DeviceArray, target_s: ArrayLike, generator: np.random.Generator) -> Floats:
    """Check the targets and round them to the levels: what the same window holds without a single fault."""
    device = devices.device
    window = Device(name=device.name, g_min_s=device.g_min_s, g_max_s=device.g_max_s, levels=device.levels)
    faultless = replace(devices, device=window, factor=None, stuck_at_g_min=None, stuck_at_g_max=None)
    return program(faultless, target_s, generator)


def _error_read(
    devices: DeviceArray, g_s: Floats, aim_s: Floats, verify: Verify, generator: np.random.Generator
) -> Floats:
    """Read, and return by how much the conductances have to change, [shape] S."""
    time_s, drift = verify.time_s, devices.device.drift
    if time_s is None and drift is not None:
        time_s = drift.t_0_s
    return np.asarray(aim_s - read(devices, g_s, generator, time_s=time_s))
