"""ngspice as a simulator of blocks: against newton, against the plain program, against itself with other workers."""

from __future__ import annotations

import copy
import ctypes
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from analog_blocks import KIND_IDS, KINDS, analog, cosine, draw_block, gradients, mild_block, norm_ratio, small_block
from random_blocks import RandomBlock, clamped_share
from torch import nn

from circuits import CircuitError, Drive, Polarity
from circuits.kirchhoff import source_currents
from cosim.analog_block import AnalogBlock, Gradient
from cosim.converters import Converters
from cosim.errors import ConvergenceError, ResultError, SimulationError, WorkerError
from cosim.phase_settings import DifferenceRead, PhaseSettings
from cosim.relaxation import Reduce, Relaxation, RelaxationOptions
from cosim.simulators.base import OnFailure, OperatingPoint
from cosim.simulators.newton import NewtonSimulator
from cosim.simulators.ngspice import simulator as ngspice_simulator
from cosim.simulators.ngspice.pool import make_loky_executor
from cosim.simulators.ngspice.program import run_program, solve_standalone
from cosim.simulators.ngspice.simulator import NgspiceSimulator
from netlists import lower

pytestmark = pytest.mark.ngspice

kinds = pytest.mark.parametrize(("polarity", "drive", "n_layers"), KINDS, ids=KIND_IDS)


@pytest.fixture(scope="module")
def two_workers() -> Iterator[NgspiceSimulator]:
    simulator = NgspiceSimulator(workers=2, chunk=4)
    yield simulator
    simulator.close()


def relax(drawn: RandomBlock, simulator, reduce: Reduce, **options) -> OperatingPoint:
    relaxation = Relaxation(drawn.built.circuit, drawn.built.image, simulator, RelaxationOptions(reduce=reduce))
    return relaxation.solve(drawn.conductance_s, options.pop("drives", drawn.drives), **options)


