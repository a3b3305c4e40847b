"""Are the gradients right? Equilibrium propagation against implicit differentiation and finite differences.

Everything is done on a copy of the network in float64 with ideal converters and its digital stages in eval mode.
Devices at an edge of their window are moved inside by a thousandth of it, so that finite differences have both sides.
Devices, if the network has any, hold what weights ask for, and sources have no errors of gain: what devices, sources
and converters then do to the gradients is the last column, in which no limit is set. Where asked for, ngspice's own
small-signal analysis is compared too (`ac_check`), and errors are measured over a sweep of beta (`beta_errors`).
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from circuits.junctions import piecewise_linear_columns
from digital.hopfield import Gradient as HopfieldGradient
from digital.losses import cross_entropy

from ..analog_block import AnalogBlock, Gradient
from ..converters import Converters
from ..errors import ConfigError
from ..files import make_folder
from ..phase_settings import PhaseSettings
from ..simulators.base import AbstractSimulator
from ..simulators.newton import NewtonSimulator
from ..simulators.ngspice.simulator import NgspiceSimulator
from ..simulators.ngspice.small_signal import NgspiceAcSimulator
from ..threads import one_thread
from ..training.config import Config, GradientKind
from ..training.config_file import load_config
from ..training.data import with_data
from ..training.device_window import in_device_window
from ..training.run_folder import RunFolder
from ..training.setup import load_run, set_up
from ..training.start import complete_tables
from ..training.trainer import LOSSES, Loss
from ..twin import twin
from .ac_check import check_ac
from .agreement import cosine_and_norm_ratio
from .beta_errors import sweep_beta
from .beta_plot import plot_sweep
from .beta_sweep import BETAS
from .bias_and_noise import require_betas
from .gradcheck_plot import plot_gradcheck
from .gradcheck_report import COSINE_LIMIT, NORM_LIMIT, ConverterEffect, GradcheckReport, TensorCheck
from .gradient_probe import GradientProbe, off_the_edges, with_beta, with_devices_as_asked, with_hopfield_gradient
from .target import require_target

N_SAMPLES = 16


@one_thread()
def gradcheck(
    target: Path,
    *,
    out: Path | None = None,
    beta: float | None = None,
    ac: bool = False,
    betas: Sequence[float] | None = None,
    data: Path | None = None,
    seed: int = 0,
    console: Console | None = None,
) -> GradcheckReport:
    """Check the gradients of a run's network, or of a configuration's network with its initial weights.

    Args:
        target: run folder, or configuration file.
        out: folder that gets the plots, made if missing; a run folder gets its own by default, a configuration none.
        beta: another nudge than the network's own.
        ac: whether to read the gradients out of ngspice itself, too, by small-signal analysis.
        betas: nudges to measure errors at, rising; None for no sweep.
        data: where the images are, if not where the configuration says.
        seed: of the entries and directions of the finite differences.
        console: where the progress of a sweep is shown.

    Returns:
        the report.

    Raises:
        ConfigError, RunError: if the target cannot be read, or has no circuit.
        DataError: if the images are not there.
        RunError: if the folder cannot be written to, before anything is computed.
        StudyError: for betas that are not finite, above zero and rising, or fewer than two.
        SimulatorNotFound: if ngspice is not installed.
    """
    newton = NewtonSimulator()
    if betas is not None:
        require_betas(np.array(betas, dtype=np.float64))
    require_target(target)
    is_run = target.is_dir()
    config = with_data(RunFolder(path=target).read_config() if is_run else _load(target), data)
    if not is_run and config.start is not None:
        raise ConfigError(
            f"{target}: begins with the weights of {config.start.run}, which a check of its own would not; train "
            "it, and check that run"
        )
    if config.gradient is GradientKind.BACKPROP:
        raise ConfigError(f'{target}: gradient = "backprop" puts tanh layers in place of the circuits; none to check')
    setup = load_run(target, newton, config=config) if is_run else set_up(in_device_window(config), newton)
    folder = out if out is not None else (target if is_run else None)
    if folder is not None:
        make_folder(folder)
    samples = setup.data.train.take(torch.arange(min(N_SAMPLES, len(setup.data.train))))
    x, loss = setup.data.scaled(samples.pixels), LOSSES[config.training.loss]
    network = setup.network if beta is None else with_beta(setup.network, beta)
    with closing(NgspiceSimulator()) as ngspice:
        report = check_network(
            network,
            x,
            samples.labels,
            newton,
            ngspice,
            loss_of=loss,
            seed=seed,
            ac=NgspiceAcSimulator(ngspice) if ac else None,
            betas=betas,
            console=console,
        )
    return report if folder is None else _plotted(report, folder, beta)


def _plotted(report: GradcheckReport, folder: Path, beta: float | None) -> GradcheckReport:
    """Draw a report into a folder; an experiment, with a nudge or a sweep of one's own, replaces no result."""
    own = "" if beta is None else f"_beta{beta:g}"
    plot = folder / f"gradcheck{own}.png"
    plot_gradcheck(report.tensors, plot, cosine=COSINE_LIMIT, norm=NORM_LIMIT, beta=report.beta)
    if report.sweep is None:
        return replace(report, plot=plot)
    betas = report.sweep.betas
    span = "" if tuple(betas) == BETAS else f"_{betas[0]:g}-{betas[-1]:g}x{len(betas)}"
    sweep_plot = folder / f"gradcheck_betas{span}{own}.png"
    return replace(report, plot=plot, sweep_plot=plot_sweep(report.sweep, sweep_plot))


