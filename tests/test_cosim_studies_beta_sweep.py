"""Errors against beta follow the powers they must, and the balance of bias and noise is where it is known to be."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from analog_blocks import small_block
from click.testing import CliRunner
from rich.console import Console
from small_runs import SMALL, write_small
from torch import nn

from circuits import Drive
from cosim import cli
from cosim.analog_block import AnalogBlock
from cosim.converters import Adc, Converters, Crossing, Dac
from cosim.errors import StudyError
from cosim.phase_settings import DifferenceRead, NudgeScaling, Nudging, ParameterRead, PhaseSettings
from cosim.phases import NudgeResponse
from cosim.simulators.newton import NewtonSimulator
from cosim.studies import beta_errors, gradient_probe
from cosim.studies import gradcheck as gradcheck_module
from cosim.studies.beta_errors import sweep_beta
from cosim.studies.beta_plot import plot_sweep
from cosim.studies.beta_sweep import BETAS, BetaSweep
from cosim.studies.bias_and_noise import BiasAndNoise, Power, fit_bias_and_noise
from cosim.studies.converter_floor import converter_floor, solver_floor
from cosim.studies.gradcheck import check_network, gradcheck
from cosim.studies.gradient_probe import GradientProbe, off_the_edges, with_nudging
from digital.hopfield import DenseCoupling, HopfieldBlock, HopfieldConfig
from digital.losses import cross_entropy
from netlists.netlist import SolverOptions

NEWTON = NewtonSimulator()
X = torch.randn(4, 4, generator=torch.Generator().manual_seed(2))
Y = torch.arange(4) % 3
EACH_PHASE = PhaseSettings(beta=1e-3, difference_read=DifferenceRead.EACH_PHASE, parameter_read=ParameterRead.DIGITAL)


@pytest.fixture(scope="module", autouse=True)
def _fewer_differences() -> Iterator[None]:
    """One direction and few steps are enough here, and one entry of each tensor."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in (
            (beta_errors, "N_STEPS", 5),
            (beta_errors, "N_DIRECTIONS", 1),
            (gradient_probe, "N_LARGEST", 1),
            (gradient_probe, "N_RANDOM", 1),
        ):
            patch.setattr(module, name, value)
        yield


def make_network(converters: Converters | None = None, settings: PhaseSettings | None = None) -> nn.Module:
    torch.manual_seed(7)
    generator = torch.Generator().manual_seed(8)
    options = {"simulator": NEWTON, "generator": generator, "converters": converters, "settings": settings}
    return nn.Sequential(
        AnalogBlock(small_block("first", 4, 5, 3), **options),
        nn.Linear(3, 4),
        AnalogBlock(small_block("second", 4, 4, 3, drive=Drive.CURRENT), **options),
        nn.Linear(3, 3),
    )


def sweep(betas, converters: Converters | None = None, settings: PhaseSettings | None = None) -> BetaSweep:
    """Sweep with newton in place of ngspice, too."""
    network = off_the_edges(make_network(converters, settings))
    return sweep_beta(network, X, Y, cross_entropy, newton=NEWTON, ngspice=NewtonSimulator(), betas=betas)


def slope(x, y) -> float:
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


@pytest.fixture(scope="module")
def ideal() -> BetaSweep:
    return sweep(np.geomspace(1e-8, 0.1, 10))


def test_bias_is_of_second_order_centered_and_of_first_one_sided(ideal: BetaSweep) -> None:
    large = (ideal.betas > 2e-4) & (ideal.betas < 0.05)
    assert slope(ideal.betas[large], ideal.error_ep[large]) == pytest.approx(2.0, abs=0.1)
    assert slope(ideal.betas[large], ideal.error_one_sided[large]) == pytest.approx(1.0, abs=0.1)
    assert (ideal.error_one_sided[large] > 3 * ideal.error_ep[large]).all()
    np.testing.assert_array_equal(ideal.error_ngspice, ideal.error_ep)


def test_noise_grows_as_beta_falls(ideal: BetaSweep) -> None:
    assert slope(ideal.betas, ideal.floor_solver) == pytest.approx(-1.0, abs=0.02)
    assert ideal.ideal.bias is not None
    assert ideal.ideal.noise is not None
    assert ideal.ideal.bias.order == pytest.approx(2.0, abs=0.1)
    assert ideal.ideal.noise.order == pytest.approx(-1.0, abs=0.3)  # of rounding, which is as it comes
    assert (ideal.error_ep[:3] < ideal.floor_solver[:3]).all()  # newton does better than it has to


