"""Run the plain ngspice program on a complete deck: the reference that shares nothing with our shared-library path.

Takes the text of a deck, or a deck on the disk with what it includes, and gives the vectors of its one plot. One
process a deck, so nothing of an earlier deck can survive. Knows nothing of batches and drives; where speed counts,
`sweep` is the way.

ngspice 39 ends with status 0 after a transient fallback, a changed resistance or a missing analysis, so its words and
its file are judged as well.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from circuits.arrays import Floats
from circuits.circuit import Circuit
from circuits.kirchhoff import kirchhoff_residual
from netlists.netlist import Netlist, node_map
from netlists.spice_writer import format_standalone

from ...errors import ConvergenceError, ResultError, SimulationError, SimulatorNotFound
from ..base import residual_tolerance_v

# "resistance to low": below 1 mOhm ngspice takes 1 mOhm and goes on. "Transient op": the value where a transient was
# stopped, good to a few digits only. A failed gmin or source step alone is harmless, the next method starts.
_DENIED: Final = re.compile(
    r"error|singular|aborted|no convergence|doAnalyses|timestep|iteration limit|too many iterations|transient op|"
    r"resistance to low|source stepping failed|DC solution failed|unknown|can't find|could not find|not parsed|"
    r"there aren't any|unrecogni[sz]ed|no such|ignored|not (defined|found|supported)",
    re.IGNORECASE,
)
_BYTES_A_VALUE: Final = 8
_SHOWN: Final = 5  # lines of the log in a message
_RAW: Final = "deck.raw"
_LOG: Final = "deck.log"


def find_ngspice_program() -> str:
    """Return the path of the ngspice program.

    Raises: SimulatorNotFound if there is none on PATH.
    """
    path = shutil.which("ngspice")
    if path is None:
        raise SimulatorNotFound(
            "the ngspice program is not on PATH. Install it with `sudo apt-get install ngspice` (Debian, Ubuntu) or "
            "`brew install ngspice` (macOS), or run `make setup`"
        )
    return path


@contextmanager
def _on_disk(place: Path | str) -> Iterator[None]:
    """Say where the files of a run could not be written or read, and what to do."""
    try:
        yield
    except OSError as error:
        raise SimulationError(
            f"the files of an ngspice run cannot be kept at {place}: {error.strerror or error}. Free space there, or "
            "name another folder with TMPDIR, or with `keep` of run_program"
        ) from error


def run_program(text: str, *, timeout_s: float = 300.0, keep: Path | None = None) -> dict[str, NDArray[np.float64]]:
    """Run a complete deck in a process of its own.

    Args:
        text: the deck, analysis and `.end` included.
        timeout_s: s — the process is ended after it.
        keep: folder (made where missing) that keeps deck, log and raw file; by default they are kept only where the run
            fails, in a folder that the error names.

    Returns:
        [n_points] V or A by vector name as in libngspice: "node", and "source#branch" for i(source).

    Raises:
        SimulatorNotFound: if ngspice is not installed.
        ResultError: if the exit status, the log or the raw file shows that this is not the solution of this deck.
        SimulationError: if the deck or the log cannot be written, or the raw file not read.
    """
    program, folder = find_ngspice_program(), _run_folder(keep)
    deck = folder / "deck.cir"
    with _on_disk(deck):
        deck.write_text(text, encoding="utf-8")
    vectors = _run(program, deck.name, folder, timeout_s=timeout_s, where=f"Deck and log: {deck}")
    if keep is None:
        shutil.rmtree(folder, ignore_errors=True)
    return vectors


def run_deck(deck: Path, *, timeout_s: float = 300.0, keep: Path | None = None) -> dict[str, NDArray[np.float64]]:
    """Run a deck that is on the disk, with the files that it includes, in a process of its own.

    Args:
        deck: the file; nothing is written beside it.
        timeout_s: s — the process is ended after it.
        keep: folder (made where missing) that keeps log and raw file, as for `run_program`.

    Returns:
        as `run_program`.

    Raises:
        SimulatorNotFound, ResultError: as `run_program`.
        SimulationError: if there is no such deck, the log cannot be written, or the raw file not read.
    """
    program = find_ngspice_program()
    if not deck.is_file():
        raise SimulationError(f"{deck}: there is no such deck; name a SPICE file")
    folder = _run_folder(keep)
    where = f"Deck: {deck}, log: {folder / _LOG}"
    vectors = _run(program, str(deck.absolute()), folder, timeout_s=timeout_s, where=where)
    if keep is None:
        shutil.rmtree(folder, ignore_errors=True)
    return vectors


def _run_folder(keep: Path | None) -> Path:
    """Return the folder of a run, made where missing, without the raw file of an earlier one."""
    with _on_disk(keep or "the temporary folder"):
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="tellegen-ngspice-")) if keep is None else keep
        (folder / _RAW).unlink(missing_ok=True)
    return folder


def _run(program: str, deck: str, folder: Path, *, timeout_s: float, where: str) -> dict[str, NDArray[np.float64]]:
    """Run a deck by its name as seen from a folder, which gets log and raw file, and judge what comes of it."""
    raw, log = folder / _RAW, folder / _LOG
    try:
        # -n: a user's .spiceinit may change what a deck means.
        run = subprocess.run(
            [program, "-n", "-b", "-r", raw.name, deck],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        with _on_disk(log):
            log.write_bytes((error.stdout or b"") + (error.stderr or b""))
        raise ResultError(
            f"ngspice ran past {timeout_s:g} s and was ended; allow more time, or loosen the clamps. {where}"
        ) from error
    with _on_disk(log):
        log.write_bytes(run.stdout + run.stderr)
    # Its own name for the deck is echoed in the log: a circuit may be called "error amplifier".
    said = [line.strip() for line in (run.stderr + run.stdout).decode("utf-8", "replace").splitlines()]
    denied = [line for line in said if _DENIED.search(line) and not line.startswith("Circuit:")]
    if run.returncode != 0 or denied:
        shown = list(dict.fromkeys(denied or [line for line in said if line]))[:_SHOWN]
        raise ResultError(f"ngspice ended with status {run.returncode} and said: {' | '.join(shown)}. {where}")
    if not raw.is_file():
        raise ResultError(f"ngspice wrote no raw file; the deck has no analysis. {where}")
    with _on_disk(raw):
        content = raw.read_bytes()
    try:
        return parse_raw(content)
    except ResultError as error:
        raise ResultError(f"{error}. {where}") from error


def parse_raw(content: bytes) -> dict[str, NDArray[np.float64]]:
    """Read a binary raw file with exactly one plot of real vectors.

    Args:
        content: the file.

    Returns:
        [n_points] by vector name; v(x) becomes "x", i(x) becomes "x#branch".

    Raises:
        ResultError: if the header is not whole, or a plot, point or byte is missing or left over.
    """
    head, found, body = content.partition(b"Binary:\n")
    lines = head.decode("utf-8", "replace").splitlines()
    fields = {key.strip(): value.strip() for key, colon, value in (line.partition(":") for line in lines) if colon}
    if not found or not {"No. Variables", "No. Points", "Flags"} <= fields.keys() or "Variables:" not in lines:
        raise ResultError("the raw file has no complete header")
    n_variables, n_points = _read_count(fields, "No. Variables"), _read_count(fields, "No. Points")
    if fields["Flags"] != "real":
        raise ResultError(f"the raw file holds '{fields['Flags']}' values; expected real ones")
    rows = [line.split() for line in lines[lines.index("Variables:") + 1 :]]
    names = [row[1] for row in rows if len(row) > 1]
    expected = n_points * n_variables * _BYTES_A_VALUE
    if len(names) != n_variables or n_points < 1:
        raise ResultError(f"the raw file announces {n_variables} vectors of {n_points} points and names {len(names)}")
    if len(body) != expected:
        more = "more than one plot, or junk" if len(body) > expected else "the file is cut off"
        raise ResultError(f"the raw file has {len(body)} bytes of values where {expected} were announced: {more}")
    values = np.frombuffer(body, dtype="<f8").reshape(n_points, n_variables).astype(np.float64)
    return {_vector_name(name): values[:, k] for k, name in enumerate(names)}


def _read_count(fields: dict[str, str], key: str) -> int:
    """Return a count of the raw file's header."""
    try:
        return int(fields[key])
    except ValueError as error:
        raise ResultError(f"the raw file has '{key}: {fields[key]}'; expected a whole number") from error


