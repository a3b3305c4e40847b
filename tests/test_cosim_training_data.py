"""The images of a configuration: where they are, how many, batch by batch, and that they stay the same."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cifar10_archive import npz_arrays, write_npz
from small_runs import TINY, quiet, stub_pictures, tiny_config, write_small

from cosim.errors import ConfigError, RunError
from cosim.training.checkpoints import Which
from cosim.training.config import Config, DataSection, DatasetKind
from cosim.training.config_file import load_config
from cosim.training.data import (
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
from digital.cifar10 import CIFAR10
from digital.cifar100 import CIFAR100
from digital.errors import DataError


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    stub_pictures(monkeypatch.setattr)
    monkeypatch.delenv(CIFAR10.variable, raising=False)


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
    monkeypatch.setenv(CIFAR10.variable, str(more))
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


# --------------------------------------------------------------------------------------------------- scaled, and others


def test_a_configuration_may_scale_pixels_otherwise(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "images.npz", npz_arrays())
    own = load_data(cifar10_config(tmp_path, f"data.path={path}").data)
    options = ("data.mean=[0.5, 0.25, 0.125]", "data.std=[0.5, 1, 2]")
    other = load_data(cifar10_config(tmp_path, f"data.path={path}", *options).data)
    pixels = own.train.pixels[:3]
    by_hand = (pixels / 255 - torch.tensor([0.5, 0.25, 0.125])[:, None, None]) / torch.tensor([0.5, 1, 2])[
        :, None, None
    ]
    torch.testing.assert_close(other.scaled(pixels), by_hand, rtol=1e-5, atol=1e-6)
    assert own.fingerprint == other.fingerprint
    digits = load_data(DataSection(mean=(0.25,), std=(0.5,)))  # whose largest pixel is 16
    assert digits.scaled(torch.tensor([[[16]]], dtype=torch.uint8)).item() == 1.5
    with pytest.raises(
        DataError, match=r'data\.std = \[1\.0\]: 1 numbers, but the images of data\.name = "cifar10" have 3'
    ):
        load_data(cifar10_config(tmp_path, f"data.path={path}", "data.std=[1.0]").data)


def test_cifar_100_is_found_by_its_own_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = npz_arrays()
    arrays["y_train"] = np.arange(30) * 3
    monkeypatch.setenv("TELLEGEN_CIFAR100", str(write_npz(tmp_path / "hundred.npz", arrays)))
    data = load_data(DataSection(name=DatasetKind.CIFAR100, train_size=30))
    assert (data.name, data.n_classes, int(data.train.labels.max())) == ("cifar100", 100, 87)


def test_cifar_100_is_downloaded_from_its_own_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TELLEGEN_CIFAR100", raising=False)
    asked: list[Any] = []

    def fetch(**options: Any) -> Path:
        asked.append(options)
        raise DataError("no network in tests")

    monkeypatch.setattr("digital.download.fetch_cifar100", fetch)
    for url in (None, "https://mirror/c.tar.gz"):
        with pytest.raises(DataError, match="no network"):
            load_data(DataSection(name=DatasetKind.CIFAR100, url=url))
    assert [options["url"] for options in asked] == [CIFAR100.url, "https://mirror/c.tar.gz"]


def test_imagenet32_without_a_path_says_where_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TELLEGEN_IMAGENET32", raising=False)
    with pytest.raises(DataError, match=r'"imagenet32": there is no free download; .*image-net\.org/download-images'):
        load_data(DataSection(name=DatasetKind.IMAGENET32))
    monkeypatch.setenv("TELLEGEN_IMAGENET32", "/nowhere/imagenet32")
    with pytest.raises(DataError, match="/nowhere/imagenet32: no such folder"):
        load_data(DataSection(name=DatasetKind.IMAGENET32))


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
