"""Try what a plan needs before anything is computed: simulators, and the base's weights in networks that differ."""

from contextlib import closing, nullcontext

from circuits.errors import TellegenError

from ..files import format_json
from ..training.config import Config, SimulatorKind
from ..training.data import load_data
from ..training.simulators import build_simulator
from .base import load_network
from .curves import name_of
from .errors import SweepError
from .plan import Plan
from .sweep_file import Do


def try_plan(plan: Plan) -> None:
    """Build each simulator once, and each network that is not the base's.

    Raises:
        SimulatorNotFound, ConfigError: if a simulator, or the device that it runs on, is not here.
        SweepError: if the base's weights do not fit the network of a point.
    """
    configs = [c for point in plan.jobs for c in (point.config, point.evaluate_with) if c is not None]
    sections = {format_json(c.simulator.model_dump(mode="json")): c.simulator for c in configs if c.has_circuit}
    if plan.spec.ngspice is not None:
        sections["ngspice"] = configs[0].simulator.model_copy(update={"name": SimulatorKind.NGSPICE})
    for section in sections.values():
        build_simulator(section).close()
    if plan.spec.do is Do.EVALUATE and not plan.base.trains:
        _try_networks(plan)


def _try_networks(plan: Plan) -> None:
    tried = {format_json(plan.base.config.network.model_dump(mode="json"))}
    images = None
    for point in plan.jobs:
        text = format_json(point.config.network.model_dump(mode="json"))
        if text in tried or point.base is None:
            continue
        tried.add(text)
        images = images or load_data(point.config.data)
        config = _with_newton(point.config)
        try:
            with closing(build_simulator(config.simulator)) if config.has_circuit else nullcontext() as simulator:
                load_network(point.base, config, simulator, images)
        except TellegenError as error:
            raise SweepError(f"axes: {name_of(point)}: the base's weights do not fit this network: {error}") from error


def _with_newton(config: Config) -> Config:
    section = config.simulator.model_copy(update={"name": SimulatorKind.NEWTON, "device": "cpu"})
    return config.model_copy(update={"simulator": section})
