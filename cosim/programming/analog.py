"""A block that is a circuit already, moved into the window of real devices.

Multiplying every conductance of a block, leaks included, by one factor leaves its voltages where they are: the block's
g_unit takes it. Raising both devices of a pair by d leaves its weight as it is and loads both units with 2 d, which
their leaks make up for. The two together fit any weights into a window, but for single polarity, where a weight is one
device: there what is too small is clipped.
"""

from dataclasses import replace
from typing import Final

import numpy as np
from torch import nn

from circuits.arrays import Floats
from circuits.energy_block import EnergyBlock, NodeLayer
from circuits.errors import CircuitError
from circuits.loading import unit_loads

from ..analog_block import AnalogBlock
from .errors import ProgrammingError
from .hopfield import Weights
from .programmed import ProgrammedBlock, in_window
from .report import SOURCE_ANALOG, Passivity, ProgrammingReport, WindowFit, layer_leaks
from .settings import ActiveLeaks, OutOfWindow, ProgrammingSettings

_ROUNDING: Final = 1e-6  # float32 rounds by 6e-8: what is to be just inside stays inside


def program_analog(analog: AnalogBlock, settings: ProgrammingSettings) -> ProgrammedBlock:
    """Move a trained block into a window.

    Args:
        analog: the block; it stays as it is.
        settings: the window, and what to do where conductances do not fit.

    Returns:
        the same block with conductances in the window; without a window given it is the block as it is.

    Raises:
        ProgrammingError: for weights that are not finite or, where refused, outside the window or in need of active
            leaks.
    """
    block = analog.block
    where = f"block '{block.name}'"
    low_s, high_s = settings.window_s((block.g_min_s, block.g_max_s))
    plus, minus = (_values(where, group) for group in (analog.g_plus, analog.g_minus))
    n_outside = _count_outside(plus, minus, (low_s / block.g_unit_s, high_s / block.g_unit_s))
    n_weights = sum(g.size for g in plus.values())
    fit = WindowFit(g_min_s=low_s, g_max_s=high_s, g_unit_s=block.g_unit_s, weights=n_weights, outside=n_outside)
    if n_outside and settings.out_of_window is OutOfWindow.REFUSE:
        raise ProgrammingError(
            f"{where}: {n_outside:,} of {n_weights:,} weights have a device outside {low_s:.3g} to {high_s:.3g} S; "
            "widen the window, or rescale or clip"
        )
    raised: dict[str, Floats] = {}
    if n_outside and settings.out_of_window is OutOfWindow.RESCALE:
        plus, minus, raised, fit = _rescale(plus, minus, fit)
    window = (low_s / fit.g_unit_s, high_s / fit.g_unit_s)
    before = {name: _weight(plus, minus, name) for name in plus}
    dtype = next(iter(analog.g_plus.values())).detach().cpu().numpy().dtype if plus else np.dtype(np.float32)
    plus = {name: in_window(g, window, dtype) for name, g in plus.items()}
    minus = {name: in_window(g, window, dtype) for name, g in minus.items()}
    fit = _count_clipped(fit, before, {name: _weight(plus, minus, name) for name in plus})
    target = _retarget(block, fit)
    passivity = None
    if raised:
        target, passivity = _made_up_for(target, raised)
    _check_leaks(where, target, settings, is_raised=bool(raised))
    report = ProgrammingReport(block=block.name, source=SOURCE_ANALOG, window=fit, passivity=passivity)
    return ProgrammedBlock(block=target, plus=plus, minus=minus, report=report)


def _values(where: str, group: nn.ParameterDict) -> Weights:
    """Return parameters as numbers."""
    found = {}
    for name, parameter in group.items():
        g = parameter.detach().double().cpu().numpy()
        if not np.isfinite(g).all():
            raise ProgrammingError(
                f"{where}: weights of crossbar {name} hold {g[~np.isfinite(g)][0]}; train it anew, or take an earlier "
                "checkpoint"
            )
        found[name] = g
    return found


def _count_outside(plus: Weights, minus: Weights, window: tuple[float, float]) -> int:
    edge = float(np.finfo(np.float32).eps)  # a float32 parameter rounds the window's edges
    low, high = window[0] * (1 - edge), window[1] * (1 + edge)
    count = 0
    for name, g in plus.items():
        outside = (g < low) | (g > high)
        if name in minus:
            outside |= (minus[name] < low) | (minus[name] > high)
        count += int(outside.sum())
    return count


def _weight(plus: Weights, minus: Weights, name: str) -> Floats:
    return plus[name] - minus[name] if name in minus else plus[name]


