"""Trainings that are points of a sweep, or its base: ordinary runs in the sweep's folder, gone on with after a kill."""

import io
import threading
from pathlib import Path
from typing import Final

from rich.console import Console

from circuits.errors import TellegenError

from ..training.checkpoints import Which
from ..training.config import Config
from ..training.result import Result
from ..training.run import train
from ..training.run_folder import RunFolder
from ..training.trainer import LOSSES
from .base import load_network
from .folder import POINTS_FOLDER
from .measure import Probe, score_held_out
from .ngspice_check import check_in_ngspice, simulator_of
from .point import Base, Measurement, Point
from .sweep_file import Do
from .worker import images_of

NEAR_FINAL: Final = 0.9  # of the final accuracy: how fast a training gets there

# torch's global generator draws weights and dropout, and in a pool of threads trainings would share it.
_training: Final = threading.Lock()


def train_base(base: Base) -> str | None:
    """Train a base into its run folder, or go on doing so; return why that failed, None if it did not."""
    try:
        with _training:
            train_once(base.run, base.config)
    except TellegenError as failure:
        return str(failure)
    return None


def train_once(run: Path, config: Config) -> Result:
    """Return a training's result: read where it is finished, gone on with where it was begun.

    Raises:
        TellegenError: as `train`.
    """
    folder = RunFolder(path=run)
    if not folder.config.exists():
        return train(config, run, console=quiet())
    finished = folder.read_result()
    if finished is not None:
        return Result.from_json(run, finished)
    # The folder's own configuration: what was programmed stands in it as an ordinary network.
    saved = folder.read_config().model_copy(update={"data": config.data, "simulator": config.simulator})
    if folder.checkpoints.exist:
        return train(saved, run, resume=Which.LAST, console=quiet())
    return train(config, run, force=True, console=quiet())  # killed before its first checkpoint


def quiet() -> Console:
    """Return a console that nobody reads: many trainings would talk at once."""
    return Console(file=io.StringIO())


def train_point(point: Point, out: Path) -> dict[str, Measurement]:
    """Train a point, and evaluate what came of it."""
    run = out / POINTS_FOLDER / point.key
    measured: dict[str, Measurement] = {}
    if point.do is Do.FINETUNE and point.base is not None:
        images = images_of(point.config.data)
        with simulator_of(point.config) as simulator:
            before = score_held_out(load_network(point.base, point.config, simulator, images), point.config, images)
        measured |= {"accuracy_before": before.accuracy, "loss_before": before.loss}
    with _training:
        result = train_once(run, point.config)
    measured |= {
        "accuracy": result.test_accuracy,
        "loss": result.test_loss,
        "train_accuracy": result.train_accuracy,
        "best_accuracy": result.best_accuracy,
    }
    metrics = RunFolder(path=run).read_metrics(result.epochs)
    accuracies = tuple(float(entry["test_accuracy"]) for entry in metrics)
    measured |= {"epochs_to_90": epochs_to(NEAR_FINAL, accuracies), "accuracy_by_epoch": accuracies}
    # The folder's own configuration: its stages may have been moved into the window of the devices.
    saved = RunFolder(path=run).read_config()
    base = Base(run=run, which=Which.LAST, config=saved, fingerprint="")
    config, accuracy = saved.model_copy(update={"start": None}), result.test_accuracy
    images = images_of(config.data)
    if point.evaluate_with is not None:
        config = point.evaluate_with
        if config.network == point.config.network:
            config = config.model_copy(update={"network": saved.network, "start": None, "circuit": None})
        with simulator_of(config) as simulator:
            network = load_network(base, config, simulator, images)
            found = score_held_out(network, config, images)
        accuracy = found.accuracy
        measured |= {"accuracy_as_trained": result.test_accuracy, "accuracy": accuracy, "loss": found.loss}
    if point.check_in_ngspice and config.has_circuit:
        probe = Probe(images, point.probe_images, LOSSES[config.training.loss])
        measured |= check_in_ngspice(base, config, images, probe, accuracy)
    return measured


def epochs_to(share: float, accuracies: tuple[float, ...]) -> int | None:
    """Return the first epoch, from 1, whose accuracy is a share of the last one's; None without epochs."""
    return next((k for k, value in enumerate(accuracies, 1) if value >= share * accuracies[-1]), None)
