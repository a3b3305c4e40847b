"""Power by element: numbers by hand, Tellegen's balance, and what ngspice itself reports of the unreduced deck."""

from __future__ import annotations

import numpy as np
import pytest
from hopfield_blocks import by_hand, on_circuit, scaled
from random_blocks import clamped_share, random_block, session

from circuits import BlockCircuit, CircuitBuilder, DiodeModel, Drive
from circuits.arrays import Floats
from circuits.power import PowerBalance, element_powers, power_balance
from circuits.reductions import fold
from circuits.topology import analyse
from cosim.simulators.ngspice.program import run_program
from netlists import lower
from netlists.netlist import Netlist
from netlists.spice_writer import format_standalone

# A junction alone is reported as infinite by ngspice 39, which divides by its series conductance.
RESISTIVE = DiodeModel(series_resistance_ohm=50.0)


def balance(built: BlockCircuit, conductance_s: Floats, drives: Floats) -> tuple[PowerBalance, Floats]:
    voltage_v = session(built.circuit).solve(conductance_s, drives).voltage_v
    return power_balance(analyse(built.circuit), conductance_s, drives, voltage_v), voltage_v


def test_power_of_a_divider_with_a_rail_that_absorbs() -> None:
    # 3 V through 1 kohm to 1 V: 2 mA. The source delivers 6 mW, 4 become heat in the resistor, 2 in the rail.
    circuit = (
        CircuitBuilder("rail")
        .voltage_source("high", "a", "0", 3.0)
        .voltage_source("rail", "b", "0", 1.0)
        .resistor("r", "a", "b", 1e-3)
        .build()
    )
    power = power_balance(
        analyse(circuit), circuit.resistors.conductance_s, np.zeros((1, 0)), np.array([[0, 3.0, 1.0]])
    )
    assert power.voltage_sources_w == pytest.approx([6e-3])
    assert power.resistors_w == pytest.approx([4e-3])
    assert power.absorbed_w == pytest.approx([2e-3])
    assert power.relative_error == pytest.approx([0.0], abs=1e-15)


def test_power_of_a_current_source_and_an_active_leak() -> None:
    # 3 mA into 2 mS and -0.5 mS: 2 V. The source delivers 6 mW and the leak 2 mW; the resistor turns 8 mW into heat.
    built = CircuitBuilder("leak").current_source("i", "0", "a", 3e-3).resistor("r", "a", "0", 2e-3)
    circuit = built.resistor("active", "a", "0", 1e-3).build().with_conductances([2e-3, -0.5e-3])
    power = power_balance(analyse(circuit), circuit.resistors.conductance_s, np.zeros((1, 0)), np.array([[0, 2.0]]))
    assert power.current_sources_w == pytest.approx([6e-3])
    assert power.active_w == pytest.approx([2e-3])
    assert power.resistors_w == pytest.approx([8e-3])


def test_power_of_amplifiers_in_a_chain() -> None:
    # 3 mA into 1 mS at a; a to b with gain 2, 4 mS at b; b to c with gain 3, 1 mS at c. With a at v: c delivers 6 mS v,
    # draws 2 mS v from b, b delivers 8 + 2 = 10 mS v and draws 5 mS v from a: 3 mA = 6 mS v, so v = 0.5 V.
    built = CircuitBuilder("chain").current_source("i", "0", "a", 3e-3).resistor("ra", "a", "0", 1e-3)
    built = built.amplifier("one", "a", "b", 2.0).resistor("rb", "b", "0", 4e-3)
    circuit = built.amplifier("two", "b", "c", 3.0).resistor("rc", "c", "0", 1e-3).build()
    voltage_v = session(circuit).solve(circuit.resistors.conductance_s, np.zeros((1, 0))).voltage_v
    np.testing.assert_allclose(voltage_v, [[0.0, 0.5, 1.0, 3.0]], atol=1e-12)
    topology = analyse(circuit)
    found = element_powers(topology, circuit.resistors.conductance_s, np.zeros((1, 0)), voltage_v)
    one, two = 0.5 * 2.5e-3 - 1.0 * 5e-3, 1.0 * 1e-3 - 3.0 * 3e-3
    np.testing.assert_allclose(found.amplifier_w, [[one, two]], atol=1e-14)
    power = power_balance(topology, circuit.resistors.conductance_s, np.zeros((1, 0)), voltage_v)
    assert power.amplifiers_w == pytest.approx([-one - two])
    assert power.resistors_w == pytest.approx([0.25e-3 + 4e-3 + 9e-3])
    assert power.current_sources_w == pytest.approx([1.5e-3])
    assert power.relative_error[0] <= 1e-12


