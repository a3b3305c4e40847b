"""Names that are computed when asked for are the tuple that they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from circuits import Circuit, EnergyBlock, NodeLayer, Resistors, build
from circuits.names import AbstractNames, ChosenNames, JoinedNames, NumberedNames, PairNames

PAIRS = PairNames(prefix="w1", row=np.array([0, 0, 2]), column=np.array([1, 3, 0]), suffix="_pn")
NUMBERS = NumberedNames(prefix="net_", n=4)
CASES = {
    "pairs": (PAIRS, ("w1_0_1_pn", "w1_0_3_pn", "w1_2_0_pn")),
    "numbers": (NUMBERS, ("net_0", "net_1", "net_2", "net_3")),
    "chosen": (ChosenNames(names=("a", "b", "c"), places=np.array([2, 0, 2])), ("c", "a", "c")),
    "joined": (
        JoinedNames([(), NUMBERS, ("x",), [], PAIRS]),
        ("net_0", "net_1", "net_2", "net_3", "x", "w1_0_1_pn", "w1_0_3_pn", "w1_2_0_pn"),
    ),
    "none": (JoinedNames([]), ()),
}


@pytest.mark.parametrize(("names", "expected"), CASES.values(), ids=CASES)
def test_names_are_a_sequence_like_the_tuple(names: AbstractNames, expected: tuple[str, ...]) -> None:
    assert len(names) == len(expected)
    assert tuple(names) == expected
    assert names == expected
    assert names != (*expected, "more")
    assert [names[k] for k in range(len(names))] == list(expected)
    assert names[1:-1] == expected[1:-1]
    assert names[::-2] == expected[::-2]
    for k, name in enumerate(expected):
        assert names[k - len(expected)] == name
        assert names.index(name) == expected.index(name)
        assert name in names
    assert "nothing" not in names
    for place in (len(expected), -len(expected) - 1):
        with pytest.raises(IndexError):
            names[place]


def test_inequality_and_types() -> None:
    joined = JoinedNames([PAIRS])
    assert joined == PAIRS
    assert PAIRS != ("w1_0_1_pn", "w1_0_3_pn", "w1_2_0_nn")
    assert PAIRS != "w1"
    with pytest.raises(TypeError, match="unhashable"):
        hash(PAIRS)


def test_resistors_keep_computed_names_as_they_are() -> None:
    built = build(EnergyBlock(name="b", n_inputs=2, layers=(NodeLayer(size=2, leak_s=1e-6),)))
    names = built.circuit.resistors.names
    assert isinstance(names, AbstractNames)
    assert names[:4] == ("w1_0_0_pp", "w1_0_1_pp", "w1_1_0_pp", "w1_1_1_pp")
    assert names[-1] == "leak_l1_1n"
    assert built.circuit.with_conductances(np.ones(len(names))).resistors.names is names
    listed = Resistors(names=["a"], a=np.zeros(1), b=np.ones(1), conductance_s=np.ones(1))
    assert listed.names == ("a",)
    assert Circuit(name="c", nodes=("0", "n"), resistors=listed).resistors.names == ("a",)
