"""What the blocks show in training: means of an epoch under flat names, exact through a checkpoint, nearly free."""

from __future__ import annotations

import copy
import json
import time

import numpy as np
import pytest
import torch
from analog_blocks import small_block
from torch import nn

from circuits import Drive
from cosim.analog_block import AnalogBlock, Gradient
from cosim.converters import Converters
from cosim.errors import RunError
from cosim.phase_settings import ParameterRead, PhaseSettings
from cosim.simulators.newton import NewtonSimulator
from cosim.training.observation import Observer

NEWTON = NewtonSimulator()
DIGITAL = PhaseSettings(beta=0.05, parameter_read=ParameterRead.DIGITAL)


def make_block(name: str = "first", n_inputs: int = 4, *sizes: int, **options) -> AnalogBlock:
    generator = torch.Generator().manual_seed(1)
    description = small_block(name, n_inputs, *(sizes or (4, 3)), drive=options.pop("drive", Drive.VOLTAGE))
    return AnalogBlock(description, simulator=NEWTON, generator=generator, **options)


def step(block: AnalogBlock, seed: int, size: float = 1.0) -> None:
    x = size * torch.randn(5, block.block.n_inputs, generator=torch.Generator().manual_seed(seed))
    (block(x) ** 2).sum().backward()


def test_metrics_are_means_over_the_steps() -> None:
    blocks = [make_block(converters=Converters.uniform(8), settings=DIGITAL), make_block("second", settings=DIGITAL)]
    observer, seen = Observer(blocks), []
    for seed in range(3):
        for block in blocks:
            step(block, seed, size=4.0)
        observer.observe()
        assert all(block.last_nudge is not None for block in blocks)
        seen.append([(block.clamped_share, block.last_nudge) for block in blocks])
        for block in blocks:  # an evaluation in between changes nothing that was observed
            block(torch.zeros(2, 4))
    expected = {}
    for k, name in enumerate(("first", "second")):
        nudges = [row[k][1] for row in seen]
        expected[f"{name}.clamped_share"] = np.mean([row[k][0] for row in seen])
        expected[f"{name}.nudge_response_v"] = np.mean([nudge.rms_v for nudge in nudges])
        expected[f"{name}.tolerance_v"] = np.mean([nudge.tolerance_v for nudge in nudges])
    expected["first.adc_step_v"] = np.mean([row[0][1].adc_step_v for row in seen])  # the second's is ideal
    assert observer.metrics() == pytest.approx(expected, rel=1e-12)
    assert expected["first.clamped_share"] > 0.05
    assert next(iter(observer.metrics())) == "first.clamped_share"
    observer.reset()
    assert observer.metrics() == {}


def test_a_step_without_a_nudge_does_not_count_for_the_response() -> None:
    block = make_block()
    observer = Observer([block])
    step(block, 0)
    observer.observe()
    before = observer.metrics()["first.nudge_response_v"]
    (block(torch.ones(2, 4)) * 0.0).sum().backward()
    observer.observe()
    assert observer.metrics()["first.nudge_response_v"] == before
    assert observer.to_json()["first.clamped_share"][1] == 2


def test_implicit_gradients_show_clamped_units_alone() -> None:
    block = make_block(gradient=Gradient.IMPLICIT)
    observer = Observer([block])
    observer.observe()  # before any phase: nothing
    assert observer.metrics() == {}
    step(block, 0)
    observer.observe()
    assert list(observer.metrics()) == ["first.clamped_share"]


def test_without_blocks_there_is_nothing() -> None:
    observer = Observer([])
    observer.observe()
    assert observer.metrics() == {}
    observer.from_json(observer.to_json())


def test_sums_go_through_a_checkpoint_to_the_bit() -> None:
    block = make_block(converters=Converters.uniform(8), settings=DIGITAL)
    straight = Observer([block])
    for seed in range(3):
        step(block, seed)
        straight.observe()
    resumed = Observer([block])
    resumed.observe()  # is replaced
    resumed.from_json(json.loads(json.dumps(straight.to_json())))
    for seed in range(3, 6):
        step(block, seed)
        straight.observe()
        resumed.observe()
    assert resumed.to_json() == straight.to_json()
    assert resumed.metrics() == straight.metrics()


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"other.clamped_share": [1.0, 2]},
        {"first.voltage": [1.0, 2]},
        {"first.clamped_share": 1.0},
        {"first.clamped_share": [1.0]},
        {"first.clamped_share": [1.0, 0]},
        {"first.clamped_share": [1.0, 2.5]},
        {"first.clamped_share": ["1", 2]},
        {"first.clamped_share": [float("nan"), 2]},
    ],
)
def test_other_sums_are_refused(value: object) -> None:
    with pytest.raises(RunError, match="are none of this network's blocks; start anew with --force"):
        Observer([make_block()]).from_json(value)


@pytest.mark.parametrize("drive", Drive)
def test_voltages_of_the_last_free_phase(drive: Drive) -> None:
    block = make_block(drive=drive).double()
    assert block.last_voltages() is None
    x = torch.ones(2, 4, dtype=torch.float64)
    states = block(x)
    voltages = block.last_voltages()
    assert voltages is not None
    assert [v.shape for v in voltages] == [(2, 4), (2, 3)]
    np.testing.assert_array_equal(voltages[-1], block.block.v_unit_v * states.detach().numpy())
    states.sum().backward()
    again = block.last_voltages()
    assert again is not None
    np.testing.assert_array_equal(again[0], voltages[0])  # the nudged phases are not the free one
    assert copy.deepcopy(block).last_voltages() is None
    assert not any("voltage" in name or "nudge" in name for name in block.state_dict())


def test_observing_costs_less_than_a_hundredth_of_a_step() -> None:
    block = make_block("first", 64, 32, 24, settings=DIGITAL)
    network = nn.Sequential(block, nn.Linear(24, 10))
    x = torch.randn(64, 64)
    observer = Observer([block])
    steps_s, observing_s = [], []
    for _ in range(10):
        start = time.perf_counter()
        network(x).square().mean().backward()
        middle = time.perf_counter()
        observer.observe()
        steps_s.append(middle - start)
        observing_s.append(time.perf_counter() - middle)
    assert min(observing_s) < 0.01 * min(steps_s)
