"""Devices that are trained by pulses: known by what a pulse does to them.

They are published in units of a weight, from w_min below zero to w_max above; here everything is a fraction of the
window, w_max - w_min, and the window itself is an energy block's own: `dataclasses.replace` sets another.
"""

import math
from dataclasses import dataclass
from typing import final

from .device import Device
from .preset import BLOCK_WINDOW_S, Preset
from .pulse_steps import ExponentialStep, LinearStep, PulseStep, SoftBoundsStep
from .pulsed_update import PulsedUpdate

# The window of an energy block that is given none.
BLOCK_WINDOW = "Window: an energy block's own, the source gives weights without a unit. No bound falls below zero."
GONG = (
    "N. Gong et al., Signal and noise extraction from analog memory elements for neuromorphic computing, Nature "
    "Communications 9, 2102, 2018"
)
GOKMEN = (
    "T. Gokmen and Y. Vlasov, Acceleration of deep neural network training with resistive cross-point devices, "
    "Frontiers in Neuroscience 10, 333, 2016"
)


def pulsed_presets() -> tuple[Preset, ...]:
    """Return the presets of devices that are pulsed, in the order in which they are listed; the ideal one first."""
    return (_ideal(), _gokmen_vlasov(), _reram_es(), _reram_sb(), _ecram_li(), _ecram_mo(), _capacitor())


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class _Weights:
    """Numbers of a pulsed device as they were published, names and units as aihwkit's; None for what is off.

    The standard deviations of dw_min are fractions of it, those of the bounds fractions of each bound.
    """

    dw_min: float
    w_min: float = -1.0
    w_max: float = 1.0
    up_down: float | None = None
    dw_min_dtod: float | None = None
    up_down_dtod: float | None = None
    w_min_dtod: float = 0.0
    w_max_dtod: float = 0.0
    dw_min_std: float | None = None
    mult_noise: bool = True

    @property
    def width(self) -> float:
        """Width of the range."""
        return self.w_max - self.w_min

    @property
    def unit(self) -> float:
        """dw_min as a fraction of the window."""
        return self.dw_min / self.width

    def linear(self, *, gamma_up: float, gamma_down: float) -> LinearStep:
        """Return the step up dw_min (1 - gamma_up w / w_max), down dw_min (1 - gamma_down w / w_min)."""
        return LinearStep(
            up_at_low=self.unit * (1.0 - gamma_up * self.w_min / self.w_max),
            up_at_high=self.unit * (1.0 - gamma_up),
            down_at_low=self.unit * (1.0 - gamma_down),
            down_at_high=self.unit * (1.0 - gamma_down * self.w_max / self.w_min),
        )

    def soft_bounds(self) -> SoftBoundsStep:
        """Return the step up dw_min (1 - w / bound_max), down dw_min (1 - w / bound_min): dw_min at w = 0."""
        return SoftBoundsStep(
            up_rate=self.dw_min / self.w_max, down_rate=-self.dw_min / self.w_min, pivot=-self.w_min / self.width
        )

    def device(self, name: str, step: PulseStep) -> Device:
        """Return the device."""
        high, low = self.w_max_dtod * self.w_max / self.width, -self.w_min_dtod * self.w_min / self.width
        std = self.dw_min_std
        update = PulsedUpdate(
            step=step,
            cycle_relative_std=std if self.mult_noise else None,
            cycle_additive_std=None if std is None or self.mult_noise else std * self.unit,
            up_down=self.up_down,
            device_relative_std=self.dw_min_dtod,
            up_down_device_std=self.up_down_dtod,
            bound_device_std=high if high > 0 else None,
            low_bound_device_std=None if math.isclose(low, high) else low,
            nominal_step=self.unit,
        )
        return Device(name=name, g_min_s=BLOCK_WINDOW_S[0], g_max_s=BLOCK_WINDOW_S[1], pulsed_update=update)


def _ideal() -> Preset:
    """Return a device without faults."""
    weights = _Weights(dw_min=0.0002)
    return Preset(
        name="ideal",
        device=weights.device("ideal", weights.linear(gamma_up=0.0, gamma_down=0.0)),
        source="aihwkit 1.1.0, Idealized preset: weight step 0.0002, 10,000 states",
        note=f"No device: one without faults, and without the noise and spread that aihwkit gives it. {BLOCK_WINDOW}",
    )


def _gokmen_vlasov() -> Preset:
    """Return what a device has to be like."""
    weights = _Weights(
        dw_min=0.0016, dw_min_dtod=0.3, up_down_dtod=0.01, w_min_dtod=0.3, w_max_dtod=0.3, dw_min_std=0.3
    )
    return Preset(
        name="gokmen-vlasov",
        device=weights.device("gokmen-vlasov", weights.linear(gamma_up=0.0, gamma_down=0.0)),
        source=f"{GOKMEN}; numbers of aihwkit 1.1.0, GokmenVlasov preset",
        note=f"No device: a specification of one, with 1,200 states. {BLOCK_WINDOW}",
    )


