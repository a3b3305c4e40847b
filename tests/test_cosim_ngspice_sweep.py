"""Sweeps over text decks: hand-computed answers, poisoned samples, decks that must not be accepted, bits, memory."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from cosim.errors import ResultError
from cosim.simulators.ngspice.deck import StreamedDeck
from cosim.simulators.ngspice.library import ngspice_library
from cosim.simulators.ngspice.sweep import run_sweep
from cosim.simulators.ngspice.thermal import measure_k_over_q

pytestmark = pytest.mark.ngspice

HEAD = "* test\nvsweep sweep 0 0\nrsweep sweep 0 1\n.model ideal d(is=1e-14)\n"
TAIL = ".options reltol=1e-10 abstol=1e-15 vntol=1e-13 gmin=1e-15 itl1=500 itl2=200\n.save all\n.end\n"


def make_deck(body: str, vectors: tuple[str, ...] = ("a",), voltages: int = 0, currents: int = 0) -> StreamedDeck:
    return StreamedDeck.from_text(
        HEAD + body + TAIL, vectors=vectors, n_voltage_drives=voltages, n_current_drives=currents
    )


def make_block(n_nodes: int, seed: int = 0) -> StreamedDeck:
    """A dense resistive block of driven nodes, each with two clamp diodes."""
    conductances = np.random.default_rng(seed).uniform(1e-6, 1e-5, (n_nodes, n_nodes))
    lines = ["vup up 0 -0.3", "vdown down 0 0.3"]
    for i in range(n_nodes):
        lines += [f"rl{i} n{i} 0 1e4", f"idrive{i} 0 n{i} external", f"da{i} n{i} up ideal", f"db{i} down n{i} ideal"]
        lines += [f"r{i}x{j} n{i} n{j} {float(1 / conductances[i, j])!r}" for j in range(i)]
    return make_deck("\n".join(lines) + "\n", tuple(f"n{i}" for i in range(n_nodes)), currents=n_nodes)


def draw_drives(n_nodes: int, batch: int, seed: int = 1) -> np.ndarray:
    """Currents that clamp about half of the nodes."""
    return np.random.default_rng(seed).uniform(-1.5e-4, 1.5e-4, (batch, n_nodes))


@pytest.fixture(autouse=True)
def keep_saved_decks_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_divider_with_driven_voltage() -> None:
    deck = make_deck("vdrive0 a 0 external\nr1 a b 1000\nr2 b 0 3000\n", ("a", "b", "vdrive0#branch"), voltages=1)
    result = run_sweep(deck, np.array([[4.0], [-8.0], [0.0]]))
    assert result.values == pytest.approx(np.array([[4, 3, -1e-3], [-8, -6, 2e-3], [0, 0, 0]]), abs=1e-12)
    assert result.converged.all()
    assert result.iterations >= 3
    assert not result.stepping
    assert result.log == ()


def test_voltages_and_currents_are_counted_apart() -> None:
    deck = make_deck(
        "idrive0 0 a external\nidrive1 0 d external\nvdrive0 b 0 external\nvdrive1 c 0 external\n"
        "r1 a b 1\nr2 c b 2\nr3 d 0 5\n",
        ("a", "d", "b", "c", "vdrive0#branch", "vdrive1#branch"),
        voltages=2,
        currents=2,
    )
    result = run_sweep(deck, np.array([[10.0, 20.0, 1.0, 2.0], [30.0, 5.0, 4.0, -1.0]]))
    expected = np.array([[11.0, 10.0, 10.0, 20.0, 6.0, -5.0], [34.0, -5.0, 30.0, 5.0, -8.5, 12.5]])
    assert result.values == pytest.approx(expected, abs=1e-11)


def test_sources_inside_subcircuits_are_driven() -> None:
    deck = make_deck("x1 a cell\n.subckt cell p\nidrive0 0 p external\nr1 p 0 50\n.ends\n", currents=1)
    assert run_sweep(deck, np.array([[2.0]])).values == pytest.approx(np.array([[100.0]]))


def test_diode_law() -> None:
    thermal_v = measure_k_over_q() * 300.15
    deck = make_deck("idrive0 0 a external\nd1 a 0 ideal\n", currents=1)
    currents = np.array([[1e-9], [1e-6], [1e-3], [1e-12]])
    expected = np.zeros(4)
    for _ in range(10):  # gmin = 1e-15 S lies across the junction
        expected = thermal_v * np.log1p((currents[:, 0] - 1e-15 * expected) / 1e-14)
    assert run_sweep(deck, currents).values[:, 0] == pytest.approx(
        expected, abs=3e-12
    )  # later points stop one step early


def test_batch_of_one_and_of_none() -> None:
    deck = make_deck("idrive0 0 a external\nr1 a 0 2\n", currents=1)
    assert run_sweep(deck, np.array([[3.0]])).values.tolist() == [[6.0]]
    empty = run_sweep(deck, np.zeros((0, 1)))
    assert empty.values.shape == (0, 1)
    assert empty.converged.shape == (0,)


def test_deck_without_drives() -> None:
    assert run_sweep(make_deck("v1 a 0 5\nr1 a 0 1\n"), np.zeros((2, 0))).values.tolist() == [[5.0], [5.0]]


def test_results_are_read_only() -> None:
    result = run_sweep(make_deck("v1 a 0 5\nr1 a 0 1\n"), np.zeros((1, 0)))
    with pytest.raises(ValueError, match="read-only"):
        result.values[0, 0] = 1.0


@pytest.mark.parametrize("poison", [np.nan, np.inf, 1e300])
def test_poisoned_sample_harms_no_other(poison: float) -> None:
    """1e300 A is a number, so ngspice tries it, fails, ends the sweep silently and leaves the circuit poisoned."""
    deck, drives = make_block(12), draw_drives(12, 9)
    clean = run_sweep(deck, drives)
    assert clean.converged.all()
    bad = drives.copy()
    bad[4, 3] = poison
    result = run_sweep(deck, bad)
    others = np.arange(9) != 4
    assert result.converged.tolist() == others.tolist()
    assert np.isnan(result.values[4]).all()
    assert np.abs(result.values - clean.values)[others].max() <= 1e-12
    if np.isfinite(poison):
        assert result.stepping
        assert "dc simulation(s) aborted" in result.log
    assert run_sweep(deck, drives).values.tobytes() == clean.values.tobytes()


def test_first_and_last_samples_may_be_poisoned() -> None:
    deck, drives = make_block(12), draw_drives(12, 5)
    drives[[0, 1, 4], 0] = (1e300, np.nan, 1e300)
    assert run_sweep(deck, drives).converged.tolist() == [False, False, True, True, False]


def test_nan_in_a_linear_deck_does_not_spread() -> None:
    deck = make_deck("idrive0 0 a external\nr1 a 0 2\n", currents=1)
    result = run_sweep(deck, np.array([[1.0], [np.nan], [3.0]]))
    assert result.converged.tolist() == [True, False, True]
    assert result.values[[0, 2], 0].tolist() == [2.0, 6.0]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("ra a 0\nib 0 a 1\n", r"has no value, or zero ohm: ra a 0"),
        ("ra a 0 1\nib 0 a\n", r"has no value, or zero ohm: ib 0 a"),
        ("ra a 0 0\nib 0 a 1\n", r"zero ohm: ra a 0 0"),
        ("ra a 0 0.0e-3\nib 0 a 1\n", r"zero ohm: ra a 0 0\.0e-3"),
        ("ra a 0 1\nd1 a 0 nomod\n", r"can't find model 'nomod'"),
        ("ra a 0 abc\n", r"can't find model 'abc'"),
        ("ra a 0 np.float64(3.0)\n", r"does not read this deck"),
        ("ra a 0 1\n?? a 0 1\n", r"Unusual leading characters"),
        ("ra a 0 1\nx1 a 0 nosuch\n", r"unknown subckt"),
        ("ra a 0 1\nra a 0 2\n", r"device already exists"),
        ("ra a 0 1\nrb b c 1\n", r"singular matrix:  check node b"),
        ("ra a 0 1\nrb b c 1\nib 0 b 1\n", r"singular matrix:  check node b"),
        ("ra a 0 1\nva a 0 1\nvb a 0 2\n", r"singular matrix:  check node va#branch"),
        ("ra a 0 1\nva a 0 1\nvb a 0 1\n", r"singular matrix:  check node va#branch"),
    ],
)
def test_bad_decks_are_refused_with_ngspices_words_and_a_copy(body: str, said: str, tmp_path: Path) -> None:
    deck = make_deck(body)
    with pytest.raises(ResultError, match=said) as caught:
        run_sweep(deck, np.zeros((3, 0)))
    path = Path(str(caught.value).rsplit("Deck: ", 1)[1])
    assert path.parent == tmp_path
    assert path.read_text(encoding="utf-8") == deck.text
    good = make_deck("v1 a 0 5\nr1 a 0 1\n")
    assert run_sweep(good, np.zeros((1, 0))).values.tolist() == [[5.0]]


def test_driven_source_loop_and_floating_driven_node_are_refused() -> None:
    loop = make_deck("ra a 0 1\nvdrive0 a 0 external\nvdrive1 a 0 external\n", voltages=2)
    with pytest.raises(ResultError, match="not even with all drives at zero"):
        run_sweep(loop, np.array([[1.0, 1.0], [1.0, 2.0]]))
    floating = make_deck("ra a 0 1\nrb b c 1\nidrive0 0 b external\n", currents=1)
    with pytest.raises(ResultError, match="check node b"):
        run_sweep(floating, np.array([[1.0], [0.0]]))


def test_deck_that_cannot_be_saved_is_still_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    with pytest.raises(ResultError, match=r"nomod.*could not be saved"):
        run_sweep(make_deck("ra a 0 1\nd1 a 0 nomod\n"), np.zeros((1, 0)))


def test_wrong_shapes_rows_and_vectors_are_refused() -> None:
    deck = make_deck("idrive0 0 a external\nr1 a 0 2\n", currents=1)
    with pytest.raises(ResultError, match=r"shape \(2, 3\) do not fit .* expected \[batch, 1\]"):
        run_sweep(deck, np.zeros((2, 3)))
    with pytest.raises(ResultError, match=r"shape \(2,\) do not fit"):
        run_sweep(deck, np.zeros(2))
    with pytest.raises(ResultError, match="row is not among the 0 driven voltages and 1 driven currents"):
        run_sweep(make_deck("idrive1 0 a external\nr1 a 0 2\n", currents=1), np.zeros((1, 1)))
    with pytest.raises(ResultError, match="no vector named 'zz'"):
        run_sweep(make_deck("idrive0 0 a external\nr1 a 0 2\n", ("a", "zz"), currents=1), np.zeros((1, 1)))
    assert run_sweep(deck, np.array([[1.0]])).values.tolist() == [[2.0]]


def test_many_decks_take_turns() -> None:
    """More decks than ngspice keeps loaded, in an order that makes each of them come back."""
    decks = [make_deck(f"idrive0 0 a external\nr1 a 0 {k + 1}\n", currents=1) for k in range(9)]
    order = [0, 1, 2, 3, 1, 4, 0, 5, 6, 6, 7, 8, 2, 0, 1, 8, 3, 3, 4, 7, 0, 5]
    for k in order:
        assert run_sweep(decks[k], np.array([[1.0], [2.0]])).values[:, 0].tolist() == [k + 1.0, 2 * (k + 1.0)]
    assert len(ngspice_library().loaded) <= 4


def test_bits_do_not_depend_on_what_ran_before() -> None:
    deck, other = make_block(64), make_block(10, seed=5)
    drives = draw_drives(64, 12)
    program = (
        f"import sys; sys.path[:0] = {[p for p in sys.path if p] + [str(Path(__file__).parent)]!r}\n"
        "from test_cosim_ngspice_sweep import *\n"
        "print(run_sweep(make_block(64), draw_drives(64, 12)).values.tobytes().hex())\n"
    )
    fresh = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    first = run_sweep(deck, drives)
    assert np.mean(np.abs(first.values) > 0.2) > 0.3, "the block should be clamped"
    assert first.values.tobytes().hex() == fresh.stdout.strip()
    run_sweep(deck, drives[::-1])
    run_sweep(other, draw_drives(10, 7))
    run_sweep(deck, drives[:5])
    assert run_sweep(deck, drives).values.tobytes() == first.values.tobytes()


def test_iterations_are_those_of_this_sweep() -> None:
    deck, drives = make_block(10), draw_drives(10, 6)
    counts = [run_sweep(deck, drives).iterations for _ in range(3)]
    assert counts[0] == counts[1] == counts[2] >= 2 * 6


def test_interrupt_is_raised_after_the_sweep_and_leaves_things_whole() -> None:
    deck, drives = make_block(40), draw_drives(40, 300)
    clean = run_sweep(deck, drives[:10])
    timer = threading.Timer(0.05, os.kill, args=(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012  # the sweep may end before the signal comes
        timer.start()
        for _ in range(100):
            run_sweep(deck, drives)
    assert run_sweep(deck, drives[:10]).values.tobytes() == clean.values.tobytes()


def test_memory_is_flat() -> None:
    """The full measurement, 20,000 relaxations in a worker, is benchmarks/memory_flat.py."""

    def read_memory_mb() -> float:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(float(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))

    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc on this system")
    drives = draw_drives(24, 64)
    for seed in range(6):
        run_sweep(make_block(24, seed), drives)
    before = read_memory_mb()
    for seed in range(40):
        run_sweep(make_block(24, seed), drives)
    assert read_memory_mb() - before < 10
