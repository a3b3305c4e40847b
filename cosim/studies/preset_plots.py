"""The picture of a device preset: how pulses move it, by how much a write misses, and what time does to it.

Everything drawn comes out of the functions that a network is written with (`program`, `pulsed`, `drifted`): the picture
shows what it would meet.
"""

import io
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from circuits.arrays import Floats
from circuits.devices import Device, DeviceArray, Preset, PulsedUpdate, drifted, program, pulsed

from ..files import write_atomically

MICRO = 1e6  # microsiemens a siemens
SEED = 0
DEVICES = 5_000  # behind each dot and each band
TRACES = 5  # devices of a pulse response whose devices differ
POINTS = 160  # of a pulse response
TARGETS = (0.2, 0.5, 0.9)  # of the window, each a band over time
TIMES = {"1 min": 60.0, "1 h": 3600.0, "1 day": 86400.0, "1 year": 365 * 86400.0}
SOURCE_WIDTH = 150  # characters of a line below the panels


def plot_preset(entry: Preset, path: Path) -> None:
    """Draw a preset into a PNG file: three panels, its source below.

    Args:
        entry: the preset.
        path: the file.

    Raises:
        RunError: if the file cannot be written.
    """
    figure = Figure(figsize=(13, 4.4), layout="constrained")  # no pyplot: it keeps figures
    FigureCanvasAgg(figure)
    device = entry.device
    pulses, error, drift = figure.subplots(1, 3)
    _draw_pulses(pulses, device)
    _draw_error(error, device)
    _draw_drift(drift, device)
    window = f"{device.g_min_s * MICRO:g} to {device.g_max_s * MICRO:g} uS"
    figure.suptitle(f"{entry.name}, window {window}", fontsize=12)
    lines = textwrap.wrap(entry.source, SOURCE_WIDTH) + textwrap.wrap(entry.note, SOURCE_WIDTH)
    figure.supxlabel("\n".join(lines), fontsize=8, color="dimgray")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    write_atomically(path, buffer.getvalue())


def _draw_pulses(axes: Any, device: Device) -> None:
    """Draw the response to up pulses, 1.5 times as many as would cross the window at mid-window speed, then down."""
    axes.set_title("Pulse response", fontsize=10)
    update = device.pulsed_update
    if update is None:
        _say_nothing(axes)
        return
    middle = np.array(0.5)
    crossing = 1.0 / min(float(update.step.up(middle)), float(update.step.down(middle)))
    each = max(1, round(1.5 * crossing / POINTS))
    trace_us = pulse_response(device, each=each) * MICRO
    count = np.arange(trace_us.shape[0]) * each
    turn = count[POINTS]
    axes.plot(count, trace_us, linewidth=1.2, color="tab:blue", alpha=1.0 if trace_us.shape[1] == 1 else 0.6)
    axes.axvline(turn, color="gray", linewidth=0.8, linestyle=":")
    margin = 0.1 * device.window_s * MICRO
    axes.set_ylim(float(trace_us.min()) - margin, float(trace_us.max()) + 1.5 * margin)
    for place, text in ((0.5 * turn, f"{turn:,} up"), (1.5 * turn, f"{turn:,} down")):
        axes.text(place, 0.985, text, ha="center", va="top", fontsize=9, transform=axes.get_xaxis_transform())
    axes.set_xlabel("pulses")
    axes.set_ylabel("conductance, uS")
    axes.grid(alpha=0.3)


def pulse_response(device: Device, *, each: int) -> Floats:
    """Send pulses up from g_min, then as many down.

    Args:
        device: with a pulsed update.
        each: pulses between two points.

    Returns:
        [2 POINTS + 1, devices] S — after every `each` pulses; one device if all are alike.
    """
    update = device.pulsed_update
    alike = device.spread is None and update is not None and update == PulsedUpdate(step=update.step)
    n_devices = 1 if alike else TRACES
    devices = DeviceArray.draw(device, (n_devices,), np.random.default_rng(SEED))
    generator = np.random.default_rng(SEED + 1)
    trace = [devices.with_stuck(devices.bounds_s()[0])]
    for direction in (1, -1):
        counts = np.full(n_devices, direction * each)
        for _ in range(POINTS):
            trace.append(pulsed(devices, trace[-1], counts, generator))
    return np.array(trace)


