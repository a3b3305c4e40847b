"""The interface of a simulator suffices for an instrument: a bench that reads every node with noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from analog_blocks import analog, cosine, gradients, mild_block, relative_error
from torch import nn

from circuits import Drive, Polarity
from circuits.arrays import Floats
from cosim.analog_block import Gradient
from cosim.errors import SimulationError
from cosim.phase_settings import PhaseSettings
from cosim.simulators.base import AbstractSession, AbstractSimulator, OnFailure, OperatingPoint
from cosim.simulators.newton import NewtonSimulator
from netlists import Netlist, lower


class NoisyBench(AbstractSimulator):
    """A bench with programmable conductances, driven sources and a voltmeter with noise."""

    def __init__(self, noise_v: float, seed: int = 0) -> None:
        self.noise_v = noise_v
        self.n_solved = 0
        self.is_open = True
        self._rng = np.random.default_rng(seed)

    @property
    def name(self) -> str:
        return "noisy bench"

    @property
    def is_exact(self) -> bool:
        return self.noise_v == 0.0

    def prepare(self, netlist: Netlist) -> AbstractSession:
        return _Setup(self, netlist)

    def close(self) -> None:
        self.is_open = False

    def read(self, voltage_v: Floats) -> Floats:
        noise = self.noise_v * self._rng.normal(size=voltage_v.shape)
        noise[:, 0] = 0.0  # ground is where the voltmeter's other lead is
        return voltage_v + noise


class _Setup(AbstractSession):
    def __init__(self, bench: NoisyBench, netlist: Netlist) -> None:
        self._bench, self._device = bench, NewtonSimulator().prepare(netlist)

    @property
    def netlist(self) -> Netlist:
        return self._device.netlist

    def solve(
        self,
        conductance_s: Floats,
        drives: Floats,
        *,
        start_v: Floats | None = None,
        read_sources: bool = False,
        on_failure: OnFailure = OnFailure.RAISE,
    ) -> OperatingPoint:
        point = self._device.solve(conductance_s, drives, read_sources=read_sources, on_failure=on_failure)
        self._bench.n_solved += len(point)
        return replace(point, voltage_v=self._bench.read(point.voltage_v))


@pytest.mark.parametrize("drive", Drive)
@pytest.mark.parametrize("polarity", Polarity)
def test_gradients_without_noise_are_newtons(polarity: Polarity, drive: Drive) -> None:
    drawn = mild_block(1, polarity, drive)
    quiet, newton = (gradients(analog(drawn, simulator), drawn.x) for simulator in (NoisyBench(0.0), NewtonSimulator()))
    for name, reference in newton.items():
        np.testing.assert_allclose(quiet[name], reference, rtol=0, atol=1e-9 * np.abs(reference).max())


def test_noise_costs_direction_and_a_larger_nudge_buys_it_back() -> None:
    drawn = mild_block(1, Polarity.DIFFERENTIAL, Drive.VOLTAGE, batch=40)
    exact = gradients(analog(drawn, gradient=Gradient.IMPLICIT), drawn.x)
    found = {}
    for noise_v, beta in ((0.03, 0.01), (0.03, 0.3), (1e-4, 0.01)):
        block = analog(drawn, NoisyBench(noise_v), settings=PhaseSettings(beta=beta))
        found[noise_v, beta] = cosine(gradients(block, drawn.x)["g_plus.w2"], exact["g_plus.w2"])
    assert found[0.03, 0.01] < 0.95
    assert found[0.03, 0.3] > 0.98
    assert found[1e-4, 0.01] > 0.999


def test_network_learns_on_the_bench() -> None:
    drawn = mild_block(2, Polarity.DIFFERENTIAL, Drive.VOLTAGE, batch=12)
    bench = NoisyBench(1e-4)
    torch.manual_seed(0)
    network = nn.Sequential(analog(drawn, bench), nn.Linear(4, 3).double())
    x, y = torch.from_numpy(drawn.x), torch.arange(12) % 3
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(x), y)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert bench.n_solved == 60 * 12 * 3
    assert network[0].counters.relaxations == bench.n_solved


def test_implicit_gradients_are_those_at_the_voltages_that_the_bench_read() -> None:
    drawn = mild_block(1, Polarity.DIFFERENTIAL, Drive.VOLTAGE)
    exact = gradients(analog(drawn, gradient=Gradient.IMPLICIT), drawn.x)
    quiet, noisy = (gradients(analog(drawn, NoisyBench(v), gradient=Gradient.IMPLICIT), drawn.x) for v in (0.0, 1e-3))
    assert relative_error(quiet, exact) < 1e-9
    assert 1e-5 < relative_error(noisy, exact) < 0.1  # linearised where it stands, not solved again


def test_instrument_has_no_small_signal_analysis() -> None:
    drawn = mild_block(1, Polarity.DIFFERENTIAL, Drive.VOLTAGE)
    session = NoisyBench(0.0).prepare(lower(drawn.built.circuit)[0])
    with pytest.raises(SimulationError, match=r"block 'mild': this simulator has no small-signal analysis"):
        session.small_signal(drawn.conductance_s, np.zeros((1, 1)), np.zeros((1, 1)))


def test_defaults_of_the_interface() -> None:
    drawn = mild_block(1, Polarity.DIFFERENTIAL, Drive.VOLTAGE)
    bench = NoisyBench(0.0)
    block = analog(drawn, bench)
    block(torch.from_numpy(drawn.x))
    assert "noisy bench" in repr(block)
    block._phases.relaxation.close()  # sessions have a close of their own that does nothing
    bench.close()
    assert not bench.is_open
    NewtonSimulator().close()
