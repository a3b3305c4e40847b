"""What programming did to a block: fit to the window, passivity, uniqueness; for people and for programs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, final

import numpy as np

from circuits.arrays import Floats
from circuits.energy_block import EnergyBlock


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class WindowFit:
    """How conductances came into the window.

    Args:
        g_min_s, g_max_s: S — the window.
        g_unit_s: S — the scale in force.
        scale: by which conductances and currents were multiplied; 1 if they fitted.
        weights: number of weights, biases included; of a convolution the kernel's.
        outside: of these, how many had a device outside the window at the scale asked for.
        raised: pairs raised to g_min, both devices by as much, which a leak makes up for.
        clipped: weights of which clipping moved a device.
        largest_change_s: S — the largest change of a weight by clipping.
    """

    g_min_s: float
    g_max_s: float
    g_unit_s: float
    scale: float = 1.0
    weights: int
    outside: int = 0
    raised: int = 0
    clipped: int = 0
    largest_change_s: float = 0.0

    def text(self) -> str:
        """Return it as a sentence."""
        window = f"window {self.g_min_s:.3g} to {self.g_max_s:.3g} S"
        if not self.outside:
            return f"{window}: all {self.weights:,} weights inside at g_unit = {self.g_unit_s:.3g} S"
        parts = [f"{self.outside:,} of {self.weights:,} weights outside"]
        if self.scale != 1.0:  # exactly 1 where nothing was done
            parts.append(f"conductances and currents times {self.scale:.4g} (g_unit = {self.g_unit_s:.3g} S)")
        if self.raised:
            parts.append(f"{self.raised:,} pairs raised to g_min, made up for by leaks")
        if self.clipped:
            parts.append(f"{self.clipped:,} clipped, by up to {self.largest_change_s:.3g} S")
        return f"{window}: {'; '.join(parts)}"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class LayerLeaks:
    """The leaks of a layer.

    Args:
        layer: its number, from 1.
        units: of it.
        active: units whose leak is negative.
        lowest_s, highest_s: S.
    """

    layer: int
    units: int
    active: int
    lowest_s: float
    highest_s: float


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Passivity:
    """Whether leaks are resistors.

    Args:
        layers: each layer's leaks.
        own_s: S — what the unit with the lowest leak would have without its devices, 1 / a, to compare it with; of a
            circuit what it had before pairs were raised. None where it had just that.
        factor: the largest by which all weights and biases may be multiplied so that no leak is active; zero where the
            devices at g_min alone are too much; None without weights, and of a circuit, whose are not multiplied.
        applied: the factor that was applied to need no active leak; None if none was.
    """

    layers: tuple[LayerLeaks, ...]
    own_s: float | None
    factor: float | None
    applied: float | None = None

    @property
    def units(self) -> int:
        """Units of all layers."""
        return sum(layer.units for layer in self.layers)

    @property
    def active(self) -> int:
        """Units that need an active leak."""
        return sum(layer.active for layer in self.layers)

    @property
    def lowest_s(self) -> float:
        """S — the lowest leak."""
        return min(layer.lowest_s for layer in self.layers)

    def text(self) -> str:
        """Return it as a sentence."""
        if self.applied is not None:
            done = f"weights and biases multiplied by {self.applied:.4g} to need no active leak; "
        else:
            done = ""
        if self.factor is None:
            room = ""
        elif self.factor > 0:
            room = f"; passive up to weights times {self.factor:.4g}"
        else:
            room = "; devices at g_min alone are too much for a leak"
        own = "" if self.own_s is None else f" where the unit's own is {self.own_s:.3g} S"
        if not self.active:
            return f"{done}passive, lowest leak {self.lowest_s:.3g} S of {self.units:,} units{room}"
        where = ", ".join(f"layer {layer.layer}: {layer.active:,}" for layer in self.layers if layer.active)
        return (
            f"{done}{self.active:,} of {self.units:,} units need an active leak ({where}), the largest "
            f"{self.lowest_s:.3g} S{own}{room}"
        )


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ProgrammingReport:
    """What programming did to a block.

    Args:
        block: its name.
        source: what it was: SOURCE_HOPFIELD or SOURCE_ANALOG.
        window: how conductances came into the window.
        passivity: None of a passive circuit whose leaks stayed as they were.
        smallest_eigenvalue: of the unclamped Hessian in units of g_unit; above zero there is one equilibrium. None
            where it is above zero by construction, in a passive circuit.
    """

    block: str
    source: str
    window: WindowFit
    passivity: Passivity | None = None
    smallest_eigenvalue: float | None = None

    def texts(self) -> list[str]:
        """Return it for people, a sentence each."""
        texts = [self.window.text()]
        if self.passivity is not None:
            texts.append(self.passivity.text())
        if self.smallest_eigenvalue is not None:
            found = "one equilibrium" if self.smallest_eigenvalue > 0 else "there may be several equilibria"
            texts.append(f"smallest eigenvalue of the unclamped Hessian {self.smallest_eigenvalue:.4g}: {found}")
        return texts

    def to_json(self) -> dict[str, Any]:
        """Return it for programs, sums included."""
        found = asdict(self)
        if self.passivity is not None:
            p = self.passivity
            found["passivity"] |= {"units": p.units, "active": p.active, "lowest_s": p.lowest_s}
        return found


SOURCE_HOPFIELD: Final = "hopfield block"
SOURCE_ANALOG: Final = "analog block"


def layer_leaks(block: EnergyBlock, leaks: Sequence[Floats]) -> tuple[LayerLeaks, ...]:
    """Return what to say of leaks, [size] in units of g_unit a layer."""
    g = block.g_unit_s
    return tuple(
        LayerLeaks(
            layer=number,
            units=len(leak),
            active=int((leak < 0).sum()),
            lowest_s=float(np.min(leak)) * g,
            highest_s=float(np.max(leak)) * g,
        )
        for number, leak in enumerate(leaks, start=1)
    )
