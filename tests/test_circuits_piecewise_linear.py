"""Piecewise-linear diodes and one-sided clamps: the law, the layout, how newton and the decks take them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from circuits import (
    CircuitBuilder,
    CircuitError,
    Clamp,
    DiodeModel,
    EnergyBlock,
    NodeLayer,
    PiecewiseLinearDiode,
    Polarity,
    build,
)
from circuits.arrays import Floats
from circuits.block_circuit import BlockCircuit
from circuits.cocontent import cocontent
from circuits.devices.spread import Spread
from circuits.diode_presets import diode_preset
from circuits.junctions import junctions
from circuits.kirchhoff import diode_currents, kirchhoff_law
from circuits.neuron_spread import NeuronSpread, spread_neurons
from circuits.topology import analyse
from cosim.reduce import Reduce
from cosim.relaxation import Relaxation, RelaxationOptions
from cosim.simulators.newton import NewtonSimulator, line_search
from cosim.simulators.ngspice import NgspiceSimulator
from netlists import NetlistError, format_standalone, lower
from netlists.pyspice_export import to_pyspice
from netlists.reordering import find_difference, reordered_like
from netlists.spice_reader import read_deck

LEAKY = PiecewiseLinearDiode(threshold_v=0.3, on_resistance_ohm=2.0, off_resistance_ohm=50.0)


def test_the_law_is_the_larger_of_two_lines() -> None:
    circuit = CircuitBuilder("c").diode("d", "a", "0", LEAKY).resistor("r", "a", "0", 1.0).build()
    v = np.linspace(-2.0, 2.0, 401)
    current, conductance = diode_currents(circuit, np.stack([np.zeros_like(v), v], axis=1))
    np.testing.assert_allclose(current[:, 0], np.maximum(v / 50.0, (v - 0.3) / 2.0), rtol=1e-14, atol=1e-16)
    assert LEAKY.bend_v == pytest.approx(0.3 * 50 / 48)
    np.testing.assert_array_equal(conductance[:, 0], np.where(v > LEAKY.bend_v, 0.5, 0.02))
    assert LEAKY.forward_voltage_v(1.0) == pytest.approx(2.3)
    assert LEAKY.forward_voltage_v(1e-3) == pytest.approx(0.05)  # off: all of it leaks
    ebana = diode_preset("ebana").model
    assert ebana == PiecewiseLinearDiode()
    assert isinstance(ebana, PiecewiseLinearDiode)
    assert (ebana.threshold_v, ebana.on_resistance_ohm, ebana.off_resistance_ohm) == (0.15, 1.0, 1e20)


def test_the_current_is_the_derivative_of_the_cocontent_beside_a_junction() -> None:
    b = CircuitBuilder("c").diode("d", "a", "0", LEAKY).diode("j", "a", "0", DiodeModel(series_resistance_ohm=5.0))
    circuit = b.diode("e", "0", "a", PiecewiseLinearDiode(threshold_v=0.0, on_resistance_ohm=3.0)).build()
    v = np.linspace(-0.9, 0.9, 37)[:, None]
    h = 1e-6
    law = junctions(circuit)
    across = np.concatenate([v, v, -v], axis=1)
    slope = (law.cocontent(across + h) - law.cocontent(across - h)) / (2 * h)
    current, _ = law.current(across)
    away = np.abs(across - np.array([LEAKY.bend_v, np.inf, 0.0])) > 2 * h
    np.testing.assert_allclose(slope[away], current[away], rtol=1e-6, atol=1e-9)
    # By hand at 0.5 V: a triangle up to the bend b, a trapezium above; of the other 0.25 / 6 at -0.5 V; none below.
    v = np.array([[0.0, 0.5], [0.0, -0.5]])
    b_v = LEAKY.bend_v
    by_hand = b_v**2 / 100 + (0.5 - b_v) * (b_v / 50 + 0.2 / 2) / 2
    only = CircuitBuilder("c").diode("d", "a", "0", LEAKY).resistor("r", "a", "0", 1e-9).build()
    found = cocontent(only, np.zeros(1), np.zeros((2, 0)), v)
    np.testing.assert_allclose(found, [by_hand, 0.25 / 100], rtol=1e-14)


def test_temperature_and_gmin_do_not_act_on_it() -> None:
    found = []
    for temperature_k, gmin_s in ((300.15, 1e-15), (350.0, 1e-3)):
        b = CircuitBuilder("c", temperature_k=temperature_k, gmin_s=gmin_s).diode("d", "a", "0", LEAKY)
        found.append(diode_currents(b.resistor("r", "a", "0", 1.0).build(), np.array([[0.0, 0.2]])))
    np.testing.assert_array_equal(found[0], found[1])


def test_a_diode_about_to_conduct_loosens_the_tolerance() -> None:
    """What a voltage error explains is a current through R_on, though the diode is just off."""
    diode = PiecewiseLinearDiode(threshold_v=0.2, on_resistance_ohm=1e-6)
    b = (
        CircuitBuilder("c")
        .diode("d", "a", "0", diode)
        .resistor("r", "a", "0", 1e-4)
        .current_source("i", "0", "a", 2e-5)
    )
    circuit = b.build()
    program = kirchhoff_law(analyse(circuit)).program(circuit.resistors.conductance_s)
    for below_v, expected in ((1e-13, 1e-11 * 1e6), (1e-9, 1e-11 * 1e-4)):
        v = np.array([[0.0, diode.bend_v - below_v]])
        judged = program.residual(np.zeros((1, 0)), v, voltage_tolerance_v=1e-11)
        assert judged.tolerance_a[0] == pytest.approx(expected, rel=1e-6)


def test_rails_hold_the_limit_at_the_reference_current() -> None:
    clamp = Clamp(low_v=-0.5, high_v=1.0, diode=LEAKY, reference_current_a=0.1)
    assert clamp.rails_v(300.15) == pytest.approx((-0.5 + 0.5, 1.0 - 0.5))
    assert clamp.margin_v(300.15) == pytest.approx(0.2)
    assert Clamp(low_v=0.0).rails_v(300.15)[1] is None
    assert Clamp(high_v=0.0).limits_v == (0.0,)
    with pytest.raises(CircuitError, match="clamp: neither low_v nor high_v; give one limit or both"):
        Clamp()


def half_and_half(polarity: Polarity, diode: PiecewiseLinearDiode | DiodeModel | None = None) -> BlockCircuit:
    """Two excitatory and two inhibitory units."""
    diode = diode or PiecewiseLinearDiode(threshold_v=0.1, on_resistance_ohm=1e-3)
    clamps = (Clamp(low_v=0.0, diode=diode), Clamp(high_v=0.0, diode=diode))
    layers = (NodeLayer(size=4, clamp=clamps, bias=True), NodeLayer(size=2))
    return build(EnergyBlock(name="halves", n_inputs=3, layers=layers, polarity=polarity))


def test_clamps_divide_a_layer() -> None:
    built = half_and_half(Polarity.SINGLE)
    circuit = built.circuit
    assert circuit.diodes.names == ("clamp1_0_d", "clamp1_1_d", "clamp1_2_u", "clamp1_3_u")
    ends = [
        (circuit.nodes[a], circuit.nodes[c]) for a, c in zip(circuit.diodes.anode, circuit.diodes.cathode, strict=True)
    ]
    assert ends == [("rail1_0_l", "l1_0"), ("rail1_0_l", "l1_1"), ("l1_2", "rail1_1_h"), ("l1_3", "rail1_1_h")]
    assert [(run, clamp.limits_v) for run, clamp in built.block.layers[0].clamp_runs] == [
        (slice(0, 2), (0.0,)),
        (slice(2, 4), (0.0,)),
    ]
    mirrored = half_and_half(Polarity.DIFFERENTIAL).circuit.diodes
    assert mirrored.names[:4] == ("clamp1_0p_d", "clamp1_1p_d", "clamp1_0n_u", "clamp1_1n_u")
    with pytest.raises(CircuitError, match=r"node layer: 3 clamps for 4 units; give a number that divides them"):
        NodeLayer(size=4, clamp=(None, None, Clamp(low_v=0.0)))


def _programmed(built: BlockCircuit, scale_v: float = 5.0, batch: int = 6) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(0)
    g = rng.uniform(1e-6, 2e-4, len(built.circuit.resistors))
    return g, built.drives(scale_v * rng.normal(size=(batch, built.block.n_inputs)))


@pytest.mark.ngspice
@pytest.mark.parametrize("on_ohm", [1.0, 1e-3, 1e-6])
def test_simulators_agree_as_the_resistance_falls(on_ohm: float) -> None:
    built = half_and_half(Polarity.DIFFERENTIAL, PiecewiseLinearDiode(threshold_v=0.1, on_resistance_ohm=on_ohm))
    g, drives = _programmed(built)
    found = []
    for simulator in (NewtonSimulator(), NgspiceSimulator()):
        relaxation = Relaxation.of_block(built, simulator, RelaxationOptions(reduce=Reduce.NONE))
        point = relaxation.solve(g, drives)
        assert not point.stepping
        found.append(point.voltage_v)
    np.testing.assert_allclose(found[0], found[1], atol=1e-9)
    # Excitatory units stay above zero, inhibitory ones below, but for the drop across R_on; both kinds conduct.
    p = found[0][:, built.layers[0].p]
    drop = 3e-3 * on_ohm + 1e-9
    assert (p[:, :2] > -drop).all()
    assert (p[:, 2:] < drop).all()
    assert 0.2 < built.clamped_share(found[0]) < 0.8


@pytest.mark.ngspice
@pytest.mark.parametrize("threshold_v", [0.0, 0.1])
@pytest.mark.parametrize("on_ohm", [1.0, 1e-2, 1e-5])
def test_deep_half_rails_settle_in_ngspice(on_ohm: float, threshold_v: float) -> None:
    """Half of all units held, some just at their limit: a deck must not ask for more than rounding has."""
    diode = PiecewiseLinearDiode(threshold_v=threshold_v, on_resistance_ohm=on_ohm)
    clamps = (Clamp(low_v=0.3, diode=diode), Clamp(high_v=-0.3, diode=diode))
    layers = (NodeLayer(size=32, clamp=clamps), NodeLayer(size=16, clamp=clamps), NodeLayer(size=4))
    built = build(EnergyBlock(name="deep", n_inputs=20, layers=layers, polarity=Polarity.SINGLE))
    g, drives = _programmed(built, batch=40)
    found = []
    for simulator in (NewtonSimulator(), NgspiceSimulator()):
        relaxation = Relaxation.of_block(built, simulator, RelaxationOptions(reduce=Reduce.FOLD))
        point = relaxation.solve(g, drives)
        assert not point.stepping
        found.append(point.voltage_v)
    np.testing.assert_allclose(found[0], found[1], atol=1e-12)


@pytest.mark.parametrize("on_ohm", [1.0, 1e-4])
def test_shortened_steps_find_the_same(monkeypatch: pytest.MonkeyPatch, on_ohm: float) -> None:
    built = half_and_half(Polarity.DIFFERENTIAL, PiecewiseLinearDiode(threshold_v=0.1, on_resistance_ohm=on_ohm))
    g, drives = _programmed(built, batch=40)
    session = NewtonSimulator().prepare(lower(built.circuit)[0])
    whole = session.solve(g, drives)
    assert whole.iterations.max() <= 8
    monkeypatch.setattr(line_search, "WHOLE_STEPS", 0)
    np.testing.assert_allclose(session.solve(g, drives).voltage_v, whole.voltage_v, atol=1e-12)


def test_the_share_of_a_step_minimises_the_cocontent_along_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Newton steps over several bends, against a fine search."""
    monkeypatch.setattr(line_search, "ENOUGH", np.inf)  # no whole step is good enough
    diode = PiecewiseLinearDiode(threshold_v=0.1, on_resistance_ohm=300.0, off_resistance_ohm=1e6)
    built = half_and_half(Polarity.DIFFERENTIAL, diode)
    g, drives = _programmed(built, batch=8)
    netlist, _ = lower(built.circuit)
    session = NewtonSimulator().prepare(netlist)
    system, matrices, topology = session._system, session._program(g).matrices, netlist.topology
    voltages, currents = (torch.from_numpy(values) for values in built.circuit.source_values(drives))
    known = session._equations.known(voltages)
    d = built.circuit.diodes
    offset = known[:, d.anode.tolist()] - known[:, d.cathode.tolist()]
    u = torch.from_numpy(3.0 * np.random.default_rng(1).normal(size=(8, topology.n_unknowns)))
    before = system.across(u, offset)
    current, g_d = system.diodes.current(before)
    constant = matrices.coupled(voltages) - session._equations.injected(currents)
    residual = system.scatter_currents(matrices.multiply(u) + constant, current)
    step = matrices.solve(g_d, None, -residual, torch.full((8,), 1e-12))
    share, bent = line_search.far_enough(system.diodes, before, system.across(u + step, offset), step, residual, 99)

    def energy(at: float) -> Floats:
        return cocontent(built.circuit, g, drives, system.node_voltages(u + at * step, known).numpy())

    grid = np.linspace(0.0, 1.0, 1001)
    best = grid[np.argmin([energy(at) for at in grid], axis=0)]
    assert int(bent.sum()) >= 6
    assert (np.abs(share.numpy() - 1.0) > 0.02).sum() >= 4
    np.testing.assert_allclose(share.numpy(), best, atol=1e-3)


