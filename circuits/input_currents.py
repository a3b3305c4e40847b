"""What the sources of a voltage-driven block deliver into its input rows, and how two phases differ in it."""

from typing import TYPE_CHECKING

from .arrays import Floats
from .crossbar import UnitNodes
from .cubic_branches import cubic_branches
from .errors import CircuitError
from .topology import resistor_currents

if TYPE_CHECKING:
    from .block_circuit import BlockCircuit


def input_currents(block_circuit: "BlockCircuit", conductance_s: Floats, voltage_v: Floats) -> Floats:
    """Return what the input sources deliver, i = (i_p - i_n) / (2 g_unit v_unit), [batch, n_inputs].

    Equation: i_k = sum over the row's devices of g (V + k3 V^3), V = v_row - v_column; also where the row was
    folded away. With single polarity i / (g_unit v_unit). It is dE/dx of a voltage-driven input.

    Args:
        block_circuit: the block.
        conductance_s: [n_resistors] S.
        voltage_v: [batch, n_nodes] V.

    Raises:
        CircuitError: if the block is not voltage-driven.
    """
    inputs = _inputs(block_circuit)
    cubic = cubic_branches(block_circuit.circuit)
    excess_a = None
    if cubic is not None:
        excess_a = cubic.restricted_to(inputs.nodes).leaving(conductance_s, voltage_v)
    return _currents(block_circuit, inputs, conductance_s, voltage_v, excess_a)


def input_current_response(
    block_circuit: "BlockCircuit", conductance_s: Floats, mean_v: Floats, response_v: Floats, change_v: Floats | None
) -> Floats:
    """Return by how much two phases' input currents differ, over beta2 - beta1: [batch, n_inputs].

    Equation: sum over the row's devices of g R [1 + k3 (3 M^2 + D^2/4)], since V2^3 - V1^3 = D (3 M^2 + D^2/4).

    Args:
        block_circuit: the block.
        conductance_s: [n_resistors] S.
        mean_v: [batch, n_nodes] V — mean of the phases, M across a device.
        response_v: [batch, n_nodes] V — their difference over beta2 - beta1, R across a device.
        change_v: [batch, n_nodes] V — their difference itself, D across a device; None where it is infinitely
            small, or where every device is linear.

    Raises:
        CircuitError: if the block is not voltage-driven.
    """
    inputs = _inputs(block_circuit)
    cubic = cubic_branches(block_circuit.circuit)
    excess_a = None
    if cubic is not None:
        at_inputs = cubic.restricted_to(inputs.nodes)
        excess_a = at_inputs.leaving_response(conductance_s, mean_v, response_v, change_v)
    return _currents(block_circuit, inputs, conductance_s, response_v, excess_a)


def _inputs(block_circuit: "BlockCircuit") -> UnitNodes:
    if block_circuit.inputs is None:
        raise CircuitError(f"block '{block_circuit.block.name}' is current-driven; it has no input sources to read")
    return block_circuit.inputs


def _currents(
    block_circuit: "BlockCircuit", inputs: UnitNodes, conductance_s: Floats, voltage_v: Floats, excess_a: Floats | None
) -> Floats:
    """Return currents of the inputs from the linear law, plus what leaves each node beyond it."""
    i_p, i_n = _row_currents(block_circuit, inputs, conductance_s, voltage_v)
    if excess_a is not None:
        i_p = i_p + excess_a[:, inputs.p]
        i_n = None if i_n is None or inputs.n is None else i_n + excess_a[:, inputs.n]
    unit_a = block_circuit.block.g_unit_s * block_circuit.block.v_unit_v
    return i_p / unit_a if i_n is None else (i_p - i_n) / (2.0 * unit_a)


def _row_currents(
    block_circuit: "BlockCircuit", inputs: UnitNodes, conductance_s: Floats, voltage_v: Floats
) -> tuple[Floats, Floats | None]:
    """Return the currents that leave the input rows' p and n nets by the linear law, [batch, n_inputs] A each."""
    if block_circuit.unwired is None:
        crossbar = next(crossbar for crossbar in block_circuit.crossbars if crossbar.rows is inputs)
        return crossbar.row_currents(conductance_s, voltage_v)
    leaving = resistor_currents(block_circuit.circuit, conductance_s, inputs.nodes, voltage_v)
    n = len(inputs)
    return leaving[:, :n], None if inputs.n is None else leaving[:, n:]
