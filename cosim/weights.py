"""The weights of an energy block as torch parameters: drawn, moved, replaced, and read as what they ask of the devices.

All functions take G+ and G- of each crossbar by name, in units of g_unit; G- is empty with single polarity.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from circuits.arrays import Floats
from circuits.block_circuit import BlockCircuit
from circuits.energy_block import Polarity

from .conductance import Conductance
from .errors import BlockError


def draw_weights(
    circuit: BlockCircuit, plus: nn.ParameterDict, minus: nn.ParameterDict, generator: torch.Generator | None
) -> None:
    """Draw weights of variance 1 / fan-in; the smaller device of a pair sits at g_min, and so do biases."""
    window = low, high = circuit.block.window
    for crossbar in circuit.crossbars:
        w = torch.randn(crossbar.shape, generator=generator) / crossbar.wiring.fan_in**0.5
        w = torch.zeros_like(w) if crossbar.rows is circuit.bias else w
        if circuit.block.polarity is Polarity.SINGLE:
            plus[crossbar.name] = Conductance((low + w.abs()).clamp_(low, high), window)
        else:
            plus[crossbar.name] = Conductance((low + w.clamp(min=0)).clamp_(low, high), window)
            minus[crossbar.name] = Conductance((low - w.clamp(max=0)).clamp_(low, high), window)


def replace_weights(
    group: nn.ParameterDict, values: Mapping[str, Floats], window: tuple[float, float], like: Tensor | None
) -> None:
    """Put values in the place of the parameters of one sign.

    Args:
        group: the parameters.
        values: by name, in units of g_unit.
        window: of the devices, in units of g_unit.
        like: a tensor of the device and, float64 or else float32, the type that they get; None for their own.
    """
    for name, parameter in group.items():
        model = parameter if like is None else like
        dtype = torch.float64 if model.dtype == torch.float64 else torch.float32
        value = torch.as_tensor(values[name], dtype=dtype, device=model.device)
        group[name] = Conductance(value.clone(), window, parameter.requires_grad)


def move_weights(group: nn.ParameterDict, values: Mapping[str, Floats], window: tuple[float, float]) -> None:
    """Move the parameters of one sign to values, or to the edge of the window, in place: an optimiser keeps them."""
    with torch.no_grad():
        for name, parameter in group.items():
            parameter.copy_(torch.from_numpy(values[name])).clamp_(*window)


def restore_windows(group: nn.ParameterDict, window: tuple[float, float]) -> None:
    """Give plain parameters their window back: `load_state_dict(assign=True)` puts tensors in their place."""
    for name, parameter in group.items():
        if not isinstance(parameter, Conductance):
            group[name] = Conductance(parameter.detach(), window, parameter.requires_grad)


def asked_conductances(circuit: BlockCircuit, plus: nn.ParameterDict, minus: nn.ParameterDict) -> Floats:
    """Return the conductances that the weights ask for, [n_resistors] S.

    Raises:
        BlockError: for a weight that is not finite or outside the window.
    """
    values: list[dict[str, Floats]] = []
    low, high = circuit.block.window
    for sign, group in (("plus", plus), ("minus", minus)):
        arrays = {}
        for name, parameter in group.items():
            g = parameter.detach().double().cpu().numpy()
            edge = np.finfo(np.float32).eps * high  # a float32 parameter rounds the window's edges
            wrong = ~np.isfinite(g) | (g < low - edge) | (g > high + edge)
            if wrong.any():
                entry = tuple(int(k) for k in np.argwhere(wrong)[0])
                raise BlockError(
                    f"block '{circuit.block.name}': g_{sign}.{name}{list(entry)} = {g[entry]:g}, outside the window "
                    f"[{low:g}, {high:g}] of g_unit ({int(wrong.sum())} such); clamp the weights, or widen "
                    "g_min_s, g_max_s"
                )
            arrays[name] = g
        values.append(arrays)
    return circuit.program(*values)
