"""Presets: every number typed here from its source, what they do measured, and wrong names answered."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from circuits import CircuitError, EnergyBlock, NodeLayer
from circuits.devices import DeviceArray, PulsedUpdate, drifted, preset, preset_names, read

NAMES = (
    "ideal",
    "pcm",
    "pcm-joshi",
    "hermes-pcm",
    "hermes-pcm-single",
    "rram-wan",
    "rram-milo",
    "rram-cmo",
    "gokmen-vlasov",
    "reram-es",
    "reram-sb",
    "ecram-li",
    "ecram-mo",
    "capacitor",
)
PULSED = ("ideal", "gokmen-vlasov", "reram-es", "reram-sb", "ecram-li", "ecram-mo", "capacitor")
N = 100_000
RELATIVE = pytest.mark.parametrize("relative", [0.1, 0.3, 0.5, 0.7, 0.9])


def test_names() -> None:
    assert preset_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_has_a_source_and_an_effect(name: str) -> None:
    entry = preset(name)
    assert (entry.name, entry.device.name) == (name, name)
    years = ("2016", "2018", "2019", "2020", "2021", "2022", "2023", "2025")
    assert any(year in entry.source for year in years) or name == "ideal"
    assert any(table in entry.source for table in ("aihwkit 1.1.0", "CrossSim"))
    assert entry.note
    assert entry.device.effects


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pcm", ("Nandakumar", "ICECS 2019, 727-730")),
        ("pcm-joshi", ("V. Joshi", "Nature Communications 11, 2473, 2020")),
        ("hermes-pcm", ("Le Gallo", "Nature Electronics 6, 680-693, 2023")),
        ("rram-wan", ("W. Wan", "Nature 608, 504-512, 2022")),
        ("rram-milo", ("V. Milo", "Optimized programming algorithms", "IRPS 2021", "IGVVA-100")),
        ("rram-cmo", ("Falcone", "arXiv:2502.04524, 2025")),
        ("gokmen-vlasov", ("Gokmen", "Frontiers in Neuroscience 10, 333, 2016")),
        ("reram-es", ("N. Gong", "Nature Communications 9, 2102, 2018")),
        ("reram-sb", ("N. Gong", "Frascaroli", "Scientific Reports 8, 7178, 2018")),
        ("ecram-li", ("J. Tang", "IEDM 2018")),
        ("ecram-mo", ("S. Kim", "IEDM 2019")),
        ("capacitor", ("Y. Li", "VLSI Technology 2018, 25-26")),
    ],
)
def test_papers(name: str, words: tuple[str, ...]) -> None:
    for word in words:
        assert word in preset(name).source


@pytest.mark.parametrize(
    ("name", "low_us", "high_us"),
    [
        ("pcm", 0, 25),
        ("pcm-joshi", 0.25, 25),
        ("hermes-pcm", 0, 20.7),
        ("hermes-pcm-single", 0, 10.35),
        ("rram-wan", 0, 40),
        ("rram-milo", 50, 225),
        ("rram-cmo", 9.0, 88.199997),
    ],
)
def test_published_windows(name: str, low_us: float, high_us: float) -> None:
    device = preset(name).device
    assert (device.g_min_s, device.g_max_s) == (pytest.approx(low_us * 1e-6), pytest.approx(high_us * 1e-6))


def test_a_device_without_a_window_has_that_of_a_block() -> None:
    block = EnergyBlock(name="b", n_inputs=1, layers=(NodeLayer(size=1),))
    for name in PULSED:
        device = preset(name).device
        assert (device.g_min_s, device.g_max_s) == (block.g_min_s, block.g_max_s)
        assert "an energy block's own" in preset(name).note


# Devices that are programmed. The same polynomials are measured, clipped and all, in the effect audit.


@pytest.mark.parametrize(
    ("name", "reference_us", "coefficients"),
    [
        ("pcm", 25.0, (0.26348, 1.9650, -1.1731)),
        ("pcm-joshi", 1.0, (0.28638599, 0.07585724, -0.00178767)),
        ("hermes-pcm", 20.7, (0.16603222, 4.71806468, -8.48101252, 4.68961419)),
        ("hermes-pcm-single", 10.35, (0.15781817, 2.32443916, -2.16310839, 0.68841818)),
        ("rram-wan", 1.0, (1.053, 2.374e-1, -1.167e-2, 1.536e-4)),
        ("rram-milo", 1.0, (4.782321, -0.009107)),
        ("rram-cmo", 1.0, (0.00081107, 0.00106879)),
    ],
)
@RELATIVE
def test_programming_error(name: str, reference_us: float, coefficients: tuple[float, ...], relative: float) -> None:
    device = preset(name).device
    target_s = relative * device.g_max_s
    std_us = sum(c * (target_s * 1e6 / reference_us) ** k for k, c in enumerate(coefficients))
    assert device.programming_error is not None
    assert device.programming_error.std_s(np.array([target_s]))[0] == pytest.approx(std_us * 1e-6, rel=1e-12)
    written = device.programming_error.written_s(np.full(N, target_s), np.random.default_rng(0))
    assert float(written.mean()) == pytest.approx(target_s, rel=0.02)
    assert float(written.std()) == pytest.approx(std_us * 1e-6, rel=0.02)


def hermes_nu_mean(g: float) -> float:
    if g < 0.0945:
        return min(max(-0.0387 * math.log(g) - 0.0182, 0.0720), 0.13)
    return -0.0436 * g**2 - 0.0126 * g + 0.0736


def hermes_nu_std(g: float, single: bool) -> float:
    if single:
        if g < 0.3039:
            return min(max(-0.0120 * math.log(g) - 0.0023, 0.0124), 0.04)
        return -0.0165 * g**2 + 0.0116 * g + 0.0104
    if g < 0.3055:
        return min(max(-0.0117 * math.log(g) - 0.0057, 0.0091), 0.04)
    return -0.0118 * g**2 + 0.0093 * g + 0.0073


def hermes_q_s(g: float, single: bool) -> float:
    if single:
        if g < 0.1591:
            return min(max(-0.0078 * math.log(g) + 0.0038, 0.0179), 0.04)
        return 0.0664 * g**3 - 0.1352 * g**2 + 0.0768 * g + 0.0088
    if g < 0.16:
        return min(max(-0.0117 * math.log(g) - 0.0069, 0.015), 0.04)
    return 0.0069 * g**3 - 0.0280 * g**2 + 0.0211 * g + 0.0123


HERMES = pytest.mark.parametrize(
    ("name", "single", "t_0_s"), [("hermes-pcm", False, 300.0), ("hermes-pcm-single", True, 200.0)]
)


@HERMES
@pytest.mark.parametrize("relative", [0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9])
def test_drift_of_the_hermes_chip(name: str, single: bool, t_0_s: float, relative: float) -> None:
    device = preset(name).device
    devices = DeviceArray.draw(device, (N,), np.random.default_rng(1))
    g, time_s = np.full(N, relative * device.g_max_s), 86400.0
    assert drifted(devices, g, t_0_s).tobytes() == g.tobytes()
    nu = -np.log(drifted(devices, g, time_s) / g) / math.log(time_s / t_0_s)
    assert float(nu.mean()) == pytest.approx(hermes_nu_mean(relative), rel=0.02)
    assert float(nu.std()) == pytest.approx(hermes_nu_std(relative, single), rel=0.02)


@HERMES
@pytest.mark.parametrize("relative", [0.03, 0.1, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("time_s", [300.0, 86400.0])
def test_read_noise_of_the_hermes_chip(name: str, single: bool, t_0_s: float, relative: float, time_s: float) -> None:
    device = preset(name).device
    devices, g = DeviceArray.draw(device, (N,), np.random.default_rng(1)), relative * device.g_max_s
    std = g * hermes_q_s(relative, single) * math.sqrt(math.log((time_s + 512e-9) / (2 * 512e-9)))
    noise = read(devices, np.full(N, g), np.random.default_rng(2), time_s=time_s)
    assert float(noise.mean()) == pytest.approx(g, rel=0.02)
    assert float(noise.std()) == pytest.approx(std, rel=0.02)
    with pytest.raises(CircuitError, match="flicker read noise grows with time: give time_s"):
        read(devices, np.full(N, g), np.random.default_rng(2))


WAN = {  # of (G / 40 uS), in uS
    1.0: (0.348, 16.030, -43.853, 45.393, -16.815),
    86400.0: (0.701, 22.086, -50.773, 47.095, -16.458),
    172800.0: (0.782, 20.274, -43.507, 37.062, -11.934),
}


@pytest.mark.parametrize("time_s", [86400.0, 172800.0])
@RELATIVE
def test_relaxation_of_wan(time_s: float, relative: float) -> None:
    # Error at 1 s and relaxation since add up to what was measured at the time.
    device = preset("rram-wan").device
    devices = DeviceArray.draw(device, (N,), np.random.default_rng(1))
    written = np.full(N, relative * 40e-6)
    assert drifted(devices, written, 1.0).tobytes() == written.tobytes()
    at_1_s, later = (sum(c * relative**k for k, c in enumerate(WAN[t])) for t in (1.0, time_s))
    moved = drifted(devices, written, time_s) - written
    # By quantiles: near zero some devices are clipped, on the lower side.
    std = float(np.percentile(moved, 84.1345))
    assert math.hypot(std, at_1_s * 1e-6) == pytest.approx(later * 1e-6, rel=0.02)
    assert float(np.median(moved)) == pytest.approx(0.0, abs=0.02 * std)


@pytest.mark.parametrize("time_s", [1.0, 60.0, 86400.0, 3.15e7])
@RELATIVE
def test_relaxation_of_cmo(time_s: float, relative: float) -> None:
    device = preset("rram-cmo").device
    devices = DeviceArray.draw(device, (N,), np.random.default_rng(1))
    written = relative * 88.2e-6
    now = drifted(devices, np.full(N, written), time_s)
    assert float(now.mean()) == pytest.approx(written - 0.08900206e-6 * math.log(time_s), rel=0.02)
    assert float(now.std()) == pytest.approx((0.04201137 * math.log(time_s) + 0.41183342) * 1e-6, rel=0.02)


# Devices that are pulsed: the tables of aihwkit 1.1.0, in units of a weight from w_min to w_max.

TABLES = {
    # dw_min, w_min, w_max, up_down, dw_min_dtod, up_down_dtod, w_min_dtod, w_max_dtod, dw_min_std, mult_noise
    "gokmen-vlasov": (0.0016, -1.0, 1.0, 0.0, 0.3, 0.01, 0.3, 0.3, 0.3, True),
    "reram-es": (0.00135, -1.0, 1.0, 0.259359, 0.2, 0.05, 0.3, 0.3, 5.0, True),
    "reram-sb": (0.002, -0.75, 1.25, 0.0, 0.3, 0.01, 0.3 / 0.75, 0.3 / 1.25, 3.75, False),
    "ecram-li": (0.002, -0.8276, 1.1724, 0.0, 0.1, 0.01, 0.05, 0.05, 0.3, True),
    "ecram-mo": (2.8214e-4, -0.8286, 1.1714, 0.0, 0.1, 0.01, 0.05, 0.05, 2.0, True),
    "capacitor": (0.005, -1.0, 1.0, 0.0, 0.1, 0.06, 0.07, 0.07, 0.3, False),
}


def step_at(name: str, w: float, up: bool) -> float:
    """The mean step of a device with both bounds where they should be, in units of dw_min."""
    _, w_min, w_max, *_ = TABLES[name]
    if name == "reram-es":
        z = -0.5 * w - 0.5
        return 1 + 1.18445 * math.exp(5 * z) if up else 1 + 0.081404 * math.exp(-5 * z)
    gammas = {
        "gokmen-vlasov": (0.0, 0.0),
        "reram-sb": (1.0, 1.0),
        "ecram-li": (0.1153, 0.5085),
        "ecram-mo": (0.4152, 0.7342),
        "capacitor": (0.05, 0.05),
    }
    return 1 - gammas[name][0] * w / w_max if up else 1 - gammas[name][1] * w / w_min


@pytest.mark.parametrize("name", list(TABLES))
@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
@RELATIVE
def test_one_pulse(name: str, up: bool, relative: float) -> None:
    """Mean and spread of a single pulse before the bounds clip it, over devices and pulses."""
    dw_min, w_min, w_max, up_down, dw_min_dtod, up_down_dtod, _, _, dw_min_std, mult_noise = TABLES[name]
    update = preset(name).device.pulsed_update
    assert update is not None
    factors = update.draw_factors((N,), np.random.default_rng(1))
    assert factors is not None
    x, directions = np.full(N, relative), np.full(N, up)
    change = update.change(x, directions, (0.0, 1.0), factors, np.random.default_rng(2)) * (w_max - w_min)
    # step f (1 + c xi), or f (step + c xi): f has mean 1, or 1 - up_down going down.
    step, factor = step_at(name, w_min + relative * (w_max - w_min), up), 1.0 if up else 1.0 - up_down
    factor_variance = dw_min_dtod**2 + up_down_dtod**2
    noise = dw_min_std * step if mult_noise else dw_min_std
    std = dw_min * math.sqrt((factor**2 + factor_variance) * noise**2 + factor_variance * step**2)
    mean = dw_min * factor * step * (1 if up else -1)
    # Where a pulse is mostly noise, 100,000 of them do not know their mean to 2 %: four standard errors then.
    assert float(change.mean()) == pytest.approx(mean, rel=0.02, abs=4 * std / math.sqrt(N))
    assert float(change.std()) == pytest.approx(std, rel=0.02)


@pytest.mark.parametrize("name", list(TABLES))
def test_bounds(name: str) -> None:
    _, w_min, w_max, _, _, _, w_min_dtod, w_max_dtod, _, _ = TABLES[name]
    # A window far from zero: there no bound is clipped.
    device = replace(preset(name).device, g_min_s=1e-4, g_max_s=2e-4)
    low, high = DeviceArray.draw(device, (N,), np.random.default_rng(3)).bounds_s()
    assert float(low.mean()) == pytest.approx(1e-4, rel=0.02)
    assert float(high.mean()) == pytest.approx(2e-4, rel=0.02)
    assert float(low.std()) == pytest.approx(1e-4 * -w_min * w_min_dtod / (w_max - w_min), rel=0.02)
    assert float(high.std()) == pytest.approx(1e-4 * w_max * w_max_dtod / (w_max - w_min), rel=0.02)


@pytest.mark.parametrize("name", PULSED)
def test_a_pulse_is_counted_as_dw_min(name: str) -> None:
    dw_min, w_min, w_max = TABLES[name][:3] if name != "ideal" else (0.0002, -1.0, 1.0)
    update = preset(name).device.pulsed_update
    assert update is not None
    assert update.counted_step == pytest.approx(dw_min / (w_max - w_min), rel=1e-12)


def test_the_ideal_device_has_neither_noise_nor_spread() -> None:
    update = preset("ideal").device.pulsed_update
    assert update is not None
    assert update == PulsedUpdate(step=update.step, nominal_step=1e-4)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("PCM", "did you mean pcm"),
        ("ecram_li", "did you mean ecram-li"),
        ("hermes", "did you mean hermes-pcm"),
        ("rram", "did you mean rram-wan or rram-milo or rram-cmo"),
        ("milo", "did you mean rram-milo"),
        ("ecramli", "did you mean ecram-li"),
        ("", "there are ideal"),
        ("zzz", "there are ideal, pcm, "),
    ],
)
def test_an_unknown_name_gets_the_nearest(name: str, answer: str) -> None:
    with pytest.raises(CircuitError, match=f"no device preset '{name}': {answer}"):
        preset(name)
