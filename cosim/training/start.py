"""Begin where another run has got to: its network, programmed into circuits where `[circuit]` says so.

Takes: a configuration with `[start]`. Gives: a `Setup`, as one without has it; its configuration is that of an ordinary
run, in which what was programmed stands as analog stages.
"""

from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from ..errors import ConfigError, RunError
from ..simulators.base import AbstractSimulator
from ..simulators.newton import NewtonSimulator
from .checkpoint import Tally, with_own_devices
from .checkpoints import Which
from .circuit_section import CircuitSection, StartSection
from .config import Config, GradientKind
from .config_file import Tables
from .device_window import block_window_s
from .hopfield_sections import HopfieldStage
from .paper_tables import WHOLE
from .programmed import program_network, programming_settings
from .run_folder import RunFolder
from .setup import Setup, forget_other_devices, load_run, set_up
from .simulators import measured_k_over_q


def complete_tables(tables: Tables, run: Path | None) -> Tables:
    """Fill in what a configuration leaves out with what the run has that it begins with.

    Args:
        tables: of a file, with `[start]` or without.
        run: the run of --from; None for that of `[start]`, if there is one.

    Returns:
        tables with `[start]` and, where the run has hopfield stages, `[circuit]`; or as they were without a run.

    Raises:
        RunError: if it is no run folder.
        ConfigError: if its configuration cannot be read.
    """
    start = tables.get("start")
    start = dict(start) if isinstance(start, dict) else {}
    if run is not None:
        start["run"] = str(run)
    if not isinstance(start.get("run"), str) or not start["run"]:
        return tables  # without a run, or wrong: the check of the whole says what is
    start["run"] = str(Path(start["run"]).expanduser().absolute())
    tables = {**tables, "start": start}
    if Config.model_fields.keys() - {"preset", "width"} <= tables.keys():
        return tables  # a run's own, complete
    theirs = RunFolder(path=Path(start["run"])).read_config()
    base = theirs.model_dump(mode="json", exclude={"start", "circuit"})
    for name, value in base.items():
        given = tables.get(name, {})
        if name not in tables:
            tables[name] = value
        elif name != "network" and isinstance(value, dict) and isinstance(given, dict):
            tables[name] = {**value, **given}
    if any(isinstance(stage, HopfieldStage) for stage in theirs.network.stages):
        tables.setdefault("circuit", {})
    return tables


def set_up_from(
    start: StartSection, config: Config, simulator: AbstractSimulator | None, console: Console | None = None
) -> Setup:
    """Set up a network with the weights of another run.

    Args:
        start: the run.
        config: what to train; its network is that of the run.
        simulator: relaxes the circuits; None where there will be none.
        console: shows the progress of a download.

    Raises:
        RunError: if the run or its checkpoint cannot be used.
        ConfigError: if its network is another than the configuration's, or takes other images.
        ProgrammingError: if a block cannot be programmed as `[circuit]` says.
        DataError: if the images are not there.
    """
    theirs = RunFolder(path=Path(start.run)).read_config()
    if theirs.network != config.network:
        raise ConfigError(
            f"network: is another than that of start.run = {start.run!r}, whose weights cannot begin it; leave "
            "[network] out"
        )
    _refuse_other_layers(start, theirs.gradient, config.gradient)
    # Weights do not depend on what relaxed them: that simulator need not be here.
    ours = {"data": config.data, "simulator": config.simulator, "start": None, "circuit": None}
    source_config = theirs.model_copy(update=ours)
    source_simulator = NewtonSimulator() if source_config.has_circuit else None
    source = _load_source(start, source_config, source_simulator, theirs)
    circuit = _circuit_of_devices(config)
    if circuit is None:
        setup = set_up(config, simulator, console)
        own = setup.network.state_dict()
        setup.network.load_state_dict(with_own_devices(own, source.network.state_dict()))
        forget_other_devices(setup.network, config, theirs)
        return setup
    if simulator is None:
        raise ConfigError("circuit: needs a simulator, got None; give one")
    k_over_q = measured_k_over_q(config.simulator)
    programmed = program_network(
        config.model_copy(update={"circuit": None, "preset": None, "width": WHOLE}),  # its stages are others now
        source.network,
        programming_settings(circuit, k_over_q_v_per_k=k_over_q),
        simulator=simulator,
        shape=source.data.shape,
        n_classes=source.data.n_classes,
    )
    if console is not None:
        for report in programmed.reports:
            console.print(f"block {report.block}, {report.source}:", highlight=False, markup=False)
            for text in report.texts():
                console.print(f"  {text}", highlight=False, markup=False, soft_wrap=True)
    generator = torch.Generator().manual_seed(config.training.seed)
    torch.manual_seed(config.training.seed)
    return replace(
        source,
        config=programmed.config,
        network=programmed.network,
        generator=generator,
        tally=Tally(images=source.data.fingerprint),
        reports=programmed.reports,
    )


