"""Hopfield stages from a file: the network that they become, trained with no circuit and beside one, and resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import Killed, list_differences, quiet, read_outcome, stub_pictures
from torch import nn

from cosim.analog_block import AnalogBlock
from cosim.errors import ConfigError
from cosim.simulators.newton import NewtonSimulator
from cosim.studies.gradcheck import gradcheck
from cosim.training import loop
from cosim.training import run as run_module
from cosim.training import setup as set_up_module
from cosim.training.checkpoint import check_checkpoint
from cosim.training.checkpoints import Which
from cosim.training.config import Config, SimulatorKind
from cosim.training.config_file import load_config
from cosim.training.network import build_network, list_analog_blocks
from cosim.training.run import evaluate, train
from cosim.training.setup import set_up
from cosim.training.summary import summarise
from digital.ff_ebm import FfEbm
from digital.hopfield import (
    ConvCoupling,
    DenseCoupling,
    Gradient,
    HopfieldBlock,
    HopfieldConfig,
    HopfieldPhases,
    LastLayer,
    NudgeScaling,
    Nudging,
    UnsettledWarning,
)

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "hopfield.toml"
LAST = "checkpoint.safetensors"
N_BATCHES = 4  # an epoch

# Two blocks, of images and flat, with what a checkpoint must hold besides weights: statistics, and a dropout's numbers.
DEEP = """
[data]
train_size = 80
test_size = 40
crop = 1

[[network.stages]]
kind = "conv"
channels = 3
kernel = 3
stride = 2

[[network.stages]]
kind = "batch_norm"
affine = false

[[network.stages]]
kind = "hopfield"
couplings = [{ kind = "conv", channels = 2 }]
goe_variance = 1e-3

[[network.stages]]
kind = "flatten"

[[network.stages]]
kind = "module"
module = "torch.nn.Dropout"
arguments = { p = 0.2 }

[[network.stages]]
kind = "linear"
size = 5

[[network.stages]]
kind = "hopfield"
name = "second"
couplings = [{ kind = "dense", size = 6 }, { kind = "dense", size = 4, bias = false }]
slope = [0.5, 0.7]
input_bias = true

[[network.stages]]
kind = "linear"
size = 10

[hopfield]
free_steps = 8
nudged_steps = 3

