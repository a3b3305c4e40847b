"""ngspice's own gradients: they agree with nudged phases as beta goes to 0, and where they do not it is seen."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from analog_blocks import small_block
from click.testing import CliRunner
from rich.console import Console
from small_runs import SMALL, write_small
from torch import nn

from circuits import Drive, Polarity
from cosim import cli
from cosim.analog_block import AnalogBlock, Gradient
from cosim.converters import Converters
from cosim.phase_settings import NudgeScaling, Nudging, PhaseSettings
from cosim.relaxation import Reduce, RelaxationOptions
from cosim.simulators.newton import NewtonSimulator
from cosim.simulators.ngspice.simulator import NgspiceSimulator
from cosim.simulators.ngspice.small_signal import NgspiceAcSession, NgspiceAcSimulator
from cosim.studies import gradient_probe
from cosim.studies.ac_check import EP_LIMIT, ID_LIMIT, AcCheck, ac_table, check_ac, relative_error
from cosim.studies.gradient_probe import GradientProbe, off_the_edges, with_hopfield_gradient
from cosim.twin import twin
from digital.hopfield import DenseCoupling, HopfieldBlock, HopfieldConfig
from digital.hopfield import Gradient as HopfieldGradient
from digital.losses import cross_entropy

NEWTON = NewtonSimulator()
X = torch.randn(4, 4, generator=torch.Generator().manual_seed(2))
Y = torch.arange(4) % 3


def make_network(reduce: Reduce = Reduce.MIRROR, polarity: Polarity = Polarity.DIFFERENTIAL) -> nn.Module:
    torch.manual_seed(7)
    generator = torch.Generator().manual_seed(8)
    options = {
        "simulator": NEWTON,
        "generator": generator,
        "converters": Converters.uniform(8),
        # Nothing of this counts here: the comparison has phases of its own.
        "settings": PhaseSettings(beta=0.5, nudging=Nudging.POSITIVE, scaling=NudgeScaling.NONE),
        "relaxation": RelaxationOptions(reduce=reduce),
    }
    return nn.Sequential(
        nn.Linear(4, 4),
        AnalogBlock(small_block("first", 4, 5, 3, polarity=polarity), **options),
        nn.Linear(3, 4),
        AnalogBlock(small_block("second", 4, 4, 3, drive=Drive.CURRENT, polarity=polarity), **options),
        nn.Linear(3, 3),
    )


def check(network: nn.Module) -> tuple[AcCheck, ...]:
    network = off_the_edges(network)
    unrolled = with_hopfield_gradient(network, HopfieldGradient.ID)
    exact = twin(unrolled, simulator=NEWTON, gradient=Gradient.IMPLICIT, converters=Converters.ideal())
    reference = GradientProbe(exact, X, Y, cross_entropy).gradients()
    simulator = NgspiceSimulator()
    return check_ac(
        network, X, Y, cross_entropy, reference=reference, simulator=simulator, ac=NgspiceAcSimulator(simulator)
    )


@pytest.mark.ngspice
@pytest.mark.parametrize(
    ("reduce", "polarity"),
    [(Reduce.MIRROR, Polarity.DIFFERENTIAL), (Reduce.NONE, Polarity.DIFFERENTIAL), (Reduce.FOLD, Polarity.SINGLE)],
)
def test_every_tensor_agrees(reduce: Reduce, polarity: Polarity) -> None:
    checks = check(make_network(reduce, polarity))
    assert {(c.block, c.tensor) for c in checks} >= {("0", "weight"), ("first", "g_plus.w1"), ("second", "input")}
    for c in checks:
        assert c.relative_error_ep < 1e-6, c
        assert c.relative_error_id < 1e-9, c
        assert c.passed


@pytest.mark.ngspice
def test_a_hopfield_block_is_unrolled_and_gets_what_the_circuit_hands_upstream() -> None:
    config = HopfieldConfig(input_shape=(4,), couplings=(DenseCoupling(size=3),), slope=0.5, name="hopfield")
    network = nn.Sequential(HopfieldBlock(config), *make_network()[2:])
    checks = {(c.block, c.tensor): c for c in check(network)}
    assert ("0.weights", "0") in checks
    assert max(c.relative_error_ep for c in checks.values()) < 1e-6
    assert max(c.relative_error_id for c in checks.values()) < 1e-9


@pytest.mark.ngspice
@pytest.mark.parametrize("factor", [-1.0, 0.5, 1.001], ids=["sign", "half", "a permille"])
def test_a_wrong_linearisation_fails_by_its_norm(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    original = NgspiceAcSession.small_signal
    monkeypatch.setattr(NgspiceAcSession, "small_signal", lambda *a, **k: factor * original(*a, **k))
    checks = {(c.block, c.tensor): c for c in check(make_network())}
    found = checks["second", "g_plus.w2"]
    assert not found.passed
    assert found.relative_error_id == pytest.approx(abs(factor - 1), rel=1e-3)
    assert found.relative_error_ep == pytest.approx(abs(1 / factor - 1), rel=1e-3)
    assert checks["4", "weight"].passed  # behind the blocks nothing is linearised


def test_limits() -> None:
    def passed(ep: float, id_: float) -> bool:
        return AcCheck(block="b", tensor="t", relative_error_ep=ep, relative_error_id=id_).passed

    assert passed(EP_LIMIT, ID_LIMIT)
    assert not passed(1.01 * EP_LIMIT, 0.0)
    assert not passed(0.0, 1.01 * ID_LIMIT)
    assert not passed(float("nan"), 0.0)
    assert not passed(0.0, float("nan"))


def test_relative_errors_are_of_norms() -> None:
    value = np.array([3.0, 4.0])
    assert relative_error(1.5 * value, value) == pytest.approx(0.5)
    assert relative_error(-value, value) == pytest.approx(2.0)
    assert relative_error(0 * value, 0 * value) == 0.0
    assert relative_error(value, 0 * value) == float("inf")


def test_the_table_fits_a_terminal() -> None:
    checks = [AcCheck(block="block1", tensor=f"g_plus.w{k}", relative_error_ep=e, relative_error_id=1e-12)
              for k, e in enumerate((1e-9, 0.5))]  # fmt: skip
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(ac_table(checks))
    text = console.export_text()
    assert "gradients by ngspice's .ac: FAIL" in text
    assert text.count(" ok ") == 1
    assert "5e-01" in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.ngspice
def test_the_command_writes_what_it_compared(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("N_LARGEST", "N_RANDOM"):
        monkeypatch.setattr(gradient_probe, name, 1)
    config = write_small(tmp_path, f"{SMALL}\n[phases]\nbeta = 1e-3\n")
    result = CliRunner().invoke(cli.main, ["gradcheck", str(config), "--ac", "--json", "-"])
    assert result.exit_code == 0, result.stderr
    content = json.loads(result.stdout)
    assert set(content) == {"pass", "beta", "tensors", "converter_effect", "ac"}
    assert {tuple(row) for row in content["ac"]} == {("block", "tensor", "relative_error_ep", "relative_error_id")}
    assert max(row["relative_error_ep"] for row in content["ac"]) < 1e-6
    assert "gradients by ngspice's .ac: pass" in result.stderr
    original = NgspiceAcSession.small_signal
    monkeypatch.setattr(NgspiceAcSession, "small_signal", lambda *a, **k: 0.5 * original(*a, **k))
    result = CliRunner().invoke(cli.main, ["gradcheck", str(config), "--ac", "--json", "-"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["pass"] is False
