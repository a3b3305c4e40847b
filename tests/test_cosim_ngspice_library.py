"""libngspice: how it is found, what its lines mean, its callbacks at the edge of their tables, PySpice beside it."""

import ctypes
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cosim.errors import SimulatorNotFound
from cosim.simulators.ngspice import library as library_module
from cosim.simulators.ngspice.console import ConsoleLine, LineKind, classify, summarise
from cosim.simulators.ngspice.deck import StreamedDeck
from cosim.simulators.ngspice.library import find_ngspice_library, ngspice_library
from cosim.simulators.ngspice.sweep import run_sweep
from cosim.simulators.ngspice.thermal import measure_k_over_q

pytestmark = pytest.mark.ngspice

# Boltzmann constant over elementary charge as ngspice 39 has them (CODATA 2014), V/K.
K_OVER_Q = 1.38064852e-23 / 1.6021766208e-19

DIVIDER = StreamedDeck.from_text(
    """* divider
vsweep sweep 0 0
rsweep sweep 0 1
vdrive0 in 0 external
r1 in out 1000
r2 out 0 3000
.save all
.end
""",
    vectors=("out", "vdrive0#branch"),
    n_voltage_drives=1,
)


def test_variable_that_names_no_file_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NGSPICE_LIBRARY_PATH", "/no/such/libngspice.so.0")
    with pytest.raises(
        SimulatorNotFound, match=r"NGSPICE_LIBRARY_PATH names '/no/such/libngspice.so.0', which is no file"
    ):
        find_ngspice_library()


@pytest.mark.parametrize("name", ["libngspice{}.so.0", "libngspice.so.0{}", "libngspice.so.0"])
def test_variable_may_hold_the_placeholder_of_pyspice(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "libngspice.so.0").touch()
    monkeypatch.setenv("NGSPICE_LIBRARY_PATH", str(tmp_path / name))
    assert find_ngspice_library() == str(tmp_path / "libngspice.so.0")
    monkeypatch.setenv("NGSPICE_LIBRARY_PATH", "{}")
    with pytest.raises(SimulatorNotFound, match=r"NGSPICE_LIBRARY_PATH names '\{\}', which is no file"):
        find_ngspice_library()


def test_missing_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NGSPICE_LIBRARY_PATH", raising=False)
    monkeypatch.setattr(library_module.ctypes.util, "find_library", lambda _name: None)
    monkeypatch.setattr(library_module.sys, "platform", "linux")
    with pytest.raises(SimulatorNotFound, match="sudo apt-get install libngspice0"):
        find_ngspice_library()
    monkeypatch.setattr(library_module.sys, "platform", "darwin")
    with pytest.raises(SimulatorNotFound, match="brew install libngspice"):
        find_ngspice_library()


def test_without_ngspice_pyspice_is_not_imported_and_workers_never_import_torch() -> None:
    program = (
        "import sys, ctypes.util\n"
        "ctypes.util.find_library = lambda name: None\n"
        "import cosim.simulators.ngspice.worker, cosim.simulators.ngspice.pool\n"
        "from cosim.errors import SimulatorNotFound\n"
        "try: cosim.simulators.ngspice.worker.ngspice_library()\n"
        "except SimulatorNotFound: print('not found')\n"
        "print([name for name in ('torch', 'PySpice', 'numba') if name in sys.modules])\n"
    )
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path), "PATH": "/usr/bin:/bin"}
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60, env=environment
    )
    assert run.stdout.split("\n")[:2] == ["not found", "[]"]


def test_one_instance_that_knows_its_version_and_path() -> None:
    library = ngspice_library()
    assert library is ngspice_library()
    assert library.version >= 34
    assert "libngspice" in library.path


