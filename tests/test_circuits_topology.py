"""What the wiring decides: unknowns, nodes tied by sources, and the networkx view."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from circuit_bank import BANK

from circuits import CircuitBuilder, CircuitError, DiodeModel
from circuits.graph import to_networkx
from circuits.topology import NONE, analyse, incidence_matrix, laplacian


def test_nodes_on_sources_to_ground_are_known() -> None:
    topology = analyse(BANK["stacked sources"].circuit)
    assert topology.n_unknowns == 0
    e = topology.circuit.voltage_sources.voltage_v
    np.testing.assert_allclose(topology.path_matrix() @ e, [0, 1.0, -2.0, 1.5])


def test_floating_sources_tie_nodes_to_one_unknown() -> None:
    topology = analyse(BANK["floating chain"].circuit)
    nodes = topology.circuit.nodes
    assert topology.n_unknowns == 1
    assert (topology.unknown_of_node == [NONE, 0, 0, 0]).all()
    root = nodes[topology.node_of_unknown[0]]
    # Relative to the root: b = a + 1, c = b - 4.
    above = dict(zip(nodes, topology.path_matrix() @ topology.circuit.voltage_sources.voltage_v, strict=True))
    assert above[root] == 0.0
    assert above["b"] - above["a"] == 1.0
    assert above["b"] - above["c"] == 4.0


def test_free_nodes_are_their_own_unknowns() -> None:
    topology = analyse(BANK["bridge"].circuit)
    assert [topology.circuit.nodes[k] for k in topology.node_of_unknown] == ["left", "right"]
    np.testing.assert_array_equal(topology.unknown_matrix().toarray(), [[0, 0], [0, 0], [1, 0], [0, 1]])


def test_source_order_does_not_matter() -> None:
    b = CircuitBuilder("c").voltage_source("far", "c", "b", 1.0).voltage_source("mid", "b", "a", 1.0)
    b.voltage_source("near", "a", "0", 1.0).resistor("r", "c", "0", 1.0)
    topology = analyse(b.build())
    assert topology.n_unknowns == 0
    np.testing.assert_allclose(topology.path_matrix() @ np.ones(3), [0, 3, 2, 1])


def test_loop_is_found_at_a_node_named_by_its_label() -> None:
    b = CircuitBuilder("c").voltage_source("one", "a", "0", 1.0).voltage_source("two", "0", "a", 1.0)
    with pytest.raises(
        CircuitError, match=r"voltage source 'two' closes a loop of voltage sources at node '(a|0)'; put a"
    ):
        analyse(b.build())


def test_incidence_and_laplacian_by_hand() -> None:
    circuit = CircuitBuilder("c").resistor("r", "a", "b", 2.0).resistor("q", "b", "0", 3.0).build()
    r = circuit.resistors
    np.testing.assert_array_equal(incidence_matrix(circuit, r.a, r.b).toarray(), [[0, 1, -1], [-1, 0, 1]])
    expected = [[3, 0, -3], [0, 2, -2], [-3, -2, 5]]
    np.testing.assert_array_equal(laplacian(circuit, r.conductance_s).toarray(), expected)


def test_graph_has_one_edge_a_device() -> None:
    b = (
        CircuitBuilder("c")
        .voltage_source("s", "a", "0", 2.0)
        .resistor("r", "a", "b", 1e-3)
        .capacitor("c", "b", "0", 1e-12)
    )
    b.diode("r", "b", "0", DiodeModel()).current_source("i", "0", "b", -1e-3)
    graph = to_networkx(b.build())
    assert graph.name == "c"
    assert set(graph.nodes) == {"0", "a", "b"}
    edges = {(kind, name): data["value"] for _, _, (kind, name), data in graph.edges(keys=True, data=True)}
    assert edges == {
        ("voltage_source", "s"): 2.0,
        ("resistor", "r"): 1e-3,
        ("diode", "r"): None,
        ("current_source", "i"): -1e-3,
        ("capacitor", "c"): 1e-12,
    }
    assert graph.number_of_edges("b", "0") == 3
    assert nx.shortest_path(graph, "a", "0") == ["a", "0"]
    assert graph.nodes["a"]["label"] == "a"
