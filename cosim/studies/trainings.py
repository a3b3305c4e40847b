"""Trainings of a study: ordinary run folders, gone on with where they were interrupted, several at a time.

Takes: configurations and their folders. Gives: results, each as it is there. Must not know: what is compared.
"""

import functools
import io
import os
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import final

from rich.console import Console

from circuits.errors import TellegenError

from ..errors import StudyError
from ..progress import counting_bar
from ..simulators.ngspice.pool import make_loky_executor
from ..sweeps.engine import Died, Pool, run_all
from ..training.checkpoints import Which
from ..training.config import Config
from ..training.data import load_data
from ..training.result import Result
from ..training.run import train
from ..training.run_folder import RunFolder, check_place, open_run_folder
from ..training.simulators import build_simulator


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """One training of a study.

    Args:
        title: what it is, for people.
        run: its run folder.
        config: whole, its simulator in its own process.
    """

    title: str
    run: Path
    config: Config


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What a worker sends back.

    Args:
        result: of the training; None if it failed.
        error: why; None if it did not.
        warnings: that it gave, each once.
    """

    result: Result | None
    error: str | None
    warnings: tuple[str, ...]


def train_once(run: Path, settings: Config, console: Console) -> Result:
    """Return a training's result: read where it is finished, gone on with where it was begun.

    Raises:
        ConfigError: if the folder was begun with another configuration.
        RunError: if it holds something else.
        TellegenError, KeyboardInterrupt: as `train`.
    """
    found = find_result(run, settings)
    if found is not None:
        return found
    return train(settings, run, resume=Which.LAST if RunFolder(path=run).config.exists() else None, console=console)


def find_result(run: Path, settings: Config) -> Result | None:
    """Return the result of a training that is finished; None if it is not, or not begun.

    Raises:
        ConfigError, RunError: as `train_once`.
    """
    if RunFolder(path=run).config.exists():
        finished = open_run_folder(run, settings).read_result()
        return None if finished is None else Result.from_json(run, finished)
    check_place(run, force=False)
    return None


def train_all(
    trainings: Sequence[Training],
    *,
    executor_factory: Callable[[], Executor] | None = None,
    workers: int | None = None,
    console: Console | None = None,
) -> Iterator[tuple[Training, Result]]:
    """Do trainings in processes of one thread each; results come as they are there, finished ones first.

    Args:
        trainings: in the order in which they are begun.
        executor_factory: makes an executor, and a new one after a crash; new processes if left out.
        workers: trainings at a time; one for each core if left out.
        console: where each is told of as it ends.

    Raises:
        ConfigError, RunError: if a folder holds something else, before anything is trained.
        DataError, SimulatorNotFound: if the images or a simulator are missing, likewise.
        StudyError: if a training fails; those under way are stopped, and keep their last checkpoints.
        KeyboardInterrupt: likewise.
    """
    found = [(training, find_result(training.run, training.config)) for training in trainings]
    yield from ((training, result) for training, result in found if result is not None)
    due = [training for training, result in found if result is None]
    if not due:
        return
    _try(due, console)
    workers = workers or os.cpu_count() or 1
    factory = executor_factory or functools.partial(make_loky_executor, workers)
    with warnings.catch_warnings(), Pool(factory) as pool, counting_bar(console) as bar:
        # Loky replaces a worker that has grown, and says so: nothing is lost.
        warnings.filterwarnings("ignore", message="A worker was restarted", category=UserWarning)
        task = bar.add_task("trainings", total=len(trainings), completed=len(trainings) - len(due))
        n_done = len(trainings) - len(due)
        for training, outcome in run_all(pool, run_training, due, in_flight=workers):
            if isinstance(outcome, Died):
                raise StudyError(f"{training.run}: it ended its worker process twice: {outcome}")
            if outcome.result is None:
                raise StudyError(f"{training.run}: {outcome.error}")
            n_done += 1
            bar.update(task, completed=n_done)
            if console is not None:
                for line in _tell(training, outcome, outcome.result, f"training {n_done} of {len(trainings)}"):
                    console.print(line, highlight=False, markup=False, soft_wrap=True)
            yield training, outcome.result


def run_training(training: Training) -> Trained:
    """Do a training in this process; what goes wrong is part of the outcome."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        result: Result | None = None
        error: str | None = None
        try:
            result = train_once(training.run, training.config, Console(file=io.StringIO()))
        except TellegenError as failure:
            error = str(failure)
        except Exception:  # noqa: BLE001  whatever it is, the study names the training that it was
            error = traceback.format_exc().strip()
    told = dict.fromkeys(str(warning.message) for warning in caught if issubclass(warning.category, UserWarning))
    return Trained(result=result, error=error, warnings=tuple(told))


def _tell(training: Training, outcome: Trained, result: Result, number: str) -> list[str]:
    """Return what is said of a training that has ended."""
    head = f"{number}: {training.title}: test accuracy {result.test_accuracy:.4f}, {result.wall_s:.0f} s"
    return [head, *(f"warning: {training.title}: {text}" for text in outcome.warnings)]


def _try(due: Sequence[Training], console: Console | None) -> None:
    """Load the images and the simulators once: what is missing is said at once, and nothing is downloaded twice."""
    load_data(due[0].config.data, console)
    sections = {t.config.simulator.name: t.config.simulator for t in due if t.config.has_circuit}
    for section in sections.values():
        build_simulator(section).close()
