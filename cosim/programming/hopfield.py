"""A deep Hopfield network on differential crossbars: the same energy, and so the same equilibrium but for the diodes.

    -w s s' = |w|/2 (s - sgn(w) s')^2 - |w|/2 (s^2 + s'^2)

so a pair of conductances G+ - G- = w couples two units as the network does, and loads both with G+ + G-. The leak of
unit i makes up for it: 1/a_i - sum_j (G+_ij + G-_ij), over every device at the unit. Where that is negative the leak is
an active element. The box [0, 1] is two diodes a node, as sharp as n V_t / v_unit is small.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Final

import numpy as np
import torch

from circuits.arrays import Floats
from circuits.clamp import Clamp
from circuits.convolution import Convolution
from circuits.energy_block import Drive, EnergyBlock, NodeLayer
from circuits.errors import CircuitError
from circuits.loading import unit_loads
from digital.errors import StageError
from digital.hopfield import ConvCoupling, HopfieldBlock, HopfieldConfig
from digital.hopfield.config import HopfieldParameters
from digital.hopfield.curvature import refuse_max_pool, smallest_eigenvalue

from .errors import ProgrammingError
from .programmed import ProgrammedBlock, Weights, in_window, parameter_dtype
from .report import SOURCE_HOPFIELD, Passivity, ProgrammingReport, WindowFit, layer_leaks
from .settings import DEFAULT_WINDOW_S, ActiveLeaks, OutOfWindow, ProgrammingSettings

# float32 rounds a device by 6e-8 of itself: what is to be just inside, or just passive, stays so.
_ROUNDING: Final = 1e-6


def program_hopfield(block: HopfieldBlock, settings: ProgrammingSettings) -> ProgrammedBlock:
    """Map a deep Hopfield network onto differential crossbars.

    Args:
        block: the network; it stays as it is.
        settings: window, scale and diodes, and what to do where they do not fit.

    Returns:
        a current-driven block whose first layer is the network's, with a leak a unit.

    Raises:
        ProgrammingError: for a max-pool inside the energy, weights that are not finite or, where refused, outside the
            window or in need of active leaks; for a network that may have several equilibria, unless allowed.

    Source: the identity above; passivity and the smallest eigenvalue follow from it.
    """
    config = block.config
    where = f"hopfield block '{config.name}'"
    try:
        refuse_max_pool(config, "a circuit")
    except StageError as error:
        raise ProgrammingError(str(error)) from error
    weights = _weights(block)
    _check_finite(where, weights)
    weights, early = _shrink(where, config, weights, settings, settings.g_unit_s)
    weights, fit = _fit_window(where, weights, settings)
    weights, late = _shrink(where, config, weights, settings, fit.g_unit_s)  # a scale makes g_min weigh more
    applied = early * late if early is not None and late is not None else late or early
    description = _describe(config, settings, fit)
    window = description.window
    own = _own_leaks(config)
    dtype = parameter_dtype(block.weights["0"])
    plus = {name: in_window(window[0] + np.maximum(w, 0.0), window, dtype) for name, w in weights.items()}
    minus = {name: in_window(window[0] - np.minimum(w, 0.0), window, dtype) for name, w in weights.items()}
    loads = unit_loads(description, {name: plus[name] + minus[name] for name in weights})
    leaks = [mine - load for mine, load in zip(own, loads, strict=True)]
    factor = _passive_factor(description, weights, own, window[0])
    passivity = _passivity(description, own, leaks, factor, applied)
    eigenvalue = _smallest_eigenvalue(block, weights)
    _judge(where, settings, passivity, eigenvalue)
    layers = tuple(
        replace(layer, leak_s=tuple((leak * fit.g_unit_s).tolist()))
        for layer, leak in zip(description.layers, leaks, strict=True)
    )
    report = ProgrammingReport(
        block=config.name, source=SOURCE_HOPFIELD, window=fit, passivity=passivity, smallest_eigenvalue=eigenvalue
    )
    return ProgrammedBlock(block=replace(description, layers=layers), plus=plus, minus=minus, report=report)


def _judge(where: str, settings: ProgrammingSettings, passivity: Passivity, eigenvalue: float) -> None:
    """Refuse active leaks and several equilibria where they are not allowed."""
    if settings.active_leaks is not ActiveLeaks.ALLOW and passivity.active:
        if passivity.factor:
            advice = 'shrink its weights (--clip-passive, or active_leaks = "clip" in [circuit])'
        else:
            advice = "give a lower g_min, a higher g_unit or smaller layers"
        raise ProgrammingError(
            f"{where}: {passivity.text()}; allow active leaks, {advice}, or train it with weight decay or a smaller "
            "slope"
        )
    if eigenvalue <= 0 and not settings.allow_several_equilibria:
        raise ProgrammingError(
            f"{where}: the smallest eigenvalue of its unclamped Hessian is {eigenvalue:.4g}, so it may have several "
            "equilibria, and the circuit need not settle where the network does; train it with weight decay or a "
            "smaller slope, or allow that (--allow-several-equilibria, or several_equilibria = true in [circuit])"
        )


def _own_leaks(config: HopfieldConfig) -> list[Floats]:
    """Return 1 / a of each unit, [units] a layer."""
    return [np.full(prod(shape), 1 / a) for shape, a in zip(config.shapes, config.slopes, strict=True)]


def _weights(block: HopfieldBlock) -> Weights:
    """Return weights and biases by crossbar, of the shapes that the circuit's have."""
    found: Weights = {}
    for k, weight in enumerate(block.parameter_tensors().weights):
        w = weight.detach().double().cpu().numpy()
        found[f"w{k + 2}"] = w if isinstance(block.config.couplings[k], ConvCoupling) else w.T
    for k, bias in enumerate(block.parameter_tensors().biases):
        if bias is None:
            continue
        # A convolved layer's bias is one a channel; the first layer has no convolution, so there it is one a unit.
        is_convolved = k > 0 and isinstance(block.config.couplings[k - 1], ConvCoupling)
        values = bias.detach() if is_convolved else block.unit_biases()[k]
        found[f"b{k + 1}"] = values.double().cpu().numpy().reshape(1, -1)
    return found


