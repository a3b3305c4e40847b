"""Train a configuration into a run folder, and evaluate a run: the two public functions of this package."""

import time
from contextlib import closing
from pathlib import Path
from typing import Any, final

import torch
from rich.console import Console

from ..errors import ConfigError, RunError
from ..files import make_folder
from ..threads import one_thread
from ..versions import collect_versions
from .checkpoint import Progress, Tally
from .checkpoints import Which
from .config import Config, GradientKind, SimulatorKind
from .data import augmentation_of, check_images, evaluation_batches, with_absolute_data, with_data
from .device_window import in_device_window
from .display import Display
from .loop import Material, TrainingLoop
from .network import list_analog_blocks, list_energy_blocks, sum_counters
from .placement import CPU, check_device, device_generators, evaluation_device, full_precision
from .result import Result
from .run_folder import RunFolder, check_place, create_run_folder, open_run_folder
from .setup import Setup, load_run, set_up
from .simulators import build_simulator
from .start import absolute_start, refuse_resume, refuse_same_folder, set_up_from
from .stop import StopRequest
from .trainer import LOSSES, Score, build_optimizer, build_scheduler, count_batches, score


@one_thread()
def train(
    config: Config,
    out: Path,
    *,
    resume: Which | None = None,
    force: bool = False,
    console: Console | None = None,
) -> Result:
    """Train a network and keep everything about it in a run folder.

    Args:
        config: what to train; with `start`, from that run's weights on.
        out: the run folder; it must not exist, or be empty, but for `resume` or `force`.
        resume: go on after this checkpoint of a run of this configuration; from the start if it has none yet.
        force: replace a run that is there.
        console: where to show progress; standard output if left out.

    Returns:
        the result, which result.json holds too.

    Raises:
        ConfigError: if the configuration does not fit the data or this machine, or is not the one of the run to resume.
        ProgrammingError: if blocks cannot be programmed as `circuit` says.
        DataError: if the images are not there or damaged.
        RunError: if the folder is taken, cannot be written, or holds a corrupt checkpoint.
        SimulationError: if a circuit finds no equilibrium; the last checkpoint stays.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, with the batch at hand finished and in a checkpoint.
    """
    console = console or Console()
    device = check_device(config.training.device, "training.device")
    config = absolute_start(with_absolute_data(config))
    if config.start is None:
        config = in_device_window(config)  # what begins with a run is programmed into it
    elif resume is None:
        refuse_same_folder(config.start, out)
    if resume is not None:
        refuse_resume(out, config)
        open_run_folder(out, config)
    else:
        check_place(out, force=force)  # at once; the folder is made when nothing else can be refused
    with closing(_Simulator(config)) as simulator:
        if config.start is None or resume is not None:
            setup = set_up(config, simulator.built, console)
        else:
            setup = set_up_from(config.start, config, simulator.built, console)
        _refuse_no_batch(setup)
        if device != CPU:
            setup.network.to(device)
        if resume is not None:
            folder = open_run_folder(out, config)
            with folder.locked():
                return _train_in(folder, setup, console, resume)
        make_folder(out)
        with RunFolder(path=out).locked():
            folder = create_run_folder(out, setup.config, force=force)
            if setup.reports:
                folder.write_programming(setup.reports)
            return _train_in(folder, setup, console, None)


@one_thread()
def evaluate(
    run: Path, *, simulator: SimulatorKind | None = None, which: Which = Which.LAST, data: Path | None = None
) -> Result:
    """Score a run's checkpoint on the images held out and on those it was trained on.

    Args:
        run: the run folder.
        simulator: another one than the run's.
        which: the last checkpoint, the one before it, or the best.
        data: where the images are, if not where they were.

    Returns:
        the result; nothing is written. A run of a CUDA device is evaluated on it where there is one, or else on the
        processor.

    Raises:
        ConfigError: if another simulator is asked for and the run has no circuit.
        DataError: if the images are not there, or not those that the run was trained on.
        RunError: if this is no run folder, or its checkpoint cannot be used.
        SimulatorNotFound: if the simulator is not installed.
    """
    start = time.perf_counter()
    if run.is_file() and run.suffix == ".toml":
        raise RunError(f"{run}: this is a configuration; eval takes a run folder, the --out of a `tellegen train`")
    config = with_data(RunFolder(path=run).read_config(), data)
    if simulator is not None:
        if config.gradient is GradientKind.BACKPROP:
            raise ConfigError(f'{run}: gradient = "backprop" has no circuit that {simulator.value} could relax')
        if not config.has_circuit:
            raise ConfigError(
                f"{run}: its energy blocks are hopfield stages, no circuit that {simulator.value} could relax; leave "
                "--simulator out"
            )
        section = config.simulator.model_copy(update={"name": simulator})
        config = config.model_copy(update={"simulator": section})
    with closing(_Simulator(config)) as built:
        setup = load_run(run, built.built, config=config, which=which)
        check_images(run, setup.tally.images, setup.data)
        device = evaluation_device(config.training.device)
        if device != CPU:
            setup.network.to(device)
        with full_precision():
            scores = [
                score(setup.network, LOSSES[config.training.loss], evaluation_batches(setup.data, images, device))
                for images in (setup.data.test, setup.data.train)
            ]
        counts = sum_counters(list_energy_blocks(setup.network))
        return _result(run, setup, scores, setup.tally, counts, time.perf_counter() - start)