[training]
epochs = 2
batch_size = 20
learning_rate = 2e-2
"""

# The same with a circuit between the two.
MIXED = DEEP.replace(
    'kind = "linear"\nsize = 5\n',
    'kind = "analog"\n\n[[network.stages.layers]]\nsize = 5\nleak = 0.5\n',
)


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_pictures(monkeypatch.setattr)


def write(folder: Path, text: str = DEEP) -> Path:
    path = folder / "deep.toml"
    path.write_text(text, encoding="utf-8")
    return path


def read(folder: Path, *overrides: str, text: str = DEEP) -> Config:
    return load_config(write(folder, text), overrides)


def build(config: Config, *, shape: tuple[int, ...] = (1, 8, 8), seed: int = 0) -> FfEbm:
    torch.manual_seed(seed)
    simulator = NewtonSimulator() if config.has_circuit else None
    generator = torch.Generator().manual_seed(seed)
    return build_network(config, shape=shape, n_classes=10, simulator=simulator, generator=generator)


def blocks_of(network: FfEbm) -> list[HopfieldBlock]:
    return [block for block in network.energy if isinstance(block, HopfieldBlock)]


# ----------------------------------------------------------------------------------------------------- the network


def test_stages_become_blocks_with_the_numbers_of_the_file(tmp_path: Path) -> None:
    first, second = blocks_of(build(read(tmp_path, "network.stages.2.couplings.0.pool=2")))
    assert first.config == HopfieldConfig(
        input_shape=(3, 3, 3), couplings=(ConvCoupling(channels=2, pool=2),), name="block1"
    )
    assert second.config == HopfieldConfig(
        input_shape=(5,),
        couplings=(DenseCoupling(size=6), DenseCoupling(size=4, bias=False)),
        slope=(0.5, 0.7),
        input_bias=True,
        name="second",
    )
    assert first.phases == second.phases == HopfieldPhases(free_steps=8, nudged_steps=3)


def test_every_key_of_a_stage_and_of_the_section_arrives(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        "network.stages.2.couplings=["
        '{ kind = "conv", channels = 4, kernel = 2, stride = 2, padding = 0, bias = false }]',
        "network.stages.2.last_layer=clamped",
        "network.stages.2.slope=0.25",
        "hopfield.free_steps=9",
        "hopfield.nudged_steps=4",
        "hopfield.tolerance=1e-3",
        "hopfield.beta=0.1",
        "hopfield.nudging=positive",
        "hopfield.scaling=per_sample",
    )
    block, _ = blocks_of(build(config))
    assert block.config.couplings == (ConvCoupling(channels=4, kernel=2, stride=2, padding=0, bias=False),)
    assert (block.config.last_layer, block.config.slopes) == (LastLayer.CLAMPED, (0.25, 0.25))
    assert block.phases == HopfieldPhases(
        free_steps=9,
        nudged_steps=4,
        tolerance=1e-3,
        beta=0.1,
        nudging=Nudging.POSITIVE,
        scaling=NudgeScaling.PER_SAMPLE,
    )


@pytest.mark.parametrize(("word", "gradient"), [("ep", Gradient.EP), ("implicit", Gradient.ID)])
def test_one_key_chooses_the_gradient(tmp_path: Path, word: str, gradient: Gradient) -> None:
    for block in blocks_of(build(read(tmp_path, f"gradient={word}"))):
        assert block.phases.gradient is gradient


def test_weights_start_as_the_papers_or_as_torchs(tmp_path: Path) -> None:
    text = DEEP.replace("channels = 2", "channels = 40")
    for variance in (1e-3, 4e-3):
        first, _ = blocks_of(build(read(tmp_path, f"network.stages.2.goe_variance={variance}", text=text)))
        off_diagonal = first.weights["0"].detach()[..., 0, 1]
        assert float(off_diagonal.square().mean()) == pytest.approx(variance / 3, rel=0.3)
        assert not bool(first.biases["1"].any())
    first, _ = blocks_of(build(read(tmp_path, text=text.replace("goe_variance = 1e-3", ""))))
    bound = 27**-0.5  # 3 channels below, 3x3 kernels
    assert 0.9 * bound < float(first.weights["0"].detach().abs().max()) <= bound
    assert bool(first.biases["1"].any())


def test_the_generator_draws_the_weights_block_by_block(tmp_path: Path) -> None:
    network, generator = build(read(tmp_path), seed=3), torch.Generator().manual_seed(3)
    for block, variance in zip(blocks_of(network), (1e-3, None), strict=True):
        alone = HopfieldBlock(block.config, goe_variance=variance, generator=generator)
        assert all(torch.equal(p, q) for p, q in zip(block.parameters(), alone.parameters(), strict=True))


def test_nudging_and_unrolling_agree_through_the_whole_network(tmp_path: Path) -> None:
    settled = ("hopfield.free_steps=80", "hopfield.nudged_steps=40", "hopfield.beta=1e-4")
    x, found = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1)), {}
    for word in ("ep", "implicit"):
        network = build(read(tmp_path, f"gradient={word}", *settled)).double().eval()
        nn.functional.cross_entropy(network(x.double()), torch.arange(6)).backward()
        found[word] = {name: p.grad for name, p in network.named_parameters()}
    assert len(found["ep"]) == 12
    for name, wanted in found["implicit"].items():
        assert wanted is not None
        assert float(wanted.norm()) > 0
        torch.testing.assert_close(found["ep"][name], wanted, rtol=0, atol=1e-7 * float(wanted.norm()))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ('network.stages.2.couplings=[{ kind = "dense", size = 2 }, { kind = "conv", channels = 2 }]', "coupling 2: "),
        ("network.stages.2.couplings.0.kernel=9", "coupling 1: kernel = 9 is larger than the layer below, 3x3 and "),
        ("network.stages.2.couplings.0.pool=4", "coupling 1: pool = 4 is larger than what the convolution gives, 3x3"),
        ("network.stages.2.slope=[0.5, 0.5]", "2 slopes for 1 of 2 layers that have a box; give as many, or one"),
    ],
)
def test_a_stage_that_does_not_fit_is_named(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^network\.stages\[2\] \(hopfield\): hopfield block 'block1': {message}"):
        build(read(tmp_path, override))


# ----------------------------------------------------------------------------------------------------- no circuit


@pytest.mark.parametrize("gradient", ["ep", "implicit"])
def test_hopfield_stages_alone_ask_for_no_simulator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gradient: str
) -> None:
    def refuse(_section: object) -> None:
        raise AssertionError

    monkeypatch.setattr(run_module, "build_simulator", refuse)
    monkeypatch.setattr(set_up_module, "measured_k_over_q", refuse)
    config, run = read(tmp_path, f"gradient={gradient}", "simulator.name=ngspice"), tmp_path / "run"
    result = train(config, run, console=quiet())
    assert (result.simulator, result.gradient) == (None, gradient)
    # 80 and 40 images, two epochs, both blocks: 8 free steps, then 3 with each nudge, or 3 to differentiate.
    counts = {"ep": (2 * (2 * (3 * 80 + 40) + 120), 2 * (2 * (80 * (8 + 2 * 3) + 40 * 8) + 120 * 8))}
    counts["implicit"] = (2 * (2 * (80 + 40) + 120), 2 * (2 * (80 * (8 + 3) + 40 * 8) + 120 * 8))
    assert (result.relaxations, result.iterations) == counts[gradient]
    assert "ngspice" not in result.versions
    assert "no circuit" in result.lines()[1]
    found = evaluate(run)
    assert (found.simulator, found.test_accuracy, found.test_loss) == (None, result.test_accuracy, result.test_loss)
    assert evaluate(run, which=Which.BEST).test_accuracy == result.best_accuracy
    with pytest.raises(ConfigError, match="hopfield stages, no circuit that newton could relax; leave --simulator out"):
        evaluate(run, simulator=SimulatorKind.NEWTON)


def test_the_command_loads_nothing_of_ngspice(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom cosim.cli import main\n"
        "try:\n    main()\nfinally:\n"
        "    print([name for name in sys.modules if 'ngspice' in name])"
    )
    options = ["--set", "simulator.name=ngspice", "--set", "training.epochs=1", "--json", tmp_path / "result.json"]
    done = subprocess.run(
        [sys.executable, "-c", code, "train", write(tmp_path), "--out", tmp_path / "run", *options],
        env={**os.environ, "NGSPICE_LIBRARY_PATH": str(tmp_path / "none")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert json.loads((tmp_path / "result.json").read_text())["simulator"] is None
    assert not (tmp_path / "run" / "blocks.png").exists()


def test_a_simulator_and_gradcheck_have_nothing_to_do(tmp_path: Path) -> None:
    path, run = write(tmp_path), tmp_path / "run"
    train(load_config(path), run, console=quiet())
    message = "network.stages: hopfield stages only, so there is no circuit for the simulator newton, nor for gradcheck"
    with pytest.raises(ConfigError, match=message):
        set_up(load_config(path), NewtonSimulator())
    for target in (path, run):
        with pytest.raises(ConfigError, match=message):
            gradcheck(target)


def test_a_run_is_summed_up(tmp_path: Path) -> None:
    for text, names in ((DEEP, []), (MIXED, ["block2"])):
        run = tmp_path / f"run{len(names)}"
        train(read(tmp_path, text=text), run, console=quiet())
        summary = summarise(run)
        assert [block.name for block in summary.blocks] == names
        assert (summary.state.value, summary.epoch) == ("finished", 2)
        assert "hopfield" in " ".join(summary.lines())
        json.dumps(summary.to_json())
        n_weights = sum(p.numel() for p in build(read(tmp_path, text=text)).parameters())
        assert summary.weights is not None
        assert summary.weights.digital + summary.weights.conductances == n_weights


def test_a_free_phase_that_does_not_settle_is_told_of(tmp_path: Path) -> None:
    config = read(tmp_path, "hopfield.free_steps=1", "hopfield.tolerance=1e-6", "training.epochs=1")
    with pytest.warns(UnsettledWarning) as warned:
        train(config, tmp_path / "run", console=quiet())
    assert [str(w.message).split(":")[0] for w in warned] == ["hopfield block 'block1'", "hopfield block 'second'"]


def test_the_example_learns(tmp_path: Path) -> None:
    if not EXAMPLE.is_file():
        pytest.skip("no examples beside an installed wheel")
    result = train(load_config(EXAMPLE, ("training.epochs=2",)), tmp_path / "run", console=quiet())
    assert result.test_accuracy > 0.95


# ------------------------------------------------------------------------------------------------- beside a circuit


@pytest.mark.parametrize("gradient", ["ep", "implicit"])
def test_hopfield_and_analog_stages_train_together(tmp_path: Path, gradient: str) -> None:
    config = read(tmp_path, f"gradient={gradient}", text=MIXED)
    network = build(config)
    assert [type(block) for block in network.energy] == [HopfieldBlock, AnalogBlock, HopfieldBlock]
    (analog,) = list_analog_blocks(network)
    assert analog.block.name == "block2"
    result = train(config, tmp_path / "run", console=quiet())
    assert (result.simulator, result.relaxations > 0) == ("newton", True)
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    observed = {name.partition(".")[0] for name in metrics[-1] if "." in name}
    assert observed == {"block2"}
    assert evaluate(tmp_path / "run", simulator=SimulatorKind.NEWTON).test_loss == result.test_loss


def test_gradients_are_exact_through_a_circuit_between_two_blocks(tmp_path: Path) -> None:
    settled = ("gradient=implicit", "hopfield.free_steps=80", "hopfield.nudged_steps=40")
    network = build(read(tmp_path, *settled, text=MIXED)).double().eval()
    x, y = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1)).double(), torch.arange(6)

    def loss() -> torch.Tensor:
        return nn.functional.cross_entropy(network(x), y)

    loss().backward()
    generator = torch.Generator().manual_seed(2)
    for name, p in network.named_parameters():
        if name.startswith("energy.1."):
            continue  # conductances at the edges of their windows; theirs is what gradcheck is for
        assert p.grad is not None
        direction = p.grad / p.grad.norm() + torch.randn(p.shape, generator=generator, dtype=p.dtype) / p.numel()
        losses, step = [], 1e-5
        with torch.no_grad():
            for sign in (1, -2):
                p.add_(sign * step * direction)
                losses.append(float(loss()))
            p.add_(step * direction)
        slope = float((p.grad * direction).sum())
        assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(slope, rel=1e-5), name


# ---------------------------------------------------------------------------------------------- stopped and resumed


def disturb(config: Config, run: Path, batch: int, *, how: str) -> None:
    """Train and be stopped by Ctrl-C within a batch, counted from 1, or crash before it."""
    original, calls = loop.train_batch, []

    def counted(*arguments: Any) -> None:
        calls.append(0)
        if len(calls) == batch and how == "crash":
            raise Killed
        original(*arguments)
        if len(calls) == batch:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "train_batch", counted)
        with pytest.raises(KeyboardInterrupt if how == "Ctrl-C" else Killed):
            train(config, run, console=quiet())
    torch.manual_seed(99)  # another process would begin with other numbers, too


@pytest.mark.parametrize(
    "case",
    [
        (DEEP,),
        (DEEP, "gradient=implicit"),
        (DEEP, "hopfield.tolerance=1e-3", "hopfield.free_steps=60", "training.optimizer=adam"),
        (MIXED, "converters.input.bits=8"),
    ],
    ids=["ep", "implicit", "tolerance", "mixed"],
)
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path: Path, case: Sequence[str]) -> None:
    text, *overrides = case
    config = read(tmp_path, *overrides, text=text)
    train(config, tmp_path / "whole", console=quiet())
    expected = read_outcome(tmp_path / "whole")
    for batch, how in ((2, "Ctrl-C"), (4, "Ctrl-C"), (7, "Ctrl-C"), (6, "crash")):
        run = tmp_path / f"{how}{batch}"
        disturb(config, run, batch, how=how)
        tally = check_checkpoint(run / LAST)
        kept = batch if how == "Ctrl-C" else N_BATCHES  # a crash leaves the epoch's end
        assert N_BATCHES * tally.epoch + tally.batch == kept
        train(config, run, resume=Which.LAST, console=quiet())
        assert set(list_differences(expected, read_outcome(run))) <= {"previous.safetensors"}


def test_equal_seeds_give_equal_bits_and_others_others(tmp_path: Path) -> None:
    config = read(tmp_path)
    for name in ("one", "same"):
        train(config, tmp_path / name, console=quiet())
    changed = config.model_copy(update={"training": config.training.model_copy(update={"seed": 1})})
    train(changed, tmp_path / "other", console=quiet())
    one, same, other = (read_outcome(tmp_path / name) for name in ("one", "same", "other"))
    assert list_differences(one, same) == []
    assert LAST in list_differences(one, other)