def _rescale(plus: Weights, minus: Weights, fit: WindowFit) -> tuple[Weights, Weights, dict[str, Floats], WindowFit]:
    """Return conductances that one scale and raised pairs bring into the window, and by how much each was raised."""
    pairs = {name: (plus[name], minus[name]) for name in minus}
    largest = max(float(g.max(initial=0.0)) for g in (*plus.values(), *minus.values()))
    scale = min(1.0, fit.g_max_s / (largest * fit.g_unit_s) * (1 - _ROUNDING))
    g_min = fit.g_min_s / (fit.g_unit_s * scale)
    raised = {name: np.maximum(0.0, g_min - np.minimum(p, m)) for name, (p, m) in pairs.items()}
    spread = max((float(np.abs(p - m).max(initial=0.0)) for p, m in pairs.values()), default=0.0)
    room = (fit.g_max_s - fit.g_min_s) / fit.g_unit_s
    if spread * scale > room:  # raised, the largest weight would stick out at the other end
        scale = room / spread * (1 - _ROUNDING)
        g_min = fit.g_min_s / (fit.g_unit_s * scale)
        raised = {name: np.maximum(0.0, g_min - np.minimum(p, m)) for name, (p, m) in pairs.items()}
    n_raised = sum(int((d > 0).sum()) for d in raised.values())
    fit = replace(fit, scale=scale, g_unit_s=fit.g_unit_s * scale if scale < 1.0 else fit.g_unit_s, raised=n_raised)
    raised = raised if n_raised else {}
    lifted_plus = {name: g + raised.get(name, 0.0) for name, g in plus.items()}
    lifted_minus = {name: g + raised.get(name, 0.0) for name, g in minus.items()}
    return lifted_plus, lifted_minus, raised, fit


def _count_clipped(fit: WindowFit, before: Weights, after: Weights) -> WindowFit:
    """Return the fit with the weights that clipping changed; rounding to float32 is none."""
    changes = [np.abs(after[name] - before[name]) for name in before]
    edge = 4 * float(np.finfo(np.float32).eps) * fit.g_max_s / fit.g_unit_s
    clipped = sum(int((change > edge).sum()) for change in changes)
    if not clipped:
        return fit
    largest = max(float(change.max(initial=0.0)) for change in changes)
    return replace(fit, clipped=clipped, largest_change_s=largest * fit.g_unit_s)


def _retarget(block: EnergyBlock, fit: WindowFit) -> EnergyBlock:
    """Return a block with another window and scale; leaks and reference currents scale along."""
    scale = fit.g_unit_s / block.g_unit_s

    def scaled(layer: NodeLayer) -> NodeLayer:
        leak = layer.leak_s
        leak_s = tuple(value * scale for value in leak) if isinstance(leak, tuple) else leak * scale
        clamp = layer.clamp
        if clamp is not None:
            clamp = replace(clamp, reference_current_a=clamp.reference_current_a * scale)
        return replace(layer, leak_s=leak_s, clamp=clamp)

    layers = block.layers if scale == 1.0 else tuple(map(scaled, block.layers))  # exactly 1: nothing was scaled
    try:
        return replace(block, layers=layers, g_unit_s=fit.g_unit_s, g_min_s=fit.g_min_s, g_max_s=fit.g_max_s)
    except CircuitError as error:
        raise ProgrammingError(f"block '{block.name}': {error}") from error


def _check_leaks(where: str, block: EnergyBlock, settings: ProgrammingSettings, *, is_raised: bool) -> None:
    """Refuse active leaks where they are not allowed; weights of a circuit are not shrunk for them."""
    active = sum(int((layer.leaks_s < 0).sum()) for layer in block.layers)
    if active and settings.active_leaks is not ActiveLeaks.ALLOW:
        units = sum(layer.size for layer in block.layers)
        lowest_s = min(float(layer.leaks_s.min()) for layer in block.layers if len(layer.leaks_s))
        reason = "with pairs raised to g_min, " if is_raised else ""
        advice = "widen the window, clip its weights to it, or " if is_raised else "program its digital original, or "
        raise ProgrammingError(
            f"{where}: {reason}{active:,} of {units:,} units need an active leak, the largest {lowest_s:.3g} S; "
            f"{advice}allow active leaks"
        )


def _made_up_for(block: EnergyBlock, raised: dict[str, Floats]) -> tuple[EnergyBlock, Passivity]:
    """Return a block whose leaks make up for raised pairs."""
    loads = unit_loads(block, {name: 2.0 * d for name, d in raised.items()})
    own = [layer.leaks_s / block.g_unit_s if len(layer.leaks_s) else np.zeros(layer.size) for layer in block.layers]
    leaks = [mine - load for mine, load in zip(own, loads, strict=True)]
    lowest = int(np.concatenate(leaks).argmin())
    layers = tuple(
        layer if not load.any() else replace(layer, leak_s=tuple((leak * block.g_unit_s).tolist()))
        for layer, load, leak in zip(block.layers, loads, leaks, strict=True)
    )
    passivity = Passivity(
        layers=layer_leaks(block, leaks),
        own_s=float(np.concatenate(own)[lowest]) * block.g_unit_s,
        factor=None,
    )
    return replace(block, layers=layers), passivity
