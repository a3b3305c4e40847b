"""Golden netlists in both spellings, which differ in the cards of the driven sources and the sweep only."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from circuits import Circuit, CircuitBuilder, CircuitError, Clamp, DiodeModel, Drive, EnergyBlock, NodeLayer, build
from circuits.reductions import mirror
from netlists import SolverOptions, format_standalone, lower, streamed_template
from netlists.spice_writer import format_number

OPTIONS = SolverOptions(reltol=1e-10, abstol_a=1e-15, vntol_v=1e-13, max_iterations=500, max_sweep_iterations=200)


def squeeze(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def example() -> Circuit:
    b = CircuitBuilder("two\nlines", temperature_k=350.15)
    b.voltage_source("X in", "In", "0", 0.5, driven=True).voltage_source("rail", "rail", "0", -0.25)
    b.voltage_source("y", "y", "0", 1 / 3, driven=True)
    b.resistor("R1", "In", "out", 1e-3).resistor("r2", "out", "y", 0.5)
    b.diode("up", "out", "rail", DiodeModel(saturation_current_a=1e-12, emission_coefficient=1.5))
    b.diode("low", "rail", "out", DiodeModel(series_resistance_ohm=10.0))
    b.current_source("bias", "out", "0", 1e-6).current_source("nudge", "0", "out", -2e-6, driven=True)
    return b.capacitor("load", "out", "0", 1e-12).build()


STANDALONE = """
    * two lines
    .options reltol=1e-10 abstol=1e-15 vntol=1e-13
    .options gmin=1e-15 itl1=500 itl2=200
    .options temp=77.0 tnom=27.0
    vx_in in 0 0.5
    vrail rail 0 -0.25
    vy y 0 0.3333333333333333
    ibias out 0 1e-06
    inudge 0 out -2e-06
    rr1 in out 1000.0
    rr2 out y 2.0
    .model diode0 d(is=1e-12 n=1.5 rs=0.0 eg=1.11 xti=3.0)
    .model diode1 d(is=1e-14 n=1.0 rs=10.0 eg=1.11 xti=3.0)
    dup out rail diode0
    dlow rail out diode1
    cload out 0 1e-12
    .op
    .end
"""

STREAMED = """
    * two lines
    .options reltol=1e-10 abstol=1e-15 vntol=1e-13
    .options gmin=1e-15 itl1=500 itl2=200
    .options temp=77.0 tnom=27.0
    vdrive0 in 0 external
    vrail rail 0 -0.25
    vdrive1 y 0 external
    ibias out 0 1e-06
    idrive0 0 out external
    rr1 in out 1000.0
    rr2 out y 2.0
    .model diode0 d(is=1e-12 n=1.5 rs=0.0 eg=1.11 xti=3.0)
    .model diode1 d(is=1e-14 n=1.0 rs=10.0 eg=1.11 xti=3.0)
    dup out rail diode0
    dlow rail out diode1
    cload out 0 1e-12
    vsweep sweep 0 0.0
    rsweep sweep 0 1.0
    .save all
    .end
