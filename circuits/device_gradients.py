"""Gradients of the loss by each device, summed up to weights: exact wherever devices sit and whatever their law is.

`Crossbar.response_gradient` needs no array of one entry per device and sample, but takes devices for linear ones at the
nets of the units. Here each device's own voltage counts, a part of the batch at a time.
"""

import numpy as np

from .arrays import Floats, Indices
from .block_circuit import BlockCircuit
from .cocontent import response_gradient
from .crossbar import Crossbar

DEVICE_BYTES = 1 << 24  # memory of one value per device and sample; sets how many samples are treated at a time


def device_response_gradients(
    block_circuit: BlockCircuit, mean_v: Floats, response_v: Floats, change_v: Floats | None
) -> dict[str, tuple[Floats, Floats | None]]:
    """Return dL/dG+ and dL/dG- of every crossbar by name, per g_unit, summed over the batch.

    Equation: dL/dG = sum over the weight's pairs of the mean over the two devices of M R [1 + k3 (M^2 + D^2/4)] /
    v_unit^2, with M, R and D across the device: `circuits.cocontent.response_gradient`.

    Args:
        block_circuit: the block.
        mean_v: [batch, n_nodes] V — mean of the two phases.
        response_v: [batch, n_nodes] V — difference of the phases over beta2 - beta1.
        change_v: [batch, n_nodes] V — the difference itself; None where it is infinitely small, or where every device
            is linear.

    Returns:
        two of the shape of the crossbar's weights; the second is None with single polarity.
    """
    circuit, crossbars = block_circuit.circuit, block_circuit.crossbars
    devices = np.concatenate([np.zeros(0, dtype=np.int64), *(side.ravel() for c in crossbars for side in _sides(c))])
    size = max(1, DEVICE_BYTES // (8 * max(1, len(devices))))
    total = np.zeros(len(devices))
    for k in range(0, len(mean_v), size):
        part = slice(k, k + size)
        change = None if change_v is None else change_v[part]
        total += response_gradient(circuit, mean_v[part], response_v[part], change, devices=devices)
    of_device = np.zeros(len(circuit.resistors))
    of_device[devices] = total / block_circuit.block.v_unit_v**2

    def of_weights(crossbar: Crossbar, devices: Indices) -> Floats:
        return crossbar.wiring.gather(of_device[devices].mean(axis=0))

    return {c.name: (of_weights(c, c.plus), None if c.minus is None else of_weights(c, c.minus)) for c in crossbars}


def _sides(crossbar: Crossbar) -> tuple[Indices, ...]:
    """Return the device columns of a crossbar."""
    return (crossbar.plus,) if crossbar.minus is None else (crossbar.plus, crossbar.minus)
