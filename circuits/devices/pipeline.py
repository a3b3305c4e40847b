"""The life of a conductance: written once or by pulses, drifted, at a temperature, read.

```
target --levels--error, clipped--spread--stuck--> written --drift--temperature--> now --read noise--> read
```

Each function takes arrays and gives new ones; with every effect off it gives the very numbers it was given.
Device-to-device draws come with the `DeviceArray`, cycle-to-cycle draws from the generator passed.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..arrays import Floats
from ..errors import CircuitError
from .device_array import DeviceArray
from .levels import quantised
from .pulse_steps import Bound
from .ranges import require_not_negative

ROUNDING = 1e-9  # of g_max: by how much a target may miss the window, as conversions between units round


def program(devices: DeviceArray, target_s: ArrayLike, generator: np.random.Generator) -> Floats:
    """Write conductances, once each, without checking what came of it.

    Equation: g = f clip(level(g_target) + sigma xi, g_min, g_max); stuck devices stay at g_min or g_max.

    Args:
        devices: the devices.
        target_s: [shape] S — within the window.
        generator: of the cycle-to-cycle noise.

    Returns:
        [shape] S — what the devices hold.

    Raises:
        CircuitError: if a target has the wrong shape, is not finite or lies outside the window.
    """
    device = devices.device
    g_s = _taken(devices, target_s, "target_s")
    slack_s = ROUNDING * device.g_max_s
    outside = (g_s < device.g_min_s - slack_s) | (g_s > device.g_max_s + slack_s)
    if np.any(outside):
        worst = float(g_s[outside][0])
        raise CircuitError(
            f"device '{device.name}': {np.count_nonzero(outside)} targets outside the window, as {worst:g} S; it goes "
            f"from {device.g_min_s:g} to {device.g_max_s:g} S: rescale or clip them first"
        )
    if device.levels is not None:
        g_s = quantised(g_s, device.levels, device.g_min_s, device.g_max_s)
    if device.programming_error is not None:
        g_s = np.clip(device.programming_error.written_s(g_s, generator), device.g_min_s, device.g_max_s)
    if devices.factor is not None:
        g_s = g_s * devices.factor
    return devices.with_stuck(g_s)


def pulsed(devices: DeviceArray, g_s: ArrayLike, pulses: NDArray[np.int64], generator: np.random.Generator) -> Floats:
    """Send pulses, one after the other.

    Equation: see `PulsedUpdate`; each pulse starts from where the last one left the device.

    Args:
        devices: the devices.
        g_s: [shape] S — what they hold.
        pulses: [shape] — number of pulses; up where above zero, down where below.
        generator: of the cycle-to-cycle noise.

    Returns:
        [shape] S — what they hold then.

    Raises:
        CircuitError: if the device has no pulsed update, or the pulses are no whole numbers of the right shape.
    """
    device, update = devices.device, devices.device.pulsed_update
    if update is None:
        raise CircuitError(f"device '{device.name}' has no pulsed_update: give it one, or program it")
    g_s, pulses = _taken(devices, g_s, "g_s"), np.asarray(pulses)
    if pulses.shape != devices.shape or not np.issubdtype(pulses.dtype, np.integer):
        raise CircuitError(
            f"device '{device.name}': pulses of shape {pulses.shape} and type {pulses.dtype}; give whole numbers of "
            f"shape {devices.shape}"
        )
    low_s, high_s = devices.bounds_s()
    spread = 1.0 if devices.factor is None else devices.factor
    zero_s, width_s = device.g_min_s * spread, device.window_s * spread
    bounds = (low_s - zero_s) / width_s, (high_s - zero_s) / width_s
    if devices.pulse_factor_up is None or devices.pulse_factor_down is None:
        factors: tuple[Bound, Bound] = (1.0, 1.0)
    else:
        factors = devices.pulse_factor_up, devices.pulse_factor_down
    up = pulses > 0
    for count in range(int(np.max(np.abs(pulses), initial=0))):
        x = np.clip((g_s - zero_s) / width_s, *bounds)
        change = update.change(x, up, bounds, factors, generator)
        moved_s = np.clip(g_s + change * width_s, low_s, high_s)
        g_s = np.where(np.abs(pulses) > count, moved_s, g_s)
    return devices.with_stuck(g_s)


def drifted(devices: DeviceArray, written_s: ArrayLike, time_s: float) -> Floats:
    """Let time pass.

    Equation: g(t) = g (t / t_0)^-nu, nu of each device by what was written into it, or as `Relaxation` says; stuck
    devices do not drift.

    Args:
        devices: the devices, whose drift was drawn with them: two times see the same devices.
        written_s: [shape] S — what they held when written.
        time_s: s — since they were written.

    Returns:
        [shape] S — what they hold now.

    Raises:
        CircuitError: if the time is negative, or the conductances are not finite or have the wrong shape.
    """
    device, drift = devices.device, devices.device.drift
    g_s = _taken(devices, written_s, "written_s")
    require_not_negative(f"device '{device.name}'", time_s=time_s)
    if drift is None:
        return g_s
    return devices.with_stuck(drift.drifted_s(g_s, device.g_max_s, devices.nu_xi, time_s))


def at_temperature(devices: DeviceArray, g_s: ArrayLike, temperature_k: float) -> Floats:
    """Return conductances at a temperature, [shape] S: g [1 + a (T - T_ref)].

    Raises:
        CircuitError: if nothing would be left of them there.
    """
    g_s = _taken(devices, g_s, "g_s")
    temperature = devices.device.temperature
    return g_s if temperature is None else temperature.at(g_s, temperature_k)


def read(
    devices: DeviceArray,
    g_s: ArrayLike,
    generator: np.random.Generator,
    *,
    time_s: float | None = None,
    written_s: ArrayLike | None = None,
) -> Floats:
    """Read conductances: what the circuit has during one read, noise included.

    Equation: g + sigma xi, never below zero.

    Args:
        devices: the devices.
        g_s: [shape] S — what they hold now.
        generator: of the cycle-to-cycle noise.
        time_s: s — since they were written; flicker noise needs it.
        written_s: [shape] S — what they held when written, where that differs: it sets the size of flicker noise.

    Returns:
        [shape] S.

    Raises:
        CircuitError: if flicker noise is on and there is no time, or a shape is wrong.
    """
    g_s, noise = _taken(devices, g_s, "g_s"), devices.device.read_noise
    if noise is None:
        return g_s
    written_s = g_s if written_s is None else _taken(devices, written_s, "written_s")
    std_s = noise.std_s(g_s, written_s, devices.device.g_max_s, time_s)
    return np.maximum(g_s + std_s * generator.standard_normal(devices.shape), 0.0)


def _taken(devices: DeviceArray, values: ArrayLike, field: str) -> Floats:
    """Copy conductances that a device array can hold."""
    g_s = np.array(values, dtype=np.float64)
    if g_s.shape != devices.shape:
        raise CircuitError(
            f"device '{devices.device.name}': {field} has shape {g_s.shape}, the devices {devices.shape}; draw devices "
            "of the shape of the conductances"
        )
    if not np.all(np.isfinite(g_s)) or np.any(g_s < 0):
        raise CircuitError(f"device '{devices.device.name}': {field} holds what is negative or not finite")
    return g_s