def test_the_balance_has_the_smallest_error(ideal: BetaSweep) -> None:
    balance = ideal.balance(ideal.ideal)
    assert balance is not None
    assert 1e-6 < balance < 1e-3
    at_balance = sweep([balance, 2 * balance]).error_ep[0]
    assert at_balance < 5 * ideal.error_ep.min()
    assert at_balance < ideal.error_ep[[0, -1]].min() / 10
    assert ideal.converters is None
    assert ideal.error_converters is None
    assert ideal.floor_converters is None


def test_finite_differences_have_bias_and_noise_too(ideal: BetaSweep) -> None:
    assert len(ideal.steps_fd) == len(ideal.error_fd)
    lowest = int(np.argmin(ideal.error_fd))
    assert 0 < lowest < len(ideal.steps_fd) - 1
    assert ideal.error_fd.min() < 1e-6
    assert ideal.error_fd[0] > 10 * ideal.error_fd.min()


def test_the_step_of_an_adc_that_reads_each_phase_falls_like_one_over_beta() -> None:
    found = sweep(np.geomspace(1e-3, 0.5, 7), Converters(phase=Adc(bits=14, full_scale=1.0)), EACH_PHASE)
    assert found.error_converters is not None
    assert found.floor_converters is not None
    small = found.betas < 0.05
    assert slope(found.betas[small], found.floor_converters[small]) == pytest.approx(-1.0, abs=0.02)
    assert slope(found.betas[small], found.error_converters[small]) == pytest.approx(-1.0, abs=0.3)
    balance, ideal = found.balance(found.converters), found.ideal
    assert balance is not None
    assert 0.01 < balance < 0.5
    assert ideal.balance is None or balance > 10 * ideal.balance
    assert found.advice() is not None
    assert found.advice().startswith("raise it towards ")


def test_a_difference_that_is_held_has_the_same_noise_at_every_beta() -> None:
    settings = replace(EACH_PHASE, difference_read=DifferenceRead.SAMPLE_AND_HOLD)
    found = sweep([1e-4, 1e-3, 1e-2], Converters(phase=Adc(bits=8)), settings)
    assert found.error_converters is not None
    assert found.converters is not None
    assert found.converters.noise is not None
    assert found.converters.noise.order == pytest.approx(0.0, abs=0.05)
    assert found.advice() is None


def test_ranges_that_a_run_found_follow_beta() -> None:
    settings = replace(EACH_PHASE, difference_read=DifferenceRead.SAMPLE_AND_HOLD)
    network = make_network(Converters(phase=Adc(bits=8)), settings).double().train()
    cross_entropy(network(X.double()), Y).backward()
    assert network[0].get_buffer("converter_ranges")[Crossing.DIFFERENCE] > 0
    network = off_the_edges(network)
    found = sweep_beta(network, X, Y, cross_entropy, newton=NEWTON, ngspice=NEWTON, betas=[1e-5, 1e-2])
    assert found.error_converters is not None
    assert found.floor_converters is not None
    assert found.error_converters[0] == pytest.approx(found.error_converters[1], rel=0.3)
    assert found.floor_converters[0] == pytest.approx(found.floor_converters[1], rel=0.1)


def test_one_sided_networks_are_judged_by_one_sided_errors() -> None:
    found = sweep(np.geomspace(1e-4, 0.1, 5), settings=PhaseSettings(beta=0.1, nudging=Nudging.POSITIVE))
    assert found.ideal.bias is not None
    assert found.ideal.bias.order == pytest.approx(1.0, abs=0.1)
    assert found.error(0.1) == pytest.approx(found.error_one_sided[-1])
    assert found.advice() is not None
    assert found.advice().startswith("lower it towards 0.0001")


def test_hopfield_blocks_take_part() -> None:
    config = HopfieldConfig(input_shape=(4,), couplings=(DenseCoupling(size=3),), slope=0.5, name="hopfield")
    network = off_the_edges(nn.Sequential(HopfieldBlock(config), *make_network()[1:]))
    assert ("0.weights", "0") in GradientProbe(network, X, Y, cross_entropy).of_blocks
    assert with_nudging(network, Nudging.NEGATIVE)[0].phases.nudging.value == "negative"
    assert with_nudging(network, Nudging.NEGATIVE)[2].settings.nudging is Nudging.NEGATIVE
    found = sweep_beta(network, X, Y, cross_entropy, newton=NEWTON, ngspice=NEWTON, betas=[1e-3, 1e-2])
    assert found.error_ep[0] < 1e-4
    assert (found.error_one_sided > found.error_ep).all()


# -------------------------------------------------------------------------------------------- the fit, by known curves


