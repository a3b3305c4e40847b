"""Your own simulator: a noisy bench in place of SPICE, and a block that learns XOR on it, in about 20 s.

    AnalogBlock --prepare(netlist)--> session --solve(g, drives)--> every node's voltage
                                        program g x (1 + error), settle, read + noise

Expected: a perfect bench gives the exact gradient, cosine 1.0000. With devices up to 10 % off the cosine stays above
0.99 up to 1 mV of read noise, and XOR is learnt. At 10 mV, nearly all that the nudge moves a hidden unit, it is 0.7.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from circuits import Clamp, EnergyBlock, NodeLayer
from circuits.arrays import Floats
from circuits.kirchhoff import kirchhoff_residual
from cosim.analog_block import AnalogBlock, Gradient
from cosim.phase_settings import PhaseSettings
from cosim.relaxation import Reduce, RelaxationOptions
from cosim.simulators.base import AbstractSession, AbstractSimulator, OperatingPoint
from cosim.simulators.newton import NewtonSimulator
from netlists import Netlist


class BenchSession(AbstractSession):
    """A chip whose devices miss their target by up to `error`, and a voltmeter with noise; newton plays the chip."""

    def __init__(self, netlist: Netlist, error: float, noise_v: float) -> None:
        self.chip, self.noise_v, self.generator = NewtonSimulator().prepare(netlist), noise_v, np.random.default_rng(0)
        self.gain = 1.0 + error * self.generator.uniform(-1, 1, len(netlist.resistors))

    netlist = property(lambda self: self.chip.netlist)

    def solve(self, conductance_s: Floats, drives: Floats, **options: Any) -> OperatingPoint:
        """Program, settle and read; the residual tells how far the reading is from the circuit that was asked for."""
        point = self.chip.solve(self.gain * conductance_s, drives, **options)
        read_v = point.voltage_v + self.noise_v * self.generator.standard_normal(point.voltage_v.shape)
        judged = kirchhoff_residual(self.netlist.topology, conductance_s, drives, read_v, voltage_tolerance_v=1e-9)
        return replace(point, voltage_v=read_v, residual_a=judged.residual_a, worst_node=judged.node)


class NoisyBench(AbstractSimulator):
    """One bench; each netlist that it prepares is another chip."""

    name = "bench"

    def __init__(self, error: float, noise_v: float) -> None:
        self.error, self.noise_v = error, noise_v

    def prepare(self, netlist: Netlist) -> BenchSession:
        """Connect to the chip that is wired like this netlist."""
        return BenchSession(netlist, self.error, self.noise_v)


def backward(analog: AnalogBlock) -> tuple[float, torch.Tensor]:
    """Return the loss on XOR and its gradient by every conductance, as one row."""
    x, target = torch.tensor([[-1.0, -1], [-1, 1], [1, -1], [1, 1]]), torch.tensor([[-0.05], [0.05], [0.05], [-0.05]])
    analog.zero_grad()
    loss = (20.0 * (analog(x) - target)).square().mean()
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in analog.parameters() if p.grad is not None])


def main() -> None:
    """Compare the first gradient with the exact one, then learn, at growing noise."""
    hidden = NodeLayer(size=8, clamp=Clamp(low_v=-0.2, high_v=0.2), bias=True)
    block = EnergyBlock(name="xor", n_inputs=2, layers=(hidden, NodeLayer(size=1, leak_s=2e-5)))
    whole = RelaxationOptions(reduce=Reduce.NONE)  # a chip has all its devices: nothing folded or mirrored away
    print("  error       noise   gradient cosine   loss at first   after 60 steps")
    for error, noise_v in ((0.0, 0.0), (0.1, 1e-4), (0.1, 1e-3), (0.1, 1e-2)):
        torch.manual_seed(1)
        analog = AnalogBlock(
            block, simulator=NoisyBench(error, noise_v), settings=PhaseSettings(beta=0.05), relaxation=whole
        )
        exact = backward(analog.configured(simulator=NewtonSimulator(), gradient=Gradient.IMPLICIT))[1]
        first, gradient = backward(analog)
        cosine = torch.nn.functional.cosine_similarity(gradient, exact, dim=0).item()
        optimizer = torch.optim.Adam(analog.parameters(), lr=0.03)
        for _ in range(60):
            last = backward(analog)[0]
            optimizer.step()
        print(f"{error:7.0%} {1e3 * noise_v:8.1f} mV {cosine:17.4f} {first:15.3f} {last:16.5f}")


if __name__ == "__main__":
    main()
