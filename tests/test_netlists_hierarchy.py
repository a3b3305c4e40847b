"""Hierarchical decks: golden text, the same voltages as the flat deck, and back to the same circuit bit for bit."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from circuit_bank import BANK, RESISTIVE
from random_blocks import random_block

from circuits import (
    Circuit,
    CircuitBuilder,
    CircuitError,
    Clamp,
    DiodeModel,
    Drive,
    EnergyBlock,
    NodeLayer,
    Polarity,
    build,
)
from circuits.arrays import frozen_indices
from circuits.element_groups import ElementGroup, GroupKind, block_groups
from circuits.tiles import TileSize, tile_crossbars
from netlists import Netlist, NetlistError, SolverOptions, format_standalone, lower
from netlists.hierarchy import branch_names, format_hierarchy, format_sample
from netlists.reordering import find_difference, reordered_like
from netlists.spice_reader import read_deck

OPTIONS = SolverOptions(reltol=1e-10, max_iterations=300)


def write(texts: Mapping[str, str], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_bytes(text.encode())
    return folder / "top.cir"


def run(top: Path) -> dict[str, np.ndarray]:
    """Run a deck of several files in the plain program."""
    from cosim.simulators.ngspice.program import parse_raw

    command = ["ngspice", "-n", "-b", "-r", "out.raw", top.name]
    done = subprocess.run(command, cwd=top.parent, capture_output=True, text=True, timeout=60, check=True)
    assert not done.stderr.strip()
    return parse_raw((top.parent / "out.raw").read_bytes())


def one_group(circuit: Circuit, name: str = "all") -> ElementGroup:
    r, d, v, i, c, a = (frozen_indices(np.arange(len(group))) for group in circuit.groups)
    return ElementGroup(
        name=name,
        kind=GroupKind.TILE,
        resistors=r,
        diodes=d,
        voltage_sources=v,
        current_sources=i,
        capacitors=c,
        amplifiers=a,
    )


def assert_same(top: Path, circuit: Circuit) -> None:
    assert find_difference(reordered_like(read_deck(top).circuit, circuit), circuit) is None


def example() -> tuple[Netlist, tuple[ElementGroup, ...]]:
    layers = (NodeLayer(size=2, clamp=Clamp(low_v=-0.25, high_v=0.25), leak_s=1e-6),)
    built = build(EnergyBlock(name="two\nlines", n_inputs=1, layers=layers, temperature_k=310.0))
    plus, minus = {"w1": np.array([[1.5, 0.3]])}, {"w1": np.array([[0.001, 1.0]])}
    circuit = built.circuit.with_conductances(built.program(plus, minus))
    circuit = circuit.with_drives(built.drives(np.array([[0.5]]), np.array([[0.125, -0.25]]))[0])
    return lower(circuit, OPTIONS)[0], block_groups(built, tile_crossbars(built, TileSize(rows=2, columns=2)))


RAIL = repr(0.25 - DiodeModel().forward_voltage_v(1e-5, 310.0))
GOLDEN = {
    "top.cir": """
        * two lines
        .options reltol=1e-10 abstol=1e-15 vntol=1e-13
        .options gmin=1e-15 itl1=300 itl2=200
        .options temp=36.85000000000002 tnom=27.0
        .include "sample.inc"
        .include "drivers.inc"
        .include "crossbars.inc"
        .include "neurons.inc"
        xinputs_0 x0p x0n inputs_0
        xrails rail1_hp rail1_hn rail1_lp rail1_ln rails
        xnudge1_0 l1_0p l1_1p l1_0n l1_1n nudge1_0
        xw1_t0_0 x0p x0n l1_0p l1_0n w1_t0_0
        xw1_t0_1 x0p x0n l1_1p l1_1n w1_t0_1
        xclamps1_0 l1_0p l1_1p l1_0n l1_1n rail1_hp rail1_hn rail1_lp rail1_ln clamps1_0
        xleaks1_0 l1_0p l1_1p l1_0n l1_1n leaks1_0
        .op
        .end
    """,
    "sample.inc": """
        * one sample: values of the driven sources, V and A
        .param drive_vx0p=0.5
        .param drive_vx0n=-0.5
        .param drive_inudge_l1_0p=-1.25e-05
        .param drive_inudge_l1_1p=2.5e-05
        .param drive_inudge_l1_0n=1.25e-05
        .param drive_inudge_l1_1n=-2.5e-05
    """,
    "drivers.inc": f"""
        * sources: inputs, bias, rails, nudges
        .subckt inputs_0 x0p x0n
        vx0p x0p 0 dc {{drive_vx0p}}
        vx0n x0n 0 dc {{drive_vx0n}}
        .ends inputs_0
        .subckt rails rail1_hp rail1_hn rail1_lp rail1_ln
        vrail1_hp rail1_hp 0 dc {RAIL}
        vrail1_lp rail1_lp 0 dc {RAIL[1:]}
        vrail1_ln rail1_ln 0 dc {RAIL}
        vrail1_hn rail1_hn 0 dc {RAIL[1:]}
        .ends rails
        .subckt nudge1_0 l1_0p l1_1p l1_0n l1_1n
        inudge_l1_0p 0 l1_0p dc {{drive_inudge_l1_0p}}
        inudge_l1_0n 0 l1_0n dc {{drive_inudge_l1_0n}}
        inudge_l1_1p 0 l1_1p dc {{drive_inudge_l1_1p}}
        inudge_l1_1n 0 l1_1n dc {{drive_inudge_l1_1n}}
        .ends nudge1_0
    """,
    "crossbars.inc": """
        * tiles of the crossbars
        .subckt w1_t0_0 x0p x0n l1_0p l1_0n
        rw1_0_0_pp x0p l1_0p 6666.666666666666
        rw1_0_0_nn x0n l1_0n 6666.666666666666
        rw1_0_0_pn x0p l1_0n 9999999.99999999913
        rw1_0_0_np x0n l1_0p 9999999.99999999913
        .ends w1_t0_0
        .subckt w1_t0_1 x0p x0n l1_1p l1_1n
        rw1_0_1_pp x0p l1_1p 33333.3333333333325
        rw1_0_1_nn x0n l1_1n 33333.3333333333325
        rw1_0_1_pn x0p l1_1n 10000.0
        rw1_0_1_np x0n l1_1p 10000.0
        .ends w1_t0_1
    """,
    "neurons.inc": """
        * clamps and leaks of the units
        .model diode0 d(is=1e-14 n=1.0 rs=0.0 eg=1.11 xti=3.0)
        .subckt clamps1_0 l1_0p l1_1p l1_0n l1_1n rail1_hp rail1_hn rail1_lp rail1_ln
        dclamp1_0p_u l1_0p rail1_hp diode0
        dclamp1_0p_d rail1_lp l1_0p diode0
        dclamp1_0n_u l1_0n rail1_ln diode0
        dclamp1_0n_d rail1_hn l1_0n diode0
        dclamp1_1p_u l1_1p rail1_hp diode0
        dclamp1_1p_d rail1_lp l1_1p diode0
        dclamp1_1n_u l1_1n rail1_ln diode0
        dclamp1_1n_d rail1_hn l1_1n diode0
        .ends clamps1_0
        .subckt leaks1_0 l1_0p l1_1p l1_0n l1_1n
        rleak_l1_0p l1_0p 0 1000000.0
        rleak_l1_0n l1_0n 0 1000000.0
        rleak_l1_1p l1_1p 0 1000000.0
        rleak_l1_1n l1_1n 0 1000000.0
        .ends leaks1_0
    """,
}


def squeeze(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def test_golden() -> None:
    texts = format_hierarchy(*example())
    assert list(texts) == list(GOLDEN)
    for name, text in texts.items():
        assert squeeze(text) == squeeze(GOLDEN[name]), name
        assert text.endswith("\n")
    assert format_hierarchy(*example()) == texts
    assert format_sample(example()[0]) == texts["sample.inc"]


def test_golden_reads_back(tmp_path: Path) -> None:
    netlist, groups = example()
    deck = read_deck(write(format_hierarchy(netlist, groups), tmp_path))
    assert deck.options == OPTIONS
    assert deck.circuit.name == "two lines"
    assert [deck.circuit.voltage_sources.names[k] for k in deck.circuit.driven_voltage_sources] == ["x0p", "x0n"]
    assert len(deck.circuit.driven_current_sources) == 4
    back = reordered_like(deck.circuit, netlist.circuit)
    assert find_difference(back, netlist.circuit) is None
    assert (back.name, back.labels) == (netlist.circuit.name, netlist.circuit.labels)


def kinds():
    """Every kind of block: polarity x drive x layers, with and without bias, several diodes, temperatures."""
    for number, (polarity, drive, sizes) in enumerate(
        (polarity, drive, sizes) for polarity in Polarity for drive in Drive for sizes in ((3,), (5, 4), (5, 4, 3))
    ):
        settings = {"bias": number % 2 == 0, "clamped": number % 5 != 4}
        if number % 3 == 0:
            settings["diode"] = RESISTIVE
        if number % 4 == 3:
            settings["temperature_k"] = 331.7
        yield pytest.param(number, polarity, drive, sizes, settings, id=f"{polarity.value}-{drive.value}-{len(sizes)}")


@pytest.mark.ngspice
@pytest.mark.parametrize(("seed", "polarity", "drive", "sizes", "settings"), list(kinds()))
def test_every_kind_of_block(seed, polarity, drive, sizes, settings, tmp_path: Path) -> None:
    from cosim.simulators.ngspice.program import run_program

    block = random_block(seed, sizes=sizes, polarity=polarity, drive=drive, **settings)
    built = block.built
    nudge = np.random.default_rng(seed).normal(size=(len(block.x), built.block.n_outputs)) * 1e-2
    circuit = built.circuit.with_conductances(block.conductance_s).with_drives(built.drives(block.x, nudge)[0])
    netlist, node_map = lower(circuit)
    flat = run_program(format_standalone(netlist))
    for text in ("2x4", "4x6", "1000x1000"):
        groups = block_groups(built, tile_crossbars(built, TileSize.parse(text)))
        top = write(format_hierarchy(netlist, groups), tmp_path / text)
        assert_same(top, circuit)
        tiled = run(top)
        voltages = node_map.vectors[: len(netlist.nodes) - 1]
        scale_v = max(1.0, *(abs(flat[name][0]) for name in voltages))  # up to 125 V, current-driven and unclamped
        for name in voltages:
            assert abs(tiled[name][0] - flat[name][0]) <= min(1e-12 * scale_v, 1e-9)
        for name, own in zip(branch_names(netlist, groups), netlist.voltage_sources, strict=True):
            assert abs(tiled[name][0] - flat[f"{own}#branch"][0]) <= 1e-14 * scale_v


@pytest.mark.parametrize("name", BANK)
def test_bank_reads_back(name: str, tmp_path: Path) -> None:
    circuit = BANK[name].circuit
    assert_same(write(format_hierarchy(lower(circuit)[0], [one_group(circuit)]), tmp_path), circuit)
    flat = write({"top.cir": format_standalone(lower(circuit)[0])}, tmp_path / "flat")
    back = reordered_like(read_deck(flat).circuit, circuit)
    np.testing.assert_allclose(back.resistors.conductance_s, circuit.resistors.conductance_s, rtol=3e-16)


def test_several_models_and_signed_zeros_read_back(tmp_path: Path) -> None:
    b = CircuitBuilder("models", temperature_k=299.8765432101234, gmin_s=1e-13)
    b.voltage_source("s", "in", "0", -0.0, driven=True).current_source("i", "in", "0", -0.0)
    b.resistor("r", "in", "out", 1 / 3).resistor("q", "out", "0", 1e-7 / 3).capacitor("c", "out", "0", 1e-13 / 3)
    for k, model in enumerate((DiodeModel(), RESISTIVE, DiodeModel(saturation_exponent=-1.5), RESISTIVE)):
        b.diode(f"d{k}", "out", "0", model)
    circuit = b.build()
    top = write(format_hierarchy(lower(circuit)[0], [one_group(circuit)]), tmp_path)
    assert_same(top, circuit)
    assert read_deck(top).circuit.diodes.models == circuit.diodes.models


def test_names_that_spice_spells_in_another_way_come_back(tmp_path: Path) -> None:
    b = CircuitBuilder("names").voltage_source("X in", "In.1", "0", 1.0).resistor("W[1,2]", "In.1", "Out (p)", 1e-3)
    circuit = b.resistor("leak " + "long" * 60, "Out (p)", "0", 1e-3).build()
    texts = format_hierarchy(lower(circuit)[0], [one_group(circuit)])
    assert max(map(len, texts["crossbars.inc"].splitlines())) < 260  # a name cannot be parted
    assert_same(write(texts, tmp_path), circuit)


@pytest.mark.parametrize(
    "name", ["x\n.include /etc/passwd", "x\r\nrq a 0 1", "a\\\\", "é\x00\u2028.end", "*", "$ ; //"]
)
def test_names_cannot_smuggle_lines(name: str, tmp_path: Path) -> None:
    def texts(title: str, device: str, node: str) -> dict[str, str]:
        b = CircuitBuilder(title).voltage_source("s", node, "0", 1.0).resistor(device, node, "0", 1e-3)
        circuit = b.build()
        assert find_difference(circuit, circuit) is None
        return format_hierarchy(lower(circuit)[0], [one_group(circuit)])

    clean = texts("title", "d", "n")
    for dirty in (texts(name, "d", "n"), texts("title", name, "n"), texts("title", "d", name)):
        assert list(dirty) == list(clean)
        for file, text in dirty.items():
            assert text.isascii()
            lines, expected = text.split("\n"), clean[file].split("\n")
            assert [line.split(" ")[0][:1] for line in lines] == [line.split(" ")[0][:1] for line in expected]
            assert [len(line.split(" ")) for line in lines[1:]] == [len(line.split(" ")) for line in expected[1:]]


@pytest.mark.parametrize("name", ["", "A", "a b", "a\n.end", "a.b", "drive_vs"])
def test_group_names_cannot_smuggle_lines(name: str) -> None:
    circuit = BANK["divider"].circuit
    with pytest.raises(NetlistError, match=r"circuit 'divider': group '.*'; name it with small letters, digits and _"):
        format_hierarchy(lower(circuit)[0], [one_group(circuit, name)])


def test_groups_that_are_no_partition() -> None:
    circuit = BANK["divider"].circuit
    netlist, group = lower(circuit)[0], one_group(circuit)
    top = ElementGroup(name="top", kind=GroupKind.TILE, resistors=frozen_indices([0]))
    far = ElementGroup(name="far", kind=GroupKind.TILE, resistors=frozen_indices([-1]))
    with pytest.raises(NetlistError, match=r"circuit 'divider': 'top' is in 2 groups \(1 such\)"):
        format_hierarchy(netlist, [group, top])
    with pytest.raises(NetlistError, match=r"'bottom' is in 0 groups"):
        format_hierarchy(netlist, [top])
    with pytest.raises(NetlistError, match=r"'top' is in 0 groups \(2 such\)"):
        format_hierarchy(netlist, [])
    with pytest.raises(NetlistError, match=r"a group names an element outside 0..1"):
        format_hierarchy(netlist, [group, far])
    with pytest.raises(NetlistError, match=r"two groups are named 'all'; rename one"):
        format_hierarchy(netlist, [group, group])


def test_more_nets_than_ngspice_takes() -> None:
    built = build(EnergyBlock(name="wide", n_inputs=1, layers=(NodeLayer(size=600, leak_s=1e-6),)))
    netlist = lower(built.circuit)[0]
    with pytest.raises(NetlistError, match=r"circuit 'wide': tile 'w1_t0_0' has 1202 nets; ngspice takes 1 to 1000"):
        format_hierarchy(netlist, block_groups(built, tile_crossbars(built, TileSize(rows=2000, columns=2000))))
    format_hierarchy(netlist, block_groups(built, tile_crossbars(built, TileSize(rows=500, columns=500))))


@pytest.mark.ngspice
def test_ngspice_takes_as_many_nets_as_are_allowed(tmp_path: Path) -> None:
    built = build(EnergyBlock(name="wide", n_inputs=1, layers=(NodeLayer(size=512, leak_s=1e-6),)))
    circuit = built.circuit.with_drives(built.drives(np.ones((1, 1)))[0])
    tiles = tile_crossbars(built, TileSize(rows=2, columns=998))
    assert tiles[0].n_rows + tiles[0].n_columns == 1000
    found = run(write(format_hierarchy(lower(circuit)[0], block_groups(built, tiles)), tmp_path))
    assert abs(found["l1_511p"][0]) < 1e-12  # w = 0


def test_conductance_without_a_resistance() -> None:
    circuit = BANK["divider"].circuit.with_conductances([1e-3, 1e-120])
    with pytest.raises(NetlistError, match=r"conductance of 'bottom' is 1e-120 S; at or below 1e-99 S SPICE has no"):
        format_hierarchy(lower(circuit)[0], [one_group(circuit)])
    netlist = lower(BANK["divider"].circuit)[0]
    with pytest.raises(CircuitError, match=r"conductance of 'bottom' .* is nan S"):
        format_hierarchy(
            Netlist(
                circuit=netlist.circuit.with_conductances([1.0, np.nan]),
                topology=netlist.topology,
                nodes=netlist.nodes,
                resistors=netlist.resistors,
                diodes=(),
                voltage_sources=netlist.voltage_sources,
                current_sources=(),
                capacitors=(),
                models=(),
            ),
            [one_group(circuit)],
        )