def assert_same_bits(one: OperatingPoint, other: OperatingPoint) -> None:
    for name in ("voltage_v", "residual_a", "tolerance_a", "worst_node", "iterations", "converged"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert one.stepping == other.stepping


# ------------------------------------------------------------------------------------------------------ agreement


@kinds
def test_streamed_newton_and_the_plain_program_agree(polarity: Polarity, drive: Drive, n_layers: int) -> None:
    drawn = draw_block(220 + n_layers, polarity, drive, n_layers)
    circuit = drawn.built.circuit
    newton = relax(drawn, NewtonSimulator(), Reduce.NONE)
    assert 0.2 <= clamped_share(drawn, newton.voltage_v) <= 0.5
    # The unreduced text deck, in a process that shares nothing with the library.
    decks = (circuit.with_conductances(drawn.conductance_s).with_drives(row) for row in drawn.drives)
    program = np.stack([solve_standalone(lower(deck)[0])[0] for deck in decks])
    full, folded, mirrored = (
        relax(drawn, NgspiceSimulator(), reduce) for reduce in (Reduce.NONE, Reduce.FOLD, Reduce.MIRROR)
    )
    np.testing.assert_allclose(program, newton.voltage_v, atol=1e-8, rtol=0)
    for point in (full, folded, mirrored):
        assert point.converged.all()
        assert (point.residual_a <= point.tolerance_a).all()
        assert (point.iterations > 0).all()
        np.testing.assert_allclose(point.voltage_v, newton.voltage_v, atol=1e-8, rtol=0)
        np.testing.assert_allclose(point.voltage_v, program, atol=1e-8, rtol=0)
    np.testing.assert_allclose(folded.voltage_v, full.voltage_v, atol=1e-9, rtol=0)
    np.testing.assert_allclose(mirrored.voltage_v, full.voltage_v, atol=1e-9, rtol=0)


@kinds
def test_source_currents_are_what_kirchhoff_says(polarity: Polarity, drive: Drive, n_layers: int) -> None:
    drawn = draw_block(300 + n_layers, polarity, drive, n_layers)
    netlist, _ = lower(drawn.built.circuit)
    session = NgspiceSimulator().prepare(netlist)
    assert session.netlist is netlist
    assert session.solve(drawn.conductance_s, drawn.drives).source_current_a is None
    point = session.solve(drawn.conductance_s, drawn.drives, read_sources=True)
    assert point.source_current_a is not None
    ours = source_currents(netlist.topology, drawn.conductance_s, drawn.drives, point.voltage_v)
    scale = np.abs(ours).max()
    np.testing.assert_allclose(point.source_current_a, ours, rtol=0, atol=1e-10 * scale)
    if drive is Drive.VOLTAGE:
        n = drawn.built.block.n_inputs
        unit_a = drawn.built.block.g_unit_s * drawn.built.block.v_unit_v
        delivered = point.source_current_a[:, :n] / unit_a
        if polarity is Polarity.DIFFERENTIAL:
            delivered = (delivered - point.source_current_a[:, n : 2 * n] / unit_a) / 2
        read = drawn.built.input_currents(drawn.conductance_s, point.voltage_v)
        np.testing.assert_allclose(read, delivered, rtol=0, atol=1e-10 * scale / unit_a)


@kinds
def test_gradient_in_ngspice_has_the_right_size_at_the_default_nudge(
    polarity: Polarity, drive: Drive, n_layers: int
) -> None:
    # The error is one of beta^2 and belongs to the block, not to ngspice; about one block in 30 needs a smaller beta.
    drawn = mild_block(410 + n_layers, polarity, drive, n_layers)
    exact = gradients(analog(drawn, gradient=Gradient.IMPLICIT), drawn.x)
    found = gradients(analog(drawn, NgspiceSimulator()), drawn.x)
    newton = gradients(analog(drawn), drawn.x)
    for name, reference in exact.items():
        assert norm_ratio(found[name], reference) == pytest.approx(1.0, abs=1e-3), name
        assert cosine(found[name], reference) > 0.9999, name
        np.testing.assert_allclose(found[name], newton[name], rtol=0, atol=1e-7 * np.abs(reference).max())


def test_results_do_not_depend_on_what_was_solved_before() -> None:
    one, other = (draw_block(seed, Polarity.DIFFERENTIAL, Drive.VOLTAGE, 2) for seed in (1, 2))
    simulator = NgspiceSimulator()
    first = relax(one, simulator, Reduce.FOLD)
    relax(other, simulator, Reduce.FOLD)
    assert_same_bits(relax(one, simulator, Reduce.FOLD), first)
    # A start is not used: the same chunk gives the same bits.
    assert_same_bits(relax(one, simulator, Reduce.FOLD, start_v=first.voltage_v), first)


def test_new_conductances_do_not_prepare_again(monkeypatch: pytest.MonkeyPatch) -> None:
    spelt = []
    monkeypatch.setattr(
        ngspice_simulator,
        "streamed_template",
        lambda netlist, original=ngspice_simulator.streamed_template: spelt.append(netlist) or original(netlist),
    )
    drawn = draw_block(1, Polarity.DIFFERENTIAL, Drive.VOLTAGE, 2)
    session = NgspiceSimulator().prepare(lower(drawn.built.circuit)[0])
    newton = NewtonSimulator().prepare(session.netlist)
    for scale in (1.0, 0.7, 1.3):
        found = session.solve(drawn.conductance_s * scale, drawn.drives).voltage_v
        np.testing.assert_allclose(found, newton.solve(drawn.conductance_s * scale, drawn.drives).voltage_v, atol=1e-8)
    assert len(spelt) == 1


def test_empty_batch() -> None:
    drawn = draw_block(1, Polarity.DIFFERENTIAL, Drive.VOLTAGE, 2)
    point = relax(drawn, NgspiceSimulator(), Reduce.MIRROR, drives=drawn.drives[:0])
    assert point.voltage_v.shape == (0, drawn.built.circuit.n_nodes)
    assert len(point) == len(point.iterations) == 0


# -------------------------------------------------------------------------------------------------------- workers


@pytest.mark.parametrize("reduce", Reduce)
def test_same_bits_for_any_number_of_workers(two_workers: NgspiceSimulator, reduce: Reduce) -> None:
    drawn = draw_block(9, Polarity.DIFFERENTIAL, Drive.VOLTAGE, 2, batch=11)  # two chunks of four and one of three
    here = relax(drawn, NgspiceSimulator(chunk=4), reduce)
    assert_same_bits(relax(drawn, two_workers, reduce), here)
    if reduce is Reduce.MIRROR:
        one = NgspiceSimulator(workers=1, chunk=4)
        assert_same_bits(relax(drawn, one, reduce), here)
        one.close()
        assert_same_bits(relax(drawn, one, reduce), here)  # a closed simulator starts again
        one.close()


def make_network(simulator) -> nn.Sequential:
    torch.manual_seed(4)
    generator = torch.Generator().manual_seed(5)
    options = {
        "simulator": simulator,
        "generator": generator,
        "converters": Converters.uniform(8),
        "settings": PhaseSettings(difference_read=DifferenceRead.SAMPLE_AND_HOLD),
    }
    return nn.Sequential(
        nn.Linear(6, 5),
        nn.BatchNorm1d(5),
        AnalogBlock(small_block("first", 5, 6, 4), **options),
        nn.Linear(4, 4),
        AnalogBlock(small_block("second", 4, 4, 3, drive=Drive.CURRENT), **options),
        nn.Linear(3, 3),
    )


def test_training_gives_the_same_bits_for_any_number_of_workers(two_workers: NgspiceSimulator) -> None:
    states = []
    x, y = torch.randn(10, 6, generator=torch.Generator().manual_seed(1)), torch.arange(10) % 3
    for simulator in (NgspiceSimulator(chunk=4), two_workers):
        network = make_network(simulator)
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
        losses = []
        for _ in range(2):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(x), y)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        states.append((losses, copy.deepcopy(network.state_dict())))
        blocks = [module for module in network if isinstance(module, AnalogBlock)]
        assert [block.counters.relaxations for block in blocks] == [60, 60]  # two steps of three phases
    assert states[0][0] == states[1][0]
    for name, value in states[0][1].items():
        assert torch.equal(value, states[1][1][name]), name
    fresh = make_network(NgspiceSimulator()).state_dict()
    moved = {name.split(".")[0] for name, value in fresh.items() if not torch.equal(value, states[0][1][name])}
    assert moved == {"0", "1", "2", "3", "4", "5"}  # every stage was trained


