"""The gradient check passes on a sound network and, above all, fails on an unsound one."""

from __future__ import annotations

import errno
import io
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from analog_blocks import small_block
from cifar10_archive import npz_arrays, write_npz
from click.testing import CliRunner
from rich.console import Console
from small_runs import SMALL, write_small
from torch import nn

from circuits import Clamp, DiodeModel, Drive, EnergyBlock, NodeLayer, PiecewiseLinearDiode, Polarity
from cosim import cli, equilibrium_propagation, files, phases, reading
from cosim.analog_block import AnalogBlock
from cosim.converters import Converters
from cosim.errors import ConfigError, RunError
from cosim.phase_settings import DifferenceRead, ParameterRead, PhaseSettings
from cosim.simulators.base import AbstractSession, AbstractSimulator, OperatingPoint
from cosim.simulators.newton import NewtonSimulator
from cosim.simulators.ngspice.simulator import NgspiceSimulator
from cosim.studies import gradcheck as gradcheck_module
from cosim.studies import gradient_probe
from cosim.studies.gradcheck import GradcheckReport, TensorCheck, check_network, gradcheck
from cosim.studies.gradcheck_plot import plot_gradcheck
from cosim.twin import twin
from digital.losses import cross_entropy, mse

NEWTON = NewtonSimulator()
CONVERTERS = Converters.uniform(8)
BETA = 1e-3  # units that carry little conductance move far: with 0.01 their norms are off by more than a permille


