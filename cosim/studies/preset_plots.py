"""The picture of a device preset: how pulses move it, by how much a write misses, what time and reads do to it.

Everything drawn comes out of the functions that a network is written with (`program`, `pulsed`, `drifted`, `read`): the
picture shows what it would meet. A panel is there only where the preset has the effect.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from circuits.arrays import Floats
from circuits.devices import Device, DeviceArray, Preset, Relaxation, drifted, program, pulsed, read

from .preset_figure import LEGEND_SIZE, draw_panels, label_panel

MICRO = 1e6  # microsiemens a siemens
SEED = 0
DEVICES = 5_000  # behind each dot and each band
TRACES = 5  # devices of a pulse response whose devices differ
POINTS = 160  # of a pulse response
PLACES = 21  # dots over the window
TARGETS = (0.2, 0.5, 0.9)  # of the window, each a band over time
TIMES = {"1 min": 60.0, "1 h": 3600.0, "1 day": 86400.0, "1 year": 365 * 86400.0}


def plot_preset(entry: Preset, path: Path) -> None:
    """Draw a preset into a PNG file: a panel for each effect, its source below.

    Args:
        entry: the preset.
        path: the file.

    Raises:
        RunError: if the file cannot be written.
    """
    device = entry.device
    panels: list[Callable[[Any], None]] = []
    if device.pulsed_update is not None:
        panels += [partial(_draw_pulses, device=device), partial(_draw_steps, device=device)]
    if device.programming_error is not None:
        panels.append(partial(_draw_error, device=device))
    if device.drift is not None:
        panels.append(partial(_draw_drift, device=device))
    if device.read_noise is not None:
        panels.append(partial(_draw_read_noise, device=device))
    window = f"{device.g_min_s * MICRO:g} to {device.g_max_s * MICRO:g} uS"
    title = f"{entry.name}, window {window}"
    draw_panels(panels or [_say_nothing], title=title, source=entry.source, note=entry.note, path=path)


def _draw_pulses(axes: Any, *, device: Device) -> None:
    """Draw the response to up pulses, 1.5 times as many as would cross the window at nominal speed, then down."""
    each = max(1, round(1.5 / device.pulsed_update.counted_step / POINTS)) if device.pulsed_update else 1
    trace_us = pulse_response(device, each=each) * MICRO
    count = np.arange(trace_us.shape[0]) * each
    turn = count[POINTS]
    alike = trace_us.shape[1] == 1
    axes.plot(count, trace_us, linewidth=1.2 if alike else 0.9, alpha=1.0 if alike else 0.8)
    axes.axvline(turn, color="gray", linewidth=0.8, linestyle=":")
    for end_s in (device.g_min_s, device.g_max_s):
        axes.axhline(end_s * MICRO, color="gray", linewidth=0.8, linestyle="--")
    margin = 0.1 * device.window_s * MICRO
    axes.set_ylim(min(0.0, float(trace_us.min())) - 0.3 * margin, float(trace_us.max()) + 1.5 * margin)
    for place, text in ((0.5 * turn, f"{turn:,} up"), (1.5 * turn, f"{turn:,} down")):
        axes.text(place, 0.985, text, ha="center", va="top", fontsize=9, transform=axes.get_xaxis_transform())
    who = "one device" if alike else f"{TRACES} devices"
    label_panel(axes, title=f"Pulse response, {who}", x="pulses", y="conductance, uS")


def pulse_response(device: Device, *, each: int) -> Floats:
    """Send pulses up from the lowest conductance, then as many down.

    Args:
        device: with a pulsed update.
        each: pulses between two points.

    Returns:
        [2 POINTS + 1, devices] S — after every `each` pulses; one device if all are alike.
    """
    update = device.pulsed_update
    alike = device.spread is None and update is not None and not update.devices_differ
    n_devices = 1 if alike else TRACES
    devices = DeviceArray.draw(device, (n_devices,), np.random.default_rng(SEED))
    generator = np.random.default_rng(SEED + 1)
    trace = [devices.with_stuck(devices.bounds_s()[0])]
    for direction in (1, -1):
        counts = np.full(n_devices, direction * each)
        for _ in range(POINTS):
            trace.append(pulsed(devices, trace[-1], counts, generator))
    return np.array(trace)


def _draw_steps(axes: Any, *, device: Device) -> None:
    """Draw the mean step of a pulse over the window, and how far single pulses are from it."""
    update = device.pulsed_update
    if update is None:
        return
    x = np.linspace(0.0, 1.0, 101)
    places_us = (device.g_min_s + x * device.window_s) * MICRO
    width_us = device.window_s * MICRO
    for sign, step, factor, color in (
        (1, update.step.up(x), update.factors[0], "tab:blue"),
        (-1, update.step.down(x), update.factors[1], "tab:red"),
    ):
        mean_us = sign * factor * step * width_us
        axes.plot(places_us, mean_us, color=color, label="up" if sign > 0 else "down")
        if update.devices_differ:
            std_us = step_std(device, x, up=sign > 0) * width_us
            axes.fill_between(places_us, mean_us - std_us, mean_us + std_us, color=color, alpha=0.2, linewidth=0)
    axes.axhline(0.0, color="gray", linewidth=0.8)
    axes.set_ylim(top=axes.get_ylim()[1] + 0.15 * np.ptp(axes.get_ylim()))
    axes.legend(fontsize=LEGEND_SIZE, loc="upper center", ncols=2)
    band = ", +- one standard deviation" if update.devices_differ else ""
    label_panel(axes, title=f"Step of a pulse{band}", x="conductance, uS", y="change, uS")


def step_std(device: Device, x: Floats, *, up: bool) -> Floats:
    """Measure the standard deviation of a single pulse, over devices and pulses, before the bounds clip it.

    Args:
        device: with a pulsed update.
        x: [places] — of the window.
        up: direction.

    Returns:
        [places] — as a fraction of the window.
    """
    update = device.pulsed_update
    if update is None:
        return np.zeros_like(x)
    shape = (DEVICES, x.size)
    factors = update.draw_factors(shape, np.random.default_rng(SEED)) or (1.0, 1.0)
    generator = np.random.default_rng(SEED + 1)
    change = update.change(np.broadcast_to(x, shape), np.full(shape, up), (0.0, 1.0), factors, generator)
    return np.asarray(change.std(axis=0))


def _draw_error(axes: Any, *, device: Device) -> None:
    """Draw the standard deviation of what is written against its target: the formula, and as measured."""
    error = device.programming_error
    if error is None:
        return
    targets_s = np.linspace(device.g_min_s, device.g_max_s, 201)
    axes.plot(targets_s * MICRO, error.std_s(targets_s) * MICRO, color="tab:blue", label="formula")
    places_s = np.linspace(device.g_min_s, device.g_max_s, PLACES)
    measured_us = written_std_s(device, places_s) * MICRO
    axes.plot(
        places_s * MICRO, measured_us, "o", color="tab:orange", markersize=4, label=f"{DEVICES:,} devices, clipped"
    )
    highest_us = max(float(error.std_s(targets_s).max()) * MICRO, float(measured_us.max()))
    axes.set_ylim(bottom=0.0, top=1.25 * highest_us if highest_us > 0 else 1.0)
    axes.legend(fontsize=LEGEND_SIZE, loc="upper center", ncols=2)
    label_panel(axes, title="Programming error", x="target, uS", y="standard deviation, uS")


def written_std_s(device: Device, targets_s: Floats) -> Floats:
    """Measure the standard deviation of what is written, [targets] S."""
    shape = (DEVICES, targets_s.size)
    devices = DeviceArray.draw(device, shape, np.random.default_rng(SEED))
    written_s = program(devices, np.broadcast_to(targets_s, shape), np.random.default_rng(SEED + 1))
    return np.asarray(written_s.std(axis=0))


def _draw_drift(axes: Any, *, device: Device) -> None:
    """Draw conductances over time: mean, and the middle 90 % of the devices."""
    drift = device.drift
    if drift is None:
        return
    what = "Relaxation" if isinstance(drift, Relaxation) else "Drift"
    times_s = np.geomspace(drift.t_0_s, max(TIMES.values()), 40)
    targets_s = device.g_min_s + np.array(TARGETS) * device.window_s
    devices = DeviceArray.draw(device, (DEVICES, targets_s.size), np.random.default_rng(SEED))
    start_s = np.broadcast_to(targets_s, devices.shape)
    over_time_us = np.array([drifted(devices, start_s, float(time_s)) for time_s in times_s]) * MICRO
    low, high = np.percentile(over_time_us, (5, 95), axis=1)
    for k, target_s in enumerate(targets_s):
        axes.plot(times_s, over_time_us.mean(axis=1)[:, k], label=f"{target_s * MICRO:.3g} uS")
        axes.fill_between(times_s, low[:, k], high[:, k], alpha=0.25, linewidth=0)
    axes.set_xscale("log")
    marks = {text: time_s for text, time_s in TIMES.items() if time_s > drift.t_0_s}
    axes.set_xticks(list(marks.values()), list(marks))
    axes.set_xlim(right=2.0 * max(TIMES.values()))
    axes.minorticks_off()
    axes.set_ylim(bottom=0.0, top=1.25 * float(high.max()))
    axes.legend(fontsize=LEGEND_SIZE, loc="upper center", ncols=3, columnspacing=1.0, handlelength=1.2)
    label_panel(
        axes,
        title=f"{what}: mean, and middle 90 % of the devices",
        x=f"since written, from t_0 = {drift.t_0_s:g} s",
        y="conductance, uS",
    )


def _draw_read_noise(axes: Any, *, device: Device) -> None:
    """Draw the standard deviation of a read against what was written, at several times."""
    targets_s = device.g_min_s + np.linspace(0.0, 1.0, PLACES)[1:] * device.window_s
    highest_us = 0.0
    for text, time_s in (("1 s", 1.0), *TIMES.items()):
        std_us = read_std_s(device, targets_s, time_s) * MICRO
        highest_us = max(highest_us, float(std_us.max()))
        axes.plot(targets_s * MICRO, std_us, "o-", markersize=3, linewidth=1.0, label=text)
    axes.set_ylim(bottom=0.0, top=1.3 * highest_us if highest_us > 0 else 1.0)
    axes.legend(fontsize=LEGEND_SIZE, loc="upper center", ncols=3, columnspacing=1.0, handlelength=1.2)
    label_panel(
        axes, title=f"Read noise, {DEVICES:,} reads each", x="written, uS; not drifted", y="standard deviation, uS"
    )


def read_std_s(device: Device, written_s: Floats, time_s: float) -> Floats:
    """Measure the standard deviation of a read of devices that have not drifted, [targets] S."""
    shape = (DEVICES, written_s.size)
    devices = DeviceArray.draw(device, shape, np.random.default_rng(SEED))
    seen_s = read(devices, np.broadcast_to(written_s, shape), np.random.default_rng(SEED + 1), time_s=time_s)
    return np.asarray(seen_s.std(axis=0))


def _say_nothing(axes: Any) -> None:
    """Fill the only panel of a device without pulses, errors, drift and noise."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, "holds what is written", ha="center", va="center", color="gray", fontsize=10)