# ------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("drive", Drive)
@pytest.mark.parametrize("reduce", Reduce)
def test_failing_sample_harms_no_other(
    two_workers: NgspiceSimulator, drive: Drive, reduce: Reduce, workers: int
) -> None:
    simulator = two_workers if workers else NgspiceSimulator(chunk=4)
    drawn = draw_block(12, Polarity.DIFFERENTIAL, drive, 2, batch=9)
    clean = relax(drawn, simulator, reduce)
    x = drawn.x.copy()
    x[5, 1] = 1e300  # the second sample of the second chunk
    bad = drawn.built.drives(x)
    point = relax(drawn, simulator, reduce, drives=bad, on_failure=OnFailure.RECORD)
    others = np.arange(9) != 5
    assert point.converged.tolist() == others.tolist()
    np.testing.assert_allclose(point.voltage_v[others], clean.voltage_v[others], atol=1e-12, rtol=0)
    assert np.isnan(point.voltage_v[5, drawn.built.layers[1].p]).all()
    with pytest.raises(
        ConvergenceError, match=r"block 'random': ngspice found no equilibrium for 1 of 9 samples; first is sample 5"
    ):
        relax(drawn, simulator, reduce, drives=bad)
    assert_same_bits(relax(drawn, simulator, reduce), clean)  # nothing stays poisoned


def test_failing_sample_reaches_the_user_of_a_block() -> None:
    drawn = mild_block(1, Polarity.DIFFERENTIAL, Drive.CURRENT)
    block = analog(drawn, NgspiceSimulator())
    x = torch.from_numpy(drawn.x.copy())
    x[3, 0] = 1e300
    with pytest.raises(ConvergenceError, match=r"block 'mild': ngspice found no equilibrium .*; first is sample 3"):
        block(x)
    torch.testing.assert_close(block(x[:3]), analog(drawn)(x[:3]), rtol=0, atol=1e-8)


def test_answer_that_violates_kirchhoffs_law_is_not_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    # ngspice lies: one node of one sample is off by 1 uV. Our own element laws notice, and say where.
    original = ngspice_simulator.NgspicePool.run

    def lie(self, deck, chunks, **options):
        results = original(self, deck, chunks, **options)
        results[0].values.flags.writeable = True
        results[0].values[1, deck.vectors.index("l2_1p")] += 1e-6
        return results

    monkeypatch.setattr(ngspice_simulator.NgspicePool, "run", lie)
    drawn = mild_block(2, Polarity.DIFFERENTIAL, Drive.VOLTAGE)
    session = NgspiceSimulator().prepare(lower(drawn.built.circuit)[0])
    point = session.solve(drawn.conductance_s, drawn.drives, read_sources=True, on_failure=OnFailure.RECORD)
    assert point.converged.tolist() == [True, False, True, True, True]
    assert np.isnan(point.voltage_v[1]).all()
    assert point.source_current_a is not None
    assert np.isnan(point.source_current_a[1]).all()
    assert np.isfinite(point.voltage_v[[0, 2, 3, 4]]).all()
    pattern = (
        r"block 'mild': ngspice found no equilibrium for 1 of 5 samples; first is sample 1, worst at layer 2 unit 1 "
        r"\(p\): net current (\S+) A, allowed (\S+) A"
    )
    with pytest.raises(ConvergenceError, match=pattern):
        session.solve(drawn.conductance_s, drawn.drives)


