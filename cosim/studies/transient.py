"""Nudge a network's blocks and follow their gradients until they settle: the paper's figures 3 and 5 on circuits.

At every moment the estimate of equilibrium propagation from the moving circuit, [dF/dp(+beta)(t) - dF/dp(-beta)(t)] /
(2 beta), is the exact gradient of the same moment up to beta^2, -lambda(t) . d2F/dv dp with lambda(t) from the
linearised circuit: equilibrium propagation does not merely end at the right place. Converters are ideal and devices
hold what weights ask for, since the claim is about the circuit.

Source: Nest & Ernoult 2024, figures 3 and 5 (there of deep Hopfield networks in discrete time).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from circuits.capacitance import Capacitance
from digital.losses import cross_entropy

from ..analog_block import AnalogBlock
from ..converters import Converters
from ..errors import ConfigError, StudyError
from ..files import make_folder
from ..simulators.newton import NewtonSimulator
from ..simulators.ngspice.library import find_ngspice_library
from ..threads import one_thread
from ..training.config import GradientKind
from ..training.config_file import load_config
from ..training.data import with_data
from ..training.device_window import in_device_window
from ..training.run_folder import RunFolder
from ..training.setup import load_run, set_up
from ..training.start import complete_tables
from ..training.trainer import LOSSES, Loss
from ..twin import twin
from .gradient_probe import with_devices_as_asked
from .target import require_target
from .transient_analog import AnalogInTime, TransientSettings
from .transient_chain import EnergyModule, follow_network
from .transient_curves import LayerCurves
from .transient_hopfield import HopfieldInTime
from .transient_network import SPREAD, samples, three_blocks
from .transient_plot import format_beta, plot_agreement, plot_curves

N_SAMPLES = 2  # as in the paper


@final
@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TransientReport:
    """How every tensor's gradient settled.

    Args:
        layers: blocks from last to first.
        n_samples: images.
        plots: the pictures, where a folder was given.
    """

    layers: tuple[LayerCurves, ...]
    n_samples: int
    plots: tuple[Path, ...] = ()

    @property
    def beta(self) -> float:
        """The nudge; of circuits where there are hopfield blocks, too."""
        return max(layer.times.beta for layer in self.layers)

    @property
    def max_relative_error(self) -> float:
        """The largest of all layers; NaN if one is."""
        return float(np.max([layer.max_relative_error for layer in self.layers]))

    @property
    def passed(self) -> bool:
        """Whether every layer's error, cosine and norm ratio are within limits."""
        return all(layer.passed for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """Return what `tellegen transient --json` writes."""
        return {
            "pass": self.passed,
            "max_relative_error": self.max_relative_error,
            "beta": self.beta,
            "samples": self.n_samples,
            "blocks": [times.to_json() for times in dict.fromkeys(layer.times for layer in self.layers)],
            "layers": [layer.to_json() for layer in self.layers],
            "plots": [str(path) for path in self.plots],
        }

    def table(self) -> Table:
        """Return the report as a table for a terminal."""
        title = f"gradients in time at {format_beta(self.layers)}: {'pass' if self.passed else 'FAIL'}"
        caption = "error: largest over time of |EP(t) - ID(t)|, relative to |ID| at the end"
        table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
        table.add_column("layer", overflow="fold")
        for name in ("devices", "error", "1 - cos", "norm - 1", "clamped", ""):
            table.add_column(name, justify="right", no_wrap=True)
        for layer in self.layers:
            table.add_row(
                f"{layer.block} {layer.tensor}",
                str(layer.exact.shape[1]),
                f"{layer.max_relative_error:.1e}",
                f"{max(0.0, 1 - layer.cosine):.0e}",
                f"{layer.norm_ratio - 1:+.0e}",
                f"{layer.clamped_share:.0%}",
                "ok" if layer.passed else "FAIL",
            )
        return table


@one_thread()
def transient(
    target: Path | None = None,
    *,
    beta: float | None = None,
    capacitance: Capacitance | None = None,
    spread: float | None = None,
    n_samples: int = N_SAMPLES,
    out: Path | None = None,
    data: Path | None = None,
    seed: int = 0,
    console: Console | None = None,
) -> TransientReport:
    """Follow the gradients of a network's blocks in time.

    Args:
        target: run folder, or configuration file with its initial weights; a network of three circuits if left out.
        beta: nudge of every block; by default as in `TransientSettings`.
        capacitance: of circuits' nodes and devices; the default one if left out.
        spread: how unequal nodes are, see `TransientSettings`; by default those of the built-in network are, and others
            are as unequal as their numbers of devices make them.
        n_samples: images, the first of those to train on.
        out: folder that gets the pictures, made if missing; a run folder gets its own by default, others none.
        data: where the images are, if not where the configuration says.
        seed: of the network of three circuits, and of which curves are drawn.
        console: shows progress.

    Returns:
        the report.

    Raises:
        ConfigError, RunError: if the target cannot be read, or its blocks have no energy to relax.
        DataError: if the images are not there.
        StudyError: for fewer than one sample.
        ConvergenceError: if a block has no equilibrium, or does not settle.
        SimulatorNotFound: if there is a circuit and ngspice is not installed.
    """
    if n_samples < 1:
        raise StudyError(f"transient: {n_samples} samples; give one or more")
    if target is None:
        network: nn.Module = three_blocks(NewtonSimulator(), seed=seed)
        x, y = samples(n_samples, seed=seed)
        loss_of: Loss = cross_entropy
        unequal = SPREAD
    else:
        network, x, y, loss_of = _network_of(target, n_samples, data)
        unequal = 0.0
    default = TransientSettings()
    settings = TransientSettings(
        beta=default.beta if beta is None else beta,
        hopfield_beta=default.hopfield_beta if beta is None else beta,
        capacitance=capacitance or Capacitance(),
        spread=unequal if spread is None else spread,
        seed=seed,
    )
    folder = out if out is not None or target is None or not target.is_dir() else target
    if folder is not None:
        make_folder(folder)
    layers = follow(network, x, y, loss_of=loss_of, settings=settings, console=console)
    plots: tuple[Path, ...] = ()
    if folder is not None:
        plots = (
            plot_curves(layers, folder / "transient.png", seed=seed),
            plot_agreement(layers, folder / "transient_agreement.png"),
        )
    return TransientReport(layers=layers, n_samples=len(x), plots=plots)


def follow(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    loss_of: Loss = cross_entropy,
    settings: TransientSettings,
    console: Console | None = None,
) -> tuple[LayerCurves, ...]:
    """Follow the gradients of any module with energy blocks.

    Args:
        network: with `AnalogBlock`s, `HopfieldBlock`s or both.
        x: [batch, ...] samples.
        y: [batch] classes.
        loss_of: mean loss of logits and classes.
        settings: nudge, capacitances and window.
        console: shows progress.

    Returns:
        the curves of every tensor, blocks from last to first.
    """
    ideal = twin(with_devices_as_asked(network), simulator=NewtonSimulator(), converters=Converters.ideal())
    if any(isinstance(module, AnalogBlock) for module in ideal.modules()):
        find_ngspice_library()  # before anything is computed

    def in_time(block: EnergyModule) -> AnalogInTime | HopfieldInTime:
        if isinstance(block, AnalogBlock):
            return AnalogInTime(block, settings)
        return HopfieldInTime(block, settings.hopfield_beta)

    return follow_network(ideal.double().eval(), x.double(), y, loss_of, in_time, console)


def _network_of(target: Path, n_samples: int, data: Path | None) -> tuple[nn.Module, Tensor, Tensor, Loss]:
    """Return the network of a run or a configuration, its first samples and its loss."""
    require_target(target)
    is_run = target.is_dir()
    config = with_data(
        RunFolder(path=target).read_config()
        if is_run
        else load_config(target, complete=lambda tables: complete_tables(tables, None)),
        data,
    )
    if not is_run and config.start is not None:
        raise ConfigError(
            f"{target}: begins with the weights of {config.start.run}, which this command would not; train it, and "
            "give that run"
        )
    if config.gradient is GradientKind.BACKPROP:
        raise ConfigError(
            f'{target}: gradient = "backprop" puts tanh layers in place of block '
            f"'{config.network.energy_blocks[0][1]}' and all others, and those do not settle; train with \"ep\""
        )
    simulator = NewtonSimulator() if config.has_circuit else None
    setup = load_run(target, simulator, config=config) if is_run else set_up(in_device_window(config), simulator)
    chosen = setup.data.train.take(torch.arange(min(n_samples, len(setup.data.train))))
    return setup.network, setup.data.scaled(chosen.pixels), chosen.labels, LOSSES[config.training.loss]