def test_cubic_resistor_dissipates_current_times_voltage() -> None:
    circuit = CircuitBuilder("cubic").voltage_source("v", "a", "0", 2.0).resistor("r", "a", "0", 1e-3).build()
    circuit = circuit.with_cubic(0.5)  # I = 1e-3 (2 + 0.5 8) = 6 mA
    power = power_balance(analyse(circuit), circuit.resistors.conductance_s, np.zeros((1, 0)), np.array([[0, 2.0]]))
    assert power.resistors_w == pytest.approx([12e-3])
    assert power.voltage_sources_w == pytest.approx([12e-3])


@pytest.mark.parametrize("drive", Drive)
def test_power_delivered_is_power_dissipated_with_conducting_clamps(drive: Drive) -> None:
    block = random_block(3, drive=drive, diode=RESISTIVE, batch=4)
    power, voltage_v = balance(block.built, block.conductance_s, block.drives)
    assert clamped_share(block, voltage_v) > 0.2
    assert (power.relative_error <= 1e-9).all()
    assert (power.diodes_w > 1e-6).all()
    if drive is Drive.CURRENT:  # its clamps lie more than a diode's drop from 0 V, so that rails absorb
        assert (power.absorbed_w > 1e-5).all()


def test_balance_notices_a_state_that_is_no_equilibrium() -> None:
    block = random_block(3, drive=Drive.CURRENT, batch=1)
    _, voltage_v = balance(block.built, block.conductance_s, block.drives)
    moved = voltage_v.copy()
    moved[:, block.built.layers[0].p] += 1e-3
    power = power_balance(analyse(block.built.circuit), block.conductance_s, block.drives, moved)
    assert (power.relative_error > 1e-6).all()


def test_folded_circuit_has_another_power() -> None:
    block = random_block(3, batch=1)
    power, voltage_v = balance(block.built, block.conductance_s, block.drives)
    reduction = fold(block.built.circuit)
    assert reduction is not None
    program = reduction.program(block.conductance_s)
    assert program is not None
    folded = power_balance(
        analyse(reduction.reduced), program.conductance_s, program.drives(block.drives), program.restrict(voltage_v)
    )
    assert folded.delivered_w[0] < 0.5 * power.delivered_w[0]


def reported(deck: Netlist) -> dict[str, Floats]:
    """Return the power of each element as ngspice says it, by the first letter of its name."""
    groups = (deck.resistors, deck.diodes, deck.voltage_sources, deck.current_sources)
    active = deck.circuit.resistors.conductance_s < 0
    spelt = tuple(f"g{name[1:]}" if is_active else name for name, is_active in zip(groups[0], active, strict=True))
    asked = [f"@{name}[p]" for group in (spelt, *groups[1:]) for name in group]
    text = format_standalone(deck).replace(".op\n", f".save all {' '.join(asked)}\n.op\n")
    vectors = run_program(text)
    return {
        letter: np.array([vectors[f"@{name}[p]"][0] for name in names])
        for letter, names in zip("rdvi", (spelt, *groups[1:]), strict=True)
    }


def check_against_ngspice(built: BlockCircuit, conductance_s: Floats, drives: Floats) -> None:
    power, voltage_v = balance(built, conductance_s, drives)
    assert power.relative_error[0] <= 1e-9
    deck, _ = lower(built.circuit.with_conductances(conductance_s).with_drives(drives[0]))
    theirs = reported(deck)
    ours = element_powers(analyse(built.circuit), conductance_s, drives, voltage_v)
    groups = (ours.resistor_w, ours.diode_w, ours.voltage_source_w, ours.current_source_w)
    for letter, own in zip("rdvi", groups, strict=True):
        scale = max(np.abs(own).max(initial=0.0), 1e-12)
        np.testing.assert_allclose(theirs[letter], own[0], rtol=0, atol=1e-9 * scale, err_msg=letter)
    everything = np.concatenate(list(theirs.values()))
    delivered = -everything[everything < 0].sum()
    assert delivered == pytest.approx(power.delivered_w[0], rel=1e-9)
    assert everything[everything > 0].sum() == pytest.approx(power.dissipated_w[0], rel=1e-9)


@pytest.mark.ngspice
@pytest.mark.parametrize("drive", Drive)
def test_power_is_what_ngspice_reports_of_the_unfolded_deck(drive: Drive) -> None:
    block = random_block(3, drive=drive, diode=RESISTIVE, batch=1)
    check_against_ngspice(block.built, block.conductance_s, block.drives)


@pytest.mark.ngspice
def test_power_of_active_leaks_is_what_ngspice_reports() -> None:
    analog = on_circuit(scaled(by_hand(), 1.0), diode=RESISTIVE)
    conductance_s = analog.conductances()
    assert (conductance_s < 0).any()
    check_against_ngspice(analog.circuit, conductance_s, analog.circuit.drives(np.array([[1.5, -0.4]])))
