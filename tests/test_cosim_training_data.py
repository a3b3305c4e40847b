"""The images of a configuration: where they are, how many, batch by batch, and that they stay the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from cifar10_archive import npz_arrays, write_npz
from small_runs import TINY, quiet, stub_pictures, tiny_config, write_small

from cosim.errors import ConfigError, RunError
from cosim.training.checkpoints import Which
from cosim.training.config import Config, DataSection
from cosim.training.config_file import load_config
from cosim.training.data import (
    CIFAR10_VARIABLE,
    EVALUATION_BATCH,
    evaluation_batches,
    load_data,
    training_batch,
    with_absolute_data,
    with_data,
)
from cosim.training.run import evaluate, train
from cosim.training.run_folder import RunFolder
from digital.augmentation import Augmentation
from digital.errors import DataError


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_pictures(monkeypatch.setattr)
    monkeypatch.delenv(CIFAR10_VARIABLE, raising=False)


def cifar10_config(folder: Path, *overrides: str) -> Config:
    text = TINY.replace("train_size = 60\ntest_size = 20", 'name = "cifar10"')
    return load_config(write_small(folder, text), overrides)


# -------------------------------------------------------------------------------------------------------------- where


def test_the_digits_need_no_path(tmp_path: Path) -> None:
    config = tiny_config(tmp_path)
    assert with_data(config, None) is config
    assert with_absolute_data(config) is config
    with pytest.raises(ConfigError, match=r'--data here: data\.name = "digits" comes with scikit-learn and needs no'):
        with_data(config, Path("here"))


def test_a_path_is_absolute_before_it_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    config = cifar10_config(tmp_path)
    assert with_data(config, Path("images")).data.path == str(tmp_path / "images")
    assert with_data(config, Path("~/images")).data.path == "/home/somebody/images"
    relative = cifar10_config(tmp_path, "data.path=../images.npz")
    assert Path(with_absolute_data(relative).data.path or "").is_absolute()
    assert with_absolute_data(config) is config  # nowhere is nowhere: $TELLEGEN_CIFAR10 may change


def test_the_path_comes_before_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = write_npz(tmp_path / "few.npz", npz_arrays(n_train=20))
    more = write_npz(tmp_path / "more.npz", npz_arrays(n_train=30))
    monkeypatch.setenv(CIFAR10_VARIABLE, str(more))
    assert len(load_data(cifar10_config(tmp_path).data).train) == 30
    assert len(load_data(cifar10_config(tmp_path, f"data.path={few}").data).train) == 20


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.npz"):
        load_data(cifar10_config(tmp_path, f"data.path={tmp_path / 'nowhere.npz'}").data)


# ----------------------------------------------------------------------------------------------------------- how many


def test_the_digits_are_cut_to_size_class_by_class() -> None:
    whole = load_data(DataSection())
    assert (len(whole.train), len(whole.test)) == (1437, 360)
    few = load_data(DataSection(train_size=50, test_size=20))
    assert (len(few.train), len(few.test)) == (50, 20)
    assert torch.bincount(few.train.labels).tolist() == [5] * 10
    assert torch.bincount(few.test.labels).tolist() == [2] * 10
    again, other = (load_data(DataSection(train_size=50, test_size=20, seed=seed)) for seed in (0, 1))
    assert few.fingerprint == again.fingerprint != other.fingerprint


def test_sizes_are_of_cifar10_too(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "images.npz", npz_arrays())
    data = load_data(cifar10_config(tmp_path, f"data.path={path}", "data.train_size=20", "data.test_size=10").data)
    assert (len(data.train), len(data.test), data.shape) == (20, 10, (3, 32, 32))
    with pytest.raises(DataError, match="31"):
        load_data(cifar10_config(tmp_path, f"data.path={path}", "data.train_size=31").data)


# -------------------------------------------------------------------------------------------------------------- batches


def test_a_training_batch_is_varied_as_its_generator_says() -> None:
    data, indices = load_data(DataSection(train_size=40, test_size=20)), torch.tensor([3, 1, 4, 15, 9, 2, 6])
    x, y = training_batch(data, indices, Augmentation(), torch.Generator())
    assert torch.equal(y, data.train.labels[indices])
    assert torch.equal(x, data.scaled(data.train.pixels[indices]))
    assert (x.dtype, x.shape) == (torch.float32, (7, 1, 8, 8))
    varied = Augmentation(flip=True, crop=2)
    first, again, other = (
        training_batch(data, indices, varied, torch.Generator().manual_seed(seed))[0] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, x)


def test_an_evaluation_sees_every_image_once_in_order_as_it_is() -> None:
    data = load_data(DataSection(test_size=300))
    batches = list(evaluation_batches(data, data.test))
    assert [len(y) for _, y in batches] == [EVALUATION_BATCH, 300 - EVALUATION_BATCH]
    assert torch.equal(torch.cat([y for _, y in batches]), data.test.labels)
    assert torch.equal(torch.cat([x for x, _ in batches]), data.scaled(data.test.pixels))


# ------------------------------------------------------------------------------------------------- always the same ones


@pytest.fixture
def moved(tmp_path: Path) -> tuple[Config, Path, Path]:
    """A run on images that are no longer where they were, and where they are."""
    sizes = ("data.train_size=20", "data.test_size=10")
    config = cifar10_config(tmp_path, f"data.path={write_npz(tmp_path / 'images.npz', npz_arrays())}", *sizes)
    train(config, tmp_path / "run", console=quiet())
    shutil.move(tmp_path / "images.npz", tmp_path / "elsewhere.npz")
    return config, tmp_path / "run", tmp_path / "elsewhere.npz"


def test_images_may_move(moved: tuple[Config, Path, Path]) -> None:
    config, run, path = moved
    with pytest.raises(DataError, match=r"images\.npz"):
        evaluate(run)
    result = evaluate(run, data=path)
    assert result.epochs == 2
    again = train(with_data(config, path), run, resume=Which.LAST, console=quiet())
    assert again.test_accuracy == result.test_accuracy


def test_other_images_are_refused(moved: tuple[Config, Path, Path], tmp_path: Path) -> None:
    config, run, _ = moved
    arrays = npz_arrays()
    arrays["x_train"] = arrays["x_train"].copy()
    arrays["x_train"][:, 5, 5, 0] ^= 1  # one bit of one pixel of each
    other = write_npz(tmp_path / "other.npz", arrays)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    message = r"run: was trained on other images than those found now \(20 and 10 held out\); .* with --data PATH"
    with pytest.raises(RunError, match=message):
        evaluate(run, data=other)
    with pytest.raises(RunError, match=message):
        train(with_data(config, other), run, resume=Which.LAST, console=quiet())
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_another_split_of_the_digits_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tiny_config(tmp_path), run, console=quiet())
    text = (run / "config.json").read_text()
    (run / "config.json").write_text(text.replace('"seed": 0', '"seed": 1', 1))
    assert RunFolder(path=run).read_config().data.seed == 1
    with pytest.raises(RunError, match="was trained on other images"):
        evaluate(run)
