"""How many pulses a wanted change of conductance is worth: what a training step sends to the devices."""

from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import CircuitError
from .device import Device

MOST_PULSES = 31  # of one update, as aihwkit's default length of a pulse train


def pulses_for(
    update_s: ArrayLike, device: Device, generator: np.random.Generator, *, most_pulses: int = MOST_PULSES
) -> NDArray[np.int64]:
    """Count out the pulses of an update, rounded at random so that the mean is exact.

    Equation: n = floor(u + xi) of size u = change / (nominal step x window), xi uniform in [0, 1): E[n] = u, down
    pulses below zero; then clipped to +-most_pulses. Nobody looks at the devices: where a step differs from the nominal
    one, so does what the pulses do.

    Args:
        update_s: [...] S — wanted change of each device, either sign.
        device: with a pulsed update, whose `nominal_step` a pulse is taken for.
        generator: of the rounding.
        most_pulses: of one update; what lies beyond is lost.

    Returns:
        [...] pulses, as `pulsed` takes them.

    Raises:
        CircuitError: if the device has no pulsed update, a change is not finite, or `most_pulses` is below one.

    Source: T. Gokmen and Y. Vlasov, Frontiers in Neuroscience 10, 333, 2016, for stochastic updates by the nominal
    step. Their pulses are coincidences of two random trains: the same mean, with a wider spread.
    """
    if isinstance(most_pulses, bool) or not isinstance(most_pulses, Integral) or most_pulses < 1:
        raise CircuitError(f"most_pulses = {most_pulses!r}; give a whole number, one or more")
    wanted = _in_steps(update_s, device)
    rounded = np.floor(np.clip(wanted, -most_pulses, most_pulses) + generator.random(wanted.shape))
    return np.clip(rounded, -most_pulses, most_pulses).astype(np.int64)


def nearest_pulses(error_s: ArrayLike, device: Device) -> NDArray[np.int64]:
    """Count out the pulses nearest to a change, at least one: what a loop that reads between its pulses sends.

    Args:
        error_s: [...] S — wanted change of each device, either sign.
        device: with a pulsed update.

    Returns:
        [...] pulses; zero only for no change at all.

    Raises:
        CircuitError: if the device has no pulsed update, or a change is not finite.
    """
    wanted = _in_steps(error_s, device)
    return (np.sign(wanted) * np.maximum(np.rint(np.abs(wanted)), 1.0)).astype(np.int64)


def _in_steps(update_s: ArrayLike, device: Device) -> NDArray[np.float64]:
    """Express a change in nominal steps."""
    update = device.pulsed_update
    if update is None:
        raise CircuitError(f"device '{device.name}' has no pulsed_update: give it one, or program it")
    change_s = np.asarray(update_s, dtype=np.float64)
    if not np.all(np.isfinite(change_s)):
        raise CircuitError(f"device '{device.name}': update_s holds what is not finite")
    return np.asarray(change_s / (update.counted_step * device.window_s))
