"""Look at this machine: what is installed, what ngspice computes with, and whether both simulators agree.

Takes: nothing. Gives: a `Diagnosis`, with one line of advice for each thing that is missing. It never raises: a machine
where nothing works is what it is for.
"""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, final

from .versions import collect_versions

AGREEMENT_V = 1e-8  # what the two simulators must agree to, everywhere in this project
K_OVER_Q_AGREEMENT = 1e-5  # the constants of published versions differ by 1e-6
_T = TypeVar("_T")


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Something missing or wrong, and the one line that mends it."""

    what: str
    fix: str


@final
@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """What was found.

    Args:
        versions: of Python and of each distribution; None where it is missing.
        ngspice_library: path or name of libngspice; None where there is none.
        ngspice_version: its major version.
        ngspice_program: path of the program.
        k_over_q_v_per_k: V/K — measured in libngspice.
        k_over_q_expected_v_per_k: V/K — our own constant.
        clamp_v: V — the self-test circuit's node in each simulator.
        largest_difference_v: V — between the two.
        problems: what is missing or wrong.
    """

    versions: dict[str, str | None]
    ngspice_library: str | None = None
    ngspice_version: int | None = None
    ngspice_program: str | None = None
    k_over_q_v_per_k: float | None = None
    k_over_q_expected_v_per_k: float | None = None
    clamp_v: dict[str, float] = field(default_factory=dict)
    largest_difference_v: float | None = None
    problems: tuple[Problem, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether everything works."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Return what `tellegen doctor --json` writes."""
        return {
            "ok": self.ok,
            "versions": self.versions,
            "ngspice": {
                "library": self.ngspice_library,
                "version": self.ngspice_version,
                "program": self.ngspice_program,
                "k_over_q_v_per_k": self.k_over_q_v_per_k,
                "k_over_q_expected_v_per_k": self.k_over_q_expected_v_per_k,
            },
            "self_test": {"clamp_v": self.clamp_v, "largest_difference_v": self.largest_difference_v},
            "problems": [{"what": problem.what, "fix": problem.fix} for problem in self.problems],
        }

    def table(self) -> str:
        """Return what `tellegen doctor` prints."""
        rows = [(name, version or "missing") for name, version in self.versions.items()]
        version = "" if self.ngspice_version is None else f"version {self.ngspice_version}, "
        rows.append(("libngspice", "missing" if self.ngspice_library is None else f"{version}{self.ngspice_library}"))
        rows.append(("ngspice program", self.ngspice_program or "missing"))
        if self.k_over_q_v_per_k is not None:
            vt = self.k_over_q_v_per_k * 300.15
            rows.append(("thermal voltage", f"{vt:.9f} V at 27 C (k/q = {self.k_over_q_v_per_k:.10e} V/K, measured)"))
        if self.largest_difference_v is not None:
            names = " and ".join(self.clamp_v)
            rows.append(("diode clamp", f"{names} differ by {self.largest_difference_v:.1e} V"))
        lines = [f"{name:<16} {text}" for name, text in rows]
        lines += [f"problem: {problem.what}\n    fix: {problem.fix}" for problem in self.problems]
        return "\n".join([*lines, "ok" if self.ok else f"{len(self.problems)} problem(s)"])


def diagnose() -> Diagnosis:
    """Examine this machine.

    Returns:
        versions, the ngspice that is found, its thermal voltage, and a diode clamp solved in both simulators.
    """
    problems: list[Problem] = []
    versions = collect_versions()
    for name, version in versions.items():
        if version is None:
            problems.append(Problem(what=f"Python package {name} is not installed", fix="make setup"))
    if sys.version_info < (3, 11):  # noqa: UP036  a wheel may be forced onto an older one
        problems.append(Problem(what="Python is older than 3.11", fix="make setup PYTHON=python3.11"))
    program = shutil.which("ngspice")
    if program is None:
        problems.append(Problem(what="the ngspice program is not on PATH", fix=_install_line("ngspice")))
    library, library_version, measured = _examine_library(problems)
    clamp_v: dict[str, float] = {}
    for name, solve in {"newton": _solve_in_newton, "ngspice": _solve_in_ngspice}.items():
        if name == "ngspice" and measured is None:
            continue
        k_over_q = measured
        value = _attempt(f"{name} does not solve the self-test circuit", lambda: solve(k_over_q), problems)  # noqa: B023
        if value is not None:
            clamp_v[name] = value
    difference = abs(clamp_v["newton"] - clamp_v["ngspice"]) if len(clamp_v) == 2 else None
    if difference is not None and not difference <= AGREEMENT_V:
        what = f"newton and ngspice differ by {difference:.2g} V on a diode clamp, more than {AGREEMENT_V:g} V"
        problems.append(Problem(what=what, fix="use ngspice 39 or newer, and report this with the output of doctor"))
    return Diagnosis(
        versions=versions,
        ngspice_library=library,
        ngspice_version=library_version,
        ngspice_program=program,
        k_over_q_v_per_k=measured,
        k_over_q_expected_v_per_k=_attempt("circuits cannot be imported", _expected_k_over_q, problems),
        clamp_v=clamp_v,
        largest_difference_v=difference,
        problems=tuple(problems),
    )


