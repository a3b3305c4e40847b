"""Equilibrium propagation's estimate as pure functions of two equilibria.

Nudging by beta ds adds beta ds . s to the energy; for every parameter dL/dp = d/dbeta dE/dp at beta = 0. With the mean
m and the response r = (v2 - v1) / (beta2 - beta1) of two phases, D[1/2 dv^2] / (beta2 - beta1) = dm dr exactly, so the
estimate is written with m and r. Implicit differentiation is the same with m = v* and r = -H^-1 ds. Where devices are
not linear the difference d = v2 - v1 counts by itself, too; it is zero in implicit differentiation.
"""

from dataclasses import dataclass
from typing import final

from circuits.arrays import Floats
from circuits.block_circuit import BlockCircuit
from circuits.device_gradients import device_response_gradients
from circuits.energy_block import Drive


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Response:
    """Mean and response of two phases.

    Args:
        mean_v: [batch, n_nodes] V.
        response_v: [batch, n_nodes] V per unit of beta.
        change_v: [batch, n_nodes] V — difference of the phases; None of implicit differentiation.
    """

    mean_v: Floats
    response_v: Floats
    change_v: Floats | None = None


def response(first_v: Floats, second_v: Floats, beta_first: float, beta_second: float, scale: Floats) -> Response:
    """Return mean and response of two phases, with the scale of each sample's nudge undone.

    Args:
        first_v: [batch, n_nodes] V — equilibrium at the first nudge.
        second_v: [batch, n_nodes] V — equilibrium at the second.
        beta_first: the first nudge.
        beta_second: the second, above the first.
        scale: [batch] — loss gradient per unit of nudge, 1 without scaling.

    Returns:
        their mean, and their difference over beta_second - beta_first times scale.

    Source: Scellier & Bengio 2017; centered: Laborieux et al. 2021.
    """
    change_v = second_v - first_v
    per_beta = (scale / (beta_second - beta_first))[:, None]
    return Response(mean_v=(first_v + second_v) / 2, response_v=change_v * per_beta, change_v=change_v)


def conductance_gradients(circuit: BlockCircuit, r: Response) -> dict[str, tuple[Floats, Floats | None]]:
    """Return dL/dG+ and dL/dG- of every crossbar by name, per g_unit, summed over the batch.

    Equation: dL/dG = D[mean over the two devices of 1/2 (dv / v_unit)^2] / (beta2 - beta1); with cubic devices of
    (dv^2 / 2 + k3 dv^4 / 4) / v_unit^2. With wires dv is what the device itself sees. With amplifiers times c / c_L,
    and dv is between the amplified row and the column.
    """
    v_unit_v = circuit.block.v_unit_v
    if circuit.needs_each_device:
        found = device_response_gradients(circuit, r.mean_v, r.response_v, r.change_v)
    else:
        found = {c.name: c.response_gradient(r.mean_v, r.response_v, v_unit_v) for c in circuit.crossbars}
    if not len(circuit.circuit.amplifiers):
        return found
    weights = {crossbar.name: circuit.gradient_weight(crossbar) for crossbar in circuit.crossbars}
    return {
        name: (weights[name] * plus, None if minus is None else weights[name] * minus)
        for name, (plus, minus) in found.items()
    }


def input_gradient(circuit: BlockCircuit, conductance_s: Floats, r: Response) -> Floats:
    """Return dL/dx of each sample, [batch, n_inputs].

    Equation: current drive -D[s_i] / (beta2 - beta1), since the energy holds -x s; voltage drive
    D[i_i] / (beta2 - beta1), the change of the current that the input source delivers; with amplifiers times c_1 / c_L.

    Args:
        circuit: the block.
        conductance_s: [n_resistors] S; used with voltage drive.
        r: mean and response.
    """
    if circuit.block.drive is Drive.CURRENT:
        return -circuit.input_weight * circuit.layers[0].state(r.response_v, circuit.block.v_unit_v)
    return circuit.input_weight * circuit.input_current_response(conductance_s, r.mean_v, r.response_v, r.change_v)
