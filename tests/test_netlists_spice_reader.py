"""The reader takes from a deck what ngspice takes, and names file and line of everything else."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuits import Circuit, CircuitBuilder, DiodeModel
from netlists import NetlistError, SolverOptions
from netlists.reordering import find_difference, reordered_like
from netlists.spice_reader import read_deck

FOREIGN = """An amplifier's bias .end
* a comment
.OPTIONS RELTOL=1m abstol = 1p
+ gmin=1e-13 temp=50 $ tolerances
.param vdd=3 Rhalf={ vdd2 }
.param vdd2=1.5k

V1 in GND DC {vdd}
vtail tail 0 -1.5 ; a comment
X1 in mid half
 X2 mid 0 HALF // the same again
xOuter mid tail outer
R9 mid\t0
* between
+  4k7ohms
.include "parts/models.inc"
I1 0 mid 1uA
C1 mid 0 10pF
.op
.save all
.end
* after the end only comments
""".replace("4k7ohms", "4.7kohms")
PARTS = """* a title here is a comment
.subckt half a b
R1 a inside {r}
r2 inside b 1k
.param r=2k
.ends half
.subckt outer p q
x1 p m half
d1 m q local
d2 m q Global
.model local d is=1p n = 1.5
.ends
.model global D(IS=1e-15
+ rs=10 eg=1.11 xti=3)
"""


def deck(tmp_path: Path, text: str, **files: str) -> Path:
    for name, content in files.items():
        (tmp_path / f"{name}.inc").write_bytes(content.encode())
    top = tmp_path / "top.cir"
    top.write_bytes(text.encode())
    return top


def foreign(tmp_path: Path) -> Path:
    (tmp_path / "parts").mkdir(exist_ok=True)
    (tmp_path / "parts" / "models.inc").write_text(PARTS)
    return deck(tmp_path, FOREIGN)


def test_deck_of_another_hand(tmp_path: Path) -> None:
    found = read_deck(foreign(tmp_path))
    circuit = found.circuit
    assert circuit.name == "An amplifier's bias .end"
    assert circuit.nodes == ("0", "in", "tail", "mid", "x1.inside", "x2.inside", "xouter.m", "xouter.x1.inside")
    r = circuit.resistors
    # In the order of the deck; a name that others have gets its path.
    assert r.names == ("x1.1", "x1.2", "x2.1", "x2.2", "xouter.x1.1", "xouter.x1.2", "9")
    assert r.conductance_s.tolist() == [1 / 2000, 1 / 1000] * 3 + [1 / 4700]
    name = circuit.nodes.__getitem__
    assert [(name(a), name(b)) for a, b in zip(r.a, r.b, strict=True)] == [
        ("in", "x1.inside"),
        ("x1.inside", "mid"),
        ("mid", "x2.inside"),
        ("x2.inside", "0"),
        ("mid", "xouter.x1.inside"),
        ("xouter.x1.inside", "xouter.m"),
        ("mid", "0"),
    ]
    assert circuit.voltage_sources.names == ("1", "tail")
    assert circuit.voltage_sources.voltage_v.tolist() == [3.0, -1.5]
    assert not circuit.voltage_sources.driven.any()
    assert circuit.current_sources.current_a.tolist() == [1e-6]
    assert circuit.capacitors.capacitance_f.tolist() == [1e-11]
    models = [circuit.diodes.models[k] for k in circuit.diodes.model]
    assert models == [
        DiodeModel(saturation_current_a=1e-12, emission_coefficient=1.5),
        DiodeModel(saturation_current_a=1e-15, series_resistance_ohm=10.0),
    ]
    assert (circuit.temperature_k, circuit.gmin_s) == (323.15, 1e-13)
    assert found.options == SolverOptions(
        reltol=1e-3, abstol_a=1e-12, vntol_v=1e-6, max_iterations=100, max_sweep_iterations=50
    )


@pytest.mark.ngspice
def test_ngspice_finds_in_that_deck_what_we_read(tmp_path: Path) -> None:
    import subprocess

    from cosim.simulators.ngspice.program import parse_raw, solve_standalone
    from netlists import lower

    top = foreign(tmp_path)
    subprocess.run(["ngspice", "-n", "-b", "-r", "o.raw", top.name], cwd=tmp_path, capture_output=True, check=True)
    theirs = parse_raw((tmp_path / "o.raw").read_bytes())
    circuit = read_deck(top).circuit
    ours, _ = solve_standalone(lower(circuit)[0])
    for name, voltage_v in zip(circuit.nodes[1:], ours[1:], strict=True):
        assert theirs[name][0] == pytest.approx(voltage_v, rel=1e-3)  # the deck's own reltol


def test_defaults_are_those_of_ngspice(tmp_path: Path) -> None:
    circuit = read_deck(deck(tmp_path, "*\nv1 a 0 1\n")).circuit
    assert (circuit.name, circuit.temperature_k, circuit.gmin_s) == ("", 300.15, 1e-12)


def test_title_card_and_first_line(tmp_path: Path) -> None:
    text = "r1 a 0 5\n.title the Name\nv1 a 0 1\nr2 a 0 1\n"
    circuit = read_deck(deck(tmp_path, text)).circuit
    assert circuit.resistors.names == ("2",)  # the first line is a title, whatever it looks like
    assert circuit.name == "the name"


def test_driven_sources(tmp_path: Path) -> None:
    text = "* t\n.param drive_vx=0.5 drive_ix=-1u other=2\nvx a 0 dc {drive_vx}\nvy b 0 dc {drive_vx}\n"
    circuit = read_deck(deck(tmp_path, text + "ix 0 a {drive_ix}\niy 0 b {other}\nr1 a b 1k\n")).circuit
    assert circuit.voltage_sources.driven.tolist() == [True, False]
    assert circuit.voltage_sources.voltage_v.tolist() == [0.5, 0.5]
    assert circuit.current_sources.driven.tolist() == [True, False]
    assert circuit.current_sources.current_a.tolist() == [-1e-6, 2.0]


def test_open_and_negative_resistors_are_an_active_circuit(tmp_path: Path) -> None:
    circuit = read_deck(deck(tmp_path, "* t\nr1 a 0 1e99\nr2 a 0 -2k\nr3 a 0 1k\n")).circuit
    assert circuit.active
    assert circuit.resistors.conductance_s.tolist() == [0.0, -1 / 2000, 1 / 1000]


def test_parameters_of_the_deck_and_of_a_subcircuit(tmp_path: Path) -> None:
    text = "* t\n.param r=1k s={r}\nx1 a one\nx2 a two\n.subckt one p\nr1 p 0 {r}\nr2 p 0 {s}\n.ends\n"
    text += ".subckt two p\n.param r=5k\nr3 p 0 {r}\nr4 p 0 {s}\n.ends\n"
    circuit = read_deck(deck(tmp_path, text)).circuit
    assert circuit.resistors.conductance_s.tolist() == [1e-3, 1e-3, 1 / 5000, 1e-3]


BAD = {
    "unknown element": ("q1 a b c npn", 3, "unknown element 'q1'; R, G, B, C, V, I, D, E, F and X are read"),
    "controlled by others": ("g1 a 0 b 0 -1e-6", 3, "a VCCS is read where its own nodes control it"),
    "active leak without value": ("g1 a 0 a 0", 3, "'g1' has 3 words; write 'Gname node node node node siemens'"),
    "unknown control": (".tran 1n 1u", 3, "'.tran' is not read here"),
    "control section": (".control\nrun\n.endc", 3, "'.control' is not read here"),
    "library": (".lib 'x.lib' tt", 3, "'.lib' is not read here"),
    "no value": ("r1 a b", 3, "'r1' has 3 words; write 'Rname node node ohms'"),
    "two values": ("r1 a b 2k 3", 3, "'r1' has 5 words"),
    "no number": ("r1 a b two", 3, "'two' is no number"),
    "rkm notation": ("r1 a b 4k7", 3, "'4k7' is no number"),
    "nan": ("v1 a 0 nan", 3, "'nan' is no number"),
    "infinite": ("v1 a 0 1e999", 3, "'1e999' is larger than any double"),
    "atto": ("c1 a 0 1a", 3, "'1a': not every ngspice reads 'a' in one way here"),
    "short": ("r1 a b 0", 3, "a resistance of 0 ohm; give one whose conductance is finite"),
    "expression": ("r1 a b {2*3}", 3, "{2*3}: expressions are not read"),
    "quoted expression": ("r1 a b '2'", 3, "'2': expressions are not read"),
    "named value": ("r1 a b r=2k", 3, "'r=2k' is no number"),
    "commas": ("r1 a,b 0 2k", 3, "'a,b' cannot be a name here"),
    "parentheses": ("r1 (a b) 2k", 3, "'(a' cannot be a name here"),
    "transient source": ("v1 a 0 dc 1 ac 1", 3, "'v1' has 6 words; write 'Vname node node dc value'"),
    "external source": ("v1 a 0 external", 3, "'external' is no number"),
    "nameless": ("r a b 2", 3, "'r' needs a name after its letter"),
    "device twice": ("r1 a b 2\nR1 a 0 3", 4, "'r1' is there already; rename one"),
    "instance twice": ("x1 a s\nx1 b s", 4, "'x1' is there already; rename one"),
    "unknown parameter": ("\nr1 a b {x}", 4, "unknown parameter 'x'; define it with .param"),
    "unknown parameter of a parameter": (".param y={x}\nr1 a b {y}", 3, "unknown parameter 'x'"),
    "circular parameter": (".param x={y} y={x}\nr1 a b {y}", 3, "parameter 'y' is defined by itself"),
    "parameter twice": (".param x=1\n.param X=2", 4, "parameter 'x' is given twice; first at {top}, line 3"),
    "parameter expression": (".param x=1+2", 3, "'1+2' is no number"),
    "parameter expression with spaces": (".param x = 1 + 2", 3, "'+ 2' is not read; write name=number"),
    "mil in a parameter": (".param x=1mil", 3, "'1mil': ngspice reads this differently in .param"),
    "zero by parameter": (".param x=0\nr1 a b {x}", 4, "a resistance of 0 ohm"),
    "unknown model": ("d1 a b nothing", 3, "unknown model 'nothing'; define it with .model"),
    "model of another subcircuit": (".subckt s p\n.model m d\n.ends\nd1 a b m", 6, "unknown model 'm'"),
    "model twice": (".model m d(is=1p)\n.model M d", 4, "model 'm' is defined twice; rename one"),
    "model of another kind": (".model m npn(bf=100)", 3, "only diode models are read"),
    "model parameter": (".model m d(is=1p cjo=1p)", 3, "diode parameter 'cjo' is not read"),
    "model parameter twice": (".model m d(is=1p is=2p)", 3, "diode parameter 'is' is not read, or given twice"),
    "model value": (".model m d(is=-1p)", 3, "diode model: saturation_current_a = -1e-12"),
    "diode with area": (".model m d\nd1 a b m 2", 4, "'d1' has 5 words"),
    "unknown subcircuit": ("x1 a b nothing", 3, "unknown subcircuit 'nothing'; define it with .subckt"),
    "subcircuit twice": (".subckt s p\n.ends\n.subckt S p", 5, "'s' is defined twice; first at {top}, line 3"),
    "wrong number of nodes": (
        ".subckt s p q\n.ends\nx1 a b c s",
        5,
        "'x1' gives 3 nodes to subcircuit 's', which has 2",
    ),
    "subcircuit with parameters": (".subckt s p w=1\n.ends", 3, "'w=1' cannot be a name here"),
    "instance with parameters": ("x1 a s w=1", 3, "'w=1' cannot be a name here"),
    "instance without nodes": ("x1 s", 3, "write 'Xname node ... subcircuit'"),
    "subcircuit in another": (".subckt s p\n.subckt t p", 4, "a subcircuit inside 's'; define it outside"),
    "subcircuit without end": (".subckt s p\nr1 p 0 1", 3, "subcircuit 's' has no .ends"),
    "subcircuit without ports": (".subckt s\n.ends", 3, "write '.subckt name node ...'"),
    "port twice": (".subckt s p p\n.ends", 3, "subcircuit 's': a port named twice, or ground among them"),
    "ground as port": (".subckt s p gnd\n.ends", 3, "or ground among them"),
    "end of another": (".subckt s p\n.ends t", 4, "this .ends does not close the subcircuit that is open"),
    "end of nothing": (".ends", 3, "this .ends does not close"),
    "contains itself": (".subckt s p\nx1 p s\n.ends\nx1 a s", 4, "subcircuit 's' contains itself"),
    "options in a subcircuit": (".subckt s p\n.options temp=1\n.ends", 4, "options inside a subcircuit"),
    "unknown option": (".options reltol=1 method=gear", 3, "option 'method' is not read"),
    "option twice": (".options temp=1\n.options temp=2", 4, "option 'temp' is given twice; first at {top}, line 3"),
    "option without value": (".options noacct", 3, "'noacct' is not read; write name=number"),
    "tolerance": (".options reltol=0", 3, "reltol must be above zero"),
    "iterations": (".options itl1=2.5", 3, "itl1 must be a whole number"),
    "gmin": (".options gmin=-1p", 3, "gmin must not be below zero"),
    "temperature": (".options temp=-300", 3, "temp must be above -273.15"),
    "nominal temperature": (".options tnom=25", 3, "tnom must be 27"),
    "line after the end": (".end\nr1 a b 2", 4, "a line after .end, which ngspice would still read"),
    "missing include": (".include other.inc", 3, "included file '{folder}/other.inc' is missing or no file"),
    "include without a file": (".include", 3, "write '.include \"file\"'"),
    "folder as include": (".include .", 3, "is missing or no file"),
    "device as include": (".include /dev/zero", 3, "included file '/dev/zero' is missing or no file"),
    "deck includes itself": (".include top.cir", 3, "'top.cir' includes itself, by way of 1 file(s)"),
    "control character": ("r1 a\x01b 0 2", 3, "characters that are not printable ASCII"),
    "carriage return": ("r1 a b 2\rr2 a b 3", 3, "characters that are not printable ASCII"),
    "other letters": ("r1 ä b 2", 3, "characters that are not printable ASCII"),
    "backslash": ("r1 a b 2 \\\\", 3, "a backslash joins the next line in ngspice"),
    "backslash in a name": ("r1 a\\b 0 2", 3, "'a\\b' cannot be a name here"),
    "dollar in a value": ("r1 a b 2$c", 3, "'2$c' is no number"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_deck(case: str, tmp_path: Path) -> None:
    body, line, message = BAD[case]
    top = deck(tmp_path, f"* title\nv0 first 0 1\n{body}\n")
    message = message.replace("{top}", str(top)).replace("{folder}", str(tmp_path))
    with pytest.raises(NetlistError, match=re.escape(f"{top}, line {line}: ") + ".*" + re.escape(message)):
        read_deck(top)


def test_bad_line_of_an_included_file(tmp_path: Path) -> None:
    top = deck(tmp_path, "* t\n.include a.inc\n", a="* a\n.include 'b.inc'\n", b="r1 a 0 1\n\n+ 2\n")
    with pytest.raises(NetlistError, match=re.escape(f"{tmp_path / 'b.inc'}, line 1: 'r1' has 5 words")):
        read_deck(top)
    top = deck(tmp_path, "* t\n.include a.inc\n", a="* a\n+ 1\n")
    with pytest.raises(NetlistError, match=re.escape(f"{tmp_path / 'a.inc'}, line 2: nothing stands before this")):
        read_deck(top)
    top = deck(tmp_path, "* t\n.include a.inc\n", a=".end\n")
    with pytest.raises(NetlistError, match=r"a\.inc, line 1: \.end in an included file"):
        read_deck(top)


def test_cycle_of_includes(tmp_path: Path) -> None:
    top = deck(tmp_path, "* t\n.include a.inc\n", a=".include ./b.inc\n", b="\n.include a.inc\n")
    with pytest.raises(NetlistError, match=r"b\.inc, line 2: 'a.inc' includes itself, by way of 2 file\(s\)"):
        read_deck(top)


def test_missing_deck(tmp_path: Path) -> None:
    with pytest.raises(NetlistError, match=r"deck '.*nowhere.cir' is missing or no file"):
        read_deck(tmp_path / "nowhere.cir")
    with pytest.raises(NetlistError, match=r"is missing or no file"):
        read_deck(tmp_path)
    assert read_deck(deck(tmp_path, "")).circuit.nodes == ("0",)


def test_decks_that_grow_without_end(tmp_path: Path) -> None:
    levels = "".join(f".subckt s{k} p\nxa p s{k + 1}\nxb p s{k + 1}\n.ends\n" for k in range(40))
    top = deck(tmp_path, f"* t\nx1 a s0\n{levels}.subckt s40 p\nr1 p 0 1\n.ends\n")
    with pytest.raises(NetlistError, match=r"line \d+: more than 20,000,000 elements with this instance"):
        read_deck(top)
    chain = "".join(f".subckt s{k} p\nxa p s{k + 1}\n.ends\n" for k in range(2000))
    with pytest.raises(NetlistError, match=r"line \d+: subcircuits more than 100 deep"):
        read_deck(deck(tmp_path, f"* t\nx1 a s0\n{chain}.subckt s2000 p\n.ends\n"))
    for k in range(45):
        (tmp_path / f"i{k}.inc").write_text(f".include i{k + 1}.inc\n.include i{k + 1}.inc\n")
    with pytest.raises(NetlistError, match=r"more than 40 files deep, or more than 10000 included"):
        read_deck(deck(tmp_path, "* t\n.include i0.inc\n"))
    (tmp_path / "i30.inc").write_text("*\n")
    with pytest.raises(NetlistError, match=r"more than 40 files deep, or more than 10000 included"):
        read_deck(deck(tmp_path, "* t\n.include i0.inc\n"))


@given(text=st.text(alphabet="rvx.+*$;{}=ab01e \n\t\\'\"(),k", max_size=60))
def test_any_text_is_read_or_refused_with_its_place(text: str, tmp_path_factory) -> None:
    top = tmp_path_factory.mktemp("any") / "top.cir"
    top.write_text("*\n" + text)
    try:
        circuit = read_deck(top).circuit
    except NetlistError as error:
        assert re.match(rf"{re.escape(str(top))}, line \d+: ", str(error))  # noqa: PT017  most texts raise, some do not
    else:
        assert np.isfinite(circuit.resistors.conductance_s).all()


def small() -> Circuit:
    b = CircuitBuilder("small").voltage_source("s", "In", "0", 1.0, driven=True).resistor("R.1", "In", "out", 1e-3)
    return b.resistor("q", "out", "0", 1e-3).diode("d", "out", "0", DiodeModel()).build()


def test_reordered_by_hand() -> None:
    reference = small()
    b = CircuitBuilder("read", temperature_k=310.0).diode("d", "out", "0", DiodeModel(saturation_current_a=1e-9))
    b.resistor("q", "out", "0", 2e-3).resistor("r_1", "in", "out", 1e-3).voltage_source("s", "in", "0", 1.0)
    found = reordered_like(b.build(), reference)
    assert (found.name, found.nodes, found.resistors.names) == ("small", ("0", "In", "out"), ("R.1", "q"))
    assert found.resistors.conductance_s.tolist() == [1e-3, 2e-3]
    assert (found.resistors.a.tolist(), found.resistors.b.tolist()) == ([1, 2], [2, 0])
    assert not found.voltage_sources.driven.any()
    assert found.diodes.models == (DiodeModel(), DiodeModel(saturation_current_a=1e-9))
    assert found.diodes.model.tolist() == [1]


def test_difference_is_named() -> None:
    reference = small()
    assert find_difference(reference, reference) is None
    other = reference.with_conductances([1e-3, np.nextafter(1e-3, 1)])
    assert find_difference(other, reference) == (
        f"resistors: conductance_s of 'q' is {np.nextafter(1e-3, 1)!r} instead of {np.float64(1e-3)!r}"
    )
    zero = reference.with_drives([0.0])
    assert "voltage_v of 's' is np.float64(-0.0)" in str(find_difference(reference.with_drives([-0.0]), zero))
    hotter = replace(reference, temperature_k=np.nextafter(300.15, 301))
    assert str(find_difference(hotter, reference)).startswith("temperature_k: ")


def test_other_elements_cannot_be_reordered() -> None:
    reference = small()
    b = CircuitBuilder("read").voltage_source("s", "in", "0", 1.0).resistor("q", "in", "out", 1.0)
    b.diode("d", "out", "0", DiodeModel()).resistor("x", "out", "0", 1.0)
    message = r"circuit 'small': resistors differ from what was written: 'R.1' is missing \(1 missing, 1 too many\)"
    with pytest.raises(NetlistError, match=message):
        reordered_like(b.build(), reference)
    with pytest.raises(NetlistError, match=r"circuit 'small': nodes differ .*: 'more' is too many"):
        reordered_like(b.resistor("r_1", "more", "0", 1.0).build(), reference)