def _vector_name(name: str) -> str:
    """Return libngspice's name for a name of the raw file."""
    inner = name[2:-1]
    if name.endswith(")") and name.startswith("v("):
        return inner
    return f"{inner}#branch" if name.endswith(")") and name.startswith("i(") else name


def solve_standalone(netlist: Netlist) -> tuple[Floats, Floats]:
    """Solve the operating point of a netlist, unreduced and with the values of its circuit, in the plain program.

    Args:
        netlist: what `netlists.lower` returned; set values with `Circuit.with_conductances` and `with_drives` before.

    Returns:
        [n_nodes] V in the circuit's order, ground first, and [n_voltage_sources] A delivered at the plus nodes.

    Raises:
        SimulatorNotFound: if ngspice is not installed.
        ResultError: as `run_program`, and for a vector that is missing or not finite.
        ConvergenceError: if the answer violates Kirchhoff's current law by our own element laws.
        SimulationError: as `run_program`.
    """
    vectors = run_program(format_standalone(netlist))
    names = node_map(netlist)
    values = _read_values(netlist, vectors, names.vectors)
    voltage_v = names.voltages(values)
    _require_kirchhoff(netlist, voltage_v)
    return voltage_v[0], names.source_currents(values)[0]


def read_voltages(netlist: Netlist, vectors: Mapping[str, NDArray[np.float64]]) -> Floats:
    """Return the node voltages at the first point of what the program answered, [n_nodes] V, ground first.

    Raises:
        ResultError: for a vector that is missing or not finite.
    """
    return np.concatenate([np.zeros(1), _read_values(netlist, vectors, netlist.nodes[1:])[0]])


