"""A point evaluated in ngspice as well, and the simulator of a configuration while a point needs it."""

from collections.abc import Iterator
from contextlib import contextmanager

from digital.images import ImageDataset

from ..simulators.base import AbstractSimulator
from ..training.config import Config, SimulatorKind
from ..training.simulators import build_simulator
from .base import load_network
from .measure import Probe, score_held_out
from .point import Base, Measurement


@contextmanager
def simulator_of(config: Config) -> Iterator[AbstractSimulator | None]:
    """Give the simulator of a configuration, None where it has no circuit, and close it."""
    simulator = build_simulator(config.simulator) if config.has_circuit else None
    try:
        yield simulator
    finally:
        if simulator is not None:
            simulator.close()


def check_in_ngspice(
    base: Base, config: Config, images: ImageDataset, probe: Probe, accuracy: float
) -> dict[str, Measurement]:
    """Evaluate a point in ngspice as well; the largest difference of a voltage is that of ideal converters."""
    section = config.simulator.model_copy(update={"name": SimulatorKind.NGSPICE})
    other_config = config.model_copy(update={"simulator": section})
    with simulator_of(other_config) as ngspice, simulator_of(config) as own:
        if ngspice is None or own is None:
            raise TypeError("a network that is checked in ngspice has circuits")
        network = load_network(base, other_config, ngspice, images)
        found = score_held_out(network, other_config, images)
        pairs = zip(probe.voltages(network, ngspice), probe.voltages(network, own), strict=True)
        difference = max(float(abs(a - b).max()) for a, b in pairs)
    return {
        "ngspice_accuracy": found.accuracy,
        "ngspice_accuracy_difference": found.accuracy - accuracy,
        "ngspice_voltage_difference_v": difference,
    }
