"""Training on a CUDA device: refused where there is none, and nothing of it stays on the processor where there is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import end_at, quiet, stub_pictures, tiny_config
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cosim.errors import ConfigError
from cosim.training import placement
from cosim.training.checkpoint import Progress, Tally, format_checkpoint, load_checkpoint
from cosim.training.checkpoints import Which
from cosim.training.config import Config
from cosim.training.data import augmentation_of, evaluation_batches, training_batch
from cosim.training.network import build_network
from cosim.training.placement import (
    DEVICE_GENERATOR,
    check_device,
    device_generators,
    evaluation_device,
    full_precision,
)
from cosim.training.run import evaluate, train
from cosim.training.trainer import LOSSES, Average, build_optimizer, build_scheduler, score, train_batch
from digital.images import ImageDataset, ImageSet

CPU = torch.device("cpu")


def test_a_device_that_is_not_here_is_refused_before_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = tiny_config(tmp_path, "training.device=cuda:1")
    with pytest.raises(ConfigError, match=r'training\.device = "cuda:1": .*; .*, or set training\.device = "cpu"'):
        train(config, tmp_path / "run", console=quiet())
    assert not (tmp_path / "run").exists()


def test_a_device_is_one_of_those_that_torch_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert check_device("cpu", "training.device") == CPU
    assert check_device("cuda", "training.device") == torch.device("cuda", 0)  # the index is always said
    assert evaluation_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(ConfigError, match=r'"cuda:2": torch sees 2 CUDA device\(s\) here, counted from 0'):
        check_device("cuda:2", "training.device")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert evaluation_device("cuda:1") == CPU
    assert device_generators(CPU) == {}


def test_products_have_all_bits_for_a_while() -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        with full_precision():
            assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (False, False)
        assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (True, before[1])
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before[0]


@pytest.mark.usefixtures("_no_pictures")
def test_a_run_of_a_device_is_evaluated_and_goes_on_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patch:
        end_at(patch, 3, how="Ctrl-C")  # of two batches an epoch
        with pytest.raises(KeyboardInterrupt):
            train(tiny_config(tmp_path), run, console=quiet())
    expected = train(tiny_config(tmp_path), tmp_path / "whole", console=quiet())
    config = (
        (run / "config.json")
        .read_text()
        .replace('"device": "cpu",\n    "checkpoint', '"device": "cuda",\n    "checkpoint')
    )
    (run / "config.json").write_text(config)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert '"device": "cuda"' in config
    assert evaluate(run).epochs == 1
    result = train(tiny_config(tmp_path), run, resume=Which.LAST, console=quiet())
    assert result.test_loss == expected.test_loss


@pytest.fixture
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_pictures(monkeypatch.setattr)


def progress_with(**generators: torch.Generator) -> Progress:
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    return Progress(model=model, optimizer=optimizer, scheduler=scheduler, generators=generators)


def test_a_checkpoint_with_the_generator_of_a_device_is_read_without_one(tmp_path: Path) -> None:
    def seeded(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(
        format_checkpoint(progress_with(order=seeded(1), **{DEVICE_GENERATOR: seeded(2)}), Tally(images="x"))
    )
    alone, both = progress_with(order=seeded(7)), progress_with(order=seeded(7), **{DEVICE_GENERATOR: seeded(8)})
    for progress in (alone, both):
        load_checkpoint(path, progress)
        assert torch.equal(progress.generators["order"].get_state(), seeded(1).get_state())
    assert torch.equal(both.generators[DEVICE_GENERATOR].get_state(), seeded(2).get_state())
    path.write_bytes(format_checkpoint(progress_with(order=seeded(1)), Tally(images="x")))
    load_checkpoint(path, both)  # of a run on the processor: the device goes on from its seed


class OneDevice(TorchDispatchMode):
    """Refuse every operation but a copy that has tensors of two devices; numbers may be anywhere."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        tensors = [t for t in tree_leaves((args, kwargs or {})) if isinstance(t, Tensor) and t.ndim > 0]
        if str(func) not in {"aten._to_copy.default", "aten.copy_.default"}:
            devices = {t.device.type for t in tensors}
            assert len(devices) <= 1, f"{func} of {[(t.device.type, tuple(t.shape)) for t in tensors]}"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("gradient", ["ep", "implicit"])
def test_a_step_and_an_evaluation_stay_on_one_device(monkeypatch: pytest.MonkeyPatch, gradient: str) -> None:
    # torch's "meta" device, which every machine has, holds shapes without numbers; so numbers are made up.
    for name, value in (("__bool__", True), ("__float__", 0.0), ("__int__", 0)):
        monkeypatch.setattr(Tensor, name, lambda _, value=value: value)
    meta, hopfield = torch.device("meta"), {"free_steps": 2, "nudged_steps": 3}
    config = Config.model_validate(
        {"preset": "paper-l6-bs2", "width": 0.02, "gradient": gradient, "hopfield": hopfield, "training": {"epochs": 2}}
    )
    network = build_network(config, shape=(3, 32, 32), n_classes=10, simulator=None, generator=torch.Generator())
    network.to(meta)
    images = ImageSet(pixels=torch.zeros(8, 3, 32, 32, dtype=torch.uint8), labels=torch.zeros(8, dtype=torch.int64))
    data = ImageDataset(name="x", n_classes=10, train=images, test=images, mean=(1.0,) * 3, std=(1.0,) * 3)
    optimizer = build_optimizer(config.training, network)
    scheduler, loss_of = build_scheduler(config.training, optimizer, 4), LOSSES[config.training.loss]
    with OneDevice():
        batch = training_batch(data, torch.arange(4), augmentation_of(config.data), torch.Generator(), meta)
        train_batch(network, optimizer, scheduler, loss_of, batch, Average())
        score(network, loss_of, evaluation_batches(data, images, meta))
    assert batch[0].device == batch[1].device == meta
    assert all(p.grad is not None and p.grad.device == meta for p in network.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.usefixtures("_no_pictures")
def test_a_run_on_cuda_learns_as_on_the_cpu_and_goes_on_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = train(tiny_config(tmp_path, "network.stages.1={ kind = 'relu' }"), tmp_path / "cpu", console=quiet())
    options = ("network.stages.1={ kind = 'relu' }", "training.device=cuda")
    cuda = train(tiny_config(tmp_path, *options), tmp_path / "cuda", console=quiet())
    assert cuda.test_loss == pytest.approx(cpu.test_loss, rel=1e-3)
    monkeypatch.setattr(placement.torch.cuda, "is_available", lambda: False)
    again = train(tiny_config(tmp_path, options[0]), tmp_path / "cuda", resume=Which.LAST, console=quiet())
    assert again.test_loss == pytest.approx(cuda.test_loss, rel=1e-4)
