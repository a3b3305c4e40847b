"""Training through devices: how weights and devices go together, copies, evaluations in between, runs that go on."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nonideal_blocks import EVERYTHING, G_MAX, G_MIN, PULSES, READ_NOISE, audited, devices, inputs, small_block
from small_runs import SMALL, Killed, end_at, list_differences, quiet, read_outcome, stub_pictures, write_small
from sweep_files import here, write_sweep

from circuits.crossbar_devices import CrossbarDevices, ReadDraw, Write
from circuits.devices import (
    CubicCurrent,
    Device,
    Drift,
    LinearStep,
    ProgrammingError,
    PulsedUpdate,
    RelativeReadNoise,
    Spread,
    Stuck,
    Verify,
    VerifyBy,
)
from circuits.fabrication import crossbar_devices
from circuits.nonidealities import NonIdealities
from cosim.analog_block import AnalogBlock
from cosim.converters import Adc, Converters
from cosim.device_state import OPEN_S
from cosim.errors import BlockError
from cosim.simulators.newton import NewtonSimulator
from cosim.training.checkpoints import Which
from cosim.training.config import Config
from cosim.training.config_file import load_config
from cosim.training.network import list_analog_blocks
from cosim.training.run import evaluate, train
from cosim.training.setup import load_run
from cosim.training.start import complete_tables, set_up_from
from cosim.twin import twin

SMOOTH = PulsedUpdate(step=LinearStep(up_at_low=2e-3, up_at_high=1e-3, down_at_low=1e-3, down_at_high=2e-3))
ERROR = ProgrammingError(coefficients_s=(2e-6,), reference_s=1e-4)
WRITES = {
    "ideal": devices(levels=64, stuck=Stuck(probability_at_g_min=0.02), use={"write": Write.IDEAL}),
    "program": devices(programming_error=ERROR, use={"write": Write.PROGRAM}),
    "verify": devices(programming_error=ERROR, use={"write": Write.PROGRAM_AND_VERIFY}),
    "verify by pulses": devices(
        pulsed_update=SMOOTH,
        use={"write": Write.PROGRAM_AND_VERIFY, "verify": Verify(by=VerifyBy.PULSES, tolerance_relative=0.005)},
    ),
    "pulses": devices(pulsed_update=SMOOTH, spread=Spread(relative_std=0.1), use={"write": Write.PULSES}),
}
NOISY_PULSES = devices(
    pulsed_update=PULSES,
    read_noise=RelativeReadNoise(relative_std=0.02),
    use={"write": Write.PULSES, "read_draw": ReadDraw.EACH_PHASE},
)


def plain(effects: NonIdealities | None, **options: Any) -> AnalogBlock:
    """Return a float32 block, as training has it."""
    generator = torch.Generator().manual_seed(1)
    return AnalogBlock(
        small_block(), simulator=NewtonSimulator(), generator=generator, nonidealities=effects, **options
    )


def steps(block: AnalogBlock, n: int, *, optimizer: type[torch.optim.Optimizer] = torch.optim.SGD, rate=0.02) -> list:
    """Take steps towards a target; return the loss before each."""
    made, losses = optimizer(block.parameters(), lr=rate), []
    x = inputs(5, 8).to(next(block.parameters()).dtype)
    target = 0.1 * torch.sin(torch.arange(24.0, dtype=x.dtype)).reshape(8, 3)
    for _ in range(n):
        made.zero_grad()
        loss = (block(x) - target).square().sum()
        loss.backward()
        made.step()
        losses.append(float(loss.detach()))
    return losses


def crossbars(block: AnalogBlock) -> np.ndarray:
    return block.conductances()[crossbar_devices(block.circuit)]


def state(block: AnalogBlock) -> dict[str, Any]:
    return {name: value.tolist() for name, value in block.state_dict().items()}


# -------------------------------------------------------------------------------------------------------- write modes


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
@pytest.mark.parametrize("name", WRITES)
def test_every_way_of_writing_trains(name: str, optimizer: type[torch.optim.Optimizer]) -> None:
    rate = 0.02 if optimizer is torch.optim.SGD else 0.01
    losses = steps(plain(WRITES[name]).train(), 40, optimizer=optimizer, rate=rate)
    assert np.mean(losses[-5:]) < 0.6 * losses[0]


def test_an_ideal_write_puts_weights_on_levels_and_leaves_stuck_devices() -> None:
    block = plain(WRITES["ideal"])
    for _ in range(3):
        steps(block, 1)
        asked = twin(block, nonidealities=None).conductances()[crossbar_devices(block.circuit)]
        found, distance = crossbars(block), (G_MAX - G_MIN) / 63
        is_stuck = np.abs(found - asked) > distance / 2 * (1 + 1e-6)
        assert is_stuck.mean() < 0.1
        assert (found[is_stuck] == G_MIN).all()
    assert len(np.unique(np.round((found - G_MIN) / distance, 6) % 1)) == 1


def test_with_pulses_weights_are_what_devices_hold_on_average() -> None:
    block = plain(WRITES["pulses"]).train()
    steps(block, 5)
    conductance_s = block.conductances()
    low, high = (v * block.block.g_unit_s for v in block.block.window)
    for crossbar in block.circuit.crossbars:
        for group, side in ((block.g_plus, crossbar.plus), (block.g_minus, crossbar.minus)):
            mean = np.clip(conductance_s[side].mean(axis=0), low, high) / block.block.g_unit_s
            found = group[crossbar.name].detach().double().numpy().ravel()
            np.testing.assert_allclose(found, mean.ravel(), rtol=1e-6)


def test_devices_are_written_once_for_weights_that_stay() -> None:
    block = plain(WRITES["program"]).train()
    first = crossbars(block)
    for _ in range(3):
        block(inputs(5).float())
        np.testing.assert_array_equal(crossbars(block), first)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.mul_(0.99).clamp_(*block.block.window)
    assert not np.isclose(crossbars(block), 0.99 * first, rtol=1e-3).all()


def test_a_block_that_asks_for_what_its_devices_do_not_have_is_refused() -> None:
    narrow = NonIdealities(devices=CrossbarDevices(device=Device(name="narrow", g_min_s=1e-5, g_max_s=2e-4)))
    with pytest.raises(
        BlockError, match=r"block 'small': its window of 1e-07 to 0.0002 S is not within that of device"
    ):
        plain(narrow)


# ------------------------------------------------------------------------------------------------------ copies, states


@pytest.mark.parametrize("name", ["program", "verify by pulses", "pulses"])
@pytest.mark.parametrize("how", ["deepcopy", "configured", "twin", "state_dict"])
def test_copies_hold_what_the_block_holds_and_go_their_own_way(name: str, how: str) -> None:
    block = plain(WRITES[name]).train()
    steps(block, 3)
    match how:
        case "deepcopy":
            copied = copy.deepcopy(block)
        case "configured":
            copied = block.configured(converters=Converters.ideal())
        case "twin":
            copied = twin(block, simulator=NewtonSimulator())
        case _:
            copied = plain(WRITES[name]).train()
            copied.load_state_dict(block.state_dict())
    assert state(copied) == state(block)
    before = crossbars(block)
    np.testing.assert_array_equal(crossbars(copied), before)
    after = steps(copied, 2)
    assert crossbars(block).tolist() == before.tolist()
    assert steps(block, 2) == after  # the same numbers are drawn
    assert state(copied) == state(block)


def test_a_twin_as_designed_is_the_ideal_block() -> None:
    made, ideal = audited(small_block(), EVERYTHING), audited(small_block())
    made(inputs(5))
    found = twin(made, nonidealities=None)
    assert set(found.state_dict()) == set(ideal.state_dict())
    assert torch.equal(found(inputs(5)), ideal(inputs(5)))
    assert twin(made).nonidealities is EVERYTHING


def test_other_reads_keep_what_devices_hold_and_other_writes_do_not() -> None:
    block = plain(devices(programming_error=ERROR, spread=Spread(relative_std=0.1))).train()
    steps(block, 3)
    held = crossbars(block)
    base = {"programming_error": ERROR, "spread": Spread(relative_std=0.1)}
    later = {
        "noise": devices(**base, read_noise=RelativeReadNoise(relative_std=0.02)),
        "drift": devices(**base, drift=Drift.constant(0.05, nu_std=None, t_0_s=20.0), use={"time_s": 1e5}),
        "cubic": devices(**base, cubic=CubicCurrent(k3_per_v2=0.2)),
    }
    for name, effects in later.items():
        np.testing.assert_array_equal(crossbars(block.configured(nonidealities=effects)), held, err_msg=name)
    other = {"seed": devices(**base, use={"seed": 1}), "levels": devices(**base, levels=16)}
    for name, effects in other.items():
        assert (crossbars(block.configured(nonidealities=effects)) != held).any(), name


def test_devices_keep_their_bits_when_parameters_change_their_type() -> None:
    block = plain(WRITES["program"]).train()
    steps(block, 2)
    held = crossbars(block)
    assert crossbars(block.double()).tolist() == held.tolist()
    block.float()
    for _ in range(2):
        block(inputs(5).float())
        assert crossbars(block).tolist() == held.tolist()


# --------------------------------------------------------------------------------------------------------- evaluations


@pytest.mark.parametrize("effects", [READ_NOISE, NOISY_PULSES, EVERYTHING], ids=["noise", "noisy pulses", "everything"])
def test_an_evaluation_gives_the_same_bits_each_time(effects: NonIdealities) -> None:
    block = plain(effects)
    steps(block.train(), 2)
    x = inputs(5).float()
    first, second = ([block(x) for _ in range(2)] for _ in range(2) if block.eval())
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], first[1])  # each batch has noise of its own


def test_an_evaluation_in_between_leaves_a_training_as_it_was() -> None:
    noisy = Adc(bits=8, full_scale=2.0)
    alone, looked_at = (plain(NOISY_PULSES, converters=Converters(output=noisy)).train() for _ in range(2))
    for _ in range(3):
        steps(alone, 2)
        steps(looked_at, 2)
        looked_at.eval()
        for _ in range(3):
            looked_at(inputs(5).float())
        looked_at.train()
        alone.conductances()
        assert state(alone) == state(looked_at)


# ---------------------------------------------------------------------------------------------------------------- runs

RUN = ("training.epochs=2", "training.batch_size=20", "data.train_size=80", "data.test_size=40")
DEVICES = (
    'devices.preset="reram-es"',
    'devices.write="pulses"',
    "devices.read_noise_relative_std=0.02",
    'devices.read_draw="each_phase"',
    "converters.output.bits=8",
    "converters.output.noise_relative_std=0.01",
    "converters.phase.noise_relative_std=0.001",
)


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_pictures(monkeypatch.setattr)


def configured(folder: Path, *overrides: str) -> Config:
    return load_config(write_small(folder, SMALL), (*RUN, *overrides))


@pytest.fixture(scope="module")
def on_devices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with pulses, read noise and noisy converters."""
    folder = tmp_path_factory.mktemp("devices")
    with pytest.MonkeyPatch.context() as patch:
        stub_pictures(patch.setattr)
        train(configured(folder, *DEVICES), folder / "run", console=quiet())
    return folder / "run"


