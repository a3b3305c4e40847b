"""The base of a sweep: a run whose weights points take, or a configuration that is trained first, once a seed.

Takes: `[base]`. Gives: the tables that axes act on, and where the weights of each seed are. This is the only place that
puts a run's weights under another configuration (`load_network`).
"""

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import torch

from digital.ff_ebm import FfEbm
from digital.images import ImageDataset

from ..files import explained
from ..simulators.base import AbstractSimulator
from ..simulators.newton import NewtonSimulator
from ..training.checkpoints import Which
from ..training.config import Config, GradientKind
from ..training.config_file import Tables, load_config
from ..training.data import check_images, load_data, with_absolute_data, with_data
from ..training.device_window import in_device_window
from ..training.hopfield_sections import HopfieldStage
from ..training.network import build_network
from ..training.programmed import network_on_devices
from ..training.run_folder import RunFolder
from ..training.setup import forget_other_devices
from ..training.simulators import measured_k_over_q
from ..training.start import complete_tables, set_up_from
from .axes import KeyPath, apply, check, complete, flatten, put
from .errors import SweepError
from .point import Base, digest, result_tables
from .sweep_file import BaseSection, Do, SweepFile

BASE_FOLDER: Final = "base"


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class FoundBase:
    """A base that can be used.

    Args:
        tables: of the configuration that axes act on.
        config: as the network was, or will be, trained.
        fingerprint: of the configuration, and of the weights where there are any.
        run: the run folder; None for a configuration.
        which: its checkpoint.
        out: the sweep's folder.
        trains: whether the configuration is trained first.
    """

    tables: Tables
    config: Config
    fingerprint: str
    run: Path | None
    which: Which
    out: Path
    trains: bool

    def started(self, config: Config, k: int) -> Config:
        """Return a point's configuration with the run that it begins with, of the seed where that is trained first."""
        if not self.trains or config.start is None:
            return config
        start = config.start.model_copy(update={"run": str(self.of_seed(k).run)})
        return config.model_copy(update={"start": start})

    def of_seed(self, k: int) -> Base:
        """Return what the points of a seed begin with."""
        if self.run is not None:
            return Base(run=self.run, which=self.which, config=self.config, fingerprint=self.fingerprint)
        tables = with_seed(self.config.model_dump(mode="json"), k, set(), trains=True)
        config = runnable(check(tables, f"the base with seed {k}"))
        folder = self.out.absolute() / BASE_FOLDER / f"seed-{k}"
        return Base(run=folder, which=Which.LAST, config=config, fingerprint=digest(result_tables(config)))


def find_base(spec: SweepFile, *, out: Path, source: Path, data: Path | None) -> FoundBase:
    """Find the base and try it.

    Args:
        spec: the sweep file.
        out: the sweep's folder.
        source: the sweep file's place.
        data: where the images are, if not where the base says.

    Raises:
        SweepError: for a base that cannot be done with what the sweep wants.
        ConfigError, RunError, DataError: if it cannot be read, or its images are others than it was trained on.
    """
    section = spec.base
    if section.config is not None:
        return _find_config(spec, section, out, source, data)
    run = _find(section.run or "", source).absolute()
    which = Which(section.checkpoint)
    config = with_absolute_data(with_data(RunFolder(path=run).read_config(), data))
    if spec.do is Do.TRAIN:
        if config.start is not None:
            raise SweepError(
                f"{source}: base.run = '{section.run}': began with the weights of {config.start.run}, no seed draws "
                'them again; name a configuration, as base.config, or set do = "program-then-finetune"'
            )
        print_ = digest(result_tables(config))
        tables = config.model_dump(mode="json")
        return FoundBase(tables=tables, config=config, fingerprint=print_, run=run, which=which, out=out, trains=False)
    if config.gradient is GradientKind.BACKPROP:
        raise SweepError(
            f"{source}: base.run = '{section.run}': gradient = \"backprop\" has tanh layers in place of circuits; "
            'begin with a run of "ep" or "implicit"'
        )
    _try(run, which, config)
    print_ = digest([result_tables(config), _hash_of(RunFolder(path=run), which)])
    own = config.model_dump(mode="json", exclude={"start", "circuit"})
    tables = {**own, "start": None, "circuit": None}
    if spec.do is Do.FINETUNE:
        tables["start"] = {"run": str(run), "checkpoint": section.checkpoint}
        tables["circuit"] = {} if _has_hopfield(config) else None
    return FoundBase(tables=tables, config=config, fingerprint=print_, run=run, which=which, out=out, trains=False)


def _find_config(spec: SweepFile, section: BaseSection, out: Path, source: Path, data: Path | None) -> FoundBase:
    path = _find(section.config or "", source)
    loaded = load_config(path, complete=lambda tables: complete_tables(tables, None))
    config = with_absolute_data(with_data(loaded, data))
    trains = spec.do is not Do.TRAIN
    if trains and config.start is not None:
        raise SweepError(
            f"{source}: base.config = '{section.config}': begins with the weights of {config.start.run}; train it, and "
            "name its folder as base.run"
        )
    if section.train_with is not None:
        where = f"{source}: base.train_with"
        config = check(apply(config.model_dump(mode="json"), flatten(section.train_with), where), where)
    tables = config.model_dump(mode="json")
    if spec.do is Do.FINETUNE:
        # Which of the trained runs, one a seed, a point fills in.
        tables["start"] = {"run": str(out.absolute() / BASE_FOLDER), "checkpoint": section.checkpoint}
        tables["circuit"] = {} if _has_hopfield(config) else None
    return FoundBase(
        tables=tables,
        config=config,
        fingerprint=digest(result_tables(config)),
        run=None,
        which=Which.LAST,
        out=out,
        trains=trains,
    )


