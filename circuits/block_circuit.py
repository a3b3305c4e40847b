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
from .drive_errors import DriveErrors
from .energy_block import Drive, EnergyBlock, Polarity
from .errors import CircuitError
from .input_currents import input_current_response, input_currents


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
        amplified: nodes behind the amplifiers of each layer, the rows of the next crossbar; None where it has none.
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
    amplified: tuple[UnitNodes | None, ...] = ()
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

    def gradient_weight(self, crossbar: Crossbar) -> float:
        """Return by what the two phases' difference at a crossbar is multiplied: c / c_L, 1 without amplifiers.

        Equation: dL/dg = c / c_L D[1/2 dv^2] / (beta2 - beta1), with c of the layer of its columns and c_L of the last
        layer that is nudged; A^(2 (L - k)) for amplifiers of one gain A.
        """
        layer = next(k for k, nodes in enumerate(self.layers) if nodes is crossbar.columns)
        return self.block.energy_weights[layer] / self.block.output_weight

    @property
    def input_weight(self) -> float:
        """By what the two phases' difference at the input is multiplied: c_1 / c_L, 1 without amplifiers."""
        return self.block.energy_weights[0] / self.block.output_weight

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
        from p and pushed into n, times A^-2 for each amplifier between its layer and the last that is nudged.

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
        nudge = np.zeros((len(x), block.n_outputs)) if nudge is None else nudge * block.nudge_shares
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
        """Return what the input sources deliver, [batch, n_inputs]: `circuits.input_currents`."""
        return input_currents(self, conductance_s, voltage_v)

    def input_current_response(
        self, conductance_s: Floats, mean_v: Floats, response_v: Floats, change_v: Floats | None
    ) -> Floats:
        """Return how two phases differ in it, over beta2 - beta1, [batch, n_inputs]: `circuits.input_currents`."""
        return input_current_response(self, conductance_s, mean_v, response_v, change_v)

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
        for layer, nodes, values in zip(self.block.layers, self.amplified, states, strict=False):
            if nodes is not None and layer.amplification is not None:
                groups.append((nodes, layer.amplification * values))
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
        """Return the share of all units whose p node is within `Clamp.margin_v` of a clamp's limit, or beyond it."""
        clamped = 0
        for layer, nodes in zip(self.block.layers, self.layers, strict=True):
            for units, clamp in layer.clamp_runs:
                margin_v = clamp.margin_v(self.block.temperature_k, self.block.k_over_q_v_per_k)
                v = voltage_v[:, nodes.p[units]]
                high = np.inf if clamp.high_v is None else clamp.high_v - margin_v
                low = -np.inf if clamp.low_v is None else clamp.low_v + margin_v
                clamped += int(((v > high) | (v < low)).sum())
        return clamped / max(1, len(voltage_v) * sum(layer.size for layer in self.block.layers))