def test_thermal_voltage_is_measured() -> None:
    measured = measure_k_over_q()
    assert measured == pytest.approx(K_OVER_Q, rel=3e-6)  # whichever CODATA set this version has
    if ngspice_library().version == 39:
        assert measured == pytest.approx(K_OVER_Q, rel=1e-13)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Using SPARSE 1.3 as Direct Linear Solver", LineKind.NOTE),
        ("Using KLU as Direct Linear Solver", LineKind.NOTE),
        ("Note: No compatibility mode selected!", LineKind.NOTE),
        ("No. of Data Rows : 3", LineKind.NOTE),
        ("", LineKind.NOTE),
        ("Note: Starting dynamic gmin stepping", LineKind.STEPPING),
        ("Trying gmin =   1.0000E-03 Note: One successful gmin step", LineKind.STEPPING),
        ("Trying gmin =   5.6234E-03 Warning: Further gmin increment", LineKind.STEPPING),
        ("Supplies reduced to   0.1000% Warning: source stepping failed", LineKind.STEPPING),
        ("Warning: singular matrix:  check node a", LineKind.SAMPLE_FAILED),
        ("Trying gmin =   1.0000E-03 Warning: singular matrix:  check node a", LineKind.SAMPLE_FAILED),
        ("dc simulation(s) aborted", LineKind.SAMPLE_FAILED),
        ("Warning: ra: resistance to low, set to 1 mOhm", LineKind.DECK_REJECTED),
        ("warning, can't find model 'nomod' from line", LineKind.DECK_REJECTED),
        ("Error: circuit not parsed.", LineKind.DECK_REJECTED),
        ("Warning: something that nobody has thought of", LineKind.DECK_REJECTED),
    ],
)
def test_meaning_of_lines(text: str, kind: LineKind) -> None:
    assert classify(ConsoleLine(points=0, is_stderr=True, text=text)) is kind
    assert classify(ConsoleLine(points=0, is_stderr=False, text=text)) is LineKind.NOTE


def test_summary_keeps_each_message_once() -> None:
    lines = [
        "Trying gmin =   1.0000E-03 Warning: singular matrix:  check node a",
        "Trying gmin =   1.0000E-04 Note: One successful gmin step",
        "Warning: singular matrix:  check node a",
        "",
        "dc simulation(s) aborted",
    ]
    assert summarise(lines) == ["Warning: singular matrix:  check node a", "dc simulation(s) aborted"]