def _check_finite(where: str, weights: Mapping[str, Floats]) -> None:
    for name, w in weights.items():
        if not np.isfinite(w).all():
            kind = "weights" if name.startswith("w") else "biases"
            raise ProgrammingError(
                f"{where}: {kind} of layer {name[1:]} hold {w[~np.isfinite(w)][0]}; train it anew, or take an earlier "
                "checkpoint"
            )


def _fit_window(where: str, weights: Weights, settings: ProgrammingSettings) -> tuple[Weights, WindowFit]:
    """Return the weights that the window has room for, and the scale."""
    low_s, high_s = settings.window_s(DEFAULT_WINDOW_S)
    room = (high_s - low_s) / settings.g_unit_s
    sizes = {name: np.abs(w) for name, w in weights.items()}
    edge = 1 + float(np.finfo(np.float32).eps)  # a float32 weight rounds the window's edge
    outside = sum(int((size > room * edge).sum()) for size in sizes.values())
    largest = max(float(size.max(initial=0.0)) for size in sizes.values())
    n_weights = sum(w.size for w in weights.values())
    fit = WindowFit(g_min_s=low_s, g_max_s=high_s, g_unit_s=settings.g_unit_s, weights=n_weights, outside=outside)
    if not outside:
        return weights, fit
    match settings.out_of_window:
        case OutOfWindow.REFUSE:
            raise ProgrammingError(
                f"{where}: {outside:,} of {n_weights:,} weights need more than g_max = {high_s:.3g} S, the largest "
                f"{largest * settings.g_unit_s + low_s:.3g} S; widen the window, or have them rescaled or clipped "
                "(--window, or window in [circuit])"
            )
        case OutOfWindow.RESCALE:
            scale = room / largest * (1 - _ROUNDING)
            return weights, replace(fit, scale=scale, g_unit_s=settings.g_unit_s * scale)
        case OutOfWindow.CLIP:
            clipped = {name: np.clip(w, -room, room) for name, w in weights.items()}
            change_s = (largest - room) * settings.g_unit_s
            return clipped, replace(fit, clipped=outside, largest_change_s=change_s)