@pytest.mark.parametrize(
    ("orders", "constants"), [((2, -1), (3.0, 2e-9)), ((1, -1), (0.4, 1e-6)), ((2, -0.5), (9.0, 1e-5))]
)
def test_the_balance_of_a_known_curve_is_found(orders: tuple[float, float], constants: tuple[float, float]) -> None:
    (p, q), (a, c) = orders, constants
    betas = np.geomspace(1e-6, 1.0, 15)
    errors = np.hypot(a * betas**p, c * betas**q)
    found = fit_bias_and_noise(betas, errors)
    assert found.balance == pytest.approx((c / a) ** (1 / (p - q)), rel=0.02)
    assert found.bias is not None
    assert found.noise is not None
    assert (found.bias.order, found.noise.order) == pytest.approx((p, q), abs=0.02)
    rough = errors * np.exp(0.2 * np.random.default_rng(0).standard_normal(15))
    assert fit_bias_and_noise(betas, rough).balance == pytest.approx(found.balance, rel=0.3)
    known = fit_bias_and_noise(betas, errors, bias=Power(size=a, order=p))
    assert known.balance == pytest.approx(found.balance, rel=0.02)


def test_the_balance_is_where_both_parts_are_equal() -> None:
    parts = BiasAndNoise(bias=Power(size=8.0, order=2.0), noise=Power(size=1e-6, order=-1.0))
    assert parts.balance == pytest.approx(5e-3)
    assert parts.bias.at(5e-3) == pytest.approx(2e-4) == parts.noise.at(5e-3)
    assert parts.error(5e-3) == pytest.approx(math.sqrt(2) * 2e-4)


def test_a_part_that_does_not_show_is_not_made_up() -> None:
    betas = np.geomspace(1e-4, 1.0, 9)
    rising = fit_bias_and_noise(betas, 2.0 * betas**2)
    assert rising.bias is not None
    assert (rising.bias.size, rising.bias.order, rising.noise) == (pytest.approx(2.0), pytest.approx(2.0), None)
    falling = fit_bias_and_noise(betas, 3e-6 / betas)
    assert falling.noise is not None
    assert (falling.noise.order, falling.bias, falling.balance) == (pytest.approx(-1.0), None, None)
    assert fit_bias_and_noise(betas, np.full(9, 0.1)).balance is None
    assert fit_bias_and_noise(betas, np.zeros(9)).bias is None
    assert fit_bias_and_noise(betas, np.full(9, np.nan)).noise is None
    with_bias = fit_bias_and_noise(betas, 2.0 * betas**2, bias=Power(size=2.0, order=2.0))
    assert with_bias.noise is None


def test_an_adc_that_sees_no_nudge_is_left_out() -> None:
    betas = np.geomspace(1e-6, 1.0, 13)
    errors = np.hypot(0.1 * betas**2, 1e-3 / betas)
    errors[:4] = 1.0  # of a difference of zero
    assert fit_bias_and_noise(betas, errors, bias=Power(size=0.1, order=2.0)).noise.order == pytest.approx(-1, abs=0.02)


# ------------------------------------------------------------------------------------------------------------- floors


def test_floors_are_half_a_step_over_the_change() -> None:
    options, beta = SolverOptions(), 0.01
    nudge = NudgeResponse(largest_v=4e-3, rms_v=2e-3, tolerance_v=options.voltage_tolerance_v(0.5), adc_step_v=1e-4)
    assert solver_floor(nudge) == pytest.approx((1e-12 * 0.5 + 1e-13) / 2e-3)
    ds = np.array([[0.2, -0.1], [0.0, 0.0]])

    def floor(converters: Converters, **settings) -> float:
        made = PhaseSettings(beta=beta, parameter_read=ParameterRead.DIGITAL, **settings)
        block = AnalogBlock(small_block("b", 4, 5, 2), simulator=NEWTON, converters=converters, settings=made)
        return converter_floor(block, ds, nudge if converters.phase.bits else replace(nudge, adc_step_v=None))

    assert floor(Converters.ideal()) == 0.0
    assert floor(Converters(phase=Adc(bits=8))) == pytest.approx(1e-4 / 2 / 2e-3)
    lsb = 2 / 254  # 8 bits over +-1
    rms = math.sqrt((1.0 + 0.25) / 4)
    scaled = floor(Converters(nudge=Dac(bits=8)))
    assert scaled == pytest.approx(lsb / 2 / rms, rel=1e-2)
    fixed = floor(Converters(nudge=Dac(bits=8, full_scale=1.0)), scaling=NudgeScaling.NONE)
    assert fixed == pytest.approx(scaled / beta / 0.2, rel=1e-12)
    both = floor(Converters(phase=Adc(bits=8), nudge=Dac(bits=8)))
    assert both == pytest.approx(math.hypot(scaled, 0.025))


