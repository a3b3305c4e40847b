"""What blocks are programmed into: window, scale and diodes; and what to do where they do not fit."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Final, final

import numpy as np

from circuits.choices import chosen
from circuits.diode import K_OVER_Q_V_PER_K, NOMINAL_TEMPERATURE_K, DiodeModel
from circuits.piecewise_linear_diode import PiecewiseLinearDiode

from .errors import ProgrammingError

DEFAULT_WINDOW_S: Final = (1e-7, 2e-4)


class OutOfWindow(Enum):
    """What to do with conductances outside the window."""

    RESCALE = "rescale"  # one scale for a block's conductances and currents; what is too small is raised pair by pair
    CLIP = "clip"  # to the window, device by device
    REFUSE = "refuse"


class ActiveLeaks(Enum):
    """What to do where a unit's devices load it by more than its own leak."""

    ALLOW = "allow"  # a negative leak: an active element
    REFUSE = "refuse"
    CLIP = "clip"  # the largest factor on the block's weights and biases that needs none


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ProgrammingSettings:
    """How blocks are programmed.

    A block that is a circuit already keeps its scale, diodes and temperature: it only moves into the window.

    Args:
        g_min_s, g_max_s: S — window of the devices; None for the block's own, of a Hopfield block DEFAULT_WINDOW_S.
        v_unit_v: V — voltage of a Hopfield state of 1. Its box is as sharp as n V_t / v_unit_v is small.
        g_unit_s: S — conductance of a Hopfield weight of 1, at most; rescaling lowers it.
        diode: of the clamps.
        reference_current_a: A — clamp current at which a unit sits exactly at its limit; scales along with g_unit_s.
        temperature_k: K — of the diodes.
        k_over_q_v_per_k: V/K — the simulator's k/q.
        out_of_window: conductances outside the window.
        active_leaks: units that need one.
        allow_several_equilibria: whether a block may have more than one, so that it need not find the digital one.

    Raises:
        ProgrammingError: for a number out of range, a window upside down, or a word that is no choice.
    """

    g_min_s: float | None = None
    g_max_s: float | None = None
    v_unit_v: float = 1.0
    g_unit_s: float = 1e-4
    diode: DiodeModel | PiecewiseLinearDiode = field(default_factory=DiodeModel)
    reference_current_a: float = 1e-5
    temperature_k: float = NOMINAL_TEMPERATURE_K
    k_over_q_v_per_k: float = K_OVER_Q_V_PER_K
    out_of_window: OutOfWindow = OutOfWindow.RESCALE
    active_leaks: ActiveLeaks = ActiveLeaks.ALLOW
    allow_several_equilibria: bool = False

    def __post_init__(self) -> None:
        for name, kind in (("out_of_window", OutOfWindow), ("active_leaks", ActiveLeaks)):
            value = chosen(kind, getattr(self, name), f"programming: {name}", ProgrammingError)
            object.__setattr__(self, name, value)
        positive = ("v_unit_v", "g_unit_s", "reference_current_a", "temperature_k", "k_over_q_v_per_k")
        for name in (*positive, "g_min_s", "g_max_s"):
            value = getattr(self, name)
            if value is None and name not in positive:
                continue
            if not (np.isfinite(value) and value > 0):
                raise ProgrammingError(f"programming: {name} = {value!r}; give a finite value above zero")
        if self.g_min_s is not None and self.g_max_s is not None:
            self.window_s(DEFAULT_WINDOW_S)  # with one of them it depends on the block's own

    def window_s(self, own: tuple[float, float]) -> tuple[float, float]:
        """Return the window in S, where it is left out a block's own.

        Raises:
            ProgrammingError: if it is upside down.
        """
        low = own[0] if self.g_min_s is None else self.g_min_s
        high = own[1] if self.g_max_s is None else self.g_max_s
        if not low < high:
            other = "" if None not in {self.g_min_s, self.g_max_s} else "; one of them is the default, so give both"
            raise ProgrammingError(f"programming: window upside down: g_min_s = {low:g}, g_max_s = {high:g}{other}")
        return low, high
