"""Choices by name: the word that a file uses means the same as the member, anything else is refused."""

import pytest

from circuits import CircuitError, Drive, EnergyBlock, NodeLayer, Polarity
from circuits.choices import chosen


def test_words_and_members_mean_the_same() -> None:
    words = EnergyBlock(name="b", n_inputs=2, layers=(NodeLayer(size=2),), polarity="single", drive="current")
    assert (words.polarity, words.drive) == (Polarity.SINGLE, Drive.CURRENT)
    assert chosen(Drive, Drive.VOLTAGE, "drive", CircuitError) is Drive.VOLTAGE


@pytest.mark.parametrize("field", ["polarity", "drive"])
def test_other_words_are_refused(field: str) -> None:
    with pytest.raises(CircuitError, match=rf"block 'b': {field} = 'both'; allowed are '\w+', '\w+'"):
        EnergyBlock(name="b", n_inputs=2, layers=(NodeLayer(size=2),), **{field: "both"})


@pytest.mark.parametrize("size", [2.5, True, "3"])
def test_a_layer_has_a_whole_number_of_units(size: object) -> None:
    with pytest.raises(CircuitError, match=r"node layer: size = .*; give a whole number of units"):
        NodeLayer(size=size)


def test_layers_and_clamps_are_what_they_say() -> None:
    with pytest.raises(CircuitError, match=r"block 'b': layers holds 3; give NodeLayer"):
        EnergyBlock(name="b", n_inputs=2, layers=(3,))
    with pytest.raises(CircuitError, match=r"node layer: clamp = \(-0.3, 0.3\); give Clamp"):
        NodeLayer(size=2, clamp=(-0.3, 0.3))
    assert EnergyBlock(name="b", n_inputs=2, layers=NodeLayer(size=2)).layers == (NodeLayer(size=2),)
