"""The network of `tellegen transient` without an argument: three circuits of different sizes between digital stages.

```
x --linear--> [8-7-6] --linear--> [9-7] --linear--> [6-10-8-5] --linear--> 4 logits
              voltage             current            voltage
```

Each has 200 devices or more; at least a fifth of its units are clamped, because the stages before drive it hard.
"""

from typing import Final

import torch
from torch import Tensor, nn

from circuits.clamp import Clamp
from circuits.energy_block import Drive, EnergyBlock, NodeLayer
from digital.ff_ebm import FfEbm

from ..analog_block import AnalogBlock
from ..simulators.base import AbstractSimulator

N_INPUTS: Final = 12
N_CLASSES: Final = 4
LIMIT_V: Final = 0.15
GAINS: Final = (2.0, 25.0, 60.0)  # of the digital stages: a passive crossbar attenuates
SPREAD: Final = 1.2  # capacitances from 0.3 to 3.3 times their nominal value


def three_blocks(simulator: AbstractSimulator, *, seed: int) -> FfEbm:
    """Return the network, its weights drawn from a seed.

    Args:
        simulator: relaxes the blocks.
        seed: of the weights.
    """
    generator = torch.Generator().manual_seed(seed)
    clamp = Clamp(low_v=-LIMIT_V, high_v=LIMIT_V)
    blocks = (
        EnergyBlock(
            name="block1",
            n_inputs=8,
            layers=(NodeLayer(size=7, clamp=clamp, bias=True), NodeLayer(size=6, leak_s=5e-5)),
        ),
        EnergyBlock(
            name="block2",
            n_inputs=9,
            layers=(NodeLayer(size=9, clamp=clamp, leak_s=2e-5), NodeLayer(size=7, leak_s=5e-5)),
            drive=Drive.CURRENT,
        ),
        EnergyBlock(
            name="block3",
            n_inputs=6,
            layers=(
                NodeLayer(size=10, clamp=clamp),
                NodeLayer(size=8, clamp=Clamp(low_v=-LIMIT_V / 2, high_v=LIMIT_V / 2)),
                NodeLayer(size=5, leak_s=5e-5),
            ),
        ),
    )
    links: list[tuple[nn.Module, nn.Module]] = []
    size = N_INPUTS
    for block, gain in zip(blocks, GAINS, strict=True):
        links.append(
            (
                _linear(size, block.n_inputs, gain, generator),
                AnalogBlock(block, simulator=simulator, generator=generator),
            )
        )
        size = block.n_outputs
    return FfEbm(links, _linear(size, N_CLASSES, 10.0, generator)).double().eval()


def samples(n: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Return inputs [n, N_INPUTS] and classes [n] that mean nothing, drawn from a seed."""
    generator = torch.Generator().manual_seed(seed + 1)
    x = torch.randn(n, N_INPUTS, dtype=torch.float64, generator=generator)
    return x, torch.randint(0, N_CLASSES, (n,), generator=generator)


def _linear(n_inputs: int, size: int, gain: float, generator: torch.Generator) -> nn.Linear:
    """Return a linear layer with weights of standard deviation gain / sqrt(n_inputs)."""
    layer = nn.Linear(n_inputs, size, bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(size, n_inputs, dtype=torch.float64, generator=generator))
        layer.weight.mul_(gain / n_inputs**0.5)
    return layer