def _load(path: Path) -> Config:
    """Read a configuration; one that begins with a run is completed, to be refused for that alone."""
    return load_config(path, complete=lambda tables: complete_tables(tables, None))


def check_network(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    newton: AbstractSimulator,
    ngspice: AbstractSimulator,
    *,
    loss_of: Loss = cross_entropy,
    seed: int = 0,
    ac: AbstractSimulator | None = None,
    betas: Sequence[float] | None = None,
    console: Console | None = None,
) -> GradcheckReport:
    """Check the gradients of a loss of a network with analog blocks; hopfield blocks among them are unrolled for ID.

    Args:
        network: any module that contains `AnalogBlock`s.
        x: [batch, ...] samples.
        y: [batch] classes.
        newton: reference for implicit differentiation and finite differences.
        ngspice: the other simulator.
        loss_of: mean loss of logits and classes.
        seed: of the entries and directions of the finite differences.
        ac: ngspice with its small-signal analysis; None to leave that comparison out.
        betas: nudges to measure errors at, rising; None for no sweep.
        console: where the progress of a sweep is shown.

    Returns:
        the report, without plots.
    """
    made, ideal = with_hopfield_gradient(off_the_edges(network), HopfieldGradient.EP), Converters.ideal()
    network = with_devices_as_asked(made)
    unrolled = with_hopfield_gradient(network, HopfieldGradient.ID)
    exact = GradientProbe(twin(unrolled, simulator=newton, gradient=Gradient.IMPLICIT, converters=ideal), x, y, loss_of)
    reference = exact.gradients()
    generator = np.random.default_rng(seed)
    differences = {name: exact.differences(name, gradient, generator) for name, gradient in reference.items()}
    checks: list[TensorCheck] = []
    for simulator in (newton, ngspice):
        probe = GradientProbe(twin(network, simulator=simulator, gradient=Gradient.EP, converters=ideal), x, y, loss_of)
        for (block, tensor), gradient in probe.gradients().items():
            chosen, direction, measured = differences[block, tensor]
            estimated = np.append(gradient.ravel()[chosen], (gradient * direction).sum())
            cosine_id, norm_id = cosine_and_norm_ratio(gradient, reference[block, tensor])
            cosine_fd, norm_fd = cosine_and_norm_ratio(estimated, measured)
            checks.append(
                TensorCheck(
                    block=block,
                    tensor=tensor,
                    simulator=simulator.name,
                    cosine_id=cosine_id,
                    norm_ratio_id=norm_id,
                    cosine_fd=cosine_fd,
                    norm_ratio_fd=norm_fd,
                )
            )
    real = GradientProbe(twin(made, simulator=newton, gradient=Gradient.EP), x, y, loss_of).gradients()
    effects = []
    for (block, tensor), gradient in real.items():
        cosine, norm = cosine_and_norm_ratio(gradient, reference[block, tensor])
        effects.append(
            ConverterEffect(block=block, tensor=tensor, simulator=newton.name, cosine_id=cosine, norm_ratio_id=norm)
        )
    blocks = [m for m in network.modules() if isinstance(m, AnalogBlock)]
    nudges = [m.settings.beta for m in blocks]
    return GradcheckReport(
        tensors=tuple(checks),
        converter_effect=tuple(effects),
        beta=max(nudges, default=PhaseSettings().beta),
        plot=None,
        bent=tuple(m.block.name for m in blocks if len(piecewise_linear_columns(m.circuit.circuit).device)),
        ac=None if ac is None else check_ac(network, x, y, loss_of, reference=reference, simulator=ngspice, ac=ac),
        sweep=None
        if betas is None
        else sweep_beta(
            network, x, y, loss_of, newton=newton, ngspice=ngspice, betas=betas, seed=seed, console=console
        ),
    )
