"""Neurons that are not all alike: diodes, rails and leaks of a block, each drawn by itself."""

from dataclasses import dataclass, replace
from typing import final

import numpy as np

from .arrays import Indices, frozen_indices
from .block_circuit import BlockCircuit
from .circuit import Circuit
from .devices.ranges import require_not_negative
from .devices.spread import Spread
from .diode import DiodeModel
from .elements import Diodes, VoltageSources
from .errors import CircuitError
from .piecewise_linear_diode import PiecewiseLinearDiode


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class NeuronSpread:
    """How the units of a block differ: each clamp diode, each rail where it meets a diode, each leak by itself.

    Args:
        saturation_current: of the diodes' I_s; None for none.
        emission_coefficient: of the diodes' n; None for none.
        rail_std_v: V — standard deviation of the rail's voltage at a diode; None for none.
        leak: of the leaks; None for none.
        seed: of the construction.

    Raises:
        CircuitError: for a negative standard deviation.
    """

    saturation_current: Spread | None = None
    emission_coefficient: Spread | None = None
    rail_std_v: float | None = None
    leak: Spread | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("saturation_current", "emission_coefficient", "leak"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, Spread):
                raise CircuitError(f"neuron spread: {name} = {value!r}; give Spread(relative_std=...), or None")
        if self.rail_std_v is not None:
            require_not_negative("neuron spread", rail_std_v=self.rail_std_v)


def spread_neurons(block_circuit: BlockCircuit, spread: NeuronSpread, generator: np.random.Generator) -> BlockCircuit:
    """Return a block whose neurons were drawn.

    Each effect has a random stream of its own, so that switching one on leaves the draws of the others as they were.

    Args:
        block_circuit: the block as designed.
        spread: how its units differ.
        generator: of the construction.

    Returns:
        the block as made; its mirror symmetry is gone.
    """
    streams = generator.spawn(4)
    circuit = block_circuit.circuit
    if spread.saturation_current is not None or spread.emission_coefficient is not None:
        circuit = replace(circuit, diodes=_spread_diodes(circuit.diodes, spread, streams[0], streams[1]))
    if spread.rail_std_v is not None and len(circuit.diodes):
        circuit = _tap_rails(block_circuit, circuit, spread.rail_std_v, streams[2])
    if spread.leak is not None and len(block_circuit.leak_devices):
        conductance_s = circuit.resistors.conductance_s.copy()
        leaks = block_circuit.leak_devices
        conductance_s[leaks] *= spread.leak.draw((len(leaks),), streams[3])
        circuit = circuit.with_conductances(conductance_s)
    return replace(block_circuit, circuit=circuit, image=frozen_indices(()))


def _spread_diodes(
    diodes: Diodes, spread: NeuronSpread, of_current: np.random.Generator, of_coefficient: np.random.Generator
) -> Diodes:
    """Return diodes with a model each."""
    n = len(diodes)
    i_s, coefficient = np.ones(n), np.ones(n)
    if spread.saturation_current is not None:
        i_s = spread.saturation_current.draw((n,), of_current)
    if spread.emission_coefficient is not None:
        coefficient = spread.emission_coefficient.draw((n,), of_coefficient)
    table: dict[DiodeModel | PiecewiseLinearDiode, int] = {}
    index = np.empty(n, dtype=np.int64)
    for k, (model, f_i, f_n) in enumerate(zip(diodes.model.tolist(), i_s.tolist(), coefficient.tolist(), strict=True)):
        nominal = diodes.models[model]
        if isinstance(nominal, PiecewiseLinearDiode):
            raise CircuitError(
                f"diode '{diodes.names[k]}' is piecewise-linear: it has no saturation current and no emission "
                "coefficient to spread; spread its rail (rail_std_v), or give the clamp a level-1 diode"
            )
        drawn = replace(
            nominal,
            saturation_current_a=nominal.saturation_current_a * f_i,
            emission_coefficient=nominal.emission_coefficient * f_n,
        )
        index[k] = table.setdefault(drawn, len(table))
    return replace(diodes, model=frozen_indices(index), models=tuple(table))


def _tap_rails(
    block_circuit: BlockCircuit, circuit: Circuit, rail_std_v: float, generator: np.random.Generator
) -> Circuit:
    """Return a circuit in which a source between its rail and each diode sets the rail's voltage there."""
    diodes, sources = circuit.diodes, circuit.voltage_sources
    units = np.concatenate([nodes for layer in block_circuit.layers for nodes in _sides(layer.p, layer.n)])
    at_anode = ~np.isin(diodes.anode, units)  # the end that is a rail: a diode joins one and a unit
    rails = np.where(at_anode, diodes.anode, diodes.cathode)
    taps = circuit.n_nodes + np.arange(len(diodes))
    shift_v = rail_std_v * generator.standard_normal(len(diodes))
    names = tuple(f"tap_{name}" for name in diodes.names)
    labels = tuple(f"{circuit.labels[rail]} at diode {name}" for rail, name in zip(rails, diodes.names, strict=True))
    return replace(
        circuit,
        nodes=(*circuit.nodes, *names),
        labels=(*circuit.labels, *labels),
        diodes=replace(
            diodes,
            anode=np.where(at_anode, taps, diodes.anode),
            cathode=np.where(at_anode, diodes.cathode, taps),
        ),
        voltage_sources=VoltageSources(
            names=(*sources.names, *names),
            plus=np.concatenate([sources.plus, taps]),
            minus=np.concatenate([sources.minus, rails]),
            voltage_v=np.concatenate([sources.voltage_v, shift_v]),
            driven=np.concatenate([sources.driven, np.zeros(len(taps), dtype=bool)]),
        ),
    )


def _sides(p: Indices, n: Indices | None) -> list[Indices]:
    return [p] if n is None else [p, n]
