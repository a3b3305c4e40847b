"""Sections for going on from a trained run: `[start]`, where the weights come from; `[circuit]`, what takes them up."""

from typing import Annotated, Literal, final

from pydantic import Field, model_validator

from circuits.diode import NOMINAL_TEMPERATURE_K

from ..programming.settings import ActiveLeaks, OutOfWindow
from .analog_sections import DiodeSection
from .section import READ_LOOSELY, Positive, Section


@final
class StartSection(Section):
    """`[start]`: the run whose network and weights training starts from, as `tellegen train --from RUN` sets it.

    What a configuration leaves out is as in that run, the network always.
    """

    run: Annotated[str, Field(min_length=1)]
    checkpoint: Literal["last", "previous", "best"] = "last"


@final
class CircuitSection(Section):
    """`[circuit]`: what the energy blocks of the run in `[start]` are programmed into, in SI units.

    Hopfield stages become circuits of this scale and these diodes; stages that are circuits keep theirs. Without
    g_min_s and g_max_s those keep their window, and hopfield stages get 1e-7 to 2e-4 S. `window` is what happens to
    conductances outside, `active_leaks` to units that need an active element for a leak.
    """

    g_min_s: Positive | None = None
    g_max_s: Positive | None = None
    v_unit_v: Positive = 1.0
    g_unit_s: Positive = 1e-4
    temperature_k: Positive = NOMINAL_TEMPERATURE_K
    diode: DiodeSection = DiodeSection()
    window: Annotated[OutOfWindow, READ_LOOSELY] = OutOfWindow.RESCALE
    active_leaks: Annotated[ActiveLeaks, READ_LOOSELY] = ActiveLeaks.ALLOW
    several_equilibria: bool = False

    @model_validator(mode="after")
    def _check(self) -> "CircuitSection":
        if self.g_min_s is not None and self.g_max_s is not None and self.g_min_s >= self.g_max_s:
            raise ValueError(f"g_min_s = {self.g_min_s:g} must lie below g_max_s = {self.g_max_s:g}")
        return self
