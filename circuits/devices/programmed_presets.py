"""Devices that are programmed: known by how well a conductance is written into them, and what time does to it."""

import math

from .conductance_laws import ClippedLogarithm, LogarithmThenPolynomial
from .device import Device
from .drift import Drift
from .preset import Preset
from .programming_error import ProgrammingError
from .read_noise import FittedFlickerReadNoise, FlickerReadNoise
from .relaxation import Relaxation

MICRO = 1e-6
TEN_YEARS_S = 10 * 365.25 * 86_400.0


def programmed_presets() -> tuple[Preset, ...]:
    """Return the presets of devices that are programmed, in the order in which they are listed."""
    return (_pcm(), _pcm_joshi(), _hermes_pair(), _hermes_single(), _rram_wan(), _rram_milo(), _rram_cmo())


def _microsiemens(*coefficients: float, reference_us: float = 1.0) -> ProgrammingError:
    """Return an error published as a polynomial in microsiemens of G / reference_us, lowest power first."""
    return ProgrammingError(coefficients_s=_in_siemens(*coefficients), reference_s=reference_us * MICRO)


def _in_siemens(*coefficients_us: float) -> tuple[float, ...]:
    """Return coefficients that were published in microsiemens."""
    return tuple(c * MICRO for c in coefficients_us)


def _pcm() -> Preset:
    """Return phase-change memory; below, g = G / g_max."""
    return Preset(
        name="pcm",
        device=Device(
            name="pcm",
            g_min_s=0.0,
            g_max_s=25.0 * MICRO,
            programming_error=_microsiemens(0.26348, 1.965, -1.1731, reference_us=25.0),
            # Q_s = min(0.0088 / g^0.65, 0.2), a read takes 250 ns.
            read_noise=FlickerReadNoise(q_at_g_max=0.0088, exponent=0.65, q_highest=0.2, t_read_s=250e-9),
            # nu: mean clip(-0.0155 ln g + 0.0244, 0.049, 0.1), spread clip(-0.0125 ln g - 0.0059, 0.008, 0.045).
            drift=Drift(
                nu_mean=ClippedLogarithm(slope=-0.0155, offset=0.0244, lowest=0.049, highest=0.1),
                nu_std=ClippedLogarithm(slope=-0.0125, offset=-0.0059, lowest=0.008, highest=0.045),
                t_0_s=20.0,
            ),
        ),
        source="S. R. Nandakumar et al., Phase-change memory models for deep learning training and inference, ICECS "
        "2019, 727-730; coefficients of aihwkit 1.1.0, PCMLikeNoiseModel",
        note="The window begins at zero, as there.",
    )


def _pcm_joshi() -> Preset:
    """Return phase-change memory as written by the group of Joshi."""
    return Preset(
        name="pcm-joshi",
        device=Device(
            name="pcm-joshi",
            g_min_s=0.25 * MICRO,
            g_max_s=25.0 * MICRO,
            programming_error=_microsiemens(0.28638599, 0.07585724, -0.00178767),
        ),
        source="V. Joshi et al., Accurate deep neural network inference using computational phase-change memory, "
        "Nature Communications 11, 2473, 2020, figure 3b; coefficients and window of CrossSim, PCMJoshi",
        note="As read 27.36 s after the write. Programming error only.",
    )


def _hermes_pair() -> Preset:
    """Return a pair of devices of the Hermes chip, both holding the same."""
    return Preset(
        name="hermes-pcm",
        device=Device(
            name="hermes-pcm",
            g_min_s=0.0,
            g_max_s=20.7 * MICRO,
            programming_error=_microsiemens(0.16603222, 4.71806468, -8.48101252, 4.68961419, reference_us=20.7),
            read_noise=FittedFlickerReadNoise(
                q=LogarithmThenPolynomial(
                    below=ClippedLogarithm(slope=-0.0117, offset=-0.0069, lowest=0.015, highest=0.04),
                    break_relative=0.16,
                    coefficients=(0.0123, 0.0211, -0.0280, 0.0069),
                ),
                t_read_s=512e-9,
            ),
            drift=Drift(
                nu_mean=_hermes_nu_mean(),
                nu_std=LogarithmThenPolynomial(
                    below=ClippedLogarithm(slope=-0.0117, offset=-0.0057, lowest=0.0091, highest=0.04),
                    break_relative=0.3055,
                    coefficients=(0.0073, 0.0093, -0.0118),
                ),
                t_0_s=300.0,
            ),
        ),
        source=_hermes_source(),
        note="Two devices in parallel, written to the best of both (Vasilopoulos et al., IEEE Transactions on Electron "
        "Devices, 2023) but drifting as two that hold the same: the chip itself drifts less.",
    )


