"""From the `[simulator]` section to a simulator; what is missing is said before a run begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import quiet, small_config, stub_pictures, tiny_config

from circuits.diode import K_OVER_Q_V_PER_K
from cosim.errors import ConfigError
from cosim.simulators.newton import NewtonSimulator
from cosim.training.run import train
from cosim.training.simulators import build_simulator, measured_k_over_q


def test_newton_is_built_for_its_device(tmp_path: Path) -> None:
    section = tiny_config(tmp_path).simulator
    assert isinstance(build_simulator(section), NewtonSimulator)
    assert measured_k_over_q(section) == K_OVER_Q_V_PER_K


def test_a_device_that_is_not_here_is_refused_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(tmp_path, "simulator.device=cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r'simulator\.device = "cuda": .*; .*, or set simulator\.device = "cpu"'):
        train(config, tmp_path / "run", console=quiet())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("n_devices", "cuda", "message"),
    [
        (0, None, "built without CUDA; install a CUDA build of torch"),
        (0, "12.4", "sees no CUDA device here; check `nvidia-smi`"),
        (1, "12.4", r'sees 1 CUDA device\(s\) here, counted from 0; choose "cuda:0"'),
    ],
)
def test_what_to_do_about_a_missing_device_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_devices: int, cuda: str | None, message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: n_devices > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: n_devices)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    with pytest.raises(ConfigError, match=message):
        build_simulator(tiny_config(tmp_path, "simulator.device=cuda:1").simulator)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_run_on_cuda_learns_as_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub_pictures(monkeypatch.setattr)
    cpu = train(small_config(tmp_path), tmp_path / "cpu", console=quiet())
    cuda = train(small_config(tmp_path, "simulator.device=cuda"), tmp_path / "cuda", console=quiet())
    assert cuda.test_loss == pytest.approx(cpu.test_loss, rel=1e-3)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What ngspice's simulator is asked for, without ngspice."""
    from cosim.simulators.ngspice import library, simulator

    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(library, "find_ngspice_library", lambda: None)
    monkeypatch.setattr(simulator, "NgspiceSimulator", lambda **options: asked.append(options))
    return asked


def test_the_chunk_of_the_configuration_is_ngspices(tmp_path: Path, asked: list[dict[str, Any]]) -> None:
    build_simulator(tiny_config(tmp_path, "simulator.name=ngspice", "simulator.chunk=7").simulator)
    assert asked == [{"workers": 0, "timeout_s": 300.0, "chunk": 7, "executor_factory": None}]


def test_the_address_of_a_scheduler_becomes_an_executor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[dict[str, Any]]
) -> None:
    from cosim.simulators.ngspice import dask_executor

    monkeypatch.setattr(dask_executor, "dask_executor_factory", lambda address: f"executors of {address}")
    options = ("simulator.name=ngspice", "simulator.dask=tcp://localhost:8786")
    build_simulator(tiny_config(tmp_path, *options).simulator)
    assert asked[0]["executor_factory"] == "executors of tcp://localhost:8786"
