"""The circuit of an energy block: devices, names, index arrays, mirror images; and what a block refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest

from circuits import (
    BlockCircuit,
    CircuitError,
    Clamp,
    DiodeModel,
    Drive,
    EnergyBlock,
    NodeLayer,
    Polarity,
    build,
    validate,
)

CLAMP = Clamp(low_v=-0.2, high_v=0.5)


def make(polarity: Polarity = Polarity.DIFFERENTIAL, drive: Drive = Drive.VOLTAGE, **settings) -> BlockCircuit:
    layers = (
        NodeLayer(size=3, clamp=CLAMP, leak_s=1e-6, bias=True),
        NodeLayer(size=2, leak_s=2e-6),
        NodeLayer(size=2, clamp=Clamp(low_v=-1, high_v=1, diode=DiodeModel(saturation_current_a=1e-9)), bias=True),
    )
    n_inputs = 4 if drive is Drive.VOLTAGE else 3
    return build(
        EnergyBlock(name="dense1", n_inputs=n_inputs, layers=layers, drive=drive, polarity=polarity, **settings)
    )


@pytest.mark.parametrize(
    ("polarity", "drive", "nodes", "resistors", "diodes", "voltage_sources", "current_sources"),
    [
        # 1 ground, 4 inputs, 7 units, 1 bias, 4 rails; 12 + 6 + 4 weights, 3 + 2 biases, 5 leaks; 2 diodes for 5 units.
        (Polarity.SINGLE, Drive.VOLTAGE, 17, 32, 10, 9, 2),
        (Polarity.SINGLE, Drive.CURRENT, 13, 20, 10, 5, 5),
        (Polarity.DIFFERENTIAL, Drive.VOLTAGE, 33, 4 * 27 + 10, 20, 18, 4),
        (Polarity.DIFFERENTIAL, Drive.CURRENT, 25, 4 * 15 + 10, 20, 10, 10),
    ],
)
def test_device_counts(
    polarity: Polarity,
    drive: Drive,
    nodes: int,
    resistors: int,
    diodes: int,
    voltage_sources: int,
    current_sources: int,
) -> None:
    circuit = make(polarity, drive).circuit
    assert circuit.n_nodes == nodes
    assert len(circuit.resistors) == resistors
    assert len(circuit.diodes) == diodes
    assert len(circuit.voltage_sources) == voltage_sources
    assert len(circuit.current_sources) == current_sources
    assert len(circuit.diodes.models) == 2
    validate(circuit)


def test_names_and_labels_are_the_users_words() -> None:
    circuit = make().circuit
    assert circuit.name == "dense1"
    assert {"x0p", "x3n", "l1_0p", "l3_1n", "biasp", "rail1_hp", "rail3_ln"} < set(circuit.nodes)
    assert circuit.labels[circuit.nodes.index("l2_1n")] == "layer 2 unit 1 (n)"
    assert circuit.labels[circuit.nodes.index("x0p")] == "input 0 (p)"
    single = make(Polarity.SINGLE).circuit
    assert {"x0", "l1_0", "l3_1", "bias", "rail1_h"} < set(single.nodes)
    assert single.labels[single.nodes.index("l2_1")] == "layer 2 unit 1"


@pytest.mark.parametrize("polarity", Polarity)
def test_crossbar_devices_join_the_nodes_they_claim(polarity: Polarity) -> None:
    built = make(polarity)
    r, nodes = built.circuit.resistors, built.circuit.nodes
    assert [c.name for c in built.crossbars] == ["w1", "w2", "w3", "b1", "b3"]
    assert [c.shape for c in built.crossbars] == [(4, 3), (3, 2), (2, 2), (1, 3), (1, 2)]
    seen: list[int] = []
    for crossbar in built.crossbars:
        rows, columns = crossbar.rows, crossbar.columns
        pairs = [(crossbar.plus[0], rows.p, columns.p)]
        if crossbar.minus is not None:
            pairs += [
                (crossbar.plus[1], rows.n, columns.n),
                (crossbar.minus[0], rows.p, columns.n),
                (crossbar.minus[1], rows.n, columns.p),
            ]
        for devices, row_nodes, column_nodes in pairs:
            assert devices.shape == crossbar.shape
            np.testing.assert_array_equal(r.a[devices], np.repeat(row_nodes[:, None], crossbar.shape[1], axis=1))
            np.testing.assert_array_equal(r.b[devices], np.repeat(column_nodes[None, :], crossbar.shape[0], axis=0))
            seen += devices.ravel().tolist()
    # Every resistor is a weight or a leak, exactly once.
    assert sorted([*seen, *built.leak_devices.tolist()]) == list(range(len(r)))
    assert {nodes[k] for k in r.b[built.leak_devices]} == {"0"}
    suffix = "_pn" if polarity is Polarity.DIFFERENTIAL else ""
    w2 = built.crossbars[1]
    device = (w2.plus if w2.minus is None else w2.minus)[0, 2, 1]
    assert r.names[device] == f"w2_2_1{suffix}"


def test_current_drive_has_no_input_crossbar() -> None:
    built = make(drive=Drive.CURRENT)
    assert built.inputs is None
    assert [c.name for c in built.crossbars] == ["w2", "w3", "b1", "b3"]
    i = built.circuit.current_sources
    assert i.names[:2] == ("input_l1_0p", "input_l1_1p")
    assert i.names[-1] == "nudge_l3_1n"
    assert i.driven.all()
    assert (i.start == 0).all()  # from ground into the node
    np.testing.assert_array_equal(i.end[:6], np.concatenate([built.layers[0].p, built.layers[0].n]))


def test_image_is_an_involution_that_swaps_p_and_n() -> None:
    built = make()
    n = built.circuit.n_nodes
    assert len(built.image) == n
    assert built.image[0] == 0
    np.testing.assert_array_equal(built.image[built.image], np.arange(n))
    assert (built.image[1:] != np.arange(1, n)).all()
    for units in (*built.layers, built.inputs):
        np.testing.assert_array_equal(built.image[units.p], units.n)
    nodes = built.circuit.nodes
    for a, b in (("biasp", "biasn"), ("rail1_hp", "rail1_hn"), ("rail1_lp", "rail1_ln")):
        assert built.image[nodes.index(a)] == nodes.index(b)
    assert len(make(Polarity.SINGLE).image) == 0


def test_rails_stand_one_diode_drop_inside_the_limits_and_mirror() -> None:
    circuit = make(temperature_k=320.0).circuit
    v = dict(zip(circuit.voltage_sources.names, circuit.voltage_sources.voltage_v, strict=True))
    drop = DiodeModel().forward_voltage_v(1e-5, 320.0)
    assert v["rail1_hp"] == pytest.approx(0.5 - drop, rel=1e-14)
    assert v["rail1_lp"] == pytest.approx(-0.2 + drop, rel=1e-14)
    assert v["rail1_ln"] == -v["rail1_lp"]
    assert v["rail1_hn"] == -v["rail1_hp"]
    d = circuit.diodes
    upper = d.names.index("clamp1_0n_u")  # conducts from the unit to its upper rail
    assert circuit.nodes[d.anode[upper]] == "l1_0n"
    assert circuit.nodes[d.cathode[upper]] == "rail1_ln"
    lower = d.names.index("clamp1_0n_d")
    assert circuit.nodes[d.anode[lower]] == "rail1_hn"
    assert circuit.nodes[d.cathode[lower]] == "l1_0n"


def test_series_resistance_moves_the_rails() -> None:
    clamp = Clamp(low_v=-1, high_v=1, diode=DiodeModel(series_resistance_ohm=1e4), reference_current_a=1e-5)
    low, high = clamp.rails_v(300.15)
    assert high == pytest.approx(1 - DiodeModel().forward_voltage_v(1e-5, 300.15) - 0.1, rel=1e-12)
    assert low == -high


def test_bias_rows_stand_at_plus_and_minus_one_unit() -> None:
    built = make(v_unit_v=0.3)
    v = dict(zip(built.circuit.voltage_sources.names, built.circuit.voltage_sources.voltage_v, strict=True))
    assert v["biasp"] == 0.3
    assert v["biasn"] == -0.3
    b3 = built.crossbars[-1]
    assert [built.circuit.nodes[k] for k in b3.rows.p] == ["biasp"]
    np.testing.assert_array_equal(b3.columns.p, built.layers[2].p)
    assert build(EnergyBlock(name="b", n_inputs=1, layers=(NodeLayer(size=1),))).circuit.nodes == (
        "0", "x0p", "x0n", "l1_0p", "l1_0n",
    )  # fmt: skip


def test_several_output_layers_are_nudged_and_read() -> None:
    built = make(output_layers=(2, 0))
    assert built.block.n_outputs == 5
    names = [name.removeprefix("nudge_") for name in built.circuit.current_sources.names]
    p = ["l3_0p", "l3_1p", "l1_0p", "l1_1p", "l1_2p"]
    assert names == p + [name[:-1] + "n" for name in p]


def test_program_puts_the_weights_where_they_belong() -> None:
    built = make(g_unit_s=1e-5, g_max_s=1e-3)
    rng = np.random.default_rng(0)
    plus = {c.name: rng.uniform(1, 2, c.shape) for c in built.crossbars}
    minus = {c.name: rng.uniform(1, 2, c.shape) for c in built.crossbars}
    g = built.program(plus, minus)
    for c in built.crossbars:
        for k in range(2):
            np.testing.assert_array_equal(g[c.plus[k]], plus[c.name] * 1e-5)
            np.testing.assert_array_equal(g[c.minus[k]], minus[c.name] * 1e-5)
    np.testing.assert_array_equal(g[built.leak_devices], [1e-6] * 6 + [2e-6] * 4)
    # The block itself is untouched: g_min everywhere.
    assert (built.circuit.resistors.conductance_s[built.crossbars[0].plus] == 1e-7).all()


def test_program_refuses_what_does_not_fit() -> None:
    built = make()
    plus = {c.name: np.ones(c.shape) for c in built.crossbars}
    with pytest.raises(
        CircuitError, match=r"block 'dense1': G\+ of crossbar 'w2' must have shape \(3, 2\), got nothing"
    ):
        built.program({k: v for k, v in plus.items() if k != "w2"}, plus)
    with pytest.raises(CircuitError, match=r"G- of crossbar 'w1' must have shape \(4, 3\), got \(3, 4\)"):
        built.program(plus, {**plus, "w1": np.ones((3, 4))})


def test_arrays_are_read_only() -> None:
    built = make()
    with pytest.raises(ValueError, match="read-only"):
        built.circuit.resistors.conductance_s[0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        built.crossbars[0].plus[0, 0, 0] = 1


def block(**settings) -> EnergyBlock:
    return EnergyBlock(**{"name": "b", "n_inputs": 2, "layers": (NodeLayer(size=3),), **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": ()}, r"block 'b': no node layers; give at least one"),
        ({"n_inputs": 0}, r"block 'b': n_inputs = 0; give one or more"),
        (
            {"drive": Drive.CURRENT},
            r"block 'b': 2 inputs drive currents into a first layer of 3 units; .* voltage drive",
        ),
        ({"v_unit_v": 0.0}, r"block 'b': v_unit_v = 0.0; give a finite value above zero"),
        ({"g_unit_s": math.nan}, r"g_unit_s = nan"),
        ({"g_min_s": -1e-7}, r"g_min_s = -1e-07"),
        ({"temperature_k": math.inf}, r"temperature_k = inf"),
        ({"k_over_q_v_per_k": 0.0}, r"k_over_q_v_per_k = 0.0"),
        ({"gmin_s": -1e-15}, r"block 'b': gmin_s = -1e-15; give zero or more"),
        ({"gmin_s": math.nan}, r"gmin_s = nan"),
        ({"g_max_s": 1e-8}, r"block 'b': window upside down: g_min_s = 1e-07, g_max_s = 1e-08"),
        ({"g_max_s": math.nan}, r"window upside down"),
        ({"output_layers": ()}, r"block 'b': output_layers = \(\) but the block has layers 0..0"),
        ({"output_layers": (1,)}, r"output_layers = \(1,\) but the block has layers 0..0"),
        ({"output_layers": (0, -1)}, r"block 'b': output_layers = \(0, -1\) names a layer twice"),
    ],
)
def test_block_refuses(settings: dict, message: str) -> None:
    with pytest.raises(CircuitError, match=message):
        block(**settings)


def test_layer_and_clamp_refuse() -> None:
    with pytest.raises(CircuitError, match=r"node layer: size = 0; give a whole number of units, one or more"):
        NodeLayer(size=0)
    with pytest.raises(CircuitError, match=r"node layer: leak_s = -1.0; give zero or more"):
        NodeLayer(size=1, leak_s=-1.0)
    with pytest.raises(CircuitError, match=r"clamp: low_v = 1 must lie below high_v = 0"):
        Clamp(low_v=1, high_v=0)
    with pytest.raises(CircuitError, match=r"clamp: low_v = nan is not finite; give a voltage, or None"):
        Clamp(low_v=math.nan, high_v=0)
    with pytest.raises(CircuitError, match=r"clamp: reference_current_a = 0; give a value above zero"):
        Clamp(low_v=0, high_v=1, reference_current_a=0)