def _circuit_of_devices(config: Config) -> CircuitSection | None:
    """Return what the blocks are programmed into: `[circuit]`, in the window that `[devices]` have."""
    window_s = None if config.devices is None else config.devices.window_s
    if window_s is None or (config.circuit is not None and config.circuit.g_min_s is not None):
        return config.circuit
    low_s, high_s = block_window_s(*window_s)
    return (config.circuit or CircuitSection()).model_copy(update={"g_min_s": low_s, "g_max_s": high_s})


def absolute_start(config: Config) -> Config:
    """Return a configuration that names the run to begin with from any working directory, for a run folder."""
    if config.start is None:
        return config
    run = str(Path(config.start.run).expanduser().absolute())
    return config.model_copy(update={"start": config.start.model_copy(update={"run": run})})


def configuration_to_resume(folder: Path, given: Path | None) -> Path:
    """Return the file that says what a run goes on with.

    Args:
        folder: the run's.
        given: a configuration, which an ordinary run may be given again; None for its own.

    Raises:
        RunError: if there is no run.
        ConfigError: if one is given and the run began with the weights of another, which it does not do again.
    """
    saved = RunFolder(path=folder).read_config()
    if given is not None and saved.start is not None:
        raise ConfigError(_leave_out(folder, saved.start, f"{given}: "))
    return given or RunFolder(path=folder).config


def refuse_same_folder(start: StartSection, folder: Path) -> None:
    """Refuse to replace the run to begin with.

    Raises:
        RunError: naming it.
    """
    if Path(start.run).resolve() == folder.resolve():
        raise RunError(f"{folder}: is the run to begin with, which stays as it is; choose another --out")


def refuse_resume(folder: Path, config: Config) -> None:
    """Refuse to program a run that goes on, and to go on with one that has no checkpoint and did not begin by a seed.

    Raises:
        ConfigError: if there is something to program; what was programmed is in the run.
        RunError: if there is no run, or saying how to begin again.
    """
    RunFolder(path=folder).read_config()
    if config.circuit is not None and config.start is not None:
        raise ConfigError(_leave_out(folder, config.start, ""))
    if config.start is not None and not RunFolder(path=folder).checkpoints.exist:
        raise RunError(
            f"{folder}: has no checkpoint yet, and begins with the weights of {config.start.run}: start again, with "
            f"--from {config.start.run} --force"
        )


def _leave_out(folder: Path, start: StartSection, given: str) -> str:
    return (
        f"{given}{folder} began with the weights of {start.run}, and goes on as its own config.json says: leave CONFIG "
        f"and [circuit] out, as in `tellegen train --resume --out {folder}`"
    )


def _refuse_other_layers(start: StartSection, theirs: GradientKind, ours: GradientKind) -> None:
    """Refuse tanh layers to begin circuits, and the reverse."""
    if (theirs is GradientKind.BACKPROP) is (ours is GradientKind.BACKPROP):
        return
    if ours is GradientKind.BACKPROP:
        raise ConfigError(
            f'gradient = "backprop" trains tanh layers, but what start.run = {start.run!r} has trained are '
            'conductances; set "ep" or "implicit"'
        )
    raise ConfigError(
        f'start.run = {start.run!r}: has gradient = "backprop", whose tanh layers compute in one direction, and a '
        "circuit relaxes in both, so it has no use for their weights; begin with a run of hopfield stages, or of "
        'analog ones with gradient = "ep"'
    )


def _load_source(start: StartSection, config: Config, simulator: AbstractSimulator | None, theirs: Config) -> Setup:
    """Load a run to begin with; what is said of its checkpoint is in the words of `[start]`."""
    try:
        return load_run(Path(start.run), simulator, config=config, which=Which(start.checkpoint))
    except (ConfigError, RunError) as error:
        if config.data.name is not theirs.data.name:
            raise ConfigError(
                f"data.name = '{config.data.name.value}': its images do not fit the network of start.run = "
                f"{start.run!r}, which was trained on '{theirs.data.name.value}' ({error}); leave it out"
            ) from error
        if isinstance(error, ConfigError):
            raise
        raise RunError(
            f"{error}. The checkpoint to begin with is set by start.checkpoint, as in --set start.checkpoint=previous"
        ) from error