def _examine_library(problems: list[Problem]) -> tuple[str | None, int | None, float | None]:
    """Return path, version and k/q of libngspice."""

    def find() -> str:
        from .simulators.ngspice.library import find_ngspice_library  # noqa: PLC0415  works without numpy's friends

        return find_ngspice_library()

    path = _attempt("libngspice cannot be found", find, problems, fix=_library_line())
    if path is None:
        return None, None, None

    def load() -> tuple[str, int]:
        from .simulators.ngspice.library import ngspice_library  # noqa: PLC0415

        library = ngspice_library()
        return str(library.path), library.version

    loaded = _attempt(f"libngspice ({path}) cannot be loaded", load, problems, fix=_library_line())
    if loaded is None:
        return path, None, None

    def measure() -> float:
        from .simulators.ngspice.thermal import measure_k_over_q  # noqa: PLC0415

        return measure_k_over_q()

    measured = _attempt("libngspice does not solve a single diode", measure, problems, fix=_library_line())
    if measured is not None and abs(measured / _expected_k_over_q() - 1.0) > K_OVER_Q_AGREEMENT:
        what = f"libngspice has k/q = {measured:.6e} V/K, which is no physical constant"
        problems.append(Problem(what=what, fix=_library_line()))
    return *loaded, measured


def _attempt(what: str, action: Callable[[], _T], problems: list[Problem], *, fix: str = "make setup") -> _T | None:
    """Return what an action gives, or note its failure and return None."""
    try:
        return action()
    except Exception as error:  # noqa: BLE001  whatever is broken here is to be named, not raised
        problems.append(Problem(what=f"{what}: {error}", fix=fix))
        return None


def _expected_k_over_q() -> float:
    from circuits.diode import K_OVER_Q_V_PER_K  # noqa: PLC0415  numpy may be what is missing

    return K_OVER_Q_V_PER_K


def _solve(simulator: Any, k_over_q: float | None) -> float:
    """Return the node voltage of a diode clamp that carries 0.1 mA: the self-test circuit.

    ```
    2 V --[10 kohm]-- a --|>|-- 1 V rail        a is about 1.6 V
    ```
    """
    from dataclasses import replace  # noqa: PLC0415

    import numpy as np  # noqa: PLC0415

    from circuits import CircuitBuilder, DiodeModel  # noqa: PLC0415
    from netlists.lowering import lower  # noqa: PLC0415

    circuit = (
        CircuitBuilder("self-test")
        .voltage_source("drive", "in", "0", 0.0, driven=True)
        .resistor("r", "in", "a", 1e-4)
        .diode("clamp", "a", "rail", DiodeModel())
        .voltage_source("rail", "rail", "0", 1.0)
        .build()
    )
    circuit = circuit if k_over_q is None else replace(circuit, k_over_q_v_per_k=k_over_q)
    netlist, names = lower(circuit)
    point = simulator.prepare(netlist).solve(circuit.resistors.conductance_s, np.array([[2.0]]))
    return float(point.voltage_v[0, names.node("a")])


def _solve_in_newton(k_over_q: float | None) -> float:
    from .simulators.newton import NewtonSimulator  # noqa: PLC0415

    return _solve(NewtonSimulator(), k_over_q)


def _solve_in_ngspice(k_over_q: float | None) -> float:
    from .simulators.ngspice.simulator import NgspiceSimulator  # noqa: PLC0415

    return _solve(NgspiceSimulator(workers=0), k_over_q)


def _install_line(package: str) -> str:
    return f"brew install {package}" if sys.platform == "darwin" else f"sudo apt-get install -y {package}"


def _library_line() -> str:
    if os.environ.get("NGSPICE_LIBRARY_PATH"):
        return "unset NGSPICE_LIBRARY_PATH, or set it to the full path of libngspice"
    return _install_line("libngspice" if sys.platform == "darwin" else "libngspice0")
