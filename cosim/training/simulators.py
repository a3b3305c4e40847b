"""From a configuration to the simulator that it names; what is missing is said before anything is written.

Takes: the `[simulator]` section. Gives: an `AbstractSimulator`. Must not know: networks.
"""

from circuits.diode import K_OVER_Q_V_PER_K

from ..simulators.base import AbstractSimulator
from .config import SimulatorKind, SimulatorSection
from .placement import check_device


def build_simulator(section: SimulatorSection) -> AbstractSimulator:
    """Return the simulator that a configuration names; ngspice is loaded only if it is the one.

    Raises:
        SimulatorNotFound: if it is not installed, or the Dask cluster that is to run it does not answer.
        ConfigError: if this machine has not the device that it is to run on.
    """
    match section.name:
        case SimulatorKind.NEWTON:
            from ..simulators.newton import NewtonSimulator  # noqa: PLC0415

            check_device(section.device, "simulator.device")
            return NewtonSimulator(device=section.device)
        case SimulatorKind.NGSPICE:
            from ..simulators.ngspice.dask_executor import dask_executor_factory  # noqa: PLC0415
            from ..simulators.ngspice.library import find_ngspice_library  # noqa: PLC0415
            from ..simulators.ngspice.simulator import NgspiceSimulator  # noqa: PLC0415

            find_ngspice_library()  # before anything is written, not in the first worker
            factory = None if section.dask is None else dask_executor_factory(section.dask)
            return NgspiceSimulator(
                workers=section.workers, timeout_s=section.timeout_s, chunk=section.chunk, executor_factory=factory
            )


def measured_k_over_q(section: SimulatorSection) -> float:
    """Return k/q in V/K as the simulator has it: newton has ours, and versions of ngspice differ by 1e-6."""
    if section.name is SimulatorKind.NEWTON:
        return K_OVER_Q_V_PER_K
    from ..simulators.ngspice.thermal import measure_k_over_q  # noqa: PLC0415

    measured = measure_k_over_q()
    # The measurement is good to 1e-14; the constant itself keeps circuits the same to the last bit.
    return K_OVER_Q_V_PER_K if abs(measured / K_OVER_Q_V_PER_K - 1.0) < 1e-11 else measured