# --------------------------------------------------------------------------------------------- bad input, JSON, files


@pytest.mark.parametrize(
    ("betas", "message"),
    [
        ((0.0, 1.0), "betas = 0, 1: equilibrium propagation divides by beta, so give 2 or more finite numbers above z"),
        ((-1.0, 1.0), "above zero"),
        ((1e-3, math.nan), "finite"),
        ((1e-3, math.inf), "finite"),
        ((0.1,), "2 or more"),
        ((0.1, 0.01), "betas = 0.1, 0.01: give each once, the smallest first"),
        ((0.1, 0.1), "give each once"),
    ],
)
def test_betas_that_make_no_sweep_are_refused_before_computing(tmp_path: Path, betas, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        gradcheck(tmp_path / "nowhere.toml", betas=betas)


def test_the_command_refuses_words(tmp_path: Path) -> None:
    config = str(write_small(tmp_path))
    result = CliRunner().invoke(cli.main, ["gradcheck", config, "--betas=a,b"])
    assert result.exit_code == 2
    assert "'a,b': write numbers with commas as --betas=1e-4,1e-3,0.01" in " ".join(result.stderr.split())
    result = CliRunner().invoke(cli.main, ["gradcheck", config, "--betas=0.1,-1"])
    assert result.exit_code == 2
    assert "above zero" in result.stderr
    assert CliRunner().invoke(cli.main, ["gradcheck", "--betas", config]).exit_code == 2


def test_table_and_json(ideal: BetaSweep) -> None:
    content = json.loads(json.dumps(ideal.to_json()))
    assert content["betas"] == pytest.approx(ideal.betas)
    assert {"error_ep", "error_one_sided", "error_fd", "steps_fd", "error_converters", "optimal_beta"} <= set(content)
    assert content["optimal_beta"] == pytest.approx(ideal.ideal.balance)
    assert content["optimal_beta_converters"] is None
    assert content["beta"] == PhaseSettings().beta
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(ideal.table())
    text = console.export_text()
    assert "ideal converters: bias ~ beta^" in text
    assert "balanced at" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


def test_a_network_is_swept_with_its_check_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_newton(*args, **options):
        return check_network(*args[:4], NewtonSimulator(), **options)

    monkeypatch.setattr(gradcheck_module, "check_network", with_newton)
    config = write_small(tmp_path, f"{SMALL}\n[phases]\nbeta = 1e-3\n")
    report = gradcheck(config, out=tmp_path / "out", betas=(1e-3, 1e-2, 0.1))
    assert report.sweep is not None
    assert slope(report.sweep.betas, report.sweep.error_ep) == pytest.approx(2.0, abs=0.1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "gradcheck.png",
        "gradcheck_betas_0.001-0.1x3.png",
    ]
    assert report.sweep_plot.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert set(report.to_json()) == {"pass", "beta", "tensors", "converter_effect", "sweep"}
    assert len(report.tables()) == 2


def test_the_usual_sweep_is_the_result_of_a_run(ideal: BetaSweep, tmp_path: Path) -> None:
    assert len(BETAS) == 16
    assert BETAS[0] == 1e-7
    assert BETAS[-1] == 2.0
    names = []
    for betas, beta in ((BETAS, None), (BETAS, 0.1), ((1e-3, 0.1), None)):
        sweep = replace(ideal, betas=np.array(betas))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gradcheck_module, "plot_gradcheck", lambda *_a, **_k: None)
            patch.setattr(gradcheck_module, "plot_sweep", lambda _sweep, path: path)
            report = gradcheck_module.GradcheckReport(tensors=(), converter_effect=(), beta=0.1, plot=None, sweep=sweep)
            names.append(gradcheck_module._plotted(report, tmp_path, beta).sweep_plot.name)
    assert names == ["gradcheck_betas.png", "gradcheck_betas_beta0.1.png", "gradcheck_betas_0.001-0.1x2.png"]


def test_a_plot_of_what_is_not_finite(ideal: BetaSweep, tmp_path: Path) -> None:
    n = len(ideal.betas)
    odd = replace(
        ideal, error_one_sided=np.full(n, np.inf), error_converters=np.full(n, np.nan), error_fd=0 * ideal.error_fd
    )
    assert plot_sweep(odd, tmp_path / "odd.png").stat().st_size > 5000
    assert odd.error(0.1) == 0.0
