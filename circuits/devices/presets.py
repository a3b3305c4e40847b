"""Devices by name, as published: every number stands beside the table or paper that it comes from.

What a source gives no number for is off, not guessed. Pulsed devices are published in units of a weight, over a range
of 2; their steps are fractions of the window here, and their window is an energy block's own: `dataclasses.replace`
sets another.
"""

import difflib
from dataclasses import dataclass
from typing import final

from ..errors import CircuitError
from .device import Device
from .drift import ClippedLogarithm, Drift
from .programming_error import ProgrammingError
from .pulse_steps import ExponentialStep, LinearStep, PulseStep, SoftBoundsStep
from .pulsed_update import PulsedUpdate
from .read_noise import FlickerReadNoise

MICRO = 1e-6
WEIGHT_RANGE = 2.0  # of aihwkit's presets: from w_min to w_max

# The window of an energy block that is given none.
BLOCK_G_MIN_S = 1e-7
BLOCK_G_MAX_S = 2e-4
BLOCK_WINDOW = "Window: an energy block's own, the source gives weights without a unit."


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """A device with its source.

    Args:
        name: by which it is asked for.
        device: the device; its name is the same.
        source: the paper, and where its numbers were tabulated.
        note: what was inferred, or left out for want of a number.
    """

    name: str
    device: Device
    source: str
    note: str


# Drift and read noise of phase-change memory, as in aihwkit 1.1.0, with g = G / g_max:
# mean of nu clip(-0.0155 ln g + 0.0244, 0.049, 0.1), its spread clip(-0.0125 ln g - 0.0059, 0.008, 0.045), t_0 = 20 s;
# Q_s = min(0.0088 / g^0.65, 0.2), a read takes 250 ns.
PCM_DRIFT = Drift(
    nu_mean=ClippedLogarithm(slope=-0.0155, offset=0.0244, lowest=0.049, highest=0.1),
    nu_std=ClippedLogarithm(slope=-0.0125, offset=-0.0059, lowest=0.008, highest=0.045),
    t_0_s=20.0,
)
PCM_READ_NOISE = FlickerReadNoise(q_at_g_max=0.0088, exponent=0.65, q_highest=0.2, t_read_s=250e-9)


def _microsiemens(*coefficients: float, reference_us: float = 1.0) -> ProgrammingError:
    """Return an error published as a polynomial in microsiemens of G / reference_us, lowest power first."""
    return ProgrammingError(coefficients_s=tuple(c * MICRO for c in coefficients), reference_s=reference_us * MICRO)


def _linear_in_weight(*, dw: float, gamma_up: float, gamma_down: float, w_min: float, w_max: float) -> LinearStep:
    """Return a linear step published over a weight from w_min below zero to w_max above.

    Equation: up dw (1 - gamma_up w / w_max), down dw (1 - gamma_down w / w_min), over the range w_max - w_min.
    """
    unit = dw / (w_max - w_min)
    return LinearStep(
        up_at_low=unit * (1.0 - gamma_up * w_min / w_max),
        up_at_high=unit * (1.0 - gamma_up),
        down_at_low=unit * (1.0 - gamma_down),
        down_at_high=unit * (1.0 - gamma_down * w_max / w_min),
    )


def _constant(dw: float) -> LinearStep:
    """Return a constant step published over a weight range of 2."""
    step = dw / WEIGHT_RANGE
    return LinearStep(up_at_low=step, up_at_high=step, down_at_low=step, down_at_high=step)


def _pulsed(name: str, step: PulseStep) -> Device:
    """Return a device that is known by its pulses only."""
    return Device(name=name, g_min_s=BLOCK_G_MIN_S, g_max_s=BLOCK_G_MAX_S, pulsed_update=PulsedUpdate(step=step))