GOLDEN = """\
* two diodes
.options reltol=1e-12 abstol=1e-14 vntol=1e-13
.options gmin=1e-15 itl1=500 itl2=200
.options temp=27.0 tnom=27.0
vrail rail 0 0.5
rr a 0 1000.0
bd a rail i=max(v(a,rail)/1e+20,(v(a,rail)-0.15)/1.0)
be 0 a v=min(1000000.0*i(be),(0.12345678901+2.3455959397e-12)+0.001*i(be))
.op
.end
"""


def test_a_diode_is_a_behavioural_source(tmp_path: Path) -> None:
    b = CircuitBuilder("two diodes").voltage_source("rail", "rail", "0", 0.5).resistor("r", "a", "0", 1e-3)
    stiff = PiecewiseLinearDiode(threshold_v=0.1234567890123456, on_resistance_ohm=1e-3, off_resistance_ohm=1e6)
    circuit = b.diode("d", "a", "rail", PiecewiseLinearDiode()).diode("e", "0", "a", stiff).build()
    assert format_standalone(lower(circuit)[0]) == GOLDEN
    as_pyspice = str(to_pyspice(circuit)).splitlines()
    assert [line[1:] for line in as_pyspice if line[0] == "B"] == [
        line[1:] for line in GOLDEN.splitlines() if line[0] == "b"
    ]
    (tmp_path / "deck.cir").write_text(GOLDEN)
    assert find_difference(reordered_like(read_deck(tmp_path / "deck.cir").circuit, circuit), circuit) is None


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "v(a,rail)/1e+20",
            "v(rail,a)/1e+20",
            r"line 7: this diode joins 'a' and 'rail', its law is of",
        ),
        ("i(be),", "i(bd),", r"line 8: this diode joins '0' and 'a', its law is of something else"),
        ("/1.0)", "*1.0)", r"line 7: a behavioural source with max or min is read where it is a diode"),
        ("1e+20", "0.5", r"line 7: piecewise-linear diode: off_resistance_ohm = 0\.5 must lie above"),
        ("0.15)", "0.1234567890123)", r"line 7: '0\.1234567890123': ngspice keeps 11 digits"),
    ],
)
def test_the_reader_refuses_other_laws(tmp_path: Path, before: str, after: str, message: str) -> None:
    (tmp_path / "deck.cir").write_text(GOLDEN.replace(before, after))
    with pytest.raises(NetlistError, match=message):
        read_deck(tmp_path / "deck.cir")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold_v": -0.1}, r"piecewise-linear diode: threshold_v = -0\.1; give zero or more"),
        ({"on_resistance_ohm": 0.0}, r"on_resistance_ohm = 0\.0; give a finite number above zero"),
        ({"off_resistance_ohm": float("inf")}, r"off_resistance_ohm = inf; give a finite number above zero"),
        ({"on_resistance_ohm": 2.0, "off_resistance_ohm": 2.0}, r"off_resistance_ohm = 2 must lie above on_resistance"),
    ],
)
def test_refused_parameters(settings: dict[str, float], message: str) -> None:
    with pytest.raises(CircuitError, match=message):
        PiecewiseLinearDiode(**settings)


def test_what_it_does_not_have_cannot_be_spread() -> None:
    spread = NeuronSpread(saturation_current=Spread(relative_std=0.1))
    with pytest.raises(CircuitError, match=r"diode 'clamp1_0_d' is piecewise-linear: it has no saturation current"):
        spread_neurons(half_and_half(Polarity.SINGLE), spread, np.random.default_rng(0))


def test_a_cubic_resistor_of_the_same_name() -> None:
    b = CircuitBuilder("c").resistor("x", "a", "0", 1.0, k3_per_v2=0.1).diode("x", "a", "0", PiecewiseLinearDiode())
    with pytest.raises(NetlistError, match=r"a cubic resistor and a piecewise-linear diode are both spelt 'bx'"):
        lower(b.build())
