"""The plain ngspice program: our element laws against it, and the many ways in which its answer is not accepted."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from circuit_bank import BANK, RESISTIVE
from random_blocks import random_block

from circuits import CircuitBuilder, Clamp, DiodeModel, Drive, EnergyBlock, NodeLayer, build
from circuits.kirchhoff import diode_currents
from circuits.reductions import Chain, fold, mirror
from cosim.errors import ConvergenceError, ResultError, SimulationError, SimulatorNotFound
from cosim.simulators.ngspice import program
from cosim.simulators.ngspice.program import parse_raw, read_voltages, run_deck, run_program, solve_standalone
from netlists import SolverOptions, format_standalone, lower

DIVIDER = "* divider\nv1 In 0 3.0\nr1 In out 1000.0\nr2 out 0 500.0\n.op\n.end\n"


@pytest.mark.ngspice
@pytest.mark.parametrize("gmin_s", [1e-15, 1e-9])
@pytest.mark.parametrize("temperature_k", [300.15, 350.15], ids=["27C", "77C"])
@pytest.mark.parametrize(
    "model",
    [
        DiodeModel(saturation_current_a=1e-14),
        DiodeModel(saturation_current_a=1e-6),
        DiodeModel(saturation_current_a=1e-12, emission_coefficient=1.7),
        DiodeModel(emission_coefficient=0.9, activation_energy_ev=0.69, saturation_exponent=2),
        DiodeModel(saturation_current_a=1e-14, series_resistance_ohm=50.0),
        DiodeModel(saturation_current_a=1e-6, emission_coefficient=1.3, series_resistance_ohm=1e4),
    ],
    ids=["1e-14", "1e-6", "n1.7", "eg-xti", "rs", "1e-6-n-rs"],
)
def test_diode_characteristic_is_ours(model: DiodeModel, temperature_k: float, gmin_s: float) -> None:
    b = CircuitBuilder("curve", temperature_k=temperature_k, gmin_s=gmin_s)
    circuit = b.voltage_source("s", "a", "0", 0.0).diode("d", "a", "0", model).resistor("r", "a", "0", 1e-15).build()
    r_s = model.series_resistance_ohm
    # Tight, so that the law is seen and not where ngspice stopped; with R_s rounding allows no more than this.
    tight = (
        SolverOptions(reltol=1e-12, abstol_a=1e-20)
        if r_s
        else SolverOptions(reltol=1e-13, abstol_a=1e-24, vntol_v=1e-15)
    )
    deck = format_standalone(lower(circuit, tight)[0]).replace("\n.op\n", "\n.dc vs -2 0.9 0.0203\n")
    vectors = run_program(deck)
    v, current = vectors["a"], -vectors["vs#branch"]
    assert len(v) == 143
    voltage_v = np.stack([np.zeros_like(v), v], axis=1)
    expected = diode_currents(circuit, voltage_v)[0][:, 0] + 1e-15 * v
    # Relative to the larger of the two parts, I_s and the current: near zero volts they cancel.
    i_s = model.saturation_current_at_a(temperature_k)
    # ngspice has the current of R_s from the difference of two voltages, each rounded to 1e-16 of 2 V.
    rounding = 1e-15 * np.abs(v) / r_s if r_s else 0.0
    assert (np.abs(current - expected) <= 1e-12 * (np.abs(expected) + i_s) + rounding).all()


@pytest.mark.ngspice
def test_source_current_has_the_sign_of_delivery() -> None:
    vectors = run_program(DIVIDER)
    assert set(vectors) == {"in", "out", "v1#branch"}
    assert vectors["out"].tolist() == pytest.approx([1.0])
    assert vectors["v1#branch"].tolist() == pytest.approx([-2e-3])  # ngspice: into the plus terminal
    _, current_a = solve_standalone(lower(BANK["divider"].circuit)[0])
    assert current_a.tolist() == pytest.approx([2e-3])  # ours: out of it


@pytest.mark.ngspice
@pytest.mark.parametrize("drive", Drive)
def test_reductions_in_ngspice(drive: Drive) -> None:
    b = random_block(41, sizes=(4, 3), n_inputs=4, drive=drive, batch=1)
    circuit = b.built.circuit

    def solve(circuit, g, drives) -> np.ndarray:
        return solve_standalone(lower(circuit.with_conductances(g).with_drives(drives[0]))[0])[0][None]

    full = solve(circuit, b.conductance_s, b.drives)
    half = mirror(circuit, b.built.image)
    assert half is not None
    rows = fold(half.reduced)
    assert rows is not None
    for reduction in (fold(circuit), half, Chain(first=half, second=rows)):
        assert reduction is not None
        reduced = reduction.program(b.conductance_s)
        assert reduced is not None
        small = solve(reduction.reduced, reduced.conductance_s, reduced.drives(b.drives))
        np.testing.assert_allclose(reduced.expand(b.drives, small), full, atol=1e-9, rtol=0)


@pytest.mark.ngspice
def test_net_conductance_of_zero_is_open() -> None:
    # G+ = G-: the mirrored weight vanishes, and the unit stands at zero whatever the input is.
    built = build(EnergyBlock(name="b", n_inputs=1, layers=(NodeLayer(size=1, leak_s=1e-6),)))
    half = mirror(built.circuit, built.image)
    assert half is not None
    assert 0.0 in half.reduced.resistors.conductance_s
    voltage_v, _ = solve_standalone(lower(half.reduced.with_drives([1.0, 0.0]))[0])
    np.testing.assert_allclose(voltage_v, [0.0, 1.0, 0.0], atol=1e-15)


@pytest.mark.ngspice
def test_sweep_gives_every_point_and_keep_keeps_the_files(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "kept"
    vectors = run_program(DIVIDER.replace(".op", ".dc v1 0 3 1"), keep=folder)
    assert vectors["out"].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert {path.name for path in folder.iterdir()} == {"deck.cir", "deck.raw", "deck.log"}
    # A second deck in the same folder cannot be answered by the first one's file.
    with pytest.raises(ResultError, match=rf"Deck and log: {folder}/deck.cir"):
        run_program(DIVIDER.replace(".op", ""), keep=folder)


@pytest.mark.ngspice
def test_temporary_files_are_gone_after_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run_program(DIVIDER)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ResultError, match=rf"Deck and log: {tmp_path}/tellegen-ngspice-\w+/deck.cir"):
        run_program(DIVIDER.replace("r2 out 0 500.0", "r2 out 0 unknown_value"))
    (folder,) = tmp_path.iterdir()
    assert "unknown_value" in (folder / "deck.cir").read_text()
    assert (folder / "deck.log").read_text()


@pytest.mark.ngspice
@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("i1 0 c 1m\nc1 c 0 1p", "singular matrix: +check node c"),
        ("v2 out 0 1\nv3 out 0 2", "singular matrix|aborted"),
        ("r3 out 0", "resistance to low"),
        ("d1 out 0 nomodel", "can't find model 'nomodel'"),
        ("v2 q 0 external\nr3 q 0 1", "unknown parameter|Error on line"),
        ("foo bar", "bad syntax|not parsed|Error"),
    ],
    ids=["floating node", "source loop", "missing value", "missing model", "external", "nonsense"],
)
def test_bad_decks_are_not_accepted(lines: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=rf"ngspice ended with status \d and said: .*({said}).* Deck and log: "):
        run_program(DIVIDER.replace(".op", f"{lines}\n.op"), keep=tmp_path)


@pytest.mark.ngspice
def test_deck_that_does_not_converge(tmp_path: Path) -> None:
    # One Newton iteration and no stepping: ngspice ends in a transient, with status 0 and a raw file.
    hard = (
        ".options itl1=1 itl2=1 itl6=1 gminsteps=0 srcsteps=0 noopiter\nd1 out q dd\nr3 q 0 1\n.model dd d(n=0.01)\n.op"
    )
    with pytest.raises(ResultError, match=r"status 0 and said: .*(source stepping failed|Transient op)"):
        run_program(DIVIDER.replace("3.0", "300.0").replace(".op", hard), keep=tmp_path)
    assert (tmp_path / "deck.raw").is_file()


@pytest.mark.ngspice
@pytest.mark.parametrize(
    ("analyses", "message"),
    [("", r"wrote no raw file; the deck has no analysis"), (".op\n.dc v1 0 1 1", r"more than one plot")],
)
def test_other_than_one_analysis(analyses: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ResultError, match=message):
        run_program(DIVIDER.replace(".op", analyses), keep=tmp_path)


@pytest.mark.ngspice
def test_time_limit(tmp_path: Path) -> None:
    long = DIVIDER.replace(".op", ".tran 1n 10 0 1n\n.save v(out)")
    with pytest.raises(ResultError, match=r"ngspice ran past 0.3 s and was ended; .* Deck and log: "):
        run_program(long, timeout_s=0.3, keep=tmp_path)
    assert (tmp_path / "deck.log").is_file()


@pytest.mark.ngspice
def test_title_may_say_anything() -> None:
    b = CircuitBuilder("singular error amplifier, aborted").voltage_source("s", "a", "0", 1.0)
    voltage_v, _ = solve_standalone(lower(b.resistor("r", "a", "0", 1e-3).build())[0])
    assert voltage_v.tolist() == [0.0, 1.0]


@pytest.mark.ngspice
def test_users_start_up_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / ".spiceinit").write_text("set ngbehavior=ltpsa\nquit 3\n")
    assert run_program(DIVIDER, keep=tmp_path)["out"][0] == pytest.approx(1.0)


def test_missing_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(
        SimulatorNotFound, match=r"ngspice program is not on PATH. Install it with .*apt-get install ngspice"
    ):
        run_program(DIVIDER)


def raw(*, points: int = 2, flags: str = "real", values: int = 4, plots: int = 1, cut: int = 0) -> bytes:
    head = (
        "Title: * No. Points: 7\nDate: today\nPlotname: DC\n"
        f"Flags: {flags}\nNo. Variables: 2\nNo. Points: {points}   \n"
        "Variables:\n\t0\tv(a)\tvoltage\n\t1\ti(vs)\tcurrent\n"
        "Binary:\n"
    )
    one = head.encode() + struct.pack(f"<{values}d", *range(values))
    return (one * plots)[: len(one) * plots - cut]


def test_raw_file_by_hand() -> None:
    vectors = parse_raw(raw())
    assert {name: values.tolist() for name, values in vectors.items()} == {"a": [0, 2], "vs#branch": [1, 3]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"no complete header"),
        (b"Title: x\nFlags: real\n", r"no complete header"),
        (raw(cut=1), r"has 31 bytes of values where 32 were announced: the file is cut off"),
        (raw(values=3), r"has 24 bytes of values where 32"),
        (raw(plots=2), r"more than one plot, or junk"),
        (raw(points=0, values=0), r"announces 2 vectors of 0 points"),
        (raw(flags="complex"), r"holds 'complex' values; expected real ones"),
        (
            raw().replace(b"No. Variables: 2", b"No. Variables: two"),
            r"has 'No. Variables: two'; expected a whole number",
        ),
        (raw().replace(b"No. Points: 2 ", b"No. Points: "), r"has 'No. Points: '; expected a whole number"),
        (raw().replace(b"Variables:\n", b"Vectors:\n"), r"no complete header"),
        (raw().replace(b"\t1\ti(vs)\tcurrent\n", b"\t1\n"), r"announces 2 vectors of 2 points and names 1"),
    ],
)
def test_raw_file_that_is_not_whole(content: bytes, message: str) -> None:
    with pytest.raises(ResultError, match=message):
        parse_raw(content)


@pytest.mark.ngspice
def test_answer_that_violates_kirchhoffs_law_is_not_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    # The program lies: one node is off by 1 uV, through conductances of 3 mS.
    netlist, _ = lower(BANK["divider"].circuit)
    truth = run_program(format_standalone(netlist))
    monkeypatch.setattr(program, "run_program", lambda _text: {**truth, "out": truth["out"] + 1e-6})
    with pytest.raises(
        ConvergenceError, match=r"circuit 'divider': .* violates Kirchhoff's law at out: net current 3e-09 A, allowed "
    ):
        solve_standalone(netlist)
    monkeypatch.setattr(program, "run_program", lambda _text: truth)
    solve_standalone(netlist)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.ngspice
@pytest.mark.parametrize("file", ["deck.cir", "deck.log"])
def test_files_that_cannot_be_written(file: str, tmp_path: Path) -> None:
    (tmp_path / file).symlink_to("/dev/full")
    with pytest.raises(
        SimulationError, match=rf"cannot be kept at {tmp_path}/{file}: No space left on device. Free space there, or "
    ) as caught:
        run_program(DIVIDER, keep=tmp_path)
    assert not isinstance(caught.value, ResultError)


@pytest.mark.ngspice
def test_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SimulationError, match=rf"cannot be kept at {tmp_path}/file/x: "):
        run_program(DIVIDER, keep=tmp_path / "file" / "x")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(SimulationError, match=r"cannot be kept at the temporary folder: No such file"):
        run_program(DIVIDER)


@pytest.mark.ngspice
def test_clamps_hold_where_they_were_asked_to() -> None:
    # A unit driven by the reference current stands at its limit: rails, temperature law and R_s together.
    clamp = Clamp(low_v=-0.3, high_v=0.4, diode=RESISTIVE, reference_current_a=2e-5)
    layers = (NodeLayer(size=1, clamp=clamp, leak_s=1e-9),)
    block = EnergyBlock(name="b", n_inputs=1, layers=layers, drive=Drive.CURRENT, temperature_k=330.0)
    for x, limit in ((0.2, 0.4), (-0.2, -0.3)):
        built = build(block)
        voltage_v, _ = solve_standalone(lower(built.circuit.with_drives(built.drives(np.array([[x]]))[0]))[0])
        assert built.outputs(voltage_v[None])[0, 0] == pytest.approx(limit, abs=1e-5)


def write_deck(folder: Path) -> Path:
    """Write a deck whose parts are in another folder."""
    (folder / "error parts" / "below").mkdir(parents=True)
    (folder / "error parts" / "load.inc").write_text("* load\nr2 out 0 500.0\n")
    deck = folder / "error parts" / "below" / "top.cir"
    deck.write_text('* divider\n.include "../load.inc"\nv1 In 0 3.0\nr1 In out 1000.0\n.op\n.end\n')
    return deck


@pytest.mark.ngspice
def test_deck_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deck = write_deck(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    for path in (deck, deck.relative_to(tmp_path)):
        assert run_deck(path)["out"].tolist() == pytest.approx([1.0])
    assert sorted(tmp_path.rglob("*")) == before
    run_deck(deck, keep=tmp_path / "kept")
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"deck.raw", "deck.log"}


@pytest.mark.ngspice
def test_deck_on_the_disk_that_is_not_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deck = write_deck(tmp_path)
    with pytest.raises(SimulationError, match=r"none.cir: there is no such deck; name a SPICE file"):
        run_deck(tmp_path / "none.cir")
    (tmp_path / "error parts" / "load.inc").unlink()
    (tmp_path / "logs").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "logs"))
    with pytest.raises(
        ResultError, match=rf"load.inc.* Deck: {deck}, log: {tmp_path}/logs/tellegen-ngspice-\w+/deck.log"
    ):
        run_deck(deck)
    (folder,) = (tmp_path / "logs").iterdir()
    assert "load.inc" in (folder / "deck.log").read_text()


@pytest.mark.ngspice
def test_voltages_by_name() -> None:
    netlist, _ = lower(BANK["divider"].circuit)
    vectors = run_program(format_standalone(netlist))
    np.testing.assert_array_equal(read_voltages(netlist, vectors), solve_standalone(netlist)[0])
    with pytest.raises(ResultError, match=r"circuit 'divider': ngspice returned no vector 'out'"):
        read_voltages(netlist, {"in": vectors["in"]})
    with pytest.raises(ResultError, match=r"circuit 'divider': ngspice returned nan for 'out'"):
        read_voltages(netlist, {**vectors, "out": np.array([np.nan])})
