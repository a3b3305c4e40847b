"""Cubic devices in every spelling: a behavioural source that ngspice takes to the last digit, and back from text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cubic_blocks import cubic_block
from test_netlists_hierarchy import assert_same, run, write

from circuits import Circuit, CircuitBuilder, Drive, Polarity
from circuits.element_groups import block_groups
from circuits.tiles import TileSize, tile_crossbars
from netlists import NetlistError, format_standalone, lower, streamed_template
from netlists.drawing import draw_block
from netlists.hierarchy import format_hierarchy
from netlists.pyspice_export import to_pyspice
from netlists.reordering import find_difference, reordered_like
from netlists.spice_cubic import format_in_expression, format_law, parse_law
from netlists.spice_reader import read_deck


def example() -> Circuit:
    b = CircuitBuilder("example").voltage_source("x", "x", "0", 0.5, driven=True)
    b.resistor("w", "x", "out", 1e-5, k3_per_v2=0.25).resistor("plain", "x", "out", 2e-5)
    return b.resistor("leak", "0", "out", 1e-6 / 3, k3_per_v2=2 / 3).build()


W = "bw x out i=1e-05*v(x,out)*(1+0.25*v(x,out)*v(x,out))"
LEAK = (
    "bleak 0 out i=(3.3333333333e-07+3.3332864057e-18)*v(0,out)*(1+(0.66666666667-3.3333336091e-12)*v(0,out)*v(0,out))"
)


def test_golden_cards() -> None:
    netlist, _ = lower(example())
    assert netlist.resistors == ("bw", "rplain", "bleak")
    cards = [W, "rplain x out 49999.99999999999", LEAK]
    for text in (format_standalone(netlist), streamed_template(netlist).text(netlist.circuit.resistors.conductance_s)):
        assert [line for line in text.splitlines() if line[0] in "rb" and not line.startswith("rsweep")] == cards
    linear = format_standalone(lower(example().with_cubic(0.0))[0])
    assert "rw x out" in linear
    assert "bw" not in linear


@pytest.mark.parametrize("seed", range(3))
def test_every_number_survives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = [*rng.lognormal(-12, 4, 2000), 1e-300, 1e300, 1 / 3, 0.1, 2.0**-1074, 0.0]
    for g, k3 in zip(values, rng.permutation(values), strict=True):
        assert parse_law("a", "0", format_law("a", "0", float(g), float(k3))) == (g, k3)


def test_a_number_is_split_only_where_it_must_be() -> None:
    assert format_in_expression(1e-5) == "1e-05"
    assert format_in_expression(1.2345678901) == "1.2345678901"
    assert format_in_expression(1.23456789012) == "(1.2345678901+2.0000001655e-11)"
    assert format_in_expression(1.23456789016) == "(1.2345678902-4.000000331e-11)"


@pytest.mark.ngspice
def test_ngspice_keeps_all_digits(tmp_path: Path) -> None:
    # A current of g (1 + k3) through the device gives 1 V, to the last digit; 1e-10 is lost of a number not split.
    from cosim.simulators.ngspice.program import solve_standalone

    found = []
    for g, k3 in ((1.2345678901234567e-3, 0.98765432109876543), (1 / 3e3, 2 / 3)):
        b = (
            CircuitBuilder("digits")
            .current_source("i", "0", "a", g * (1 + k3))
            .resistor("r", "a", "0", g, k3_per_v2=k3)
        )
        netlist, _ = lower(b.build())
        found.append(solve_standalone(netlist)[0][1])
    np.testing.assert_allclose(found, 1.0, rtol=0, atol=1e-14)


@pytest.mark.parametrize("drive", Drive)
@pytest.mark.parametrize("polarity", Polarity)
def test_hierarchical_deck_reads_back(tmp_path: Path, polarity: Polarity, drive: Drive) -> None:
    drawn = cubic_block(1, polarity, drive, sizes=(5, 4), n_inputs=4)
    circuit = drawn.built.circuit.with_conductances(drawn.conductance_s).with_drives(drawn.drives[0])
    groups = block_groups(drawn.built, tile_crossbars(drawn.built, TileSize(rows=8, columns=12)))
    texts = format_hierarchy(lower(circuit)[0], groups)
    assert sum(line.startswith("b") for line in texts["crossbars.inc"].splitlines()) == len(circuit.resistors.cubic)
    top = write(texts, tmp_path)
    assert_same(top, circuit)
    (tmp_path / "flat.cir").write_text(format_standalone(lower(circuit)[0]))
    flat = reordered_like(read_deck(tmp_path / "flat.cir").circuit, circuit)
    np.testing.assert_array_equal(flat.resistors.k3_per_v2, circuit.resistors.k3_per_v2)
    cubic = circuit.resistors.cubic
    np.testing.assert_array_equal(flat.resistors.conductance_s[cubic], circuit.resistors.conductance_s[cubic])


def test_a_lost_or_changed_k3_is_a_difference(tmp_path: Path) -> None:
    circuit = example()
    (tmp_path / "a.cir").write_text(format_standalone(lower(circuit)[0]))
    found = reordered_like(read_deck(tmp_path / "a.cir").circuit, circuit)
    assert found.resistors.k3_per_v2.tolist() == [0.25, 0.0, 2 / 3]
    reference = replace(found, resistors=replace(found.resistors, k3_per_v2=np.array([0.5, 0.0, 2 / 3])))
    assert (
        find_difference(found, reference)
        == "resistors: k3_per_v2 of 'w' is np.float64(0.25) instead of np.float64(0.5)"
    )
    assert find_difference(found.with_cubic(0.0), found) == "resistors: 0 instead of 3"


@pytest.mark.ngspice
def test_hierarchical_deck_runs(tmp_path: Path) -> None:
    from cosim.simulators.ngspice.program import run_program

    drawn = cubic_block(2, sizes=(5, 4), n_inputs=4)
    circuit = drawn.built.circuit.with_conductances(drawn.conductance_s).with_drives(drawn.drives[0])
    netlist, node_map = lower(circuit)
    groups = block_groups(drawn.built, tile_crossbars(drawn.built, TileSize(rows=8, columns=12)))
    tiled = run(write(format_hierarchy(netlist, groups), tmp_path))
    flat = run_program(format_standalone(netlist))
    for name in node_map.vectors[: len(netlist.nodes) - 1]:
        assert abs(tiled[name][0] - flat[name][0]) <= 1e-9


def read(tmp_path: Path, *cards: str) -> Circuit:
    (tmp_path / "deck.cir").write_text("\n".join(["* title", "r1 a 0 1k", *cards, ".end", ""]))
    return read_deck(tmp_path / "deck.cir").circuit


def test_cards_of_other_hands(tmp_path: Path) -> None:
    circuit = read(
        tmp_path,
        "BX a b I = 1E-3*V(a,b)*(1 + (0.5-1e-12)*v(A,B)*v(a,B))",
        "+",
        "bq b gnd i=.001*v(b,gnd)*(1+0*v(b,gnd)*v(b,gnd))",
    )
    assert list(circuit.resistors.names) == ["1", "x", "q"]
    np.testing.assert_array_equal(circuit.resistors.conductance_s, 1e-3)
    np.testing.assert_array_equal(circuit.resistors.k3_per_v2, [0.0, 0.5 - 1e-12, 0.0])
    assert circuit.nodes[int(circuit.resistors.b[2])] == "0"


REFUSED = {
    "power": (
        "bx a 0 i=1*v(a,0)*(1+0.5*v(a,0)^2)",
        "a behavioural source is read where it is a cubic device; write 'Bna",
    ),
    "voltage": ("bx a 0 v=1*v(a,0)*(1+0.5*v(a,0)*v(a,0))", "a behavioural source is read where it is a cubic device"),
    "one node": ("bx a 0 i=1*v(a)*(1+0.5*v(a)*v(a))", "a behavioural source is read where it is a cubic device"),
    "nothing": ("bx a 0", r"'bx' has 3 words; write 'Bname a b i=g\*v\(a,b\)\*"),
    "parameter": ("bx a 0 i={g}*v(a,0)*(1+0.5*v(a,0)*v(a,0))", "a behavioural source is read where"),
    "negative": ("bx a 0 i=1*v(a,0)*(1+-0.5*v(a,0)*v(a,0))", "a behavioural source is read where"),
    "other nodes": (
        "bx a 0 i=1*v(b,0)*(1+0.5*v(b,0)*v(b,0))",
        "this cubic device joins 'a' and '0', its law other nodes",
    ),
    "turned": ("bx a 0 i=1*v(a,0)*(1+0.5*v(a,0)*v(0,a))", "this cubic device joins 'a' and '0', its law other nodes"),
    "digits": (
        "bx a 0 i=1.23456789012*v(a,0)*(1+0.5*v(a,0)*v(a,0))",
        r"'1.23456789012': ngspice keeps 11 digits of a number in an expression; write \(a\+b\)",
    ),
    "large": ("bx a 0 i=1e999*v(a,0)*(1+0.5*v(a,0)*v(a,0))", "'1e999' is larger than any double"),
    "twice": ("b1 a 0 i=1*v(a,0)*(1+0.5*v(a,0)*v(a,0))", "'b1' is there already; rename one"),
}


@pytest.mark.parametrize(("card", "message"), REFUSED.values(), ids=REFUSED)
def test_other_behavioural_sources_are_refused(tmp_path: Path, card: str, message: str) -> None:
    with pytest.raises(NetlistError, match=rf"deck.cir, line 3: {message}"):
        read(tmp_path, card)


@pytest.mark.ngspice
def test_pyspice_gets_behavioural_sources() -> None:
    from cosim.simulators.ngspice.program import run_program, solve_standalone

    circuit = example()
    deck = str(to_pyspice(circuit))
    assert W.replace("bw", "Bw") in deck
    netlist, _ = lower(circuit)
    found = run_program(deck.replace(".end", "") + ".op\n.end\n")
    np.testing.assert_allclose([found["x"][0], found["out"][0]], solve_standalone(netlist)[0][1:], atol=1e-12, rtol=0)


def test_drawing_says_what_is_cubic() -> None:
    drawn = cubic_block(3, k3_per_v2=0.5)
    circuit = drawn.built.circuit.with_cubic(np.where(drawn.built.circuit.resistors.k3_per_v2, 0.5, 0.0))
    netlist, _ = lower(circuit.with_conductances(drawn.conductance_s))
    size = TileSize(rows=64, columns=64)
    text = draw_block(drawn.built, netlist, tile_crossbars(drawn.built, size), size)
    n, cubic = len(circuit.resistors), len(circuit.resistors.cubic)
    assert f"{n:,} resistors ({cubic:,} cubic)" in text
    assert "I = G (V + k3 V^3), k3 = 0.5 /V^2" in text
    name = netlist.resistors[int(drawn.built.crossbars[0].plus[0, 0, 0])]
    assert name.startswith("bw1_")
    assert f"{name} " in text
    linear, _ = lower(circuit.with_cubic(0.0))
    assert "cubic" not in draw_block(drawn.built, linear, tile_crossbars(drawn.built, size), size)
