"""Any torch module as a stage: found by its name, made with its arguments, tried for the shape that comes out."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from digital.errors import StageError
from digital.module_stage import module

OWN = """
import torch
from torch import nn

class Outer(nn.Module):
    def __init__(self, size=3):
        super().__init__()
        self.linear = nn.Linear(size, size)
        self.calls = []
    def forward(self, x):
        self.calls.append(self.training)
        return x + self.linear(x)

class Noisy(nn.Module):
    def forward(self, x):
        return x + torch.randn_like(x)

class Broken(nn.Module):
    def __init__(self):
        super().__init__()
        raise KeyError("no such thing")

class Total(nn.Module):
    def forward(self, x):
        return x.sum()

function = torch.relu
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's, found through PYTHONPATH."""
    (tmp_path / "own_stages_of_a_test.py").write_text(OWN, encoding="utf-8")
    (tmp_path / "broken_stages_of_a_test.py").write_text("import not_installed_anywhere\n", encoding="utf-8")
    (tmp_path / "raising_stages_of_a_test.py").write_text("1 / 0\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "own_stages_of_a_test"
    sys.modules.pop("own_stages_of_a_test", None)


def test_a_module_of_torchs_is_made_with_its_arguments() -> None:
    stage = module((4, 8, 8), name="torch.nn.Conv2d", arguments={"in_channels": 4, "out_channels": 2, "kernel_size": 3})
    assert isinstance(stage.module, nn.Conv2d)
    assert stage.shape == (2, 6, 6)
    x = torch.linspace(-3, 3, 7)[None]
    gelu = module((7,), name="torch.nn.GELU", arguments={"approximate": "tanh"})
    assert torch.equal(gelu.module(x), nn.functional.gelu(x, approximate="tanh"))
    assert gelu.shape == (7,)


def test_a_module_of_the_users_is_found_and_left_in_training_mode(own: str) -> None:
    stage = module((5,), name=f"{own}.Outer", arguments={"size": 5})
    assert stage.shape == (5,)
    assert stage.module.training
    assert stage.module.calls == [False]  # tried once, in eval mode
    assert all(parameter.grad is None for parameter in stage.module.parameters())


@pytest.mark.parametrize("name", ["torch.nn.Dropout", "Noisy"])
def test_trying_it_leaves_no_trace_in_the_random_numbers(own: str, name: str) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    module((5,), name=name if "." in name else f"{own}.{name}")
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
def test_a_lazy_module_gets_its_size_and_weights_of_its_own() -> None:
    torch.manual_seed(3)
    lazy = module((5,), name="torch.nn.LazyLinear", arguments={"out_features": 2})
    assert lazy.shape == (2,)
    later = nn.Linear(5, 2)
    assert not torch.equal(lazy.module.weight, later.weight)
    torch.manual_seed(3)
    assert torch.equal(nn.Linear(5, 2).weight, lazy.module.weight)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("GELU", r"'GELU' has no dot; write where Python finds the class, as torch\.nn\.GELU$"),
        ("torch.nn.Gelu", r"there is no 'Gelu' in torch\.nn; did you mean 'torch\.nn\.GELU'\?$"),
        ("torch.nn.Qqqqqq", r"there is no 'Qqqqqq' in torch\.nn; name a class of it$"),
        (
            "torch.n.GELU",
            r"torch\.n\.GELU cannot be imported: there is no Python module 'torch\.n'; did .* 'torch\.nn'\?$",
        ),
        ("troch.nn.GELU", r"cannot be imported: there is no Python module 'troch'; did you mean 'torch'\?$"),
        ("qqqqqq.GELU", r"no Python module 'qqqqqq'; install it, or put its folder on PYTHONPATH$"),
        (
            "own_stages_of_a_tset.Outer",
            r"no Python module 'own_stages_of_a_tset'; did you mean 'own_stages_of_a_test'\?$",
        ),
        (
            "broken_stages_of_a_test.X",
            r"importing broken_stages_of_a_test fails: .*'not_installed_anywhere'; install what",
        ),
        (
            "raising_stages_of_a_test.X",
            r"importing raising_stages_of_a_test fails: ZeroDivisionError division by zero; ",
        ),
        ("torch.Tensor", r"torch\.Tensor is no torch\.nn\.Module class"),
        ("torch.nn.functional.relu", r"relu is no torch\.nn\.Module class; did you mean 'torch\.nn\.ReLU'\?$"),
        ("own_stages_of_a_test.function", r"function is no torch\.nn\.Module class; name one, or derive from torch"),
        ("own_stages_of_a_test.Outr", r"there is no 'Outr' in own_stages_of_a_test; did you mean '\w+\.Outer'\?$"),
    ],
)
def test_a_name_that_leads_to_no_module_class(own: str, name: str, message: str) -> None:
    with pytest.raises(StageError, match=rf"^module stage: .*{message}"):
        module((3,), name=name)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "torch.nn.GELU",
            {"approximat": "tanh"},
            r"GELU\(approximat='tanh'\) fails: .*; it takes \(approximate: str = 'none'\); did you mean 'approximate'",
        ),
        (
            "torch.nn.Linear",
            {"in_features": 3},
            r"missing 1 required .* 'out_features'; it takes \(in_features: int, out",
        ),
        (
            "torch.nn.Linear",
            {"in_features": -3, "out_features": 1},
            r"Linear\(in_features=-3, out_features=1\) fails: ",
        ),
        ("own_stages_of_a_test.Broken", {}, r"Broken\(\) fails: KeyError 'no such thing'; it takes \(\)$"),
    ],
)
def test_arguments_that_are_not_its_own(own: str, name: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(StageError, match=rf"^module stage: .*{message}"):
        module((3,), name=name, arguments=arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "torch.nn.Linear",
            {"in_features": 4, "out_features": 2},
            r"torch\.nn\.Linear does not take samples of shape \(3,\): mat1 .*; change its arguments or the stage",
        ),
        ("torch.nn.Module", {}, r"torch\.nn\.Module does not take samples of shape \(3,\): .*\"forward\""),
        (
            "torch.nn.LSTM",
            {"input_size": 3, "hidden_size": 2},
            r"torch\.nn\.LSTM gives a tuple; a stage gives one tensor",
        ),
        (
            "torch.nn.Flatten",
            {"start_dim": 0},
            r"gives shape \(6,\) for 2 samples of shape \(3,\); a stage gives one row",
        ),
        ("own_stages_of_a_test.Total", {}, r"gives shape \(\) for 2 samples"),
    ],
)
def test_samples_that_do_not_fit(own: str, name: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(StageError, match=rf"^module stage: .*{message}"):
        module((3,), name=name, arguments=arguments)
