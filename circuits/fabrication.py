"""Make a block: from the circuit as designed to the circuit as made, one non-ideality after another.

```
EnergyBlock --build--> as designed --temperature--cubic devices--neurons--sources--wires--> as made
```
Every draw is keyed by the seed of its effect and by the block's name, so that blocks of a network differ, a block made
twice is the same, and one effect leaves the draws of the others as they were.
"""

import zlib
from dataclasses import replace

import numpy as np

from .arrays import Indices, frozen_indices
from .block_circuit import BlockCircuit
from .block_layout import build
from .energy_block import EnergyBlock
from .neuron_spread import spread_neurons
from .nonidealities import NonIdealities
from .source_errors import disturb_sources
from .wired_layout import lay_wires

NEURONS, SOURCES, DEVICES, WRITES, READS = range(5)  # streams of random numbers; each has numbers of its own


def keyed_generator(seed: int, block_name: str, *stream: int) -> np.random.Generator:
    """Return the generator of one stream of a block's random numbers."""
    return np.random.default_rng([seed, zlib.crc32(block_name.encode()), *stream])


def fabricate(block: EnergyBlock, nonidealities: NonIdealities | None) -> BlockCircuit:
    """Make a block.

    Args:
        block: as designed.
        nonidealities: what is not ideal about it; None for the block as designed.

    Returns:
        the block as made; its conductances are yet to be written, as those of `build`.
    """
    made = build(block)
    if nonidealities is None:
        return made
    n = nonidealities
    if n.temperature_k is not None:
        made = replace(made, circuit=replace(made.circuit, temperature_k=n.temperature_k))
    if n.devices is not None and n.devices.device.cubic is not None:
        k3_per_v2 = np.zeros(len(made.circuit.resistors))
        k3_per_v2[crossbar_devices(made)] = n.devices.device.cubic.k3_per_v2
        made = replace(made, circuit=made.circuit.with_cubic(k3_per_v2))
    if n.neurons is not None:
        made = spread_neurons(made, n.neurons, keyed_generator(n.neurons.seed, block.name, NEURONS))
    if n.sources is not None:
        made = disturb_sources(made, n.sources, keyed_generator(n.sources.seed, block.name, SOURCES))
    if n.wires is not None:
        made = lay_wires(made, n.wires)
    return made


def crossbar_devices(block_circuit: BlockCircuit) -> Indices:
    """Return the resistor index of every device of a block's crossbars, rising."""
    parts = [part.ravel() for c in block_circuit.crossbars for part in (c.plus, c.minus) if part is not None]
    return frozen_indices(np.sort(np.concatenate(parts)))