def _presets() -> tuple[Preset, ...]:
    """Return every preset, in the order in which they are listed."""
    return (
        Preset(
            name="ideal",
            device=_pulsed("ideal", _constant(0.0002)),
            source="aihwkit 1.1.0, Idealized preset: weight step 0.0002, 10,000 states",
            note=f"No device: a device without faults. {BLOCK_WINDOW}",
        ),
        Preset(
            name="pcm",
            device=Device(
                name="pcm",
                g_min_s=0.0,
                g_max_s=25.0 * MICRO,
                programming_error=_microsiemens(0.26348, 1.965, -1.1731, reference_us=25.0),
                read_noise=PCM_READ_NOISE,
                drift=PCM_DRIFT,
            ),
            source="S. R. Nandakumar et al., Phase-change memory models for deep learning training and inference, "
            "ICECS 2019; V. Joshi et al., Nature Communications 11, 2473, 2020; coefficients of aihwkit 1.1.0",
            note="The window begins at zero, as there.",
        ),
        Preset(
            name="pcm-joshi",
            device=Device(
                name="pcm-joshi",
                g_min_s=0.0,
                g_max_s=25.0 * MICRO,
                programming_error=_microsiemens(0.286, 0.0759, -0.00179),
            ),
            source="V. Joshi et al., Nature Communications 11, 2473, 2020; coefficients of CrossSim 3.2.0, PCMJoshi",
            note="Window: that of pcm. Programming error only.",
        ),
        Preset(
            name="hermes-pcm",
            device=Device(
                name="hermes-pcm",
                g_min_s=0.0,
                g_max_s=20.7 * MICRO,
                programming_error=_microsiemens(0.166, 4.718, -8.481, 4.690, reference_us=20.7),
            ),
            source="M. Le Gallo et al., A 64-core mixed-signal in-memory compute chip based on phase-change memory for "
            "deep neural network inference, Nature Electronics 6, 680, 2023; coefficients of aihwkit 1.1.0",
            note="Two devices in parallel. Drift and read noise left out: no numbers of this chip at hand.",
        ),
        Preset(
            name="rram-wan",
            device=Device(
                name="rram-wan",
                g_min_s=0.0,
                g_max_s=40.0 * MICRO,
                programming_error=_microsiemens(1.053, 0.2374, -1.167e-2, 1.536e-4),
            ),
            source="W. Wan et al., A compute-in-memory chip based on resistive random-access memory, Nature 608, 504, "
            "2022; coefficients of CrossSim 3.2.0",
            note="Only the upper end of the window is tabulated. Relaxation and read noise left out.",
        ),
        Preset(
            name="rram-milo",
            device=Device(
                name="rram-milo",
                g_min_s=50.0 * MICRO,
                g_max_s=225.0 * MICRO,
                programming_error=_microsiemens(4.78, -0.0091),
            ),
            source="V. Milo et al., Accurate program/verify schemes of resistive switching memory (RRAM) for in-memory "
            "neural network circuits, IEEE Transactions on Electron Devices 68, 3832, 2021; coefficients of CrossSim "
            "3.2.0",
            note="Nonlinear current left out: no coefficient at hand.",
        ),
        Preset(
            name="reram-es",
            # Weights from -1 to 1: dw (1 + b) up and dw (1 - b) down, b the up_down of the table.
            device=_pulsed(
                "reram-es",
                ExponentialStep(
                    up_step=0.00135 * (1 + 0.259359) / WEIGHT_RANGE,
                    down_step=0.00135 * (1 - 0.259359) / WEIGHT_RANGE,
                    a_up=-1.18445,
                    a_down=-0.081404,
                    gamma_up=5.0,
                    gamma_down=5.0,
                    scale=-0.5,
                    shift=-0.5,
                ),
            ),
            source="T. Gong et al., Nature Communications 9, 2102, 2018; numbers of aihwkit 1.1.0, ReRamES preset",
            note=f"{BLOCK_WINDOW} Noise and spread of the pulses left out.",
        ),
        Preset(
            name="reram-sb",
            # Weights from -0.75 to 1.25, step 0.002 at zero: dw (1 - w / w_bound) is dw / |w_bound| of what is left.
            device=_pulsed("reram-sb", SoftBoundsStep(up_rate=0.002 / 1.25, down_rate=0.002 / 0.75)),
            source="T. Gong et al., Nature Communications 9, 2102, 2018, of which aihwkit 1.1.0 has a loose fit, its "
            "ReRamSB preset; soft bounds: J. Frascaroli et al., Scientific Reports 8, 7178, 2018",
            note=f"{BLOCK_WINDOW} Noise and spread of the pulses left out.",
        ),
        Preset(
            name="ecram-li",
            device=_pulsed(
                "ecram-li", _linear_in_weight(dw=0.002, gamma_up=0.1153, gamma_down=0.5085, w_min=-0.8276, w_max=1.1724)
            ),
            source="J. Tang et al., ECRAM as scalable synaptic cell for high-speed, low-power neuromorphic computing, "
            "IEDM 2018; numbers of aihwkit 1.1.0, EcRam preset",
            note=f"{BLOCK_WINDOW} Noise and spread of the pulses left out.",
        ),
        Preset(
            name="ecram-mo",
            device=_pulsed(
                "ecram-mo",
                _linear_in_weight(dw=2.8214e-4, gamma_up=0.4152, gamma_down=0.7342, w_min=-0.8286, w_max=1.1714),
            ),
            source="S. Kim et al., Metal-oxide based, CMOS-compatible ECRAM for deep learning accelerator, IEDM 2019; "
            "numbers of aihwkit 1.1.0, EcRamMO preset",
            note=f"{BLOCK_WINDOW} Noise and spread of the pulses left out.",
        ),
        Preset(
            name="capacitor",
            device=_pulsed(
                "capacitor", _linear_in_weight(dw=0.005, gamma_up=0.05, gamma_down=0.05, w_min=-1.0, w_max=1.0)
            ),
            source="Y. Li et al., Capacitor-based cross-point array for analog neural network with record symmetry and "
            "linearity, VLSI Technology 2018; numbers of aihwkit 1.1.0, Capacitor preset",
            note=f"{BLOCK_WINDOW} Leakage of the charge, noise and spread of the pulses left out.",
        ),
    )


def preset_names() -> tuple[str, ...]:
    """Return the names of all presets, in the order in which they are listed."""
    return tuple(entry.name for entry in _presets())


def preset(name: str) -> Preset:
    """Return a preset.

    Args:
        name: one of `preset_names()`.

    Raises:
        CircuitError: for another name, with the nearest ones.
    """
    entries = {entry.name: entry for entry in _presets()}
    if name in entries:
        return entries[name]
    text = str(name).lower().replace("_", "-")
    parts = [known for known in entries if text and text in known]
    near = parts or difflib.get_close_matches(text, entries, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(entries)}"
    raise CircuitError(f"no device preset '{name}': {hint}")
