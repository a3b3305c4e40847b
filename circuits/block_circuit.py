"""The circuit of an energy block, and the maps between its devices and the block's weights, inputs and states.

A value only: `block_layout.build` makes it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from .arrays import Floats, Indices
from .circuit import Circuit
from .crossbar import Crossbar, UnitNodes
from .cubic_branches import cubic_branches
from .drive_errors import DriveErrors
from .energy_block import Drive, EnergyBlock, Polarity
from .errors import CircuitError
from .topology import resistor_currents


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BlockCircuit:
    """An energy block as a circuit.

    Args:
        block: the description it was built from.
        circuit: all devices; conductances are those at G = g_min until programmed.
        layers: nodes of each layer.
        inputs: nodes of the input rows; None with current drive.
        bias: nodes of the bias row at +-v_unit; None where no layer has a bias.
        crossbars: trainable crossbars in order: w1 (voltage drive), w2, ..., then b1, b2, ...
        leak_devices: [n] resistor index of the leaks.
        image: [n_nodes] mirror image of each node; empty with single polarity, and where a block as made is not as it
            was designed.
        drive_errors: gain and offset of the driven sources; None where they give what they are asked.
        unwired: the same block with every device at the nets of its units, where this one has wires with resistance
            (wired_layout.lay_wires); None without. Its nodes and resistors are the first ones of this block.
    """

    block: EnergyBlock
    circuit: Circuit
    layers: tuple[UnitNodes, ...]
    inputs: UnitNodes | None
    bias: UnitNodes | None
    crossbars: tuple[Crossbar, ...]
    leak_devices: Indices
    image: Indices
    drive_errors: DriveErrors | None = None
    unwired: "BlockCircuit | None" = None

    @property
    def at_units(self) -> "BlockCircuit":
        """The block as the digital side knows it, with states of units only: no wire between a net and its devices."""
        return self if self.unwired is None else self.unwired

    @property
    def wire_nodes(self) -> Indices:
        """[n] nodes on wires, between the nets of units and the devices; none without wires."""
        return np.arange(self.at_units.circuit.n_nodes, self.circuit.n_nodes)

    @property
    def needs_each_device(self) -> bool:
        """Whether the voltage across each device counts: its law is not linear, or wires join it to its units."""
        return self.circuit.has_cubic or self.unwired is not None

    def program(self, plus: Mapping[str, Floats], minus: Mapping[str, Floats]) -> Floats:
        """Return the conductance of every device.

        Args:
            plus: G+ of each crossbar by name, in units of g_unit: [n_rows, n_columns], of a convolution the kernel
                [channels, channels before, kernel, kernel], of a convolved layer's bias [1, channels].
            minus: G- likewise; empty with single polarity.

        Returns:
            [n_resistors] S.

        Raises:
            CircuitError: for a missing crossbar or a wrong shape.
        """
        conductance_s = self.circuit.resistors.conductance_s.copy()
        for crossbar in self.crossbars:
            for devices, values, sign in ((crossbar.plus, plus, "+"), (crossbar.minus, minus, "-")):
                if devices is None:
                    continue
                if crossbar.name not in values or values[crossbar.name].shape != crossbar.shape:
                    found = values[crossbar.name].shape if crossbar.name in values else "nothing"
                    raise CircuitError(
                        f"block '{self.block.name}': G{sign} of crossbar '{crossbar.name}' must have shape "
                        f"{crossbar.shape}, got {found}"
                    )
                conductance_s[devices] = crossbar.wiring.spread(values[crossbar.name]) * self.block.g_unit_s
        return conductance_s

    def drives(self, x: Floats, nudge: Floats | None = None) -> Floats:
        """Return the values of the driven sources, errors of the sources included.

        Equation: inputs +-v_unit x (or +-g_unit v_unit x as currents into p and n); nudge g_unit v_unit beta ds drawn
        from p and pushed into n.

        Args:
            x: [batch, n_inputs] dimensionless input.
            nudge: [batch, n_outputs] beta ds, dimensionless; None in the free phase.

        Returns:
            [batch, n_drives] V then A, p before n.

        Raises:
            CircuitError: for a wrong shape.
        """
        asked = self._asked(x, nudge)
        return asked if self.drive_errors is None else self.drive_errors.applied(asked)

    def drive_change(self, nudge: Floats) -> Floats:
        """Return by how much a nudge would change driven sources without errors, [batch, n_drives] V then A."""
        return self._asked(np.zeros((len(nudge), self.block.n_inputs)), nudge)

    def _asked(self, x: Floats, nudge: Floats | None) -> Floats:
        """Return what the driven sources are asked for."""
        block = self.block
        if x.ndim != 2 or x.shape[1] != block.n_inputs:
            raise CircuitError(
                f"block '{block.name}': input of shape {x.shape}; give [batch, {block.n_inputs}], one row a sample"
            )
        if nudge is not None and nudge.shape != (len(x), block.n_outputs):
            raise CircuitError(
                f"block '{block.name}': nudge of shape {nudge.shape} for {len(x)} samples; "
                f"give [{len(x)}, {block.n_outputs}]"
            )
        signs = (1.0, -1.0) if block.polarity is Polarity.DIFFERENTIAL else (1.0,)
        nudge = np.zeros((len(x), block.n_outputs)) if nudge is None else nudge
        current_unit_a = block.g_unit_s * block.v_unit_v
        input_unit = block.v_unit_v if block.drive is Drive.VOLTAGE else current_unit_a
        columns = [sign * input_unit * x for sign in signs]
        columns += [-sign * current_unit_a * nudge for sign in signs]
        return np.concatenate(columns, axis=1)

    def outputs(self, voltage_v: Floats) -> Floats:
        """Return the states of the output layers, [batch, n_outputs] dimensionless."""
        states = [self.layers[k].state(voltage_v, self.block.v_unit_v) for k in self.block.output_layers]
        return np.concatenate(states, axis=1)

    def input_currents(self, conductance_s: Floats, voltage_v: Floats) -> Floats:
        """Return what the input sources deliver, i = (i_p - i_n) / (2 g_unit v_unit), [batch, n_inputs].

        Equation: i_k = sum over the row's devices of g (V + k3 V^3), V = v_row - v_column; also where the row was
        folded away. With single polarity i / (g_unit v_unit). It is dE/dx of a voltage-driven input.

        Args:
            conductance_s: [n_resistors] S.
            voltage_v: [batch, n_nodes] V.

        Raises:
            CircuitError: if the block is not voltage-driven.
        """
        cubic = cubic_branches(self.circuit)
        excess_a = None
        if cubic is not None and self.inputs is not None:
            excess_a = cubic.restricted_to(self.inputs.nodes).leaving(conductance_s, voltage_v)
        return self._input_currents(conductance_s, voltage_v, excess_a)

    def input_current_response(
        self, conductance_s: Floats, mean_v: Floats, response_v: Floats, change_v: Floats | None
    ) -> Floats:
        """Return by how much two phases' input currents differ, over beta2 - beta1: [batch, n_inputs].

        Equation: sum over the row's devices of g R [1 + k3 (3 M^2 + D^2/4)], since V2^3 - V1^3 = D (3 M^2 + D^2/4).

        Args:
            conductance_s: [n_resistors] S.
            mean_v: [batch, n_nodes] V — mean of the phases, M across a device.
            response_v: [batch, n_nodes] V — their difference over beta2 - beta1, R across a device.
            change_v: [batch, n_nodes] V — their difference itself, D across a device; None where it is infinitely
                small, or where every device is linear.

        Raises:
            CircuitError: if the block is not voltage-driven.
        """
        cubic = cubic_branches(self.circuit)
        excess_a = None
        if cubic is not None and self.inputs is not None:
            at_inputs = cubic.restricted_to(self.inputs.nodes)
            excess_a = at_inputs.leaving_response(conductance_s, mean_v, response_v, change_v)
        return self._input_currents(conductance_s, response_v, excess_a)

    def _input_currents(self, conductance_s: Floats, voltage_v: Floats, excess_a: Floats | None) -> Floats:
        """Return currents of the inputs from the linear law, plus what leaves each node beyond it."""
        if self.inputs is None:
            raise CircuitError(f"block '{self.block.name}' is current-driven; it has no input sources to read")
        i_p, i_n = self._row_currents(self.inputs, conductance_s, voltage_v)
        if excess_a is not None:
            i_p = i_p + excess_a[:, self.inputs.p]
            i_n = None if i_n is None or self.inputs.n is None else i_n + excess_a[:, self.inputs.n]
        unit_a = self.block.g_unit_s * self.block.v_unit_v
        return i_p / unit_a if i_n is None else (i_p - i_n) / (2.0 * unit_a)

    def _row_currents(
        self, inputs: UnitNodes, conductance_s: Floats, voltage_v: Floats
    ) -> tuple[Floats, Floats | None]:
        """Return the currents that leave the input rows' p and n nets by the linear law, [batch, n_inputs] A each."""
        if self.unwired is None:
            crossbar = next(crossbar for crossbar in self.crossbars if crossbar.rows is inputs)
            return crossbar.row_currents(conductance_s, voltage_v)
        leaving = resistor_currents(self.circuit, conductance_s, inputs.nodes, voltage_v)
        n = len(inputs)
        return leaving[:, :n], None if inputs.n is None else leaving[:, n:]

    def mirrored_voltages(self, states: Sequence[Floats], x: Floats, *, bias: float = 1.0) -> Floats:
        """Return node voltages rebuilt from states, as the digital side knows them: v_p = v_unit s, v_n = -v_p.

        Args:
            states: one [batch, size] array a layer, dimensionless.
            x: [batch, n_inputs] dimensionless input; used with voltage drive only.
            bias: value of the bias row; zero for a change of voltages.

        Returns:
            [batch, n_nodes] V; rails stay at zero, no device that is trained touches them.
        """
        voltage_v = np.zeros((len(x), self.circuit.n_nodes))
        groups = list(zip(self.layers, states, strict=True))
        if self.inputs is not None:
            groups.append((self.inputs, x))
        if self.bias is not None:
            groups.append((self.bias, np.full((len(x), 1), bias)))
        for nodes, values in groups:
            voltage_v[:, nodes.p] = self.block.v_unit_v * values
            if nodes.n is not None:
                voltage_v[:, nodes.n] = -self.block.v_unit_v * values
        return voltage_v

    def states(self, voltage_v: Floats) -> list[Floats]:
        """Return the states of every layer, [batch, size] dimensionless each."""
        return [nodes.state(voltage_v, self.block.v_unit_v) for nodes in self.layers]

    def clamped_share(self, voltage_v: Floats) -> float:
        """Return the share of all units whose p node is within n V_t of a clamp's limit, or beyond it."""
        clamped = 0
        for layer, nodes in zip(self.block.layers, self.layers, strict=True):
            if layer.clamp is not None:
                n_vt = layer.clamp.diode.thermal_voltage_v(self.block.temperature_k, self.block.k_over_q_v_per_k)
                v = voltage_v[:, nodes.p]
                clamped += int(((v > layer.clamp.high_v - n_vt) | (v < layer.clamp.low_v + n_vt)).sum())
        return clamped / max(1, len(voltage_v) * sum(layer.size for layer in self.block.layers))
