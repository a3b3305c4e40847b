"""Active leaks: negative conductances to ground, in both simulators, in every spelling, and back from the text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from analog_blocks import check_simulators_agree
from random_blocks import RandomBlock, random_block, session
from test_netlists_hierarchy import assert_same, run, write

from circuits import CircuitError, Drive, EnergyBlock, NodeLayer, Polarity, build
from circuits.element_groups import block_groups
from circuits.kirchhoff import leaving_currents
from circuits.tiles import TileSize, tile_crossbars
from circuits.topology import laplacian
from netlists import format_standalone, lower
from netlists.hierarchy import format_hierarchy
from netlists.pyspice_export import to_pyspice

ACTIVE_S = (-3e-5 - 1e-7) / 2  # of unit 0: with g_min from each node to ground
LEAKS_S = ((-3e-5, 2e-6, -1e-5, 0.0, 4e-6), (1e-6, -2e-5, 3e-6, 1e-6))


def active_block(seed: int, polarity: Polarity = Polarity.DIFFERENTIAL) -> RandomBlock:
    """Draw a block of two layers some of whose leaks are negative, one zero; its linear part stays stable."""
    drawn = random_block(seed, polarity=polarity)
    block = drawn.built.block
    layers = tuple(replace(layer, leak_s=leak) for layer, leak in zip(block.layers, LEAKS_S, strict=True))
    built = build(replace(block, layers=layers))
    return replace(drawn, built=built, conductance_s=built.program(drawn.plus, drawn.minus))


@pytest.mark.parametrize("polarity", Polarity)
def test_each_unit_has_its_own_leak(polarity: Polarity) -> None:
    drawn = active_block(1, polarity)
    built, wires = drawn.built, len("pn") if polarity is Polarity.DIFFERENTIAL else 1
    assert built.circuit.active
    r = built.circuit.resistors
    found = {r.names[k]: drawn.conductance_s[k] for k in built.leak_devices.tolist()}
    assert sum(name.startswith("leak_") for name in found) == wires * 9
    for layer, leaks in enumerate(LEAKS_S, start=1):
        for unit, leak in enumerate(leaks):
            between = found.get(f"active_l{layer}_{unit}", 0.0)
            assert (between < 0) == (leak < 0 and wires == 2)
            for side in "pn" if wires == 2 else ("",):
                to_ground = found[f"leak_l{layer}_{unit}{side}"]
                assert to_ground + 2 * between == pytest.approx(leak, rel=1e-12)
                assert to_ground >= 0 or wires == 1
    passive = random_block(1, polarity=polarity)
    assert not passive.built.circuit.active
    # A leak takes g v out of its node where p and n are opposite: the only difference between the two Kirchhoff laws.
    voltage_v = np.random.default_rng(0).normal(size=(1, built.circuit.n_nodes)) * 0.1
    voltage_v[:, 0] = 0.0
    for nodes in built.layers:
        if nodes.n is not None:
            voltage_v[:, nodes.n] = -voltage_v[:, nodes.p]
    ours, theirs = (
        leaving_currents(b.built.circuit, b.conductance_s, drawn.drives[:1], voltage_v)[0] for b in (drawn, passive)
    )
    expected = np.zeros(built.circuit.n_nodes)
    for nodes, leaks in zip(built.layers, LEAKS_S, strict=True):
        for side in [nodes.p] if nodes.n is None else [nodes.p, nodes.n]:
            expected[side] = (np.array(leaks) - 2e-6) * voltage_v[0, side]
    expected[0] = -expected.sum()
    np.testing.assert_allclose(ours - theirs, expected, atol=1e-18)


def test_p_and_n_together_are_stable() -> None:
    # What both nodes of a unit do together sees no active leak: its Hessian is positive, as is that of the difference.
    built = (drawn := active_block(6)).built
    full = laplacian(built.circuit, drawn.conductance_s).toarray()
    units = [(layer.p[k], layer.n[k]) for layer in built.layers for k in range(len(layer))]
    for sign in (1.0, -1.0):
        modes = np.zeros((len(units), len(full)))
        for row, (p, n) in enumerate(units):
            modes[row, [p, n]] = 1.0, sign
        assert np.linalg.eigvalsh(modes @ full @ modes.T)[0] > 0


@pytest.mark.ngspice
@pytest.mark.parametrize("polarity", Polarity)
def test_simulators_and_reductions_agree(polarity: Polarity) -> None:
    drawn, without = active_block(2, polarity), random_block(2, polarity=polarity)
    full = check_simulators_agree(drawn.built, drawn.conductance_s, drawn.drives)
    passive = session(without.built.circuit).solve(without.conductance_s, drawn.drives).voltage_v
    assert np.abs(passive - full).max() > 1e-3  # the leaks do something


def test_decks_have_a_controlled_source_where_the_leak_is_negative() -> None:
    drawn = active_block(3)
    text = format_standalone(lower(drawn.built.circuit.with_conductances(drawn.conductance_s))[0])
    active = [line for line in text.splitlines() if line.startswith("g")]
    assert len(active) == 3  # units 0 and 2 of layer 1, unit 1 of layer 2
    assert f"gactive_l1_0 l1_0p l1_0n l1_0p l1_0n {ACTIVE_S!r}" in active
    assert not any("-" in line.split()[-1].removeprefix("1e-") for line in text.splitlines() if line.startswith("r"))
    assert "rleak_l1_3p l1_3p 0 1e+99" in text  # a leak of zero: open


@pytest.mark.ngspice
def test_hierarchical_deck_runs_and_reads_back(tmp_path: Path) -> None:
    from cosim.simulators.ngspice.program import run_program

    drawn = active_block(4)
    circuit = drawn.built.circuit.with_conductances(drawn.conductance_s).with_drives(drawn.drives[0])
    netlist, node_map = lower(circuit)
    groups = block_groups(drawn.built, tile_crossbars(drawn.built, TileSize(rows=8, columns=12)))
    texts = format_hierarchy(netlist, groups)
    assert f"gactive_l1_0 l1_0p l1_0n l1_0p l1_0n {ACTIVE_S:g}" in texts["neurons.inc"].splitlines()
    top = write(texts, tmp_path)
    assert_same(top, circuit)
    tiled, flat = run(top), run_program(format_standalone(netlist))
    for name in node_map.vectors[: len(netlist.nodes) - 1]:
        assert abs(tiled[name][0] - flat[name][0]) <= 1e-9


def test_pyspice_gets_a_controlled_source() -> None:
    drawn = active_block(5)
    text = str(to_pyspice(drawn.built.circuit.with_conductances(drawn.conductance_s)))
    assert f"Gactive_l1_0 l1_0p l1_0n l1_0p l1_0n {ACTIVE_S}" in text


@pytest.mark.parametrize(
    ("leak_s", "message"),
    [
        ((1e-6, 2e-6), r"node layer: 2 leaks for 3 units; give one a unit, or one for all"),
        ((1e-6, np.nan, 0.0), r"node layer: leak_s of unit 1 is nan; give finite values"),
    ],
)
def test_leaks_that_do_not_fit(leak_s: tuple[float, ...], message: str) -> None:
    with pytest.raises(CircuitError, match=message):
        NodeLayer(size=3, leak_s=leak_s)


def test_leaks_are_a_tuple_whatever_they_are_given_as() -> None:
    layer = NodeLayer(size=2, leak_s=np.array([1e-6, -1e-6]))
    assert layer.leak_s == (1e-6, -1e-6)
    assert layer == NodeLayer(size=2, leak_s=(1e-6, -1e-6))
    assert EnergyBlock(name="b", n_inputs=2, layers=(layer,), drive=Drive.CURRENT).layers[0].leaks_s.tolist() == [
        1e-6,
        -1e-6,
    ]
