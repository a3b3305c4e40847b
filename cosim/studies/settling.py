"""Equilibrium quality against time: what a trained network is worth if its converters do not wait.

Free phase: every block begins at rest, its input steps in, its outputs are sampled some time constants later and go
on to the next block; accuracy on the images held out. Nudged phases: from the free equilibrium the nudge steps in, and
what is read for the gradients is sampled; cosine and norm of each tensor's gradient, and of the error handed upstream,
against exact gradients.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from circuits.capacitance import Capacitance

from ..analog_block import Gradient
from ..converters import Converters
from ..errors import ConfigError, StudyError
from ..files import format_json, make_folder, write_atomically
from ..progress import counting_bar
from ..simulators.newton import NewtonSimulator
from ..simulators.ngspice.library import find_ngspice_library
from ..threads import one_thread
from ..training.config import GradientKind
from ..training.data import evaluation_batches, with_data
from ..training.network import list_analog_blocks
from ..training.run_folder import RunFolder
from ..training.setup import load_run
from ..training.trainer import LOSSES, Loss, score
from ..twin import twin
from .agreement import cosine_and_norm_ratio
from .gradient_probe import GradientProbe, off_the_edges, with_devices_as_asked
from .settling_plot import plot_settling
from .settling_sampling import Agreement, Modes, TimedBlock, compare_with_ngspice, sampled_network, timed_blocks

MULTIPLES: Final = (1.0, 2.0, 5.0, 10.0)
N_GRADIENT_IMAGES: Final = 64
N_COMPARED: Final = 2  # samples followed in ngspice too


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class FreeRow:
    """Accuracy of the network sampled in its free phases.

    Args:
        time_constants: when; infinity stands for the equilibrium, null in JSON and an empty cell in CSV.
        accuracy, loss: on the images held out.
    """

    time_constants: float
    accuracy: float
    loss: float


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class NudgedRow:
    """One gradient tensor sampled in the nudged phases, against the exact gradient.

    Args:
        time_constants: when; infinity stands for the equilibrium, as in `FreeRow`.
        block, tensor: which; "input" is the error handed upstream.
        cosine, norm_ratio: of it and the exact gradient.
    """

    time_constants: float
    block: str
    tensor: str
    cosine: float
    norm_ratio: float


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class SettlingReport:
    """What a network is worth at each sampling time.

    Args:
        run: the run folder.
        blocks: with their time constants.
        free: by time, the equilibrium last.
        nudged: by time and tensor, the equilibrium last.
        agreement: of newton with ngspice, block by block.
        n_images: held out, that accuracies are of.
        modes: which movements time constants are of.
    """

    run: Path
    blocks: tuple[TimedBlock, ...]
    free: tuple[FreeRow, ...]
    nudged: tuple[NudgedRow, ...]
    agreement: tuple[Agreement, ...]
    n_images: int
    modes: Modes

    def worst(self, time_constants: float, *, inputs: bool) -> NudgedRow:
        """Return the tensor with the lowest cosine at a time, of the errors handed upstream or of the parameters."""
        rows = [
            row for row in self.nudged if row.time_constants == time_constants and (row.tensor == "input") == inputs
        ]
        return min(rows, key=lambda row: row.cosine)

    def to_json(self) -> dict[str, Any]:
        """Return what settling.json holds; time_constants of the settled network are null there."""
        return {
            "run": str(self.run),
            "operating_point": "rest: all drives zero, no clamp conducting",
            "modes": self.modes.value,
            "blocks": [{"block": b.name, "time_constant_s": b.time_constant_s} for b in self.blocks],
            "images": self.n_images,
            "free": [asdict(row) for row in self.free],
            "nudged": [asdict(row) for row in self.nudged],
            "ngspice": [asdict(row) for row in self.agreement],
        }

    def table(self) -> Table:
        """Return the report as a table for a terminal: the worst tensor at each time."""
        constants = ", ".join(f"{block.name} {block.time_constant_s:.3g} s" for block in self.blocks)
        table = Table(
            title=f"sampled before it has settled: {self.n_images} images",
            caption=f"1 / smallest eigenvalue of C^-1 H at rest, {self.modes.value} movements: {constants}; "
            "gradients: the tensor of lowest cosine",
            title_justify="left",
            caption_justify="left",
        )
        for name in ("time constants", "accuracy", "gradient cos", "norm", "upstream cos", "norm"):
            table.add_column(name, justify="right")
        for row in self.free:
            parameter = self.worst(row.time_constants, inputs=False)
            upstream = self.worst(row.time_constants, inputs=True)
            table.add_row(
                "settled" if np.isinf(row.time_constants) else f"{row.time_constants:g}",
                f"{row.accuracy:.4f}",
                *(f"{value:.4f}" for each in (parameter, upstream) for value in (each.cosine, each.norm_ratio)),
            )
        return table

    def lines(self) -> list[str]:
        """Return how far newton is from ngspice, block by block."""
        return [
            f"{row.block}: newton and ngspice differ by at most {row.free_v:.1e} V after the input, "
            f"{row.nudged_v:.1e} V after the nudge ({row.samples} samples, all nodes and times)"
            for row in self.agreement
        ]

    def csv(self) -> str:
        """Return one line a time and tensor, accuracy repeated."""
        accuracies = {row.time_constants: row.accuracy for row in self.free}
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("time_constants", "accuracy", "block", "tensor", "cosine", "norm_ratio"))
        for row in self.nudged:
            time = "" if np.isinf(row.time_constants) else row.time_constants
            accuracy = accuracies[row.time_constants]
            writer.writerow((time, accuracy, row.block, row.tensor, row.cosine, row.norm_ratio))
        return text.getvalue()


@one_thread()
def settling_study(
    run: Path,
    out: Path,
    *,
    multiples: Sequence[float] = MULTIPLES,
    capacitance: Capacitance | None = None,
    modes: Modes = Modes.DIFFERENTIAL,
    data: Path | None = None,
    console: Console | None = None,
) -> SettlingReport:
    """Sample a trained network's circuits before they have settled, and write what that costs.

    Args:
        run: the run folder.
        out: folder that gets settling.json, settling.csv and settling.png, made if missing.
        multiples: sampling times, in units of each block's slowest time constant at rest.
        capacitance: of nodes and devices; the default one if left out.
        modes: which movements the time constants are of.
        data: where the images are, if not where they were.
        console: shows progress.

    Returns:
        the report.

    Raises:
        ConfigError: if the run has no circuit.
        StudyError: for no sampling time, or one that is not above zero.
        RunError, DataError: if the run or its images cannot be read, or the folder cannot be written.
        SimulatorNotFound: if ngspice is not installed.
    """
    times = tuple(sorted(set(multiples)))
    if not times or not all(np.isfinite(time) and time > 0 for time in times):
        raise StudyError(f"study settling: sampling times {list(multiples)}; give one or more above zero, as 1 2 5 10")
    config = with_data(RunFolder(path=run).read_config(), data)
    if config.gradient is GradientKind.BACKPROP or not config.network.block_names:
        raise ConfigError(f"{run}: has no analog block, so there is no circuit that has to settle")
    find_ngspice_library()
    make_folder(out)
    setup = load_run(run, NewtonSimulator(), config=config)
    loss_of, network = LOSSES[config.training.loss], setup.network.eval()
    timed = timed_blocks(network, capacitance or Capacitance(), modes)
    samples = setup.data.train.take(torch.arange(min(N_GRADIENT_IMAGES, len(setup.data.train))))
    x, y = setup.data.scaled(samples.pixels), samples.labels
    free, nudged = [], []
    with counting_bar(console) as bar:
        task = bar.add_task("sampling times", total=2 * len(times) + 3)
        for time in (*times, np.inf):
            sampled = sampled_network(network, timed, free=_finite(time), nudged=None)
            found = score(sampled, loss_of, evaluation_batches(setup.data, setup.data.test))
            free.append(FreeRow(time_constants=float(time), accuracy=found.accuracy, loss=found.loss))
            bar.advance(task)
        probed = _Probed(network, x, y, loss_of, timed)
        for time in (*times, np.inf):
            nudged += probed.rows(float(time))
            bar.advance(task)
        agreement = probed.compared_with_ngspice(times)
        bar.advance(task)
    report = SettlingReport(
        run=run,
        blocks=tuple(timed.values()),
        free=tuple(free),
        nudged=tuple(nudged),
        agreement=agreement,
        n_images=len(setup.data.test),
        modes=modes,
    )
    write_atomically(out / "settling.json", format_json(report.to_json()).encode())
    write_atomically(out / "settling.csv", report.csv().encode())
    plot_settling(report.free, report.nudged, out / "settling.png")
    return report


@final
class _Probed:
    """A network with ideal converters whose gradients are sampled.

    Args:
        network: as trained.
        x: [batch, ...] samples.
        y: [batch] classes.
        loss_of: mean loss.
        blocks: of the network.
    """

    def __init__(self, network: nn.Module, x: Tensor, y: Tensor, loss_of: Loss, blocks: dict[str, TimedBlock]) -> None:
        ideal = with_devices_as_asked(off_the_edges(network))
        self._network = twin(ideal, simulator=NewtonSimulator(), converters=Converters.ideal(), gradient=Gradient.EP)
        self._x, self._y, self._loss_of, self._blocks = x.double(), y, loss_of, blocks
        exact = twin(self._network, gradient=Gradient.IMPLICIT)
        self._exact = GradientProbe(exact, self._x, y, loss_of).gradients()

    def rows(self, time: float) -> list[NudgedRow]:
        """Return every tensor's agreement when nudged phases are sampled at a time."""
        sampled = sampled_network(self._network, self._blocks, free=None, nudged=_finite(time))
        found = GradientProbe(sampled, self._x, self._y, self._loss_of).gradients()
        names = {block.block.name for block in list_analog_blocks(self._network)}
        rows = []
        for (block, tensor), exact in self._exact.items():
            if block in names:
                cosine, norm_ratio = cosine_and_norm_ratio(found[block, tensor], exact)
                rows.append(
                    NudgedRow(time_constants=time, block=block, tensor=tensor, cosine=cosine, norm_ratio=norm_ratio)
                )
        return rows

    def compared_with_ngspice(self, times: tuple[float, ...]) -> tuple[Agreement, ...]:
        """Return how far newton in time is from ngspice in each block, with inputs and nudges as they come."""
        blocks = list_analog_blocks(self._network)
        inputs: dict[str, Tensor] = {}
        handles = [
            block.register_forward_pre_hook(lambda module, args: inputs.update({module.block.name: args[0]}))
            for block in blocks
        ]
        with torch.no_grad():
            self._network(self._x[:N_COMPARED])
        for handle in handles:
            handle.remove()
        found = []
        for block in blocks:
            x = inputs[block.block.name].flatten(1).numpy()
            nudge = np.full((len(x), block.block.n_outputs), block.settings.beta)
            found.append(compare_with_ngspice(block, self._blocks[block.block.name], x, nudge, times))
        return tuple(found)


def _finite(time: float) -> float | None:
    return None if np.isinf(time) else float(time)