"""


def test_standalone_golden() -> None:
    text = format_standalone(lower(example(), OPTIONS)[0])
    assert squeeze(text) == squeeze(STANDALONE)
    assert text.endswith(".end\n")


def test_streamed_golden() -> None:
    circuit = example()
    template = streamed_template(lower(circuit, OPTIONS)[0])
    assert squeeze(template.text(circuit.resistors.conductance_s)) == squeeze(STREAMED)
    # Vectors of the source currents keep the circuit's order under their streamed names.
    assert template.branches == ("vdrive0#branch", "vrail#branch", "vdrive1#branch")


def test_block_golden() -> None:
    layers = (NodeLayer(size=1, clamp=Clamp(low_v=0.0, high_v=1.0), leak_s=1e-6),)
    block = EnergyBlock(name="dense1", n_inputs=1, layers=layers, drive=Drive.CURRENT)
    circuit = build(block).circuit
    lines = squeeze(format_standalone(lower(circuit, OPTIONS)[0]))
    drop = DiodeModel().forward_voltage_v(1e-5, 300.15)
    low, high = repr(drop), repr(1 - drop)
    assert lines[4:] == squeeze(f"""
        vrail1_hp rail1_hp 0 {high}
        vrail1_lp rail1_lp 0 {low}
        vrail1_ln rail1_ln 0 -{low}
        vrail1_hn rail1_hn 0 {-(1 - drop)!r}
        iinput_l1_0p 0 l1_0p 0.0
        iinput_l1_0n 0 l1_0n 0.0
        inudge_l1_0p 0 l1_0p 0.0
        inudge_l1_0n 0 l1_0n 0.0
        rleak_l1_0p l1_0p 0 1000000.0
        rleak_l1_0n l1_0n 0 1000000.0
        .model diode0 d(is=1e-14 n=1.0 rs=0.0 eg=1.11 xti=3.0)
        dclamp1_0p_u l1_0p rail1_hp diode0
        dclamp1_0p_d rail1_lp l1_0p diode0
        dclamp1_0n_u l1_0n rail1_ln diode0
        dclamp1_0n_d rail1_hn l1_0n diode0
        .op
        .end
    """)


def test_spellings_differ_in_driven_sources_and_sweep_only() -> None:
    layers = (NodeLayer(size=3, clamp=Clamp(low_v=-1, high_v=1), bias=True), NodeLayer(size=2))
    built = build(EnergyBlock(name="b", n_inputs=2, layers=layers))
    netlist, _ = lower(built.circuit.with_drives(np.random.default_rng(0).normal(size=built.circuit.n_drives)))
    standalone = format_standalone(netlist).splitlines()
    streamed = streamed_template(netlist).text(netlist.circuit.resistors.conductance_s).splitlines()
    assert standalone[-2:] == [".op", ".end"]
    assert streamed[-4:] == ["vsweep sweep 0 0.0", "rsweep sweep 0 1.0", ".save all", ".end"]
    driven = 0
    for one, other in zip(standalone[:-2], streamed[:-4], strict=True):
        if one == other:
            continue
        driven += 1
        name, *nodes, value = one.split()
        streamed_name, *streamed_nodes, external = other.split()
        assert (nodes, external, name[0]) == (streamed_nodes, "external", streamed_name[0])
        assert math.isfinite(float(value))
    assert driven == built.circuit.n_drives
    assert "external" not in format_standalone(netlist)


def test_driven_rows_are_counted_in_the_order_of_the_drives() -> None:
    built = build(EnergyBlock(name="b", n_inputs=2, layers=(NodeLayer(size=1),)))
    netlist, _ = lower(built.circuit)
    lines = streamed_template(netlist).head.splitlines()
    rows = [line.split()[:3] for line in lines if line.endswith("external")]
    assert [row[0] for row in rows] == [*(f"vdrive{k}" for k in range(4)), "idrive0", "idrive1"]
    # drives() gives p before n, inputs before nudges.
    assert [row[1] for row in rows[:4]] == ["x0p", "x1p", "x0n", "x1n"]
    assert [row[2] for row in rows[4:]] == ["l1_0p", "l1_0n"]


def test_template_takes_other_conductances() -> None:
    circuit = example()
    template = streamed_template(lower(circuit)[0])
    assert "rr1 in out 4.0\nrr2 out y 0.1\n" in template.text(np.array([0.25, 10.0]))
    for bad in (np.array([0.25, 0.0]), np.array([0.25, np.nan])):
        with pytest.raises(CircuitError, match=r"conductance of 'r2' \(out to y\) is (0|nan) S"):
            template.text(bad)
    with pytest.raises(CircuitError, match=r"conductances of shape \(3,\)"):
        template.text(np.ones(3))


def test_reduced_circuit_may_have_open_and_negative_resistors() -> None:
    built = build(EnergyBlock(name="b", n_inputs=1, layers=(NodeLayer(size=1),)))
    half = mirror(built.circuit, built.image)
    assert half is not None
    text = streamed_template(lower(half.reduced)[0]).text(np.array([0.0, -0.5, 2.0]))
    assert "rnet_0 x0p l1_0p 1e+99\nrleak_0 x0p 0 -2.0\nrleak_1 l1_0p 0 0.5\n" in text


@given(value=st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_read_back_as_the_same_double(value: float) -> None:
    text = format_number(value)
    assert float(text) == value
    assert set(text) <= set("0123456789.e+-")  # no suffix letter: 1M would be a milli


def test_numbers_of_numpy_are_plain() -> None:
    assert format_number(np.float64(0.1)) == "0.1"
    assert format_number(np.float32(0.5)) == "0.5"
    assert format_number(1) == "1.0"