def _reram_es() -> Preset:
    """Return resistive memory with exponential steps."""
    weights = _Weights(
        dw_min=0.00135,
        up_down=0.259359,
        dw_min_dtod=0.2,
        up_down_dtod=0.05,
        w_min_dtod=0.3,
        w_max_dtod=0.3,
        dw_min_std=5.0,
    )
    step = ExponentialStep(
        up_step=weights.unit,
        down_step=weights.unit,
        a_up=-1.18445,
        a_down=-0.081404,
        gamma_up=5.0,
        gamma_down=5.0,
        scale=-0.5,
        shift=-0.5,
    )
    return Preset(
        name="reram-es",
        device=weights.device("reram-es", step),
        source=f"{GONG}; numbers of aihwkit 1.1.0, ReRamES preset",
        note="Write noise left out: 75 steps, 5 % of the window, on what is read after a pulse; it does not add up "
        f"as the noise of the steps does. {BLOCK_WINDOW}",
    )


def _reram_sb() -> Preset:
    """Return resistive memory with soft bounds."""
    weights = _Weights(
        dw_min=0.002,
        w_min=-0.75,
        w_max=1.25,
        dw_min_dtod=0.3,
        up_down_dtod=0.01,
        w_min_dtod=0.3 / 0.75,
        w_max_dtod=0.3 / 1.25,
        dw_min_std=3.75,
        mult_noise=False,
    )
    return Preset(
        name="reram-sb",
        device=weights.device("reram-sb", weights.soft_bounds()),
        source=f"{GONG}, of which aihwkit 1.1.0 has a loose fit, its ReRamSB preset; soft bounds: J. Frascaroli et "
        "al., Evidence of soft bound behaviour in analogue memristive devices for neuromorphic computing, Scientific "
        "Reports 8, 7178, 2018",
        note="Write noise left out: 56 steps, 5.6 % of the window, on what is read after a pulse; it does not add up "
        f"as the noise of the steps does. {BLOCK_WINDOW}",
    )


def _ecram_li() -> Preset:
    """Return electrochemical memory with lithium."""
    weights = _Weights(
        dw_min=0.002,
        w_min=-0.8276,
        w_max=1.1724,
        dw_min_dtod=0.1,
        up_down_dtod=0.01,
        w_min_dtod=0.05,
        w_max_dtod=0.05,
        dw_min_std=0.3,
    )
    return Preset(
        name="ecram-li",
        device=weights.device("ecram-li", weights.linear(gamma_up=0.1153, gamma_down=0.5085)),
        source="J. Tang et al., ECRAM as scalable synaptic cell for high-speed, low-power neuromorphic computing, IEDM "
        "2018; numbers of aihwkit 1.1.0, EcRam preset",
        note=f"Spread of the slopes left out: 0.05 of either gamma. {BLOCK_WINDOW}",
    )


def _ecram_mo() -> Preset:
    """Return electrochemical memory of metal oxide."""
    weights = _Weights(
        dw_min=2.8214e-4,
        w_min=-0.8286,
        w_max=1.1714,
        dw_min_dtod=0.1,
        up_down_dtod=0.01,
        w_min_dtod=0.05,
        w_max_dtod=0.05,
        dw_min_std=2.0,
    )
    return Preset(
        name="ecram-mo",
        device=weights.device("ecram-mo", weights.linear(gamma_up=0.4152, gamma_down=0.7342)),
        source="S. Kim et al., Metal-oxide based, CMOS-compatible ECRAM for deep learning accelerator, IEDM 2019; "
        "numbers of aihwkit 1.1.0, EcRamMO preset",
        note=f"Spread of the slopes left out: 0.05 of either gamma. {BLOCK_WINDOW}",
    )


def _capacitor() -> Preset:
    """Return a capacitor that gates a transistor."""
    weights = _Weights(
        dw_min=0.005,
        dw_min_dtod=0.1,
        up_down_dtod=0.06,
        w_min_dtod=0.07,
        w_max_dtod=0.07,
        dw_min_std=0.3,
        mult_noise=False,
    )
    return Preset(
        name="capacitor",
        device=weights.device("capacitor", weights.linear(gamma_up=0.05, gamma_down=0.05)),
        source="Y. Li et al., Capacitor-based cross-point array for analog neural network with record symmetry and "
        "linearity, VLSI Technology 2018, 25-26; numbers of aihwkit 1.1.0, Capacitor preset",
        note="Left out: leakage of the charge, a lifetime of 1e6 batches; spread of the slopes, 0.01 of either gamma. "
        f"{BLOCK_WINDOW}",
    )