def _hermes_single() -> Preset:
    """Return one device of the Hermes chip by itself."""
    return Preset(
        name="hermes-pcm-single",
        device=Device(
            name="hermes-pcm-single",
            g_min_s=0.0,
            g_max_s=10.35 * MICRO,
            programming_error=_microsiemens(0.15781817, 2.32443916, -2.16310839, 0.68841818, reference_us=10.35),
            read_noise=FittedFlickerReadNoise(
                q=LogarithmThenPolynomial(
                    below=ClippedLogarithm(slope=-0.0078, offset=0.0038, lowest=0.0179, highest=0.04),
                    break_relative=0.1591,
                    coefficients=(0.0088, 0.0768, -0.1352, 0.0664),
                ),
                t_read_s=512e-9,
            ),
            drift=Drift(
                nu_mean=_hermes_nu_mean(),
                nu_std=LogarithmThenPolynomial(
                    below=ClippedLogarithm(slope=-0.0120, offset=-0.0023, lowest=0.0124, highest=0.04),
                    break_relative=0.3039,
                    coefficients=(0.0104, 0.0116, -0.0165),
                ),
                t_0_s=200.0,
            ),
        ),
        source=_hermes_source(),
        note="The window begins at zero, as there.",
    )


def _hermes_nu_mean() -> LogarithmThenPolynomial:
    """Return the mean drift exponent of the Hermes chip, the same for one device and for two."""
    return LogarithmThenPolynomial(
        below=ClippedLogarithm(slope=-0.0387, offset=-0.0182, lowest=0.072, highest=0.13),
        break_relative=0.0945,
        coefficients=(0.0736, -0.0126, -0.0436),
    )


def _hermes_source() -> str:
    """Return where the numbers of the Hermes chip come from."""
    return (
        "M. Le Gallo et al., A 64-core mixed-signal in-memory compute chip based on phase-change memory for deep "
        "neural network inference, Nature Electronics 6, 680-693, 2023; coefficients of aihwkit 1.1.0, HermesNoiseModel"
    )


def _rram_wan() -> Preset:
    """Return the resistive memory of the NeuRRAM chip."""
    return Preset(
        name="rram-wan",
        device=Device(
            name="rram-wan",
            g_min_s=0.0,
            g_max_s=40.0 * MICRO,
            programming_error=_microsiemens(1.053, 0.2374, -1.167e-2, 1.536e-4),
            drift=Relaxation(
                times_s=(1.0, 86_400.0, 172_800.0),
                std_coefficients_s=(
                    _in_siemens(0.348, 16.030, -43.853, 45.393, -16.815),
                    _in_siemens(0.701, 22.086, -50.773, 47.095, -16.458),
                    _in_siemens(0.782, 20.274, -43.507, 37.062, -11.934),
                ),
                reference_s=40.0 * MICRO,
                written_std_coefficients_s=_in_siemens(0.348, 16.030, -43.853, 45.393, -16.815),
            ),
        ),
        source="W. Wan et al., A compute-in-memory chip based on resistive random-access memory, Nature 608, 504-512, "
        "2022, extended data figure 3; programming error, 1 s after the write: coefficients of CrossSim, RRAMWan; "
        "relaxation after 1 s, 1 day and 2 days: coefficients of aihwkit 1.1.0, ReRamWan2022NoiseModel",
        note="Two fits of one figure, that of the error up to 39.26 uS; only the upper end of the window is tabulated. "
        "Read noise of about 1 % left out. Nothing moves after two days.",
    )


def _rram_milo() -> Preset:
    """Return the resistive memory of Milo's array."""
    return Preset(
        name="rram-milo",
        device=Device(
            name="rram-milo",
            g_min_s=50.0 * MICRO,
            g_max_s=225.0 * MICRO,
            programming_error=_microsiemens(4.782321, -0.009107),
        ),
        source="V. Milo et al., Optimized programming algorithms for multilevel RRAM in hardware neural networks, IRPS "
        "2021, figure 4, algorithm IGVVA-100; coefficients and window of CrossSim, RRAMMilo",
        note="Programming error only.",
    )


def _rram_cmo() -> Preset:
    """Return resistive memory with a conductive metal oxide."""
    # The source's lines over ln t, from 1 s: mean -0.08900206 ln t, spread 0.04201137 ln t + 0.41183342, in uS.
    decade_of_years = math.log(TEN_YEARS_S)
    return Preset(
        name="rram-cmo",
        device=Device(
            name="rram-cmo",
            g_min_s=9.0 * MICRO,
            g_max_s=88.199997 * MICRO,
            programming_error=_microsiemens(0.00081107, 0.00106879),
            drift=Relaxation(
                times_s=(1.0, TEN_YEARS_S),
                std_coefficients_s=(_in_siemens(0.41183342), _in_siemens(0.41183342 + 0.04201137 * decade_of_years)),
                reference_s=MICRO,
                shift_s=_in_siemens(0.0, -0.08900206 * decade_of_years),
            ),
        ),
        source="D. F. Falcone et al., All-in-one analog AI accelerator: on-chip training and inference with "
        "conductive-metal-oxide/HfOx ReRAM devices, arXiv:2502.04524, 2025; coefficients and window of aihwkit 1.1.0, "
        "ReRamCMONoiseModel",
        note="Written with an acceptance range of 0.2 %; with 2 % the error is 0.0112 uS + 0.0113 G. Read noise left "
        "out. Nothing moves after ten years.",
    )