@pytest.mark.parametrize(("value", "what"), [(np.nan, "nan"), (np.inf, "inf")])
def test_drive_that_is_not_finite(value: float, what: str) -> None:
    drawn = mild_block(2, Polarity.DIFFERENTIAL, Drive.VOLTAGE)
    session = NgspiceSimulator().prepare(lower(drawn.built.circuit)[0])
    drives = drawn.drives.copy()
    drives[2, 0] = value
    with pytest.raises(CircuitError, match=rf"circuit 'mild': drive of 'x0p' .* is {what} in sample 2"):
        session.solve(drawn.conductance_s, drives)


@pytest.mark.parametrize("value", [np.nan, 0.0, -1e-6])
def test_conductance_that_cannot_be(value: float) -> None:
    drawn = mild_block(2, Polarity.DIFFERENTIAL, Drive.VOLTAGE)
    session = NgspiceSimulator().prepare(lower(drawn.built.circuit)[0])
    g = drawn.conductance_s.copy()
    g[drawn.built.crossbars[0].plus[0, 1, 2]] = value
    with pytest.raises(
        CircuitError, match=r"circuit 'mild': conductance of 'w1_1_2_pp' \(input 1 \(p\) to layer 1 unit 2"
    ):
        session.solve(g, drawn.drives)
    session.solve(drawn.conductance_s, drawn.drives)


class CrashingExecutor(Executor):
    """Every chunk reads address 0 in a real worker."""

    def __init__(self) -> None:
        self._inner = make_loky_executor(1)

    def submit(self, fn, /, *args, **kwargs):
        del fn, args, kwargs
        return self._inner.submit(ctypes.string_at, 0)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        del wait, cancel_futures
        self._inner.shutdown(wait=True, kill_workers=True)


def test_chunk_that_fails_twice_names_the_block_and_leaves_a_plain_deck(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    drawn = mild_block(2, Polarity.DIFFERENTIAL, Drive.VOLTAGE)
    session = NgspiceSimulator(executor_factory=CrashingExecutor, chunk=2).prepare(lower(drawn.built.circuit)[0])
    with pytest.raises(
        WorkerError, match=r"^block 'mild': the chunk with samples 0 to 1 failed twice.* and plain.cir with the first"
    ) as caught:
        session.solve(drawn.conductance_s, drawn.drives)
    assert isinstance(caught.value.__cause__, WorkerError)
    folder = Path(str(caught.value).rsplit(": ", 1)[1])
    assert {path.name for path in folder.iterdir()} == {"deck.cir", "drives.npy", "plain.cir"}
    vectors = run_program((folder / "plain.cir").read_text(encoding="utf-8"))
    expected = NewtonSimulator().prepare(session.netlist).solve(drawn.conductance_s, drawn.drives[:1]).voltage_v[0]
    found = [vectors[name][0] for name in session.netlist.nodes[1:]]
    np.testing.assert_allclose(found, expected[1:], atol=1e-8, rtol=0)


def test_deck_that_ngspice_rejects_names_the_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    drawn = mild_block(2, Polarity.DIFFERENTIAL, Drive.VOLTAGE)
    netlist, _ = lower(drawn.built.circuit)
    models = tuple(f"no such {name}" for name in netlist.models)
    session = NgspiceSimulator().prepare(replace(netlist, models=models))
    with pytest.raises(ResultError, match=r"^block 'mild': ngspice does not read this deck.*Deck: "):
        session.solve(drawn.conductance_s, drawn.drives)


def test_wrong_options() -> None:
    with pytest.raises(SimulationError, match=r"ngspice: chunk = 0; give one sample or more"):
        NgspiceSimulator(chunk=0)
    with pytest.raises(SimulationError, match=r"workers = -1"):
        NgspiceSimulator(workers=-1)
