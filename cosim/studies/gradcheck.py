"""Are the gradients right? Equilibrium propagation against implicit differentiation and finite differences.

Everything is done on a copy of the network in float64 with ideal converters and its digital stages in eval mode.
Devices at an edge of their window are moved inside by a thousandth of it, so that finite differences have both sides.
Devices, if the network has any, hold what weights ask for, and sources have no errors of gain: what devices, sources
and converters then do to the gradients is the last column, in which no limit is set.
"""

import math
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.table import Table
from torch import Tensor, nn

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
from .gradcheck_plot import plot_gradcheck
from .gradient_probe import GradientProbe, off_the_edges, with_beta, with_devices_as_asked, with_hopfield_gradient

COSINE_LIMIT = 0.9999
NORM_LIMIT = 1e-3
N_SAMPLES = 16


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class TensorCheck:
    """Agreement of one gradient tensor from one simulator.

    Args:
        block: module that owns the tensor; a block's input is tensor "input".
        tensor: name within the module.
        simulator: where equilibrium propagation ran.
        cosine_id, norm_ratio_id: against implicit differentiation, whole tensor.
        cosine_fd, norm_ratio_fd: against central finite differences of the loss: some entries and one random direction.
    """

    block: str
    tensor: str
    simulator: str
    cosine_id: float
    norm_ratio_id: float
    cosine_fd: float
    norm_ratio_fd: float

    @property
    def passed(self) -> bool:
        """Whether both cosines and both norm ratios are within limits."""
        cosines, norms = (self.cosine_id, self.cosine_fd), (self.norm_ratio_id, self.norm_ratio_fd)
        # Each compared by itself: NaN must fail, and `max` may pass it over.
        return all(c >= COSINE_LIMIT for c in cosines) and all(abs(n - 1.0) <= NORM_LIMIT for n in norms)


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class ConverterEffect:
    """What the network's own converters and devices do to one gradient tensor (newton); not part of pass or fail."""

    block: str
    tensor: str
    simulator: str
    cosine_id: float
    norm_ratio_id: float


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class GradcheckReport:
    """All checks of one network.

    Args:
        tensors: every parameter tensor and block input in each simulator.
        converter_effect: the same with converters on, and devices and sources as made.
        beta: nudge used.
        plot: the bar plot, where one was asked for.
    """

    tensors: tuple[TensorCheck, ...]
    converter_effect: tuple[ConverterEffect, ...]
    beta: float
    plot: Path | None

    @property
    def passed(self) -> bool:
        """Whether every tensor passed."""
        return all(check.passed for check in self.tensors)

    def to_json(self) -> dict[str, Any]:
        """Return what `tellegen gradcheck --json` writes."""
        names = ("block", "tensor", "simulator", "cosine_id", "norm_ratio_id")
        return {
            "pass": self.passed,
            "beta": self.beta,
            "tensors": [
                {name: getattr(c, name) for name in (*names, "cosine_fd", "norm_ratio_fd")} for c in self.tensors
            ],
            "converter_effect": [{name: getattr(c, name) for name in names} for c in self.converter_effect],
        }

    def table(self) -> Table:
        """Return the report as a table for a terminal: the worse of both references, in each simulator."""
        title = f"gradients at beta = {self.beta:g}: {'pass' if self.passed else 'FAIL'}"
        caption = "worse of implicit differentiation and finite differences; last: cosine with converters, devices on"
        table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
        simulators = list(dict.fromkeys(c.simulator for c in self.tensors))
        table.add_column("tensor", overflow="fold")
        for simulator in simulators:
            table.add_column(f"{simulator}\n1 - cos", justify="right", no_wrap=True)
            table.add_column(f"{simulator}\nnorm - 1", justify="right", no_wrap=True)
        table.add_column("conv.", justify="right", no_wrap=True)
        table.add_column("", no_wrap=True)
        effects = {(e.block, e.tensor): e.cosine_id for e in self.converter_effect}
        for name in dict.fromkeys((c.block, c.tensor) for c in self.tensors):
            checks = [c for c in self.tensors if (c.block, c.tensor) == name]
            cells = []
            for c in checks:
                worst_norm = max(c.norm_ratio_id - 1, c.norm_ratio_fd - 1, key=abs)
                cells += [f"{max(0.0, 1 - c.cosine_id, 1 - c.cosine_fd):.0e}", f"{worst_norm:+.0e}"]
            effect = f"{effects[name]:.3f}" if name in effects else ""
            table.add_row(" ".join(name), *cells, effect, "ok" if all(c.passed for c in checks) else "FAIL")
        return table


@one_thread()
def gradcheck(
    target: Path,
    *,
    out: Path | None = None,
    beta: float | None = None,
    data: Path | None = None,
    seed: int = 0,
) -> GradcheckReport:
    """Check the gradients of a run's network, or of a configuration's network with its initial weights.

    Args:
        target: run folder, or configuration file.
        out: folder that gets the bar plot, made if missing; a run folder gets its own by default, a configuration none.
        beta: another nudge than the network's own.
        data: where the images are, if not where the configuration says.
        seed: of the entries and directions of the finite differences.

    Returns:
        the report.

    Raises:
        ConfigError, RunError: if the target cannot be read, or has no circuit.
        DataError: if the images are not there.
        RunError: if the folder cannot be written to, before anything is computed.
        SimulatorNotFound: if ngspice is not installed.
    """
    newton = NewtonSimulator()
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
        report = check_network(network, x, samples.labels, newton, ngspice, loss_of=loss, seed=seed)
    if folder is None:
        return report
    name = "gradcheck.png" if beta is None else f"gradcheck_beta{beta:g}.png"  # an experiment replaces no result
    plot = plot_gradcheck(report.tensors, folder / name, cosine=COSINE_LIMIT, norm=NORM_LIMIT, beta=report.beta)
    return GradcheckReport(
        tensors=report.tensors, converter_effect=report.converter_effect, beta=report.beta, plot=plot
    )


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

    Returns:
        the report, without a plot.
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
            cosine_id, norm_id = _agreement(gradient, reference[block, tensor])
            cosine_fd, norm_fd = _agreement(estimated, measured)
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
    effects = [
        ConverterEffect(
            block=block,
            tensor=tensor,
            simulator=newton.name,
            cosine_id=_agreement(gradient, reference[block, tensor])[0],
            norm_ratio_id=_agreement(gradient, reference[block, tensor])[1],
        )
        for (block, tensor), gradient in real.items()
    ]
    betas = [m.settings.beta for m in network.modules() if isinstance(m, AnalogBlock)]
    return GradcheckReport(
        tensors=tuple(checks),
        converter_effect=tuple(effects),
        beta=max(betas, default=PhaseSettings().beta),
        plot=None,
    )


def _agreement(value: NDArray[np.float64], reference: NDArray[np.float64]) -> tuple[float, float]:
    """Return cosine and norm ratio; two zeros agree."""
    norm, norm_reference = float(np.linalg.norm(value)), float(np.linalg.norm(reference))
    if norm == 0.0 and norm_reference == 0.0:
        return 1.0, 1.0
    if norm == 0.0 or norm_reference == 0.0:
        return 0.0, 0.0 if norm == 0.0 else math.inf
    return float((value * reference).sum() / (norm * norm_reference)), norm / norm_reference