def _read_values(netlist: Netlist, vectors: Mapping[str, NDArray[np.float64]], names: Sequence[str]) -> Floats:
    """Return the first point of some vectors, [1, n]."""
    missing = [name for name in names if name not in vectors]
    if missing:
        raise ResultError(f"circuit '{netlist.circuit.name}': ngspice returned no vector '{missing[0]}'")
    values = np.array([[vectors[name][0] for name in names]])
    if not np.isfinite(values).all():
        name = names[int(np.argmax(~np.isfinite(values)))]
        raise ResultError(f"circuit '{netlist.circuit.name}': ngspice returned {vectors[name][0]} for '{name}'")
    return values


def _require_kirchhoff(netlist: Netlist, voltage_v: Floats) -> None:
    """Raise ConvergenceError if node voltages, [1, n_nodes] V, are no equilibrium of the netlist's circuit."""
    circuit = netlist.circuit
    residual = kirchhoff_residual(
        netlist.topology,
        circuit.resistors.conductance_s,
        _own_drives(circuit),
        voltage_v,
        voltage_tolerance_v=residual_tolerance_v(netlist.options, voltage_v),
    )
    found_a, allowed_a = float(residual.residual_a[0]), float(residual.tolerance_a[0])
    if not found_a <= allowed_a:  # nan, too
        raise ConvergenceError(
            f"circuit '{circuit.name}': the ngspice program's answer violates Kirchhoff's law at "
            f"{circuit.labels[int(residual.node[0])]}: net current {found_a:.3g} A, allowed {allowed_a:.3g} A. Lower "
            "reltol and vntol_v of SolverOptions to make ngspice go on for longer, or k_over_q_v_per_k of the circuit "
            "is not this ngspice's"
        )


def _own_drives(circuit: Circuit) -> Floats:
    """Return the values that the driven sources have in the circuit, [1, n_drives] V then A."""
    v, i = circuit.voltage_sources, circuit.current_sources
    return np.concatenate([v.voltage_v[circuit.driven_voltage_sources], i.current_a[circuit.driven_current_sources]])[
        np.newaxis
    ]