def _has_hopfield(config: Config) -> bool:
    return any(isinstance(stage, HopfieldStage) for stage in config.network.stages)


def with_seed(tables: Tables, k: int, fixed: set[KeyPath], *, trains: bool) -> Tables:
    """Return tables with k added to every `seed` that counts.

    Args:
        tables: of a configuration.
        k: which of the sweep's seeds; 0 leaves all as it is.
        fixed: keys that stay, of axes.
        trains: whether `training.seed` counts.
    """
    if k == 0:
        return tables
    for path, seed in list_seeds(complete(tables), trains=trains):
        if path not in fixed:
            tables = put(tables, path, seed + k, "seed")
    return tables


def list_seeds(tables: Tables, *, trains: bool) -> list[tuple[KeyPath, int]]:
    """Return the seeds that count, with their places: not those of images, nor of converters that draw nothing.

    Args:
        tables: of a configuration, complete.
        trains: whether `training.seed` counts.
    """
    idle = {"data", *([] if trains else ["training"]), *([] if _draws(tables.get("converters")) else ["converters"])}

    def walk(node: Any, path: KeyPath) -> Iterator[tuple[KeyPath, int]]:
        if isinstance(node, dict | list):
            for name, value in node.items() if isinstance(node, dict) else enumerate(node):
                yield from walk(value, (*path, name))
        elif path[-1:] == ("seed",) and isinstance(node, int):
            yield path, node

    return [found for name, node in tables.items() if name not in idle for found in walk(node, (name,))]


def _draws(converters: Any) -> bool:
    """Whether the table of the converters, which is always on, has a spread, a mismatch, noise or a preset."""
    if isinstance(converters, dict):
        return any(
            (value is not None and (name == "preset" or name.endswith("relative_std"))) or _draws(value)
            for name, value in converters.items()
        )
    return False


def runnable(config: Config) -> Config:
    """Return a configuration whose simulator stays in the process of its worker: points take all cores."""
    simulator = config.simulator.model_copy(update={"workers": 0, "dask": None})
    return config.model_copy(update={"simulator": simulator})


def load_network(base: Base, config: Config, simulator: AbstractSimulator | None, images: ImageDataset) -> FfEbm:
    """Return the base's network, its weights under another configuration.

    Args:
        base: the run, and which checkpoint of it.
        config: of the network; with `start`, as fine-tuning begins, programmed where it says so.
        simulator: relaxes its blocks.
        images: of the run.

    Raises:
        RunError: if the checkpoint cannot be used, does not fit, or was trained on other images.
        ConfigError, ProgrammingError: if the network cannot be built, or not be programmed.
    """
    if config.start is not None:
        return set_up_from(config.start, config, simulator).network
    k_over_q = measured_k_over_q(config.simulator)
    is_other_window = simulator is not None and in_device_window(config) != config
    loaded = config.model_copy(update={"devices": None}) if is_other_window else config
    with torch.random.fork_rng(devices=[]):  # the weights that are drawn here are replaced at once
        network = build_network(
            loaded,
            shape=images.shape,
            n_classes=images.n_classes,
            simulator=simulator,
            generator=torch.Generator(),
            k_over_q_v_per_k=k_over_q,
        )
    tally = RunFolder(path=base.run).checkpoints.load_model(base.which, network)
    check_images(base.run, tally.images, images)
    if simulator is None or not is_other_window:
        forget_other_devices(network, config, base.config)
        return network
    return network_on_devices(
        config,
        network,
        simulator=simulator,
        shape=images.shape,
        n_classes=images.n_classes,
        k_over_q_v_per_k=k_over_q,
    )


def _try(run: Path, which: Which, config: Config) -> None:
    """Load a run once, for whatever is wrong with it to be said before anything is computed."""
    base = Base(run=run, which=which, config=config, fingerprint="")
    alone = config.model_copy(update={"start": None})
    if not config.has_circuit:
        load_network(base, alone, None, load_data(config.data))
        return
    with closing(NewtonSimulator()) as simulator:
        load_network(base, alone, simulator, load_data(config.data))


def _find(text: str, source: Path) -> Path:
    """Return a path from the working directory, or else from the sweep file's folder."""
    path = Path(text).expanduser()
    beside = source.parent / path
    return beside if not path.exists() and beside.exists() else path


def _hash_of(folder: RunFolder, which: Which) -> str:
    """Return a hash of the checkpoint that loading takes: after a crash the last may be the one before it."""
    path = folder.checkpoints.path(which)
    if which is Which.LAST and not path.exists():
        path = folder.checkpoints.path(Which.PREVIOUS)
    with explained(path):
        return hashlib.sha256(path.read_bytes()).hexdigest()
