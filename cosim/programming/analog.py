"""A block that is a circuit already, moved into the window of real devices.

Multiplying every conductance of a block, leaks included, by one factor leaves its voltages where they are: the block's
g_unit takes it. (A series resistance of diodes is the device's own, and does not scale: with one it is nearly so.)
Raising both devices of a pair by d leaves its weight as it is and loads both units with 2 d, which their leaks make up
for. The two together fit any weights into a window, but for single polarity, where a weight is one device: there what
is too small is clipped.
"""

from dataclasses import replace
from typing import Final

import numpy as np
from torch import nn

from circuits.arrays import Floats
from circuits.curvature import smallest_eigenvalue
from circuits.energy_block import EnergyBlock, NodeLayer
from circuits.errors import CircuitError
from circuits.loading import unit_loads

from ..analog_block import AnalogBlock
from .errors import ProgrammingError
from .programmed import ProgrammedBlock, Weights, in_window, parameter_dtype
from .report import SOURCE_ANALOG, Passivity, ProgrammingReport, WindowFit, layer_leaks
from .settings import ActiveLeaks, OutOfWindow, ProgrammingSettings

_ROUNDING: Final = 1e-6  # float32 rounds by 6e-8: what is to be just inside stays inside
_EDGE: Final = float(np.finfo(np.float32).eps)  # a float32 parameter rounds the window's edges


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
    if n_outside:
        window = (low_s / fit.g_unit_s, high_s / fit.g_unit_s)
        before = (plus, minus)
        dtype = parameter_dtype(next(iter(analog.g_plus.values())))
        plus, minus = ({name: in_window(g, window, dtype) for name, g in group.items()} for group in before)
        fit = _count_clipped(fit, before, (plus, minus))
    target = _retarget(block, fit)
    leaks_before = [_leaks(target, layer) for layer in target.layers]
    if raised:
        target = _made_up_for(target, leaks_before, raised)
    passivity = _passivity(target, leaks_before, is_raised=bool(raised))
    is_active = passivity is not None and passivity.active > 0
    eigenvalue = smallest_eigenvalue(target, plus, minus) if is_active else None
    _judge(where, settings, passivity, eigenvalue, sum(int((leak < 0).sum()) for leak in leaks_before))
    report = ProgrammingReport(
        block=block.name, source=SOURCE_ANALOG, window=fit, passivity=passivity, smallest_eigenvalue=eigenvalue
    )
    return ProgrammedBlock(block=target, plus=plus, minus=minus, report=report)


def _leaks(block: EnergyBlock, layer: NodeLayer) -> Floats:
    """Return the leak of each unit of a layer in units of g_unit, zeros where it has none."""
    return layer.leaks_s / block.g_unit_s if len(layer.leaks_s) else np.zeros(layer.size)


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
    low, high = window[0] * (1 - _EDGE), window[1] * (1 + _EDGE)
    count = 0
    for name, g in plus.items():
        outside = (g < low) | (g > high)
        if name in minus:
            outside |= (minus[name] < low) | (minus[name] > high)
        count += int(outside.sum())
    return count


def _rescale(plus: Weights, minus: Weights, fit: WindowFit) -> tuple[Weights, Weights, dict[str, Floats], WindowFit]:
    """Return conductances that one scale and raised pairs bring into the window, and by how much each was raised."""
    pairs = {name: (plus[name], minus[name]) for name in minus}
    largest = max(float(g.max(initial=0.0)) for g in (*plus.values(), *minus.values()))
    top = fit.g_max_s / fit.g_unit_s
    scale = 1.0 if largest <= top * (1 + _EDGE) else top / largest * (1 - _ROUNDING)
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