def _describe(config: HopfieldConfig, settings: ProgrammingSettings, fit: WindowFit) -> EnergyBlock:
    """Return the circuit of a network, its leaks still to come."""
    clamp = Clamp(
        low_v=0.0,
        high_v=settings.v_unit_v,
        diode=settings.diode,
        reference_current_a=settings.reference_current_a * (fit.g_unit_s / settings.g_unit_s),  # as all currents
    )
    layers = []
    for k, (shape, box) in enumerate(zip(config.shapes, config.boxes, strict=True)):
        coupling = config.couplings[k - 1] if k else None
        convolution = None
        if isinstance(coupling, ConvCoupling):
            channels, height, width = config.shapes[k - 1]
            convolution = Convolution(
                input_shape=(channels, height, width),
                channels=coupling.channels,
                kernel=coupling.kernel,
                stride=coupling.stride,
                padding=coupling.padding,
            )
        layers.append(
            NodeLayer(
                size=prod(shape),
                clamp=clamp if box else None,
                bias=config.input_bias if coupling is None else coupling.bias,
                coupling=convolution,
            )
        )
    try:
        return EnergyBlock(
            name=config.name,
            n_inputs=prod(config.input_shape),
            layers=tuple(layers),
            drive=Drive.CURRENT,
            v_unit_v=settings.v_unit_v,
            g_unit_s=fit.g_unit_s,
            g_min_s=fit.g_min_s,
            g_max_s=fit.g_max_s,
            temperature_k=settings.temperature_k,
            k_over_q_v_per_k=settings.k_over_q_v_per_k,
        )
    except CircuitError as error:
        raise ProgrammingError(f"hopfield block '{config.name}': {error}") from error


def _passive_factor(block: EnergyBlock, weights: Weights, own: list[Floats], g_min: float) -> float | None:
    """Return the largest factor on all weights that leaves every leak passive.

    Equation: min over the units of (1/a_i - 2 g_min n_i) / sum_j |w_ij|, n_i weights meeting at the unit.
    """
    sums = unit_loads(block, {name: np.abs(w) for name, w in weights.items()})
    counts = unit_loads(block, {name: np.ones_like(w) for name, w in weights.items()})
    room = np.concatenate([mine - 2.0 * g_min * n for mine, n in zip(own, counts, strict=True)])
    total = np.concatenate(sums)
    if (room <= 0).any():
        return 0.0
    return float((room[total > 0] / total[total > 0]).min()) if (total > 0).any() else None


def _shrink(
    where: str, config: HopfieldConfig, weights: Weights, settings: ProgrammingSettings, g_unit_s: float
) -> tuple[Weights, float | None]:
    """Return weights that need no active leak at a scale, and the factor on them, None where there is none."""
    if settings.active_leaks is not ActiveLeaks.CLIP:
        return weights, None
    low_s, high_s = settings.window_s(DEFAULT_WINDOW_S)
    fit = WindowFit(g_min_s=low_s, g_max_s=high_s, g_unit_s=g_unit_s, weights=0)
    g_min = low_s / g_unit_s
    own = [mine * (1 - _ROUNDING) for mine in _own_leaks(config)]  # a little below the largest factor
    factor = _passive_factor(_describe(config, settings, fit), weights, own, g_min)
    if factor is None or factor >= 1.0:
        return weights, None
    if factor <= 0:
        raise ProgrammingError(
            f"{where}: devices at g_min = {g_min:.3g} g_unit alone load a unit by more than its own leak, whatever its "
            "weights; give a lower g_min, a higher g_unit or smaller layers, or allow active leaks"
        )
    return {name: w * factor for name, w in weights.items()}, factor


def _passivity(
    block: EnergyBlock, own: list[Floats], leaks: list[Floats], factor: float | None, applied: float | None
) -> Passivity:
    lowest = int(np.concatenate(leaks).argmin())
    return Passivity(
        layers=layer_leaks(block, leaks),
        own_s=float(np.concatenate(own)[lowest]) * block.g_unit_s,
        factor=factor,
        applied=applied,
    )


def _smallest_eigenvalue(block: HopfieldBlock, weights: Weights) -> float:
    """Return that of the network with the weights that are programmed."""
    tensors = []
    for k, coupling in enumerate(block.config.couplings):
        w = weights[f"w{k + 2}"]
        tensors.append(torch.from_numpy(np.ascontiguousarray(w if isinstance(coupling, ConvCoupling) else w.T)))
    biases = block.parameter_tensors().biases
    try:
        return smallest_eigenvalue(block.config, HopfieldParameters(tuple(tensors), biases))
    except StageError as error:
        raise ProgrammingError(str(error)) from error
