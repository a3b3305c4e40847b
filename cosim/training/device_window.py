"""Analog stages in the window that their devices have.

Takes: a configuration with `[devices]`. Gives: the same, its stages at the scale of the devices. A preset with
published conductances sets the scale: its largest is the stage's largest, so a weight uses the whole window.
"""

import math

from .analog_sections import AnalogStage
from .config import Config

LEAST_SHARE = 1e-6  # of g_max: the least conductance of a block whose devices go down to none


def block_window_s(g_min_s: float, g_max_s: float) -> tuple[float, float]:
    """Return the window of a block of devices with a window, S: a circuit takes no conductance of zero."""
    return max(g_min_s, LEAST_SHARE * g_max_s), g_max_s


def in_device_window(config: Config) -> Config:
    """Return a configuration whose analog stages have the window of its devices.

    Equation: g_unit = g_max of the device / g_max of the stage; the reference current of its diodes goes with it, as
    all currents do.
    """
    window_s = None if config.devices is None else config.devices.window_s
    if window_s is None:
        return config
    stages = tuple(_fitted(s, *window_s) if isinstance(s, AnalogStage) else s for s in config.network.stages)
    network = config.network.model_copy(update={"stages": stages})
    return config.model_copy(update={"network": network})


def _fitted(stage: AnalogStage, g_min_s: float, g_max_s: float) -> AnalogStage:
    scale = g_max_s / (stage.g_max * stage.g_unit_s)
    if math.isclose(scale, 1.0, rel_tol=1e-9) and stage.g_min * stage.g_unit_s >= g_min_s * (1 - 1e-9):
        return stage  # it is, and stays the same to the last bit
    g_unit_s = stage.g_unit_s * scale
    diode = stage.diode.model_copy(update={"reference_current_a": stage.diode.reference_current_a * scale})
    update = {"g_unit_s": g_unit_s, "g_min": max(stage.g_min, g_min_s / g_unit_s), "diode": diode}
    return stage.model_copy(update=update)
