"""Kirchhoff's law for small signals accepts the hand-computed response, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from circuits import Circuit, CurrentSources, DiodeModel, Diodes, Resistors, VoltageSources
from circuits.kirchhoff import diode_currents, kirchhoff_law
from circuits.small_signal_law import small_signal_residual, source_response_error
from circuits.topology import analyse

V_OF_SOURCE, V_OF_NODE = 0.6, 0.35
CHANGE = np.array([[0.2, 1e-4]])


def circuit(k3: float = 0.0) -> Circuit:
    """Return a voltage drive, a resistor and a diode to ground, with a current drive into the node between."""
    return Circuit(
        name="clamp",
        nodes=("0", "in", "out"),
        resistors=Resistors(names=("r",), a=[1], b=[2], conductance_s=[1e-3], k3_per_v2=[k3]),
        diodes=Diodes(
            names=("d",),
            anode=[2],
            cathode=[0],
            model=[0],
            models=(DiodeModel(saturation_current_a=1e-9),),
        ),
        voltage_sources=VoltageSources(names=("v",), plus=[1], minus=[0], voltage_v=[0.0], driven=[True]),
        current_sources=CurrentSources(names=("i",), start=[0], end=[2], current_a=[0.0], driven=[True]),
    )


def judge(response_at_node: float, *, k3: float = 0.0, tolerance: float = 1e-7, change=CHANGE) -> bool:
    """Return whether a response of the node is accepted."""
    made = circuit(k3)
    program = kirchhoff_law(analyse(made)).program(made.resistors.conductance_s)
    found = small_signal_residual(
        program,
        np.array([[V_OF_SOURCE, 0.0]]),
        np.array([[0.0, V_OF_SOURCE, V_OF_NODE]]),
        change,
        np.array([[0.0, change[0, 0], response_at_node]]),
        tolerance=tolerance,
    )
    assert found.node.tolist() == [2]
    return bool(found.residual_a[0] <= found.tolerance_a[0])


def expected(k3: float = 0.0) -> float:
    """Return (g' dv + di) / (g' + g_d), g' = g (1 + 3 k3 V^2)."""
    g = 1e-3 * (1 + 3 * k3 * (V_OF_SOURCE - V_OF_NODE) ** 2)
    g_d = diode_currents(circuit(), np.array([[0.0, V_OF_SOURCE, V_OF_NODE]]))[1][0, 0]
    assert g_d > g  # the diode is at work
    return float((g * CHANGE[0, 0] + CHANGE[0, 1]) / (g + g_d))


@pytest.mark.parametrize("k3", [0.0, 4.0])
def test_the_hand_computed_response_is_accepted(k3: float) -> None:
    assert judge(expected(k3), k3=k3)
    assert judge(expected(k3), k3=k3, tolerance=1e-8)


@pytest.mark.parametrize("factor", [-1.0, 0.5, 2.0, 1.00001], ids=["sign", "half", "twice", "1e-5"])
def test_another_response_is_refused(factor: float) -> None:
    assert not judge(factor * expected())


def test_the_slope_of_a_cubic_device_counts() -> None:
    assert not judge(expected(0.0), k3=4.0)
    assert not judge(expected(4.0))


def test_a_response_that_is_no_number_is_refused() -> None:
    assert not judge(float("nan"))


def test_no_change_gives_no_response() -> None:
    none = np.zeros_like(CHANGE)
    assert judge(0.0, change=none)
    assert not judge(1e-3, change=none)


def test_nodes_at_sources_move_with_them() -> None:
    made = circuit()
    program = kirchhoff_law(analyse(made)).program(made.resistors.conductance_s)
    moves = [np.array([[0.0, at_source, 0.1]]) for at_source in (0.2, -0.2, 0.0)]
    errors = [source_response_error(program, CHANGE, r)[0] for r in moves]
    assert errors == pytest.approx([0.0, 0.4, 0.2])