@pytest.fixture(scope="module")
def ideal_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ideal")
    with pytest.MonkeyPatch.context() as patch:
        stub_pictures(patch.setattr)
        train(configured(folder), folder / "run", console=quiet())
    return folder / "run"


@pytest.mark.parametrize(("batch", "how"), [(1, "Ctrl-C"), (3, "Ctrl-C"), (6, "Ctrl-C"), (7, "crash")])
def test_a_run_on_devices_goes_on_to_the_same_bits(on_devices: Path, tmp_path: Path, batch: int, how: str) -> None:
    config, run = configured(tmp_path, *DEVICES), tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        end_at(patch, batch, how=how)
        with pytest.raises(KeyboardInterrupt if how == "Ctrl-C" else Killed):
            train(config, run, console=quiet())
    torch.manual_seed(99)
    train(config, run, resume=Which.LAST, console=quiet())
    assert set(list_differences(read_outcome(on_devices), read_outcome(run))) <= {"previous.safetensors"}


def test_an_evaluation_of_a_run_has_its_devices(on_devices: Path) -> None:
    """Accuracies are those of what the devices hold, and the same each time."""
    first, second = (evaluate(on_devices) for _ in range(2))
    assert first.test_loss == second.test_loss
    recorded = read_outcome(on_devices)["result"]
    assert first.test_loss == pytest.approx(recorded["test_loss"], rel=1e-12)
    setup = load_run(on_devices, NewtonSimulator())
    (block,) = list_analog_blocks(setup.network)
    assert block.nonidealities is not None
    assert block.get_buffer("devices_counts").tolist()[0] > 1
    before = block.get_buffer("devices_held_s").clone()
    block.conductances()
    assert torch.equal(block.get_buffer("devices_held_s"), before)  # nothing is written anew


