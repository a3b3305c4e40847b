"""What a worker does with a point. Importable in any process, its arguments plain values.

A process keeps what it has loaded for the points that follow: the images, and the exact gradient of the base network.
They are functions of their arguments alone, so nothing depends on which worker did which points.
"""

import functools
import json
import time
import traceback
from pathlib import Path

from circuits.errors import TellegenError
from digital.images import ImageDataset

from ..threads import one_thread
from ..training.checkpoints import Which
from ..training.config import Config, DataSection
from ..training.config_file import config_from_json
from ..training.data import load_data
from ..training.network import list_analog_blocks
from ..training.trainer import LOSSES
from .base import load_network
from .measure import Gradients, Probe, agreement, ideal, score_held_out
from .ngspice_check import check_in_ngspice, simulator_of
from .point import Base, Measurement, Outcome, Point
from .sweep_file import Do


def get_ready(_: int) -> None:
    """Do nothing: a worker that is sent here has imported all that it needs."""


def run_point(point: Point, out: Path) -> Outcome:
    """Do what a sweep does at a point; what goes wrong is part of the outcome.

    Args:
        point: the point.
        out: the sweep's folder; trainings keep their runs in it.
    """
    wall, cpu = time.perf_counter(), time.process_time()
    error: str | None = None
    measured: dict[str, Measurement] = {}
    try:
        with one_thread():
            measured = _evaluate(point) if point.do is Do.EVALUATE else _train(point, out)
    except TellegenError as failure:
        error = str(failure)
    except Exception:  # noqa: BLE001  whatever it is, the other points go on, and the summary shows it
        error = traceback.format_exc().strip()
    return Outcome(
        key=point.key,
        measured={} if error else measured,
        error=error,
        wall_s=time.perf_counter() - wall,
        cpu_s=time.process_time() - cpu,
    )


def _train(point: Point, out: Path) -> dict[str, Measurement]:
    # Evaluations do without what training draws pictures with, and their workers start a third of a second sooner.
    from .trainings import train_point  # noqa: PLC0415

    return train_point(point, out)


def _evaluate(point: Point) -> dict[str, Measurement]:
    """Score the base network under a point's configuration, and look at its gradients."""
    base, config = point.base, point.config
    if base is None:
        raise TypeError("a point that is evaluated has a base")
    images = images_of(config.data)
    with simulator_of(config) as simulator:
        network = load_network(base, config, simulator, images)
        found = score_held_out(network, config, images)
        measured: dict[str, Measurement] = {"accuracy": found.accuracy, "loss": found.loss}
        if not list_analog_blocks(network):
            return measured
        probe = Probe(images, point.probe_images, LOSSES[config.training.loss])
        estimated = probe.estimated(network)
        reference = _base_gradient(
            base.run, base.which, _text(base.config), config.training.loss.value, point.probe_images
        )
        is_same = _circuit(config) == _circuit(ideal(base.config))
        own = reference if is_same else probe.exact(network)
        measured["gradient_cosine"], measured["gradient_norm_ratio"] = agreement(estimated, reference)
        measured["estimate_cosine"], measured["estimate_norm_ratio"] = agreement(estimated, own)
        if point.check_in_ngspice and simulator is not None:
            measured |= check_in_ngspice(base, config, images, probe, found.accuracy)
    return measured


@functools.lru_cache(maxsize=2)
def images_of(section: DataSection) -> ImageDataset:
    """Return the images of a configuration, loaded once a process."""
    return load_data(section)


@functools.lru_cache(maxsize=32)  # one a seed of a base that is trained first
def _base_gradient(run: Path, which: Which, config_text: str, loss: str, n_images: int) -> Gradients:
    """Return the exact conductance gradients of the base network without any effect."""
    base_config = config_from_json(json.loads(config_text), str(run))
    config = ideal(base_config)
    images = images_of(config.data)
    base = Base(run=run, which=which, config=base_config, fingerprint="")
    loss_of = next(function for kind, function in LOSSES.items() if kind.value == loss)
    with simulator_of(config) as simulator:
        return Probe(images, n_images, loss_of).exact(load_network(base, config, simulator, images))


def _text(config: Config) -> str:
    return json.dumps(config.model_dump(mode="json"))


def _circuit(config: Config) -> str:
    """Return what the exact gradient of a circuit depends on: neither converters nor how it is nudged and read."""
    others = {"phases", "converters", "training", "gradient", "start", "circuit"}
    tables = config.model_dump(mode="json", exclude=others)
    return json.dumps({**tables, "simulator": tables["simulator"]["name"], "loss": config.training.loss.value})
