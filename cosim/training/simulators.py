"""From a configuration to the simulator that it names; what is missing is said before anything is written.

Takes: the `[simulator]` section. Gives: an `AbstractSimulator`. Must not know: networks.
"""

import torch

from circuits.diode import K_OVER_Q_V_PER_K

from ..errors import ConfigError
from ..simulators.base import AbstractSimulator
from .config import SimulatorKind, SimulatorSection


def build_simulator(section: SimulatorSection) -> AbstractSimulator:
    """Return the simulator that a configuration names; ngspice is loaded only if it is the one.

    Raises:
        SimulatorNotFound: if it is not installed, or the Dask cluster that is to run it does not answer.
        ConfigError: if this machine has not the device that it is to run on.
    """
    match section.name:
        case SimulatorKind.NEWTON:
            from ..simulators.newton import NewtonSimulator  # noqa: PLC0415

            _check_device(section.device)
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


def _check_device(device: str) -> None:
    """Refuse a CUDA device that torch does not see here."""
    kind, _, index = device.partition(":")
    n_devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cpu" or int(index or 0) < n_devices:
        return
    if n_devices:
        reason, advice = f"torch sees {n_devices} CUDA device(s) here, counted from 0", 'choose "cuda:0"'
    elif torch.version.cuda is None:
        reason, advice = "this torch is built without CUDA", "install a CUDA build of torch (see pytorch.org)"
    else:
        reason, advice = "torch sees no CUDA device here", "check `nvidia-smi` and the driver"
    raise ConfigError(f'simulator.device = "{device}": {reason}; {advice}, or set simulator.device = "cpu"')


def measured_k_over_q(section: SimulatorSection) -> float:
    """Return k/q in V/K as the simulator has it: newton has ours, and versions of ngspice differ by 1e-6."""
    if section.name is SimulatorKind.NEWTON:
        return K_OVER_Q_V_PER_K
    from ..simulators.ngspice.thermal import measure_k_over_q  # noqa: PLC0415

    measured = measure_k_over_q()
    # The measurement is good to 1e-14; the constant itself keeps circuits the same to the last bit.
    return K_OVER_Q_V_PER_K if abs(measured / K_OVER_Q_V_PER_K - 1.0) < 1e-11 else measured
