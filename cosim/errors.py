"""Error classes of running: simulators, workers, gradients, training runs."""

from circuits.errors import TellegenError


class SimulationError(TellegenError):
    """A relaxation that gave no acceptable operating point."""


class SimulatorNotFound(SimulationError):
    """A simulator that is not installed where it is looked for."""


class ConvergenceError(SimulationError):
    """A sample whose equilibrium was not found, or not to tolerance."""


class ResultError(SimulationError):
    """A simulator's answer that is not what was asked for: vectors, points or parse errors."""


class WorkerError(SimulationError):
    """A chunk of samples that ended its worker process twice."""


class BlockError(TellegenError):
    """An analog block used with a shape, number or setting that it cannot take."""


class ConfigError(TellegenError):
    """A configuration file with a wrong key or value."""


class StudyError(TellegenError):
    """A study asked for something that it does not have."""


class RunError(TellegenError):
    """A run folder or checkpoint that cannot be written, read or continued."""