def _count_clipped(fit: WindowFit, before: tuple[Weights, Weights], after: tuple[Weights, Weights]) -> WindowFit:
    """Return the fit with the weights of which clipping moved a device; rounding to float32 is none."""
    edge = 4 * _EDGE * fit.g_max_s / fit.g_unit_s
    clipped, largest = 0, 0.0
    for name in before[0]:
        changes = [now[name] - then[name] for then, now in zip(before, after, strict=True) if name in then]
        moved = np.abs(changes).max(axis=0) > edge
        clipped += int(moved.sum())
        weight = np.abs(changes[0] if len(changes) == 1 else changes[0] - changes[1])
        largest = max(largest, float(weight[moved].max(initial=0.0)))
    return replace(fit, clipped=clipped, largest_change_s=largest * fit.g_unit_s)


def _retarget(block: EnergyBlock, fit: WindowFit) -> EnergyBlock:
    """Return a block with another window and scale; leaks and reference currents scale along."""
    scale = fit.g_unit_s / block.g_unit_s

    def scaled(layer: NodeLayer) -> NodeLayer:
        leak = layer.leak_s
        leak_s = tuple(value * scale for value in leak) if isinstance(leak, tuple) else leak * scale
        clamps = layer.clamp if isinstance(layer.clamp, tuple) else (layer.clamp,)
        scaled = tuple(c and replace(c, reference_current_a=c.reference_current_a * scale) for c in clamps)
        return replace(layer, leak_s=leak_s, clamp=scaled if isinstance(layer.clamp, tuple) else scaled[0])

    layers = block.layers if scale == 1.0 else tuple(map(scaled, block.layers))  # exactly 1: nothing was scaled
    try:
        return replace(block, layers=layers, g_unit_s=fit.g_unit_s, g_min_s=fit.g_min_s, g_max_s=fit.g_max_s)
    except CircuitError as error:
        raise ProgrammingError(f"block '{block.name}': {error}") from error


def _made_up_for(block: EnergyBlock, leaks_before: list[Floats], raised: dict[str, Floats]) -> EnergyBlock:
    """Return a block whose leaks make up for raised pairs."""
    loads = unit_loads(block, {name: 2.0 * d for name, d in raised.items()})
    layers = tuple(
        replace(layer, leak_s=tuple(((leak - load) * block.g_unit_s).tolist())) if load.any() else layer
        for layer, leak, load in zip(block.layers, leaks_before, loads, strict=True)
    )
    return replace(block, layers=layers)


def _passivity(block: EnergyBlock, leaks_before: list[Floats], *, is_raised: bool) -> Passivity | None:
    """Return what to say of the leaks; None where nothing was raised and none is active."""
    leaks = [_leaks(block, layer) for layer in block.layers]
    if not is_raised and not any((leak < 0).any() for leak in leaks):
        return None
    lowest = int(np.concatenate(leaks).argmin())
    before_s = float(np.concatenate(leaks_before)[lowest]) * block.g_unit_s
    return Passivity(layers=layer_leaks(block, leaks), own_s=before_s if is_raised else None, factor=None)


def _judge(
    where: str,
    settings: ProgrammingSettings,
    passivity: Passivity | None,
    eigenvalue: float | None,
    active_before: int,
) -> None:
    """Refuse active leaks and several equilibria where they are not allowed."""
    if passivity is not None and passivity.active and settings.active_leaks is not ActiveLeaks.ALLOW:
        if active_before:
            advice = (
                "; the weights of a circuit are not shrunk: allow active leaks, or program the hopfield stage that it "
                "comes from without any (--clip-passive there)"
            )
        else:
            advice = ", once pairs are raised to g_min; allow active leaks, widen the window, or clip (--window clip)"
        raise ProgrammingError(f"{where}: {passivity.text()}{advice}")
    if eigenvalue is not None and eigenvalue <= 0 and not settings.allow_several_equilibria:
        raise ProgrammingError(
            f"{where}: has active leaks, and the smallest eigenvalue of its unclamped Hessian is {eigenvalue:.4g}, so "
            "it may have several equilibria; take an earlier checkpoint, train with a lower learning rate, or allow it "
            "(--allow-several-equilibria, or several_equilibria = true in [circuit])"
        )
