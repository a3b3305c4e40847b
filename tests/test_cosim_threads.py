"""Threads are limited inside a block or a public function, and are as before afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import quiet, stub_pictures, tiny_config
from threadpoolctl import threadpool_info, threadpool_limits

from cosim.errors import ConfigError
from cosim.threads import one_thread, one_torch_thread
from cosim.training import setup as set_up_module
from cosim.training.run import evaluate, train


@pytest.fixture
def _three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def count_threads() -> tuple[int, ...]:
    """Threads of torch, then of each BLAS."""
    return torch.get_num_threads(), *(p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas")


@pytest.mark.usefixtures("_three_threads")
@pytest.mark.parametrize("what", ["train", "evaluate", "refused"])
def test_threads_are_as_before_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    stub_pictures(monkeypatch.setattr)
    if what == "evaluate":
        train(tiny_config(tmp_path, "training.epochs=1"), tmp_path / "run", console=quiet())
    inside = []
    original = set_up_module.build_network

    def noted(*arguments: Any, **options: Any) -> Any:
        inside.append(count_threads())
        return original(*arguments, **options)

    monkeypatch.setattr(set_up_module, "build_network", noted)
    with threadpool_limits(limits=2, user_api="blas"):
        before = count_threads()
        match what:
            case "train":
                train(tiny_config(tmp_path, "training.epochs=1"), tmp_path / "run", console=quiet())
            case "evaluate":
                evaluate(tmp_path / "run")
            case _:
                with pytest.raises(ConfigError):
                    train(tiny_config(tmp_path, "network.stages.4.size=9"), tmp_path / "run", console=quiet())
        after = count_threads()
    assert after == before
    assert before[0] == 3
    assert [set(threads) for threads in inside] == [{1}]


@pytest.mark.usefixtures("_three_threads")
def test_one_thread_is_a_block_and_gives_back() -> None:
    with one_thread():
        assert torch.get_num_threads() == 1
        with one_torch_thread():
            pass
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
