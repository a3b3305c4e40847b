"""ngspice's own linearisation: newton's and the hand's, on every way to set it up, and refused where it is wrong."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from analog_blocks import analog, draw_block, gradients, mild_block, relative_error
from random_blocks import RandomBlock

from circuits import Capacitors, Circuit, CurrentSources, Drive, Polarity, Resistors, VoltageSources
from circuits.arrays import Floats
from circuits.errors import CircuitError
from cosim.analog_block import Gradient
from cosim.errors import ConvergenceError, ResultError, SimulationError
from cosim.relaxation import Reduce, Relaxation, RelaxationOptions
from cosim.simulators.base import AbstractSimulator
from cosim.simulators.newton import NewtonSimulator
from cosim.simulators.ngspice import small_signal
from cosim.simulators.ngspice.console import ConsoleLine
from cosim.simulators.ngspice.library import ngspice_library
from cosim.simulators.ngspice.simulator import NgspiceSimulator
from cosim.simulators.ngspice.small_signal import NgspiceAcSession, NgspiceAcSimulator
from netlists import lower

pytestmark = pytest.mark.ngspice


@pytest.fixture(scope="module")
def ac() -> Iterator[NgspiceAcSimulator]:
    simulator = NgspiceAcSimulator()
    yield simulator
    simulator.close()


def relax_in(drawn: RandomBlock, simulator: AbstractSimulator, reduce: Reduce) -> Relaxation:
    return Relaxation(drawn.built.circuit, drawn.built.image, simulator, RelaxationOptions(reduce=reduce))


def direction(drawn: RandomBlock, seed: int = 0) -> Floats:
    """Return a change of inputs and nudges together: of voltage and current drives."""
    rng = np.random.default_rng(seed)
    return drawn.built.drives(
        rng.normal(size=drawn.x.shape), rng.normal(size=(len(drawn.x), drawn.built.block.n_outputs))
    )


@pytest.mark.parametrize("reduce", [Reduce.MIRROR, Reduce.FOLD, Reduce.NONE])
@pytest.mark.parametrize("drive", Drive)
@pytest.mark.parametrize("polarity", Polarity)
def test_it_is_newtons_on_every_route(ac: NgspiceAcSimulator, polarity: Polarity, drive: Drive, reduce: Reduce) -> None:
    drawn = draw_block(3, polarity, drive, 2)
    g, change = drawn.conductance_s, direction(drawn)
    ours, theirs = (relax_in(drawn, simulator, reduce) for simulator in (ac, NewtonSimulator()))
    voltage_v = ours.solve(g, drawn.drives).voltage_v
    found, expected = (r.small_signal(g, drawn.drives, voltage_v, change) for r in (ours, theirs))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("reduce", [Reduce.MIRROR, Reduce.NONE])
def test_gradients_of_a_block_are_newtons(ac: NgspiceAcSimulator, reduce: Reduce) -> None:
    drawn = mild_block(5, Polarity.DIFFERENTIAL, Drive.CURRENT)
    options = RelaxationOptions(reduce=reduce)
    found, expected, plain = (
        gradients(analog(drawn, simulator, gradient=Gradient.IMPLICIT, relaxation=options), drawn.x)
        for simulator in (ac, NewtonSimulator(), NgspiceSimulator())
    )
    assert relative_error(found, expected) < 1e-9
    assert relative_error(plain, expected) < 1e-9
    estimated = gradients(analog(drawn, ac, relaxation=options), drawn.x)  # nudged phases run on it like any other
    assert relative_error(estimated, found) < 1e-3


DIVIDER = Circuit(
    name="divider",
    nodes=("0", "in", "out"),
    resistors=Resistors(names=("top", "bottom"), a=[1, 2], b=[2, 0], conductance_s=[3e-3, 1e-3]),
    voltage_sources=VoltageSources(names=("v",), plus=[1], minus=[0], voltage_v=[0.0], driven=[True]),
    current_sources=CurrentSources(names=("i",), start=[2], end=[0], current_a=[0.0], driven=[True]),
    capacitors=Capacitors(names=("c",), a=[2], b=[0], capacitance_f=[1e-9]),
)


def divider(simulator: NgspiceAcSimulator, change: Floats, **options) -> Floats:
    session = simulator.prepare(lower(DIVIDER)[0])
    g, drives = DIVIDER.resistors.conductance_s, np.tile([[1.0, 2e-4]], (len(change), 1))
    point = session.solve(g, drives)
    return session.small_signal(g, point.voltage_v, change, **{"drives": drives, **options})


def test_a_divider_by_hand(ac: NgspiceAcSimulator) -> None:
    # The current drive draws out of the node, so its response is negative: -di / (g1 + g2). A capacitance is open.
    found = divider(ac, np.array([[1.0, 0.0], [0.0, 1e-3], [-2.0, 4e-3], [0.0, 0.0]]))
    expected = [[0, 1, 0.75], [0, 0, -0.25], [0, -2, -2.5], [0, 0, 0]]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert not divider(ac, np.zeros((2, 2))).any()


def test_one_deck_serves_a_parameter_set(ac: NgspiceAcSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = draw_block(4, Polarity.DIFFERENTIAL, Drive.VOLTAGE, 2)
    session = ac.prepare(lower(drawn.built.circuit)[0])
    g, voltage_v = drawn.conductance_s, session.solve(drawn.conductance_s, drawn.drives).voltage_v
    library = ngspice_library()
    library.unload_all()
    loaded, load = [], library.load_deck
    monkeypatch.setattr(library, "load_deck", lambda text, key="": (loaded.append(key), load(text, key))[1])
    for seed in (1, 2):
        session.small_signal(g, voltage_v, direction(drawn, seed), drives=drawn.drives)
    assert len(loaded) == 1
    with pytest.raises(ResultError, match="another equilibrium"):
        session.small_signal(0.5 * g, voltage_v, direction(drawn), drives=drawn.drives)
    assert len(loaded) == 2  # another parameter set, whose equilibrium is another


def test_a_response_of_ours_is_not_believed_either(ac: NgspiceAcSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    analyse = NgspiceAcSession._analyse

    def spoil(factor_point: float, factor_response: float) -> None:
        def spoiled(self, *args) -> tuple[Floats, Floats]:
            point, response = analyse(self, *args)
            response[:, 2] *= factor_response  # not the source's own node
            return factor_point * point, response

        monkeypatch.setattr(NgspiceAcSession, "_analyse", spoiled)

    change = np.array([[1.0, 0.0]])
    for factor in (-1.0, 0.5, 1 + 1e-5):
        spoil(1.0, factor)
        with pytest.raises(
            ResultError, match=r"block 'divider', sample 0: ngspice's .ac violates Kirchhoff's law for s"
        ):
            divider(ac, change)
    spoil(1 + 1e-9, 1.0)
    with pytest.raises(ConvergenceError, match=r"linearised at a point that violates Kirchhoff's law at out: net curr"):
        divider(ac, change)


def test_what_ngspice_gives_has_to_be_what_was_asked_for(
    ac: NgspiceAcSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, change = ngspice_library(), np.array([[1.0, 0.0]])
    analyse = library.analyse

    def answer(points: int | None = None, line: str = "", value: float = 0.0) -> None:
        def answered(command, deck, drives, values):
            found, lines = analyse(command, deck, drives, values)
            if not command.startswith("ac "):
                return found, lines
            values[1] += value
            said = [ConsoleLine(points=1, is_stderr=True, text=line)] if line else []
            return (found if points is None else points), [*lines, *said]

        monkeypatch.setattr(library, "analyse", answered)

    for options, error, message in (
        ({"points": 1}, ResultError, "asked for an operating point and one frequency, got 1 points"),
        ({"points": 3}, ResultError, "got 3 points, 1 frequencies"),
        ({"line": "Warning: singular matrix:  check nodes a and b"}, ConvergenceError, "found no operating point"),
        ({"line": "a word that nobody knows"}, ResultError, "does not read this deck as it is meant: a word that"),
        ({"value": float("nan")}, ResultError, "gave no number for 'in'"),
    ):
        answer(**options)
        with pytest.raises(error, match=f"block 'divider', sample 0: .*{message}"):
            divider(ac, change)
        assert not library.loaded  # what failed stays nowhere
    monkeypatch.undo()
    assert divider(ac, change)[0, 2] == pytest.approx(0.75)


def test_what_cannot_be_linearised_is_refused(ac: NgspiceAcSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    change = np.array([[0.0, 1e-3]])
    with pytest.raises(
        SimulationError, match="block 'divider': ngspice linearises what it has just solved; give small_"
    ):
        divider(ac, change, drives=None)
    with pytest.raises(ResultError, match=r"sample 0: ngspice's .ac linearised at another equilibrium, 0\.\d+ V from"):
        divider(ac, change, drives=np.array([[0.5, 0.0]]))
    with pytest.raises(CircuitError, match=r"operating point of shape \(1, 3\) for drives of shape \(2, 2\)"):
        divider(ac, change, drives=np.zeros((2, 2)))
    with pytest.raises(CircuitError, match=r"drive of 'i' \(out to 0\) is nan in sample 0"):
        divider(ac, np.array([[0.0, np.nan]]))
    monkeypatch.setattr(small_signal, "RESPONSE_TOLERANCE", 0.0)
    with pytest.raises(ResultError, match="violates Kirchhoff's law for small signals"):
        divider(ac, np.array([[1.0, 1e-3]]))