@pytest.fixture(scope="module", autouse=True)
def _fewer_differences() -> Iterator[None]:
    """Two entries of each tensor beside the random direction are enough here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gradient_probe, "N_LARGEST", 1)
        patch.setattr(gradient_probe, "N_RANDOM", 1)
        yield


class OtherName(AbstractSimulator):
    """newton under another name, in place of ngspice; it may falsify every answer."""

    def __init__(self, noise_v: float = 0.0) -> None:
        self._noise_v = noise_v

    @property
    def name(self) -> str:
        return "other"

    @property
    def is_exact(self) -> bool:
        return self._noise_v == 0.0

    def prepare(self, netlist) -> AbstractSession:
        return _Falsified(NEWTON.prepare(netlist), self._noise_v)


class _Falsified(AbstractSession):
    def __init__(self, session: AbstractSession, noise_v: float) -> None:
        self._session, self._noise_v = session, noise_v
        self._rng = np.random.default_rng(0)

    @property
    def netlist(self):
        return self._session.netlist

    def solve(self, conductance_s, drives, **options) -> OperatingPoint:
        point = self._session.solve(conductance_s, drives, **options)
        return replace(point, voltage_v=point.voltage_v + self._noise_v * self._rng.normal(size=point.voltage_v.shape))


def make_network(
    polarity: Polarity = Polarity.DIFFERENTIAL,
    names: tuple[str, str] = ("first", "second"),
    parameter_read: ParameterRead = ParameterRead.LOCAL,
) -> nn.Module:
    torch.manual_seed(7)
    generator = torch.Generator().manual_seed(8)
    options = {
        "simulator": NEWTON,
        "generator": generator,
        "converters": CONVERTERS,
        "settings": PhaseSettings(
            beta=BETA, parameter_read=parameter_read, difference_read=DifferenceRead.SAMPLE_AND_HOLD
        ),
    }
    return nn.Sequential(
        nn.Linear(4, 4),
        nn.BatchNorm1d(4),
        AnalogBlock(small_block(names[0], 4, 5, 3, polarity=polarity), **options),
        nn.Linear(3, 4),
        AnalogBlock(small_block(names[1], 4, 4, 3, drive=Drive.CURRENT, polarity=polarity), **options),
        nn.Linear(3, 3),
    )


X = torch.randn(6, 4, generator=torch.Generator().manual_seed(2))
Y = torch.arange(6) % 3


def check(network: nn.Module, other: AbstractSimulator | None = None) -> GradcheckReport:
    return check_network(network, X, Y, NEWTON, other or OtherName())


TENSORS = {
    ("0", "weight"), ("0", "bias"), ("1", "weight"), ("1", "bias"), ("3", "weight"), ("3", "bias"), ("5", "weight"),
    ("5", "bias"), ("first", "input"), ("second", "input"), ("first", "g_plus.w1"), ("first", "g_minus.w1"),
    ("first", "g_plus.w2"), ("first", "g_minus.w2"), ("first", "g_plus.b1"), ("first", "g_minus.b1"),
    ("second", "g_plus.w2"), ("second", "g_minus.w2"), ("second", "g_plus.b1"), ("second", "g_minus.b1"),
}  # fmt: skip


@pytest.fixture(scope="module")
def report() -> GradcheckReport:
    return check(make_network())


def test_sound_network_passes(report: GradcheckReport) -> None:
    assert report.passed
    assert {(c.block, c.tensor) for c in report.tensors} == TENSORS
    assert {c.simulator for c in report.tensors} == {"newton", "other"}
    assert len(report.tensors) == 2 * len(TENSORS)
    for c in report.tensors:
        assert c.cosine_id > 1 - 1e-8
        assert c.cosine_fd > 1 - 1e-8
        assert c.norm_ratio_id == pytest.approx(1.0, abs=1e-4)
        assert c.norm_ratio_fd == pytest.approx(1.0, abs=1e-4)
    assert report.beta == BETA


def test_converters_are_reported_beside(report: GradcheckReport) -> None:
    assert {(e.block, e.tensor) for e in report.converter_effect} == TENSORS
    conductances = [e for e in report.converter_effect if e.tensor.startswith("g_")]
    assert all(0.9 < e.cosine_id < 1 - 1e-6 for e in conductances)  # eight bits are seen
    assert {e.simulator for e in report.converter_effect} == {"newton"}


def test_json_is_as_promised(report: GradcheckReport) -> None:
    content = json.loads(json.dumps(report.to_json()))
    assert set(content) == {"pass", "beta", "tensors", "converter_effect"}
    assert content["pass"] is True
    keys = {"block", "tensor", "simulator", "cosine_id", "norm_ratio_id"}
    assert all(set(row) == keys | {"cosine_fd", "norm_ratio_fd"} for row in content["tensors"])
    assert all(set(row) == keys for row in content["converter_effect"])
    assert all(isinstance(row["cosine_fd"], float) for row in content["tensors"])


def test_table_has_a_row_for_each_tensor(report: GradcheckReport) -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(report.table())
    text = console.export_text()
    assert "gradients at beta = 0.001: pass" in text
    assert text.count(" ok") == len(TENSORS)
    assert "FAIL" not in text


def test_bends_are_named_where_they_may_have_failed_the_check(report: GradcheckReport) -> None:
    assert report.advice is None
    failed = replace(report, tensors=(replace(report.tensors[0], cosine_id=0.9),))
    assert failed.advice is None  # level-1 diodes have no bend
    straight = replace(failed, bent=("second",))
    assert straight.to_json()["advice"] == straight.advice
    assert "piecewise-linear diodes in 'second'" in str(straight.advice)
    assert "advice" not in replace(report, bent=("second",)).to_json()
    bend = PiecewiseLinearDiode(threshold_v=0.1, on_resistance_ohm=1e3, off_resistance_ohm=1e8)
    for diode, names in ((DiodeModel(), ()), (bend, ("clamped",))):
        layer = NodeLayer(size=3, leak_s=2e-6, clamp=Clamp(low_v=-0.3, high_v=0.3, diode=diode))
        block = EnergyBlock(name="clamped", n_inputs=4, layers=(layer,))
        assert check(AnalogBlock(block, simulator=NEWTON)).bent == names


def test_network_is_left_as_it_was() -> None:
    network = make_network().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    check(network)
    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not network[2]._forward_pre_hooks


def test_single_polarity_and_digital_reads() -> None:
    assert check(make_network(Polarity.SINGLE, parameter_read=ParameterRead.DIGITAL)).passed


def test_network_that_is_one_block() -> None:
    block = AnalogBlock(small_block("alone", 4, 5, 3), simulator=NEWTON, settings=PhaseSettings(beta=BETA))
    lone = check(block)
    assert lone.passed
    assert {c.block for c in lone.tensors} == {"alone"}


def test_blocks_of_the_same_name_are_told_apart() -> None:
    same = check(make_network(names=("twin", "twin")))
    assert same.passed
    assert len(same.tensors) == 2 * len(TENSORS)
    assert {c.block for c in same.tensors if c.tensor == "input"} == {"2", "4"}


def test_frozen_parameters_are_not_checked() -> None:
    network = make_network()
    network[5].requires_grad_(False)
    network[2].g_plus["w1"].requires_grad_(False)
    frozen = check(network)
    assert frozen.passed
    missing = {("5", "weight"), ("5", "bias"), ("first", "g_plus.w1")}
    assert {(c.block, c.tensor) for c in frozen.tensors} == TENSORS - missing


def test_window_of_the_weights_does_not_cut_the_differences() -> None:
    # Half of all devices sit at g_min, where a finite difference would have one side only.
    network = make_network()
    with torch.no_grad():
        for parameter in network[2].parameters():
            parameter.clamp_(max=parameter.window[0])
    assert check(network).passed


# ----------------------------------------------------------------------------------- the check must be able to fail


def spoiled(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, spoil) -> GradcheckReport:
    original = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *args, **options: spoil(original(*args, **options)))
    return check(make_network())


def failing(report: GradcheckReport) -> set[tuple[str, str]]:
    return {(c.block, c.tensor) for c in report.tensors if not c.passed}


CONDUCTANCES = {name for name in TENSORS if name[1].startswith("g_")}
UPSTREAM_OF_SECOND = {name for name in TENSORS if name[0] in {"0", "1", "first", "3"}} | {("second", "input")}


@pytest.mark.parametrize("factor", [0.5, -1.0, 1.002], ids=["half", "sign", "two permille"])
def test_response_of_another_size_fails(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    report = spoiled(monkeypatch, reading, "response", lambda r: replace(r, response_v=factor * r.response_v))
    assert not report.passed
    assert failing(report) >= CONDUCTANCES
    assert report.to_json()["pass"] is False
    first = next(c for c in report.tensors if (c.block, c.tensor) == ("second", "g_plus.w2"))
    assert first.norm_ratio_id == pytest.approx(abs(factor), rel=1e-3)
    assert first.norm_ratio_fd == pytest.approx(abs(factor), rel=1e-3)
    assert first.cosine_id == pytest.approx(np.sign(factor), abs=1e-4)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(report.table())
    assert "FAIL" in console.export_text()


def test_one_device_of_the_pair_fails_by_its_norm_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # The sum over one of the two devices: cosine 1, norm ratio 0.5. Implicit gradients share the mistake, so only the
    # finite differences notice.
    def halve(found):
        return {name: (plus / 2, None if minus is None else minus / 2) for name, (plus, minus) in found.items()}

    report = spoiled(monkeypatch, phases, "conductance_gradients", halve)
    assert not report.passed
    assert failing(report) == CONDUCTANCES
    for c in report.tensors:
        if (c.block, c.tensor) in CONDUCTANCES:
            assert c.norm_ratio_id == pytest.approx(1.0, abs=1e-3)
            assert c.cosine_fd > 0.9999
            assert c.norm_ratio_fd == pytest.approx(0.5, abs=1e-3)


def test_wrong_sign_of_the_input_gradient_fails_upstream(monkeypatch: pytest.MonkeyPatch) -> None:
    original = reading.PhaseReader.read_input
    monkeypatch.setattr(reading.PhaseReader, "read_input", lambda self, *a, **k: -original(self, *a, **k))
    monkeypatch.setattr(phases, "input_gradient", lambda *args: -equilibrium_propagation.input_gradient(*args))
    report = check(make_network())
    # Two wrong signs cancel above the first block, but its input and all between the blocks are caught.
    assert failing(report) >= {("second", "input"), ("3", "weight"), ("first", "g_plus.w2")}
    assert not failing(report) & {("5", "weight"), ("second", "g_plus.w2")}


def test_mistake_of_one_simulator_is_blamed_on_it() -> None:
    report = check(make_network(), OtherName(noise_v=1e-5))
    assert not report.passed
    assert {c.simulator for c in report.tensors if not c.passed} == {"other"}


@pytest.mark.parametrize(
    ("cosine_id", "norm_id", "cosine_fd", "norm_fd", "passed"),
    [
        (1.0, 1.0, 1.0, 1.0, True),
        (0.99991, 1.0009, 0.99991, 0.9991, True),
        (0.99989, 1.0, 1.0, 1.0, False),
        (1.0, 1.0011, 1.0, 1.0, False),
        (1.0, 1.0, 0.99989, 1.0, False),
        (1.0, 1.0, 1.0, 0.9989, False),
        (float("nan"), 1.0, 1.0, 1.0, False),
        (1.0, float("nan"), 1.0, 1.0, False),
        (1.0, 1.0, 1.0, float("nan"), False),
    ],
)
def test_limits(cosine_id: float, norm_id: float, cosine_fd: float, norm_fd: float, passed: bool) -> None:
    c = TensorCheck(
        block="b", tensor="t", simulator="s", cosine_id=cosine_id, norm_ratio_id=norm_id, cosine_fd=cosine_fd,
        norm_ratio_fd=norm_fd,
    )  # fmt: skip
    assert c.passed is passed


# --------------------------------------------------------------------------------------------------- ngspice, files


@pytest.mark.ngspice
@pytest.mark.parametrize("sizes", [(12,), (12, 8), (12, 10, 8)], ids=["1 layer", "2 layers", "3 layers"])
@pytest.mark.parametrize("drive", Drive)
@pytest.mark.parametrize("polarity", Polarity)
def test_every_kind_of_block_passes_in_ngspice_at_the_default_nudge(
    polarity: Polarity, drive: Drive, sizes: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    hidden = [NodeLayer(size=n, clamp=Clamp(low_v=-0.2, high_v=0.2), bias=True, leak_s=1e-5) for n in sizes[:-1]]
    layers = (*hidden, NodeLayer(size=sizes[-1], leak_s=5e-5, bias=True))
    blocks = [
        AnalogBlock(
            EnergyBlock(name=name, n_inputs=12, layers=layers, drive=drive, polarity=polarity),
            simulator=NEWTON,
            generator=generator,
        )
        for name in ("first", "second")
    ]
    n = sizes[-1]
    network = nn.Sequential(nn.Linear(20, 12), blocks[0], nn.Linear(n, 12), blocks[1], nn.Linear(n, 5))
    x, y = 3 * torch.randn(16, 20, generator=generator), torch.randint(0, 5, (16,), generator=generator)
    network(x)
    if len(sizes) > 1:  # the diodes have to be at work, or this says little
        assert blocks[0].clamped_share is not None
        assert blocks[0].clamped_share > 0.2
    report = check_network(network, x, y, NEWTON, NgspiceSimulator())
    assert report.beta == PhaseSettings().beta
    assert report.passed


@pytest.mark.ngspice
def test_small_network_passes_in_ngspice() -> None:
    report = check_network(make_network(), X, Y, NEWTON, NgspiceSimulator())
    assert report.passed
    assert {c.simulator for c in report.tensors} == {"newton", "ngspice"}


@pytest.mark.ngspice
def test_configuration_is_checked_and_plotted(tmp_path: Path) -> None:
    config = write_small(tmp_path, f"{SMALL}\n[phases]\nbeta = {BETA}\n")
    out = tmp_path / "new" / "folder"
    report = gradcheck(config, out=out)
    assert report.passed
    assert report.plot == out / "gradcheck.png"
    assert report.plot.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert [path.name for path in out.iterdir()] == ["gradcheck.png"]
    assert "first" in {c.block for c in report.tensors}


def test_the_loss_of_the_configuration_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def noted(*_arguments: object, **options: object) -> GradcheckReport:
        asked.append(options["loss_of"])
        return found()

    monkeypatch.setattr(gradcheck_module, "check_network", noted)
    gradcheck(write_small(tmp_path, SMALL.replace("epochs = 3", 'loss = "mse"')))
    gradcheck(write_small(tmp_path))
    assert asked == [mse, cross_entropy]


def test_gradients_of_the_squared_distance_pass_too() -> None:
    report = check_network(make_network(), X, Y, NEWTON, OtherName(), loss_of=mse)
    assert report.passed
    assert {(c.block, c.tensor) for c in report.tensors} == TENSORS


def test_the_loss_is_the_probes() -> None:
    ideal = twin(make_network().double().eval(), simulator=NEWTON, converters=Converters.ideal())
    losses = [gradient_probe.GradientProbe(ideal, X, Y, loss_of).loss().item() for loss_of in (mse, cross_entropy)]
    assert losses == pytest.approx([f(ideal(X.double()), Y).item() for f in (mse, cross_entropy)])
    assert losses[0] != losses[1]


def test_a_network_without_a_circuit_is_refused(tmp_path: Path) -> None:
    path = write_small(tmp_path, f'gradient = "backprop"\n{SMALL}')
    with pytest.raises(ConfigError, match=r'gradient = "backprop" puts tanh layers in place of the circuits; none to'):
        gradcheck(path)


def test_images_are_looked_for_where_they_are_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def noted(_network: nn.Module, x: torch.Tensor, *_arguments: object, **_options: object) -> GradcheckReport:
        seen.append(tuple(x.shape))
        return found()

    monkeypatch.setattr(gradcheck_module, "check_network", noted)
    config = write_small(tmp_path, SMALL.replace("test_size = 1500", 'name = "cifar10"'))
    gradcheck(config, data=write_npz(tmp_path / "images.npz", npz_arrays()))
    assert seen == [(16, 3, 32, 32)]
    with pytest.raises(ConfigError, match="comes with scikit-learn and needs no path"):
        gradcheck(write_small(tmp_path), data=tmp_path / "images.npz")


def some_checks() -> list[TensorCheck]:
    return [
        TensorCheck(
            block="b", tensor=f"t{k}", simulator=simulator, cosine_id=c, norm_ratio_id=n, cosine_fd=c, norm_ratio_fd=n
        )
        for k, (c, n) in enumerate([(1.0, 1.0), (-1.0, 0.5), (0.0, math.inf)])
        for simulator in ("newton", "ngspice")
    ]


def found(*_arguments: object, **_options: object) -> GradcheckReport:
    return GradcheckReport(tensors=tuple(some_checks()), converter_effect=(), beta=BETA, plot=None)


def test_gradients_without_bound_are_null_in_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradcheck_module, "check_network", found)
    result = CliRunner().invoke(cli.main, ["gradcheck", str(write_small(tmp_path)), "--json", "-"])
    assert result.exit_code == 1
    rows = json.loads(result.stdout)["tensors"]
    assert [row["norm_ratio_id"] for row in rows] == [1.0, 1.0, 0.5, 0.5, None, None]


@pytest.mark.parametrize("place", ["file", "file/below", "locked"])
def test_a_folder_that_cannot_be_written_is_refused_before_computing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def too_late(*_arguments: object, **_options: object) -> None:
        raise AssertionError

    monkeypatch.setattr(gradcheck_module, "check_network", too_late)
    (tmp_path / "file").write_text("")
    (tmp_path / "locked").mkdir()
    monkeypatch.setattr(files.os, "access", lambda path, _mode: path != tmp_path / "locked")  # root may write anywhere
    result = CliRunner().invoke(cli.main, ["gradcheck", str(write_small(tmp_path)), "--out", str(tmp_path / place)])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"tellegen: cannot write {tmp_path / place}: ")
    assert (tmp_path / "file").is_file()


def test_a_full_disk_leaves_the_last_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(gradcheck_module, "check_network", found)
    monkeypatch.setattr(files.os, "fsync", full)
    config, out = write_small(tmp_path), tmp_path / "out"
    out.mkdir()
    (out / "gradcheck.png").write_bytes(b"old")
    result = CliRunner().invoke(cli.main, ["gradcheck", str(config), "--out", str(out)])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"tellegen: cannot write {out / 'gradcheck.png'}: the disk is full")
    assert [path.name for path in out.iterdir()] == ["gradcheck.png"]
    assert (out / "gradcheck.png").read_bytes() == b"old"
    with pytest.raises(RunError, match="the disk is full"):
        plot_gradcheck(some_checks(), out / "gradcheck.png", cosine=0.9999, norm=1e-3, beta=BETA)


def test_threads_are_as_before_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = []

    def noted(*_arguments: object, **_options: object) -> GradcheckReport:
        inside.append(torch.get_num_threads())
        return found()

    monkeypatch.setattr(gradcheck_module, "check_network", noted)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        gradcheck(write_small(tmp_path))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert inside == [1]


def test_plot_shows_failures_and_exact_agreement_too(tmp_path: Path) -> None:
    path = plot_gradcheck(some_checks(), tmp_path / "plot.png", cosine=0.9999, norm=1e-3, beta=BETA)
    assert path.stat().st_size > 5000