@final
class _Simulator:
    """The simulator of a configuration, if it has a circuit."""

    def __init__(self, config: Config) -> None:
        self.built = build_simulator(config.simulator) if config.has_circuit else None

    def close(self) -> None:
        """Release what the simulator holds."""
        if self.built is not None:
            self.built.close()


def _refuse_no_batch(setup: Setup) -> None:
    """Refuse a run all of whose images would be left out."""
    section, n_images = setup.config.training, len(setup.data.train)
    if not count_batches(n_images, section.batch_size, drop_last=section.drop_last):
        raise ConfigError(
            f"training.drop_last = true leaves out a batch that is not full, and {n_images} images do not fill one of "
            f"training.batch_size = {section.batch_size}; set a smaller one, or drop_last = false"
        )


def _train_in(folder: RunFolder, setup: Setup, console: Console, resume: Which | None) -> Result:
    """Train in a folder from a checkpoint on, or from the start where there is none."""
    section, data = setup.config.training, setup.data
    loop = _loop(folder, setup, console, resume)
    tally = loop.tally
    if setup.config.start is not None and resume is None:
        loop.save()  # weights that no seed draws again
    n_batches = count_batches(len(data.train), section.batch_size, drop_last=section.drop_last)
    display = Display(
        console, n_epochs=section.epochs, n_batches=n_batches, first_epoch=tally.epoch, first_batch=tally.batch
    )
    with StopRequest(console) as stop, full_precision():
        try:
            with display:
                loop.run(display, stop)
            scores = [loop.score(images, stop) for images in (data.test, data.train)]
        except KeyboardInterrupt:
            if stop.requested and loop.metrics and not stop.insisted:
                loop.draw()
            raise
    result = _result(folder.path, setup, scores, loop.tally, loop.counts, loop.wall_s)
    folder.write_result(result.to_json())
    return result


def _loop(folder: RunFolder, setup: Setup, console: Console, resume: Which | None) -> TrainingLoop:
    """Return the loop with the state of a checkpoint, if there is one."""
    section, data = setup.config.training, setup.data
    device = check_device(section.device, "training.device")
    optimizer = build_optimizer(section, setup.network)
    n_steps = section.epochs * count_batches(len(data.train), section.batch_size, drop_last=section.drop_last)
    # Seeds that follow one another give generators that have nothing in common.
    generators = {
        name: torch.Generator().manual_seed(section.seed + k) for k, name in enumerate(("order", "augmentation"), 1)
    }
    progress = Progress(
        model=setup.network,
        optimizer=optimizer,
        scheduler=build_scheduler(section, optimizer, n_steps),
        generators={"weights": setup.generator, **generators, **device_generators(device)},
    )
    folder.remove_parts()
    tally, spent_s = setup.tally, 0.0
    if resume is not None and folder.checkpoints.exist:
        tally = folder.checkpoints.load(resume, progress)
        check_images(folder.path, tally.images, setup.data)
        spent_s = folder.read_wall_s(tally.epoch, tally.batch)
        folder.checkpoints.go_back_to(resume)
        folder.write_progress(tally.epoch, tally.batch, spent_s)
        within = f" and {tally.batch} batches" if tally.batch else ""
        console.print(f"going on after epoch {tally.epoch}{within} of {section.epochs}", highlight=False)
    material = Material(
        section=section,
        data=data,
        augmentation=augmentation_of(setup.config.data),
        loss_of=LOSSES[section.loss],
        blocks=tuple(list_analog_blocks(setup.network)),
        folder=folder,
        device=device,
    )
    return TrainingLoop(material, progress, tally, folder.keep_metrics(tally.epoch), spent_s=spent_s)


def _result(
    run: Path, setup: Setup, scores: list[Score], tally: Tally, counts: dict[str, int], wall_s: float
) -> Result:
    """Return the result from the scores on the images held out and on the others."""
    config, best = setup.config, tally.best
    return Result(
        run=run,
        test_accuracy=scores[0].accuracy,
        train_accuracy=scores[1].accuracy,
        test_loss=scores[0].loss,
        train_loss=scores[1].loss,
        epochs=tally.epoch,
        best_epoch=None if best is None else best.epoch,
        best_accuracy=None if best is None else best.accuracy,
        n_train=len(setup.data.train),
        n_test=len(setup.data.test),
        wall_s=wall_s,
        counts=counts,
        simulator=config.simulator.name.value if config.has_circuit else None,
        gradient=config.gradient.value,
        seed=config.training.seed,
        versions=_versions(config) if config.has_circuit else collect_versions(),
        test_top5=scores[0].top5,
        train_top5=scores[1].top5,
    )


def _versions(config: Config) -> dict[str, Any]:
    versions = collect_versions()
    if config.simulator.name is SimulatorKind.NGSPICE:
        from ..simulators.ngspice.library import ngspice_library  # noqa: PLC0415  loads libngspice

        versions["ngspice"] = str(ngspice_library().version)
    return versions