@pytest.mark.parametrize("preset", ["rram-milo", "pcm"])
def test_a_run_goes_on_in_the_window_of_other_devices(ideal_run: Path, tmp_path: Path, preset: str) -> None:
    """Windows with a high low end too: devices are raised, and the load that they add is taken off by active leaks."""
    path = tmp_path / "next.toml"
    path.write_text(
        f'[start]\nrun = "{ideal_run}"\n[devices]\npreset = "{preset}"\ntime_s = 100.0\n[training]\nepochs = 1\n',
        encoding="utf-8",
    )
    config = load_config(path, complete=lambda tables: complete_tables(tables, None))
    train(config, tmp_path / "run", console=quiet())
    setup = load_run(tmp_path / "run", NewtonSimulator())
    (block,) = list_analog_blocks(setup.network)
    low, high = {"rram-milo": (50e-6, 225e-6), "pcm": (25e-6 * 1e-6, 25e-6)}[preset]
    assert (block.block.g_min_s, block.block.g_max_s) == pytest.approx((low, high))
    values = crossbars(block)
    lowest = {"rram-milo": low, "pcm": OPEN_S}[preset]  # a PCM device may be written to nothing
    assert values.min() >= lowest * (1 - 1e-9)
    assert values.max() <= high * (1 + 1e-9)
    # As designed, and before a step, it computes what the run computed that it began with.
    fresh, ideal = (
        twin(list_analog_blocks(network)[0], nonidealities=None).double().eval()
        for network in (
            set_up_from(config.start, config, NewtonSimulator()).network,
            load_run(ideal_run, NewtonSimulator()).network,
        )
    )
    assert fresh.block.g_min_s == pytest.approx(low)
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(fresh(x), ideal(x), rtol=0, atol=1e-6)


def test_a_sweep_puts_the_weights_of_a_run_on_devices_with_another_window(ideal_run: Path, tmp_path: Path) -> None:
    text = f"""
do = "evaluate"
seeds = 1
[base]
run = "{ideal_run}"
[axes]
"devices.preset" = ["off", "rram-milo", "ideal"]
"""
    report = here(write_sweep(tmp_path, text), tmp_path / "out")
    assert report.passed
    off, milo, ideal = report.results.rows()
    expected = evaluate(ideal_run)
    assert off["loss"] == ideal["loss"] == pytest.approx(expected.test_loss, rel=1e-9)
    assert 0 < abs(milo["loss"] / off["loss"] - 1) < 0.2