def test_solver_name_on_stderr_is_no_error_for_a_sweep_nor_for_pyspice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions from 42 on print the name at each analysis; PySpice 1.5 takes that for a failure."""
    library = ngspice_library()
    run_command = library.command

    def command(text: str) -> list[ConsoleLine]:
        run_command(text)
        library._take_line("stderr Using SPARSE 1.3 as Direct Linear Solver")
        return list(library._console)

    monkeypatch.setattr(library, "command", command)
    result = run_sweep(DIVIDER, np.array([[4.0], [8.0]]))
    assert result.converged.all()
    assert result.log == ()
    assert not library._error_in_stderr


def test_console_is_bounded_but_keeps_the_first_failure() -> None:
    library = ngspice_library()
    library._clear_console()
    for _ in range(5000):
        library._take_line("stderr Trying gmin =   1.0000E-03 Note: One successful gmin step")
    library._take_line("stderr Warning: singular matrix:  check node a")
    assert len(library._console) < 1000
    assert library._console[-1].text == "Warning: singular matrix:  check node a"
    library._clear_console()


def test_pyspice_simulators_share_the_library() -> None:
    from PySpice.Spice.Netlist import Circuit

    before = run_sweep(DIVIDER, np.array([[4.0]]))
    circuit = Circuit("pyspice divider")
    circuit.V("1", "in", circuit.gnd, 8)
    circuit.R("1", "in", "out", 1000)
    circuit.R("2", "out", circuit.gnd, 3000)
    for _ in range(2):
        simulator = circuit.simulator()
        assert simulator.ngspice is ngspice_library()
        analysis = simulator.operating_point()
        assert float(np.asarray(analysis.nodes["out"])[0]) == pytest.approx(6.0, abs=1e-9)
        assert run_sweep(DIVIDER, np.array([[4.0]])).values.tobytes() == before.values.tobytes()


def test_vectors_of_numbered_nodes_go_by_the_names_of_the_deck() -> None:
    library = ngspice_library()
    names: list[str] = []
    with library.lock:
        library.unload_all()
        library.on_vectors = names.extend
        try:
            library.load_deck("* numbers\nv1 1 0 3\nr1 1 2a 1000\nr2 2a out 1000\nr3 out 0 1000\n.save all\n.end\n")
            library.command("op")
            assert sorted(names) == ["1", "2a", "out", "v1#branch"]
            values = [library.read_vector(name) for name in ("1", "2a", "out")]
            assert [library.vector_length(name) for name in names] == [1, 1, 1, 1]
        finally:
            library.on_vectors = None
            library.unload_all()
    assert [float(value[0]) for value in values if value is not None] == pytest.approx([3.0, 2.0, 1.0])


class _Value(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("creal", ctypes.c_double),
        ("cimag", ctypes.c_double),
        ("is_scale", ctypes.c_bool),
        ("is_complex", ctypes.c_bool),
    )


class _AllValues(ctypes.Structure):
    _fields_ = (
        ("veccount", ctypes.c_int),
        ("vecindex", ctypes.c_int),
        ("vecsa", ctypes.POINTER(ctypes.POINTER(_Value))),
    )


def test_callbacks_stay_inside_their_tables() -> None:
    from cosim.simulators.ngspice.callbacks import (
        N_CONTROL_WORDS,
        ControlWord,
        current_value,
        receive_point,
        voltage_value,
    )

    guard = 777.0
    control = np.zeros(N_CONTROL_WORDS, dtype=np.int64)
    drives = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    values = np.full((4, 2), guard)  # two rows of them are promised
    columns = np.array([1, -1, 0], dtype=np.int64)
    control[ControlWord.DRIVES] = drives.ctypes.data
    control[ControlWord.N_VOLTAGE_DRIVES] = 1
    control[ControlWord.N_CURRENT_DRIVES] = 2
    control[ControlWord.BATCH] = 2
    control[ControlWord.VALUES] = values.ctypes.data
    control[ControlWord.N_COLUMNS] = 2
    control[ControlWord.COLUMNS] = columns.ctypes.data
    control[ControlWord.N_REPORTED] = 3
    vectors = [_Value(name=b"x", creal=float(k), cimag=0.0) for k in (10, 20, 30)]
    pointers = (ctypes.POINTER(_Value) * 3)(*[ctypes.pointer(vector) for vector in vectors])
    point = _AllValues(veccount=3, vecindex=0, vecsa=pointers)

    def ask(callback: object, name: bytes) -> float:
        answer = ctypes.c_double(guard)
        text = (ctypes.c_uint8 * (len(name) + 1))(*name, 0)
        callback.ctypes(ctypes.byref(answer), 0.0, text, 0, control.ctypes.data)  # type: ignore[attr-defined]  # numba's
        return answer.value

    def report(count: int = 3) -> None:
        receive_point.ctypes(ctypes.addressof(point), count, 0, control.ctypes.data)

    assert (ask(voltage_value, b"vdrive0"), ask(current_value, b"idrive0")) == (1.0, 2.0)
    assert ask(current_value, b"i.xq2.idrive1") == 3.0
    assert control[ControlWord.N_UNKNOWN_ROWS] == 0
    assert (ask(voltage_value, b"vdrive1"), ask(current_value, b"idrive2")) == (0.0, 0.0)
    assert control[ControlWord.N_UNKNOWN_ROWS] == 2
    report()
    assert ask(current_value, b"idrive1") == 6.0
    report(count=4)  # more vectors than announced: only counted
    assert ask(current_value, b"idrive1") == 6.0  # behind the last sample: the last one
    report()
    report()
    assert control[ControlWord.POINT] == 4
    assert values.tolist() == [[30.0, 10.0], [guard, guard], [guard, guard], [guard, guard]]
