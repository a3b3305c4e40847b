"""Folding, mirror and both in a chain: the full circuit's equilibrium, a way back, and off where they must be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from circuit_bank import BANK, RESISTIVE
from random_blocks import RandomBlock, clamped_share, random_block, session

from circuits import Circuit, CircuitBuilder, DiodeModel, Diodes, Drive, Polarity, VoltageSources, validate
from circuits.cocontent import cocontent
from circuits.kirchhoff import diode_currents, source_currents
from circuits.reductions import AbstractProgram, AbstractReduction, Chain, fold, mirror

PLANS = ("fold", "mirror", "chain")


def reduction(plan: str, circuit: Circuit, image) -> AbstractReduction | None:
    if plan == "fold":
        return fold(circuit)
    first = mirror(circuit, image)
    if plan == "mirror" or first is None:
        return first
    second = fold(first.reduced)
    return first if second is None else Chain(first=first, second=second)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("sizes", [(4,), (4, 3), (4, 3, 3)], ids=["1 layer", "2 layers", "3 layers"])
@pytest.mark.parametrize("drive", Drive)
def test_reduced_circuit_has_the_same_equilibrium(drive: Drive, sizes: tuple[int, ...], plan: str) -> None:
    b = random_block(
        11, sizes=sizes, n_inputs=5, drive=drive, diode=RESISTIVE, batch=3, output_layers=(0, -1)[: len(sizes)]
    )
    nudge = 0.1 * np.random.default_rng(1).normal(size=(3, b.built.block.n_outputs))
    circuit, g = b.built.circuit, b.conductance_s
    drives = b.built.drives(b.x, nudge)
    full = session(circuit).solve(g, drives).voltage_v
    assert clamped_share(b, full) > 0.1

    reduced = reduction(plan, circuit, b.built.image)
    assert reduced is not None
    assert reduced.reduced.n_nodes < circuit.n_nodes
    program = reduced.program(g)
    assert program is not None
    assert program.applies_to(drives)
    small = session(reduced.reduced).solve(program.conductance_s, program.drives(drives)).voltage_v
    np.testing.assert_allclose(program.expand(drives, small), full, atol=1e-10, rtol=0)
    # Inverses of each other, both ways.
    np.testing.assert_allclose(program.restrict(full), small, atol=1e-10, rtol=0)
    np.testing.assert_array_equal(program.restrict(program.expand(drives, small)), small)
    np.testing.assert_allclose(program.expand(drives, program.restrict(full)), full, atol=1e-10, rtol=0)


@pytest.mark.parametrize("plan", PLANS)
def test_power_and_source_currents_come_from_the_full_circuit(plan: str) -> None:
    b = random_block(12, sizes=(4, 3), n_inputs=5)
    circuit, g = b.built.circuit, b.conductance_s
    reduced = reduction(plan, circuit, b.built.image)
    assert reduced is not None
    program = reduced.program(g)
    assert program is not None
    small = session(reduced.reduced).solve(program.conductance_s, program.drives(b.drives)).voltage_v
    v = program.expand(b.drives, small)
    topology = validate(circuit)
    delivered = source_currents(topology, g, b.drives, v)
    expected = session(circuit).solve(g, b.drives, read_sources=True)
    np.testing.assert_allclose(delivered, expected.source_current_a, atol=1e-14)
    values, _ = circuit.source_values(b.drives)
    r, d = circuit.resistors, circuit.diodes
    dissipated = ((v[:, r.a] - v[:, r.b]) ** 2 * g).sum(axis=1)
    dissipated += (diode_currents(circuit, v)[0] * (v[:, d.anode] - v[:, d.cathode])).sum(axis=1)
    np.testing.assert_allclose((delivered * values).sum(axis=1), dissipated, rtol=1e-9)


@pytest.mark.parametrize("plan", PLANS)
def test_reduced_cocontent_differs_by_what_the_voltages_do_not_change(plan: str) -> None:
    # Folding leaves out g/2 x^2 of each row; the mirror keeps exactly half of F.
    b = random_block(13, sizes=(4, 3), n_inputs=5)
    circuit, g = b.built.circuit, b.conductance_s
    reduced = reduction(plan, circuit, b.built.image)
    assert reduced is not None
    program = reduced.program(g)
    assert program is not None
    rng = np.random.default_rng(0)
    small = 0.1 * rng.normal(size=(2, len(b.x), reduced.reduced.n_nodes))
    small[:, :, 0] = 0.0
    sources = session(reduced.reduced).solve(program.conductance_s, program.drives(b.drives)).voltage_v
    known = validate(reduced.reduced).unknown_of_node < 0
    small[:, :, known] = sources[:, known]
    full_f = [cocontent(circuit, g, b.drives, program.expand(b.drives, v)) for v in small]
    small_f = [cocontent(reduced.reduced, program.conductance_s, program.drives(b.drives), v) for v in small]
    factor = 1.0 if plan == "fold" else 2.0
    np.testing.assert_allclose(full_f[0] - full_f[1], factor * (small_f[0] - small_f[1]), rtol=1e-9, atol=1e-18)


def test_own_values_of_the_folded_circuit_are_those_of_the_full_one() -> None:
    b = random_block(14, sizes=(3,), n_inputs=3)
    circuit = b.built.circuit.with_conductances(b.conductance_s).with_drives(b.drives[0])
    folding = fold(circuit)
    assert folding is not None
    program = folding.program(b.conductance_s)
    assert program is not None
    own = folding.reduced
    np.testing.assert_array_equal(own.resistors.conductance_s, program.conductance_s)
    drives = program.drives(b.drives[:1])
    np.testing.assert_allclose(own.current_sources.current_a, drives[0], rtol=1e-13)
    half = mirror(circuit, b.built.image)
    assert half is not None
    mirrored = half.program(b.conductance_s)
    assert mirrored is not None
    np.testing.assert_array_equal(half.reduced.resistors.conductance_s, mirrored.conductance_s)
    np.testing.assert_array_equal(half.reduced.voltage_sources.voltage_v[:3], b.drives[0, :3])


def test_fold_by_hand() -> None:
    # 2 V and -1 V through 1 mS and 3 mS into one column with a leak of 1 mS: i = 2 - 3 = -1 mA into 5 mS.
    b = CircuitBuilder("hand").voltage_source("x", "x", "0", 2.0, driven=True).voltage_source("y", "y", "0", -1.0)
    b.resistor("wx", "x", "out", 1e-3).resistor("wy", "y", "out", 3e-3).resistor("leak", "out", "0", 1e-3)
    b.resistor("rows", "x", "y", 1e-3).resistor("idle", "x", "0", 1e-3)
    circuit = b.build()
    folding = fold(circuit)
    assert folding is not None
    own = folding.reduced
    assert own.nodes == ("0", "out")
    assert own.resistors.names == ("leak", "fold_out")
    np.testing.assert_allclose(own.resistors.conductance_s, [1e-3, 4e-3])
    assert own.current_sources.names == ("norton_out",)
    np.testing.assert_allclose(own.current_sources.current_a, [-1e-3])
    program = folding.program(circuit.resistors.conductance_s)
    np.testing.assert_allclose(program.drives(np.array([[2.0], [7.0]])), [[-1e-3], [4e-3]])
    full = program.expand(np.array([[2.0]]), np.array([[0.0, -0.2]]))
    np.testing.assert_allclose(full, [[0.0, 2.0, -1.0, -0.2]][0:1])
    # What x delivers: 1 mS x 2.2 V to the column, 3 mA to y, 2 mA to ground. The folded circuit knows nothing of it.
    current = source_currents(validate(circuit), circuit.resistors.conductance_s, np.array([[2.0]]), full)
    np.testing.assert_allclose(current[0, 0], 2.2e-3 + 3e-3 + 2e-3)


def test_mirror_by_hand() -> None:
    # One input pair, one unit pair: w = G+ - G-, and leaks of 2 G- at both ends (the row's does not matter).
    b = random_block(15, sizes=(1,), n_inputs=1, bias=False, clamped=False, leak_s=3e-6)
    half = mirror(b.built.circuit, b.built.image)
    assert half is not None
    program = half.program(b.conductance_s)
    assert program is not None
    plus, minus = (1e-4 * p["w1"][0, 0] for p in (b.plus, b.minus))
    r, nodes = half.reduced.resistors, half.reduced.nodes
    found = {(nodes[a], nodes[c]): g for a, c, g in zip(r.a, r.b, program.conductance_s, strict=True)}
    assert found == pytest.approx(
        {("x0p", "l1_0p"): plus - minus, ("l1_0p", "0"): 2 * minus + 3e-6, ("x0p", "0"): 2 * minus}, rel=1e-12
    )
    assert half.reduced.active
    v = session(half.reduced).solve(program.conductance_s, program.drives(b.drives)).voltage_v
    expected = (plus - minus) * b.x[:, 0] / (plus - minus + 2 * minus + 3e-6)
    np.testing.assert_allclose(v[:, nodes.index("l1_0p")], expected, rtol=1e-12)


def test_mirror_of_a_resistor_between_a_unit_and_its_own_image() -> None:
    # v and -v across g: 2 g v, so a leak of 2 g. Parallel devices and a loop on one node come along.
    b = CircuitBuilder("own image").resistor("across", "p", "n", 1e-3).resistor("lp", "p", "0", 1e-3)
    b.resistor("ln", "n", "0", 1e-3).resistor("sp", "p", "p", 1e-3).resistor("sn", "n", "n", 1e-3)
    b.resistor("again", "n", "p", 2e-3)
    b.current_source("ip", "0", "p", 1e-3, driven=True).current_source("in", "0", "n", -1e-3, driven=True)
    circuit = b.build()
    g = circuit.resistors.conductance_s
    half = mirror(circuit, np.array([0, 2, 1]))
    assert half is not None
    program = half.program(g)
    assert program is not None
    drives = np.array([[1e-3, -1e-3]])
    assert program.applies_to(drives)
    small = session(half.reduced).solve(program.conductance_s, program.drives(drives)).voltage_v
    np.testing.assert_allclose(program.expand(drives, small), [[0, 1 / 7, -1 / 7]], rtol=1e-12)
    np.testing.assert_allclose(session(circuit).solve(g, drives).voltage_v, [[0, 1 / 7, -1 / 7]], rtol=1e-12)


class TestMirrorSwitchesItselfOff:
    """Whatever is not symmetric: None or False, never a wrong voltage."""

    @staticmethod
    def parts() -> tuple[RandomBlock, Circuit]:
        b = random_block(16, sizes=(3, 2), n_inputs=3)
        return b, b.built.circuit

    @staticmethod
    def program(b: RandomBlock) -> AbstractProgram:
        half = mirror(b.built.circuit, b.built.image)
        assert half is not None
        program = half.program(b.conductance_s)
        assert program is not None
        return program

    def test_unmatched_conductance(self) -> None:
        b, circuit = self.parts()
        half = mirror(circuit, b.built.image)
        assert half is not None
        for crossbar in b.built.crossbars:
            assert crossbar.minus is not None
            for device in (crossbar.plus[0, 0, 0], crossbar.minus[1, 0, 1]):
                g = b.conductance_s.copy()
                g[device] = np.nextafter(g[device], 1)
                assert half.program(g) is None
        g = b.conductance_s.copy()
        g[b.built.leak_devices[0]] *= 2
        assert half.program(g) is None

    @pytest.mark.parametrize("column", range(10))
    def test_drive_that_is_not_antisymmetric(self, column: int) -> None:
        b, _ = self.parts()
        program = self.program(b)
        assert program.applies_to(b.drives)
        drives = b.drives.copy()
        drives[1, column] += 1e-9
        assert not program.applies_to(drives)

    def test_unequal_diode_model(self) -> None:
        b, circuit = self.parts()
        d = circuit.diodes
        model = d.model.copy()
        model[0] = len(d.models)
        other = Diodes(
            names=d.names,
            anode=d.anode,
            cathode=d.cathode,
            model=model,
            models=(*d.models, DiodeModel(saturation_current_a=2e-14)),
        )
        assert mirror(replace(circuit, diodes=other), b.built.image) is None

    @pytest.mark.parametrize("name", ["rail1_hp", "rail2_hn", "biasp"])
    def test_unsymmetric_rail_or_bias(self, name: str) -> None:
        b, circuit = self.parts()
        v = circuit.voltage_sources
        values = v.voltage_v.copy()
        values[v.names.index(name)] += 1e-6
        other = replace(circuit, voltage_sources=replace(v, voltage_v=values))
        assert mirror(other, b.built.image) is None

    def test_missing_diode(self) -> None:
        b, circuit = self.parts()
        d = circuit.diodes
        fewer = Diodes(names=d.names[1:], anode=d.anode[1:], cathode=d.cathode[1:], model=d.model[1:], models=d.models)
        assert mirror(replace(circuit, diodes=fewer), b.built.image) is None

    def test_drive_on_one_side_only(self) -> None:
        b, circuit = self.parts()
        v = circuit.voltage_sources
        driven = v.driven.copy()
        driven[0] = False
        other = VoltageSources(names=v.names, plus=v.plus, minus=v.minus, voltage_v=v.voltage_v, driven=driven)
        assert mirror(replace(circuit, voltage_sources=other), b.built.image) is None

    def test_single_polarity(self) -> None:
        b = random_block(17, sizes=(3,), polarity=Polarity.SINGLE)
        assert mirror(b.built.circuit, b.built.image) is None

    def test_image_that_is_none(self) -> None:
        b, circuit = self.parts()
        image = b.built.image.copy()
        image[[1, 2]] = image[[2, 1]]
        assert mirror(circuit, image) is None
        assert mirror(circuit, np.arange(circuit.n_nodes)) is None

    @pytest.mark.parametrize(("currents", "symmetric"), [((1e-6, -1e-6), True), ((1e-6, 1e-6), False)])
    def test_constant_currents(self, currents: tuple[float, float], symmetric: bool) -> None:
        b = CircuitBuilder("pair").resistor("p", "p", "0", 1e-3).resistor("n", "n", "0", 1e-3)
        circuit = b.current_source("ip", "0", "p", currents[0]).current_source("in", "0", "n", currents[1]).build()
        assert (mirror(circuit, np.array([0, 2, 1])) is not None) == symmetric

    def test_extra_resistor(self) -> None:
        b, circuit = self.parts()
        r = circuit.resistors
        more = replace(
            r,
            names=(*r.names, "probe"),
            a=np.append(r.a, b.built.layers[0].p[0]),
            b=np.append(r.b, 0),
            conductance_s=np.append(r.conductance_s, 1e-6),
        )
        assert mirror(replace(circuit, resistors=more), b.built.image) is None


class TestFoldSwitchesItselfOff:
    def test_row_that_touches_a_diode(self) -> None:
        b = CircuitBuilder("row").voltage_source("x", "x", "0", 1.0).resistor("w", "x", "out", 1e-3)
        b.resistor("leak", "out", "0", 1e-3)
        assert fold(b.build()) is not None
        assert fold(b.diode("d", "x", "out", DiodeModel()).build()) is None

    def test_rails_stay(self) -> None:
        b = random_block(18, sizes=(3,), n_inputs=2)
        folding = fold(b.built.circuit)
        assert folding is not None
        assert set(folding.reduced.voltage_sources.names) == {"rail1_hp", "rail1_lp", "rail1_ln", "rail1_hn"}
        assert not {"x0p", "biasn"} & set(folding.reduced.nodes)

    @pytest.mark.parametrize("name", ["floating source", "floating chain", "current into resistor", "source and load"])
    def test_nothing_to_fold(self, name: str) -> None:
        assert fold(BANK[name].circuit) is None

    def test_source_that_stands_on_another(self) -> None:
        # x carries the foot of y: its own row cannot go, and y is not a source to ground.
        b = CircuitBuilder("stack").voltage_source("x", "x", "0", 1.0).voltage_source("y", "y", "x", 1.0)
        b.resistor("wx", "x", "out", 1e-3).resistor("wy", "y", "out", 1e-3).resistor("leak", "out", "0", 1e-3)
        assert fold(b.build()) is None

    def test_row_that_takes_a_current_or_a_capacitor(self) -> None:
        def start() -> CircuitBuilder:
            b = CircuitBuilder("row").voltage_source("x", "x", "0", 1.0).resistor("w", "x", "out", 1e-3)
            return b.resistor("leak", "out", "0", 1e-3)

        assert fold(start().current_source("i", "0", "x", 1e-3).build()) is None
        assert fold(start().capacitor("c", "x", "0", 1e-12).build()) is None

    def test_source_upside_down_is_left_alone(self) -> None:
        b = CircuitBuilder("row").voltage_source("x", "0", "x", 1.0).resistor("w", "x", "out", 1e-3)
        assert fold(b.resistor("leak", "out", "0", 1e-3).build()) is None


def test_chain_is_off_where_either_part_is() -> None:
    b = random_block(19, sizes=(3,), n_inputs=3)
    chain = reduction("chain", b.built.circuit, b.built.image)
    assert isinstance(chain, Chain)
    g = b.conductance_s.copy()
    g[0] *= 1.01
    assert chain.program(g) is None
    program = chain.program(b.conductance_s)
    assert program is not None
    drives = b.drives.copy()
    drives[0, 0] += 0.1
    assert program.applies_to(b.drives)
    assert not program.applies_to(drives)
