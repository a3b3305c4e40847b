"""The network of a run as circuits: hopfield stages programmed, and what it cost if weights shrank to be passive."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID
from torch import nn

from circuits.diode import K_OVER_Q_V_PER_K

from ..programming.errors import ProgrammingError
from ..programming.settings import ActiveLeaks, OutOfWindow, ProgrammingSettings
from ..progress import counting_bar
from ..simulators.newton import NewtonSimulator
from ..training.config_file import load_circuit
from ..training.data import check_images, evaluation_batches
from ..training.programmed import ProgrammedNetwork, program_network, programming_settings
from ..training.setup import Setup
from ..training.simulators import measured_k_over_q
from ..training.trainer import LOSSES, Batch, score
from .errors import CompileError
from .manifest import AccuracyEntry
from .programmed_blocks import check_weights, wants_programming


def choose_programming(
    circuit: Path | None = None,
    *,
    g_min_s: float | None = None,
    g_max_s: float | None = None,
    out_of_window: OutOfWindow | None = None,
    active_leaks: ActiveLeaks | None = None,
    allow_several_equilibria: bool | None = None,
) -> ProgrammingSettings | None:
    """Return how blocks are to be programmed; None where nothing was asked for.

    Args:
        circuit: a TOML file with a [circuit] table, which the others override.
        g_min_s: S — lowest conductance of a device.
        g_max_s: S — highest.
        out_of_window: what to do with conductances outside.
        active_leaks: what to do with units that need one.
        allow_several_equilibria: whether a block may have more than one.

    Raises:
        ConfigError: for a file that cannot be read, or a wrong key.
        ProgrammingError: for a number out of range.
    """
    given = {
        "g_min_s": g_min_s,
        "g_max_s": g_max_s,
        "out_of_window": out_of_window,
        "active_leaks": active_leaks,
        "allow_several_equilibria": allow_several_equilibria,
    }
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if circuit is None:
        return ProgrammingSettings(**changes) if changes else None
    return replace(programming_settings(load_circuit(circuit), k_over_q_v_per_k=K_OVER_Q_V_PER_K), **changes)


def program_setup(
    run: Path, setup: Setup, programming: ProgrammingSettings | None, console: Console | None
) -> tuple[Setup, AccuracyEntry | None]:
    """Return a run's configuration and network on circuits, and what it cost to need no active leak.

    Args:
        run: the run folder, for errors.
        setup: the run, its analog blocks in newton.
        programming: window, scale and diodes; k/q is taken from the run's simulator. None: analog blocks stay as they
            are, hopfield blocks get the default.
        console: shows a progress bar where it is a terminal.

    Raises:
        CompileError: for a block that cannot be programmed as asked, with its place.
        RunError: if accuracies are to be measured on other images than the run was trained on.
        SimulatorNotFound: if it was trained in ngspice, and there is none here.
    """
    if programming is None and not any(map(wants_programming, setup.network.energy)):
        return setup, None
    k_over_q = measured_k_over_q(setup.config.simulator)
    settings = replace(programming or ProgrammingSettings(), k_over_q_v_per_k=k_over_q)
    for k, block in enumerate(setup.network.energy):
        check_weights(f"energy.{k}", block)
    try:
        made = _program(setup, settings)
    except ProgrammingError as error:
        raise CompileError(f"{run}: {error}") from error
    accuracy = None
    if any(report.passivity is not None and report.passivity.applied is not None for report in made.reports):
        check_images(run, setup.tally.images, setup.data)
        accuracy = _measure_cost(setup, made, settings, console)
    return replace(setup, config=made.config, network=made.network), accuracy


def _program(setup: Setup, settings: ProgrammingSettings) -> ProgrammedNetwork:
    return program_network(
        setup.config,
        setup.network,
        settings,
        simulator=NewtonSimulator(),
        shape=setup.data.shape,
        n_classes=setup.data.n_classes,
    )


def _measure_cost(
    setup: Setup, passive: ProgrammedNetwork, settings: ProgrammingSettings, console: Console | None
) -> AccuracyEntry:
    """Return accuracies on the images held out: as trained, with active leaks, and passive."""
    try:
        active = _program(setup, replace(settings, active_leaks=ActiveLeaks.ALLOW))
    except ProgrammingError:  # larger weights, so there may be several equilibria
        active = None
    networks: list[tuple[str, nn.Module]] = [("as trained", setup.network), ("passive", passive.network)]
    if active is not None:
        networks.append(("active leaks", active.network))
    found = {}
    with counting_bar(console) as bar:
        for name, network in networks:
            task = bar.add_task(f"accuracy, {name}", total=len(setup.data.test))
            batches = _counted(bar, task, evaluation_batches(setup.data, setup.data.test))
            found[name] = score(network, LOSSES[setup.config.training.loss], batches).accuracy
    return AccuracyEntry(
        trained=found["as trained"],
        active=found.get("active leaks"),
        passive=found["passive"],
        images=len(setup.data.test),
    )


def _counted(bar: Progress, task: TaskID, batches: Iterator[Batch]) -> Iterator[Batch]:
    """Return batches, each counted when the next is asked for."""
    for batch in batches:
        yield batch
        bar.advance(task, len(batch[1]))
