from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import quiet

from cosim.errors import ConfigError, RunError, StudyError
from cosim.studies import trainings as trainings_module
from cosim.studies.cifar10 import VARIANTS, cifar10_study
from cosim.studies.example import find_example
from cosim.training.config_file import load_config
from cosim.training.run import train
from cosim.training.run_folder import RunFolder

SMALL = """
[data]
name = "cifar10"

[[network.stages]]
kind = "average_pool"
kernel = 8

[[network.stages]]
kind = "flatten"

[[network.stages]]
kind = "gain"
value = 3.0

[[network.stages]]
kind = "analog"

[[network.stages.layers]]
size = 4
leak = 0.5

[[network.stages]]
kind = "linear"
size = 10

[training]
epochs = 2
batch_size = 10
learning_rate = 1e-2
"""

NEWTON_ONLY = ("backprop", "implicit", "newton")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    sets = {
        f"{kind}_{which}": values
        for which, n in (("train", 20), ("test", 10))
        for kind, values in (
            ("x", generator.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)),
            ("y", np.arange(n) % 10),
        )
    }
    np.savez(tmp_path / "images.npz", **sets)
    return tmp_path / "images.npz"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL, encoding="utf-8")
    return path


def run_study(tmp_path: Path, images: Path, config: Path, **options: Any) -> Any:
    given = {"data": images, "config": config, "n_seeds": 2, "only": NEWTON_ONLY, "command": "the command"}
    return cifar10_study(tmp_path / "study", console=quiet(), **{**given, **options})


def test_every_variant_is_trained_with_every_seed_and_kept(tmp_path: Path, images: Path, config: Path) -> None:
    comparison = run_study(tmp_path, images, config)
    assert [row.name for row in comparison.rows] == list(NEWTON_ONLY)
    assert all(len(row.accuracies) == 2 for row in comparison.rows)
    out = tmp_path / "study"
    assert json.loads((out / "study.json").read_text()) == json.loads(json.dumps(comparison.to_json()))
    assert (out / "table.md").read_text() == comparison.markdown()
    assert (out / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    configs = {name: RunFolder(path=out / name / "seed-1").read_config() for name in NEWTON_ONLY}
    assert {name: c.gradient.value for name, c in configs.items()} == {
        "backprop": "backprop",
        "implicit": "implicit",
        "newton": "ep",
    }
    assert {c.training.seed for c in configs.values()} == {1}
    gains = {name: c.network.stages[2].value for name, c in configs.items()}  # type: ignore[union-attr]  # it is a gain
    assert gains == {"backprop": 1.0, "implicit": 3.0, "newton": 3.0}  # tanh layers are not driven into saturation


def test_a_finished_training_is_read_and_not_repeated(
    tmp_path: Path, images: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run_study(tmp_path, images, config)

    def too_late(*_arguments: object, **_options: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(trainings_module, "train", too_late)
    assert run_study(tmp_path, images, config) == first


def test_an_interrupted_study_goes_on_to_the_same_numbers(
    tmp_path: Path, images: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run_study(tmp_path / "whole", images, config)
    calls: list[Path] = []

    def interrupted(settings: Any, run: Path, **options: Any) -> Any:
        calls.append(run)
        if len(calls) == 4:  # begun, and killed before its first checkpoint
            RunFolder(path=run).path.mkdir(parents=True)
            (run / "config.json").write_text(json.dumps(settings.model_dump(mode="json")))
            raise KeyboardInterrupt
        return train(settings, run, **options)

    with monkeypatch.context() as patch:
        patch.setattr(trainings_module, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_study(tmp_path, images, config)
    partial = json.loads((tmp_path / "study" / "study.json").read_text())
    assert [row["name"] for row in partial["rows"]] == ["backprop"]  # the variant that was finished
    again = run_study(tmp_path, images, config)
    assert [row.accuracies for row in again.rows] == [row.accuracies for row in whole.rows]
    assert calls[-1].parts[-2:] == ("implicit", "seed-1")


def test_another_configuration_in_the_folder_is_refused(tmp_path: Path, images: Path, config: Path) -> None:
    run_study(tmp_path, images, config, only=("backprop",), n_seeds=1)
    with pytest.raises(ConfigError, match=r"seed-0 was started with another configuration: training\.epochs is 2"):
        run_study(tmp_path, images, config, only=("backprop",), n_seeds=1, overrides=("training.epochs=3",))


def test_files_of_another_kind_are_refused(tmp_path: Path, images: Path, config: Path) -> None:
    folder = tmp_path / "study" / "backprop" / "seed-0"
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="holds files but no run"):
        run_study(tmp_path, images, config, only=("backprop",), n_seeds=1)


def test_what_it_does_not_have_is_named(tmp_path: Path, images: Path, config: Path) -> None:
    with pytest.raises(StudyError, match=r"no variant .spectre.; there are backprop, implicit, newton, "):
        run_study(tmp_path, images, config, only=("spectre",))
    with pytest.raises(StudyError, match="0 seeds; give one or more"):
        run_study(tmp_path, images, config, n_seeds=0)
    assert not (tmp_path / "study").exists()


def test_the_variants_of_the_example_are_what_they_are_called() -> None:
    example = find_example(Path("examples/cifar10.toml"))
    configs = {v.name: load_config(example, v.overrides) for v in VARIANTS}
    assert {
        name for name, c in configs.items() if c.simulator.name.value == "ngspice" and c.gradient.value == "ep"
    } == {
        "ngspice",
        "ngspice-8bit",
    }
    eight = configs["ngspice-8bit"].converters
    assert [c.bits for c in (eight.input, eight.output, eight.nudge, eight.phase)] == [8] * 4
    assert configs["ngspice"].converters.phase.bits is None
    assert configs["ngspice-8bit"].phases.parameter_read.value == "digital"


def test_a_training_that_was_killed_before_it_wrote_anything_is_begun_anew(
    tmp_path: Path, images: Path, config: Path
) -> None:
    folder = tmp_path / "study" / "backprop" / "seed-0"
    folder.mkdir(parents=True)
    (folder / "run.lock").touch()
    comparison = run_study(tmp_path, images, config, only=("backprop",), n_seeds=1)
    assert len(comparison.rows[0].accuracies) == 1