def _draw_error(axes: Any, device: Device) -> None:
    """Draw the standard deviation of what is written against its target: the formula, and as measured."""
    axes.set_title("Programming error", fontsize=10)
    error = device.programming_error
    if error is None:
        _say_nothing(axes)
        return
    targets_s = np.linspace(device.g_min_s, device.g_max_s, 201)
    axes.plot(targets_s * MICRO, error.std_s(targets_s) * MICRO, color="tab:blue", label="formula")
    places_s = np.linspace(device.g_min_s, device.g_max_s, 21)
    measured_us = written_std_s(device, places_s) * MICRO
    axes.plot(
        places_s * MICRO, measured_us, "o", color="tab:orange", markersize=4, label=f"{DEVICES:,} devices, clipped"
    )
    highest_us = max(float(error.std_s(targets_s).max()) * MICRO, float(measured_us.max()))
    axes.set_ylim(bottom=0.0, top=1.25 * highest_us if highest_us > 0 else 1.0)
    axes.set_xlabel("target, uS")
    axes.set_ylabel("standard deviation, uS")
    axes.legend(fontsize=8, loc="upper center", ncols=2)
    axes.grid(alpha=0.3)


def written_std_s(device: Device, targets_s: Floats) -> Floats:
    """Measure the standard deviation of what is written, [targets] S."""
    shape = (DEVICES, targets_s.size)
    devices = DeviceArray.draw(device, shape, np.random.default_rng(SEED))
    written_s = program(devices, np.broadcast_to(targets_s, shape), np.random.default_rng(SEED + 1))
    return np.asarray(written_s.std(axis=0))


def _draw_drift(axes: Any, device: Device) -> None:
    """Draw conductances over time: mean, and the middle 90 % of the devices."""
    axes.set_title("Drift", fontsize=10)
    drift = device.drift
    if drift is None:
        _say_nothing(axes)
        return
    times_s = np.geomspace(drift.t_0_s, max(TIMES.values()), 40)
    targets_s = device.g_min_s + np.array(TARGETS) * device.window_s
    devices = DeviceArray.draw(device, (DEVICES, targets_s.size), np.random.default_rng(SEED))
    start_s = np.broadcast_to(targets_s, devices.shape)
    over_time_us = np.array([drifted(devices, start_s, float(time_s)) for time_s in times_s]) * MICRO
    low, high = np.percentile(over_time_us, (5, 95), axis=1)
    for k, target_s in enumerate(targets_s):
        axes.plot(times_s, over_time_us.mean(axis=1)[:, k], label=f"{target_s * MICRO:.3g} uS written")
        axes.fill_between(times_s, low[:, k], high[:, k], alpha=0.25, linewidth=0)
    axes.set_xscale("log")
    marks = {text: time_s for text, time_s in TIMES.items() if time_s > drift.t_0_s}
    axes.set_xticks(list(marks.values()), list(marks))
    axes.minorticks_off()
    axes.set_ylim(bottom=0.0, top=1.35 * float(high.max()))
    axes.set_xlabel(f"since written, from t_0 = {drift.t_0_s:g} s")
    axes.set_ylabel("conductance, uS: mean, middle 90 %")
    axes.legend(fontsize=8, loc="upper center", ncols=3, columnspacing=1.0, handlelength=1.2)
    axes.grid(alpha=0.3)


def _say_nothing(axes: Any) -> None:
    """Fill the panel of an effect that is off."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, "not modelled", ha="center", va="center", color="gray", fontsize=10)
